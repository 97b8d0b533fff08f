"""What a mask costs: one answer through the guard, and past it on a server that has none.

The guard knows its caller beforehand and throws its reads away: what is left of it is the role
check, the mask and the look for records. Identity and leaf have rows of their own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from bench.bills import LINES, bill
from bench.identities import identities
from bench.rows import Report, Sizes, percentile
from lipei.claims.v1 import claims_pb2, claims_pb2_grpc, decision_pb2, reason_pb2
from lipei.type.v1 import access_pb2, money_pb2
from services.common.access.caller import Caller
from services.common.access.guard import Guard
from services.common.evidence.access_read import AccessRead
from services.common.grpc_edge import ErrorInterceptor
from services.common.process import now_us
from services.common.transport.certificates import Identity, load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import server_credentials

_SERVICE = "lipei.claims.v1.ClaimsService"
_CLAIM = "policies/bench/claims/c"
_WITHOUT = "the same call and answer on a server without a guard"
_ROLES = {
    "masked for payments": access_pb2.ROLE_PAYMENTS,
    "seen whole by an adjuster": access_pb2.ROLE_ADJUSTER,
}


async def measure(report: Report, sizes: Sizes, folder: Path) -> None:
    """For each role one call after the other, taking turns between the two servers.

    Raises: RuntimeError when the answers do not differ as they must: nothing would be measured.
    """
    state = identities(folder)
    identity, caller = load_identity(state, "claims"), load_identity(state, "settlement")
    for what, role in _ROLES.items():
        async with (
            _serving(identity, caller, _guard(role)) as ours,
            _serving(identity, caller, None) as floor,
        ):
            request = claims_pb2.GetClaimRequest(name=_CLAIM)
            masked = (await ours.GetClaim(request)) != (await floor.GetClaim(request))
            if masked != (role == access_pb2.ROLE_PAYMENTS):
                raise RuntimeError("an answer is not masked as its role wants it")
            await _compare(report, what, (ours, floor), sizes.calls)


async def _compare(
    report: Report, what: str, stubs: Sequence[claims_pb2_grpc.ClaimsServiceAsyncStub], count: int
) -> None:
    request, spent = claims_pb2.GetClaimRequest(name=_CLAIM), 0.0
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for stub, times in zip(stubs, took, strict=True):
            cpu, begun = time.process_time(), time.perf_counter()
            await stub.GetClaim(request)
            times.append(time.perf_counter() - begun)
            if stub is stubs[0]:
                spent += time.process_time() - cpu
    report.add(
        f"a claim of {LINES} lines {what}, p50",
        "µs",
        percentile(took[0], 50) * 1e6,
        percentile(took[1], 50) * 1e6,
        cpu_ms=spent / count * 1e3,
        what_floor_is=_WITHOUT,
        n=count,
    )


class _Known:
    """Identification that is over before it begins."""

    def __init__(self, role: int) -> None:
        self._caller = Caller(
            uri="spiffe://bench.local/insurer/bench/desk/1",
            roles=frozenset({role}),
            subject="bench",
            purpose="",
            insurer="bench",
        )

    def certificate(self, _context: Any) -> object:
        """Everybody's is good."""
        return self._caller

    async def of(self, _context: Any) -> Caller:
        """The one caller."""
        return self._caller

    async def again(self, _context: Any) -> Caller:
        """The same."""
        return self._caller


def _guard(role: int) -> Guard:
    async def forget(_reads: Sequence[AccessRead]) -> None:
        """Throw them away."""

    return Guard(
        identification=_Known(role), append=forget, pseudonym=lambda token: token, now_us=now_us
    )


def _answer() -> claims_pb2.GetClaimResponse:
    """A decided claim; each line is borne by two."""
    yuan = money_pb2.Money(currency_code="CNY", minor_units=100_000)
    shares = [
        decision_pb2.BearerShare(
            bearer=bearer, reason=reason_pb2.REASON_BENEFIT, clause="4.2", amount=yuan
        )
        for bearer in (decision_pb2.BEARER_PATIENT, decision_pb2.BEARER_INSURER)
    ]
    lines = [
        decision_pb2.DecisionLine(
            number=line.number, billed=yuan, allowed=yuan, benefit=yuan, shares=shares
        )
        for line in bill(0).lines
    ]
    claim = claims_pb2.Claim(
        name=_CLAIM,
        member="m0",
        bill_number="B0",
        provider_id="H99000100001",
        state=claims_pb2.CLAIM_STATE_PAYABLE,
        decision=decision_pb2.Decision(billed=yuan, allowed=yuan, benefit=yuan, lines=lines),
    )
    return claims_pb2.GetClaimResponse(claim=claim)


@asynccontextmanager
async def _serving(
    identity: Identity, caller: Identity, guard: Guard | None
) -> AsyncIterator[claims_pb2_grpc.ClaimsServiceAsyncStub]:
    kept = _answer()

    async def get_claim(_request: Any, _context: Any) -> claims_pb2.GetClaimResponse:
        answer = claims_pb2.GetClaimResponse()
        answer.CopyFrom(kept)  # the guard masks in place
        return answer

    method: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        get_claim,
        claims_pb2.GetClaimRequest.FromString,
        claims_pb2.GetClaimResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(_SERVICE, {"GetClaim": method})
    server: Any = grpc.aio.server(interceptors=[ErrorInterceptor(guard)])
    server.add_generic_rpc_handlers((handlers,))
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', server_credentials(identity))}"
    await server.start()
    try:
        async with channel(target, caller, "claims") as open_channel:
            yield claims_pb2_grpc.ClaimsServiceStub(open_channel)
    finally:
        await server.stop(0)
