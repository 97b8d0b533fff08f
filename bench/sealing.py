"""What sealing costs: a claim's bill alone, and a claim that is stored and read, SQLite."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, insert

from bench.bills import LINES, bill
from bench.rows import Report, Sizes, percentile
from services.claims.storage import claims as store
from services.claims.storage import sealed
from services.claims.storage.tables import person, policy
from services.common.access.tenant import Kind, Tenant
from services.common.database import Database, migrate
from services.common.process import now_us
from services.common.sealing import KeySet, Sealer, SubjectKeys

_KEY, _NONCE_BYTES = bytes(32), 12
_PERSON, _POLICY = "0" * 32, "p0"
_BARE = "AES-GCM of the same bytes under one key that is at hand, bound to nothing"
_UNSEALED = "the same transaction on the same tables with nothing sealed and plain hashes"
_TENANT = Tenant(Kind.INSTALLATION, "")
_PLACE = {"table": "claim", "column": "bill", "row": "c", "subject": sealed.person_subject(_PERSON)}


class _Unsealed(Sealer):
    """Leaves everything as it is."""

    def seal(self, plaintext: bytes, **_place: str) -> bytes:
        """The plaintext."""
        return plaintext

    def open(self, sealed: bytes, **_place: str) -> bytes:
        """The same."""
        return sealed

    def index(self, text: str, **_place: str) -> str:
        """A hash without a key."""
        return hashlib.sha256(text.encode()).hexdigest()

    def fingerprint(self, content: bytes, **_place: str) -> str:
        """A hash without a key."""
        return hashlib.sha256(content).hexdigest()


def measure(report: Report, sizes: Sizes, folder: Path) -> None:
    """Each path in turns with the same one without it."""
    body = bill(0).SerializeToString(deterministic=True)
    databases = [Database(f"sqlite:///{folder / name}.db") for name in ("sealed", "unsealed")]
    try:
        keys = SubjectKeys(KeySet({"m1": _KEY}, "m1"), now_us=now_us)
        for database in databases:
            migrate(database, "services.claims")
            keys.prepare(database)
            _add_people(database)
        _alone(report, sizes.calls, databases[0], keys, body)
        _stored(report, sizes.appended, databases, keys, body)
    finally:
        for database in databases:
            database.close()


def _add_people(database: Database) -> None:
    with database.writing() as connection:
        row = {"id": _POLICY, "insurer": "bench", "seq": 1, "revision": 1}
        connection.execute(insert(policy), row)
        connection.execute(insert(person), {"id": _PERSON, "token_index": "t"})


def _alone(report: Report, count: int, database: Database, keys: SubjectKeys, body: bytes) -> None:
    bare = AESGCM(_KEY)
    with database.writing() as connection:
        sealer = Sealer(keys, connection)
        kept = sealer.seal(body, **_PLACE)
        nonce = os.urandom(_NONCE_BYTES)
        plainly = bare.encrypt(nonce, body, None)
        _compare(
            report,
            f"seal the bill of a claim of {LINES} lines, p50",
            "µs",
            (
                lambda: sealer.seal(body, **_PLACE),
                lambda: bare.encrypt(os.urandom(_NONCE_BYTES), body, None),
            ),
            _BARE,
            count,
        )
        _compare(
            report,
            f"open the bill of a claim of {LINES} lines, p50",
            "µs",
            (lambda: sealer.open(kept, **_PLACE), lambda: bare.decrypt(nonce, plainly, None)),
            _BARE,
            count,
        )


def _stored(
    report: Report, count: int, databases: list[Database], keys: SubjectKeys, body: bytes
) -> None:
    ours, floor = (
        _Claims(database, kind, keys, body)
        for database, kind in zip(databases, (Sealer, _Unsealed), strict=True)
    )
    steps = (ours.store, floor.store)
    _compare(report, "store a claim, sealed, SQLite, p50", "ms", steps, _UNSEALED, count)
    reads = (ours.read, floor.read)
    _compare(
        report, "read a claim with its bill, sealed, SQLite, p50", "ms", reads, _UNSEALED, count
    )


class _Claims:
    """Claims of one person in one database."""

    def __init__(
        self, database: Database, kind: type[Sealer], keys: SubjectKeys, body: bytes
    ) -> None:
        self._database = database
        self._kind = kind
        self._keys = keys
        self._body = body
        self._ids: list[str] = []
        self._read = 0

    def store(self) -> None:
        """The next claim, durably."""
        number = f"B{len(self._ids)}"
        new = store.NewClaim(
            insurer="bench",
            hospital=None,
            policy_id=_POLICY,
            person_id=_PERSON,
            member_id="m0",
            request_id=number,
            provider_id="H99000100001",
            bill_number=number,
            bill_hash=hashlib.sha256(self._body).hexdigest(),
            bill=self._body,
            currency="CNY",
            consent=None,
            time_zone="Asia/Shanghai",
        )
        with self._database.writing() as connection:
            self._ids.append(store.open_claim(connection, self._sealer(connection), new, now_us()))

    def read(self) -> None:
        """The next claim again, with its bill."""
        claim_id = self._ids[self._read % len(self._ids)]
        self._read += 1
        with self._database.reading() as connection:
            sealer = self._sealer(connection)
            row = store.find_claim(connection, sealer, _TENANT, _POLICY, claim_id)
            if row is None or sealed.open_bill(sealer, row) != self._body:
                raise RuntimeError("a claim is not what was stored")

    def _sealer(self, connection: Connection) -> Sealer:
        return self._kind(self._keys, connection)


def _compare(
    report: Report,
    path: str,
    unit: str,
    steps: tuple[Callable[[], object], Callable[[], object]],
    what_floor_is: str,
    count: int,
) -> None:
    took: tuple[list[float], list[float]] = ([], [])
    spent = 0.0
    for number in range(count + 1):  # the first one warms up
        for step, times in zip(steps, took, strict=True):
            cpu, begun = time.process_time(), time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
            if step is steps[0] and number:
                spent += time.process_time() - cpu
    scale = {"µs": 1e6, "ms": 1e3}[unit]
    report.add(
        path,
        unit,
        percentile(took[0][1:], 50) * scale,
        percentile(took[1][1:], 50) * scale,
        cpu_ms=spent / count * 1e3,
        what_floor_is=what_floor_is,
        n=count,
    )
