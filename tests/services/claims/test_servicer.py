"""ClaimsService as its callers see it: over a real socket, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import policy_pb2
from lipei.type.v1 import bill_pb2
from services.claims.messages import seen_by_hospital
from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import decision
from services.common.access.caller import Caller
from services.common.grpc_edge import RpcFault, error_of
from tests.services.claims.given import (
    BED,
    DRUG,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served
from tests.services.claims.stock import Stock, insured
from tests.tenants import HOSPITAL, of_hospital, of_insurer

BILL, CONSENT = (f"hospitals/{HOSPITAL}/{one}" for one in ("bills/b1", "consents/c1"))


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def both(stocked_url: str) -> Iterator[Served]:
    """The service on SQLite, then on PostgreSQL: for what the database itself must do."""
    with served(stocked_url) as running:
        yield running


@pytest.fixture
def service(stocked_sqlite: str) -> Iterator[Served]:
    with served(stocked_sqlite) as running:
        yield running


def refused(call: Callable[[Any], Message], request: Message) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return error_of(caught.value)


def test_a_bill_is_answered_with_its_decision(both: Served) -> None:
    answer = both.claims.SubmitClaim(submission(bill("B1")))
    (claim,) = answer.claims
    assert claim.decision.benefit == yuan("20000")
    assert claim.state in (pb.CLAIM_STATE_AUTO_APPROVED, pb.CLAIM_STATE_PAYABLE)
    assert claim.name.startswith("policies/p1/claims/")


def test_the_same_request_is_answered_with_the_same_claim(service: Served) -> None:
    request = submission(bill("B1"), request_id="once")
    first = service.claims.SubmitClaim(request)
    again = service.claims.SubmitClaim(request)
    assert [claim.name for claim in again.claims] == [claim.name for claim in first.claims]
    assert again.claims[0].decision == first.claims[0].decision
    assert len(service.workflows.started) == 1


def test_a_decided_request_does_not_need_the_workflows(service: Served) -> None:
    request = submission(bill("B1"), request_id="once")
    service.claims.SubmitClaim(request)
    service.workflows.pause_s = 3600
    assert service.claims.SubmitClaim(request).claims[0].decision.benefit == yuan("20000")


def test_a_request_id_with_another_bill_is_refused(service: Served) -> None:
    service.claims.SubmitClaim(submission(bill("B1"), request_id="once"))
    fault = refused(service.claims.SubmitClaim, submission(bill("B2"), request_id="once"))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_the_same_bill_sent_by_another_settles_once(both: Served) -> None:
    sent = bill("B1")
    from_hospital = bill_pb2.Bill()
    from_hospital.CopyFrom(sent)
    from_hospital.name = "hospitals/general/bills/1"
    from_hospital.consent = "hospitals/general/consents/1"
    first = both.claims.SubmitClaim(submission(from_hospital))
    second = both.claims.SubmitClaim(submission(sent))
    assert first.claims[0].name == second.claims[0].name


def test_the_same_bill_number_with_other_content_is_a_conflict(service: Served) -> None:
    service.claims.SubmitClaim(submission(bill("B1")))
    fault = refused(service.claims.SubmitClaim, submission(bill("B1", line(1, DRUG, "1.00"))))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "BILL_CONFLICT")


def test_every_fault_of_a_bill_is_named_at_once(service: Served) -> None:
    wrong = bill("B1", line(1, DRUG, "10.00"), line(1, BED, "5.00"))
    wrong.lines[0].quantity = "NaN"
    wrong.lines[1].unit_price = "1e400"
    wrong.lines[1].billed.currency_code = "USD"
    wrong.lines[1].diagnosis_numbers.append(7)
    wrong.total.minor_units = 1
    wrong.time_zone = "Mars/Olympus"
    wrong.end_time.seconds = wrong.start_time.seconds - 1
    wrong.member_token = "not a token"
    wrong.provider_id = ""
    wrong.care_type = bill_pb2.CARE_TYPE_UNSPECIFIED
    fault = refused(service.claims.SubmitClaim, submission(wrong, request_id="no spaces!"))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {(v.field, v.reason) for v in fault.violations} >= {
        ("request_id", "MALFORMED"),
        ("bill.provider_id", "MALFORMED"),
        ("bill.member_token", "MALFORMED"),
        ("bill.care_type", "MISSING"),
        ("bill.time_zone", "UNKNOWN_ZONE"),
        ("bill.end_time", "END_BEFORE_START"),
        ("bill.lines", "DUPLICATE_NUMBER"),
        ("bill.lines[0].quantity", "MALFORMED_DECIMAL"),
        ("bill.lines[1].unit_price", "MALFORMED_DECIMAL"),
        ("bill.lines[1].billed.currency_code", "OTHER_CURRENCY"),
        ("bill.lines[1].diagnosis_numbers", "UNKNOWN_DIAGNOSIS"),
        ("bill.total", "LINES_DO_NOT_ADD_UP"),
    }
    assert not service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims


@pytest.mark.parametrize("quantity", ["-1", "0", "１", "1_0", "1e1", "Infinity", "", "0.00001"])
def test_a_quantity_that_is_no_plain_positive_decimal_is_refused(
    service: Served, quantity: str
) -> None:
    wrong = bill("B1")
    wrong.lines[0].quantity = quantity
    fault = refused(service.claims.SubmitClaim, submission(wrong))
    assert "bill.lines[0].quantity" in {v.field for v in fault.violations}


def test_a_code_of_an_unknown_system_is_refused(service: Served) -> None:
    wrong = bill("B1", line(1, DRUG, "10.00"), line(2, DRUG, "20.00"))
    wrong.lines[1].code.system = "urn:x"
    wrong.diagnoses[0].code.system = "urn:y"
    fault = refused(service.claims.SubmitClaim, submission(wrong))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {(v.field, v.reason) for v in fault.violations} == {
        ("bill.lines[1].code", "UNKNOWN_CODE_SYSTEM"),
        ("bill.diagnoses[0].code", "UNKNOWN_CODE_SYSTEM"),
    }


def test_refusals_open_no_claim(service: Served) -> None:
    stranger = refused(service.claims.SubmitClaim, submission(bill("B1", person=999)))
    assert (stranger.code, stranger.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MEMBER")
    for kind in (bill_pb2.BILL_KIND_INTERIM, bill_pb2.BILL_KIND_LATE):
        unsettled = bill("B2")
        unsettled.kind = kind
        fault = refused(service.claims.SubmitClaim, submission(unsettled))
        assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BILL_NOT_FINAL")
    dollars = bill("B3")
    for amount in (dollars.total, dollars.lines[0].billed, dollars.social_insurance.fund_paid):
        amount.currency_code = "USD"
    fault = refused(service.claims.SubmitClaim, submission(dollars))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OTHER_CURRENCY")
    assert not service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims


def in_china_us(moment: str) -> int:
    return int(datetime.fromisoformat(f"{moment}+08:00").timestamp()) * 1_000_000


@contextmanager
def served_at(
    database: str, moment: str, caller: Callable[[], Caller] = of_insurer
) -> Iterator[Served]:
    """The service with a policy, while its clock stands at this moment in China."""
    with served(database, clock=lambda: in_china_us(moment), caller=caller) as running:
        publish(running)
        imported(running, policy(1))
        yield running


@pytest.mark.parametrize(
    ("now", "days", "fields"),
    [
        ("2026-05-07T22:59:59", ("2026-05-04", "2026-05-08"), ["end_time"]),
        ("2026-05-07T12:00:00", ("2026-05-08", "2026-05-08"), ["start_time", "end_time"]),
        ("2026-05-08T11:00:00", ("2026-05-04", "2026-05-09"), ["end_time"]),
    ],
)
def test_a_bill_of_a_day_to_come_is_refused(
    sqlite_database: str, now: str, days: tuple[str, str], fields: list[str]
) -> None:
    early = bill("B1", days=days)
    with served_at(sqlite_database, now) as service:
        for kind in (bill_pb2.BILL_KIND_FINAL, bill_pb2.BILL_KIND_CORRECTION):
            early.kind = kind
            fault = refused(service.claims.SubmitClaim, submission(early))
            assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
            told = [(v.field, v.reason) for v in fault.violations]
            assert told == [(f"bill.{field}", "IN_THE_FUTURE") for field in fields]
        assert not service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims
        # What takes a bill back pays nothing, whatever day it states.
        early.kind = bill_pb2.BILL_KIND_REVERSAL
        assert refused(service.claims.SubmitClaim, submission(early)).reason == "BILL_UNKNOWN"


@pytest.mark.parametrize("now", ["2026-05-07T23:00:00", "2026-05-08T00:00:00"])
def test_a_bill_of_today_is_taken_at_any_hour_and_by_a_clock_that_is_an_hour_ahead(
    sqlite_database: str, now: str
) -> None:
    with served_at(sqlite_database, now) as service:
        (claim,) = service.claims.SubmitClaim(submission(bill("B1"))).claims
        assert claim.decision.benefit == yuan("20000")


@pytest.mark.parametrize("zone", ["localtime", "Factory", "posixrules"])
def test_a_day_does_not_hang_on_the_servers_own_zone(service: Served, zone: str) -> None:
    given = bill("B1")
    given.time_zone = zone
    fault = refused(service.claims.SubmitClaim, submission(given))
    assert [(v.field, v.reason) for v in fault.violations] == [("bill.time_zone", "UNKNOWN_ZONE")]


def test_a_bill_that_ends_at_midnight_is_of_the_day_that_ends_then(sqlite_database: str) -> None:
    """24:00 of a day is written as 0:00 of the next; a moment later is the next day."""
    midnight = datetime.fromisoformat("2026-05-09T00:00:00+08:00").astimezone(UTC)
    with served_at(sqlite_database, "2026-05-08T09:00:00") as service:
        given = bill("B1", days=("2026-05-08", "2026-05-08"))
        given.end_time.FromDatetime(midnight)
        given.end_time.nanos = 1
        fault = refused(service.claims.SubmitClaim, submission(given))
        assert [v.field for v in fault.violations] == ["bill.end_time"]
        given.end_time.nanos = 0
        assert service.claims.SubmitClaim(submission(given)).claims
        # What begins then is of the next day, and so is its end.
        next_day = bill("B2", days=("2026-05-08", "2026-05-08"))
        next_day.start_time.FromDatetime(midnight)
        next_day.end_time.FromDatetime(midnight)
        fault = refused(service.claims.SubmitClaim, submission(next_day))
        assert [v.field for v in fault.violations] == ["bill.start_time", "bill.end_time"]


@pytest.mark.parametrize("who", ["insurer", "hospital"])
def test_a_known_bill_is_answered_though_the_clock_was_set_back(
    sqlite_database: str, who: str
) -> None:
    clock, calling = ["2026-05-08T12:00:00"], [of_insurer()]
    with served(
        sqlite_database, clock=lambda: in_china_us(clock[0]), caller=lambda: calling[0]
    ) as service:
        publish(service)
        imported(service, policy(1))
        given = bill("B1")
        if who == "hospital":
            calling[0] = of_hospital()
            given.name, given.consent = BILL, CONSENT
        first = submission(given)
        (claim,) = service.claims.SubmitClaim(first).claims
        clock[0] = "2026-05-07T12:00:00"
        given.kind = bill_pb2.BILL_KIND_CORRECTION
        same = submission(given)
        given.kind = bill_pb2.BILL_KIND_FINAL
        for again in (first, submission(given), same):
            (known,) = service.claims.SubmitClaim(again).claims
            assert (known.name, known.state) == (claim.name, claim.state)
        # What would change the claim, or open one, is judged by the day as before.
        other = bill("B1", line(1, DRUG, "3.00", "1"))
        other.name, other.consent = given.name, given.consent
        other.kind = bill_pb2.BILL_KIND_CORRECTION
        unknown = bill("B2")
        unknown.name, unknown.consent = given.name, given.consent
        for refused_one in (other, unknown):
            fault = refused(service.claims.SubmitClaim, submission(refused_one))
            assert [v.reason for v in fault.violations] == ["IN_THE_FUTURE"]


def test_a_day_to_come_does_not_tell_a_hospital_whom_an_insurer_insures(
    sqlite_database: str,
) -> None:
    calling, reasons = [of_insurer()], []
    with served_at(sqlite_database, "2026-05-07T12:00:00", lambda: calling[0]) as service:
        calling[0] = of_hospital()
        for person in (100, 777):
            made_up = bill("B9", person=person)
            made_up.name, made_up.consent = BILL, CONSENT
            fault = refused(service.claims.SubmitClaim, submission(made_up))
            reasons.append([v.reason for v in fault.violations])
        assert reasons == [["IN_THE_FUTURE"], ["IN_THE_FUTURE"]]


@pytest.mark.parametrize(
    ("now", "early", "reached"),
    [
        ("2026-05-07T20:00:00", "Asia/Shanghai", "Pacific/Auckland"),
        ("2026-05-08T01:00:00", "America/Halifax", "Asia/Shanghai"),
    ],
)
def test_the_day_is_the_one_where_the_hospital_is(
    sqlite_database: str, now: str, early: str, reached: str
) -> None:
    """The bill ends on the eighth, which has begun in the one zone and not in the other."""
    with served_at(sqlite_database, now) as service:
        given = bill("B1")
        given.time_zone = early
        fault = refused(service.claims.SubmitClaim, submission(given))
        assert [(v.field, v.reason) for v in fault.violations] == [
            ("bill.end_time", "IN_THE_FUTURE")
        ]
        given.time_zone = reached
        assert service.claims.SubmitClaim(submission(given)).claims


@pytest.fixture
def next_year(sqlite_database: str) -> Iterator[Served]:
    """The service in the year after the policy's."""
    with served_at(sqlite_database, "2027-03-01T12:00:00") as running:
        yield running


