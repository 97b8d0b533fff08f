"""Evidence of access: the tree at growing sizes, the log on disk, a call with and without it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, create_engine, insert

from bench.evidence_call import with_and_without
from bench.postgres import fresh_database
from bench.rows import Report, Sizes, percentile
from services.common.database import Database, migrate
from services.common.evidence.access_read import AccessRead
from services.common.evidence.evidence_log import EvidenceLog
from services.common.evidence.leaf import leaf_bytes
from services.common.evidence.merkle import (
    HASH_BYTES,
    Subtree,
    consistency_path,
    folded,
    grow,
    inclusion_path,
    leaf_hash,
)
from services.common.evidence.note import Kind, SignerKey
from services.common.evidence.proofs import Proofs
from services.common.process import now_us
from services.pricing.storage.tables import evidence

_SIGNER = SignerKey("bench.local/evidence/pricing", Kind.LOG, bytes(32))
_AT_ONCE = 50
_LAST = 1_000  # leaves of each size that are appended one by one and measured
_BLOCK = 10_000
_APPENDED = "the two SHA-256 that a leaf costs on average: its own and one node's"
_PROVED = "SHA-256 over two hashes for each level, which whoever verifies must do"
_WRITTEN = "the same bytes by one durable insert into a plain table of the same database"


def read(number: int) -> AccessRead:
    """One read of many, of the usual length."""
    return AccessRead(
        who="6f1c0e2a9b7d4f0c8a5e3d2b1c0f9e8d",
        uri="spiffe://lipei.local/insurer/insurer/desk/lipei",
        role="adjuster",
        purpose="claims-handling",
        consent="",
        rpc="/lipei.claims.v1.ClaimsService/GetClaim",
        record=f"policies/p{number}/claims/6f1c0e2a9b7d4f0c8a5e3d2b1c0f9e8d",
        level=3,
        at_us=1_780_000_000_000_000 + number,
    )


class Tree:
    """Complete subtrees in memory, level by level, as the tables keep them."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: tuple[bytes, ...] = ()
        self._levels: list[bytearray] = [bytearray()]

    def append(self, hashes: Sequence[bytes]) -> None:
        """Append leaves by their hashes."""
        growth = grow(self.size, self.peaks, hashes)
        self._levels[0] += b"".join(hashes)
        for level, _, found in growth.nodes:
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += found
        self.size += len(hashes)
        self.peaks = growth.peaks

    def proof(self, path: Sequence[Sequence[Subtree]]) -> list[bytes]:
        """The nodes of a proof."""
        return [folded([self._hash(*subtree) for subtree in node]) for node in path]

    def _hash(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][index * HASH_BYTES : (index + 1) * HASH_BYTES])


def measure(report: Report, sizes: Sizes, folder: Path, server: str) -> None:
    """Everything about evidence that needs no stack."""
    _trees(report, sizes)
    asyncio.run(_stored(report, sizes, "SQLite", f"sqlite:///{folder / 'evidence.db'}"))
    with fresh_database(server) as url:
        asyncio.run(_stored(report, sizes, "PostgreSQL", url))
    asyncio.run(with_and_without(report, sizes, folder))


def _trees(report: Report, sizes: Sizes) -> None:
    tree, draw = Tree(), random.Random(1)
    for size in sizes.leaves:
        while tree.size < size - _LAST:
            some = range(tree.size, min(tree.size + _BLOCK, size - _LAST))
            tree.append([leaf_hash(b"%d" % number) for number in some])
        rest = [b"%d" % number for number in range(tree.size, size)]
        cpu, begun = time.process_time(), time.perf_counter()
        for leaf in rest:
            tree.append([leaf_hash(leaf)])
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        floor = _hashing(2 * len(rest))
        report.add(
            f"append to {size:,} leaves, tree alone",
            "µs",
            took / len(rest) * 1e6,
            floor / len(rest) * 1e6,
            cpu_ms=cpu / len(rest) * 1e3,
            what_floor_is=_APPENDED,
            n=len(rest),
        )
        asked = [draw.randrange(1, size) for _ in rest]
        name = f"{size:,} leaves, tree alone"
        _prove(report, f"prove one of {name}", tree, inclusion_path, asked)
        _prove(report, f"prove growth to {name}", tree, consistency_path, asked)


def _prove(
    report: Report,
    path: str,
    tree: Tree,
    way: Callable[[int, int], Sequence[Sequence[Subtree]]],
    asked: Sequence[int],
) -> None:
    hashes = 0
    cpu, begun = time.process_time(), time.perf_counter()
    for one in asked:
        hashes += len(tree.proof(way(one, tree.size)))
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    report.add(
        path,
        "µs",
        took / len(asked) * 1e6,
        _hashing(hashes) / len(asked) * 1e6,
        cpu_ms=cpu / len(asked) * 1e3,
        what_floor_is=_PROVED,
        n=len(asked),
    )
    report.counts[f"hashes per proof, {path.removesuffix(', tree alone')}"] = hashes / len(asked)


def _hashing(times: int) -> float:
    both = bytes(1 + 2 * HASH_BYTES)
    begun = time.perf_counter()
    for _ in range(times):
        hashlib.sha256(both).digest()
    return time.perf_counter() - begun


async def _stored(report: Report, sizes: Sizes, kind: str, url: str) -> None:
    database = Database(url)
    try:
        migrate(database, "services.pricing")
        log = EvidenceLog(database, evidence, _SIGNER, now_us)
        for start in range(0, sizes.kept_leaves, _BLOCK):
            block = range(start, min(start + _BLOCK, sizes.kept_leaves))
            await log.append([read(number) for number in block])
        floor = await database.run(_plain, url, sizes.appended)
        alone = [await _took(log.append([read(number)])) for number in range(sizes.appended)]
        _row(report, f"record one read, {kind}, p50", alone, percentile(floor, 50))
        rounds = max(1, sizes.appended // _AT_ONCE)
        together = [await _took(_at_once(log)) / _AT_ONCE for _ in range(rounds)]
        path = f"record one of {_AT_ONCE} reads at once, {kind}, p50"
        _row(report, path, together, percentile(floor, 50))
        proofs = [await database.run(_proved, database, number) for number in range(sizes.appended)]
        report.counts[f"ms to prove one of {sizes.kept_leaves:,} leaves, {kind}"] = (
            percentile(proofs, 50) * 1e3
        )
    finally:
        database.close()


def _row(report: Report, path: str, ours: Sequence[float], floor: float) -> None:
    report.add(
        path,
        "ms",
        percentile(ours, 50) * 1e3,
        floor * 1e3,
        cpu_ms=0.0,
        what_floor_is=_WRITTEN,
        n=len(ours),
    )


async def _at_once(log: EvidenceLog) -> None:
    await asyncio.gather(*(log.append([read(number)]) for number in range(_AT_ONCE)))


async def _took(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _proved(database: Database, number: int) -> float:
    begun = time.perf_counter()
    with database.reading() as connection:
        proofs = Proofs(connection, evidence)
        size = proofs.size()
        proofs.inclusion(number * 37 % size, size)
    return time.perf_counter() - begun


def _plain(url: str, times: int) -> list[float]:
    """Seconds of each of so many durable inserts of a leaf's bytes, past everything of ours."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    table = Table(
        "bench_evidence_floor",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("body", LargeBinary),
    )
    table.create(engine)
    took = []
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
        for number in range(times):
            begun = time.perf_counter()
            connection.execute(insert(table), {"body": leaf_bytes(read(number))})
            connection.commit()
            took.append(time.perf_counter() - begun)
    engine.dispose()
    return took
