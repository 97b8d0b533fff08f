"""Flags that hold, medication, a credit as sum insured, and bad input, over a real socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import coding_pb2
from services.pricing.core.incentive import credited
from services.pricing.core.rates import Label
from services.pricing.core.waterfall import price
from services.pricing.programmes.loader import example_programmes
from services.pricing.tariffs.loader import load_tariff
from tests.services.pricing.at_hand import DEMO, DEMO_FILE, sealed
from tests.services.pricing.core.insured import SUM, insured_tree
from tests.services.pricing.core.test_sum_insured import values
from tests.services.pricing.medication_calls import clearing, fill, handing_out
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import part, reading, recording, weeks
from tests.services.pricing.test_readings_served import (
    CAP,
    FACTS,
    INVALID,
    Stub,
    quoting,
    reasons,
    record,
    refused,
    stub_of,
)

RAISING = (
    f"take: sum_insured, feature: {SUM}, multiple_of: 10000, at_most: '0.90', source: the policy"
)
INSURED = {**FACTS, SUM: "150000"}
TARIFF = "insured-demo"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose diabetes programme holds, and gives credits as sum insured."""
    state = tmp_path_factory.mktemp("state")
    programmes, tariffs = (tmp_path_factory.mktemp(name) for name in ("programmes", "tariffs"))
    (tariffs / "insured.json").write_bytes(sealed(insured_tree()))
    (tariffs / "demo.json").write_bytes(DEMO_FILE.read_bytes())
    for file in example_programmes().glob("*.yaml"):
        text = file.read_text("utf-8").replace("then: note", "then: hold")
        if file.name.startswith("diabetes"):
            holds = text.replace("id: diabetes-glucose", "id: diabetes-holds", 1)
            (programmes / "holds.yaml").write_text(holds, "utf-8")
            taken = 'take: premium, source: "the product\'s promise (default)"'
            assert taken in text
            text = text.replace(taken, RAISING)
        (programmes / file.name).write_text(text, "utf-8")
    told = {"LIPEI_PRICING_PROGRAMMES": str(programmes), "LIPEI_PRICING_TARIFFS": str(tariffs)}
    with serving(state, {**CAP, **told}) as pricing:
        yield pricing.address


@pytest.fixture
def stub(target: str) -> Iterator[Stub]:
    with stub_of(target) as made:
        yield made


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """A member of this test's own."""
    return "k1." + hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def asking(token: str, name: str, programme: str = "diabetes-holds", **more: Any) -> Any:
    told = {"tariff": TARIFF, "features": INSURED, "participation": part(token, programme), **more}
    return quoting(token, name, **told)


def contradicted(stub: Stub, token: str) -> None:
    """A month of 6.0 at home, after a laboratory's 8.5 %."""
    lab = reading(token, "lab", "hba1c", "8.5", "2025-06-20 09:00", by="LABORATORY")
    record(stub, token, lab, *weeks(token, "2025-07", "6.0"))