def test_a_known_member_without_cover_gets_a_denied_claim(next_year: Served) -> None:
    late = bill("B1", days=("2027-02-01", "2027-02-03"))
    (claim,) = next_year.claims.SubmitClaim(submission(late)).claims
    assert claim.state == pb.CLAIM_STATE_DENIED
    assert {share.reason for share in claim.decision.lines[0].shares} == {2}


def test_the_notice_of_a_refusal_is_due_three_days_after_it_where_the_hospital_is(
    sqlite_database: str,
) -> None:
    """At the moment of the denial the second of March has begun in Shanghai only."""
    with served_at(sqlite_database, "2027-03-02T02:00:00") as service:
        names = {}
        for zone, due in (("Asia/Shanghai", "2027-03-05"), ("Europe/London", "2027-03-04")):
            late = bill(f"B-{due}", days=("2027-02-01", "2027-02-03"))
            late.time_zone = zone
            (claim,) = service.claims.SubmitClaim(submission(late)).claims
            assert (claim.state, claim.notice_due_day) == (pb.CLAIM_STATE_DENIED, due)
            names[due] = claim.name
        for due, name in names.items():
            told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=name))
            assert f"is due by {due}." in told.text_en
            assert f"最迟应于 {due} 发出拒赔通知书" in told.text_zh
        (claim,) = service.claims.SubmitClaim(submission(bill("B2"))).claims
        assert (claim.state, claim.notice_due_day) == (pb.CLAIM_STATE_PAYABLE, "")
        told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
        assert "notice of the refusal" not in told.text_en


