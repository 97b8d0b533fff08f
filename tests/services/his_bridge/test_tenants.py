"""Another hospital does not exist: every rpc of the bridge that names one, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.access.caller import Caller, calling_as
from services.common.refusals import Refused, status_of
from services.his_bridge.intake import PullReport
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.wiring import Hospital
from tests.schemas import with_tables
from tests.services.common.sealing.keys import now_us, subject_keys
from tests.services.his_bridge.records import profile
from tests.tenants import of_hospital, of_installation, of_insurer, of_member, of_partner

MINE, ANOTHERS, NEVER = "general", "another", "neverwa"
BILL = "0" * 32
TOKEN = f"k1.{'a' * 64}"


class NothingNew:
    """A puller whose source has nothing."""

    async def pull(self, max_records: int, until_us: int) -> PullReport:
        return PullReport()


def acknowledging(hospital: str) -> pb.AcknowledgeBillsRequest:
    taken = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/p/claims/c"])
    return pb.AcknowledgeBillsRequest(
        parent=f"hospitals/{hospital}",
        request_id="once",
        acknowledgements=[
            pb.Acknowledgement(bill=f"hospitals/{hospital}/bills/{BILL}", delivery=taken)
        ],
    )


# rpc -> its request for a hospital, and what an own one without any record is answered with.
REQUESTS: dict[str, tuple[Callable[[str], Message], str]] = {
    "PullBills": (lambda h: pb.PullBillsRequest(hospital=f"hospitals/{h}"), "OK"),
    "PullReadings": (lambda h: pb.PullReadingsRequest(hospital=f"hospitals/{h}"), "OK"),
    "GetBill": (lambda h: pb.GetBillRequest(name=f"hospitals/{h}/bills/{BILL}"), "NOT_FOUND"),
    "ListBills": (lambda h: pb.ListBillsRequest(parent=f"hospitals/{h}"), "OK"),
    "AcknowledgeBills": (acknowledging, "NOT_FOUND"),
    "ListReadings": (
        lambda h: pb.ListReadingsRequest(parent="members/-", hospital=f"hospitals/{h}"),
        "OK",
    ),
    "ListQuarantine": (lambda h: pb.ListQuarantineRequest(parent=f"hospitals/{h}"), "OK"),
    "EraseMember": (
        lambda h: pb.EraseMemberRequest(
            request_id="once", member=f"members/{TOKEN}", hospital=f"hospitals/{h}"
        ),
        "NOT_FOUND",
    ),
    "ListClinicalFeatures": (
        lambda h: pb.ListClinicalFeaturesRequest(parent=f"hospitals/{h}"),
        "OK",
    ),
    "ListHeldRecords": (lambda h: pb.ListHeldRecordsRequest(parent=f"hospitals/{h}"), "OK"),
    "GetSourceStatus": (lambda h: pb.GetSourceStatusRequest(hospital=f"hospitals/{h}"), "OK"),
}


@pytest.fixture
def bridge(database_url: str) -> Iterator[HisBridgeServicer]:
    database = with_tables(database_url, "services.his_bridge")
    puller: Any = NothingNew()
    hospital = Hospital(profile=profile(), bills=puller, readings=puller, source=None)
    hospitals = dict.fromkeys((MINE, ANOTHERS), hospital)
    yield HisBridgeServicer(database, subject_keys(database), hospitals, "insurers/insurer", now_us)
    database.close()


class Patient:
    """A context without a deadline."""

    def time_remaining(self) -> None:
        return None


def answer(bridge: HisBridgeServicer, caller: Caller, rpc: str, request: Message) -> bytes | str:
    """OK, or the refusal as it goes over the wire."""

    async def called() -> None:
        with calling_as(caller):
            await getattr(bridge, rpc)(request, Patient())

    try:
        asyncio.run(called())
    except Refused as refused:
        return status_of(refused).SerializeToString()
    return "OK"


def test_every_rpc_of_the_bridge_is_tried_here() -> None:
    methods = pb.DESCRIPTOR.services_by_name["HisBridgeService"].methods
    assert {method.name for method in methods} == REQUESTS.keys()


def test_another_hospital_is_refused_byte_for_byte_like_one_that_never_was(
    bridge: HisBridgeServicer, subtests: pytest.Subtests
) -> None:
    for rpc, (request, own) in REQUESTS.items():
        others = [of_hospital(MINE), of_insurer(), of_partner(), of_member(TOKEN)]
        if rpc == "ListClinicalFeatures":  # bills of nobody, for insurers and partners to study
            assert [answer(bridge, one, rpc, request(ANOTHERS)) for one in others[1:3]] == [
                "OK"
            ] * 2
            del others[1:]
        for caller in others:
            with subtests.test(rpc=rpc, caller=caller.uri):
                told = answer(bridge, caller, rpc, request(ANOTHERS))
                assert isinstance(told, bytes)
                # Names of one length, so that every length in the message stays as it is.
                never = told.replace(ANOTHERS.encode(), NEVER.encode())
                assert answer(bridge, caller, rpc, request(NEVER)) == never
        for owner in (of_hospital(ANOTHERS), of_installation()):
            with subtests.test(rpc=rpc, owner=owner.uri):
                found = answer(bridge, owner, rpc, request(ANOTHERS))
                if own == "OK":
                    assert found == own
                else:  # the hospital is there, the bill or member is not
                    assert isinstance(found, bytes)
                    assert b"no such hospital" not in found
