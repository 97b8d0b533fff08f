"""What the hospital's steps make of a refusal: of a bill it is final, of the caller it is not."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
from lipei.type.v1 import access_pb2
from services.common.access.guard import Context
from services.common.refusals import Violation, invalid
from tests.callers import caller, guard_for
from tests.services.common.access.answering import answering, run
from workflows.activities import HospitalSteps

BILL = "hospitals/h/bills/b"


def hand_over(role: int, told: list[his_bridge_pb2.Acknowledgement]) -> None:
    """Hand one bill to a claims that takes the hospital for this role; what the bridge is told."""

    async def bridge(method: MethodDescriptor, request: Any, _context: Context) -> Any:
        if method.name == "ListBills":
            page = his_bridge_pb2.ListBillsResponse()
            if not told:
                page.bills.add().bill.name = BILL
            return page
        told.extend(request.acknowledgements)
        return his_bridge_pb2.AcknowledgeBillsResponse()

    async def claims(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        raise invalid([Violation("bill.total", "LINES_DO_NOT_ADD_UP", "fix it")])

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
