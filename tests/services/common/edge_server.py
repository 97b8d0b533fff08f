"""A service that does what its caller names, as a process of its own behind the real edge.

`python -m tests.services.common.edge_server STATE ADDRESS [crash|return]`; the request's `parent`
says what to do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common import log
from services.common.grpc_edge import (
    Refused,
    Serving,
    Violation,
    invalid,
    not_found,
    remaining_s,
    serve,
)
from services.common.transport.certificates import load_identity
from tests.callers import guard_for

SECRET = "张三 4401 0119"
FULL_NAME = "lipei.pricing.v1.PricingService"
Context = grpc.aio.ServicerContext[Any, Any]


class Puppet(pricing_pb2_grpc.PricingServiceServicer):
    """Answers, refuses, fails or waits, as it is told."""

    def __init__(self, state: Path) -> None:
        self.state = state

    async def QuotePremium(  # noqa: N802 - the rpc's name
        self, request: pricing_pb2.QuotePremiumRequest, context: Context
    ) -> pricing_pb2.QuotePremiumResponse:
        """Do what `parent` says: "{what}" or "{what}:{how much}"."""
        what, _, much = request.parent.partition(":")
        answer = ""
        if what == "invalid":
            raise invalid([violation(number) for number in range(int(much))])
        if what == "refuse":
            raise Refused(
                grpc.StatusCode.ABORTED,
                "EARLIER_CLAIM_UNDECIDED",
                "an earlier claim of this member is undecided; retry",
                metadata={"claim": "policies/p/claims/c"},
                retry_after_s=1.25,
            )
        if what == "missing":
            raise not_found("quote", much)
        if what == "long text":
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "LONG", "理" * int(much))
        if what == "secret" and much == "answer":
            return SECRET  # type: ignore[return-value]  # what a careless servicer may do
        if what == "secret":
            fail(much)
        if what == "remaining":
            answer = repr(remaining_s(context, 7.0))
        if what == "peer":
            answer = context.peer()
        if what == "wait":
            (self.state / "waiting").touch()
            while not (self.state / "go").exists():  # noqa: ASYNC110 - the test is another process
                await asyncio.sleep(0.01)
            answer = "waited"
        return pricing_pb2.QuotePremiumResponse(quote=pricing_pb2.Quote(name=answer))

    async def GetQuote(  # noqa: N802 - the rpc's name
        self, request: pricing_pb2.GetQuoteRequest, context: Context
    ) -> pricing_pb2.GetQuoteResponse:
        """Nothing is kept here."""
        raise not_found("quote", request.name)

    ClearFlag = RecordMedication = RenewPolicy = StreamReadings = None  # type: ignore[assignment]  # never asked
    RecordReadings = SetPersonalTarget = AssessMember = ListCoachTasks = EraseMember = None  # type: ignore[assignment]  # never asked


def violation(number: int) -> Violation:
    """One fault of many."""
    return Violation(f"lines[{number}].amount", "NEGATIVE", "must not be negative 不能为负")


def fail(how: str) -> None:
    """Fail with a text that holds a secret."""
    try:
        raise KeyError(SECRET)
    except KeyError as fault:
        if how == "group":
            raise ExceptionGroup(SECRET, [ValueError(SECRET)]) from fault
        raise ValueError(SECRET) from fault


async def main() -> None:
    """Serve until told to stop."""
    state, address = Path(sys.argv[1]), sys.argv[2]
    background: list[Callable[[], Awaitable[None]]] = []
    if "crash" in sys.argv:
        background = [crash]
    elif "return" in sys.argv:
        background = [give_up]
    await serve(
        [Serving(pricing_pb2_grpc.add_PricingServiceServicer_to_server, Puppet(state), FULL_NAME)],
        name="puppet",
        address=address,
        state=state,
        identity=load_identity(state, "puppet"),
        guard=guard_for(),
        background=background,
    )


async def crash() -> None:
    """A sweeper that meets a fault it did not expect."""
    fail("")


async def give_up() -> None:
    """A sweeper that ends, as it never should."""


if __name__ == "__main__":
    log.configure("puppet")
    asyncio.run(main())
