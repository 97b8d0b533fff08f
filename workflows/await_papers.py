"""The wait for papers that were asked for: when it is over the claim closes without them."""

from __future__ import annotations

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.claims.v1 import settlement_pb2 as pb
    from services.common.temporal import names
    from workflows.activities import SettlementSteps
    from workflows.steps import step

# Clocks of two machines differ: a timer may ring a moment early by the other's.
SHORTEST_S = 1.0


@workflow.defn(name=names.AWAIT_PAPERS)
class AwaitPapers:
    """Started by claims for each asking; a claim that has moved on meanwhile stays as it is."""

    @workflow.run
    async def run(self, work: pb.AwaitPapersWork) -> None:
        """Wait, then give up waiting; papers that were asked for again have their time, too."""
        due = work.due_time
        while True:
            left = due.ToMicroseconds() / 1e6 - workflow.time()
            await asyncio.sleep(max(SHORTEST_S, left))
            answer = await step(
                SettlementSteps.give_up_waiting, pb.GiveUpWaitingRequest(name=work.name)
            )
            if not answer.HasField("due_time"):
                return
            due = answer.due_time
