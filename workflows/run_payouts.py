"""Payouts of one paying account: gather what is payable, send it to the bank, read its answers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from lipei.claims.v1 import settlement_pb2 as pb
    from services.common.temporal import names
    from workflows.activities import SettlementSteps
    from workflows.steps import step, try_step

# Banks want few large files, members want their money soon.
PAUSE = timedelta(seconds=2)
MOST_PAYOUTS = 500


@workflow.defn(name=names.RUN_PAYOUTS)
class RunPayouts:
    """Runs while anything is payable, unsent or unanswered; claims starts it again when needed."""

    @workflow.run
    async def run(self, work: pb.RunPayoutsWork) -> None:
        """Gather, send, read, rest; end when nothing is left to do."""
        account = work.paying_account
        while True:
            gathered = await step(
                SettlementSteps.gather_payouts,
                pb.GatherPayoutsRequest(paying_account=account, max_payouts=MOST_PAYOUTS),
            )
            unsent = [file for file in gathered.unsent_files if not await self._sent(file)]
            answers = await step(
                SettlementSteps.read_bank_answers, pb.ReadBankAnswersRequest(paying_account=account)
            )
            if not (gathered.payouts or unsent or answers.open):
                return
            await asyncio.sleep(PAUSE.total_seconds())
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(work)

    async def _sent(self, file: str) -> bool:
        # An unknown outcome is asked again on the next round; meanwhile other files go on, and so
        # does reading what the bank answers.
        request = pb.SendPaymentFileRequest(payment_file=file)
        try:
            await try_step(SettlementSteps.send_payment_file, request)
        except (ActivityError, ApplicationError):
            return False
        return True
