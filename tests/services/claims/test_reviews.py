"""A person works a claim: review, papers, reversal, appeal; over a socket, on both databases."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select, text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import reason_pb2, review_pb2, review_pb2_grpc, settlement_pb2
from lipei.type.v1 import bill_pb2
from services.claims import second_word
from services.claims.core.plan import Covers
from services.claims.core.plan_parts import Ages
from services.claims.papers import fact_faults, unstated, with_facts
from services.claims.plans.loader import load_plan
from services.claims.serving import tell_reserved
from services.claims.storage.recoveries import recoveries_off_ledger
from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import claim_move, usage_balance
from services.common.access.caller import Caller, calling_as
from services.common.process import now_us
from services.common.refusals import RpcFault, error_of
from tests.callers import Reads
from tests.services.claims.given import (
    DRUG,
    PLAN,
    PLANS,
    SCAN,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served, token
from tests.tenants import of_insurer, of_member

# Above the ceiling for payment without a look, 100,000 yuan. The deductible is 10,000.
BIG = line(1, DRUG, "200000.00")
NOTE = "患者王小明的病历不支持"


class Desk:
    """Who calls, and a claims service that they call."""

    def __init__(self) -> None:
        self.who: Caller = of_insurer()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(stocked_url: str, desk: Desk) -> Iterator[Served]:
    """Claims whose workflows never come, so that a test takes the steps itself."""
    running = served(stocked_url, workflows=Stuck(), most_in_flight=500, caller=lambda: desk.who)
    with running as made:
        yield made


def taken(service: Served, given: bill_pb2.Bill) -> str:
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    return str(claim.name)


def decided(service: Served, number: str, *lines: bill_pb2.BillLine, **more: Any) -> pb.Claim:
    """A claim that the engine has decided."""
    name = taken(service, bill(number, *lines, **more))
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
    return got(service, name)


def got(service: Served, name: str) -> pb.Claim:
    claim: pb.Claim = service.claims.GetClaim(pb.GetClaimRequest(name=name)).claim
    return claim


TODAY = datetime.now(UTC).date().isoformat()


def asked(kind: type[Any], claim: pb.Claim, **fields: Any) -> Any:
    """A request of somebody who has looked at the claim."""
    told = {"request_id": uuid.uuid4().hex, "revision": claim.revision, **fields}
    if kind.__name__.removesuffix("Request") in second_word.SAID_WHY:
        told.setdefault("note", NOTE)
    if kind is review_pb2.RecordRecoveryRequest:
        told = {"bank_reference": uuid.uuid4().hex, "value_date": TODAY, **told}
    return kind(name=claim.name, **told)


def reviewed(service: Served, claim: pb.Claim, *lines: review_pb2.LineReview) -> pb.Claim:
    request = asked(review_pb2.ReviewClaimRequest, claim, lines=lines, note=NOTE)
    answer: pb.Claim = service.review.ReviewClaim(request).claim
    return answer


def refused(call: Any, request: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return error_of(caught.value)


def used(service: Served) -> dict[tuple[str, ...], tuple[int, int]]:
    """Accumulators that are not at zero."""
    with service.database.reading() as connection:
        rows = connection.execute(select(usage_balance)).all()
    return {
        (row.subject, row.accumulator): (row.amount, row.uses)
        for row in rows
        if row.amount or row.uses
    }


def books(service: Served) -> dict[str, int]:
    """Account -> posted, in fen; the books are checked on the way."""
    found = service.claims.CheckBooks(pb.CheckBooksRequest())
    assert not found.ledger_sum_minor_units
    assert not found.conservation_violations
    assert not found.payout_mismatches
    return {one.account: one.posted.minor_units for one in found.balances if one.posted.minor_units}


def test_an_accepted_claim_is_approved_owed_and_replayed(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    assert claim.state == pb.CLAIM_STATE_PENDED_REVIEW
    (pend,) = claim.decision.pends
    assert (pend.reason, pend.awaits) == (
        reason_pb2.REASON_REVIEW_NEEDED,
        "review.auto_pay_ceiling",
    )
    after = reviewed(service, claim)
    assert after.state == pb.CLAIM_STATE_PAYABLE
    assert after.decision.benefit == yuan("190000")
    assert not after.decision.pends
    assert books(service) == {"claims:incurred": 19_000_000, "claims:payable": -19_000_000}
    moves = [(move.cause, move.actor) for move in got(service, claim.name).moves[-2:]]
    assert moves == [("approve", "insurer:person-7"), ("release_payment", "insurer:person-7")]
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))


def test_a_reviewers_units_and_price_apply_before_limits(service: Served) -> None:
    claim = decided(service, "B1", line(1, DRUG, "50.00", "4000"), line(2, SCAN, "600.00"))
    cut = review_pb2.LineReview(number=1, clause="1.1", units="3000", unit_price="40")
    after = reviewed(service, claim, cut)
    first, second = after.decision.lines
    assert (first.allowed, second.allowed) == (yuan("120000"), yuan("600"))
    assert after.decision.benefit == yuan("110600")
    shares = {share.reason: share.amount for share in first.shares}
    assert shares[reason_pb2.REASON_MEDICAL_NECESSITY] == yuan("80000")
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))


def test_a_claim_denied_line_by_line_uses_nothing_up_any_more(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    assert used(service)
    deny = review_pb2.LineReview(
        number=1, clause="1.1", deny_reason=reason_pb2.REASON_PAPERS_MISSING
    )
    after = reviewed(service, claim, deny)
    assert after.state == pb.CLAIM_STATE_DENIED
    assert [share.reason for share in after.decision.lines[0].shares] == [
        reason_pb2.REASON_PAPERS_MISSING
    ]
    assert used(service) == {}
    assert books(service) == {}


def test_a_review_names_what_it_looked_at_and_says_all_its_faults(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    request = asked(
        review_pb2.ReviewClaimRequest,
        claim,
        lines=[
            review_pb2.LineReview(number=1, clause="1.1", units="2"),
            review_pb2.LineReview(number=7, clause="1.1", unit_price="1"),
            review_pb2.LineReview(number=1, clause="none", unit_price="1"),
            review_pb2.LineReview(number=1, clause="1.1", deny_reason=reason_pb2.REASON_DEDUCTIBLE),
        ],
    )
    fault = refused(service.review.ReviewClaim, request)
    assert [(v.field, v.reason) for v in fault.violations] == [
        ("lines[0]", "DUPLICATE_NUMBER"),
        ("lines[0].units", "ABOVE_BILLED"),
        ("lines[1]", "UNKNOWN_LINE"),
        ("lines[2]", "DUPLICATE_NUMBER"),
        ("lines[2]", "UNKNOWN_CLAUSE"),
        ("lines[3]", "DUPLICATE_NUMBER"),
        ("lines[3].deny_reason", "NOT_A_DENIAL"),
    ]
    request = asked(review_pb2.ReviewClaimRequest, claim, lines=[review_pb2.LineReview(number=1)])
    fault = refused(service.review.ReviewClaim, request)
    assert [v.reason for v in fault.violations] == ["MISSING", "SAYS_NOTHING"]
    assert got(service, claim.name) == claim


def test_of_two_reviews_of_one_look_the_second_is_told(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    first = asked(review_pb2.ReviewClaimRequest, claim)
    answer = service.review.ReviewClaim(first)
    fault = refused(service.review.ReviewClaim, asked(review_pb2.ReviewClaimRequest, claim))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ABORTED, "CLAIM_CHANGED")
    assert fault.metadata["state"] == "CLAIM_STATE_PAYABLE"
    assert service.review.ReviewClaim(first) == answer  # a repeat, not a second one
    looked = got(service, claim.name)
    fault = refused(service.review.ReviewClaim, asked(review_pb2.ReviewClaimRequest, looked))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    first.note = "another"
    assert refused(service.review.ReviewClaim, first).reason == "REQUEST_ID_REUSED"


def test_a_re_decision_leaves_its_own_out_counts_the_others_and_moves_no_other(
    service: Served,
) -> None:
    claim = decided(service, "B1", BIG)  # reserves without its deductible
    later = decided(service, "B2", line(1, DRUG, "15000.00"))
    assert later.decision.benefit == yuan("5000")  # has had the deductible
    after = reviewed(service, claim)
    assert after.decision.benefit == yuan("200000")  # the other has borne it
    assert got(service, later.name) == later


def test_what_a_reviewer_wrote_is_sealed(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    reviewed(service, claim)
    with service.database.reading() as connection:
        rows = connection.execute(text("SELECT * FROM claim_act")).all()
        answers = connection.execute(text("SELECT response FROM request_log")).all()
    assert len(rows) == 1
    assert NOTE.encode() not in repr(rows).encode()
    assert NOTE.encode() not in bytes(rows[0].sealed)
    assert not [row for row in answers if NOTE.encode() in bytes(row.response)]


def test_papers_say_how_care_was_given_only_where_the_bill_does_not() -> None:
    told = bill_pb2.Bill(care_type=bill_pb2.CARE_TYPE_INPATIENT)
    silent = bill_pb2.Bill()
    assert list(fact_faults(silent, told)) == []
    assert with_facts(silent, told).care_type == bill_pb2.CARE_TYPE_INPATIENT
    stated = bill_pb2.Bill(care_type=bill_pb2.CARE_TYPE_OUTPATIENT)
    assert [one.reason for one in fact_faults(stated, told)] == ["STATED_ALREADY"]


def test_papers_say_all_of_a_line_in_one_place() -> None:
    silent = bill_pb2.Bill(lines=[bill_pb2.BillLine(number=1), bill_pb2.BillLine(number=2)])
    told = bill_pb2.Bill(
        lines=[
            bill_pb2.BillLine(number=1, days_supply=7),
            bill_pb2.BillLine(number=2, days_supply=7),
            bill_pb2.BillLine(number=1, repeat_reason="emergency-surgery"),
        ]
    )
    assert [(one.field, one.reason) for one in fact_faults(silent, told)] == [
        ("facts.lines[0].number", "DUPLICATE_NUMBER"),
        ("facts.lines[2].number", "DUPLICATE_NUMBER"),
    ]
    del told.lines[2]
    assert list(fact_faults(silent, told)) == []


def _at(moment: str) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime.fromisoformat(f"{moment}+08:00"))
    return made


def test_papers_say_the_time_of_a_day_and_of_no_other() -> None:
    def timed(start: str, *services: str, **more: Any) -> bill_pb2.Bill:
        numbered = enumerate(services, start=1)
        lines = [bill_pb2.BillLine(number=n, service_time=_at(one)) for n, one in numbered]
        return bill_pb2.Bill(start_time=_at(start), lines=lines, **more)

    zone = {"time_zone": "Asia/Shanghai", "end_time": _at("2025-03-04T10:00")}
    day = timed("2025-03-01T00:00", "2025-03-03T00:00", "2025-03-03T08:00", **zone)
    day.lines.add(number=3)  # of the bill's last day, which it says by its end
    told = timed("2025-03-01T22:30", "2025-03-03T09:00")
    told.lines.add(number=3).service_time.CopyFrom(_at("2025-03-04T12:00"))
    assert list(fact_faults(day, told)) == []
    facts = with_facts(day, told)
    assert facts.start_time == told.start_time
    assert [one.service_time for one in facts.lines] == [
        told.lines[0].service_time,
        day.lines[1].service_time,
        told.lines[1].service_time,
    ]
    wrong = timed("2025-03-02T00:00", "2025-03-04T09:00", "2025-03-03T09:00")
    wrong.lines.add(number=3).service_time.seconds = 2**62
    wrong.end_time.CopyFrom(_at("2025-03-04T11:00"))
    assert [(one.field, one.reason) for one in fact_faults(day, wrong)] == [
        ("facts.start_time", "OTHER_DAY"),
        ("facts.end_time", "STATED_ALREADY"),
        ("facts.lines[0].service_time", "OTHER_DAY"),
        ("facts.lines[1].service_time", "STATED_ALREADY"),
        ("facts.lines[2].service_time", "OTHER_DAY"),
    ]
    # A later version of the bill goes before what papers said, as far as it says a time itself.
    assert unstated(day, told) == told
    other_day = timed("2025-03-02T00:00", "2025-03-03T08:00", **zone)
    left = unstated(other_day, told)
    assert not left.HasField("start_time")
    assert not left.lines[0].HasField("service_time")
    assert left.lines[1].HasField("service_time")  # of a line that the version has not


def test_papers_decide_a_claim_and_a_stated_fact_is_not_stated_again(service: Served) -> None:
    given = bill("B1", line(1, DRUG, "30000.00"))
    given.ClearField("social_insurance")
    name = taken(service, given)
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
    claim = got(service, name)
    assert claim.state == pb.CLAIM_STATE_PENDED_INFO
    assert claim.HasField("papers_due_time")
    assert {pend.awaits for pend in claim.decision.pends} == {"social_insurance.used"}
    fault = refused(
        service.review.SupplyFacts,
        asked(
            review_pb2.SupplyFactsRequest,
            claim,
            facts=bill_pb2.Bill(
                bill_number="B2",
                hospital_tier=bill_pb2.HOSPITAL_TIER_PRIMARY,
                lines=[
                    bill_pb2.BillLine(number=1, quantity="1", repeat_reason="allergy"),
                    bill_pb2.BillLine(number=9, repeat_reason="allergy"),
                ],
            ),
        ),
    )
    assert [(v.field, v.reason) for v in fault.violations] == [
        ("facts.bill_number", "NOT_BY_PAPERS"),
        ("facts.hospital_tier", "STATED_ALREADY"),
        ("facts.lines[0].quantity", "NOT_BY_PAPERS"),
        ("facts.lines[1].number", "UNKNOWN_LINE"),
    ]
    still = service.review.SupplyFacts(asked(review_pb2.SupplyFactsRequest, claim)).claim
    assert still.state == pb.CLAIM_STATE_PENDED_INFO  # papers that say nothing
    papers = asked(
        review_pb2.SupplyFactsRequest,
        still,
        facts=bill_pb2.Bill(
            social_insurance=bill_pb2.SocialInsurance(used=True, fund_paid=yuan("0"))
        ),
        paper_digests=["ab" * 32],
        note=NOTE,
    )
    after = service.review.SupplyFacts(papers).claim
    assert after.state == pb.CLAIM_STATE_PAYABLE
    assert after.decision.benefit == yuan("20000")
    assert not after.HasField("papers_due_time")
    clocks = [(move.cause, move.clock) for move in got(service, name).moves if move.clock]
    assert clocks == [  # stopped once
        ("register", "start"),
        ("ask_for_papers", "stop"),
        ("receive_papers", "resume"),
        ("auto_approve", "end"),
        ("release_payment", "start"),
    ]
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=name))


def test_papers_bring_no_code_that_the_plan_does_not_know(service: Served) -> None:
    """It would be a code to no exclusion and no limit, as at intake."""
    given = bill("B1", line(1, DRUG, "30000.00"))
    given.ClearField("social_insurance")
    given.ClearField("diagnoses")
    given.lines[0].ClearField("diagnosis_numbers")
    name = taken(service, given)
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
    claim = got(service, name)
    facts = bill_pb2.Bill(social_insurance=bill_pb2.SocialInsurance(used=False))
    facts.diagnoses.add(number=1, principal=True).code.code = "J18.9"
    facts.diagnoses[0].code.system = "icd-10"  # a plan's word for the system, not its URI
    request = asked(review_pb2.SupplyFactsRequest, claim, facts=facts)
    fault = refused(service.review.SupplyFacts, request)
    assert [(v.field, v.reason) for v in fault.violations] == [
        ("facts.diagnoses[0].code", "UNKNOWN_CODE_SYSTEM")
    ]
    assert got(service, name) == claim
    facts.diagnoses[0].code.system = "http://hl7.org/fhir/sid/icd-10"
    request = asked(review_pb2.SupplyFactsRequest, claim, facts=facts)
    assert service.review.SupplyFacts(request).claim.state == pb.CLAIM_STATE_PAYABLE


def paid(service: Served, claim: pb.Claim) -> pb.Claim:
    """The claim as if the bank had paid it; the books say so too."""
    with service.database.writing() as connection:
        told = {"id": claim.name.rpartition("/")[2]}
        connection.execute(
            text("UPDATE claim SET state = 'paid', paid = benefit WHERE id = :id"), told
        )
    return got(service, claim.name)


@pytest.mark.parametrize("rpc", sorted(second_word.SAID_WHY))
def test_what_moves_money_or_ends_the_matter_says_why(service: Served, rpc: str) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    request = asked(getattr(review_pb2, f"{rpc}Request"), claim)
    if rpc == "DecideAppeal":
        request.outcome = review_pb2.APPEAL_OUTCOME_UPHOLD
    for note in ("", " \n"):
        request.note = note
        fault = refused(getattr(service.review, rpc), request)
        assert fault.code.name == "INVALID_ARGUMENT"
        assert [(one.field, one.reason) for one in fault.violations] == [("note", "MISSING")]
    request.note = NOTE
    assert refused(getattr(service.review, rpc), request).reason == "WRONG_STATE"


def test_a_reversed_claim_frees_what_it_used_and_is_recovered(service: Served) -> None:
    before = used(service)
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    request = asked(review_pb2.ReverseClaimRequest, claim, note=NOTE)
    after = service.review.ReverseClaim(request).claim
    assert after.state == pb.CLAIM_STATE_RECOVERY_OPEN
    assert after.recoverable == yuan("20000")
    with service.database.reading() as connection:
        owed = connection.execute(text("SELECT owed, owed_provider FROM claim")).all()
    assert owed == [(0, 0)]
    assert used(service) == before == {}
    assert books(service)["claims:recoverable"] == 2_000_000
    assert "claims:incurred" not in books(service)
    whole = asked(
        review_pb2.RecordRecoveryRequest, after, amount=yuan("20000"), paying_account="main"
    )
    closed = service.review.RecordRecovery(whole).claim
    assert closed.state == pb.CLAIM_STATE_RECOVERED
    assert not closed.HasField("recoverable")
    assert (closed.paid, closed.recovered) == (yuan("20000"), yuan("20000"))
    assert "claims:recoverable" not in books(service)
    again = decided(service, "B2", line(1, DRUG, "30000.00"))  # no duplicate of a reversed one
    assert again.decision.benefit == yuan("20000")


@pytest.mark.parametrize("says", ["OVERTURN", "UPHOLD"])
def test_what_was_paid_and_appealed_in_vain_is_reversed_too(
    service: Served, desk: Desk, says: str
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    unpaid = decided(service, "B0", days=("2025-05-04", "2025-05-08"))
    for one in (claim, unpaid):
        appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, one)).claim
        who, desk.who = desk.who, another()
        outcome = review_pb2.AppealOutcome.Value(f"APPEAL_OUTCOME_{says}")
        decides = asked(review_pb2.DecideAppealRequest, appealed, outcome=outcome)
        stands = service.review.DecideAppeal(decides).claim
        desk.who = who
        if says == "OVERTURN":
            deny = [
                review_pb2.LineReview(
                    number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
                )
            ]
            stands = reviewed(service, stands, *([] if one is claim else deny))
            assert stands.state in {pb.CLAIM_STATE_CLOSED_ZERO, pb.CLAIM_STATE_DENIED}
        else:
            assert stands.state == pb.CLAIM_STATE_UPHELD
        back = asked(review_pb2.ReverseClaimRequest, stands)
        if one is unpaid:
            reason = refused(service.review.ReverseClaim, back).reason
            assert reason == ("WRONG_STATE" if says == "OVERTURN" else "NOTHING_PAID")
            assert got(service, stands.name).state == stands.state
            continue
        after = service.review.ReverseClaim(back).claim
        assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("20000"))
        assert books(service)["claims:recoverable"] == 2_000_000
        assert "claims:incurred" not in books(service)
        assert used(service) == {}


@pytest.mark.parametrize("amount", ["0", "20000.01"])
def test_money_comes_to_a_known_account_and_is_no_more_than_is_open(
    service: Served, amount: str
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    after = service.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    before = books(service)
    wrong = asked(
        review_pb2.RecordRecoveryRequest, after, amount=yuan(amount), paying_account="abc"
    )
    fault = refused(service.review.RecordRecovery, wrong)
    assert [v.reason for v in fault.violations] == ["OTHER_AMOUNT", "UNKNOWN_ACCOUNT"]
    assert fault.violations[1].text.endswith("the accounts: main")
    assert books(service) == before
    assert got(service, claim.name).revision == after.revision


def test_a_part_of_the_money_leaves_the_rest_to_be_recovered(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    stands = service.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    for back, left in (("5000", "15000"), ("5000", "10000")):  # the same amount twice is two
        part = asked(
            review_pb2.RecordRecoveryRequest, stands, amount=yuan(back), paying_account="main"
        )
        stands = service.review.RecordRecovery(part).claim
        assert service.review.RecordRecovery(part).claim == stands  # a repeat books nothing
        assert stands.state == pb.CLAIM_STATE_RECOVERY_OPEN
        assert stands.recoverable == yuan(left)
    assert stands.recovered == yuan("10000")
    assert books(service)["claims:recoverable"] == 1_000_000
    closed = service.review.WriteOffRecovery(
        asked(review_pb2.WriteOffRecoveryRequest, stands)
    ).claim
    assert closed.state == pb.CLAIM_STATE_WRITTEN_OFF
    assert (closed.paid, closed.recovered) == (yuan("20000"), yuan("10000"))
    assert books(service)["claims:written-off"] == 1_000_000


def test_what_never_comes_back_is_written_off(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    after = service.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    closed = service.review.WriteOffRecovery(asked(review_pb2.WriteOffRecoveryRequest, after)).claim
    assert closed.state == pb.CLAIM_STATE_WRITTEN_OFF
    assert books(service)["claims:written-off"] == 2_000_000


def taken_back(service: Served, given: bill_pb2.Bill) -> Any:
    back = bill_pb2.Bill()
    back.CopyFrom(given)
    back.kind = bill_pb2.BILL_KIND_REVERSAL
    return service.claims.SubmitClaim(submission(back, wait_s=0)).claims


def test_a_bill_taken_back_undoes_its_claim_wherever_it_stands(service: Served) -> None:
    given = {
        state: bill(number, line(1, DRUG, price, quantity))
        for state, number, price, quantity in (
            (pb.CLAIM_STATE_REGISTERED, "B1", "1.00", "1"),
            (pb.CLAIM_STATE_CLOSED_ZERO, "B2", "2000.00", "1"),
            (pb.CLAIM_STATE_PENDED_REVIEW, "B3", "300000.00", "1"),
            (pb.CLAIM_STATE_PAYABLE, "B4", "20000.00", "1"),
            (pb.CLAIM_STATE_PAID, "B5", "5000.00", "2"),
        )
    }
    names = {}
    for state, one in given.items():
        names[state] = taken(service, one)
    for state in list(given):
        work = settlement_pb2.AdjudicateClaimRequest(name=names[state])
        service.settlement.AdjudicateClaim(work)
        if state == pb.CLAIM_STATE_PAID:
            paid(service, got(service, names[state]))
    assert used(service)
    ends = {
        pb.CLAIM_STATE_CLOSED_ZERO: pb.CLAIM_STATE_WITHDRAWN,
        pb.CLAIM_STATE_PENDED_REVIEW: pb.CLAIM_STATE_WITHDRAWN,
        pb.CLAIM_STATE_PAYABLE: pb.CLAIM_STATE_WITHDRAWN,
        pb.CLAIM_STATE_PAID: pb.CLAIM_STATE_RECOVERY_OPEN,
    }
    for state, end in ends.items():
        (claim,) = taken_back(service, given[state])
        assert (claim.name, claim.state) == (names[state], end)
        assert [one.name for one in taken_back(service, given[state])] == [names[state]]
    taken_back(service, given[pb.CLAIM_STATE_REGISTERED])
    assert used(service) == {}
    assert "claims:incurred" not in books(service)
    assert "claims:payable" not in {k for k, v in books(service).items() if v > 0}


@pytest.mark.both_databases
def test_a_bill_that_nobody_knows_cannot_be_taken_back(service: Served) -> None:
    back = bill("B1", BIG)
    back.kind = bill_pb2.BILL_KIND_REVERSAL
    fault = refused(service.claims.SubmitClaim, submission(back, wait_s=0))
    assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "BILL_UNKNOWN")


def test_an_appeal_is_decided_by_somebody_who_did_not_review(service: Served, desk: Desk) -> None:
    claim = decided(service, "B1", BIG)
    deny = review_pb2.LineReview(
        number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
    )
    denied = reviewed(service, claim, deny)
    appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, denied)).claim
    assert appealed.state == pb.CLAIM_STATE_APPEALED
    assert appealed.days_left == 30
    assert appealed.notice_due_day == denied.notice_due_day != ""
    assert not appealed.HasField("minimum_days_left")
    overturn = asked(
        review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_OVERTURN
    )
    assert refused(service.review.DecideAppeal, overturn).reason == "SAME_PERSON"
    desk.who = another()
    anew = service.review.DecideAppeal(overturn).claim
    assert anew.state == pb.CLAIM_STATE_PENDED_REVIEW
    after = reviewed(service, anew)
    assert after.state == pb.CLAIM_STATE_PAYABLE
    assert after.decision.benefit == yuan("190000")


def test_who_objected_does_not_decide_the_appeal(service: Served, desk: Desk) -> None:
    claim = decided(service, "B1", days=("2025-05-04", "2025-05-08"))
    appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    overturn = asked(
        review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_OVERTURN
    )
    assert refused(service.review.DecideAppeal, overturn).reason == "SAME_PERSON"
    desk.who = another()
    assert service.review.DecideAppeal(overturn).claim.state == pb.CLAIM_STATE_PENDED_REVIEW


@pytest.mark.parametrize("outcome", ["pended", "upheld", "closed"])
def test_a_bill_whose_paid_claim_was_appealed_is_taken_back_and_the_money_recovered(
    service: Served, desk: Desk, outcome: str
) -> None:
    claim = paid(service, reviewed(service, decided(service, "B1", BIG)))
    appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    given = bill("B1", BIG)
    given.kind = bill_pb2.BILL_KIND_REVERSAL
    fault = refused(service.claims.SubmitClaim, submission(given, wait_s=0))
    assert fault.reason == "APPEAL_OPEN"
    desk.who = another()
    says = review_pb2.APPEAL_OUTCOME_OVERTURN
    if outcome == "upheld":
        says = review_pb2.APPEAL_OUTCOME_UPHOLD
    decides = asked(review_pb2.DecideAppealRequest, appealed, outcome=says)
    stands = service.review.DecideAppeal(decides).claim
    if outcome == "closed":
        stands = reviewed(service, stands)
    assert stands.state in {
        pb.CLAIM_STATE_PENDED_REVIEW,
        pb.CLAIM_STATE_UPHELD,
        pb.CLAIM_STATE_CLOSED_ZERO,
    }
    for _ in range(2):  # repeated, nothing happens
        (ended,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
        assert (ended.state, ended.recoverable) == (
            pb.CLAIM_STATE_RECOVERY_OPEN,
            yuan("190000"),
        )
        moves = got(service, ended.name).moves
        assert [move.cause for move in moves][-2:] == ["reverse", "open_recovery"]
        assert used(service) == {}
        assert "claims:incurred" not in books(service)


@pytest.mark.parametrize("stands", ["denied", "appealed", "upheld"])
def test_a_bill_whose_claim_paid_nothing_is_taken_back_and_the_claim_is_over(
    service: Served, desk: Desk, stands: str
) -> None:
    claim = decided(service, "B1", BIG)
    deny = review_pb2.LineReview(
        number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
    )
    claim = reviewed(service, claim, deny)
    assert claim.state == pb.CLAIM_STATE_DENIED
    if stands != "denied":
        appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
        if stands == "upheld":
            desk.who = another()
            upholds = asked(
                review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_UPHOLD
            )
            service.review.DecideAppeal(upholds)
    (ended,) = taken_back(service, bill("B1", BIG))
    assert (ended.name, ended.state) == (claim.name, pb.CLAIM_STATE_WITHDRAWN)
    assert not ended.HasField("recoverable")
    assert not ended.HasField("days_left")
    assert (used(service), books(service)) == ({}, {})
    if stands == "appealed":  # there is no appeal left to decide
        decides = asked(
            review_pb2.DecideAppealRequest, ended, outcome=review_pb2.APPEAL_OUTCOME_UPHOLD
        )
        assert refused(service.review.DecideAppeal, decides).reason == "WRONG_STATE"


@pytest.mark.parametrize("given_up", [False, True])
def test_what_a_correction_left_of_a_recovered_claim_comes_back_with_its_bill(
    service: Served, *, given_up: bool
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    smaller = bill("B1", line(1, DRUG, "25000.00"))
    smaller.kind = bill_pb2.BILL_KIND_CORRECTION
    service.claims.SubmitClaim(submission(smaller, wait_s=0))
    service.settlement.ApplyCorrection(
        settlement_pb2.ApplyCorrectionRequest(name=claim.name, number=1)
    )
    after = got(service, claim.name)
    if given_up:
        service.review.WriteOffRecovery(asked(review_pb2.WriteOffRecoveryRequest, after))
    else:
        back = {"amount": yuan("5000"), "paying_account": "main"}
        service.review.RecordRecovery(asked(review_pb2.RecordRecoveryRequest, after, **back))
    (ended,) = taken_back(service, smaller)
    assert (ended.state, ended.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("15000"))
    assert used(service) == {}
    assert books(service)["claims:recoverable"] == 1_500_000
    assert "claims:incurred" not in books(service)


@pytest.mark.parametrize("billed", ["20000.00", "25000.00"])  # the same twice, and not
def test_what_is_given_up_twice_under_one_decision_is_booked_twice(
    service: Served, billed: str
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    smaller = bill("B1", line(1, DRUG, billed))
    smaller.kind = bill_pb2.BILL_KIND_CORRECTION
    service.claims.SubmitClaim(submission(smaller, wait_s=0))
    service.settlement.ApplyCorrection(
        settlement_pb2.ApplyCorrectionRequest(name=claim.name, number=1)
    )
    part = asked(review_pb2.WriteOffRecoveryRequest, got(service, claim.name))
    service.review.WriteOffRecovery(part)
    (ended,) = taken_back(service, smaller)
    rest = asked(review_pb2.WriteOffRecoveryRequest, ended)
    assert service.review.WriteOffRecovery(rest).claim.state == pb.CLAIM_STATE_WRITTEN_OFF
    assert books(service)["claims:written-off"] == 2_000_000
    assert not {"claims:recoverable", "claims:incurred"} & set(books(service))


def test_after_an_appeal_nobody_gets_less_and_only_the_difference_is_owed(
    service: Served, desk: Desk
) -> None:
    claim = decided(service, "B1", line(1, DRUG, "50.00", "4000"))
    cut = review_pb2.LineReview(number=1, clause="1.1", units="3000")
    claim = paid(service, reviewed(service, claim, cut))
    assert claim.paid == yuan("140000")
    appealed = service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim)).claim
    desk.who = another()
    overturn = asked(
        review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_OVERTURN
    )
    anew = service.review.DecideAppeal(overturn).claim
    worse = review_pb2.LineReview(number=1, clause="1.1", units="2999")
    request = asked(review_pb2.ReviewClaimRequest, anew, lines=[worse])
    assert refused(service.review.ReviewClaim, request).reason == "BELOW_PAID"
    after = reviewed(service, anew)
    assert after.state == pb.CLAIM_STATE_PAYABLE
    assert books(service)["claims:incurred"] == 19_000_000


def another() -> Caller:
    """A second person of the same insurer."""
    return dataclasses.replace(of_insurer(), subject="person-8")


def test_the_queue_says_which_clock_stands_still_and_how_much_is_reserved(service: Served) -> None:
    paid = decided(service, "B1", line(1, DRUG, "20000.00"))  # 10,000 above the deductible
    assert (paid.days_stand_still, paid.HasField("reserved")) == (False, False)
    looked_at = decided(service, "B2", BIG)
    assert (looked_at.days_stand_still, looked_at.HasField("days_left")) == (False, True)
    sent = bill("B3", line(1, DRUG, "9000000.00"))  # above the two millions that are insured
    sent.ClearField("social_insurance")
    name = taken(service, sent)
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
    for_papers = got(service, name)
    assert for_papers.days_stand_still
    reserved = [one.reserved.minor_units for one in (looked_at, for_papers)]
    assert reserved[0] >= looked_at.decision.benefit.minor_units > 0
    assert sum(reserved) == yuan("1990000").minor_units


def test_what_is_reserved_is_not_what_a_limit_for_some_ages_holds() -> None:
    text = (PLANS / "million-medical.yaml").read_text()
    plan = load_plan(text, "plan")
    whole = next(one for one in plan.ceilings if not one.of_section)
    young = msgspec.structs.replace(whole, id="young", covers=Covers(ages=Ages(last=17)))
    plan = msgspec.structs.replace(plan, ceilings=(*plan.ceilings, young))
    claim = pb.Claim()
    for name, held in ((whole.id, 900), (young.id, 100)):  # of the lines before a birthday
        claim.decision.usage_changes.add(accumulator=name, amount_minor_units=held)
    row: Any = SimpleNamespace(state="pended_review", currency="CNY")
    with calling_as(of_insurer()):
        tell_reserved(claim, row, plan)
    assert claim.reserved.minor_units == 900


def test_the_queue_lists_what_waits(service: Served) -> None:
    waiting = decided(service, "B1", BIG)
    decided(service, "B2", line(1, DRUG, "20.00"))
    listed = service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-", pended=True))
    (one,) = listed.claims
    assert (one.name, one.days_left, one.minimum_days_left) == (waiting.name, 30, 60)
    assert one.state_time == waiting.state_time
    queue = pb.ListClaimsRequest(parent="policies/-", pended=True, state=waiting.state)
    assert [claim.name for claim in service.claims.ListClaims(queue).claims] == [waiting.name]


def test_a_claim_that_waits_for_nobody_is_in_no_queue_of_its_state(service: Served) -> None:
    claim = decided(service, "B1", line(1, DRUG, "20000.00"))
    queue = pb.ListClaimsRequest(parent="policies/-", state=claim.state)
    assert [one.name for one in service.claims.ListClaims(queue).claims] == [claim.name]
    queue.pended = True
    assert not service.claims.ListClaims(queue).claims


def test_a_batch_settles_the_others_when_one_waits_for_an_earlier_policy(service: Served) -> None:
    second = policy(3)
    second.members[0].document.number = policy(1).members[0].document.number
    imported(service, second)
    first, held_up = service.claims.SubmitClaim(submission(bill("B1", BIG), wait_s=0)).claims
    small = bill("B2", line(1, DRUG, "20.00"))
    later = service.claims.SubmitClaim(submission(small, wait_s=0)).claims
    names = [first.name, held_up.name, *(claim.name for claim in later)]
    answer = service.settlement.SettleClaims(settlement_pb2.SettleClaimsRequest(names=names))
    assert [claim.state for claim in answer.claims[:2]] == [
        pb.CLAIM_STATE_PENDED_REVIEW,
        pb.CLAIM_STATE_REGISTERED,
    ]
    assert all(claim.state != pb.CLAIM_STATE_REGISTERED for claim in answer.claims[2:])
    reviewed(service, got(service, first.name))
    after = got(service, held_up.name)  # goes on at once, with what is left
    assert (after.state, after.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("9980"))


TWO_YEARS_US = 2 * 366 * 86_400_000_000


def test_papers_that_never_come_close_the_claim_and_free_what_it_reserved(
    database_url: str,
) -> None:
    clock = Clock()
    running = served(database_url, workflows=Stuck(), clock=clock)
    with running as service:
        publish(service)
        imported(service, policy(1))
        given = bill("B1", line(1, DRUG, "30000.00"))
        given.ClearField("social_insurance")
        name = taken(service, given)
        service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
        assert used(service)
        early = settlement_pb2.GiveUpWaitingRequest(name=name)
        told = service.settlement.GiveUpWaiting(early)
        assert told.state == pb.CLAIM_STATE_PENDED_INFO
        assert told.due_time == got(service, name).papers_due_time
        clock.ahead_us = TWO_YEARS_US
        for _ in range(2):
            state = service.settlement.GiveUpWaiting(early).state
            assert state == pb.CLAIM_STATE_CLOSED_INCOMPLETE
        assert used(service) == {}
        late = asked(review_pb2.SupplyFactsRequest, got(service, name))
        assert refused(service.review.SupplyFacts, late).reason == "WRONG_STATE"


class Clock:
    """The service's clock, which a test puts forward."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


