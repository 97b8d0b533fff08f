"""A bill is taken back after its consent ended: over the wire, on record, through a kill."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from sqlalchemy import text

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.type.v1 import bill_pb2
from services.common.database import Database
from services.common.grpc_edge import error_of
from services.common.transport.channels import sync_channel
from tests.identities import acting
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import (
    NAME,
    NUMBER,
    TOKEN,
    YIBAO,
    Resource,
    around,
    claim,
    write_profile,
)
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge
from tests.services.his_bridge.test_register import consent, grant, withdraw

PENDING = pb.DELIVERY_STATE_PENDING
WORKER, CLERK = ("integration", ""), ("desk-hospital", "hospital_records")
NEEDLES = (TOKEN, "110200001", "250101001", YIBAO, "E11.9", "Asia/Shanghai", "CNY", "/consents/")


def cancelled(key: str) -> Resource:
    return {**claim(key), "status": "cancelled"}


def listed(bridge: Bridge, who: tuple[str, str], page_size: int = 0) -> Sequence[pb.ReleasedBill]:
    """A page of what waits for the insurer, as somebody is shown it."""
    with sync_channel(bridge.address, acting(*who), "his_bridge") as channel:
        request = pb.ListBillsRequest(parent=HOSPITAL, page_size=page_size, delivery_state=PENDING)
        return HisBridgeServiceStub(channel).ListBills(request, timeout=CALL_S).bills


def taken(bridge: Bridge, name: str) -> None:
    told = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/P/claims/1"])
    request = pb.AcknowledgeBillsRequest(
        parent=HOSPITAL,
        acknowledgements=[pb.Acknowledgement(bill=name, delivery=told)],
        request_id=uuid.uuid4().hex,
    )
    bridge.stub.AcknowledgeBills(request, timeout=CALL_S)


def held_in(message: bytes) -> set[str]:
    return {one for one in (*NEEDLES, NAME, NUMBER) if one.encode() in message}


@pytest.mark.on_postgresql
def test_only_what_the_worker_was_given_is_taken_back_and_says_no_more_than_which_bill(
    tmp_path: Path, database_url: str
) -> None:
    with fhir_server(tmp_path / "his") as server:
        write_profile(tmp_path / "profiles", server.base_url)
        where = tmp_path / "bridge", tmp_path / "profiles", database_url
        with running_bridge(*where) as bridge:
            name, reversal = _withdrawn_and_cancelled(bridge, server)
            bridge.process.kill()
            bridge.end()
        with running_bridge(*where) as bridge:
            again = listed(bridge, WORKER)
            assert [one.bill for one in again] == [reversal]
            taken(bridge, reversal.name)
            assert not listed(bridge, WORKER)
            counts = bridge.stub.GetSourceStatus(
                pb.GetSourceStatusRequest(hospital=HOSPITAL), timeout=CALL_S
            ).bills
        # Bill and reversal that left; the other bill and its reversal never did, and are withheld.
        assert (counts.taken_count, counts.withheld_count, counts.pending_count) == (2, 2, 0)
        assert reversal.name == f"{name}.2"
        database = Database(database_url)
        with database.reading() as connection:
            query = text("SELECT body FROM evidence_leaf WHERE record = :record")
            rows = connection.execute(query, {"record": reversal.name}).all()
        database.close()
    leaves = [json.loads(bytes(row.body)) for row in rows]
    assert len(leaves) == 3  # listed, got, and listed again
    assert {(one["consent"], one["purpose"], one["role"]) for one in leaves} == {
        ("", "bill-exchange", "hospital_integration")
    }


def _withdrawn_and_cancelled(bridge: Bridge, server: FhirServer) -> tuple[str, bill_pb2.Bill]:
    """The name of the one bill of two that the worker was given, and what takes it back."""
    register = ConsentServiceStub(bridge.channel)
    given = grant(register, consent(TOKEN))
    server.put([*around(), claim("b1"), claim("b2")])
    bridge.pull_all()
    assert len(listed(bridge, CLERK)) == 2  # at the hospital's own desk nothing is handed out
    (whole,) = listed(bridge, WORKER, page_size=1)
    assert held_in(whole.SerializeToString()) == set(NEEDLES)  # the control
    taken(bridge, whole.bill.name)
    withdraw(register, given.name)
    assert not listed(bridge, WORKER)
    server.put([cancelled("b1"), cancelled("b2")])
    bridge.pull_all()
    (back,) = listed(bridge, WORKER)
    assert held_in(back.SerializeToString()) == set()
    assert back.bill == bill_pb2.Bill(
        name=back.bill.name,
        bill_number=whole.bill.bill_number,
        provider_id="H110101",
        kind=bill_pb2.BILL_KIND_REVERSAL,
    )
    with sync_channel(bridge.address, acting(*WORKER), "his_bridge") as channel:
        stub = HisBridgeServiceStub(channel)
        got = stub.GetBill(pb.GetBillRequest(name=back.bill.name), timeout=CALL_S)
        assert got.bill == back
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetBill(pb.GetBillRequest(name=whole.bill.name), timeout=CALL_S)
        assert error_of(caught.value).reason == "NO_ACTIVE_CONSENT"
    return whole.bill.name, back.bill
