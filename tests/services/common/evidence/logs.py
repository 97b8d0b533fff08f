"""A log on a database of its own, with leaves in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.common.database import Database
from services.common.evidence.access_read import AccessRead
from services.common.evidence.evidence_log import EvidenceLog
from services.common.evidence.note import Kind, SignerKey
from services.common.evidence.proofs import Proofs
from services.common.evidence.tables import EvidenceTables
from services.pricing.storage.tables import evidence
from tests.schemas import with_tables

ORIGIN = "lipei.test/evidence/pricing"
SIGNER = SignerKey(ORIGIN, Kind.LOG, bytes(range(32)))
TABLES: EvidenceTables = evidence
NOON_US = 1_780_000_000_000_000


def read(number: int = 0, **changes: object) -> AccessRead:
    """One read of many."""
    values: dict[str, object] = {
        "who": f"person-{number % 5}",
        "uri": "spiffe://lipei.local/insurer/i1/desk/1",
        "role": "adjuster",
        "purpose": "claims-handling",
        "consent": "",
        "rpc": "/lipei.claims.v1.ClaimsService/GetClaim",
        "record": f"policies/p{number % 7}/claims/c{number}",
        "level": 3,
        "at_us": NOON_US + number,
    }
    return AccessRead(**{**values, **changes})  # type: ignore[arg-type]  # of the table above


def reads(count: int, start: int = 0) -> list[AccessRead]:
    """So many, all different."""
    return [read(number) for number in range(start, start + count)]


@dataclass
class Clock:
    """Stands until it is moved."""

    now_us: int = NOON_US

    def __call__(self) -> int:
        """Microseconds since 1970."""
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += int(seconds * 1e6)


@dataclass
class Kept:
    """A log, its database and its clock."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    signer: SignerKey = SIGNER

    def log(self, **how: float) -> EvidenceLog:
        """The log as one replica has it."""
        return EvidenceLog(self.database, TABLES, self.signer, self.clock, **how)  # type: ignore[arg-type]  # of its own options

    def append(self, some: Sequence[AccessRead]) -> None:
        """Append in one call."""
        asyncio.run(self.log().append(some))

    def sign(self) -> None:
        """Sign now, whatever has come."""
        self.log(sign_after_s=0)._sign_when_due(False)

    @contextmanager
    def proofs(self) -> Iterator[Proofs]:
        """What it can prove."""
        with self.database.reading() as connection:
            yield Proofs(connection, TABLES)


@contextmanager
def kept(url: str) -> Iterator[Kept]:
    """A fresh log."""
    database = with_tables(url, "services.pricing", threads=4)
    try:
        yield Kept(database)
    finally:
        database.close()