@pytest.fixture
def strict(database_url: str, desk: Desk) -> Iterator[Served]:
    """Claims where every review of 150,000 yuan or more needs a second person."""
    with served(
        database_url,
        workflows=Stuck(),
        caller=lambda: desk.who,
    ) as made:
        plan = (PLANS / f"{PLAN}.yaml").read_text()
        assert "\nfour_eyes:" not in plan
        plan += '\nfour_eyes: {clause: "5.6", unit: CNY, values: {2024-01-01: "150000.00"}}\n'
        made.claims.PublishPlan(pb.PublishPlanRequest(request_id="p", yaml=plan.encode()))
        imported(made, policy(1))
        yield made


def test_above_the_threshold_somebody_else_must_confirm(strict: Served, desk: Desk) -> None:
    claim = decided(strict, "B1", BIG)
    before = used(strict)
    proposed = reviewed(strict, claim)
    assert (proposed.state, proposed.awaits_confirmation) == (pb.CLAIM_STATE_PENDED_REVIEW, True)
    assert proposed.decision == claim.decision
    assert (used(strict), books(strict)) == (before, {})
    yes = asked(review_pb2.ConfirmReviewRequest, proposed)
    assert refused(strict.review.ConfirmReview, yes).reason == "SAME_PERSON"
    desk.who = another()
    after = strict.review.ConfirmReview(yes).claim
    assert (after.state, after.awaits_confirmation) == (pb.CLAIM_STATE_PAYABLE, False)
    assert after.decision.benefit == yuan("190000")
    strict.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))


