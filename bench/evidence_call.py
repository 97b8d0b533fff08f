"""A call that leaves evidence beside the same call, guarded alike, whose reads are thrown away."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from bench.identities import identities
from bench.rows import Report, Sizes, percentile
from demo.stack import sandbox_identity
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.access.desks import Acting
from services.common.access.guarding import service_guard
from services.common.database import Database, migrate
from services.common.evidence.access_read import AccessRead
from services.common.evidence.evidence_log import EvidenceLog
from services.common.evidence.note import Kind, SignerKey
from services.common.grpc_edge import ErrorInterceptor
from services.common.process import now_us
from services.common.transport.certificates import load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import server_credentials
from services.pricing.storage.tables import evidence, metadata

_QUOTE = "policies/bench/quotes/q"
_WITHOUT = "the same call on a server that is guarded alike and throws its reads away"
_SIGNER = SignerKey("bench.local/evidence/pricing", Kind.LOG, bytes(32))


class _Quotes(pricing_pb2_grpc.PricingServiceServicer):
    """Answers with one quote from memory: the less a call does, the more a leaf is of it."""

    def __init__(self) -> None:
        steps = [pricing_pb2.PremiumStep(step="age", cell="52", factor_millionths=1_200_000)]
        quote = pricing_pb2.Quote(name=_QUOTE, steps=steps)
        self._answer = pricing_pb2.GetQuoteResponse(quote=quote)

    ClearFlag = RenewPolicy = RecordMedication = StreamReadings = None  # type: ignore[assignment]  # never asked
    QuotePremium = RecordReadings = SetPersonalTarget = None  # type: ignore[assignment]  # never asked
    AssessMember = ListCoachTasks = EraseMember = None  # type: ignore[assignment]  # never asked

    async def GetQuote(  # noqa: N802 - the rpc's name
        self,
        request: pricing_pb2.GetQuoteRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pricing_pb2.GetQuoteResponse:
        """The quote."""
        answer = pricing_pb2.GetQuoteResponse()
        answer.CopyFrom(self._answer)  # the guard masks in place
        return answer


async def with_and_without(report: Report, sizes: Sizes, folder: Path) -> None:
    """One call after the other, taking turns between the two servers.

    Raises: RuntimeError when the calls left another number of leaves than there were: nothing
    would have been measured.
    """
    state = identities(folder)
    database = Database(f"sqlite:///{folder / 'evidence-call.db'}")
    migrate(database, "services.pricing")
    log, kept = EvidenceLog(database, evidence, _SIGNER, now_us), 0

    async def keep(reads: Sequence[AccessRead]) -> None:
        nonlocal kept
        kept += len(reads)
        await log.append(reads)

    async def forget(_reads: Sequence[AccessRead]) -> None:
        """Throw them away."""

    try:
        async with (
            _serving(state, database, keep) as ours,
            _serving(state, database, forget) as floor,
        ):
            request, spent = pricing_pb2.GetQuoteRequest(name=_QUOTE), 0.0
            took: tuple[list[float], list[float]] = ([], [])
            for number in range(sizes.appended + 1):
                for stub, times in zip((ours, floor), took, strict=True):
                    cpu, begun = time.process_time(), time.perf_counter()
                    await stub.GetQuote(request)
                    times.append(time.perf_counter() - begun)
                    if stub is ours and number:
                        spent += time.process_time() - cpu
    finally:
        database.close()
    if kept != sizes.appended + 1:
        raise RuntimeError("a call did not leave exactly one leaf")
    for percent in (50, 99):
        report.add(
            f"a call with one leaf, SQLite, p{percent}",
            "ms",
            percentile(took[0][1:], percent) * 1e3,
            percentile(took[1][1:], percent) * 1e3,
            cpu_ms=spent / sizes.appended * 1e3,
            what_floor_is=_WITHOUT,
            n=sizes.appended,
        )


@asynccontextmanager
async def _serving(
    state: Path, database: Database, append: Any
) -> AsyncIterator[pricing_pb2_grpc.PricingServiceAsyncStub]:
    identity = load_identity(state, "pricing")
    guard = service_guard(identity, state, database, metadata, append=append, now_us=now_us)
    server: Any = grpc.aio.server(interceptors=[ErrorInterceptor(guard)])
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(_Quotes(), server)
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', server_credentials(identity))}"
    await server.start()
    try:
        chief = sandbox_identity(state, Acting(role="chief_actuary"))
        async with channel(target, chief, "pricing") as open_channel:
            yield pricing_pb2_grpc.PricingServiceStub(open_channel)
    finally:
        await server.stop(0)
