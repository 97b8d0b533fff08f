"""What a good FHIR Claim says, in every way that FHIR lets it say it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from lipei.type.v1 import bill_pb2
from services.his_bridge import messages
from services.his_bridge.core.bill import Bill, CareType, Coding, Licence, SocialInsurance, Tier
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillStated, BillWithdrawn, SetAside
from services.his_bridge.core.terms import (
    LineAmount,
    LineWithoutNet,
    Principal,
    SocialInsuranceSource,
    SourceTerms,
)
from services.his_bridge.dialects.fhir_r4 import ClaimReader
from services.his_bridge.dialects.fhir_r4.claim_care import emergency_of
from services.his_bridge.dialects.fhir_r4.structs import Encounter
from tests.services.his_bridge.records import (
    BASE_URL,
    ICD_10,
    NAME,
    NUMBER,
    PHONE,
    TERMS,
    TOKEN,
    YIBAO,
    Resource,
    as_bytes,
    claim,
    concept,
    everything,
    judge_claim,
    money,
    tokens,
)

ADMITTED = "http://terminology.hl7.org/CodeSystem/admit-source"


def bill_of(resources: dict[str, Resource], terms: SourceTerms = TERMS) -> Bill:
    outcome = judge_claim(resources, terms)
    assert isinstance(outcome, BillStated), outcome
    return outcome.bill


def changed(**values: Any) -> SourceTerms:
    return msgspec.structs.replace(TERMS, **values)


def test_the_whole_bill() -> None:
    outcome = judge_claim(everything())
    assert isinstance(outcome, BillStated)
    assert outcome.day == date(2026, 3, 1)
    bill = outcome.bill
    assert bill.bill_number == "NO-b1"
    assert bill.provider_id == "H110101"
    assert bill.tier is Tier.SECONDARY
    assert bill.care_type is CareType.OUTPATIENT
    assert bill.member_token == TOKEN
    assert bill.start == datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
    assert bill.end == datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert (bill.currency, bill.total, bill.zone) == ("CNY", 6001, "Asia/Shanghai")
    assert bill.social_insurance == SocialInsurance(used=True, fund_paid=4000, account_paid=2001)
    (diagnosis,) = bill.diagnoses
    assert diagnosis.code == Coding(system=ICD_10, code="E11.9", display="2型糖尿病")
    assert diagnosis.principal
    visit, blood = bill.lines
    assert visit.code == Coding(system=YIBAO, code="110200001", display="普通门诊诊察费")
    assert (visit.billed, visit.fund_paid, visit.diagnosis_numbers) == (5000, 4000, (1,))
    assert visit.service_time == datetime(2026, 2, 28, 16, 0, tzinfo=UTC)  # midnight in Shanghai
    # 3 × 3.335 = 10.005, rounded once, half up.
    assert (blood.quantity, blood.unit_price) == (Decimal(3), Decimal("3.335"))
    assert blood.billed == 1001


def test_a_mapped_code_keeps_the_local_one_without_its_text() -> None:
    blood = bill_of(everything()).lines[1]
    assert blood.code == Coding(system=YIBAO, code="250101001")
    assert blood.local_code == Coding(system="urn:test:local", code="XUEJIAN", display="")


def test_nothing_of_the_patient_is_in_the_bill() -> None:
    resources = everything()
    resources["Claim"]["item"][0]["productOrService"] = concept(YIBAO, "1", f"诊察费（{NAME}）")
    resources["Condition"]["code"] = concept(ICD_10, "E11.9", f"tel. {PHONE}")
    text = msgspec.json.encode(bill_of(resources)).decode()
    for secret in (NAME, NUMBER, PHONE, "MRN-p1-77", "建国"):
        assert secret not in text
    # The control: what is not personal stays.
    assert "普通门诊诊察费" in msgspec.json.encode(bill_of(everything())).decode()


def test_displays_of_systems_without_public_texts_stay_inside() -> None:
    resources = everything()
    resources["Claim"]["item"][0]["productOrService"] = concept("urn:test:private-texts", "1", "x")
    assert bill_of(resources).lines[0].code.display == ""


@pytest.mark.parametrize(
    "form", ["urn:uuid:{id}", "{kind}/{id}", BASE_URL + "/{kind}/{id}", "{kind}/{id}/_history/3"]
)
def test_every_form_of_reference_is_followed(form: str) -> None:
    resources = everything()
    claim = resources["Claim"]
    claim["patient"]["reference"] = form.format(kind="Patient", id="p1")
    claim["provider"]["reference"] = form.format(kind="Organization", id="org1")
    claim["diagnosis"][0]["diagnosisReference"]["reference"] = form.format(
        kind="Condition", id="c1"
    )
    for item in claim["item"]:
        item["encounter"][0]["reference"] = form.format(kind="Encounter", id="e1")
    assert bill_of(resources) == bill_of(everything())


def test_contained_records_are_read_where_they_are() -> None:
    resources = everything()
    claim = resources["Claim"]
    claim["contained"] = [{**resources.pop(kind), "id": kind} for kind in ("Patient", "Condition")]
    claim["patient"]["reference"] = "#Patient"
    claim["diagnosis"][0]["diagnosisReference"]["reference"] = "#Condition"
    assert bill_of(resources) == bill_of(everything())


@pytest.mark.parametrize(
    ("code", "care_type"),
    [
        ("AMB", CareType.OUTPATIENT),
        ("EMER", CareType.EMERGENCY),
        ("IMP", CareType.INPATIENT),
        ("VR", CareType.ONLINE),
    ],
)
def test_the_encounter_says_how_care_was_given(code: str, care_type: CareType) -> None:
    resources = everything()
    resources["Encounter"]["class"]["code"] = code
    assert bill_of(resources).care_type is care_type


@pytest.mark.parametrize(
    ("classes", "source", "emergency"),
    [
        (["IMP"], None, None),
        (["IMP"], "emd", True),
        (["IMP"], "gp", False),
        (["IMP", "EMER"], None, True),
        (["AMB"], None, None),
    ],
)
def test_a_stay_that_began_as_an_emergency_says_so(
    classes: list[str], source: str | None, emergency: bool | None
) -> None:
    stay: Resource = {}
    if source is not None:
        stay = {
            "hospitalization": {"admitSource": {"coding": [{"system": ADMITTED, "code": source}]}}
        }
    told = [msgspec.convert({"class": {"code": code}, **stay}, Encounter) for code in classes]
    assert emergency_of(told) is emergency


def test_how_a_stay_began_leaves_with_the_bill_of_other_care_than_the_emergency_departments() -> (
    None
):
    for code, source, leaves in (
        ("IMP", (ADMITTED, "emd"), True),
        ("IMP", (ADMITTED, "gp"), False),
        ("IMP", ("urn:of-the-house", "emd"), False),
        ("EMER", (ADMITTED, "emd"), False),
    ):
        resources = everything()
        coding = {"system": source[0], "code": source[1]}
        resources["Encounter"]["class"]["code"] = code
        resources["Encounter"]["hospitalization"] = {"admitSource": {"coding": [coding]}}
        told = messages.bill(bill_of(resources), name="", kind="FINAL")
        assert told.emergency_admission is leaves


def test_the_profile_may_know_types_of_encounters() -> None:
    resources = everything()
    resources["Encounter"]["type"] = [concept("urn:test:visit", "refill")]
    terms = changed(encounter_types={("urn:test:visit", "refill"): CareType.CHRONIC})
    assert bill_of(resources, terms).care_type is CareType.CHRONIC
    assert bill_of(resources).care_type is CareType.OUTPATIENT


def test_a_pharmacy_takes_its_drug_from_the_prescription_only_if_the_profile_says_so() -> None:
    resources = everything()
    resources["Claim"]["type"]["coding"][0]["code"] = "pharmacy"
    resources["Claim"]["prescription"] = {"reference": "MedicationRequest/m1"}
    resources["MedicationRequest"] = {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "medicationCodeableConcept": concept(YIBAO, "XA10BA", "二甲双胍"),
    }
    from_prescription = bill_of(resources, changed(pharmacy_code_from_prescription=True))
    assert from_prescription.care_type is CareType.PHARMACY
    assert from_prescription.lines[0].code.code == "XA10BA"
    assert from_prescription.lines[0].local_code == Coding(system=YIBAO, code="110200001")
    assert bill_of(resources).lines[0].code.code == "110200001"


def test_no_line_takes_the_place_of_another() -> None:
    """Only the first line takes the prescription's code."""
    resources = everything()
    resources["Claim"]["prescription"] = {"reference": "MedicationRequest/m1"}
    resources["MedicationRequest"] = {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "medicationCodeableConcept": concept(YIBAO, "XA10BA"),
    }
    bill = bill_of(resources, changed(pharmacy_code_from_prescription=True))
    assert [line.code.code for line in bill.lines] == ["XA10BA", "250101001"]