def test_the_clocks_of_a_claim_count_by_its_plan(database_url: str, desk: Desk) -> None:
    with served(database_url, workflows=Stuck(), caller=lambda: desk.who) as made:
        plan = (PLANS / f"{PLAN}.yaml").read_text()
        plan += """
clocks:
  {clause: "5.6", unit: days, decision_days: {2024-01-01: 20}, payment_days: {2024-01-01: 5},
   minimum_days: {2024-01-01: 40}, notice_days: {2024-01-01: 1}}
"""
        made.claims.PublishPlan(pb.PublishPlanRequest(request_id="p", yaml=plan.encode()))
        imported(made, policy(1))
        waiting = decided(made, "B1", BIG)
        assert (waiting.days_left, waiting.minimum_days_left) == (20, 40)
        listed = pb.ListClaimsRequest(parent="policies/-", pended=True)
        assert [one.days_left for one in made.claims.ListClaims(listed).claims] == [20]
        owed = decided(made, "B2", line(1, DRUG, "15000.00"))
        assert (owed.state, owed.days_left) == (pb.CLAIM_STATE_PAYABLE, 5)
        deny = review_pb2.LineReview(
            number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
        )
        denied = reviewed(made, waiting, deny)
        moved = denied.state_time.ToDatetime(UTC).astimezone(ZoneInfo("Asia/Shanghai")).date()
        due = (moved + timedelta(days=1)).isoformat()
        assert denied.notice_due_day == due
        told = made.claims.ExplainClaim(pb.ExplainClaimRequest(name=denied.name))
        assert f"is due by {due}." in told.text_en


