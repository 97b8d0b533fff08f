"""What edits read comes over the wire and out of storage: over a real socket, on both databases."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from bench.statements import counted
from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import decision_pb2, reason_pb2
from lipei.type.v1 import bill_pb2
from services.claims.bill_coding import local_time
from services.claims.bill_intake import bill_facts, day_received
from tests.services.claims.core.bills import CASES
from tests.services.claims.given import bill, imported, line, policy, submission, yuan
from tests.services.claims.serving import Served, served
from tests.services.claims.test_servicer import refused

PLAN = (CASES / "plans" / "every-edit.yaml").read_bytes()
DAY = ("2025-03-10", "2025-03-10")
DENIED = decision_pb2.LINE_OUTCOME_DENIED


@pytest.fixture
def service(database_url: str) -> Iterator[Served]:
    with served(database_url) as running:
        yield with_plan(running)


def with_plan(running: Served, plan: bytes = PLAN) -> Served:
    """The plan with every edit, and a policy under it."""
    running.claims.PublishPlan(pb.PublishPlanRequest(request_id=uuid.uuid4().hex, yaml=plan))
    imported(running, policy(1, plan="every-edit", start_date="2024-01-01"))
    return running


def visit(number: str, *lines: bill_pb2.BillLine, days: tuple[str, str] = DAY) -> bill_pb2.Bill:
    """An outpatient bill of one day that social insurance did not settle."""
    return bill(number, *lines, days=days, care_type=bill_pb2.CARE_TYPE_OUTPATIENT)


def decided(service: Served, given: bill_pb2.Bill) -> pb.Claim:
    """The bill's claim, decided."""
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    return claim


def refusals(claim: pb.Claim) -> dict[int, int]:
    """Line number -> reason of the lines that were denied."""
    return {
        one.number: one.shares[0].reason for one in claim.decision.lines if one.outcome == DENIED
    }


def test_units_and_modifiers_of_an_earlier_bill_come_out_of_storage(service: Served) -> None:
    first = line(2, "A1", "100.00")
    first.modifiers.append("59")
    assert refusals(decided(service, visit("B1", line(1, "U2", "10.00", "2"), first))) == {}
    second = visit("B2", line(1, "U2", "8.00", "2"), line(2, "A3", "30.00"), line(3, "A2", "20.00"))
    # 2 + 2 units are above 3; the modifier lifts A3's pair and not A2's, which is never together.
    assert refusals(decided(service, second)) == {
        1: reason_pb2.REASON_UNITS_EXCEEDED,
        3: reason_pb2.REASON_BUNDLED,
    }


def test_once_every_thirty_days_looks_back_over_the_years_turn_and_at_other_codes(
    service: Served,
) -> None:
    decided(service, visit("B1", line(1, "F1", "100.00"), days=("2024-12-10",) * 2))
    within = visit("B2", line(1, "F2", "80.00"), days=("2025-01-09",) * 2)
    assert refusals(decided(service, within)) == {1: reason_pb2.REASON_FREQUENCY}
    after = visit("B3", line(1, "F2", "80.00"), days=("2025-01-10",) * 2)
    assert refusals(decided(service, after)) == {}


def test_an_early_refill_is_refused_by_the_supply_that_an_earlier_bill_stated(
    service: Served,
) -> None:
    supply = line(1, "R1", "60.00")
    supply.days_supply = 30
    decided(service, visit("B1", supply, days=("2025-03-01",) * 2))
    early = visit("B2", line(1, "R1", "60.00"), days=("2025-03-25",) * 2)
    assert refusals(decided(service, early)) == {1: reason_pb2.REASON_FREQUENCY}
    later = visit("B3", line(1, "R1", "60.00"), days=("2025-03-26",) * 2)
    assert refusals(decided(service, later)) == {}


