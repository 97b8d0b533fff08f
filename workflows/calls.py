"""One call of a step: its time-outs, what a refusal becomes, and the signs of life of long ones.

Failure messages carry stable reasons only; they stay in Temporal's history.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from temporalio import activity
from temporalio.exceptions import ApplicationError

from services.common.grpc_edge import RpcFault, error_of
from services.common.temporal.recovery import HEARTBEAT_EVERY

A = TypeVar("A")

# Shorter than the steps' start_to_close_timeout: the call fails before the step is given up.
CALL_TIMEOUT_S = 4.5
SHORTEST_PAUSE_S = 1.0
# A service that is down is most often one that was killed, and back within seconds: it is looked
# for once a second, so many times, and only then ever more rarely. (Measured: pauses that grow by
# 1.7 from the start found claims 9.4 s after its kill, though it was ready after 4.6 s.)
ABSENT_PAUSE_S, ABSENT_TRIES = 1.0, 20
LONGEST_ABSENT_PAUSE_S = 30.0
# The steps' own pauses (workflows.steps.STEP_RETRY) stay below a second so many times.
LOCAL_TRIES = 7
# Repeating the same call cannot help with these. Who calls, and by what right, is no fault of the
# request's: a certificate is renewed and a role given, and no bill is lost meanwhile.
FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
}


async def call(rpc: Callable[..., Awaitable[A]], request: Any, timeout_s: float) -> A:
    """What an rpc answers.

    Raises: ApplicationError, as `failure` has it.
    """
    try:
        return await rpc(request, timeout=timeout_s)
    except grpc.RpcError as error:
        fault = error_of(error)
        raise failure(fault) from None


def failure(fault: RpcFault) -> ApplicationError:
    """What a refusal is for a workflow: final, or to be tried again after a pause."""
    # A short pause is left to the steps' own growing one, so that a long wait cannot poll for ever.
    pause = fault.retry_after_s
    if pause is not None and pause < SHORTEST_PAUSE_S:
        pause = None
    if pause is None and fault.code is grpc.StatusCode.UNAVAILABLE:
        pause = absent_pause_s(activity.info().attempt, local=activity.info().is_local)
    return ApplicationError(
        f"{fault.code.name} {fault.reason}",
        type=fault.reason,
        non_retryable=fault.code in FINAL,
        next_retry_delay=None if pause is None else timedelta(seconds=pause),
    )


@asynccontextmanager
async def heard_of(*done: Message) -> AsyncIterator[None]:
    """Show signs of life while the block runs: without them a kill is noticed at the time-out only.

    (Measured: a pull whose worker was killed went on 60 s later.) Each carries a copy of what is
    done by then: it is encoded later, and must not run ahead.
    """

    async def beat() -> None:
        while True:
            activity.heartbeat(*map(copy.deepcopy, done))
            await asyncio.sleep(HEARTBEAT_EVERY.total_seconds())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


def absent_pause_s(attempt: int, *, local: bool) -> float | None:
    """Seconds until a service that is down is called again; None leaves it to the step's own pause.

    That one is shorter at first for a local activity, which repeats within milliseconds.

    >>> [absent_pause_s(attempt, local=False) for attempt in (1, 20, 21, 99)]
    [1.0, 1.0, 1.7, 30.0]
    """
    if local and attempt < LOCAL_TRIES:
        return None
    growing: float = ABSENT_PAUSE_S * 1.7 ** min(max(0, attempt - ABSENT_TRIES), 20)
    return min(growing, LONGEST_ABSENT_PAUSE_S)