def seen(made: Served, claim: pb.Claim) -> pb.Claim:
    return made.claims.GetClaim(pb.GetClaimRequest(name=claim.name)).claim


def test_who_confirms_sees_what_was_found_by_whom_and_why(strict: Served, desk: Desk) -> None:
    claim = decided(strict, "B1", BIG)
    assert not seen(strict, claim).HasField("proposal")
    smaller = review_pb2.LineReview(number=1, clause="1.1", unit_price="180000")
    asks = asked(review_pb2.ReviewClaimRequest, claim, lines=[smaller], note=NOTE)
    assert strict.review.ReviewClaim(asks).claim.proposal.kind == "review"
    explained = strict.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
    assert not explained.claim.HasField("proposal")
    proposer = desk.who
    desk.who = another()
    shown = seen(strict, claim)
    assert (shown.proposal.kind, shown.proposal.note) == ("review", NOTE)
    assert shown.proposal.actor == proposer.subject
    (line,) = shown.proposal.lines
    assert line == pb.ProposedLine(number=1, clause="1.1", unit_price="180000")
    asks = pb.ListClaimsRequest(parent="policies/-", pended=True)
    (listed,) = strict.claims.ListClaims(asks).claims
    assert listed.proposal == pb.Proposal(kind="review")
    reviewer, desk.who = desk.who, of_member(token("CN-ID", id_number(100)))
    mine = strict.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims[0]
    assert not mine.HasField("proposal")
    assert not seen(strict, claim).HasField("proposal")
    desk.who = reviewer
    after = strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, shown)).claim
    assert after.decision.benefit == yuan("170000")
    assert not after.HasField("proposal")


