"""What a careless change of settle_claim would look like: the money before the decision."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.claims.v1 import settlement_pb2 as pb
    from services.common.temporal import names
    from workflows.activities import SettlementSteps
    from workflows.steps import step


@workflow.defn(name=names.SETTLE_CLAIM)
class HastySettleClaim:
    @workflow.run
    async def run(self, work: pb.SettleClaimWork) -> None:
        await step(SettlementSteps.gather_payouts, pb.GatherPayoutsRequest(paying_account="main"))
        await step(SettlementSteps.adjudicate_claim, pb.AdjudicateClaimRequest(name=work.name))

    @workflow.update(name=names.DECISION_UPDATE)
    async def decision(self) -> pb.AdjudicateClaimResponse:
        return pb.AdjudicateClaimResponse()
