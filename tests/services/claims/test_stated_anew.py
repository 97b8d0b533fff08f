"""A hospital takes a bill back and states it anew under its number: it settles once, anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import review_pb2, settlement_pb2
from lipei.type.v1 import bill_pb2
from tests.services.claims.given import (
    DRUG,
    bill,
    id_number,
    line,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served, token
from tests.services.claims.test_corrections import Desk, apply, corrected
from tests.services.claims.test_reviews import (
    NOTE,
    asked,
    books,
    got,
    paid,
    refused,
    taken_back,
    used,
)
from tests.tenants import of_hospital, of_insurer

FIRST = "30000.00"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def service(stocked_url: str, desk: Desk) -> Iterator[Served]:
    running = served(stocked_url, workflows=Stuck(), most_in_flight=500, caller=lambda: desk.who)
    with running as made:
        desk.who = of_hospital("general")
        yield made


def of_theirs(*lines: bill_pb2.BillLine, release: str = "b1", **more: Any) -> bill_pb2.Bill:
    """The hospital's bill B1, under the name of one release of it."""
    made = bill("B1", *(lines or [line(1, DRUG, FIRST)]), **more)
    made.name, made.consent = f"hospitals/general/bills/{release}", "hospitals/general/consents/c"
    return made


def sent(service: Served, desk: Desk, given: bill_pb2.Bill) -> pb.Claim:
    """The claim of a bill that its hospital has sent, decided."""
    desk.who = of_hospital("general")
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    desk.who = of_insurer()
    service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
    return got(service, claim.name)


def went_back(service: Served, desk: Desk, given: bill_pb2.Bill) -> pb.Claim:
    desk.who = of_hospital("general")
    (claim,) = taken_back(service, given)
    desk.who = of_insurer()
    return got(service, claim.name)


@pytest.mark.parametrize("kind", [bill_pb2.BILL_KIND_FINAL, bill_pb2.BILL_KIND_CORRECTION])
@pytest.mark.parametrize(("price", "benefit"), [(FIRST, 20_000), ("26000.00", 16_000)])
@pytest.mark.parametrize("was", ["registered", "payable", "paid"])
def test_a_bill_that_is_stated_anew_is_a_new_claim_and_settles_once(
    service: Served,
    desk: Desk,
    was: str,
    price: str,
    benefit: int,
    kind: bill_pb2.BillKind.ValueType,
) -> None:
    """With the same content or another, whether or not the first one's recovery is open."""
    first = service.claims.SubmitClaim(submission(of_theirs(), wait_s=0)).claims[0]
    desk.who = of_insurer()
    if was != "registered":
        service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=first.name))
    if was == "paid":
        paid(service, first)
    ended = went_back(service, desk, of_theirs())
    over = pb.CLAIM_STATE_RECOVERY_OPEN if was == "paid" else pb.CLAIM_STATE_WITHDRAWN
    assert (ended.name, ended.state, used(service)) == (first.name, over, {})
    anew = of_theirs(line(1, DRUG, price), release="b1-2")
    anew.kind = kind
    second = sent(service, desk, anew)
    assert second.name != first.name
    assert (second.state, second.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan(benefit))
    assert (
        books(service)["claims:incurred"] == benefit * 100
    )  # the first one costs nothing any more
    # Its services repeat nothing, its deductible is borne once, and it is replayed.
    assert {amount for amount, _ in used(service).values()} == {1_000_000, benefit * 100}
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=second.name))
    # Brought once more, by anybody, it is this claim; and it can be taken back as the first was.
    desk.who = of_hospital("general")
    (again,) = service.claims.SubmitClaim(submission(anew, wait_s=0)).claims
    assert again.name == second.name
    gone = went_back(service, desk, anew)
    assert (gone.name, gone.state) == (second.name, pb.CLAIM_STATE_WITHDRAWN)
    assert (used(service), got(service, first.name)) == ({}, ended)


@pytest.mark.on_postgresql
def test_the_first_ones_recovery_goes_on_beside_the_second(service: Served, desk: Desk) -> None:
    first = paid(service, sent(service, desk, of_theirs()))
    ended = went_back(service, desk, of_theirs())
    second = sent(service, desk, of_theirs(line(1, DRUG, "26000.00"), release="b1-2"))
    back = {"amount": yuan("20000"), "paying_account": "main"}
    service.review.RecordRecovery(asked(review_pb2.RecordRecoveryRequest, ended, **back))
    assert got(service, first.name).state == pb.CLAIM_STATE_RECOVERED
    assert got(service, second.name) == second
    found = books(service)
    assert (found["claims:incurred"], found.get("claims:recoverable", 0)) == (1_600_000, 0)


def test_a_correction_of_the_second_statement_leaves_the_first_alone(
    service: Served, desk: Desk
) -> None:
    first = paid(service, sent(service, desk, of_theirs()))
    ended = went_back(service, desk, of_theirs())
    second = paid(service, sent(service, desk, of_theirs(release="b1-2")))
    given = corrected("B1", line(1, DRUG, "40000.00"))
    given.name, given.consent = "hospitals/general/bills/b1-3", "hospitals/general/consents/c"
    desk.who = of_hospital("general")
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    desk.who = of_insurer()
    assert claim.name == second.name
    assert apply(service, claim.name).benefit == yuan("30000")
    assert got(service, first.name) == ended