def test_a_rejected_review_leaves_the_claim_to_anybody(strict: Served, desk: Desk) -> None:
    claim = decided(strict, "B1", BIG)
    unasked = asked(review_pb2.ConfirmReviewRequest, claim)
    assert refused(strict.review.ConfirmReview, unasked).reason == "NOTHING_TO_CONFIRM"
    proposed = reviewed(strict, claim)
    desk.who = another()
    no = asked(review_pb2.ConfirmReviewRequest, proposed, reject=True, note=NOTE)
    after = strict.review.ConfirmReview(no).claim
    assert (after.state, after.awaits_confirmation) == (pb.CLAIM_STATE_PENDED_REVIEW, False)
    smaller = review_pb2.LineReview(number=1, clause="1.1", unit_price="120000")
    assert reviewed(strict, after, smaller).state == pb.CLAIM_STATE_PAYABLE  # below it, alone


@pytest.mark.parametrize("gives_up", [False, True])
def test_above_the_threshold_two_people_reverse_and_write_off(
    strict: Served, desk: Desk, *, gives_up: bool
) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    claim = paid(strict, strict.review.ConfirmReview(yes).claim)
    desk.who = of_insurer()
    before = used(strict), books(strict)
    asks = asked(review_pb2.ReverseClaimRequest, claim, note=NOTE)
    proposed = strict.review.ReverseClaim(asks).claim
    assert (proposed.state, proposed.awaits_confirmation) == (pb.CLAIM_STATE_PAID, True)
    assert seen(strict, proposed).proposal.kind == "reverse"
    assert seen(strict, proposed).proposal.note == NOTE
    assert (used(strict), books(strict)) == before
    queue = strict.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-", pended=True))
    assert [one.name for one in queue.claims] == [claim.name]
    alone = asked(review_pb2.ConfirmReviewRequest, proposed)
    assert refused(strict.review.ConfirmReview, alone).reason == "SAME_PERSON"
    desk.who = another()
    after = strict.review.ConfirmReview(alone).claim
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("190000"))
    assert used(strict) == {}
    if not gives_up:
        return
    asks = asked(review_pb2.WriteOffRecoveryRequest, after, note=NOTE)
    proposed = strict.review.WriteOffRecovery(asks).claim
    assert (proposed.recoverable, proposed.awaits_confirmation) == (yuan("190000"), True)
    assert proposed.proposal.kind == "write_off"
    desk.who = of_insurer()
    no = asked(review_pb2.ConfirmReviewRequest, proposed, reject=True, note=NOTE)
    left = strict.review.ConfirmReview(no).claim
    assert (left.state, left.awaits_confirmation) == (pb.CLAIM_STATE_RECOVERY_OPEN, False)
    proposed = strict.review.WriteOffRecovery(asked(review_pb2.WriteOffRecoveryRequest, left)).claim
    desk.who = another()
    done = strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, proposed)).claim
    assert done.state == pb.CLAIM_STATE_WRITTEN_OFF
    assert books(strict)["claims:written-off"] == 19_000_000


