"""Features of a bill say what was done and paid, and nothing that leads to whose bill it was."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec

from services.his_bridge.core.bill import Bill, CareType, Coding, Diagnosis, Line, Tier
from services.his_bridge.core.features import ClinicalFeatures, clinical_features

ICD, YIBAO = "http://hl7.org/fhir/sid/icd-10", "urn:test:yibao"


def line(number: int, code: str, billed: int, display: str = "") -> Line:
    return Line(
        number=number,
        code=Coding(system=YIBAO, code=code, display=display),
        local_code=Coding(system="urn:local", code=f"LOCAL-{code}"),
        quantity=Decimal(2),
        unit_price=Decimal(billed) / 200,
        billed=billed,
        service_time=datetime(2026, 3, 8, 4, tzinfo=UTC),
    )


BILL = Bill(
    bill_number="NO-4401",
    provider_id="H99000100001",
    care_type=CareType.INPATIENT,
    member_token="k1." + "0a" * 32,
    start=datetime(2026, 3, 7, 2, tzinfo=UTC),
    end=datetime(2026, 3, 11, 2, tzinfo=UTC),
    zone="Asia/Shanghai",
    currency="CNY",
    total=300,
    tier=Tier.TERTIARY,
    diagnoses=(
        Diagnosis(number=1, code=Coding(system=ICD, code="I10", display="原发性高血压")),
        Diagnosis(number=2, code=Coding(system=ICD, code="E11.9"), principal=True),
    ),
    lines=(
        line(1, "009", 100, "床位费"),
        line(2, "001", 200, "复诊，电话 13812345678"),
    ),
)


def told(bill: Bill = BILL) -> ClinicalFeatures:
    return clinical_features(bill, date(2026, 3, 7), date(2026, 3, 11))


def test_codes_quantities_and_amounts_are_told_with_the_year_and_the_nights() -> None:
    found = told()
    assert (found.care_type, found.tier) == (CareType.INPATIENT, Tier.TERTIARY)
    assert (found.care_year, found.days_of_stay) == (2026, 4)
    assert (found.currency, found.total) == ("CNY", 300)
    assert [entry.code for entry in found.diagnoses] == ["E11.9", "I10"]  # principal first
    assert [(e.code.code, str(e.quantity), e.billed) for e in found.services] == [
        ("001", "2", 200),
        ("009", "2", 100),
    ]


def test_displays_are_redacted_and_medicine_stays() -> None:
    found = told()
    assert [entry.code.display for entry in found.services] == ["复诊,电话 [phone]", "床位费"]
    assert found.diagnoses[1].display == "原发性高血压"


def test_nothing_of_a_person_or_a_day_is_in_it() -> None:
    text = msgspec.json.encode(told()).decode()
    for telling in ("4401", "0a0a", "H9900", "LOCAL", "13812345678", "2026-", "03-0", "Shanghai"):
        assert telling not in text
        assert telling in msgspec.json.encode(BILL).decode() or telling == "2026-"


def test_a_code_that_has_the_form_of_a_persons_number_is_left_out() -> None:
    odd = msgspec.structs.replace(BILL, lines=(line(1, "11010519491231002X", 300),))
    assert told(odd).services[0].code.code == ""


def test_the_order_of_lines_in_the_bill_does_not_show() -> None:
    turned = msgspec.structs.replace(BILL, lines=BILL.lines[::-1], diagnoses=BILL.diagnoses[::-1])
    assert told(turned) == told()