def test_a_hospital_is_not_told_of_the_insurers_clocks() -> None:
    claim = pb.Claim(name="c", days_left=1, minimum_days_left=2, notice_due_day="2027-03-05")
    claim.days_stand_still, claim.reserved.minor_units = True, 3
    assert seen_by_hospital(claim) == pb.Claim(name="c")


def test_a_stay_over_the_turn_of_a_renewal_belongs_to_the_renewed_policy(
    next_year: Served,
) -> None:
    renewal = policy(2, start_date="2027-01-01", last_date="2027-12-31", previous_policy_id="p1")
    renewal.members[0].document.number = id_number(100)
    imported(next_year, renewal)
    turning = bill("B1", days=("2026-12-30", "2027-01-03"))
    (claim,) = next_year.claims.SubmitClaim(submission(turning)).claims
    assert claim.name.split("/")[1] == "p2"
    assert claim.decision.benefit == yuan("20000")
    used = {change.accumulator: change.period_start for change in claim.decision.usage_changes}
    assert used["yearly-deductible"] == "2027-01-01"
    (before,) = next_year.claims.SubmitClaim(submission(bill("B2"))).claims
    assert before.name.split("/")[1] == "p1"


def test_a_member_dropped_by_an_endorsement_is_denied_from_that_day(service: Served) -> None:
    imported(service, policy(5, people=2))
    dropped = policy(5, people=1, revision=2, effective_date="2026-05-01")
    imported(service, dropped)
    after = bill("B1", person=501)
    (claim,) = service.claims.SubmitClaim(submission(after)).claims
    assert claim.state == pb.CLAIM_STATE_DENIED
    assert {share.reason for share in claim.decision.lines[0].shares} == {2}
    earlier = bill("B2", person=501, days=("2026-04-04", "2026-04-08"))
    (claim,) = service.claims.SubmitClaim(submission(earlier)).claims
    assert claim.decision.benefit == yuan("20000")


