"""A bill at which the insurer's service fails is tried again and again, and holds up no other."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lipei.claims.v1 import claims_pb2
from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
from lipei.type.v1 import access_pb2, bill_pb2
from services.common.access.guard import Context
from services.common.refusals import Refused
from tests.callers import caller, guard_for
from tests.services.common.access.answering import answering, run
from tests.workflows.test_activities import BILL, FINAL, REVERSAL, Pages, bill
from workflows.hospital_steps import HospitalSteps
from workflows.passed_bills import LONGEST_PAUSE_S, MOST_IN_A_ROW, Failing

PENDING_BILLS = (
    bill(0, "other", FINAL, "p0"),
    bill(1, "poison", FINAL, "p1"),
    bill(2, "poison", REVERSAL),  # bare: of the bill that waits
    bill(3, "new", FINAL, "p1"),  # of the person whose bill waits
    bill(4, "new-too", FINAL, "p2"),
    bill(5, "new-three", FINAL, "p3"),
)
HANG_ON_IT = {1, 2, 3}
Fails = Callable[[bill_pb2.Bill], Exception | None]


class Hospital:
    """A hospital's steps, kept over several pulls, between a bridge and an insurer's claims."""

    def __init__(self, *pending: bill_pb2.Bill, fails: Fails) -> None:
        self.bridge = Pages(*pending)
        self.fails = fails
        self.asked: list[str] = []
        self.now_s = 1000.0
        self._failing = Failing(lambda: self.now_s)

    def hand_over(self) -> work_pb2.SubmitReleasedBillsResult:
        async def claims(
            _method: MethodDescriptor, request: claims_pb2.SubmitClaimRequest, _context: Context
        ) -> claims_pb2.SubmitClaimResponse:
            self.asked.append(request.bill.name)
            fault = self.fails(request.bill)
            if fault is not None:
                raise fault
            return claims_pb2.SubmitClaimResponse(claims=[claims_pb2.Claim(name="c")])

        async def call() -> work_pb2.SubmitReleasedBillsResult:
            hospital = guard_for(caller(access_pb2.ROLE_HOSPITAL_INTEGRATION))
            async with (
                answering(hospital, answer=self.bridge) as to_bridge,
                answering(hospital, answer=claims) as to_claims,
            ):
                steps = HospitalSteps(to_bridge, to_claims, to_claims, self._failing)
                work = work_pb2.PullBillsWork(hospital="hospitals/h")
                return await ActivityEnvironment().run(steps.submit_released_bills, work)

        result: work_pb2.SubmitReleasedBillsResult = run(call())
        return result

    @property
    def pending(self) -> set[int]:
        return {int(one.name.removeprefix(BILL)) for one in self.bridge.pending}


def on(number: str, code: grpc.StatusCode, retry_after_s: float | None = None) -> Fails:
    """Claims fails so at one bill; at every one for an empty number."""

    def fails(asked: bill_pb2.Bill) -> Exception | None:
        if number in ("", asked.bill_number):
            return Refused(code, "BROKEN", "mend it", retry_after_s=retry_after_s)
        return None

    return fails


def none(_asked: bill_pb2.Bill) -> Exception | None:
    return None


def breaks(asked: bill_pb2.Bill) -> Exception | None:
    """What nobody foresaw, which leaves claims as INTERNAL."""
    return ValueError("x") if asked.bill_number == "poison" else None


OF_ONE_BILL: dict[str, Fails] = {
    "internal": breaks,
    "unknown": on("poison", grpc.StatusCode.UNKNOWN),
    "hangs": on("poison", grpc.StatusCode.DEADLINE_EXCEEDED),
    "too long a message": on("poison", grpc.StatusCode.RESOURCE_EXHAUSTED),
    "aborted": on("poison", grpc.StatusCode.ABORTED, retry_after_s=1.0),
}


@pytest.mark.parametrize("how", OF_ONE_BILL)
def test_a_bill_at_which_claims_fails_holds_up_what_hangs_on_it_alone(how: str) -> None:
    hospital = Hospital(*PENDING_BILLS, fails=OF_ONE_BILL[how])
    result = hospital.hand_over()
    assert hospital.pending == HANG_ON_IT
    assert (result.taken, result.refused) == (len(PENDING_BILLS) - len(HANG_ON_IT), 0)
    assert list(hospital.bridge.failing) == [f"{BILL}1"]


def test_where_claims_fails_at_none_all_are_taken() -> None:
    """The control."""
    hospital = Hospital(*PENDING_BILLS, fails=none)
    assert hospital.hand_over().taken == len(PENDING_BILLS)
    assert (hospital.pending, hospital.bridge.failing) == (set(), {})


def test_it_is_tried_again_after_a_pause_and_taken_once_claims_is_mended() -> None:
    hospital = Hospital(*PENDING_BILLS, fails=breaks)
    hospital.hand_over()
    hospital.hand_over()
    assert hospital.asked.count(f"{BILL}1") == 1  # no storm: its pause is not over
    for times in (2, 3, 4):
        hospital.now_s += LONGEST_PAUSE_S
        hospital.hand_over()
        assert hospital.asked.count(f"{BILL}1") == times
        assert hospital.pending == HANG_ON_IT
    hospital.fails = none
    hospital.now_s += LONGEST_PAUSE_S
    hospital.hand_over()
    assert hospital.pending == set()


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    ],
)
def test_while_claims_cannot_be_reached_all_wait_and_one_call_is_made(
    code: grpc.StatusCode,
) -> None:
    hospital = Hospital(*PENDING_BILLS, fails=on("", code))
    with pytest.raises(ApplicationError) as failed:
        hospital.hand_over()
    assert not failed.value.non_retryable
    assert (len(hospital.asked), hospital.bridge.failing) == (1, {})
    hospital.fails = none
    hospital.hand_over()  # at once: no bill had to pause for it
    assert hospital.pending == set()


def test_where_claims_fails_at_every_bill_few_are_tried_and_none_heads_the_list_for_ever() -> None:
    many = [bill(place, f"n{place}", FINAL, f"p{place}") for place in range(9)]
    good = f"n{len(many) - 1}"

    def fails(asked: bill_pb2.Bill) -> Exception | None:
        return None if asked.bill_number == good else ValueError("x")

    hospital = Hospital(*many, fails=fails)
    hospital.hand_over()
    assert len(hospital.asked) == MOST_IN_A_ROW
    hospital.hand_over()
    assert sorted(hospital.asked) == sorted(one.name for one in many)
    assert hospital.pending == set(range(len(many) - 1))


def test_it_is_loud_and_says_where_the_insurer_finds_it() -> None:
    name = "0" * 32 + ".2"
    poison = bill_pb2.Bill(name=f"hospitals/h/bills/{name}", bill_number="poison", kind=FINAL)
    hospital = Hospital(poison, fails=breaks)
    with capture_logs() as lines:
        hospital.hand_over()
    (ours,) = (line for line in lines if line["event"] == "bill_fails")
    (theirs,) = (line for line in lines if line["event"] == "unexpected_fault")
    assert ours == {
        "event": "bill_fails",
        "log_level": "error",
        "hospital": "h",
        "bill": name,
        "reason": "UNEXPECTED_FAULT",
        "count": 1,
        "correlation": [theirs["correlation"]],
    }
    state = his_bridge_pb2.DELIVERY_STATE_PENDING
    assert hospital.bridge.failing == {poison.name: (state, ["UNEXPECTED_FAULT"])}