def without_amounts(resources: dict[str, Resource]) -> dict[str, Resource]:
    for item in resources["Claim"]["item"]:
        del item["net"], item["unitPrice"]
    resources["Claim"]["item"][1]["quantity"]["value"] = 1
    return resources


REMAINDER = LineWithoutNet(
    first=LineAmount.REMAINDER, others=LineAmount.ZERO, first_among=(Decimal("60.01"),)
)


def test_a_declared_quirk_gives_the_first_line_the_remainder() -> None:
    resources = without_amounts(everything())
    bill = bill_of(resources, changed(line_without_net=REMAINDER))
    assert [line.billed for line in bill.lines] == [6001, 0]
    assert bill.lines[0].unit_price == Decimal("60.01")
    assert isinstance(judge_claim(resources), SetAside)  # undeclared


def test_a_remainder_must_be_one_of_the_declared_prices() -> None:
    resources = without_amounts(everything())
    resources["Claim"]["total"] = money(61.01)
    assert isinstance(judge_claim(resources, changed(line_without_net=REMAINDER)), SetAside)


def test_lines_above_the_total_leave_no_remainder() -> None:
    resources = everything()
    del resources["Claim"]["item"][0]["net"], resources["Claim"]["item"][0]["unitPrice"]
    resources["Claim"]["total"] = money(10)
    rule = LineWithoutNet(first=LineAmount.REMAINDER, others=LineAmount.REFUSE)
    assert isinstance(judge_claim(resources, changed(line_without_net=rule)), SetAside)