def test_a_bill_goes_to_the_policies_of_its_currency(service: Served) -> None:
    publish(service, "synthea-usd")
    dollars = policy(6, plan="synthea-usd", start_date="2026-01-01")
    dollars.members[0].document.number = id_number(100)
    imported(service, dollars)
    (claim,) = service.claims.SubmitClaim(submission(bill("B1"))).claims
    assert claim.name.split("/")[1] == "p1"


def test_repeats_at_the_same_moment_get_the_same_answer(both: Served) -> None:
    request = submission(bill("B1"), request_id="once")

    def submit(_number: int) -> str:
        return str(both.claims.SubmitClaim(request, timeout=60).claims[0].name)

    def import_again(_number: int) -> int:
        return imported(both, policy(7), request_id="import").created

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(submit, range(8)))) == 1
        assert list(pool.map(import_again, range(8))) == [1] * 8


@pytest.mark.parametrize("name", ["policies/p1\0/claims/x", "policies/p1/claims/\0", "a" * 5000])
def test_hostile_names_are_refused_by_type(both: Served, name: str) -> None:
    fault = refused(both.claims.GetClaim, pb.GetClaimRequest(name=name))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    fault = refused(both.claims.ListClaims, pb.ListClaimsRequest(parent=name))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    hostile = policy(8, plan=name, previous_policy_id=name)
    fault = _import_refused(both, hostile)
    assert {v.reason for v in fault.violations} == {"UNKNOWN_PLAN", "UNKNOWN_POLICY"}
    wrong = bill("B9")
    wrong.lines[0].code.code = "A\0"
    fault = refused(both.claims.SubmitClaim, submission(wrong))
    assert [v.field for v in fault.violations] == ["bill.lines[0].code.code"]


