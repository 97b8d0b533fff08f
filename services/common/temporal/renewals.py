"""What starting, watching and steering the renewal of a book asks of Temporal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from lipei.pricing.v1.renewal_work_pb2 import RenewBookProgress, RenewBookWork
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.recovery import TASK_TIMEOUT

# A query is answered by a worker; none may run, or one that starts.
_ASKED_WITHIN = timedelta(seconds=20)

UNKNOWN, RUNNING, ENDED, CANCELLED, FAILED = "unknown", "running", "ended", "cancelled", "failed"
_STATES = {
    WorkflowExecutionStatus.RUNNING: RUNNING,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: RUNNING,
    WorkflowExecutionStatus.COMPLETED: ENDED,
    WorkflowExecutionStatus.CANCELED: CANCELLED,
}


async def start_renewal(state: Path, key: str, work: RenewBookWork) -> None:
    """Start the renewal of this key; one that runs goes on, one that is over begins anew."""
    client = await connect(state)
    await client.start_workflow(
        names.RENEW_BOOK,
        work,
        id=names.renew_book_id(key),
        task_queue=names.RENEWALS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        task_timeout=TASK_TIMEOUT,
    )


async def renewal_stands(state: Path, key: str) -> str:
    """How the renewal stands, as one of the words above; asks no worker.

    Raises: temporalio.service.RPCError when Temporal does not answer.
    """
    return await _stands(_handle(await connect(state), key))


async def renewal_progress(state: Path, key: str) -> tuple[str, RenewBookProgress]:
    """How the renewal stands, as one of the words above, and how far it has come.

    Raises: temporalio.service.RPCError when Temporal or, while it runs, its worker does not answer.
    """
    handle = _handle(await connect(state), key)
    stands = await _stands(handle)
    if stands == RUNNING:
        return stands, await handle.query(
            names.RENEWAL_PROGRESS, result_type=RenewBookProgress, rpc_timeout=_ASKED_WITHIN
        )
    return stands, await _result(handle) if stands == ENDED else RenewBookProgress()


async def signal_renewal(state: Path, key: str, word: str) -> None:
    """Pause, resume or cancel the renewal.

    Raises: temporalio.service.RPCError NOT_FOUND when none of this key runs.
    """
    handle = _handle(await connect(state), key)
    if word == "cancel":
        await handle.cancel()
    else:
        await handle.signal({"pause": names.PAUSE_RENEWAL, "resume": names.RESUME_RENEWAL}[word])


def _handle(client: Client, key: str) -> WorkflowHandle[object, RenewBookProgress]:
    return client.get_workflow_handle(names.renew_book_id(key), result_type=RenewBookProgress)


async def _stands(handle: WorkflowHandle[object, RenewBookProgress]) -> str:
    try:
        found = (await handle.describe()).status
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return UNKNOWN
        raise
    return FAILED if found is None else _STATES.get(found, FAILED)


async def _result(handle: WorkflowHandle[object, RenewBookProgress]) -> RenewBookProgress:
    try:
        return await handle.result()
    except WorkflowFailureError:  # ended between two questions
        return RenewBookProgress()
