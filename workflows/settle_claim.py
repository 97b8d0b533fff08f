"""One claim from intake to payable, closed, or a person's hands. Knows names and states only."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.claims.v1 import settlement_pb2 as pb
    from services.common.temporal import names
    from workflows.activities import SettlementSteps
    from workflows.steps import step


@workflow.defn(name=names.SETTLE_CLAIM)
class SettleClaim:
    """Started by claims under the claim's opaque id; the decision is asked by update."""

    def __init__(self) -> None:
        self._decided: pb.AdjudicateClaimResponse | None = None

    @workflow.run
    async def run(self, work: pb.SettleClaimWork) -> None:
        """Decide the claim, and let the money be gathered.

        One step: intake has registered it, and what decides it also releases it.
        """
        self._decided = await step(
            SettlementSteps.adjudicate_claim, pb.AdjudicateClaimRequest(name=work.name)
        )
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update(name=names.DECISION_UPDATE)
    async def decision(self) -> pb.AdjudicateClaimResponse:
        """Wait for the decision. Decides nothing itself: `run` does, whether or not anyone asks."""
        await workflow.wait_condition(lambda: self._decided is not None)
        assert self._decided is not None  # noqa: S101 - wait_condition has just seen it
        return self._decided
