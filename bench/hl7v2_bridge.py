"""A bridge that listens for HL7 v2 in this process, and a sender in another: for measuring only."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from bench.mllp_sender import identity_of
from services.common.database import Database, migrate
from services.common.identity import member_token
from services.common.process import now_us
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
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.receiving.memory import leave_out_what_stays
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.storage import consents, holding, lists

_KEY = bytes(range(32))
INSURER, _HOSPITAL = "insurers/bench", "bench"
MASTER = KeySet({"m1": bytes(32)}, "m1")
PROFILE = """
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
_PEOPLE = 1_000
_LOOK_S = 0.02


@contextmanager
def on_one_core() -> Iterator[None]:
    """This process, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def bridge_database(url: str) -> Iterator[tuple[Database, SubjectKeys]]:
    """The bridge's database, where every patient has consented that their bills are settled."""
    database = Database(url)
    try:
        migrate(database, "services.his_bridge")
        keys = SubjectKeys(MASTER, now_us=now_us)
        keys.prepare(database)
        _consent(database, keys)
        yield database, keys
    finally:
        database.close()


@asynccontextmanager
async def listening(database: Database, keys: SubjectKeys) -> AsyncIterator[int]:
    """The port of a listener in this process."""
    profile = parse_profile(PROFILE, "bench.yaml")
    own, settings = profile.dialect_terms, profile.source
    if not isinstance(own, Hl7v2Terms) or not isinstance(settings, MllpSettings):
        raise TypeError("the profile is of another kind")
    reading = Hl7Reading(profile.terms, own)
    reader = MessageReader(reading, token)
    intake = Intake(BILLS, profile, lambda _: reader, database, keys, now_us, INSURER)
    listener = Listener(settings, lambda: reading, {BILLS: intake}, now_us)
    leave_out_what_stays()  # as the bridge does when it starts
    running = asyncio.ensure_future(listener.run())
    await listener.listens.wait()
    try:
        yield int(listener.address.rpartition(":")[2])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def sent(database: Database, port: int, first: int, count: int) -> float:
    """Seconds from the first byte until every bill has its event and is released."""
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
    # No bill is released before it is acknowledged: until then looking would only cost time.
    if await sender.wait():
        raise RuntimeError("the sender was not answered as it should be")
    while True:
        if await database.run(_released, database) >= first + count:
            return time.perf_counter() - begun
        await asyncio.sleep(_LOOK_S)


def _released(database: Database) -> int:
    """By its number, which takes as long for the last one as for the first."""
    with database.reading() as connection:
        return lists.last_number(connection, f"bills/{_HOSPITAL}")


def _consent(database: Database, keys: SubjectKeys) -> None:
    evidence = Evidence(document_sha256="0" * 64, channel=Channel.PAPER)
    given = [
        Terms(
            consent_id=uuid.uuid4().hex,
            member_token=member,
            recipient=INSURER,
            purpose=Purpose.CLAIM_SETTLEMENT,
            scope=Scope(contents=(Content.BILLS,)),
            given_by=Giver.MEMBER,
            giver="p1",
            from_us=0,
            evidence=evidence,
        )
        for member in sorted({token("CN-ID", identity_of(number)) for number in range(_PEOPLE)})
    ]
    with database.writing() as connection:
        holding.one_at_a_time(connection, _HOSPITAL)
        consents.grant(connection, keys.sealer(connection), _HOSPITAL, given, now_us=1)


def token(kind: str, number: str) -> str:
    """Whose a document is, under a key of the benchmark's own."""
    return member_token(kind, number, key=_KEY, key_version="k1")
