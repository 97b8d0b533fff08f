"""What the hospital's steps make of a refusal: of a bill it is final, of the caller it is not.

And of a source that cannot be read: the workflow decides, for what lies here must not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lipei.claims.v1 import claims_pb2
from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
from lipei.type.v1 import access_pb2, bill_pb2
from services.common.access.guard import Context
from services.common.refusals import Refused, Violation, invalid
from tests.callers import caller, guard_for
from tests.services.common.access.answering import answering, run
from workflows import hospital_steps
from workflows.hospital_steps import LOOK_AGAIN, HospitalSteps

BILL = "hospitals/h/bills/b"
CORRECTION = bill_pb2.Bill(name=BILL, kind=bill_pb2.BILL_KIND_CORRECTION)


Answer = Callable[[claims_pb2.SubmitClaimRequest], claims_pb2.SubmitClaimResponse]


def at_fault(_request: claims_pb2.SubmitClaimRequest) -> claims_pb2.SubmitClaimResponse:
    raise invalid([Violation("bill.total", "LINES_DO_NOT_ADD_UP", "fix it")])


def hand_over(
    role: int,
    told: list[his_bridge_pb2.Acknowledgement],
    answers: Answer = at_fault,
    given: bill_pb2.Bill = CORRECTION,
) -> None:
    """Hand one bill to a claims that takes the hospital for this role; what the bridge is told."""

    async def bridge(method: MethodDescriptor, request: Any, _context: Context) -> Any:
        if method.name == "ListBills":
            page = his_bridge_pb2.ListBillsResponse()
            if not told:
                page.bills.add().bill.CopyFrom(given)
            return page
        told.extend(request.acknowledgements)
        return his_bridge_pb2.AcknowledgeBillsResponse()

    async def claims(_method: MethodDescriptor, request: Any, _context: Context) -> Any:
        return answers(request)

    async def call() -> None:
        hospital = guard_for(caller(access_pb2.ROLE_HOSPITAL_INTEGRATION))
        async with (
            answering(hospital, answer=bridge) as to_bridge,
            answering(guard_for(caller(role)), answer=claims) as to_claims,
        ):
            steps = HospitalSteps(to_bridge, to_claims, to_claims)
            work = work_pb2.PullBillsWork(hospital="hospitals/h")
            await ActivityEnvironment().run(steps.submit_released_bills, work)

    run(call())


def test_a_bill_that_is_at_fault_is_refused_for_good() -> None:
    told: list[his_bridge_pb2.Acknowledgement] = []
    hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, told)
    assert [one.bill for one in told] == [BILL]
    assert told[0].delivery.state == his_bridge_pb2.DELIVERY_STATE_REFUSED
    assert told[0].delivery.refusal_reasons == ["LINES_DO_NOT_ADD_UP"]


def test_no_bill_is_refused_for_who_hands_it_over() -> None:
    told: list[his_bridge_pb2.Acknowledgement] = []
    with pytest.raises(ApplicationError) as failed:
        hand_over(access_pb2.ROLE_OPERATOR, told)
    assert told == []
    assert not failed.value.non_retryable
    assert failed.value.type == "ROLE_NOT_ALLOWED"
    assert failed.value.message.startswith(grpc.StatusCode.PERMISSION_DENIED.name)


def pull(bridge: Callable[[], Any]) -> ApplicationError:
    """What the step of a pull says when the bridge answers so."""

    async def answers(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        return await bridge()

    async def call() -> None:
        allowed = guard_for(caller(access_pb2.ROLE_HOSPITAL_INTEGRATION))
        async with answering(allowed, answer=answers) as channel:
            steps = HospitalSteps(channel, channel, channel)
            request = his_bridge_pb2.PullBillsRequest(hospital="hospitals/h", request_id="r")
            await ActivityEnvironment().run(steps.pull_bills, request)

    with pytest.raises(ApplicationError) as failed:
        run(call())
    return failed.value


async def away() -> Any:
    raise Refused(grpc.StatusCode.UNAVAILABLE, "SOURCE_AWAY", "wait", retry_after_s=7)


async def hangs() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("source", "reason", "pause"),
    [
        (away, "SOURCE_AWAY", timedelta(seconds=7)),
        (hangs, grpc.StatusCode.DEADLINE_EXCEEDED.name, LOOK_AGAIN),
    ],
)
def test_the_workflow_is_told_at_once_of_a_source_that_is_away_or_hangs(
    monkeypatch: pytest.MonkeyPatch,
    source: Callable[[], Any],
    reason: str,
    pause: timedelta,
) -> None:
    monkeypatch.setattr(hospital_steps, "PULL_CALL_TIMEOUT_S", 0.5)
    told = pull(source)
    assert (told.type, told.non_retryable, told.next_retry_delay) == (reason, True, pause)


def test_a_bridge_that_is_away_is_looked_for_by_the_step_itself() -> None:
    async def down() -> Any:
        raise Refused(grpc.StatusCode.UNAVAILABLE, "DATABASE_AWAY", "wait")

    assert not pull(down).non_retryable


class _Claims:
    """Claims in which the bill's number stands for another person until it is taken back."""

    def __init__(self, cannot: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        self._cannot = cannot
        self._stands = True

    def __call__(self, request: claims_pb2.SubmitClaimRequest) -> claims_pb2.SubmitClaimResponse:
        kind = bill_pb2.BillKind.Name(request.bill.kind).removeprefix("BILL_KIND_")
        self.asked.append((kind, request.request_id))
        if kind == "REVERSAL" and self._cannot:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, self._cannot, "ask")
        if kind == "REVERSAL":
            self._stands = False
            return claims_pb2.SubmitClaimResponse(claims=[claims_pb2.Claim(name="theirs")])
        if self._stands:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_OF_ANOTHER", "take it back")
        return claims_pb2.SubmitClaimResponse(claims=[claims_pb2.Claim(name="ours")])


