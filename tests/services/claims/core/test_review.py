"""A review: units and price before limits, denials with their reason, and what it cannot do."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.core.adjudicate import adjudicate
from services.claims.core.canonical import (
    Inputs,
    inputs_bytes,
    inputs_from,
    plan_bytes,
    plan_version,
)
from services.claims.core.clocks import (
    ClockMove,
    days_left,
    minimum_days_left,
    notice_due,
    papers_due,
    stands_still,
)
from services.claims.core.decision import Disposition, LineOutcome, conservation_faults
from services.claims.core.facts import (
    BillFacts,
    PriorPayments,
    Review,
    ReviewedLine,
    UsageSnapshot,
)
from services.claims.core.intake import UnacceptableBill
from services.claims.core.life_cycle import ClaimState, Clock
from services.claims.core.plan import ClockTerms
from services.claims.core.reasons import Reason
from services.claims.core.review import DENIALS
from services.common.dated import Dated
from tests.services.claims.core.bills import allowed_services, bill, bills, line, plan_named, policy

PLAN = plan_named("every-term")
CLAUSE = PLAN.clauses[0].id
DAY = date(2026, 5, 8)


def test_a_line_says_how_many_units_are_left_of_it_where_not_all_are() -> None:
    facts = bill(line(1, quantity="3"), line(2, quantity="2"), line(3, quantity="2"))
    found = Review(
        lines=(
            ReviewedLine(number=1, clause=CLAUSE, quantity=Decimal("1.50")),
            ReviewedLine(number=2, clause=CLAUSE, unit_price=Decimal(1)),
            ReviewedLine(number=3, clause=CLAUSE, denied=True),
        )
    )
    decision = adjudicate(PLAN, policy(), UsageSnapshot(), facts, PriorPayments(), review=found)
    assert [str(one.units) for one in decision.lines] == ["1.5", "None", "None"]
    told = allowed_services(facts, decision)
    assert [(str(one.quantity), str(one.units)) for one in told] == [("3", "1.5"), ("2", "None")]


@settings(max_examples=50)
@given(bills(), st.data())
def test_a_review_only_lowers_and_loses_no_fen(
    drawn: tuple[BillFacts, PriorPayments], data: st.DataObject
) -> None:
    facts, prior = drawn
    share = st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(1)])
    lines = tuple(
        ReviewedLine(
            number=one.number,
            clause=CLAUSE,
            quantity=(one.quantity * data.draw(share)).quantize(Decimal("0.0001")),
            denied=data.draw(st.booleans()),
        )
        for one in facts.lines
        if data.draw(st.booleans())
    )
    lines = tuple(one for one in lines if one.quantity is not None)
    found = Review(lines=tuple(one for one in lines if _fits(one, facts)))
    before = adjudicate(PLAN, policy(), UsageSnapshot(), facts, prior, review=Review())
    after = adjudicate(PLAN, policy(), UsageSnapshot(), facts, prior, review=found)
    assert conservation_faults(after) == ()
    denied = {one.number for one in found.lines if one.denied or not one.quantity}
    for one in after.lines:
        if one.number in denied:
            assert (one.outcome, one.benefit) == (LineOutcome.DENIED, 0)
    assert after.allowed <= before.allowed
    assert all(pend.reason is not Reason.REVIEW_NEEDED for pend in after.pends)


def _fits(reviewed: ReviewedLine, facts: BillFacts) -> bool:
    billed = {one.number: one.quantity for one in facts.lines}[reviewed.number]
    return reviewed.quantity is not None and reviewed.quantity <= billed


@pytest.mark.parametrize("reason", sorted(DENIALS), ids=lambda reason: reason.name)
def test_a_line_is_denied_for_the_reason_that_the_reviewer_gives(reason: Reason) -> None:
    found = Review(lines=(ReviewedLine(number=1, clause=CLAUSE, denied=True, reason=reason),))
    decision = adjudicate(PLAN, policy(), UsageSnapshot(), bill(), review=found)
    assert decision.disposition is Disposition.DENIED
    assert [share.reason for share in decision.lines[0].shares] == [reason]


@pytest.mark.parametrize("reason", sorted(set(Reason) - DENIALS), ids=lambda reason: reason.name)
def test_what_the_engine_says_is_no_reviewers_reason(reason: Reason) -> None:
    found = Review(lines=(ReviewedLine(number=1, clause=CLAUSE, denied=True, reason=reason),))
    with pytest.raises(UnacceptableBill, match="reason that denies"):
        adjudicate(PLAN, policy(), UsageSnapshot(), bill(), review=found)


def test_a_review_is_an_input_that_is_hashed_and_read_back() -> None:
    facts = bill(line(quantity="4"))
    found = Review(lines=(ReviewedLine(number=1, clause=CLAUSE, quantity=Decimal("3.0")),))
    inputs = Inputs(
        plan_version=plan_version(PLAN),
        policy=policy(),
        usage=UsageSnapshot(),
        bill=facts,
        prior=PriorPayments(),
        review=found,
    )
    again = inputs_from(inputs_bytes(inputs))
    assert again == inputs
    reviewed = adjudicate(PLAN, policy(), UsageSnapshot(), facts, review=again.review)
    plain = adjudicate(PLAN, policy(), UsageSnapshot(), facts)
    assert reviewed.input_hash != plain.input_hash
    assert reviewed.disposition is Disposition.APPROVED


def test_clocks_count_days_stop_and_begin_anew() -> None:
    def on(days: int) -> date:
        return DAY + timedelta(days=days)

    story = [
        ClockMove(on(0), ClaimState.REGISTERED, Clock.START),
        ClockMove(on(3), ClaimState.PENDED_INFO, Clock.STOP),
        ClockMove(on(50), ClaimState.ADJUDICATING, Clock.RESUME),
        ClockMove(on(52), ClaimState.AUTO_APPROVED, Clock.END),
        ClockMove(on(52), ClaimState.PAYABLE, Clock.START),
        ClockMove(on(55), ClaimState.PAID, Clock.END),
        ClockMove(on(90), ClaimState.APPEALED, Clock.START),
    ]
    assert days_left([], on(0)) is None
    assert days_left(story[:1], on(31)) == -1
    assert days_left(story[:2], on(49)) == 27
    assert days_left(story[:3], on(51)) == 26
    assert days_left(story[:4], on(52)) is None
    assert days_left(story[:5], on(53)) == 9
    assert days_left(story[:6], on(60)) is None
    assert days_left(story, on(91)) == 29
    assert [end for end in range(8) if stands_still(story[:end])] == [2]
    assert minimum_days_left([], on(0)) is None
    assert minimum_days_left(story[:1], on(61)) == -1
    assert minimum_days_left(story[:2], on(49)) == 57
    assert minimum_days_left(story[:3], on(51)) == 56
    # Once it is decided nothing is paid ahead, whatever clock runs next.
    assert [minimum_days_left(story[:end], on(91)) for end in (4, 5, 6, 7)] == [None] * 4
    anew = [*story[:5], ClockMove(on(53), ClaimState.ADJUDICATING, Clock.START)]
    assert minimum_days_left(anew, on(54)) == 59


def test_clocks_count_by_the_plan_as_it_was_when_they_began() -> None:
    def on(days: int) -> date:
        return DAY + timedelta(days=days)

    def dated(first: int, later: int | None) -> Dated[int]:
        return Dated(values=((on(0), first), (on(10), later)))

    terms = ClockTerms(
        clause=CLAUSE,
        decision_days=dated(20, 7),
        payment_days=dated(5, None),
        minimum_days=dated(40, 41),
        notice_days=dated(1, 2),
    )
    began = [ClockMove(on(9), ClaimState.REGISTERED, Clock.START)]
    anew = [*began, ClockMove(on(12), ClaimState.APPEALED, Clock.START)]
    assert (days_left(began, on(11), terms), days_left(anew, on(13), terms)) == (18, 6)
    assert minimum_days_left(began, on(11), terms) == 38
    for day, left in ((9, 5), (10, 10)):  # null is the law's
        owed = [ClockMove(on(day), ClaimState.PAYABLE, Clock.START)]
        assert days_left(owed, on(day), terms) == left
    assert [notice_due(on(day), terms) for day in (0, 9, 10)] == [on(1), on(10), on(12)]
    # Before the plan's first day, and where it says nothing, the law's days hold.
    assert notice_due(on(-1), terms) == on(2)
    silent = ClockTerms(clause=CLAUSE)
    assert (days_left(began, on(9), silent), minimum_days_left(began, on(9), silent)) == (30, 60)
    assert notice_due(on(9), silent) == notice_due(on(9)) == on(12)


def test_clocks_of_a_plan_are_no_part_of_a_decision() -> None:
    assert b"clocks" not in plan_bytes(PLAN)
    clocks = ClockTerms(clause=CLAUSE, notice_days=Dated(values=((DAY, 1),)))
    hurried = msgspec.structs.replace(PLAN, clocks=clocks)
    assert plan_version(hurried) != plan_version(PLAN)
    plain, other = (adjudicate(plan, policy(), UsageSnapshot(), bill()) for plan in (PLAN, hurried))
    assert other.output_hash == plain.output_hash


def test_papers_are_awaited_until_the_right_lapses_and_never_less_than_sixty_days() -> None:
    assert papers_due(DAY, DAY) == date(2028, 5, 8)
    assert papers_due(date(2024, 2, 29), date(2026, 2, 27)) == date(2026, 4, 28)