def test_a_duplicate_names_the_earlier_claim_to_the_insurer_and_not_to_the_hospital(
    service: Served,
) -> None:
    first = decided(service, visit("B1", line(1, "V1", "5.00"), line(2, "V2", "6.00")))
    again = visit("B2", line(1, "V1", "5.00"), line(2, "V2", "6.50"))
    again.name, again.consent = "hospitals/general/bills/b2", "hospitals/general/consents/c1"
    (told,) = service.hospital.SubmitClaim(submission(again)).claims
    assert [one.earlier_claim for one in told.decision.lines] == ["", ""]
    claim = service.claims.GetClaim(pb.GetClaimRequest(name=told.name)).claim
    assert [one.earlier_claim for one in claim.decision.lines] == [first.name, first.name]
    assert claim.state == pb.CLAIM_STATE_PENDED_REVIEW
    replayed = service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    assert replayed.output_hash == claim.decision.output_hash


def test_a_bill_that_came_late_is_denied_unless_it_says_a_reason_that_the_plan_accepts(
    service: Served,
) -> None:
    plan = PLAN.replace(b"values: {2024-01-01: null, 2026-01-01: 180,", b"values: {2024-01-01: 9,")
    assert plan != PLAN
    published = service.claims.PublishPlan(
        pb.PublishPlanRequest(request_id=uuid.uuid4().hex, yaml=plan)
    )
    assert published.plan_version
    strict = policy(7, plan=published.plan_version, start_date="2024-01-01")
    imported(service, strict)
    late = visit("B1", line(1, "V1", "5.00"))
    late.member_token = bill("X", person=700).member_token
    assert refusals(decided(service, late)) == {1: reason_pb2.REASON_LATE_FILING}
    excused = visit("B2", line(1, "V2", "5.00"))
    excused.member_token, excused.late_reason = late.member_token, "force-majeure"
    assert decided(service, excused).decision.benefit == yuan("5")


def test_papers_that_are_missing_are_asked_for_by_their_names(service: Served) -> None:
    stay = bill("B1", line(1, "H1", "5000.00"), days=("2025-03-08", "2025-03-10"))
    claim = decided(service, stay)
    assert claim.state == pb.CLAIM_STATE_PENDED_INFO
    told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
    assert "等待：出院小结（条款 4.3）" in told.text_zh
    assert "Waits for the discharge summary (clause 4.3)" in told.text_en
    complete = bill("B2", line(1, "H1", "5000.00"), days=("2025-04-08", "2025-04-10"))
    complete.papers.append("discharge-summary")
    assert decided(service, complete).decision.benefit == yuan("5000")


def test_licences_liability_prescriptions_packages_and_overrides_come_over_the_wire(
    service: Served,
) -> None:
    drug = line(1, "D1", "20.00")
    drug.service_time.FromDatetime(datetime(2025, 3, 10, 1, 29, tzinfo=UTC))
    drug.prescription_time.FromDatetime(datetime(2025, 3, 10, 1, 30, tzinfo=UTC))
    part = line(4, "V9", "1.00")
    part.part_of = 3
    given = visit("B1", drug, line(2, "G3", "400.00"), line(3, "K1", "500.00"), part)
    given.licences.append(bill_pb2.LICENCE_PHARMACY)
    given.liability = bill_pb2.LIABILITY_NOBODY
    assert refusals(decided(service, given)) == {
        1: reason_pb2.REASON_DISPENSED_BEFORE_PRESCRIBED,
        2: reason_pb2.REASON_PROVIDER_TYPE_MISMATCH,
        3: reason_pb2.REASON_PACKAGE_MISMATCH,
        4: reason_pb2.REASON_PACKAGE_MISMATCH,
    }
    decided(service, visit("B2", line(1, "M1", "300.00")))
    repeated, plain = line(1, "M1", "310.00"), line(2, "M1", "320.00")
    repeated.repeat_reason = "image-unreadable"
    again = visit("B3", repeated, plain, days=("2025-03-12",) * 2)
    again.provider_id = "H99000100002"
    assert refusals(decided(service, again)) == {2: reason_pb2.REASON_DUPLICATE_EXAMINATION}