def test_the_same_service_under_another_number_is_a_duplicate(service: Served) -> None:
    service.claims.SubmitClaim(submission(bill("B1")))
    (again,) = service.claims.SubmitClaim(submission(bill("B2"))).claims
    assert again.state == pb.CLAIM_STATE_DENIED
    assert [share.reason for share in again.decision.lines[0].shares] == [4]


def test_one_claim_opens_under_each_policy_in_coordination_order(both: Served) -> None:
    second = policy(2)
    second.members[0].document.number = id_number(100)
    imported(both, second)
    answer = both.claims.SubmitClaim(submission(bill("B1")))
    assert [claim.name.split("/")[1] for claim in answer.claims] == ["p1", "p2"]
    first, later = (claim.decision for claim in answer.claims)
    assert first.benefit == yuan("20000")
    # The second pays at most what the first left: its own 20,000 of benefit, cut to 10,000.
    assert later.benefit == yuan("10000")


def decided_at_last(service: Served, request: pb.SubmitClaimRequest) -> pb.Claim:
    """The bill's claim with its decision, which may come after the wait on a busy machine."""
    (claim,) = service.claims.SubmitClaim(request).claims
    while not claim.HasField("decision"):
        time.sleep(0.1)
        claim = service.claims.GetClaim(pb.GetClaimRequest(name=claim.name)).claim
    return claim