def test_a_net_without_unit_price_gives_the_unit_price() -> None:
    resources = everything()
    del resources["Claim"]["item"][1]["unitPrice"]
    line = bill_of(resources).lines[1]
    assert line.unit_price == Decimal("3.336667")  # × 3 rounds to 10.01 again


@pytest.mark.parametrize(
    ("change", "social"),
    [
        (lambda claim: claim.pop("extension"), None),
        (
            lambda claim: claim["extension"][0]["extension"].pop(1),
            SocialInsurance(used=True, fund_paid=4000, account_paid=2001),
        ),
        (
            lambda claim: claim["extension"][0].update(
                extension=[{"url": "used", "valueBoolean": False}]
            ),
            SocialInsurance(used=False),
        ),
    ],
    ids=["silent", "lines alone", "unused"],
)
def test_social_insurance_is_known_or_unknown_never_zero(
    change: Callable[[Resource], Any], social: SocialInsurance | None
) -> None:
    resources = everything()
    if social is None or social.used is False:
        for item in resources["Claim"]["item"]:
            del item["extension"]
    change(resources["Claim"])
    assert bill_of(resources).social_insurance == social


def test_a_profile_may_declare_that_social_insurance_is_not_used() -> None:
    terms = changed(social_insurance=SocialInsuranceSource.NOT_USED)
    assert bill_of(everything(), terms).social_insurance == SocialInsurance(used=False)


def test_the_first_diagnosis_is_principal_only_if_the_profile_says_so() -> None:
    resources = everything()
    del resources["Claim"]["diagnosis"][0]["type"]
    assert not bill_of(resources).diagnoses[0].principal
    assert bill_of(resources, changed(principal=Principal.FIRST)).diagnoses[0].principal


def test_the_licences_of_the_profile_leave_with_the_bill() -> None:
    licensed = changed(licences=(Licence.INTERNET_HOSPITAL,))
    bill = bill_of(everything(), licensed)
    assert bill.licences == (Licence.INTERNET_HOSPITAL,)
    told = messages.bill(bill, name="hospitals/demo/bills/b1", kind="FINAL")
    assert list(told.licences) == [bill_pb2.LICENCE_INTERNET_HOSPITAL]
    plain = messages.bill(bill_of(everything()), name="hospitals/demo/bills/b1", kind="FINAL")
    assert not plain.licences


def test_the_tier_of_the_organization_counts_before_the_profiles() -> None:
    resources = everything()
    resources["Organization"]["extension"] = [
        {"url": "urn:lipei:fhir:hospital-tier", "valueCode": "tertiary"}
    ]
    assert bill_of(resources).tier is Tier.TERTIARY


