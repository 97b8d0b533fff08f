"""A payout run beside a file of which the bank says nothing: real workflow, steps of ours."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from lipei.claims.v1 import settlement_pb2 as pb
from services.common.temporal import names
from services.common.temporal.connection import connect
from workflows.run_payouts import RunPayouts

PAUSE = timedelta(milliseconds=10)
STUCK, GOOD = "paymentFiles/stuck", "paymentFiles/good"


class Steps:
    """Two files stand unsent; the outcome of the first is unknown once, then the bank has it."""

    def __init__(self) -> None:
        self.unsent = [STUCK, GOOD]
        self.done: list[str] = []

    @activity.defn(name="GatherPayouts")
    async def gather(self, request: pb.GatherPayoutsRequest) -> pb.GatherPayoutsResponse:
        return pb.GatherPayoutsResponse(unsent_files=self.unsent)

    @activity.defn(name="SendPaymentFile")
    async def send(self, request: pb.SendPaymentFileRequest) -> pb.SendPaymentFileResponse:
        self.done.append(request.payment_file)
        if self.done == [STUCK]:
            raise ApplicationError("ABORTED STILL_UNKNOWN", type="STILL_UNKNOWN")
        self.unsent.remove(request.payment_file)
        return pb.SendPaymentFileResponse()

    @activity.defn(name="ReadBankAnswers")
    async def read(self, request: pb.ReadBankAnswersRequest) -> pb.ReadBankAnswersResponse:
        self.done.append("answers")
        return pb.ReadBankAnswersResponse()


def test_a_file_of_unknown_outcome_holds_up_neither_other_files_nor_answers(
    temporal_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.run_payouts.PAUSE", PAUSE)
    steps = Steps()
    asyncio.run(asyncio.wait_for(_run(temporal_state, steps), 60))
    assert steps.done == [STUCK, GOOD, "answers", STUCK, "answers"]


async def _run(state: Path, steps: Steps) -> None:
    client = await connect(state)
    told: dict[str, Any] = {
        "workflows": [RunPayouts],
        "activities": [steps.gather, steps.send, steps.read],
        "workflow_runner": UnsandboxedWorkflowRunner(),
    }
    async with Worker(client, task_queue=names.CLAIMS_QUEUE, **told):
        await client.execute_workflow(
            names.RUN_PAYOUTS,
            pb.RunPayoutsWork(paying_account="main"),
            id=names.run_payouts_id("main"),
            task_queue=names.CLAIMS_QUEUE,
        )