def test_fifty_at_once_are_all_decided_and_the_deductible_is_used_once(both: Served) -> None:
    def submit(number: int) -> int:
        request = submission(bill(f"B{number}", line(1, DRUG, f"{1000 + number}.00")), wait_s=30)
        return int(decided_at_last(both, request).decision.benefit.minor_units)

    with ThreadPoolExecutor(50) as pool:
        benefits = list(pool.map(submit, range(50)))
    billed = sum((1000 + number) * 100 for number in range(50))
    assert sum(benefits) == billed - 1_000_000
    books = both.claims.CheckBooks(pb.CheckBooksRequest())
    assert books.ledger_sum_minor_units == books.conservation_violations == 0


def test_overload_is_refused_early_and_stores_nothing(sqlite_database: str) -> None:
    with served(sqlite_database, workflows=Stuck(), most_in_flight=2) as running:
        publish(running)
        imported(running, policy(1))
        for number in (1, 2):
            running.claims.SubmitClaim(submission(bill(f"B{number}"), wait_s=0))
        fault = refused(running.claims.SubmitClaim, submission(bill("B3"), wait_s=0))
        assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert fault.retry_after_s
        listed = running.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-"))
        assert [claim.bill_number for claim in listed.claims] == ["B1", "B2"]


def test_a_caller_who_does_not_wait_gets_the_stored_claim(sqlite_database: str) -> None:
    with served(sqlite_database, workflows=Stuck()) as running:
        publish(running)
        imported(running, policy(1))
        (claim,) = running.claims.SubmitClaim(submission(bill("B1"), wait_s=0.2)).claims
        assert claim.state == pb.CLAIM_STATE_REGISTERED
        assert not claim.HasField("decision")


def test_pages_hold_every_claim_once(both: Served) -> None:
    for number in range(5):
        both.claims.SubmitClaim(submission(bill(f"B{number}")))
    seen: list[str] = []
    request = pb.ListClaimsRequest(parent="policies/p1", page_size=2)
    while True:
        page = both.claims.ListClaims(request)
        seen += [claim.bill_number for claim in page.claims]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"B{number}" for number in range(5)]
    request.parent = "policies/-"
    assert refused(both.claims.ListClaims, request).violations[0].field == "page_token"


@pytest.mark.both_databases
def test_replay_recomputes_the_decision_and_notices_an_altered_one(both: Served) -> None:
    (claim,) = both.claims.SubmitClaim(submission(bill("B1"))).claims
    request = pb.ReplayClaimRequest(name=claim.name)
    same = both.claims.ReplayClaim(request)
    for field in ("output_hash", "commitment"):
        assert getattr(same, field) == getattr(claim.decision, field) != ""
    # What the inputs say of a person is above whoever only takes bills in.
    assert (len(same.input_hash), claim.decision.input_hash) == (64, "")
    alter = "UPDATE decision SET output = :forged"
    with both.database.writing() as connection:  # an intruder with the service's keys as well
        stored = connection.execute(select(decision)).one()
        place = {"table": "decision", "column": "output", "row": stored.id}
        subject = person_subject(stored.person_id)
        sealer = both.keys.sealer(connection)
        output = sealer.open(stored.output, **place, subject=subject)
        altered = output.replace(b'"benefit":2000000', b'"benefit":2100000')
        assert altered != output
        forged = sealer.seal(altered, **place, subject=subject)
    with pytest.raises(DBAPIError, match="append-only"), both.database.writing() as connection:
        connection.execute(text(alter), {"forged": forged})
    with both.database.writing() as connection:  # an intruder with the database's own rights
        for trigger in _triggers(both.database.is_sqlite):
            connection.execute(text(trigger))
        connection.execute(text(alter), {"forged": forged})
    fault = refused(both.claims.ReplayClaim, request)
    assert (fault.code, fault.reason) == (grpc.StatusCode.DATA_LOSS, "DECISION_ALTERED")
    # And no hash, which could be guessed back.
    assert fault.metadata == {"differs": "output, amounts"}
    fault = refused(both.claims.ExplainClaim, pb.ExplainClaimRequest(name=claim.name))
    assert (fault.code, fault.reason) == (grpc.StatusCode.DATA_LOSS, "DECISION_ALTERED")
    with both.database.writing() as connection:
        connection.execute(text("UPDATE decision SET commitment = :it"), {"it": "0" * 64})
    told = refused(both.claims.ReplayClaim, request).metadata
    assert told == {"differs": "output, commitment, amounts"}


