"""Killed between commit and acknowledgement, the listener loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from services.common.database import Database
from services.his_bridge.storage import sealed
from services.his_bridge.storage.tables import inbox
from tests.forked import Forked
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.messages_hl7 import dft
from tests.services.his_bridge.receiving.doomed import SENDERS
from tests.services.his_bridge.receiving.listening import client

pytestmark = pytest.mark.both_databases

# Each sender waits for its answer, so that a transaction stores at most as many messages as there
# are senders: these are enough for six of them.
MESSAGES = 24
DOOMED = "tests.services.his_bridge.receiving.doomed"


@contextmanager
def doomed(url: str, transactions: int, how: str) -> Iterator[int]:
    """Its port. Afterwards it is dead by its own hand, unless it was to live."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        words = url, str(transactions), how
        process = Forked(DOOMED, *words, environ={"PATH": ""}, out=out, err=err)
        try:
            while not (out.exists() and out.read_text("utf-8").endswith("\n")):
                assert process.poll() is None, err.read_text("utf-8")
                time.sleep(0.01)
            yield int(out.read_text("utf-8"))
            if transactions:
                assert process.wait() == -signal.SIGKILL
        finally:
            process.kill()
            process.wait()


async def hand_in(port: int, wanted: dict[str, str], acknowledged: set[str]) -> None:
    """Send what is not acknowledged, over several connections, until it is or they break."""
    left = sorted(set(wanted) - acknowledged)

    async def one(mine: list[str]) -> None:
        try:
            async with client(port) as sender:
                for control_id in mine:
                    msa = (await sender.ask(wanted[control_id]))[1]
                    assert msa[1:] == ["AA", control_id]
                    acknowledged.add(control_id)
        except (ConnectionError, asyncio.IncompleteReadError):
            return

    await asyncio.gather(*(one(left[start::SENDERS]) for start in range(SENDERS)))


def stored(url: str) -> Counter[str]:
    """How often each message lies in the inbox, by the id that its sender gave it."""
    database = Database(url)
    keys = subject_keys(database)
    try:
        with database.reading() as connection:
            rows = connection.execute(select(inbox)).all()
            sealer = keys.sealer(connection)
            ids = [sealed.open_record(sealer, row, "external_id").decode() for row in rows]
    finally:
        database.close()
    return Counter(each.rpartition("/")[2] for each in ids)


def send_through_kills(
    url: str, kills: list[int], how: str = "honest"
) -> tuple[set[str], Counter[str]]:
    """What was acknowledged and what lies in the inbox, after kills at these transactions."""
    acknowledged: set[str] = set()
    wanted: dict[str, str] = {}
    for round_, transactions in enumerate(kills):
        fresh = (f"K{round_}X{number}" for number in range(MESSAGES))
        wanted |= {one: dft(control_id=one) for one in fresh}
        with doomed(url, transactions, how) as port:
            asyncio.run(hand_in(port, wanted, acknowledged))
    with doomed(url, 0, "honest") as port:
        asyncio.run(hand_in(port, wanted, acknowledged))
    assert acknowledged == set(wanted)
    return acknowledged, stored(url)


def test_three_kills_between_commit_and_acknowledgement(database_url: str) -> None:
    acknowledged, found = send_through_kills(database_url, [1, 2, 4])
    assert found == dict.fromkeys(acknowledged, 1)


def test_the_control_that_acknowledges_first_loses(sqlite_database: str) -> None:
    acknowledged, found = send_through_kills(sqlite_database, [1], "careless")
    assert acknowledged - set(found)


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_twenty_kills_between_commit_and_acknowledgement(database_url: str) -> None:
    chance = random.Random(6)
    acknowledged, found = send_through_kills(
        database_url, [chance.randint(1, 6) for _ in range(20)]
    )
    assert found == dict.fromkeys(acknowledged, 1)