def test_a_flag_holds_a_month_until_a_person_clears_it(stub: Stub, token: str) -> None:
    contradicted(stub, token)
    held = stub.QuotePremium(asking(token, "q"), timeout=60).quote
    assert held.premium == held.premium_without_credit
    (flag,) = held.incentive.flags
    assert flag.code == pb.FLAG_CODE_HBA1C_ABOVE_GLUCOSE
    assert (flag.holds, flag.cleared, list(flag.months)) == (True, False, ["2025-07"])
    assert len(flag.evidence) == flag.readings == 3
    assert "check the meter" in flag.text_en
    july = next(month for month in held.incentive.months if month.month == "2025-07")
    assert (july.result, list(july.held_by)) == (pb.MONTH_RESULT_NOT_ENOUGH, [flag.flag])
    assert july.measures[0].met

    request = clearing(token, flag.flag, f"c-{token[3:20]}")
    request.participation.programme = "diabetes-holds"
    after = stub.ClearFlag(request, timeout=60).incentive
    assert (after.run_months, after.contractual_share_millionths) == (1, 30_000)
    assert (after.flags[0].holds, after.flags[0].cleared) == (False, True)
    assert stub.ClearFlag(request, timeout=60).incentive == after
    # The stored quote stays; a new one is priced anew, exactly as without the flag.
    assert stub.QuotePremium(asking(token, "q"), timeout=60).quote == held
    free = stub.QuotePremium(asking(token, "r"), timeout=60).quote
    assert free.premium.minor_units < held.premium.minor_units
    assert free.premium_without_credit == held.premium_without_credit

    request.request_id, request.take_back = f"b-{token[3:20]}", True
    back = stub.ClearFlag(request, timeout=60).incentive
    assert (back.run_months, back.flags[0].holds) == (0, True)
    reused = clearing(token, flag.flag, f"c-{token[3:20]}", reason="another")
    reused.participation.programme = "diabetes-holds"
    assert refused(lambda: stub.ClearFlag(reused, timeout=60)).reason == "REQUEST_ID_REUSED"


def test_what_is_no_flag_or_says_no_reason_is_refused(stub: Stub, token: str) -> None:
    contradicted(stub, token)
    stub.QuotePremium(asking(token, "q"), timeout=60)
    fault = refused(lambda: stub.ClearFlag(clearing(token, "f" * 32), timeout=60))
    assert fault.code is grpc.StatusCode.NOT_FOUND
    bad = clearing(token, "none", "one two", reason=" ", evidence="x" * 201, renewal_date="soon")
    bad.participation.programme = "another"
    assert reasons(refused(lambda: stub.ClearFlag(bad, timeout=60))) == [
        ("request_id", "MALFORMED"),
        ("flag", "MALFORMED"),
        ("reason", "LENGTH"),
        ("evidence", "LENGTH"),
        ("renewal_date", "BAD_DATE"),
        ("participation.programme", "NO_SUCH_PROGRAMME"),
    ]


def test_fills_earn_their_share_and_the_quote_names_them(stub: Stub, token: str) -> None:
    days = ("2025-03-01", "2025-03-31", "2025-04-30")
    fills = [fill(token, f"f{day}", day) for day in days]
    request = handing_out(f"m-{token[3:20]}", fills)
    hospital = PricingServiceStub(stub.machine)
    done = hospital.RecordMedication(request, timeout=60)
    assert (done.recorded_count, done.known_count) == (3, 0)
    assert hospital.RecordMedication(request, timeout=60) == done
    again = handing_out(f"n-{token[3:20]}", fills)
    assert hospital.RecordMedication(again, timeout=60).known_count == 3

    quote = stub.QuotePremium(asking(token, "q"), timeout=60).quote
    found = quote.incentive
    assert (found.share_by_adherence, found.contractual_share_millionths) == (True, 30_000)
    # 90 days from 1 March to 29 May, of 245 to 31 October.
    assert (found.adherence.covered_days, found.adherence.days) == (90, 245)
    assert found.adherence.pdc_millionths == 367_347
    assert found.adherence.run_first_month == "2025-03"
    assert found.adherence.run_last_month == "2025-05"
    step = next(one for one in quote.steps if one.step == "incentive")
    assert sorted(step.evidence) == sorted(one.name for one in fills)

    # A correction of the hospital counts; the partner's same name, and other content, do not.
    fills[1].days = 1
    late = handing_out(f"o-{token[3:20]}", [fills[1]])
    assert hospital.RecordMedication(late, timeout=60).recorded_count == 1
    after = stub.QuotePremium(asking(token, "r"), timeout=60).quote.incentive
    assert after.contractual_share_millionths == 10_000
    fault = refused(lambda: stub.RecordMedication(handing_out("p", [fills[1]]), timeout=60))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_DIFFERS")
    other = handing_out(f"m-{token[3:20]}", fills)
    assert refused(lambda: hospital.RecordMedication(other, timeout=60)).reason == (
        "REQUEST_ID_REUSED"
    )