def test_without_an_identifier_the_claims_id_is_the_bills_number() -> None:
    resources = everything()
    del resources["Claim"]["identifier"]
    assert bill_of(resources).bill_number == "b1"


def test_documents_count_in_the_profiles_order() -> None:
    resources = everything()
    passport = {"system": "urn:test:passport", "value": "e 123 456"}
    resources["Patient"]["identifier"] = [passport, *resources["Patient"]["identifier"]]
    assert bill_of(resources).member_token == TOKEN
    resources["Patient"]["identifier"] = [passport]
    assert bill_of(resources).member_token == tokens("PASSPORT", "E123456")


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_a_cancelled_claim_is_a_withdrawal(status: str) -> None:
    resources = everything()
    resources["Claim"]["status"] = status
    assert judge_claim(resources) == BillWithdrawn()


@pytest.mark.parametrize(
    ("key", "value"),
    [("status", "draft"), ("use", "preauthorization"), ("use", "predetermination")],
)
def test_what_is_no_bill_is_kept_out_and_takes_back_what_was_one(key: str, value: str) -> None:
    resources = everything()
    resources["Claim"][key] = value
    assert ClaimReader(TERMS, tokens).glance(as_bytes(resources["Claim"])).keep_out
    assert judge_claim(resources) == BillWithdrawn()


@pytest.mark.parametrize(
    ("end", "kept_out"),
    [
        ("2026-01-01T00:00:00+08:00", False),
        ("2025-12-31T15:59:59Z", True),  # in Shanghai still the old year
        ("2025-12-31T16:00:00Z", False),
        ("2026-12-31", False),
        ("2027-01-01", True),
        ("0100-01-01", True),
        ("2026-02-30", False),  # cannot be told: it waits in quarantine
    ],
)
def test_the_period_is_one_of_days_in_the_hospitals_zone(end: str, kept_out: bool) -> None:
    terms = changed(first_day=date(2026, 1, 1), last_day=date(2026, 12, 31))
    resource = {**claim(), "billablePeriod": {"end": end}}
    assert ClaimReader(terms, tokens).glance(as_bytes(resource)).keep_out is kept_out


def test_amounts_are_read_as_written_and_never_as_floats() -> None:
    resources = everything()
    raw = as_bytes(resources["Claim"])
    # As floats both would be 0.1 + 0.2 territory: 9007199254740993 is not a float at all.
    raw = raw.replace(b'"unitPrice": {"value": 50', b'"unitPrice": {"value": 90071992547409.93')
    raw = raw.replace(b'"net": {"value": 50', b'"net": {"value": 90071992547409.93')
    outcome = judge_claim(resources, raw=raw)
    assert isinstance(outcome, SetAside)  # out of range, and said so
    small = as_bytes(resources["Claim"]).replace(b'"value": 3.335', b'"value": 3.335000')
    stated = judge_claim(resources, raw=small)
    assert isinstance(stated, BillStated)
    assert str(stated.bill.lines[1].unit_price) == "3.335000"


def test_json_text_that_is_not_read_is_not_kept() -> None:
    text = json.dumps(everything()["Claim"], ensure_ascii=False)
    assert NAME in text
    assert NAME not in msgspec.json.encode(bill_of(everything())).decode()


def test_a_bill_that_ends_after_the_calendar_is_set_aside() -> None:
    period = {"start": "2026-03-01T08:00:00+08:00", "end": "9999-12-31T20:00:00Z"}
    outcome = judge_claim({**everything(), "Claim": claim() | {"billablePeriod": period}})
    assert isinstance(outcome, SetAside)
    assert [(f.reason, f.path) for f in outcome.faults] == [
        (Reason.TIME_IMPOSSIBLE, "billablePeriod.end")
    ]


def test_a_number_that_was_replaced_is_not_the_bills() -> None:
    resources = everything()
    old = {"system": "urn:test:bill", "value": "NO-OLD", "use": "old"}
    resources["Claim"]["identifier"].insert(0, old)
    outcome = judge_claim(resources)
    assert isinstance(outcome, BillStated)
    assert outcome.bill.bill_number == "NO-b1"
    resources["Claim"]["identifier"] = [old]
    outcome = judge_claim(resources)
    assert isinstance(outcome, BillStated)
    assert outcome.bill.bill_number == "b1"
