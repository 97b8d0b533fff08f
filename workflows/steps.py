"""How every step of a workflow runs: a local activity, with time-outs and retries in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

Q = TypeVar("Q")
A = TypeVar("A")

# A killed worker's step is repeated after this long, so it is short: recovery after kill -9 takes
# as long as start_to_close_timeout. One call to a service takes milliseconds.
STEP_TIMEOUT = timedelta(seconds=5)
# Banks take files slowly; a call that outlasts this has an unknown outcome and is asked about.
BANK_TIMEOUT = timedelta(seconds=20)
# A claim that waits for the member's earlier one asks again soon, then ever more rarely.
# While a retry waits locally it holds one of the worker's few workflow-task slots: beyond this the
# wait becomes a timer of the server and holds nothing.
LOCAL_WAIT = timedelta(milliseconds=300)
STEP_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=50),
    backoff_coefficient=1.7,
    maximum_interval=timedelta(seconds=30),
)


async def step(activity: Callable[[Any, Q], Awaitable[A]], request: Q) -> A:
    """Run one step to its end: retried until it succeeds or its refusal is final."""
    return await workflow.execute_local_activity_method(
        activity,
        request,
        start_to_close_timeout=STEP_TIMEOUT,
        retry_policy=STEP_RETRY,
        local_retry_threshold=LOCAL_WAIT,
    )


async def try_step(activity: Callable[[Any, Q], Awaitable[A]], request: Q) -> A:
    """Run one step a single time; for steps whose workflow comes back to them by itself.

    Raises: ApplicationError when it was refused (of a local activity it comes bare), ActivityError
    when it took too long.
    """
    return await workflow.execute_local_activity_method(
        activity,
        request,
        start_to_close_timeout=BANK_TIMEOUT,
        retry_policy=RetryPolicy(maximum_attempts=1),
    )