def test_every_fault_of_every_event_is_named_and_nothing_is_kept(stub: Stub, token: str) -> None:
    good = fill(token, "good", "2025-03-01")
    off = fill(token, "bad name", "2999-01-01", 367, withdrawn=True)
    off.drug.CopyFrom(coding_pb2.Coding(system="http://snomed.info/sct", code="A10BA02"))
    off.ClearField("receive_time")
    stay = fill(token, "stay", "2025-03-01", kind=pb.MEDICATION_EVENT_KIND_STAY)
    box = fill(token, "box", "2025-03-01", 2, kind=pb.MEDICATION_EVENT_KIND_OPENING)
    short = fill(token, "short", "2025-03-08")
    short.receive_time.CopyFrom(good.receive_time)
    events = [good, off, stay, box, pb.MedicationEvent(), good, short]
    fault = refused(lambda: stub.RecordMedication(handing_out("one two", events), timeout=60))
    assert fault.code is INVALID
    assert reasons(fault) == [
        ("request_id", "MALFORMED"),
        ("events[1].name", "NOT_A_NAME"),
        ("events[1].drug", "UNKNOWN_CODE"),
        ("events[1].days", "OUT_OF_RANGE"),
        ("events[1].first_day", "IN_THE_FUTURE"),
        ("events[1].withdrawn", "NOT_ALLOWED"),
        ("events[2].kind", "NOT_ALLOWED"),
        ("events[2].drug", "DOES_NOT_FIT"),
        ("events[3].days", "OUT_OF_RANGE"),
        ("events[4].name", "NOT_A_NAME"),
        ("events[4].kind", "UNKNOWN_VALUE"),
        ("events[4].drug", "UNKNOWN_CODE"),
        ("events[4].days", "OUT_OF_RANGE"),
        ("events[4].first_day", "BAD_DATE"),
        ("events[5].name", "REPEATED"),
        ("events[6].receive_time", "BEFORE_MEASUREMENT"),
    ]
    assert token not in fault.text + str(fault.violations)
    empty = refused(lambda: stub.RecordMedication(handing_out("none", []), timeout=60))
    assert reasons(empty) == [("events", "COUNT")]


def test_a_credit_is_taken_as_sum_insured(stub: Stub, token: str) -> None:
    record(stub, token, *weeks(token, "2025-07", "6.0"))
    quote = stub.QuotePremium(asking(token, "q", "diabetes-glucose"), timeout=60).quote
    found = quote.raised_sum_insured
    assert quote.incentive.credit_as_sum_insured
    assert (found.before, found.after, found.increase, found.unit) == (
        *("150000", "280000", "130000"),
        "yuan",
    )
    rates = load_tariff(sealed(insured_tree()), "insured.json")
    owed, larger = (price(rates, values(insured)) for insured in (150_000, 280_000))
    assert quote.premium_without_credit.minor_units == owed.premium_minor
    assert found.premium_without_credit.minor_units == larger.premium_minor
    label = Label("incentive", "", 0, "x", "x")
    assert quote.premium.minor_units == credited(larger, 30_000, label, 1).premium_minor
    assert quote.premium.minor_units <= owed.premium_minor
    assert sum(step.difference_e4 for step in quote.steps) == quote.premium.minor_units * 10_000
    names = [step.step for step in quote.steps[-4:]]
    assert names == ["rounding", "sum_insured", "incentive", "rounding.credit"]
    assert stub.GetQuote(pb.GetQuoteRequest(name=quote.name), timeout=60).quote == quote


