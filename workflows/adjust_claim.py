"""One correction of one claim's bill: decided anew, the difference moved. Knows names only."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.claims.v1 import settlement_pb2 as pb
    from services.common.temporal import names
    from workflows.activities import SettlementSteps
    from workflows.steps import step


@workflow.defn(name=names.ADJUST_CLAIM)
class AdjustClaim:
    """Started by claims once the claim stands where a correction can take effect."""

    @workflow.run
    async def run(self, work: pb.AdjustClaimWork) -> None:
        """Decide the claim anew; payouts gather what more is owed, a person what was too much."""
        await step(
            SettlementSteps.apply_correction,
            pb.ApplyCorrectionRequest(name=work.name, number=work.number),
        )