def test_what_two_people_must_reverse_one_does_not_adjust_away(strict: Served, desk: Desk) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    claim = paid(strict, strict.review.ConfirmReview(yes).claim)
    assert claim.paid == yuan("190000")
    less = review_pb2.LineReview(number=1, clause="1.1", unit_price="49999.00")
    asks = asked(review_pb2.AdjustClaimRequest, claim, lines=[less], note=NOTE)
    proposed = strict.review.AdjustClaim(asks).claim
    assert (proposed.state, proposed.awaits_confirmation) == (pb.CLAIM_STATE_PAID, True)
    assert books(strict)["claims:incurred"] == 19_000_000
    alone = asked(review_pb2.ConfirmReviewRequest, proposed)
    assert refused(strict.review.ConfirmReview, alone).reason == "SAME_PERSON"
    desk.who = of_insurer()
    after = strict.review.ConfirmReview(alone).claim
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("150001"))


def test_terms_that_came_since_do_not_let_one_person_adjust_away(
    strict: Served, desk: Desk
) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    claim = paid(strict, strict.review.ConfirmReview(yes).claim)
    # An endorsement brings terms that know no four eyes; a reversal goes by those of the decision.
    without = (PLANS / f"{PLAN}.yaml").read_bytes()
    published = strict.claims.PublishPlan(pb.PublishPlanRequest(request_id="p2", yaml=without))
    assert published.plan_version != claim.decision.plan_version
    imported(strict, policy(1, revision=2, effective_date="2026-01-01"))
    less = review_pb2.LineReview(number=1, clause="1.1", unit_price="49999.00")
    asks = asked(review_pb2.AdjustClaimRequest, claim, lines=[less])
    proposed = strict.review.AdjustClaim(asks).claim
    assert (proposed.state, proposed.awaits_confirmation) == (pb.CLAIM_STATE_PAID, True)