def test_a_correction_that_names_another_person_takes_the_old_bill_back_and_is_stated_anew() -> (
    None
):
    told: list[his_bridge_pb2.Acknowledgement] = []
    claims = _Claims()
    hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, told, claims)
    assert told[0].delivery.state == his_bridge_pb2.DELIVERY_STATE_TAKEN
    assert list(told[0].delivery.claims) == ["ours"]
    assert [kind for kind, _ in claims.asked] == ["CORRECTION", "REVERSAL", "CORRECTION"]
    first, reversal, again = (request_id for _, request_id in claims.asked)
    assert first == again != reversal


def test_what_takes_a_bill_back_is_one_request_however_much_of_it_is_shown() -> None:
    """Whole while a consent stood, bare after it: repeated, it takes back nothing else."""
    asked: list[claims_pb2.SubmitClaimRequest] = []

    def take(request: claims_pb2.SubmitClaimRequest) -> claims_pb2.SubmitClaimResponse:
        asked.append(request)
        return claims_pb2.SubmitClaimResponse()

    which = bill_pb2.Bill(
        name=BILL, bill_number="1", provider_id="H1", kind=bill_pb2.BILL_KIND_REVERSAL
    )
    whole = bill_pb2.Bill(consent="hospitals/h/consents/c", lines=[bill_pb2.BillLine(number=1)])
    whole.MergeFrom(which)
    for shown in (whole, which):
        hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, [], take, shown)
    assert [one.bill for one in asked] == [which, which]
    assert len({one.request_id for one in asked}) == 1


def test_where_the_old_bill_cannot_be_taken_back_the_correction_is_refused_and_says_why() -> None:
    told: list[his_bridge_pb2.Acknowledgement] = []
    claims = _Claims(cannot="APPEAL_OPEN")
    hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, told, claims)
    assert told[0].delivery.state == his_bridge_pb2.DELIVERY_STATE_REFUSED
    assert list(told[0].delivery.refusal_reasons) == ["APPEAL_OPEN"]
    assert [kind for kind, _ in claims.asked] == ["CORRECTION", "REVERSAL"]


def test_where_the_bank_has_the_old_bills_payment_the_correction_waits() -> None:
    told: list[his_bridge_pb2.Acknowledgement] = []
    claims = _Claims(cannot="PAYMENT_UNDER_WAY")
    hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, told, claims)
    assert told == []
    assert [kind for kind, _ in claims.asked] == ["CORRECTION", "REVERSAL"]


