"""Ten-line bills from MLLP bytes to bill events in PostgreSQL, beside splitting and COPY.

Everything of ours and the database run on one core; who sends runs on another one, if there is one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from sqlalchemy import Connection, Table, func, make_url, select, text

from bench.mllp_sender import CONNECTIONS, LINES, PEOPLE, identity_of, message
from bench.postgres import fresh_database, postgres_server
from bench.processes import Meter, memory_mib
from bench.rows import Report, Sizes
from services.common.database import Database, migrate
from services.common.identity import member_token
from services.common.sealing import KeySet, SubjectKeys
from services.his_bridge.core.consent import (
    Channel,
    Content,
    Evidence,
    Giver,
    Purpose,
    Scope,
    Terms,
)
from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader
from services.his_bridge.dialects.hl7v2.admission import BILLS
from services.his_bridge.intake import Intake
from services.his_bridge.main import now_us
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.storage import consents, holding
from services.his_bridge.storage.tables import bill_event, inbox, released_bill

_KEY = bytes(range(32))
_INSURER, _HOSPITAL = "insurers/bench", "bench"
_MASTER = KeySet({"m1": bytes(32)}, "m1")
_TABLES = (inbox, bill_event, released_bill)
_PROFILE = """
hospital: bench
dialect: hl7v2
source: {kind: mllp}
zone: Asia/Shanghai
currency: CNY
identities: [{system: NI, kind: CN-ID}]
provider: {id: H110101}
codes:
  lines: {accepted: [{system: "urn:bench:yibao", public_displays: true}]}
  diagnoses: {accepted: [{system: "urn:bench:icd-10", public_displays: true}]}
hl7v2:
  bill: message
  systems: {YB: "urn:bench:yibao", I10: "urn:bench:icd-10"}
"""
_FLOOR = (
    "the messages split and their amounts read, and the rows of inbox, bill_event and "
    "released_bill COPYed into tables like these, in as many commits, on the same core"
)
_LOOK_S = 0.1


def measure(report: Report, sizes: Sizes) -> None:
    """Bills per second, then the memory over many more messages."""
    with _on_one_core(), postgres_server(durable=True) as server, fresh_database(server) as url:
        asyncio.run(_measured(report, sizes, url))


@contextmanager
def _on_one_core() -> Iterator[None]:
    """This process, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _measured(report: Report, sizes: Sizes, url: str) -> None:
    database = Database(url)
    try:
        migrate(database, "services.his_bridge")
        keys = SubjectKeys(_MASTER, now_us=now_us)
        keys.prepare(database)
        bills = sizes.hl7_bills
        _consent(database, keys, min(PEOPLE, bills + sizes.hl7_messages))
        async with _listening(database, keys) as port:
            commits = _commits(database)
            spent = Meter({"": os.getpid()})
            with spent:
                ours_s = await _sent(database, port, 0, bills)
            commits = _commits(database) - commits
            before, _ = memory_mib(os.getpid())
            await _sent(database, port, bills, sizes.hl7_messages)
            grown = memory_mib(os.getpid())[0] - before
        floor_s = _floor(database, url, bills, commits)
    finally:
        database.close()
    report.add(
        f"HL7 v2 bills of {LINES} lines over {CONNECTIONS} connections to events, one core",
        "bills/s",
        bills / ours_s,
        bills / floor_s,
        cpu_ms=spent.total_ms / bills,
        what_floor_is=_FLOOR,
        n=bills,
    )
    report.counts["HL7 v2: commits for these bills, ours and the floor's"] = commits
    report.counts[f"HL7 v2: MiB grown over {sizes.hl7_messages} more messages"] = grown


