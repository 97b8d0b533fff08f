"""Patients whom a FHIR server merged: their bills, consents and readings go the way of ADT^A40."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.type.v1 import bill_pb2
from tests.services.his_bridge.dialects.test_merged import (
    OLD,
    at_old,
    circle,
    link,
    merged_into,
    survivor,
)
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import (
    TOKEN,
    Resource,
    around,
    claim,
    observation,
    write_profile,
)
from tests.services.his_bridge.running import CALL_S, Bridge, running_bridge

SEPARATE = [survivor(link=[]), merged_into("p1", link=[], active=True)]
MERGED = [survivor("old"), merged_into("p1")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FhirServer]:
    with fhir_server(tmp_path / "his") as found:
        yield found


@pytest.fixture
def bridge(server: FhirServer, tmp_path: Path, database_url: str) -> Iterator[Bridge]:
    write_profile(tmp_path / "profiles", server.base_url)
    with running_bridge(tmp_path / "bridge", tmp_path / "profiles", database_url) as found:
        yield found


def of_old(key: str, **more: Any) -> Resource:
    """A bill of the old record, whose visit and disease are of it too."""
    bill = {**claim(key, "old"), **more}
    for item in bill["item"]:
        item["encounter"] = [{"reference": "Encounter/e-old"}]
    bill["diagnosis"][0]["diagnosisReference"] = {"reference": "Condition/c-old"}
    return bill


def surroundings() -> list[Resource]:
    kinds = {one["resourceType"]: one for one in around()}
    visit, disease = kinds["Encounter"], kinds["Condition"]
    others = [at_old({**visit, "id": "e-old"}), at_old({**disease, "id": "c-old"})]
    return [kinds["Organization"], visit, disease, *others]


def said(bills: Sequence[pb.ReleasedBill]) -> list[tuple[str, str, str]]:
    """What the insurer has been told: number, kind, whose."""
    names = {TOKEN: "survivor", OLD: "old"}
    return [
        (
            one.bill.bill_number.removeprefix("NO-"),
            bill_pb2.BillKind.Name(one.bill.kind).removeprefix("BILL_KIND_"),
            names[one.bill.member_token],
        )
        for one in bills
    ]


def test_a_merge_that_fhir_tells_counts_as_one_that_hl7_tells(
    server: FhirServer, bridge: Bridge
) -> None:
    bridge.consented([TOKEN, OLD])
    server.put([*surroundings(), *SEPARATE, of_old("b1"), of_old("b2")])
    bridge.pull_all()
    assert said(bridge.bills()) == [("b1", "FINAL", "old"), ("b2", "FINAL", "old")]
    server.put(MERGED)
    changed = of_old("b2")
    changed["item"][0]["servicedDate"] = "2026-03-01T09:10:00+08:00"
    # A new bill of the one who goes on, whose visit still names the old record; and a changed one.
    visit = of_old("b3", patient={"reference": "Patient/p1"})
    server.put([visit, changed])
    bridge.pull_all()
    assert [one.faults for one in bridge.quarantine()] == []
    told = said(bridge.bills())
    assert [one[1:] for one in told if one[0] == "b1"] == [("FINAL", "old")]  # stays as it is
    assert [one[1:] for one in told if one[0] == "b2"] == [
        ("FINAL", "old"),
        ("REVERSAL", "old"),
        ("CORRECTION", "survivor"),
    ]
    assert [one[1:] for one in told if one[0] == "b3"] == [("FINAL", "survivor")]


def test_nothing_leaves_under_a_consent_of_who_was_merged(
    server: FhirServer, bridge: Bridge
) -> None:
    """Nor under that of who goes on what the other's held: nobody gave it for that."""
    bridge.consented([OLD])
    server.put([*surroundings(), *MERGED, of_old("b1")])
    assert bridge.pull_all().held == 1
    assert bridge.bills() == []
    bridge.consented([TOKEN])
    bridge.pull_all()
    assert said(bridge.bills()) == [("b1", "FINAL", "survivor")]


def test_readings_go_on_as_the_survivors(server: FhirServer, bridge: Bridge) -> None:
    bridge.consented([TOKEN, OLD])
    reading = {**observation(), "subject": {"reference": "Patient/old"}}
    server.put([*surroundings(), *SEPARATE, reading, of_old("b1")])
    bridge.pull_all()
    ask = pb.PullReadingsRequest(hospital="hospitals/demo-hospital")
    bridge.stub.PullReadings(ask, timeout=CALL_S)
    assert standing(bridge) == {OLD: 1}
    server.put([*MERGED, of_old("b2", patient={"reference": "Patient/p1"})])
    bridge.pull_all()
    assert standing(bridge) == {TOKEN: 1}


def standing(bridge: Bridge) -> dict[str, int]:
    request = pb.ListReadingsRequest(parent="members/-", page_size=500)
    found = bridge.stub.ListReadings(request, timeout=CALL_S).readings
    last = {one.name: one for one in found}
    tokens = [one.member_token for one in last.values() if not one.withdrawn]
    return {token: tokens.count(token) for token in tokens}


@pytest.mark.parametrize(
    "patients",
    [
        [survivor(), merged_into("p1")],
        [survivor("old"), merged_into("p1", link=[])],
        circle(),
        [survivor("old", link=[link("seealso", "old")]), merged_into("p1")],
    ],
    ids=["one side", "the other side", "circle", "alike"],
)
def test_a_link_that_is_not_sure_moves_no_bill_to_anybody(
    server: FhirServer, bridge: Bridge, patients: list[Resource]
) -> None:
    bridge.consented([TOKEN, OLD])
    of_both = of_old("b1", patient={"reference": "Patient/p1"})
    server.put([*surroundings(), *patients, of_both, of_old("b2")])
    bridge.pull_all()
    (waits,) = bridge.quarantine()
    assert {fault.reason for fault in waits.faults} == {"ANOTHER_PATIENT"}
    assert said(bridge.bills()) == [("b2", "FINAL", "old")]
    # Once both records say it, a new version of the bill goes through.
    server.put([*MERGED, {**of_both, "created": "2026-03-02"}])
    bridge.pull_all()
    assert bridge.quarantine() == []
    assert said(bridge.bills())[1:] == [("b1", "FINAL", "survivor")]
