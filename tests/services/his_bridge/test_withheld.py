"""What is held and what is withheld, with the reason; and counts that add up; on both databases."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from lipei.his_bridge.v1 import consent_pb2
from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.keys.v1 import keys_pb2
from lipei.keys.v1.keys_pb2_grpc import KeysServiceStub
from lipei.type.v1 import bill_pb2
from services.common.transport.channels import sync_channel
from tests.identities import acting
from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import write_profile
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge
from tests.services.his_bridge.test_register import consent, grant, timestamp, withdraw

pytestmark = pytest.mark.on_postgresql

PEOPLE, EACH = 6, 4
NONE, LATER, NARROW, OVER, BACK, GONE = everybody(PEOPLE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    with fhir_server(tmp_path_factory.mktemp("his")) as found:
        around, claims, _ = good(PEOPLE * EACH, PEOPLE)
        found.put([*around, *claims])
        yield found


@pytest.fixture(scope="module")
def bridge(
    shared_url: str, server: FhirServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("bridge")
    write_profile(folder / "profiles", server.base_url)
    with running_bridge(folder / "state", folder / "profiles", shared_url) as found:
        yield found


def listed(bridge: Bridge, *, released: bool, page_size: int = 3) -> list[pb.HeldRecord]:
    request = pb.ListHeldRecordsRequest(parent=HOSPITAL, page_size=page_size, released=released)
    found: list[pb.HeldRecord] = []
    while True:
        page = bridge.stub.ListHeldRecords(request, timeout=CALL_S)
        found += page.records
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def counts(bridge: Bridge) -> pb.GetSourceStatusResponse:
    request = pb.GetSourceStatusRequest(hospital=HOSPITAL)
    return bridge.stub.GetSourceStatus(request, timeout=CALL_S)


def test_each_record_says_why_it_waits_and_the_counts_add_up(bridge: Bridge) -> None:
    register = ConsentServiceStub(bridge.channel)
    now = time.time()
    later = grant(register, consent(LATER, from_time=timestamp(now + 3_600)))
    narrow = grant(
        register,
        consent(
            NARROW,
            scope=consent_pb2.ConsentScope(
                contents=[consent_pb2.CONSENT_CONTENT_BILLS],
                care_types=[bill_pb2.CARE_TYPE_EMERGENCY],
            ),
        ),
    )
    over = grant(register, consent(OVER, until_time=timestamp(now - 30)))
    back = grant(register, consent(BACK))
    grant(register, consent(GONE))
    bridge.pull_all()

    held = listed(bridge, released=False)
    of_reason = {
        pb.HoldReason.Name(reason).removeprefix("HOLD_REASON_"): [
            one for one in held if one.reason == reason
        ]
        for reason in {one.reason for one in held}
    }
    assert {name: len(some) for name, some in of_reason.items()} == dict.fromkeys(
        ("NO_CONSENT", "NOT_YET", "OUTSIDE_SCOPE", "RUN_OUT"), EACH
    )
    for name, named in (
        ("NO_CONSENT", []),
        ("NOT_YET", [later.name]),
        ("OUTSIDE_SCOPE", [narrow.name]),
        ("RUN_OUT", [over.name]),
    ):
        assert all(list(one.consents) == named for one in of_reason[name])
    assert len({one.name for one in held}) == len({one.source_record for one in held}) == 4 * EACH
    assert all(one.recipient == "insurers/insurer" and one.hold_time.seconds for one in held)
    assert listed(bridge, released=True) == []

    withdraw(register, back.name)
    found = listed(bridge, released=True)
    assert [one.reason for one in found] == [pb.HOLD_REASON_WITHDRAWN] * EACH
    assert {tuple(one.consents) for one in found} == {(back.name,)}
    assert {one.delivery_state for one in found} == {pb.DELIVERY_STATE_PENDING}
    assert len({one.source_record for one in found}) == EACH
    assert {one.source_record for one in found}.isdisjoint(one.source_record for one in held)
    bills = counts(bridge).bills
    assert (bills.pending_count, bills.withheld_count, bills.erased_count) == (EACH, EACH, 0)
    _erase_and_count(bridge)

    again = grant(register, consent(BACK))
    assert listed(bridge, released=True) == []
    withdraw(register, again.name)
    assert {tuple(one.consents) for one in listed(bridge, released=True)} == {(again.name,)}


def _erase_and_count(bridge: Bridge) -> None:
    taken = bridge.bills()[0].bill.name
    answer = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/P/claims/1"])
    bridge.stub.AcknowledgeBills(
        pb.AcknowledgeBillsRequest(
            parent=HOSPITAL,
            acknowledgements=[pb.Acknowledgement(bill=taken, delivery=answer)],
            request_id=uuid.uuid4().hex,
        ),
        timeout=CALL_S,
    )
    assert (counts(bridge).bills.taken_count, counts(bridge).bills.pending_count) == (1, EACH - 1)
    records = acting("desk-hospital", "hospital_records")
    with sync_channel(bridge.address, records, "his_bridge") as channel:
        request = pb.EraseMemberRequest(
            request_id="erase-1", member=f"members/{GONE}", hospital=HOSPITAL
        )
        HisBridgeServiceStub(channel).EraseMember(request, timeout=CALL_S)
    found = counts(bridge)
    assert found.bills == pb.BillCounts(withheld_count=EACH, erased_count=EACH)
    assert [one.quarantined_count for one in found.channels] == [0, 0]
    assert found.channels[0].held_count == 4 * EACH


def test_an_operator_counts_without_learning_whose_records_wait(bridge: Bridge) -> None:
    identity = acting("desk-hospital", "operator")
    with sync_channel(bridge.address, identity, "his_bridge") as channel:
        stub = HisBridgeServiceStub(channel)
        status = stub.GetSourceStatus(pb.GetSourceStatusRequest(hospital=HOSPITAL), timeout=CALL_S)
        page = stub.ListHeldRecords(pb.ListHeldRecordsRequest(parent=HOSPITAL), timeout=CALL_S)
        erasures = KeysServiceStub(channel).ListErasures(
            keys_pb2.ListErasuresRequest(), timeout=CALL_S
        )
    assert status.bills.withheld_count == EACH
    assert Counter(one.reason for one in page.records)[pb.HOLD_REASON_NO_CONSENT] == EACH
    assert not any(one.name or one.source_record or one.consents for one in page.records)
    (erasure,) = erasures.erasures
    assert erasure.role == "hospital_records"
    assert erasure.member.startswith("members/")
    assert GONE not in erasure.member