def test_a_sum_that_is_not_given_is_asked_for(stub: Stub, token: str) -> None:
    request = asking(token, "q", "diabetes-glucose", features=FACTS)
    fault = refused(lambda: stub.QuotePremium(request, timeout=60))
    assert reasons(fault) == [(f'features["{SUM}"]', "MISSING_FEATURE")]
    other = asking(token, "r", "diabetes-glucose", features=FACTS, tariff=DEMO)
    fault = refused(lambda: stub.QuotePremium(other, timeout=60))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PRICE")
    assert reasons(fault) == [("participation.programme", "NO_SUM_INSURED")]
    assert "ask another tariff" in fault.text


@pytest.mark.parametrize(
    ("kind", "value", "unit", "fault"),
    [
        ("systolic", "0", "mm[Hg]", ("value", "OUT_OF_BOUNDS", "40 to 300 mm[Hg]")),
        ("systolic", "13682", "mm[Hg]", ("value", "OUT_OF_BOUNDS", "check value and unit")),
        ("systolic", "120", "kPa", ("unit", "UNKNOWN_UNIT", "must be mm[Hg]")),
        ("fasting", "126", "mmol/L", ("value", "OUT_OF_BOUNDS", "0.5 to 50.0 mmol/L")),
        ("fasting", "NaN", "mmol/L", ("value", "BAD_DECIMAL", "decimal")),
    ],
)
def test_an_impossible_reading_is_refused_with_what_to_do(
    stub: Stub, token: str, kind: str, value: str, unit: str, fault: tuple[str, str, str]
) -> None:
    said = reading(token, "a", kind, value, "2025-03-03 07:00")
    said.unit = unit
    found = refused(lambda: stub.RecordReadings(recording("impossible", [said]), timeout=60))
    assert found.code is INVALID
    (violation,) = found.violations
    assert (violation.field, violation.reason) == (f"readings[0].{fault[0]}", fault[1])
    assert fault[2] in violation.text


def test_a_future_and_a_doubled_reading_are_refused(stub: Stub, token: str) -> None:
    future = reading(token, "a", "fasting", "6.0", "2999-01-01 07:00")
    found = refused(lambda: stub.RecordReadings(recording("future", [future]), timeout=60))
    assert ("readings[0].effective_time", "IN_THE_FUTURE") in reasons(found)
    once = reading(token, "b", "fasting", "6.0", "2025-03-03 07:00")
    assert record(stub, token, once).recorded_count == 1
    once.value = "6.1"
    fault = refused(lambda: record(stub, token, once))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "READING_DIFFERS")
    assert "give a new measurement a new name" in fault.text


def test_two_sources_that_disagree_are_flagged(stub: Stub, token: str) -> None:
    drawn = reading(token, "lab", "fasting", "9.9", "2025-03-03 07:00", by="LABORATORY")
    device = reading(token, "d", "fasting", "6.0", "2025-03-03 07:30")
    record(stub, token, drawn, device)
    request = pb.AssessMemberRequest(
        participation=part(token, "diabetes-holds"), renewal_date="2026-01-01"
    )
    (flag,) = stub.assessed(token, request).flags
    assert (flag.code, list(flag.evidence)) == (pb.FLAG_CODE_SOURCES_DISAGREE, [device.name])
    assert "differ by more than 3.0 mmol/L within 1 hour" in flag.text_en
    assert "find out which device is wrong" in flag.text_en


def test_a_pressure_that_no_heart_makes_fills_no_slot_and_is_told(stub: Stub, token: str) -> None:
    upper, lower = (
        reading(token, kind, kind, "90", "2025-03-10 07:00") for kind in ("systolic", "diastolic")
    )
    record(stub, token, upper, lower)
    request = pb.AssessMemberRequest(
        participation=part(token, "hypertension-pressure"), renewal_date="2026-01-01"
    )
    found = stub.assessed(token, request)
    (flag,) = found.flags
    assert (flag.code, flag.holds) == (pb.FLAG_CODE_IMPOSSIBLE_PRESSURE, False)
    assert sorted(flag.evidence) == sorted([upper.name, lower.name])
    assert sum(month.slots_filled for month in found.months) == 0
