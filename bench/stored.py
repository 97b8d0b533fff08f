"""Adjudication that is kept, without Temporal: real gRPC, real databases, statements counted.

The floor writes the bytes of the same decisions, inputs and output, into one plain table of the
same database: one transaction for a batch, one transaction each for claims that come alone.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    insert,
    select,
)

from bench import bills
from bench.identities import identities
from bench.postgres import backends_cpu_s, fresh_database, version_of
from bench.rows import Report, Sizes
from bench.statements import counted
from demo.stack import sandbox_identity
from lipei.claims.v1 import (
    claims_pb2,
    claims_pb2_grpc,
    recompute_pb2_grpc,
    settlement_pb2,
    settlement_pb2_grpc,
)
from services.claims.in_flight import InFlight
from services.claims.paying import Payments
from services.claims.payout_steps import PayingAccount
from services.claims.payouts.bank import Bank
from services.claims.payouts.iso20022 import Party
from services.claims.plan_shelf import PlanShelf
from services.claims.recomputing import RecomputeServicer
from services.claims.servicer import ClaimsServicer
from services.claims.serving import ClaimsParts
from services.claims.settlement import SettlementServicer
from services.claims.storage.tables import decision, metadata
from services.common.access.desks import Acting
from services.common.access.guarding import service_guard
from services.common.database import Database, migrate
from services.common.evidence.access_read import AccessRead
from services.common.grpc_edge import ErrorInterceptor
from services.common.identity import member_token
from services.common.process import now_us
from services.common.sealing import KeySet, SubjectKeys
from services.common.transport.certificates import load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import server_credentials

_KEY = bytes(32)
_INTAKE, _ACTUARY = Acting(role="insurer_intake"), Acting(role="actuary")
_IN_ONE = (
    "the same inputs and outputs as bytes in one plain table of the same database, in one "
    "transaction"
)
_ALONE = "the same, one transaction a claim"


@dataclass(frozen=True, slots=True)
class Served:
    """Claims in this process, and who calls it."""

    database: Database
    keys: SubjectKeys
    claims: claims_pb2_grpc.ClaimsServiceAsyncStub
    settlement: settlement_pb2_grpc.SettlementServiceAsyncStub
    recompute: recompute_pb2_grpc.RecomputeServiceAsyncStub


class _Nobody:
    """Workflows that are never run: the steps are called from here."""

    async def decided(self, claim_name: str, claim_id: str, update_id: str) -> None:
        """Do nothing."""

    async def fetch(self, hospital: str) -> None:
        """Do nothing."""


def measure(report: Report, sizes: Sizes, folder: Path, server: str) -> None:
    """Batches and single claims, on SQLite and on that PostgreSQL server."""
    url = f"sqlite:///{folder / 'stored.db'}"
    state = identities(folder)
    asyncio.run(_measure(report, sizes, "SQLite", url, state))
    report.host["postgresql"] = version_of(server)
    with fresh_database(server) as url:
        asyncio.run(_measure(report, sizes, "PostgreSQL", url, state))


async def _measure(report: Report, sizes: Sizes, kind: str, url: str, state: Path) -> None:
    async with served_claims(url, state) as served:
        count = sizes.singles + sizes.batches * sizes.stored
        names = await _taken_in(report, served, kind, count, 2 * sizes.compared)
        await _by_lines(report, served, kind, range(count, count + sizes.compared))
        with _plain_table(served.database) as (engine, table):
            await _alone(report, served, kind, names[: sizes.singles], (engine, table))
            await _batches(report, served, kind, names[sizes.singles :], sizes, (engine, table))


async def _taken_in(
    report: Report, served: Served, kind: str, count: int, more_people: int
) -> list[str]:
    """Every claim received, by its name; what intake asks of the database is counted."""
    await served.claims.PublishPlan(
        claims_pb2.PublishPlanRequest(request_id="bench-plan", yaml=bills.PLAN.read_bytes())
    )
    for number, some in enumerate(bills.policies(count + more_people)):
        await served.claims.ImportPolicies(
            claims_pb2.ImportPoliciesRequest(request_id=f"bench-policies-{number}", policies=some)
        )
    requests = [bills.submission(_token, number) for number in range(count)]
    with counted(served.database.engine) as asked:
        answers = [await served.claims.SubmitClaim(request) for request in requests]
    report.counts[f"statements per claim, intake, {kind}"] = asked.statements / count
    report.counts[f"commits per claim, intake, {kind}"] = asked.commits / count
    return [claim.name for answer in answers for claim in answer.claims]


async def _by_lines(report: Report, served: Served, kind: str, few: range) -> None:
    """What batches of claims with few and with many lines ask of the database."""
    count = len(few)
    many = range(few.stop, few.stop + count)
    for numbers, lines in ((few, bills.LINES), (many, bills.MANY_LINES)):
        requests = [bills.submission(_token, number, lines=lines) for number in numbers]
        answers = [await served.claims.SubmitClaim(request) for request in requests]
        names = [claim.name for answer in answers for claim in answer.claims]
        with counted(served.database.engine) as asked:
            await served.settlement.SettleClaims(settlement_pb2.SettleClaimsRequest(names=names))
        what = f"statements of a batch of {count} claims of {lines} lines, {kind}"
        report.counts[what] = asked.statements


async def _alone(
    report: Report,
    served: Served,
    kind: str,
    names: Sequence[str],
    plain: tuple[Engine, Table],
) -> None:
    cpu = time.process_time()
    with counted(served.database.engine) as asked:
        begun = time.perf_counter()
        for name in names:
            request = settlement_pb2.AdjudicateClaimRequest(name=name)
            answer = await served.settlement.AdjudicateClaim(request)
            if answer.state != claims_pb2.CLAIM_STATE_PAYABLE:
                raise RuntimeError("a claim did not become payable")
        took = time.perf_counter() - begun
    report.counts[f"statements per claim, alone, {kind}"] = asked.statements / len(names)
    report.counts[f"commits per claim, alone, {kind}"] = asked.commits / len(names)
    cpu = time.process_time() - cpu
    floor = sum(_written(plain, [one]) for one in _kept(served.database, len(names)))
    report.add(
        f"settle claims one by one, {kind}",
        "µs/claim",
        took / len(names) * 1e6,
        floor / len(names) * 1e6,
        cpu_ms=cpu / len(names) * 1e3,
        what_floor_is=f"{_IN_ONE}: {_ALONE}",
        n=len(names),
    )


async def _batches(
    report: Report,
    served: Served,
    kind: str,
    names: Sequence[str],
    sizes: Sizes,
    plain: tuple[Engine, Table],
) -> None:
    ours, floors, cpu = [], [], 0.0
    url = served.database.engine.url.render_as_string()
    servers = backends_cpu_s(url)
    with counted(served.database.engine) as asked:
        for at in range(0, len(names), sizes.stored):
            request = settlement_pb2.SettleClaimsRequest(names=names[at : at + sizes.stored])
            cpu_before, begun = time.process_time(), time.perf_counter()
            answer = await served.settlement.SettleClaims(request)
            ours.append(time.perf_counter() - begun)
            cpu += time.process_time() - cpu_before
            if {claim.state for claim in answer.claims} != {claims_pb2.CLAIM_STATE_PAYABLE}:
                raise RuntimeError("a claim of the batch did not become payable")
    if not served.database.is_sqlite:
        servers = (backends_cpu_s(url) - servers) / len(names)
        report.counts[f"CPU ms per claim of the database's own processes, batch, {kind}"] = (
            servers * 1e3
        )
    report.counts[f"statements per claim, batch, {kind}"] = asked.statements / len(names)
    report.counts[f"commits per claim, batch, {kind}"] = asked.commits / len(names)
    kept = _kept(served.database, len(names))
    floors = [
        _written(plain, kept[at : at + sizes.stored]) for at in range(0, len(kept), sizes.stored)
    ]
    report.add(
        f"settle a batch of {sizes.stored}, {kind}",
        "µs/claim",
        statistics.median(ours) / sizes.stored * 1e6,
        statistics.median(floors) / sizes.stored * 1e6,
        cpu_ms=cpu / len(names) * 1e3,
        what_floor_is=_IN_ONE,
        n=len(names),
    )


def _kept(database: Database, most: int) -> list[tuple[bytes, bytes]]:
    """Inputs and output of the last decisions."""
    newest = select(decision.c.inputs, decision.c.output).order_by(decision.c.at_us.desc())
    with database.reading() as connection:
        return [(bytes(i), bytes(o)) for i, o in connection.execute(newest.limit(most))]


@contextmanager
def _plain_table(database: Database) -> Iterator[tuple[Engine, Table]]:
    """A table without triggers or indexes, reached past everything of ours."""
    engine = create_engine(database.engine.url)
    table = Table(
        "bench_floor",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("inputs", LargeBinary),
        Column("output", LargeBinary),
    )
    table.create(engine)
    try:
        yield engine, table
    finally:
        engine.dispose()


def _written(plain: tuple[Engine, Table], rows: Sequence[tuple[bytes, bytes]]) -> float:
    """Seconds of one transaction that writes these rows and makes them durable."""
    engine, table = plain
    values = [{"inputs": inputs, "output": output} for inputs, output in rows]
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
        begun = time.perf_counter()
        connection.execute(insert(table), values)
        connection.commit()
        return time.perf_counter() - begun


def _token(kind: str, number: str) -> str:
    return member_token(kind, number, key=_KEY, key_version="k1")


@asynccontextmanager
async def served_claims(url: str, state: Path) -> AsyncIterator[Served]:
    """Claims on a socket of its own, in this process: only here can its statements be counted."""
    database = Database(url)
    identity = load_identity(state, "claims")
    guard = service_guard(identity, state, database, metadata, append=_unrecorded, now_us=now_us)
    server: Any = grpc.aio.server(interceptors=[ErrorInterceptor(guard)])
    try:
        migrate(database, "services.claims")
        keys = _add_servicers(server, database)
        credentials = server_credentials(identity)
        target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        await server.start()
        intake, steps = sandbox_identity(state, _INTAKE), load_identity(state, "settlement")
        actuary = sandbox_identity(state, _ACTUARY)
        async with (
            channel(target, intake, "claims") as of_intake,
            channel(target, steps, "claims") as of_steps,
            channel(target, actuary, "claims") as of_actuary,
        ):
            yield Served(
                database,
                keys,
                claims_pb2_grpc.ClaimsServiceStub(of_intake),
                settlement_pb2_grpc.SettlementServiceStub(of_steps),
                recompute_pb2_grpc.RecomputeServiceStub(of_actuary),
            )
    finally:
        await server.stop(0)
        database.close()


async def _unrecorded(_reads: Sequence[AccessRead]) -> None:
    """The leaf is measured by itself: here the statements of a claim are counted."""


def _add_servicers(server: Any, database: Database) -> SubjectKeys:
    keys = SubjectKeys(KeySet({"m1": _KEY}, "m1"), now_us=now_us)
    keys.prepare(database)
    parts = ClaimsParts(
        database=database,
        plans=PlanShelf(),
        workflows=_Nobody(),
        keys=keys,
        token=_token,
        now_us=now_us,
    )
    debtor = Party(holder_name="Bench", account_number="62220001", bank_code="104100000004")
    paying = PayingAccount(name="main", debtor=debtor)
    payments = Payments(database, Bank("http://127.0.0.1:9"), keys, paying, now_us=now_us)
    claims_pb2_grpc.add_ClaimsServiceServicer_to_server(ClaimsServicer(parts, InFlight(8)), server)
    settlement_pb2_grpc.add_SettlementServiceServicer_to_server(
        SettlementServicer(parts, payments), server
    )
    recompute_pb2_grpc.add_RecomputeServiceServicer_to_server(RecomputeServicer(parts), server)
    return keys
