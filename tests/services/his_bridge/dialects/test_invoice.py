"""What a FHIR Invoice says as a bill, and every way in which one can be bad."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.his_bridge.core.bill import Bill, CareType, SocialInsurance
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillStated, BillWithdrawn, KeptOut, SetAside
from services.his_bridge.core.terms import Principal, SourceTerms
from services.his_bridge.dialects.fhir_r4 import InvoiceReader
from tests.services.his_bridge.dialects.charged import (
    INVOICES,
    Resources,
    component,
    everything,
    judge,
)
from tests.services.his_bridge.records import (
    ICD_10,
    NAME,
    TERMS,
    TOKEN,
    as_bytes,
    concept,
    money,
    tokens,
)


def bill_of(resources: Resources, terms: SourceTerms = TERMS) -> Bill:
    outcome = judge(resources, "Invoice", INVOICES, terms)
    assert isinstance(outcome, BillStated), outcome
    return outcome.bill


def test_the_whole_bill() -> None:
    outcome = judge(everything(), "Invoice", INVOICES)
    assert isinstance(outcome, BillStated), outcome
    assert outcome.day == date(2026, 3, 1)  # the visit's last, and not the day of the invoice
    bill = outcome.bill
    assert (bill.bill_number, bill.provider_id, bill.member_token) == ("INV-1", "H110101", TOKEN)
    assert bill.care_type is CareType.OUTPATIENT
    assert bill.start == datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
    assert bill.end == datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert bill.total == 8300
    assert bill.social_insurance == SocialInsurance(used=True, fund_paid=2000)
    assert [(d.number, d.code.code, d.principal) for d in bill.diagnoses] == [
        (1, "E11.9", True),
        (2, "I10", False),
    ]
    blood, visit = bill.lines
    assert (blood.quantity, blood.unit_price, blood.billed) == (Decimal(3), Decimal(10), 3000)
    assert (blood.fund_paid, blood.diagnosis_numbers) == (2000, (2,))
    assert blood.service_time == datetime(2026, 3, 1, 1, 40, tzinfo=UTC)
    # 50 + 5 - 5 + 3; what is informational counts for nothing.
    assert (visit.quantity, visit.billed, visit.number) == (Decimal(1), 5300, 2)
    assert NAME not in msgspec.json.encode(bill).decode()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["discount", "deduction"])
def test_what_takes_off_takes_off_whatever_sign_it_is_written_with(kind: str, sign: int) -> None:
    resources = everything()
    resources["Invoice"]["lineItem"][0]["priceComponent"] = [
        component("base", 33),
        component(kind, sign * 3),
    ]
    assert bill_of(resources).lines[0].billed == 3000


def test_balanced_is_the_same_bill_and_a_draft_is_none() -> None:
    resources = everything()
    issued = bill_of(resources)
    resources["Invoice"]["status"] = "balanced"
    assert bill_of(resources) == issued
    resources["Invoice"]["status"] = "draft"
    assert judge(resources, "Invoice", INVOICES) == BillWithdrawn()  # of one that was a bill
    assert InvoiceReader(TERMS, tokens, INVOICES).glance(as_bytes(resources["Invoice"])).keep_out


def test_a_disease_that_a_visit_ruled_out_is_left_out_unless_it_is_the_principal_one() -> None:
    resources = everything()
    whole = bill_of(resources)
    refuted = concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "refuted")
    resources["Suspected"] = {
        **resources["Condition"],
        "id": "c9",
        "code": concept(ICD_10, "C16.9", "胃癌"),
        "verificationStatus": refuted,
    }
    stated = resources["Encounter"]["diagnosis"]
    stated.insert(0, {"condition": {"reference": "Condition/c9"}, "rank": 2})
    assert bill_of(resources) == whole
    # Where no rank is given the first may be the principal one.
    for entry in stated:
        entry.pop("rank")
    outcome = judge(resources, "Invoice", INVOICES)
    assert isinstance(outcome, SetAside)
    assert [f.reason for f in outcome.faults] == [Reason.REFERENCE_TAKEN_BACK]


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_a_cancelled_invoice_is_taken_back(status: str) -> None:
    resources = everything()
    resources["Invoice"] = {"resourceType": "Invoice", "id": "n1", "status": status}
    assert judge(resources, "Invoice", INVOICES) == BillWithdrawn()


def test_a_deletion_takes_the_bill_back() -> None:
    raw = b'{"request": {"method": "DELETE", "url": "Invoice/n1"}}'
    assert judge(everything(), "Invoice", INVOICES, raw=raw) == BillWithdrawn()


def test_without_gross_the_net_counts_when_no_line_is_taxed() -> None:
    resources = everything()
    del resources["Invoice"]["totalGross"]
    outcome = judge(resources, "Invoice", INVOICES)
    assert isinstance(outcome, SetAside)
    assert [(f.reason, f.path) for f in outcome.faults] == [
        (Reason.LINES_DO_NOT_ADD_UP, "totalNet")
    ]
    del resources["Invoice"]["lineItem"][1]["priceComponent"][3]
    assert bill_of(resources).total == 8000


def test_a_line_without_components_costs_what_its_charge_says() -> None:
    resources = everything()
    resources["Invoice"]["lineItem"][0]["priceComponent"] = []
    assert bill_of(resources) == bill_of(everything())


def test_contained_charges_are_read_where_they_are() -> None:
    resources = everything()
    resources["Invoice"]["contained"] = [{**resources.pop("ChargeItem"), "id": "here"}]
    resources["Invoice"]["lineItem"][0]["chargeItemReference"]["reference"] = "#here"
    assert bill_of(resources) == bill_of(everything())


def test_without_visits_the_account_and_the_services_say_when() -> None:
    resources = everything()
    del resources["ChargeItem"]["context"]
    terms = msgspec.structs.replace(
        TERMS, care_type_default=CareType.ONLINE, principal=Principal.FIRST
    )
    bill = bill_of(resources, terms)
    assert (bill.start, bill.end) == (datetime(2026, 3, 1, 1, 40, tzinfo=UTC),) * 2
    assert (bill.care_type, bill.diagnoses[0].principal) == (CareType.ONLINE, True)
    resources["Account"]["servicePeriod"] = {"start": "2026-02-27", "end": "2026-03-03"}
    bill = bill_of(resources, terms)
    assert bill.start == datetime(2026, 2, 26, 16, 0, tzinfo=UTC)
    assert bill.end == datetime(2026, 3, 3, 15, 59, 59, tzinfo=UTC)


def test_the_period_is_that_of_the_care() -> None:
    resources = everything()
    for first, last, kept_out in (
        (date(2026, 3, 1), date(2026, 3, 1), False),
        (None, date(2026, 2, 28), True),
        (date(2026, 3, 2), None, True),
    ):
        terms = msgspec.structs.replace(TERMS, first_day=first, last_day=last)
        assert isinstance(judge(resources, "Invoice", INVOICES, terms), KeptOut) is kept_out
    late = msgspec.structs.replace(TERMS, first_day=date(2026, 3, 3))
    reader = InvoiceReader(late, tokens, INVOICES)
    assert reader.glance(as_bytes(resources["Invoice"])).keep_out


def spoil(change: Callable[[Resources], Any], *faults: tuple[Reason, str]) -> Any:
    return pytest.param(change, set(faults), id=f"{faults[0][0]}-{faults[0][1]}")


def line(r: Resources, index: int = 0) -> Any:
    return r["Invoice"]["lineItem"][index]


FIRST = "lineItem[0]"
BEHIND = f"{FIRST}.chargeItemReference"


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        spoil(lambda r: r["Invoice"].update(status="paid"), (Reason.STATUS_UNKNOWN, "status")),
        spoil(lambda r: r["Invoice"].pop("subject"), (Reason.REFERENCE_MISSING, "subject")),
        spoil(lambda r: r["Invoice"].pop("issuer"), (Reason.REFERENCE_MISSING, "issuer")),
        spoil(
            lambda r: r.pop("ChargeItem"),
            (Reason.REFERENCE_NOT_FOUND, BEHIND),
            (Reason.CARE_TYPE_UNKNOWN, "lineItem"),
            (Reason.TIME_MISSING, "lineItem"),
        ),
        spoil(
            lambda r: r.pop("Encounter"),
            (Reason.REFERENCE_NOT_FOUND, f"{BEHIND}->context"),
            (Reason.CARE_TYPE_UNKNOWN, "lineItem"),
        ),
        spoil(
            lambda r: r.pop("Condition"),
            (Reason.REFERENCE_NOT_FOUND, f"{BEHIND}->context->diagnosis[0].condition"),
        ),
        spoil(lambda r: r.pop("Account"), (Reason.REFERENCE_NOT_FOUND, "account")),
        spoil(
            lambda r: r["ChargeItem"].update(status="not-billable"),
            (Reason.REFERENCE_TAKEN_BACK, BEHIND),
        ),
        spoil(
            lambda r: r["Account"].update(status="entered-in-error"),
            (Reason.REFERENCE_TAKEN_BACK, "account"),
        ),
        spoil(
            lambda r: r["Encounter"].update(status="cancelled"),
            (Reason.REFERENCE_TAKEN_BACK, f"{BEHIND}->context"),
        ),
        spoil(
            lambda r: r["Condition"].update(verificationStatus=concept("x", "refuted")),
            (Reason.REFERENCE_TAKEN_BACK, f"{BEHIND}->context->diagnosis[0].condition"),
        ),
        spoil(
            lambda r: r["ChargeItem"]["subject"].update(reference="Patient/p2"),
            (Reason.ANOTHER_PATIENT, f"{BEHIND}->subject"),
        ),
        spoil(
            lambda r: r["Encounter"]["subject"].update(reference="Patient/p2"),
            (Reason.ANOTHER_PATIENT, f"{BEHIND}->context->subject"),
        ),
        spoil(
            lambda r: r["Account"].update(subject=[{"reference": "Patient/p2"}]),
            (Reason.ANOTHER_PATIENT, "account->subject"),
        ),
        spoil(
            lambda r: line(r).update(modifierExtension=[{"url": "urn:not-given"}]),
            (Reason.MODIFIER_UNKNOWN, f"{FIRST}.modifierExtension"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"][1].update(modifierExtension=[{"url": "urn:x"}]),
            (Reason.MODIFIER_UNKNOWN, f"{FIRST}.priceComponent[1].modifierExtension"),
        ),
        spoil(
            lambda r: r["Patient"].update(identifier=[]),
            (Reason.IDENTITY_MISSING, "subject->identifier"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"].append(component("gift", 1)),
            (Reason.WRONG_TYPE, f"{FIRST}.priceComponent[2].type"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"].append(component("base", -1)),
            (Reason.NEGATIVE_AMOUNT, f"{FIRST}.priceComponent[2].amount.value"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"].append(component("discount", 34)),
            (Reason.NEGATIVE_AMOUNT, f"{FIRST}.priceComponent"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"].append({"type": "surcharge", "factor": 1.5}),
            (Reason.FACTOR_UNSUPPORTED, f"{FIRST}.priceComponent[2].amount"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"].append({"type": "surcharge"}),
            (Reason.NUMBER_MALFORMED, f"{FIRST}.priceComponent[2].amount"),
        ),
        spoil(
            lambda r: line(r)["priceComponent"][0].update(amount=money(33, "USD")),
            (Reason.WRONG_CURRENCY, f"{FIRST}.priceComponent[0].amount.currency"),
        ),
        spoil(
            lambda r: line(r).update(sequence=2), (Reason.NUMBER_REPEATED, "lineItem[1].sequence")
        ),
        spoil(
            lambda r: line(r, 1).pop("chargeItemCodeableConcept"),
            (Reason.CODE_MISSING, "lineItem[1].chargeItemCodeableConcept"),
        ),
        spoil(lambda r: r["ChargeItem"].pop("code"), (Reason.CODE_MISSING, f"{BEHIND}->code")),
        spoil(
            lambda r: r["ChargeItem"]["quantity"].update(value=-1),
            (Reason.QUANTITY_NOT_POSITIVE, f"{BEHIND}->quantity.value"),
        ),
        spoil(
            lambda r: r["ChargeItem"]["quantity"].update(value=7000000),
            (Reason.PRICE_NOT_EXACT, FIRST),
        ),
        spoil(
            lambda r: line(r, 1).update(priceComponent=[]),
            (Reason.LINE_WITHOUT_AMOUNT, "lineItem[1]"),
        ),
        spoil(
            lambda r: r["Invoice"].update(totalNet=money(81)),
            (Reason.LINES_DO_NOT_ADD_UP, "totalNet"),
        ),
        spoil(
            lambda r: r["Invoice"].update(totalGross=money(84)),
            (Reason.LINES_DO_NOT_ADD_UP, "totalGross"),
        ),
        spoil(
            lambda r: (r["Invoice"].pop("totalGross"), r["Invoice"].pop("totalNet")),
            (Reason.TOTAL_MISSING, "totalNet"),
        ),
        spoil(
            lambda r: r["Invoice"].update(lineItem=[]),
            (Reason.NO_LINES, "lineItem"),
            (Reason.CARE_TYPE_UNKNOWN, "lineItem"),
            (Reason.TIME_MISSING, "lineItem"),
            (Reason.LINES_DO_NOT_ADD_UP, "totalNet"),
        ),
    ],
)
def test_a_bad_invoice_shows_every_fault(
    change: Callable[[Resources], Any], faults: set[tuple[Reason, str]]
) -> None:
    resources = everything()
    change(resources)
    outcome = judge(resources, "Invoice", INVOICES)
    assert isinstance(outcome, SetAside), outcome
    assert {(fault.reason, fault.path) for fault in outcome.faults} == faults


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<!DOCTYPE html>", Reason.NOT_JSON),
        (b'{"resourceType": "Invoice", "id": "1", "id": "2"}', Reason.DUPLICATE_KEY),
        (b'{"resourceType": "Invoice", "totalNet": {"value": NaN}}', Reason.NOT_A_NUMBER),
        (b'{"resourceType": "Invoice", "totalNet": {"value": 1e400}}', Reason.NUMBER_MALFORMED),
        (b'{"resourceType": "Invoice", "x": ' + b"[" * 9000 + b"]" * 9000 + b"}", Reason.TOO_DEEP),
        (b"[" * 100_000, Reason.TOO_DEEP),
    ],
)
def test_bad_bytes_are_named_and_never_half_a_bill(raw: bytes, reason: Reason) -> None:
    outcome = judge(everything(), "Invoice", INVOICES, raw=raw)
    assert isinstance(outcome, SetAside), outcome
    assert reason in {fault.reason for fault in outcome.faults}