def _triggers(sqlite: bool) -> list[str]:
    if sqlite:
        return ["DROP TRIGGER decision_no_update"]
    return ["DROP TRIGGER decision_append_only ON decision"]


LINES = (
    "INSERT INTO decision_line SELECT 'forged', number, billed, allowed, benefit FROM decision_line"
)
SHARES = (
    "INSERT INTO decision_share SELECT 'forged', number, position, bearer, amount "
    "FROM decision_share"
)
SEAL = (
    "INSERT INTO decision SELECT 'forged', claim_id, person_id, 9, plan_version, "
    "engine_version, inputs, output, services, first_year, last_year, "
    "currency, billed, allowed, benefit, lines, at_us, commitment, salt "
    "FROM decision"
)


FORGERIES = (
    (LINES, SEAL),
    (SHARES, SEAL),
    (LINES, SHARES.replace(" amount ", " amount - 1 "), SEAL),
    (LINES.replace(" benefit ", " benefit - 1 "), SHARES, SEAL),
    (LINES, SHARES, SEAL.replace(" billed,", " billed + 1,")),
    (LINES, SHARES, SEAL.replace(" benefit,", " benefit + 1,")),
    (SHARES.replace("'forged'", "decision_id").replace(" position,", " position + 5,"),),
    (LINES.replace("'forged', number", "decision_id, number + 5"),),
)


@pytest.mark.both_databases
def test_a_decision_that_does_not_add_up_cannot_be_written(both: Served) -> None:
    both.claims.SubmitClaim(submission(bill("B1")))

    def forge(statements: tuple[str, ...]) -> None:
        with both.database.writing() as connection:
            for statement in statements:
                connection.execute(text(statement))

    for statements in FORGERIES:
        with pytest.raises(DBAPIError, match="add up"):
            forge(statements)
    forge((LINES, SHARES, SEAL))  # the control: whole, it may be written


def test_explanations_add_up_to_the_fen(service: Served) -> None:
    lines = [line(1, DRUG, "33333.333", "1.5"), line(2, BED, "1200.00", "3")]
    (claim,) = service.claims.SubmitClaim(submission(bill("B1", *lines, fund_paid="777.77"))).claims
    told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
    for decided in told.claim.decision.lines:
        shares = [share.amount.minor_units for share in decided.shares]
        assert sum(shares) == decided.billed.minor_units
        assert all(share.clause and share.clause in told.text_zh for share in decided.shares)
    assert "条款" in told.text_zh
    assert "clause" in told.text_en
    assert {reason.carc for reason in told.reasons} >= {"1"}


def test_importing_again_changes_nothing_and_another_content_is_a_conflict(
    both: Served,
) -> None:
    assert imported(both, policy(1)).unchanged == 1
    fault = _import_refused(both, policy(1, last_date="2026-11-30"))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REVISION_CONFLICT")
    endorsed = policy(1, last_date="2026-11-30", revision=2, effective_date="2026-03-01")
    assert imported(both, endorsed).revised == 1


def test_a_refused_payout_is_tried_again_when_the_policy_is_mended(service: Served) -> None:
    (claim,) = service.claims.SubmitClaim(submission(bill("B1"))).claims
    with service.database.writing() as connection:
        connection.execute(text("UPDATE claim SET state = 'payment_failed'"))
    imported(service, policy(1, revision=2, effective_date="2026-06-01"))
    mended = service.claims.GetClaim(pb.GetClaimRequest(name=claim.name)).claim
    assert mended.state == pb.CLAIM_STATE_PAYABLE
    assert mended.moves[-1].cause == "retry_payment"