def test_at_the_threshold_one_person_adjusts(strict: Served, desk: Desk) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    yes = asked(review_pb2.ConfirmReviewRequest, claim)
    claim = paid(strict, strict.review.ConfirmReview(yes).claim)
    less = review_pb2.LineReview(number=1, clause="1.1", unit_price="50000.00")
    after = strict.review.AdjustClaim(
        asked(review_pb2.AdjustClaimRequest, claim, lines=[less])
    ).claim
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("150000"))


@pytest.mark.parametrize("ended", ["WRITTEN_OFF", "RECOVERED"])
def test_at_the_threshold_one_person_reverses_and_ends_it(strict: Served, ended: str) -> None:
    claim = reviewed(strict, decided(strict, "B1", line(1, DRUG, "160000.00")))
    assert claim.decision.benefit == yuan("150000")
    reversal = asked(review_pb2.ReverseClaimRequest, paid(strict, claim))
    after = strict.review.ReverseClaim(reversal).claim
    assert after.state == pb.CLAIM_STATE_RECOVERY_OPEN
    if ended == "WRITTEN_OFF":
        given_up = asked(review_pb2.WriteOffRecoveryRequest, after)
        after = strict.review.WriteOffRecovery(given_up).claim
    else:
        back = {"amount": yuan("150000"), "paying_account": "main"}
        whole = asked(review_pb2.RecordRecoveryRequest, after, **back)
        after = strict.review.RecordRecovery(whole).claim
    assert pb.ClaimState.Name(after.state) == f"CLAIM_STATE_{ended}"


@pytest.mark.on_postgresql
def test_money_that_comes_back_waits_for_the_word_on_a_write_off(
    strict: Served, desk: Desk
) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    claim = paid(
        strict, strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, claim)).claim
    )
    proposed = strict.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    desk.who = of_insurer()
    yes = asked(review_pb2.ConfirmReviewRequest, proposed)
    after = strict.review.ConfirmReview(yes).claim
    asks = asked(review_pb2.WriteOffRecoveryRequest, after)
    proposed = strict.review.WriteOffRecovery(asks).claim
    back = {"amount": yuan("1000"), "paying_account": "main"}
    comes = asked(review_pb2.RecordRecoveryRequest, proposed, **back)
    assert refused(strict.review.RecordRecovery, comes).reason == "PROPOSAL_STANDS"
    no = asked(review_pb2.ConfirmReviewRequest, proposed, reject=True)
    comes.revision = strict.review.ConfirmReview(no).claim.revision
    part = strict.review.RecordRecovery(comes).claim
    assert (part.recoverable, part.awaits_confirmation) == (yuan("189000"), False)


@pytest.mark.on_postgresql
def test_a_transfer_counts_once_and_parts_add_up_to_what_two_must_confirm(
    strict: Served, desk: Desk
) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    claim = paid(
        strict, strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, claim)).claim
    )
    proposed = strict.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    desk.who = of_insurer()
    yes = asked(review_pb2.ConfirmReviewRequest, proposed)
    after = strict.review.ConfirmReview(yes).claim

    def comes(stands: pb.Claim, amount: str, reference: str) -> Any:
        told = {"amount": yuan(amount), "paying_account": "main", "bank_reference": reference}
        return asked(review_pb2.RecordRecoveryRequest, stands, **told)

    after = strict.review.RecordRecovery(comes(after, "100000", "rf 18/1")).claim
    assert after.recoverable == yuan("90000")
    for amount in ("1", "60000"):  # the second would take two, and is not even proposed
        again = refused(strict.review.RecordRecovery, comes(after, amount, "RF18/1"))
        assert (again.code.name, again.reason) == ("FAILED_PRECONDITION", "RECOVERY_REFERENCE_USED")
    after = strict.review.RecordRecovery(comes(after, "50000", "RF18/2")).claim
    assert (after.recoverable, after.awaits_confirmation) == (yuan("40000"), False)  # at it, alone
    # What waits for another's word is looked at before it waits.
    again = refused(strict.review.RecordRecovery, comes(after, "0.01", "RF18/2"))
    assert again.reason == "RECOVERY_REFERENCE_USED"
    before = books(strict)
    proposed = strict.review.RecordRecovery(comes(after, "0.01", "RF18/3")).claim
    assert (proposed.recoverable, proposed.awaits_confirmation) == (yuan("40000"), True)
    incoming = seen(strict, proposed).proposal.incoming
    assert (incoming.bank_reference, incoming.value_date) == ("RF18/3", TODAY)
    assert (seen(strict, proposed).proposal.amount, books(strict)) == (yuan("0.01"), before)
    yes = asked(review_pb2.ConfirmReviewRequest, proposed)
    assert refused(strict.review.ConfirmReview, yes).reason == "SAME_PERSON"
    desk.who = another()
    with strict.database.writing() as connection:  # another claim's word was faster
        connection.execute(
            text(
                "INSERT INTO recovery (insurer, reference, value_date, claim_id, transfer_id)"
                " SELECT insurer, 'RF18/3', value_date, 'other', 'other' FROM recovery LIMIT 1"
            )
        )
    assert refused(strict.review.ConfirmReview, yes).reason == "RECOVERY_REFERENCE_USED"
    assert books(strict) == before
    with strict.database.reading() as connection:
        assert recoveries_off_ledger(connection, None) == 1  # the planted one, and no other
    no = asked(review_pb2.ConfirmReviewRequest, proposed, reject=True, note=NOTE)
    after = strict.review.ConfirmReview(no).claim
    rest = strict.review.RecordRecovery(comes(after, "40000", "RF18/4")).claim
    desk.who = of_insurer()
    closed = strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, rest)).claim
    assert (closed.state, closed.recovered) == (pb.CLAIM_STATE_RECOVERED, yuan("190000"))