def test_every_fault_of_what_edits_read_is_named_at_once(service: Served) -> None:
    wrong = line(1, "V1", "5.00")
    wrong.modifiers.extend(["a b"] * 11)
    wrong.part_of = 1
    wrong.days_supply = 367
    wrong.repeat_reason = "Because!"
    wrong.prescription_time.seconds = 10**11
    given = visit("B1", wrong, line(2, "V2", "5.00"))
    given.lines[1].part_of = 9
    given.lines[1].days_supply = 0
    given.licences.append(bill_pb2.LICENCE_UNSPECIFIED)
    given.papers.extend(["Passport"] * 51)
    given.late_reason = "long ago"
    fault = refused(service.claims.SubmitClaim, submission(given))
    assert sorted((one.field, one.reason) for one in fault.violations) == [
        ("bill.late_reason", "MALFORMED"),
        ("bill.licences", "UNKNOWN_VALUE"),
        ("bill.lines[0].days_supply", "OUT_OF_RANGE"),
        ("bill.lines[0].modifiers", "MALFORMED"),
        ("bill.lines[0].modifiers", "TOO_MANY"),
        ("bill.lines[0].part_of", "UNKNOWN_LINE"),
        ("bill.lines[0].prescription_time", "IMPOSSIBLE_DATE"),
        ("bill.lines[0].repeat_reason", "MALFORMED"),
        ("bill.lines[1].days_supply", "OUT_OF_RANGE"),
        ("bill.lines[1].part_of", "UNKNOWN_LINE"),
        ("bill.papers", "MALFORMED"),
        ("bill.papers", "TOO_MANY"),
    ]
    assert not any("Passport" in one.text for one in fault.violations)


def test_a_claim_of_many_lines_asks_the_database_as_often_as_one_of_one(service: Served) -> None:
    decided(service, visit("B0", line(1, "A1", "1.00")))
    asked = []
    for name, count in (("B1", 1), ("B2", 40)):
        lines = [line(number, f"V{number}", "5.00") for number in range(1, count + 1)]
        with counted(service.database.engine) as found:
            decided(service, visit(name, *lines, days=("2025-03-11",) * 2))
        asked.append(found.statements)
    assert asked[0] == asked[1]


def test_the_hospitals_clock_says_when_it_was_dispensed_prescribed_and_received() -> None:
    drug = line(1, "D1", "20.00")
    drug.service_time.FromDatetime(datetime(2025, 3, 9, 16, 0, 1, tzinfo=UTC))
    given = visit("B1", drug)
    assert bill_facts(given).lines[0].service_time is None
    drug.prescription_time.CopyFrom(drug.service_time)
    told = bill_facts(visit("B1", drug)).lines[0]
    assert told.service_time == told.prescription_time
    assert told.service_time == local_time(drug.service_time, ZoneInfo("Asia/Shanghai"))
    assert str(told.service_time) == "2025-03-10 00:00:01"
    emergency = visit("B1", drug)
    emergency.care_type = bill_pb2.CARE_TYPE_EMERGENCY
    emergency.start_time.FromDatetime(datetime(2025, 3, 9, 15, 30, tzinfo=UTC))
    assert str(bill_facts(emergency).admitted) == "2025-03-09 23:30:00"
    emergency.lines[0].ClearField("prescription_time")  # its hours read the time as well
    assert bill_facts(emergency).lines[0].service_time == told.service_time
    emergency.start_time.FromDatetime(datetime(2025, 3, 9, 16, 0, tzinfo=UTC))
    assert bill_facts(emergency).admitted is None  # midnight is the day alone
    assert bill_facts(visit("B1", drug)).admitted is None  # nothing reads it of other care
    drug.service_time.seconds -= 1
    only_a_day = bill_facts(visit("B1", drug)).lines[0]
    assert (only_a_day.service_time, only_a_day.service_date) == (None, date(2025, 3, 10))
    assert day_received(given, 1_741_536_001_000_000) == date(2025, 3, 10)  # 16:00:01 UTC