def test_what_is_anothers_although_it_was_taken_back_is_refused_and_not_tried_for_ever() -> None:
    told: list[his_bridge_pb2.Acknowledgement] = []
    asked: list[int] = []

    def always(request: claims_pb2.SubmitClaimRequest) -> claims_pb2.SubmitClaimResponse:
        asked.append(request.bill.kind)
        if request.bill.kind == bill_pb2.BILL_KIND_REVERSAL:
            return claims_pb2.SubmitClaimResponse()
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_OF_ANOTHER", "take it back")

    hand_over(access_pb2.ROLE_HOSPITAL_INTEGRATION, told, always)
    assert list(told[0].delivery.refusal_reasons) == ["BILL_OF_ANOTHER"]
    assert len(asked) == 3


class Pages:
    """A bridge with pending bills, two on a page; it remembers what it is told of them."""

    def __init__(self, *bills: bill_pb2.Bill) -> None:
        self.pending = list(bills)
        self.told: list[str] = []
        self.failing: dict[str, tuple[int, list[str]]] = {}

    async def __call__(self, method: MethodDescriptor, request: Any, _context: Context) -> Any:
        if method.name == "AcknowledgeBills":
            for one in request.acknowledgements:
                if one.delivery.refusal_reasons:
                    why = one.delivery.state, list(one.delivery.refusal_reasons)
                    self.failing[one.bill] = why
            answered = [
                one.bill
                for one in request.acknowledgements
                if one.delivery.state != his_bridge_pb2.DELIVERY_STATE_PENDING
            ]
            assert set(answered) <= {one.name for one in self.pending}
            self.told += answered
            self.pending = [one for one in self.pending if one.name not in answered]
            return his_bridge_pb2.AcknowledgeBillsResponse()
        after = [one for one in self.pending if one.name > request.page_token]
        page = his_bridge_pb2.ListBillsResponse()
        for bill in after[:2]:
            page.bills.add().bill.CopyFrom(bill)
        if len(after) > 2:
            page.next_page_token = after[1].name
        return page


def bill(place: int, number: str, kind: Any, person: str = "") -> bill_pb2.Bill:
    return bill_pb2.Bill(
        name=f"{BILL}{place}", bill_number=number, provider_id="H1", kind=kind, member_token=person
    )


FINAL, REVERSAL = bill_pb2.BILL_KIND_FINAL, bill_pb2.BILL_KIND_REVERSAL
PENDING_BILLS = (
    bill(0, "other", FINAL, "p0"),
    bill(1, "sent", REVERSAL, "p1"),  # its payment is with the bank
    bill(2, "sent", FINAL, "p1"),  # stated anew
    bill(3, "sent-too", REVERSAL),  # bare: nobody's name is on it
    bill(4, "new", FINAL, "p1"),  # of the person whose bill waits
    bill(5, "sent-too", FINAL, "p2"),
    bill(6, "bank-has-none", REVERSAL),
    bill(7, "new-too", FINAL, "p3"),
)


@pytest.mark.parametrize(
    ("bank_has", "waiting"), [({"sent", "sent-too"}, {1, 2, 3, 4, 5}), (set(), set())]
)
def test_a_reversal_that_waits_for_the_bank_holds_up_what_hangs_on_it_alone(
    bank_has: set[str], waiting: set[int]
) -> None:
    bridge = Pages(*PENDING_BILLS)
    asked: list[str] = []

    async def claims(
        _method: MethodDescriptor, request: claims_pb2.SubmitClaimRequest, _context: Context
    ) -> claims_pb2.SubmitClaimResponse:
        asked.append(request.bill.name)
        if request.bill.kind == REVERSAL and request.bill.bill_number in bank_has:
            raise Refused(grpc.StatusCode.ABORTED, "PAYMENT_UNDER_WAY", "wait", retry_after_s=5)
        return claims_pb2.SubmitClaimResponse(claims=[claims_pb2.Claim(name="c")])

    async def call() -> work_pb2.SubmitReleasedBillsResult:
        hospital = guard_for(caller(access_pb2.ROLE_HOSPITAL_INTEGRATION))
        async with (
            answering(hospital, answer=bridge) as to_bridge,
            answering(hospital, answer=claims) as to_claims,
        ):
            steps = HospitalSteps(to_bridge, to_claims, to_claims)
            work = work_pb2.PullBillsWork(hospital="hospitals/h")
            return await ActivityEnvironment().run(steps.submit_released_bills, work)

    result = run(call())
    assert {bill.name for bill in bridge.pending} == {f"{BILL}{place}" for place in waiting}
    assert (result.taken, result.refused) == (len(PENDING_BILLS) - len(waiting), 0)
    assert sorted(asked) == sorted(set(asked))  # nothing is tried over and over