@asynccontextmanager
async def _listening(database: Database, keys: SubjectKeys) -> AsyncIterator[int]:
    """The port of a listener in this process."""
    profile = parse_profile(_PROFILE, "bench.yaml")
    own, settings = profile.dialect_terms, profile.source
    if not isinstance(own, Hl7v2Terms) or not isinstance(settings, MllpSettings):
        raise TypeError("the profile is of another kind")
    reading = Hl7Reading(profile.terms, own)
    reader = MessageReader(reading, _token)
    intake = Intake(BILLS, profile, lambda _: reader, database, keys, now_us, _INSURER)
    listener = Listener(settings, lambda: reading, {BILLS: intake}, now_us)
    running = asyncio.ensure_future(listener.run())
    await listener.listens.wait()
    try:
        yield int(listener.address.rpartition(":")[2])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _sent(database: Database, port: int, first: int, count: int) -> float:
    """Seconds from the first byte until every bill has its event."""
    sender = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.mllp_sender", str(port), str(first), str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if sender.stdin is None or sender.stdout is None:
        raise RuntimeError("the sender has no pipes")
    await sender.stdout.readline()  # it is connected, and waits
    begun = time.perf_counter()
    sender.stdin.write(b"go\n")
    while await database.run(_events, database) < first + count:
        if sender.returncode:
            raise RuntimeError("the sender failed")
        await asyncio.sleep(_LOOK_S)
    took = time.perf_counter() - begun
    if await sender.wait():
        raise RuntimeError("the sender was not answered as it should be")
    return took


def _floor(database: Database, url: str, bills: int, commits: int) -> float:
    """Seconds to split as many messages and to COPY the very rows, in as many commits."""
    raw = [message(number) for number in range(bills)]
    with database.reading() as connection:
        kept = {
            table.name: [tuple(row) for row in connection.execute(select(table).limit(bills))]
            for table in _TABLES
        }
    with database.writing() as connection:
        for table in _TABLES:
            _like(connection, table.name)
    plain = make_url(url).render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        begun = time.perf_counter()
        for part in range(commits):
            share = slice(bills * part // commits, bills * (part + 1) // commits)
            for one in raw[share]:
                _split(one)
            for table in _TABLES:
                _copy(connection, table, kept[table.name][share])
            connection.commit()
        return time.perf_counter() - begun


def _like(connection: Connection, name: str) -> None:
    connection.execute(text(f"CREATE TABLE floor_{name} (LIKE {name} INCLUDING ALL)"))


def _copy(connection: psycopg.Connection[Any], table: Table, rows: Sequence[Any]) -> None:
    if rows:
        columns = ", ".join(column.name for column in table.columns)
        statement = f"COPY floor_{table.name} ({columns}) FROM STDIN"
        with connection.cursor().copy(statement) as copy:
            for row in rows:
                copy.write_row(row)


def _split(raw: bytes) -> Decimal:
    """The sum of a message's charges, read in the shortest way that is right."""
    total = Decimal(0)
    for line in raw.decode("gb18030").split("\r"):
        fields = line.split("|")
        if fields[0] == "FT1":
            total += Decimal(fields[10]) * Decimal(fields[12])
    return total


def _consent(database: Database, keys: SubjectKeys, people: int) -> None:
    """Every patient consents that their bills are settled."""
    evidence = Evidence(document_sha256="0" * 64, channel=Channel.PAPER)
    given = [
        Terms(
            consent_id=uuid.uuid4().hex,
            member_token=member,
            recipient=_INSURER,
            purpose=Purpose.CLAIM_SETTLEMENT,
            scope=Scope(contents=(Content.BILLS,)),
            given_by=Giver.MEMBER,
            giver="p1",
            from_us=0,
            evidence=evidence,
        )
        for member in sorted({_token("CN-ID", identity_of(number)) for number in range(people)})
    ]
    with database.writing() as connection:
        holding.one_at_a_time(connection, _HOSPITAL)
        consents.grant(connection, keys.sealer(connection), _HOSPITAL, given, now_us=1)


def _token(kind: str, number: str) -> str:
    return member_token(kind, number, key=_KEY, key_version="k1")


def _events(database: Database) -> int:
    with database.reading() as connection:
        found: int = connection.execute(select(func.count()).select_from(bill_event)).scalar_one()
    return found


def _commits(database: Database) -> int:
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    with database.reading() as connection:
        return int(connection.execute(text(query)).scalar_one())