def test_stated_anew_for_another_person_it_is_that_persons(service: Served, desk: Desk) -> None:
    """As after accounts were merged: what is taken back is one's, what is stated anew another's."""
    first = paid(service, sent(service, desk, of_theirs()))
    wrong = of_theirs(release="b1-2")
    wrong.kind = bill_pb2.BILL_KIND_CORRECTION
    wrong.member_token = token("CN-ID", id_number(101))
    desk.who = of_hospital("general")
    fault = refused(service.claims.SubmitClaim, submission(wrong, wait_s=0))
    assert fault.reason == "BILL_OF_ANOTHER"
    # Nor does it say whether anybody insures that person: the old claim is taken back either way.
    nobody = of_theirs(release="b1-3")
    nobody.kind = bill_pb2.BILL_KIND_CORRECTION
    nobody.member_token = token("CN-ID", id_number(999))
    fault = refused(service.claims.SubmitClaim, submission(nobody, wait_s=0))
    assert fault.reason == "BILL_OF_ANOTHER"
    went_back(service, desk, of_theirs())
    second = sent(service, desk, wrong)
    assert first.member != second.member
    assert second.decision.benefit == yuan("20000")
    assert {subject for subject, _ in used(service)} == {"m1"}


def test_an_old_copy_of_what_was_taken_back_opens_nothing(service: Served, desk: Desk) -> None:
    """Only its hospital states the same bill anew; a member's copy of it is known, and over."""
    first = sent(service, desk, of_theirs())
    given = bill("B1", line(1, DRUG, FIRST))
    went_back(service, desk, of_theirs())
    (known,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    assert (known.name, known.state) == (first.name, pb.CLAIM_STATE_WITHDRAWN)
    desk.who = of_hospital("other")
    anothers = of_theirs()
    anothers.name, anothers.consent = "hospitals/other/bills/b1", "hospitals/other/consents/c"
    fault = refused(service.claims.SubmitClaim, submission(anothers, wait_s=0))
    assert fault.reason == "BILL_CONFLICT"
    desk.who = of_insurer()
    assert used(service) == {}


@pytest.mark.on_postgresql
def test_the_control_a_bill_that_stands_is_not_stated_anew(service: Served, desk: Desk) -> None:
    first = sent(service, desk, of_theirs())
    desk.who = of_hospital("general")
    other = of_theirs(line(1, DRUG, "26000.00"), release="b1-2")
    fault = refused(service.claims.SubmitClaim, submission(other, wait_s=0))
    assert fault.reason == "BILL_CONFLICT"
    (same,) = service.claims.SubmitClaim(submission(of_theirs(release="b1-2"), wait_s=0)).claims
    assert same.name == first.name


@pytest.mark.on_postgresql
def test_a_claim_that_a_person_reversed_waits_for_its_hospitals_word(
    service: Served, desk: Desk
) -> None:
    claim = paid(service, sent(service, desk, of_theirs()))
    request = asked(review_pb2.ReverseClaimRequest, claim)
    ended = service.review.ReverseClaim(request).claim
    desk.who = of_hospital("general")
    anew = of_theirs(line(1, DRUG, "26000.00"), release="b1-2")
    fault = refused(service.claims.SubmitClaim, submission(anew, wait_s=0))
    assert fault.reason == "BILL_CONFLICT"
    back = went_back(service, desk, of_theirs())
    assert (back.state, back.recoverable) == (ended.state, ended.recoverable)
    assert sent(service, desk, anew).decision.benefit == yuan("16000")


@pytest.mark.parametrize("back", ["open", "recovered", "written off"])
def test_what_was_adjusted_to_nothing_is_free_again_once_the_bill_is_taken_back(
    service: Served, desk: Desk, back: str
) -> None:
    """The money is on its way back already; the deductible that the new decision used is not."""
    first = paid(service, sent(service, desk, of_theirs()))
    cut = review_pb2.LineReview(number=1, clause="1.1", units="1", unit_price="700")
    request = asked(review_pb2.AdjustClaimRequest, first, lines=[cut], note=NOTE)
    adjusted = service.review.AdjustClaim(request).claim
    assert (adjusted.state, adjusted.recoverable) == (pb.CLAIM_STATE_RECOVERY_OPEN, yuan("20000"))
    assert list(used(service).values()) == [(70_000, 0)]  # the control
    if back == "recovered":
        money = {"amount": yuan("20000"), "paying_account": "main"}
        service.review.RecordRecovery(asked(review_pb2.RecordRecoveryRequest, adjusted, **money))
    if back == "written off":
        given_up = asked(review_pb2.WriteOffRecoveryRequest, adjusted, note=NOTE)
        service.review.WriteOffRecovery(given_up)
    before = got(service, first.name), books(service)
    ended = went_back(service, desk, of_theirs())
    assert (ended.state, used(service), books(service)) == (before[0].state, {}, before[1])
    assert went_back(service, desk, of_theirs()) == ended
    anew = sent(service, desk, of_theirs(release="b1-2"))
    assert (anew.name != first.name, anew.decision.benefit) == (True, yuan("20000"))
