"""The steps of a claim's workflows and of run_payouts: each one call to SettlementService."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from temporalio import activity

from lipei.claims.v1 import settlement_pb2 as pb
from lipei.claims.v1 import settlement_pb2_grpc
from workflows.calls import CALL_TIMEOUT_S, call

# Shorter than the bank steps' start_to_close_timeout.
BANK_CALL_TIMEOUT_S = 19.0


class SettlementSteps:
    """Towards SettlementService. A refusal becomes a retry or a final failure."""

    def __init__(self, claims: grpc.aio.Channel) -> None:
        self._settlement = settlement_pb2_grpc.SettlementServiceStub(claims)

    @activity.defn(name="AdjudicateClaim")
    async def adjudicate_claim(
        self, request: pb.AdjudicateClaimRequest
    ) -> pb.AdjudicateClaimResponse:
        """Decide the claim; waits its turn by being retried."""
        return await call(self._settlement.AdjudicateClaim, request, CALL_TIMEOUT_S)

    @activity.defn(name="GiveUpWaiting")
    async def give_up_waiting(self, request: pb.GiveUpWaitingRequest) -> pb.GiveUpWaitingResponse:
        """Close a claim whose papers did not come in time."""
        return await call(self._settlement.GiveUpWaiting, request, CALL_TIMEOUT_S)

    @activity.defn(name="ApplyCorrection")
    async def apply_correction(
        self, request: pb.ApplyCorrectionRequest
    ) -> pb.ApplyCorrectionResponse:
        """Decide the claim anew by its corrected bill; waits its turn by being retried."""
        return await call(self._settlement.ApplyCorrection, request, CALL_TIMEOUT_S)

    @activity.defn(name="GatherPayouts")
    async def gather_payouts(self, request: pb.GatherPayoutsRequest) -> pb.GatherPayoutsResponse:
        """Make a payment file of what is payable."""
        return await call(self._settlement.GatherPayouts, request, CALL_TIMEOUT_S)

    @activity.defn(name="SendPaymentFile")
    async def send_payment_file(
        self, request: pb.SendPaymentFileRequest
    ) -> pb.SendPaymentFileResponse:
        """Hand the file to the bank, or ask what became of it."""
        return await call(self._settlement.SendPaymentFile, request, BANK_CALL_TIMEOUT_S)

    @activity.defn(name="ReadBankAnswers")
    async def read_bank_answers(
        self, request: pb.ReadBankAnswersRequest
    ) -> pb.ReadBankAnswersResponse:
        """Book what the bank has confirmed or refused."""
        return await call(self._settlement.ReadBankAnswers, request, CALL_TIMEOUT_S)

    def all(self) -> list[Callable[..., Any]]:
        """What the worker registers."""
        return [
            self.adjudicate_claim,
            self.give_up_waiting,
            self.apply_correction,
            self.gather_payouts,
            self.send_payment_file,
            self.read_bank_answers,
        ]
