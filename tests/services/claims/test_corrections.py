"""A hospital corrects a bill: its claim is decided anew wherever it stands; on both databases."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import reason_pb2, review_pb2, settlement_pb2
from lipei.type.v1 import bill_pb2
from services.common.access.caller import Caller
from services.common.refusals import RpcFault
from tests.services.claims.given import (
    DRUG,
    SCAN,
    bill,
    imported,
    line,
    policy,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served
from tests.services.claims.test_reviews import (
    another,
    asked,
    books,
    decided,
    got,
    paid,
    refused,
    reviewed,
    used,
)
from tests.tenants import of_insurer

# The deductible is 10,000; above 100,000 a person must look.
BIG = "200000.00"


@dataclass
class Desk:
    """Who calls."""

    who: Caller = field(default_factory=of_insurer)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(stocked_url: str, desk: Desk) -> Iterator[Served]:
    """Claims whose workflows never come, so that a test takes the steps itself."""
    running = served(stocked_url, workflows=Stuck(), most_in_flight=500, caller=lambda: desk.who)
    with running as made:
        yield made


def corrected(number: str, *lines: bill_pb2.BillLine, **more: Any) -> bill_pb2.Bill:
    """The bill of this number as the hospital states it anew."""
    made = bill(number, *lines, **more)
    made.kind = bill_pb2.BILL_KIND_CORRECTION
    return made


def correct(service: Served, number: str, *lines: bill_pb2.BillLine, **more: Any) -> list[pb.Claim]:
    """Hand a correction in and let it take effect; the claims after it."""
    answer = service.claims.SubmitClaim(submission(corrected(number, *lines, **more), wait_s=0))
    for claim in answer.claims:
        apply(service, claim.name)
    return [got(service, claim.name) for claim in answer.claims]


def apply(service: Served, name: str, number: int = 1) -> settlement_pb2.ApplyCorrectionResponse:
    request = settlement_pb2.ApplyCorrectionRequest(name=name, number=number)
    answer: settlement_pb2.ApplyCorrectionResponse = service.settlement.ApplyCorrection(request)
    return answer


def test_a_paid_claim_whose_bill_grows_owes_the_difference_and_is_replayed(
    service: Served,
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    before = used(service)
    (after,) = correct(service, "B1", line(1, DRUG, "30000.00"), line(2, SCAN, "600.00"))
    assert (after.name, after.state) == (claim.name, pb.CLAIM_STATE_PAYABLE)
    assert (claim.decision.benefit, after.decision.benefit) == (yuan("20000"), yuan("20600"))
    assert [move.cause for move in after.moves][-2:] == ["adjust", "release_payment"]
    assert after.moves[-1].actor == "correction"
    # Its own deductible is not counted twice, and the ceilings hold what is paid now.
    grown = {key: value[0] - before[key][0] for key, value in used(service).items()}
    assert set(grown.values()) == {0, 60_000}
    assert books(service)["claims:incurred"] == 2_060_000
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    assert apply(service, claim.name).benefit == yuan("20600")  # repeated, nothing happens
    assert got(service, claim.name) == after


def test_a_paid_claim_whose_bill_shrinks_is_to_give_back_the_difference(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    (after,) = correct(service, "B1", line(1, DRUG, "25000.00"))
    assert after.state == pb.CLAIM_STATE_RECOVERY_OPEN
    assert (after.recoverable, after.decision.benefit) == (yuan("5000"), yuan("15000"))
    assert [move.cause for move in after.moves][-2:] == ["adjust", "open_recovery"]
    assert {amount for amount, _ in used(service).values()} == {1_000_000, 1_500_000, 0} - {0}
    back = asked(
        review_pb2.RecordRecoveryRequest, after, amount=yuan("5000"), paying_account="main"
    )
    assert service.review.RecordRecovery(back).claim.state == pb.CLAIM_STATE_RECOVERED
    # The decision is in force: what it used up stays so, and the deductible is not borne again.
    later = decided(service, "B2", line(1, DRUG, "1000.00"))
    assert later.decision.benefit == yuan("1000")
    books(service)
    fault = refused(
        service.claims.SubmitClaim, submission(corrected("B1", line(1, DRUG, "20000.00")))
    )
    assert fault.reason == "CORRECTION_TOO_LATE"
    assert got(service, claim.name).decision == after.decision


def test_a_correction_that_pays_the_same_changes_the_decision_only(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    (after,) = correct(service, "B1", line(1, SCAN, "30000.00"))
    assert (after.state, after.decision.benefit) == (claim.state, claim.decision.benefit)
    assert after.decision.commitment != claim.decision.commitment
    assert after.decision.lines[0].code.code == SCAN
    assert [move.cause for move in after.moves][-1] == "release_payment"
    assert not after.corrected


def test_of_two_sharers_of_a_deductible_only_the_corrected_one_is_decided_anew(
    service: Served,
) -> None:
    first = paid(service, decided(service, "B1", line(1, DRUG, "4000.00")))
    second = paid(service, decided(service, "B2", line(1, DRUG, "10000.00")))
    assert (first.decision.benefit, second.decision.benefit) == (yuan(0), yuan("4000"))
    (after,) = correct(service, "B2", line(1, DRUG, "12000.00"))
    assert after.decision.benefit == yuan("6000")  # the first one's 4,000 are counted, once
    assert got(service, first.name) == first


@pytest.mark.parametrize("state", ["payment_sent", "payment_failed", "appealed"])
def test_a_correction_waits_while_the_claim_stands_elsewhere(service: Served, state: str) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    with service.database.writing() as connection:
        told = {"id": claim.name.rpartition("/")[2], "state": state}
        connection.execute(text("UPDATE claim SET state = :state WHERE id = :id"), told)
    answer = service.claims.SubmitClaim(
        submission(corrected("B1", line(1, DRUG, "40000.00")), wait_s=0)
    )
    assert answer.claims[0].corrected
    before = got(service, claim.name)
    assert not apply(service, claim.name).held
    assert got(service, claim.name) == before
    paid(service, claim)
    assert apply(service, claim.name).benefit == yuan("30000")


def stood(service: Served, claim: pb.Claim, state: str) -> None:
    with service.database.writing() as connection:
        told = {"id": claim.name.rpartition("/")[2], "state": state}
        connection.execute(text("UPDATE claim SET state = :state WHERE id = :id"), told)


def test_a_decision_about_a_bill_that_was_corrected_is_not_upheld(
    service: Served, desk: Desk
) -> None:
    claim = decided(service, "B1", days=("2025-05-04", "2025-05-08"))
    service.review.AppealClaim(asked(review_pb2.AppealClaimRequest, claim))
    service.claims.SubmitClaim(submission(corrected("B1"), wait_s=0))
    appealed = got(service, claim.name)
    desk.who = another()
    upholding = asked(
        review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_UPHOLD
    )
    assert refused(service.review.DecideAppeal, upholding).reason == "BILL_CORRECTED"
    overturning = asked(
        review_pb2.DecideAppealRequest, appealed, outcome=review_pb2.APPEAL_OUTCOME_OVERTURN
    )
    after = service.review.DecideAppeal(overturning).claim
    assert (after.state, after.corrected) == (pb.CLAIM_STATE_PENDED_REVIEW, False)
    assert after.decision.benefit == yuan("20000")


def test_a_correction_of_an_erased_persons_claim_is_left_to_people(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    given = corrected("B1", line(1, DRUG, "31000.00"))
    service.claims.SubmitClaim(submission(given, wait_s=0))
    service.claims.EraseMember(
        pb.EraseMemberRequest(
            request_id="e",
            member=f"members/{given.member_token}",
            ground=pb.ERASURE_GROUND_ORDERED,
            order_reference="1",
        )
    )
    assert apply(service, claim.name).held
    fault = refused(service.claims.SubmitClaim, submission(given, wait_s=0))
    assert fault.reason == "UNKNOWN_MEMBER"


def test_what_is_not_decided_yet_is_decided_by_the_newest_bill(service: Served) -> None:
    (claim,) = service.claims.SubmitClaim(submission(bill("B1"), wait_s=0)).claims
    service.claims.SubmitClaim(submission(corrected("B1", line(1, DRUG, "12000.00")), wait_s=0))
    request = settlement_pb2.AdjudicateClaimRequest(name=claim.name)
    assert service.settlement.AdjudicateClaim(request).benefit == yuan("2000")
    found = got(service, claim.name)
    assert not found.corrected
    assert apply(service, claim.name).benefit == yuan("2000")
    told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
    assert [one.billed for one in told.explanation.lines] == [yuan("12000")]


def test_a_pended_claim_stays_with_its_adjuster_and_reserves_what_the_new_bill_could_pay(
    service: Served,
) -> None:
    claim = decided(service, "B1", line(1, DRUG, BIG))
    assert claim.state == pb.CLAIM_STATE_PENDED_REVIEW
    (after,) = correct(service, "B1", line(1, DRUG, "150000.00"))
    assert after.state == pb.CLAIM_STATE_PENDED_REVIEW
    assert max(amount for amount, _ in used(service).values()) == 15_000_000
    fault = refused(service.review.ReviewClaim, asked(review_pb2.ReviewClaimRequest, claim))
    assert fault.reason == "CLAIM_CHANGED"  # the adjuster has looked at the bill before
    done = service.review.ReviewClaim(asked(review_pb2.ReviewClaimRequest, after)).claim
    assert (done.state, done.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("140000"))


def test_a_claim_that_waits_for_papers_goes_on_when_the_hospital_states_the_fact(
    service: Served,
) -> None:
    given = bill("B1")
    given.ClearField("social_insurance")
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
    assert got(service, claim.name).state == pb.CLAIM_STATE_PENDED_INFO
    (after,) = correct(service, "B1")
    assert (after.state, after.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("20000"))


def test_the_hospitals_word_goes_before_what_papers_have_said(service: Served) -> None:
    given = bill("B1")
    given.ClearField("social_insurance")
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
    used_ = bill_pb2.SocialInsurance(used=True, fund_paid=yuan("5000"))
    papers = asked(
        review_pb2.SupplyFactsRequest,
        got(service, claim.name),
        facts=bill_pb2.Bill(social_insurance=used_),
    )
    done = service.review.SupplyFacts(papers).claim
    assert done.decision.benefit == yuan("15000")
    paid(service, done)
    unsaid = corrected("B1", line(1, DRUG, "31000.00"))
    unsaid.ClearField("social_insurance")
    service.claims.SubmitClaim(submission(unsaid, wait_s=0))
    assert apply(service, claim.name).benefit == yuan("16000")  # the papers still say it
    paid(service, got(service, claim.name))
    said = corrected("B1", line(1, DRUG, "31000.00"), fund_paid="0")
    service.claims.SubmitClaim(submission(said, wait_s=0))
    assert apply(service, claim.name, 2).benefit == yuan("21000")


@pytest.mark.on_postgresql
def test_a_denied_claim_is_opened_again_and_a_repeated_denial_is_not(service: Served) -> None:
    claim = decided(service, "B1", days=("2025-05-04", "2025-05-08"))
    assert claim.state == pb.CLAIM_STATE_DENIED
    (same,) = correct(service, "B1", days=("2025-05-05", "2025-05-08"))
    assert same.state == pb.CLAIM_STATE_DENIED
    assert [move.cause for move in same.moves][-1] == "deny"
    service.claims.SubmitClaim(submission(corrected("B1"), wait_s=0))
    apply(service, claim.name, 2)
    after = got(service, claim.name)
    assert (after.state, after.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("20000"))
    assert [move.cause for move in after.moves][-5:] == [
        "appeal",
        "overturn",
        "decide_anew",
        "auto_approve",
        "release_payment",
    ]


@pytest.mark.on_postgresql
def test_paid_money_that_hangs_on_a_look_waits_for_a_person(service: Served) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    (after,) = correct(service, "B1", line(1, DRUG, BIG))
    assert (after.state, after.decision) == (pb.CLAIM_STATE_PAID, claim.decision)
    assert after.corrected
    assert after.awaits_adjustment
    listing = pb.ListClaimsRequest(parent="policies/-", pended=True)
    assert [one.name for one in service.claims.ListClaims(listing).claims] == [claim.name]
    listing.state = pb.CLAIM_STATE_PAID
    assert [one.name for one in service.claims.ListClaims(listing).claims] == [claim.name]
    cut = review_pb2.LineReview(number=1, clause="1.1", unit_price="20000")
    done = service.review.AdjustClaim(
        asked(review_pb2.AdjustClaimRequest, after, lines=[cut], note="x")
    ).claim
    assert (done.state, done.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("10000"))
    assert not done.awaits_adjustment
    assert not service.claims.ListClaims(listing).claims
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    books(service)


DENY = review_pb2.LineReview(
    number=1, clause="1.1", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY
)
CUT = review_pb2.LineReview(number=1, clause="1.1", unit_price="40000")


@pytest.mark.parametrize(
    ("finding", "state"), [(DENY, pb.CLAIM_STATE_DENIED), (CUT, pb.CLAIM_STATE_PAID)]
)
def test_no_word_of_the_hospital_undoes_what_a_person_found(
    service: Served, finding: review_pb2.LineReview, state: pb.ClaimState.ValueType
) -> None:
    claim = reviewed(service, decided(service, "B1", line(1, DRUG, BIG)), finding)
    if state == pb.CLAIM_STATE_PAID:
        claim = paid(service, claim)
    # Small enough to be paid without a look.
    (after,) = correct(service, "B1", line(1, DRUG, "90000.00"))
    assert (after.state, after.decision) == (state, claim.decision)
    assert after.awaits_adjustment
    adjusted = service.review.AdjustClaim(asked(review_pb2.AdjustClaimRequest, after)).claim
    assert (adjusted.state, adjusted.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("80000"))


def test_the_control_what_a_person_accepted_as_billed_is_decided_anew(service: Served) -> None:
    claim = paid(service, reviewed(service, decided(service, "B1", line(1, DRUG, BIG))))
    (after,) = correct(service, "B1", line(1, DRUG, "90000.00"))
    assert (after.state, after.awaits_adjustment) == (pb.CLAIM_STATE_RECOVERY_OPEN, False)
    assert after.recoverable.minor_units == claim.paid.minor_units - 8_000_000


def test_facts_of_a_policy_that_came_late_move_the_difference_when_a_person_says_so(
    service: Served,
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    late = policy(1, people=2, revision=2, effective_date="2026-01-01")
    late.members[0].cover_last_date = "2026-04-30"
    imported(service, late)
    assert got(service, claim.name).state == pb.CLAIM_STATE_PAID  # nothing by itself
    found = got(service, claim.name)
    after = service.review.AdjustClaim(asked(review_pb2.AdjustClaimRequest, found)).claim
    assert (after.state, after.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("20000"))
    assert [share.reason for share in after.decision.lines[0].shares] == [
        reason_pb2.REASON_NOT_COVERED_ON_DATE
    ]
    assert used(service) == {}
    books(service)


def test_a_correction_keeps_person_and_currency(service: Served) -> None:
    decided(service, "B1")
    fault = refused(service.claims.SubmitClaim, submission(corrected("B1", person=101)))
    assert fault.reason == "BILL_OF_ANOTHER"


def test_the_same_content_is_no_news_and_any_version_is_known(service: Served) -> None:
    claim = paid(service, decided(service, "B1"))
    for given in (bill("B1"), corrected("B1")):
        (known,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
        assert (known.name, known.corrected) == (claim.name, False)
    correct(service, "B1", line(1, DRUG, "31000.00"))
    for content in (bill("B1"), bill("B1", line(1, DRUG, "31000.00"))):
        (known,) = service.claims.SubmitClaim(submission(content, wait_s=0)).claims
        assert known.name == claim.name
    fault: RpcFault = refused(
        service.claims.SubmitClaim, submission(bill("B1", line(1, DRUG, "32000.00")))
    )
    assert fault.reason == "BILL_CONFLICT"


def test_a_correction_of_a_bill_that_never_came_is_taken_in(service: Served) -> None:
    request = submission(corrected("B1"), wait_s=0)
    (claim,) = service.claims.SubmitClaim(request).claims
    assert claim.state == pb.CLAIM_STATE_REGISTERED
    assert not claim.corrected
    (again,) = service.claims.SubmitClaim(request).claims
    assert again == claim


@pytest.mark.on_postgresql
def test_a_corrected_bill_taken_back_afterwards_gives_everything_back(service: Served) -> None:
    paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    (after,) = correct(service, "B1", line(1, DRUG, "25000.00"))
    assert after.state == pb.CLAIM_STATE_RECOVERY_OPEN
    gone = bill("B1", line(1, DRUG, "25000.00"))
    gone.kind = bill_pb2.BILL_KIND_REVERSAL
    (ended,) = service.claims.SubmitClaim(submission(gone, wait_s=0)).claims
    assert (ended.state, ended.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("20000"))
    assert used(service) == {}
    assert books(service)["claims:recoverable"] == 2_000_000


@pytest.mark.parametrize("state", ["payable", "payment_failed"])
def test_a_bill_whose_claim_is_paid_in_part_is_taken_back_with_what_was_paid(
    service: Served, state: str
) -> None:
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    (after,) = correct(service, "B1", line(1, DRUG, "31000.00"))
    gone = bill("B1", line(1, DRUG, "31000.00"))
    gone.kind = bill_pb2.BILL_KIND_REVERSAL
    reversal = submission(gone, wait_s=0)
    stood(service, after, "payment_sent")
    assert refused(service.claims.SubmitClaim, reversal).reason == "PAYMENT_UNDER_WAY"
    stood(service, after, state)
    (ended,) = service.claims.SubmitClaim(reversal).claims
    # What the bank has paid comes back; the 1,000 of the correction that it has not are not owed.
    assert (ended.name, ended.recoverable) == (claim.name, yuan("20000"))
    assert ended.state == pb.CLAIM_STATE_RECOVERY_OPEN
    assert used(service) == {}
    assert "claims:incurred" not in books(service)


def test_each_policy_of_the_bill_is_decided_anew_the_later_one_after_the_earlier_one(
    service: Served,
) -> None:
    second = policy(2)
    second.members[0].document.number = policy(1).members[0].document.number
    imported(service, second)
    one, two = (
        claim.name for claim in service.claims.SubmitClaim(submission(bill("B1"), wait_s=0)).claims
    )
    for name in (one, two):
        service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
        paid(service, got(service, name))
    assert [got(service, name).decision.benefit for name in (one, two)] == [
        yuan("20000"),
        yuan("10000"),
    ]
    given = corrected("B1", line(1, DRUG, "40000.00"))
    service.claims.SubmitClaim(submission(given, wait_s=0))
    fault = refused(
        service.settlement.ApplyCorrection,
        settlement_pb2.ApplyCorrectionRequest(name=two, number=1),
    )
    assert fault.reason == "EARLIER_POLICY_PENDED"
    assert apply(service, one).benefit == yuan("30000")
    assert apply(service, two).benefit == yuan("10000")


def test_corrected_bills_are_sealed(service: Served) -> None:
    paid(service, decided(service, "B1"))
    correct(service, "B1", line(1, SCAN, "31000.00"))
    with service.database.reading() as connection:
        (row,) = connection.execute(text("SELECT * FROM bill_correction")).all()
    assert SCAN.encode() not in bytes(row.bill)
    assert uuid.UUID(row.claim_id).version == 4
