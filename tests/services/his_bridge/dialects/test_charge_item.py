"""What single charges say of the bill of their account or visit, and under whose number."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.fhir_terms import FhirTerms
from services.his_bridge.core.outcomes import BillHappened, BillStated, KeptOut, SetAside
from services.his_bridge.dialects.fhir_r4 import ChargeItemReader
from tests.services.his_bridge.dialects.charged import (
    BY_ACCOUNT,
    BY_ENCOUNTER,
    COVERED,
    Resources,
    everything,
    judge,
)
from tests.services.his_bridge.records import (
    BASE_URL,
    NAME,
    TERMS,
    TOKEN,
    as_bytes,
    claim,
    concept,
    money,
    tokens,
)


def happened(resources: Resources, own: FhirTerms = BY_ACCOUNT) -> BillHappened:
    outcome = judge(resources, "ChargeItem", own)
    assert isinstance(outcome, BillHappened), outcome
    return outcome


def added(resources: Resources, own: FhirTerms = BY_ACCOUNT) -> Bill:
    bill = happened(resources, own).bill
    assert bill is not None
    return bill


def test_a_charge_adds_a_line_to_the_bill_of_its_account() -> None:
    found = happened(everything())
    assert (found.bill_id, found.kind, found.day) == (
        "Account/a1",
        EventKind.LATE,
        date(2026, 3, 1),
    )
    bill = added(everything())
    assert (bill.bill_number, bill.provider_id, bill.member_token) == ("ACC-1", "H110101", TOKEN)
    assert (bill.total, len(bill.lines)) == (3000, 1)
    (line,) = bill.lines
    assert (line.line_id, line.code.code, line.billed) == ("i1", "250101001", 3000)
    assert line.service_time == datetime(2026, 3, 1, 1, 40, tzinfo=UTC)
    assert [(d.code.code, d.principal) for d in bill.diagnoses] == [("E11.9", True), ("I10", False)]
    assert line.diagnosis_numbers == (2,)
    assert NAME not in msgspec.json.encode(bill).decode()


def test_or_to_the_bill_of_its_visit() -> None:
    resources = everything()
    del resources["ChargeItem"]["account"]
    found = happened(resources, BY_ENCOUNTER)
    assert found.bill_id == "Encounter/e1"
    assert found.bill is not None
    assert found.bill.bill_number == "e1"


def test_a_visit_that_goes_on_ends_with_its_last_service() -> None:
    resources = everything()
    resources["Encounter"]["period"].pop("end")
    assert added(resources).end == datetime(2026, 3, 1, 1, 40, tzinfo=UTC)


@pytest.mark.parametrize("status", ["entered-in-error", "not-billable", "aborted"])
def test_a_charge_that_is_none_any_more_takes_itself_back(status: str) -> None:
    resources = everything()
    resources["ChargeItem"]["status"] = status
    assert happened(resources) == BillHappened(
        bill_id="Account/a1", kind=EventKind.REVERSAL, bill=None, reverses="i1"
    )
    assert (
        not ChargeItemReader(TERMS, tokens, BY_ACCOUNT)
        .glance(as_bytes(resources["ChargeItem"]))
        .needs
    )


def test_what_is_only_planned_is_none_of_ours() -> None:
    resources = everything()
    resources["ChargeItem"]["status"] = "planned"
    reader = ChargeItemReader(TERMS, tokens, BY_ACCOUNT)
    assert reader.glance(as_bytes(resources["ChargeItem"])).keep_out
    # Of one that was a charge it takes that back.
    assert happened(resources) == BillHappened(
        bill_id="Account/a1", kind=EventKind.REVERSAL, bill=None, reverses="i1"
    )


@pytest.mark.parametrize(
    ("kind", "own", "status", "event"),
    [
        ("Account", BY_ACCOUNT, "inactive", EventKind.FINAL),
        ("Account", BY_ACCOUNT, "entered-in-error", EventKind.REVERSAL),
        ("Account", BY_ACCOUNT, "active", None),
        ("Encounter", BY_ENCOUNTER, "finished", EventKind.FINAL),
        ("Encounter", BY_ENCOUNTER, "cancelled", EventKind.REVERSAL),
        ("Encounter", BY_ENCOUNTER, "in-progress", None),
    ],
)
def test_what_holds_the_charges_says_when_the_bill_ends(
    kind: str, own: FhirTerms, status: str, event: EventKind | None
) -> None:
    resources = everything()
    resources[kind]["status"] = status
    outcome = judge(resources, kind, own)
    if event is None:
        assert isinstance(outcome, KeptOut)
        return
    bill_id = f"{kind}/{resources[kind]['id']}"
    assert outcome == BillHappened(bill_id=bill_id, kind=event, bill=None)
    assert own.bill_kind == f"ChargeItem,{kind}"


def test_a_deleted_charge_waits_for_a_person() -> None:
    raw = b'{"request": {"method": "DELETE", "url": "ChargeItem/i1"}}'
    outcome = judge(everything(), "ChargeItem", BY_ACCOUNT, raw=raw)
    assert isinstance(outcome, SetAside)
    assert [(f.reason, f.path) for f in outcome.faults] == [(Reason.REFERENCE_MISSING, "account")]


def spoil(change: Callable[[Resources], Any], *faults: tuple[Reason, str]) -> Any:
    return pytest.param(change, set(faults), id=f"{faults[0][0]}-{faults[0][1]}")


def item(r: Resources) -> Any:
    return r["ChargeItem"]


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        spoil(lambda r: item(r).update(status="unknown"), (Reason.STATUS_UNKNOWN, "status")),
        spoil(lambda r: item(r).pop("subject"), (Reason.REFERENCE_MISSING, "subject")),
        spoil(lambda r: item(r).pop("account"), (Reason.REFERENCE_MISSING, "account[0]")),
        spoil(
            lambda r: item(r)["account"].append({"reference": "Account/a2"}),
            (Reason.REFERENCE_MALFORMED, "account"),
        ),
        spoil(
            lambda r: item(r)["account"][0].update(reference="Patient/p1"),
            (Reason.REFERENCE_MALFORMED, "account[0]"),
        ),
        spoil(
            lambda r: item(r).pop("performingOrganization"),
            (Reason.REFERENCE_MISSING, "performingOrganization"),
        ),
        spoil(lambda r: r.pop("Account"), (Reason.REFERENCE_NOT_FOUND, "account[0]")),
        spoil(
            lambda r: r["Encounter"]["subject"].update(reference="Patient/p2"),
            (Reason.ANOTHER_PATIENT, "context->subject"),
        ),
        spoil(
            lambda r: item(r).update(modifierExtension=[{"url": "urn:x"}]),
            (Reason.MODIFIER_UNKNOWN, "modifierExtension"),
        ),
        spoil(
            lambda r: r.pop("Encounter"),
            (Reason.REFERENCE_NOT_FOUND, "context"),
            (Reason.CARE_TYPE_UNKNOWN, "context"),
        ),
        spoil(lambda r: item(r).pop("code"), (Reason.CODE_MISSING, "code")),
        spoil(
            lambda r: item(r).update(code=concept("urn:nobody", "1")),
            (Reason.CODE_SYSTEM_UNKNOWN, "code"),
        ),
        spoil(
            lambda r: item(r)["quantity"].update(value=0),
            (Reason.QUANTITY_NOT_POSITIVE, "quantity.value"),
        ),
        spoil(lambda r: item(r).pop("priceOverride"), (Reason.LINE_WITHOUT_AMOUNT, "ChargeItem")),
        spoil(
            lambda r: item(r).update(priceOverride=money(-30)),
            (Reason.NEGATIVE_AMOUNT, "priceOverride.value"),
        ),
        spoil(
            lambda r: item(r).update(priceOverride=money(30, "USD")),
            (Reason.WRONG_CURRENCY, "priceOverride.currency"),
        ),
        spoil(
            lambda r: (item(r).pop("priceOverride"), item(r).update(factorOverride=0.8)),
            (Reason.FACTOR_UNSUPPORTED, "factorOverride"),
            (Reason.LINE_WITHOUT_AMOUNT, "ChargeItem"),
        ),
        spoil(
            lambda r: item(r).update(occurrenceDateTime="2026-02-30"),
            (Reason.TIME_IMPOSSIBLE, "occurrenceDateTime"),
        ),
    ],
)
def test_a_bad_charge_shows_every_fault(
    change: Callable[[Resources], Any], faults: set[tuple[Reason, str]]
) -> None:
    resources = everything()
    change(resources)
    outcome = judge(resources, "ChargeItem", BY_ACCOUNT)
    assert isinstance(outcome, SetAside), outcome
    assert {(fault.reason, fault.path) for fault in outcome.faults} == faults


# The number that an insurer gave.

MEMBER = tokens("MEMBER-NO", "M-0007-77")


@pytest.mark.parametrize("kind", ["Claim", "Invoice", "ChargeItem"])
def test_a_subscribers_number_names_the_member_where_the_profile_says_so(kind: str) -> None:
    resources = {**everything(), "Claim": claim()}
    resources["Claim"]["insurance"] = [{"coverage": {"reference": "Coverage/v1"}}]
    own = msgspec.structs.replace(BY_ACCOUNT, coverages=COVERED)

    def token(terms: FhirTerms) -> str:
        outcome = judge(resources, kind, terms)
        assert isinstance(outcome, BillStated | BillHappened), outcome
        assert outcome.bill is not None
        assert "M-0007-77" not in msgspec.json.encode(outcome.bill).decode()
        return outcome.bill.member_token

    assert token(own) == MEMBER
    assert token(BY_ACCOUNT) == TOKEN  # the control
    resources["Patient"]["identifier"] = []
    assert token(own) == MEMBER


@pytest.mark.parametrize(
    "change",
    [
        {"status": "cancelled"},
        {"relationship": concept("x", "child")},
        {"relationship": None},
        {"payor": [{"identifier": {"system": "urn:test:payors", "value": "ANOTHER"}}]},
        {"payor": [{"reference": "Organization/org1"}]},
        {"subscriberId": ""},
    ],
)
def test_a_number_of_anybody_else_is_not_taken(change: dict[str, Any]) -> None:
    resources = everything()
    resources["Coverage"].update(change)
    own = msgspec.structs.replace(BY_ACCOUNT, coverages=COVERED)
    assert added(resources, own).member_token == TOKEN


@pytest.mark.parametrize("said", ["Patient/p1/_history/3", f"{BASE_URL}/Patient/p1", "urn:uuid:p1"])
def test_a_contract_names_its_patient_as_any_record_does(said: str) -> None:
    resources = everything()
    resources["Coverage"]["beneficiary"] = {"reference": said}
    own = msgspec.structs.replace(BY_ACCOUNT, coverages=COVERED)
    assert added(resources, own).member_token == MEMBER


@pytest.mark.parametrize(
    "other", ["Patient/p2", "https://elsewhere.example/fhir/Patient/p1", "#p1", None]
)
def test_a_contract_of_another_patient_is_a_fault(other: str | None) -> None:
    resources = everything()
    resources["Coverage"]["beneficiary"] = {"reference": other}
    own = msgspec.structs.replace(BY_ACCOUNT, coverages=COVERED)
    outcome = judge(resources, "ChargeItem", own)
    assert isinstance(outcome, SetAside)
    path = "account[0]->coverage[0].coverage->beneficiary"
    assert [(f.reason, f.path) for f in outcome.faults] == [(Reason.IDENTITY_AMBIGUOUS, path)]


def test_of_many_diseases_of_a_visit_each_fault_is_named_once() -> None:
    """Once for each of the others as well, it was: of a large record the faults filled memory."""
    resources = everything()
    resources["Encounter"]["diagnosis"] = [{"condition": {"reference": "none such"}}] * 3
    outcome = judge(resources, "ChargeItem", BY_ACCOUNT)
    assert isinstance(outcome, SetAside)
    paths = [f"context->diagnosis[{index}].condition" for index in range(3)]
    assert [(f.reason, f.path) for f in outcome.faults] == [
        (Reason.REFERENCE_MALFORMED, path) for path in paths
    ]
