"""What claims asks of Temporal: start a claim's workflow, wait for its decision, run payouts."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from lipei.claims.v1.settlement_pb2 import (
    AdjudicateClaimResponse,
    AdjustClaimWork,
    AwaitPapersWork,
    RunPayoutsWork,
    SettleClaimWork,
)
from lipei.his_bridge.v1.work_pb2 import PullBillsWork
from services.common.moments import timestamp
from services.common.temporal import names
from services.common.temporal.recovery import TASK_TIMEOUT


class ClaimWorkflows:
    """Starts workflows by name; the claims database, not Temporal, owns idempotency."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def decided(self, claim_name: str, claim_id: str, update_id: str) -> None:
        """Start the claim's workflow if need be and return once it has decided.

        The decision itself is read from the database. A workflow that has ended already, or that
        the server has forgotten, is no fault.
        """
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            names.SETTLE_CLAIM,
            SettleClaimWork(name=claim_name),
            id=names.settle_claim_id(claim_id),
            task_queue=names.CLAIMS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            task_timeout=TASK_TIMEOUT,
        )
        try:
            await self._client.execute_update_with_start_workflow(
                names.DECISION_UPDATE,
                id=update_id,
                start_workflow_operation=start,
                result_type=AdjudicateClaimResponse,
            )
        except (WorkflowAlreadyStartedError, RPCError) as fault:
            # The SDK tells it a second time here, and unheard it would be logged as an error.
            await asyncio.gather(start.workflow_handle(), return_exceptions=True)
            if not isinstance(fault, WorkflowAlreadyStartedError):
                raise
        except WorkflowUpdateRPCTimeoutOrCancelledError as fault:
            if isinstance(fault.__cause__, asyncio.CancelledError):  # the SDK hides a cancellation
                raise asyncio.CancelledError from None
            raise

    async def start(self, claim_name: str, claim_id: str) -> None:
        """Start the claim's workflow unless it runs or has ended well; a failed one runs again."""
        try:
            await self._client.start_workflow(
                names.SETTLE_CLAIM,
                SettleClaimWork(name=claim_name),
                id=names.settle_claim_id(claim_id),
                task_queue=names.CLAIMS_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                task_timeout=TASK_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return

    async def await_papers(self, claim_name: str, claim_id: str, number: int, due_us: int) -> None:
        """Start the timer that closes the claim without papers, unless it runs or has rung."""
        try:
            await self._client.start_workflow(
                names.AWAIT_PAPERS,
                AwaitPapersWork(name=claim_name, due_time=timestamp(due_us)),
                id=names.await_papers_id(claim_id, number),
                task_queue=names.CLAIMS_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                task_timeout=TASK_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return

    async def adjust(self, claim_name: str, claim_id: str, number: int) -> None:
        """Start the nth correction of a claim's bill, unless it runs.

        One that came while the claim moved on has done nothing, and is started again; one that has
        taken effect changes nothing.
        """
        await self._client.start_workflow(
            names.ADJUST_CLAIM,
            AdjustClaimWork(name=claim_name, number=number),
            id=names.adjust_claim_id(claim_id, number),
            task_queue=names.CLAIMS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            task_timeout=TASK_TIMEOUT,
        )

    async def fetch(self, hospital: str) -> None:
        """Have a hospital's worker pull its bills now, unless it does so because of an earlier ask.

        It hands over whatever is new; a worker that is down does it once it is back.
        """
        await self._client.start_workflow(
            names.PULL_BILLS,
            PullBillsWork(hospital=f"hospitals/{hospital}"),
            id=names.fetch_bills_id(hospital),
            task_queue=names.hospital_queue(hospital),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            task_timeout=TASK_TIMEOUT,
        )

    async def run_payouts(self, paying_account: str) -> None:
        """Start the payout run of an account unless it runs."""
        await self._client.start_workflow(
            names.RUN_PAYOUTS,
            RunPayoutsWork(paying_account=paying_account),
            id=names.run_payouts_id(paying_account),
            task_queue=names.CLAIMS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            task_timeout=TASK_TIMEOUT,
        )
