"""A what-if over many stored claims, over gRPC, beside deciding the same claims in one process.

The floor is the engine alone: each claim decided once under the other plan from facts at hand, in
one process, nothing read, nothing unsealed, nothing summed up.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from sqlalchemy import text

from bench import bills, bulk
from bench.identities import identities
from bench.postgres import backends_cpu_s, fresh_database, version_of
from bench.processes import memory_mib
from bench.rows import Report, Sizes
from bench.stored import Served, served_claims
from lipei.claims.v1 import recompute_pb2 as pb
from services.claims.bill_intake import bill_facts
from services.claims.core.adjudicate import adjudicate
from services.claims.core.facts import UsageSnapshot
from services.claims.plans.loader import load_plan
from services.common.process import now_us
from services.common.settings import insurer

_FLOOR = "each claim decided once by the engine alone, in one process, from facts at hand"
_LONGEST_S = 600.0
_AT_THE_FLOOR = 2_000


def measure(report: Report, sizes: Sizes, folder: Path, server: str) -> None:
    """Load claims, and ask what another plan would have paid for all of them; on both databases."""
    state = identities(folder)
    url = f"sqlite:///{folder / 'what-if.db'}"
    asyncio.run(_measure(report, sizes, "SQLite", url, state))
    report.host["postgresql"] = version_of(server)
    with fresh_database(server) as url:
        asyncio.run(_measure(report, sizes, "PostgreSQL", url, state))


async def _measure(report: Report, sizes: Sizes, kind: str, url: str, state: Path) -> None:
    plan, count = load_plan(bills.PLAN.read_bytes(), bills.PLAN.name), sizes.stored_claims
    async with served_claims(url, state) as served:
        begun = time.perf_counter()
        paid = await served.database.run(
            bulk.load, served.database, served.keys, plan, count, now_us(), insurer=insurer()
        )
        report.counts[f"seconds to load {count} claims, {kind}"] = time.perf_counter() - begun
        with served.database.writing() as connection:
            connection.execute(text("ANALYZE"))  # as any database does that has stood for a while
        memory, servers = memory_mib(os.getpid())[0], backends_cpu_s(url)
        cpu, begun = _cpu_s(), time.perf_counter()
        told, highest = await _asked(served)
        took = time.perf_counter() - begun
        cpu = _cpu_s() - cpu
        report.counts[f"MiB more while {count} claims are compared, {kind}"] = highest - memory
        report.counts[f"CPU s, what-if over {count} claims, {kind}"] = cpu
        if not served.database.is_sqlite:
            servers = backends_cpu_s(url) - servers
            report.counts[f"CPU s of the database's own processes, what-if, {kind}"] = servers
    if (told.claims, told.before.minor_units) != (count, paid) or told.after == told.before:
        raise RuntimeError("the what-if did not compare what was loaded")
    floor = _floor(count)
    report.add(
        f"what-if over {count} claims, {kind}",
        "s",
        took,
        floor,
        cpu_ms=cpu / count * 1e3,
        what_floor_is=_FLOOR,
        n=count,
    )


async def _asked(served: Served) -> tuple[pb.WhatIfSummary, float]:
    """The answer, and the most memory of this process, in MiB, at any of its messages."""
    request = pb.DecideWhatIfRequest(
        yaml=bills.other_plan(), first_date="2000-01-01", last_date="2199-12-31"
    )
    summary, highest = pb.WhatIfSummary(), 0.0
    async for one in served.recompute.DecideWhatIf(request, timeout=_LONGEST_S):
        if one.HasField("summary"):
            summary = one.summary
        highest = max(highest, memory_mib(os.getpid())[0])
    return summary, highest


def _cpu_s() -> float:
    """Of this process and of those of its children that have ended."""
    return sum(os.times()[:4])


def _floor(count: int) -> float:
    plan, policy = load_plan(bills.other_plan(), "other"), bulk.snapshot_of("p")
    some = min(count, _AT_THE_FLOOR)
    facts = [bill_facts(bills.bill(number)) for number in range(some)]
    begun = time.perf_counter()
    for one in facts:
        adjudicate(plan, policy, UsageSnapshot(), one)
    return (time.perf_counter() - begun) / some * count