def test_a_recovery_names_an_entry_of_the_banks_statement(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    with service.database.writing() as connection:  # which `paid` leaves out
        move = {"claim_id": claim.name.rpartition("/")[2], "to_state": "paid", "event": "pay"}
        move |= {"actor": "bank", "clock": ""}
        connection.execute(claim_move.insert().values(**move, at_us=now_us()))
    stands = service.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    back = {"amount": yuan("5000"), "paying_account": "main"}
    for told, wanted in (
        ({"bank_reference": " "}, ("bank_reference", "MALFORMED")),
        ({"bank_reference": "A" * 36}, ("bank_reference", "MALFORMED")),
        (
            {"bank_reference": "Gro\u00df\u0131"},
            ("bank_reference", "MALFORMED"),
        ),  # GROSSI, in capitals
        (
            {"bank_reference": "\uff32\uff26\uff11\uff18"},
            ("bank_reference", "MALFORMED"),
        ),  # of full width
        ({"value_date": ""}, ("value_date", "IMPOSSIBLE_DATE")),
        ({"value_date": "2099-01-01"}, ("value_date", "OUT_OF_RANGE")),
        ({"value_date": "2025-06-01"}, ("value_date", "OUT_OF_RANGE")),  # nothing was paid then
    ):
        request = asked(review_pb2.RecordRecoveryRequest, stands, **back, **told)
        fault = refused(service.review.RecordRecovery, request)
        assert [(one.field, one.reason) for one in fault.violations] == [wanted]
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date().isoformat()
    came = asked(review_pb2.RecordRecoveryRequest, stands, **back, value_date=today)
    assert service.review.RecordRecovery(came).claim.recoverable == yuan("15000")


@pytest.mark.parametrize("by_another", [False, True])
def test_who_records_a_part_does_not_bring_the_rest_under_the_threshold(
    strict: Served, desk: Desk, *, by_another: bool
) -> None:
    claim = reviewed(strict, decided(strict, "B1", BIG))
    desk.who = another()
    claim = paid(
        strict, strict.review.ConfirmReview(asked(review_pb2.ConfirmReviewRequest, claim)).claim
    )
    proposed = strict.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim)).claim
    desk.who = of_insurer()
    yes = asked(review_pb2.ConfirmReviewRequest, proposed)
    after = strict.review.ConfirmReview(yes).claim
    desk.who = another() if by_another else of_insurer()
    back = {"amount": yuan("40000"), "paying_account": "main"}
    part = strict.review.RecordRecovery(asked(review_pb2.RecordRecoveryRequest, after, **back))
    desk.who = of_insurer()
    asks = asked(review_pb2.WriteOffRecoveryRequest, part.claim)
    rest = strict.review.WriteOffRecovery(asks).claim
    assert part.claim.recoverable == yuan("150000")  # one alone gives that up
    assert rest.awaits_confirmation is not by_another
    ended = pb.CLAIM_STATE_WRITTEN_OFF if by_another else pb.CLAIM_STATE_RECOVERY_OPEN
    assert rest.state == ended
    if not by_another:
        assert seen(strict, rest).proposal.amount == yuan("150000")


def test_a_cleared_suspicion_is_an_adjusters_to_review(service: Served) -> None:
    claim = decided(service, "B1", BIG)
    with service.database.writing() as connection:
        connection.execute(text("UPDATE claim SET state = 'pended_fraud'"))
    fault = refused(service.review.ReviewClaim, asked(review_pb2.ReviewClaimRequest, claim))
    assert fault.reason == "WRONG_STATE"
    request = asked(review_pb2.ClearSuspicionRequest, claim, note=NOTE)
    after = service.review.ClearSuspicion(request).claim
    assert after.state == pb.CLAIM_STATE_PENDED_REVIEW
    assert reviewed(service, after).state == pb.CLAIM_STATE_PAYABLE


@pytest.mark.on_postgresql
def test_a_hospital_hands_papers_in_for_its_own_bill_and_sees_its_own_part(
    service: Served,
) -> None:
    given = bill("B1", line(1, DRUG, "30000.00"))
    given.name, given.consent = "hospitals/general/bills/b1", "hospitals/general/consents/c1"
    given.ClearField("social_insurance")
    claim = got(service, taken(service, given))
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
    claim = got(service, claim.name)
    papers = asked(
        review_pb2.SupplyFactsRequest,
        claim,
        facts=bill_pb2.Bill(
            social_insurance=bill_pb2.SocialInsurance(used=True, fund_paid=yuan("0"))
        ),
    )
    told = review_pb2_grpc.ReviewServiceStub(service.hospital_channel).SupplyFacts(papers).claim
    assert told.state == pb.CLAIM_STATE_PAYABLE
    assert (told.member, list(told.moves), list(told.decision.usage_changes)) == ("", [], [])
    actors = {move.actor for move in got(service, claim.name).moves}
    assert "hospital:person-7" in actors


def test_whoever_works_a_claim_leaves_a_leaf(database_url: str) -> None:
    log = Reads()
    running = served(database_url, workflows=Stuck(), append=log.append)
    with running as service:
        publish(service)
        imported(service, policy(1))
        claim = decided(service, "B1", BIG)
        before = len(log.kept)
        reviewed(service, claim)
    (leaf,) = log.kept[before:]
    assert leaf.rpc == "/lipei.claims.v1.ReviewService/ReviewClaim"
    assert (leaf.record, leaf.owner) == (claim.name, "insurer/insurer")


def test_an_erased_persons_claim_can_be_worked_no_more(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    with service.database.writing() as connection:
        sealer = service.keys.sealer(connection)
        person = claim.member.removeprefix("members/")
        assert sealer.destroy(person_subject(person))
    request = asked(review_pb2.ReverseClaimRequest, claim)
    assert refused(service.review.ReverseClaim, request).reason == "ERASED"
    assert got(service, claim.name).revision == claim.revision


def test_an_appeal_after_the_plans_time_limit_is_refused(sqlite_database: str) -> None:
    clock = Clock()
    limit = b'\nappeals: {clause: "5.6", unit: days, values: {2024-01-01: 60}}\n'
    with served(sqlite_database, workflows=Stuck(), clock=clock) as service:
        plan = (PLANS / f"{PLAN}.yaml").read_bytes() + limit
        service.claims.PublishPlan(pb.PublishPlanRequest(request_id="p", yaml=plan))
        imported(service, policy(1))
        claim = decided(service, "B1", line(1, DRUG, "20.00"))
        assert claim.state == pb.CLAIM_STATE_CLOSED_ZERO
        request = asked(review_pb2.AppealClaimRequest, claim)
        clock.ahead_us = 62 * 86_400_000_000
        fault = refused(service.review.AppealClaim, request)
        assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "APPEAL_LATE")
        assert (fault.metadata["carc"], fault.metadata["clause"]) == ("138", "5.6")
        clock.ahead_us = 60 * 86_400_000_000 - 3_600_000_000
        assert service.review.AppealClaim(request).claim.state == pb.CLAIM_STATE_APPEALED
