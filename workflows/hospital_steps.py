"""The steps of a hospital's pulls: what its bridge releases is handed out, what is made of it back.

They run inside the hospital and only dial out: to its bridge, to claims and to pricing.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from temporalio import activity
from temporalio.exceptions import ApplicationError

from lipei.claims.v1 import claims_pb2, claims_pb2_grpc, study_pb2, study_pb2_grpc
from lipei.his_bridge.v1 import (
    consent_pb2,
    consent_pb2_grpc,
    his_bridge_pb2,
    his_bridge_pb2_grpc,
    work_pb2,
)
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import bill_pb2
from services.common import log
from services.common.grpc_edge import RpcFault, error_of
from workflows.calls import CALL_TIMEOUT_S, FINAL, call, failure, heard_of
from workflows.passed_bills import Failing, Passed, is_of_one_bill, named_by

# Shorter than the pulls' start_to_close_timeout.
PULL_CALL_TIMEOUT_S = 55.0
BILLS_PER_PAGE = 100
READINGS_PER_PAGE = 500
WITHDRAWALS_PER_PAGE = CONSENTS_PER_CALL = 100
CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
BILL_OF_ANOTHER = "BILL_OF_ANOTHER"
PAYMENT_UNDER_WAY = "PAYMENT_UNDER_WAY"
# Reasons of a hospital's system begin so; one that hangs lets the call's time run out.
OF_A_SOURCE = ("SOURCE_", grpc.StatusCode.DEADLINE_EXCEEDED.name)
LOOK_AGAIN = timedelta(seconds=30)
A = TypeVar("A")
_READING_PATH = re.compile(r"readings\[([0-9]{1,4})\]\.", re.ASCII)


class HospitalSteps:
    """Of bills, readings and withdrawals; every one may be killed and repeated."""

    def __init__(
        self,
        bridge: grpc.aio.Channel,
        claims: grpc.aio.Channel,
        pricing: grpc.aio.Channel,
        failing: Failing | None = None,
    ) -> None:
        self._bridge = his_bridge_pb2_grpc.HisBridgeServiceStub(bridge)
        self._register = consent_pb2_grpc.ConsentServiceStub(bridge)
        self._claims = claims_pb2_grpc.ClaimsServiceStub(claims)
        self._studies = study_pb2_grpc.StudyServiceStub(claims)
        self._pricing = pricing_pb2_grpc.PricingServiceStub(pricing)
        self._failing = failing or Failing()

    @activity.defn(name="PullBills")
    async def pull_bills(
        self, request: his_bridge_pb2.PullBillsRequest
    ) -> his_bridge_pb2.PullBillsResponse:
        """Let the bridge fetch what is new. A source that cannot be read ends the step."""
        async with heard_of():
            return await _asked_for(self._bridge.PullBills, request)

    @activity.defn(name="SubmitReleasedBills")
    async def submit_released_bills(
        self, work: work_pb2.PullBillsWork
    ) -> work_pb2.SubmitReleasedBillsResult:
        """Hand every released bill to claims, in the order of release, and record its answer.

        Waits for no decision. A killed activity repeats at most one page, which claims answers
        with the claims that exist. What takes back a bill whose payment the bank has stays pending
        until a later pull, and the others go on: the bank may take days. So does a bill at which
        claims fails; once several in a row fail, the others wait for a later pull as well.
        """
        async with heard_of():
            return await self._hand_over(work)

    async def _hand_over(self, work: work_pb2.PullBillsWork) -> work_pb2.SubmitReleasedBillsResult:
        result = work_pb2.SubmitReleasedBillsResult()
        passed = Passed()
        self._failing.forget_old()
        token = ""
        while True:
            listing = his_bridge_pb2.ListBillsRequest(
                parent=work.hospital,
                page_size=BILLS_PER_PAGE,
                delivery_state=his_bridge_pb2.DELIVERY_STATE_PENDING,
                page_token=token,
            )
            page = await call(self._bridge.ListBills, listing, CALL_TIMEOUT_S)
            if not page.bills:
                return result
            told = await self._submit_page(page, passed)
            stays = any(passed.waits(named_by(released.bill)) for released in page.bills)
            if told:
                await self._acknowledge(work.hospital, told, result)
            if passed.all_fail:
                return result
            if stays:  # it would head the list for ever
                token = page.next_page_token
                if not token:
                    return result

    async def _submit_page(
        self, page: his_bridge_pb2.ListBillsResponse, passed: Passed
    ) -> list[his_bridge_pb2.Acknowledgement]:
        told = []
        for released in page.bills:
            answer = await self._submit(released.bill, passed)
            if answer is not None:
                told.append(answer)
            if passed.all_fail:
                break
        return told

    async def _acknowledge(
        self,
        hospital: str,
        told: Sequence[his_bridge_pb2.Acknowledgement],
        result: work_pb2.SubmitReleasedBillsResult,
    ) -> None:
        # A new request each time: a bill that is offered again may be refused as it was before,
        # and the same content would be answered from before and leave it pending.
        acknowledge = his_bridge_pb2.AcknowledgeBillsRequest(
            parent=hospital, acknowledgements=told, request_id=uuid.uuid4().hex
        )
        await call(self._bridge.AcknowledgeBills, acknowledge, CALL_TIMEOUT_S)
        for entry in told:
            if entry.delivery.state == his_bridge_pb2.DELIVERY_STATE_TAKEN:
                result.taken += 1
            elif entry.delivery.state == his_bridge_pb2.DELIVERY_STATE_REFUSED:
                result.refused += 1

    async def _submit(
        self, bill: bill_pb2.Bill, passed: Passed
    ) -> his_bridge_pb2.Acknowledgement | None:
        """What claims made of a bill; None when its consent was withdrawn on the way, or it waits.

        The bridge hands a bill without its consent out no more, and again when a new consent covers
        it. One that it hands out all the same, though it was left before, is refused as any other.

        A correction that names another person, as after accounts were merged, first takes back what
        stands under its number; then it is a new statement, whose claims are that person's.
        """
        if passed.waits(named_by(bill)) or not self._failing.is_due(bill.name):
            passed.wait(named_by(bill))  # and what comes behind this one
            return None
        answer = await self._hand_in(bill)
        if isinstance(answer, RpcFault) and answer.reason == BILL_OF_ANOTHER:
            taken_back = await self._hand_in(_bare(bill))
            answer = taken_back if isinstance(taken_back, RpcFault) else await self._hand_in(bill)
        told = his_bridge_pb2.Acknowledgement(bill=bill.name)
        if isinstance(answer, RpcFault) and _is_failure(answer):
            self._pass_by(bill, answer, passed)
            told.delivery.state = his_bridge_pb2.DELIVERY_STATE_PENDING
            told.delivery.refusal_reasons.append(answer.reason)
            return told
        passed.heard(failed=False)
        self._failing.forget(bill.name)
        if not isinstance(answer, RpcFault):
            told.delivery.state = his_bridge_pb2.DELIVERY_STATE_TAKEN
            told.delivery.claims.extend(claim.name for claim in answer.claims)
        elif answer.reason == PAYMENT_UNDER_WAY:
            passed.wait(named_by(bill))
            return None
        elif answer.reason == CONSENT_WITHDRAWN and bill.name not in passed.left:
            passed.left.add(bill.name)
            return None
        else:
            reasons = [violation.reason for violation in answer.violations] or [answer.reason]
            told.delivery.state = his_bridge_pb2.DELIVERY_STATE_REFUSED
            told.delivery.refusal_reasons.extend(dict.fromkeys(reasons))
        return told

    def _pass_by(self, bill: bill_pb2.Bill, fault: RpcFault, passed: Passed) -> None:
        """Claims failed at a bill: it waits, with what hangs on it, and is tried again."""
        passed.wait(named_by(bill))
        passed.heard(failed=True)
        _, hospital, _, name = bill.name.split("/")
        log.logger().error(
            "bill_fails",
            hospital=hospital,
            bill=name,
            reason=fault.reason,
            count=self._failing.note(bill.name),
            # By which the insurer finds the line of its own log, if it wrote one.
            correlation=[fault.metadata[key] for key in fault.metadata if key == "correlation"],
        )
        if passed.all_fail:
            log.logger().error("insurer_fails", hospital=hospital, reason=fault.reason)

    async def _hand_in(self, bill: bill_pb2.Bill) -> claims_pb2.SubmitClaimResponse | RpcFault:
        """What claims answers to a bill, once it is not too busy; or why it does not take it.

        What takes a bill back says no more than which one, so that it is one request however much
        of it the bridge shows: repeated, it never takes back what was stated anew since.

        Raises: ApplicationError for what is no bill's fault, and may be tried again with any.
        """
        if bill.kind == bill_pb2.BILL_KIND_REVERSAL:
            bill = _bare(bill)
        body = bill.SerializeToString(deterministic=True)
        request = claims_pb2.SubmitClaimRequest(
            request_id=hashlib.sha256(body).hexdigest(), bill=bill
        )
        while True:
            try:
                return await self._claims.SubmitClaim(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                fault = error_of(error)
            if fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED and fault.retry_after_s:
                await asyncio.sleep(fault.retry_after_s)
            elif fault.code in FINAL or is_of_one_bill(fault):
                return fault
            else:
                raise failure(fault)

    @activity.defn(name="PullReadings")
    async def pull_readings(
        self, request: his_bridge_pb2.PullReadingsRequest
    ) -> his_bridge_pb2.PullReadingsResponse:
        """Let the bridge fetch what is new. A source that cannot be read ends the step."""
        async with heard_of():
            return await _asked_for(self._bridge.PullReadings, request)

    @activity.defn(name="RecordReleasedReadings")
    async def record_released_readings(
        self, work: work_pb2.PullReadingsWork
    ) -> work_pb2.RecordReleasedReadingsResult:
        """Hand every reading released since the work's token to pricing, page by page.

        A reading that pricing refuses for good is counted by its reason and holds up no other. A
        killed activity goes on at its last heartbeat; what is handed over twice, pricing knows.
        """
        result = work_pb2.RecordReleasedReadingsResult(resume_token=work.resume_token)
        if activity.info().heartbeat_details:
            result = activity.info().heartbeat_details[0]
        async with heard_of(result):
            while True:
                page = await self._released_after(work.hospital, result.resume_token)
                await self._record(list(page.readings), result)
                result.resume_token = page.resume_token
                if not page.next_page_token:
                    return result

    async def _released_after(
        self, hospital: str, token: str
    ) -> his_bridge_pb2.ListReadingsResponse:
        listing = his_bridge_pb2.ListReadingsRequest(
            parent="members/-", hospital=hospital, page_size=READINGS_PER_PAGE, page_token=token
        )
        try:
            return await self._bridge.ListReadings(listing, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            fault = error_of(error)
            # The bridge's database was made anew since: begin again, which repeats and loses none.
            if token and any(v.reason == "FOREIGN_PAGE_TOKEN" for v in fault.violations):
                return await self._released_after(hospital, "")
            raise failure(fault) from None

    async def _record(
        self, readings: list[Any], result: work_pb2.RecordReleasedReadingsResult
    ) -> None:
        while readings:
            # A new request each time: a hospital may come back to what it said before, and the same
            # content would be answered from before. What is handed over twice, names tell.
            request = pricing_pb2.RecordReadingsRequest(
                request_id=uuid.uuid4().hex, readings=readings
            )
            try:
                answer = await self._pricing.RecordReadings(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                fault = error_of(error)
                refused = _refused_readings(fault)
                if not refused:
                    raise failure(fault) from None
                for reasons in refused.values():
                    result.refused += 1
                    for reason in reasons:
                        result.refusal_reasons[reason] += 1
                readings = [r for place, r in enumerate(readings) if place not in refused]
                continue
            result.recorded += answer.recorded_count
            result.known += answer.known_count
            return

    @activity.defn(name="RelayWithdrawals")
    async def relay_withdrawals(
        self, work: work_pb2.RelayWithdrawalsWork
    ) -> work_pb2.RelayWithdrawalsResult:
        """Tell claims and pricing of each withdrawal, then the bridge that they know.

        A killed activity tells some a second time, which changes nothing.
        """
        result = work_pb2.RelayWithdrawalsResult()
        async with heard_of():
            while True:
                listing = consent_pb2.ListWithdrawalsRequest(
                    parent=work.hospital, page_size=WITHDRAWALS_PER_PAGE
                )
                page = await call(self._register.ListWithdrawals, listing, CALL_TIMEOUT_S)
                if not page.withdrawals:
                    return result
                for withdrawal in page.withdrawals:
                    await self._relay(work.hospital, withdrawal, result)
                acknowledge = consent_pb2.AcknowledgeWithdrawalsRequest(
                    parent=work.hospital,
                    consents=[withdrawal.consent for withdrawal in page.withdrawals],
                    request_id=_digest(page.withdrawals),
                )
                await call(self._register.AcknowledgeWithdrawals, acknowledge, CALL_TIMEOUT_S)
                result.relayed += len(page.withdrawals)

    async def _relay(
        self,
        hospital: str,
        withdrawal: consent_pb2.Withdrawal,
        result: work_pb2.RelayWithdrawalsResult,
    ) -> None:
        if withdrawal.purpose == consent_pb2.CONSENT_PURPOSE_HEALTH_PROGRAMME:
            result.readings_withdrawn += await self._take_back_readings(hospital, withdrawal)
        ended = list(withdrawal.ended_consents)
        if withdrawal.purpose == consent_pb2.CONSENT_PURPOSE_DEIDENTIFIED_STUDY and ended:
            leaving = study_pb2.LeaveOutMembersRequest(
                request_id=hashlib.sha256(f"studies {withdrawal.consent}".encode()).hexdigest(),
                members=[f"members/{withdrawal.member_token}"],
            )
            await call(self._studies.LeaveOutMembers, leaving, CALL_TIMEOUT_S)
        if withdrawal.purpose != consent_pb2.CONSENT_PURPOSE_CLAIM_SETTLEMENT:
            return
        if not ended:  # another stands in; what is read from now on must not rest on this one
            request = claims_pb2.WithdrawClaimsRequest(
                request_id=hashlib.sha256(f"replaced {withdrawal.consent}".encode()).hexdigest(),
                replaced_consents=[withdrawal.consent],
            )
            await call(self._claims.WithdrawClaims, request, CALL_TIMEOUT_S)
        for start in range(0, len(ended), CONSENTS_PER_CALL):
            some = ended[start : start + CONSENTS_PER_CALL]
            request = claims_pb2.WithdrawClaimsRequest(
                request_id=hashlib.sha256("\n".join(some).encode()).hexdigest(), consents=some
            )
            answer = await call(self._claims.WithdrawClaims, request, CALL_TIMEOUT_S)
            result.claims_withdrawn += len(answer.withdrawn_claims)

    async def _take_back_readings(self, hospital: str, withdrawal: consent_pb2.Withdrawal) -> int:
        """What no consent covers any more, the bridge lists as withdrawn; pricing hears it now."""
        told = work_pb2.RecordReleasedReadingsResult()
        token = ""
        while True:
            listing = his_bridge_pb2.ListReadingsRequest(
                parent=f"members/{withdrawal.member_token}",
                hospital=hospital,
                page_size=READINGS_PER_PAGE,
                page_token=token,
            )
            page = await call(self._bridge.ListReadings, listing, CALL_TIMEOUT_S)
            await self._record([one for one in page.readings if one.withdrawn], told)
            token = page.next_page_token
            if not token:
                return told.recorded

    def all(self) -> list[Callable[..., Any]]:
        """What the worker registers."""
        return [
            self.relay_withdrawals,
            self.pull_bills,
            self.submit_released_bills,
            self.pull_readings,
            self.record_released_readings,
        ]


async def _asked_for(rpc: Callable[..., Awaitable[A]], request: Any) -> A:
    """What a pull answers.

    Raises: ApplicationError. One of a source is never repeated here: what was released before must
    not wait for it. With `next_retry_delay` the workflow asks again after that.
    """
    try:
        return await call(rpc, request, PULL_CALL_TIMEOUT_S)
    except ApplicationError as fault:
        if fault.non_retryable or not (fault.type or "").startswith(OF_A_SOURCE):
            raise
        raise ApplicationError(
            fault.message,
            type=fault.type,
            non_retryable=True,
            next_retry_delay=fault.next_retry_delay or LOOK_AGAIN,
        ) from None


def _is_failure(fault: RpcFault) -> bool:
    """Whether claims failed at a bill, and did not answer it."""
    return fault.code not in FINAL and fault.reason != PAYMENT_UNDER_WAY


def _bare(bill: bill_pb2.Bill) -> bill_pb2.Bill:
    """What takes back every claim that rests on a bill's number, and says nothing else of it."""
    return bill_pb2.Bill(
        name=bill.name,
        bill_number=bill.bill_number,
        provider_id=bill.provider_id,
        kind=bill_pb2.BILL_KIND_REVERSAL,
    )


def _refused_readings(fault: RpcFault) -> dict[int, set[str]]:
    """Places and reasons of the readings that are at fault; empty when anything else is."""
    found: dict[int, set[str]] = {}
    for violation in fault.violations:
        named = _READING_PATH.match(violation.field)
        if named is None or fault.code not in FINAL:
            return {}
        found.setdefault(int(named[1]), set()).add(violation.reason)
    return found


def _digest(told: Sequence[Message]) -> str:
    whole = hashlib.sha256()
    for entry in told:
        whole.update(entry.SerializeToString(deterministic=True))
    return whole.hexdigest()