def test_a_dry_run_stores_nothing_and_says_what_would_be_done(service: Served) -> None:
    assert imported(service, policy(2), dry_run=True).created == 1
    assert imported(service, policy(2), dry_run=True).created == 1
    fault = refused(service.claims.SubmitClaim, submission(bill("B1", person=200)))
    assert fault.reason == "UNKNOWN_MEMBER"


def test_one_bad_policy_keeps_all_out_and_every_fault_is_named(both: Served) -> None:
    bad = policy(3, start_date="2026-02-30", plan="no-such-plan")
    bad.members[0].birth_date = "yesterday"
    bad.members[0].disclosed_conditions.append(
        policy_pb2.DisclosedCondition(
            code_prefix="E11", terms=policy_pb2.PRE_EXISTING_TERMS_AT_SHARE, share="1.5"
        )
    )
    bad.payee_accounts[0].bank_code = "?"
    fault = _import_refused(both, policy(2), bad)
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {v.field for v in fault.violations} == {
        "policies[1].plan",
        "policies[1].start_date",
        "policies[1].members[0].birth_date",
        "policies[1].members[0].disclosed_conditions[0].share",
        "policies[1].payee_accounts[0].bank_code",
    }
    endless = _import_refused(both, policy(2, last_date="9999-12-31"))
    (told,) = endless.violations
    assert (told.field, told.reason) == ("policies[0].last_date", "IMPOSSIBLE_DATE")
    assert "to 2199-12-31" in told.text
    personal = id_number(300)
    assert personal not in fault.text + "".join(v.text for v in fault.violations)
    assert imported(both, policy(2)).created == 1


def test_no_identity_and_no_account_number_is_stored_in_clear(
    tmp_path: object, database_url: str
) -> None:
    with served(f"sqlite:///{tmp_path}/claims.db") as running:
        publish(running)
        imported(running, policy(1))
        (claim,) = running.claims.SubmitClaim(submission(bill("PLANTED-77"))).claims
    stored = b"".join(path.read_bytes() for path in _files(tmp_path))
    for personal in (id_number(100), "6222000000000001", "王小明", "PLANTED-77"):
        assert personal.encode() not in stored
    # The control: what is looked for would be found.
    assert claim.name.rpartition("/")[2].encode() in stored


def _files(folder: object) -> list[Path]:
    return [path for path in Path(str(folder)).iterdir() if path.is_file()]


def test_a_plan_with_faults_is_refused_with_their_lines(service: Served) -> None:
    request = pb.PublishPlanRequest(
        request_id="plan", yaml=b"format: 1\nid: x\nid: y\nshare: 0.8\n"
    )
    fault = refused(service.claims.PublishPlan, request)
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {"yaml:3 id", "yaml:4 share"} <= {v.field for v in fault.violations}


def test_malformed_names_and_unknown_claims_are_told_apart(service: Served) -> None:
    fault = refused(service.claims.GetClaim, pb.GetClaimRequest(name="claims/1"))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    fault = refused(service.claims.GetClaim, pb.GetClaimRequest(name="policies/p1/claims/none"))
    assert fault.code is grpc.StatusCode.NOT_FOUND


def _import_refused(service: Served, *policies: policy_pb2.Policy) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        imported(service, *policies)
    return error_of(caught.value)


def test_two_servers_on_one_database_serialise_a_members_usage(postgres_database: str) -> None:
    with served(postgres_database) as first, served(postgres_database) as second:
        publish(first)
        imported(first, policy(1))
        benefits: list[int] = []
        lock = threading.Lock()

        def submit(number: int) -> None:
            server = (first, second)[number % 2]
            request = submission(bill(f"B{number}", line(1, DRUG, f"{2000 + number}")), wait_s=30)
            claim = decided_at_last(server, request)
            with lock:
                benefits.append(claim.decision.benefit.minor_units)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(submit, range(30)))
    assert sum(benefits) == sum((2000 + n) * 100 for n in range(30)) - 1_000_000
