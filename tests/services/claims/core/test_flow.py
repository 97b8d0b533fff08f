"""How a decided claim goes on: who is drawn, who is told what is awaited, whose terms hold."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from services.claims.core import explain
from services.claims.core.adjudicate import adjudicate
from services.claims.core.canonical import output_hash
from services.claims.core.claim import day_of_terms
from services.claims.core.decision import Disposition
from services.claims.core.facts import Review, ReviewedLine, UsageSnapshot
from services.claims.core.flow import is_sampled, two_must_agree
from services.claims.core.intake import UnacceptableBill
from services.claims.core.plan import StayDay
from services.common.dated import Dated
from tests.services.claims.core.bills import ROOT, bill, line, plan_named, policy

PLAN = plan_named("every-term")
IDS = [f"claim-{number}" for number in range(4_000)]


@pytest.mark.parametrize("rate", ["0.01", "0.25", "0.9"])
def test_about_as_many_claims_are_drawn_as_the_plan_says(rate: str) -> None:
    drawn = sum(is_sampled(one, "plan@sha256:0", Decimal(rate)) for one in IDS)
    # Four standard deviations of a fair draw.
    share = Decimal(rate)
    spread = 4 * (share * (1 - share) * len(IDS)).sqrt()
    assert abs(drawn - share * len(IDS)) <= spread


def test_a_claim_is_drawn_always_or_never_and_more_at_a_higher_rate() -> None:
    few = {one for one in IDS if is_sampled(one, "plan@sha256:0", Decimal("0.1"))}
    assert few == {one for one in IDS if is_sampled(one, "plan@sha256:0", Decimal("0.1"))}
    more = {one for one in IDS if is_sampled(one, "plan@sha256:0", Decimal("0.2"))}
    assert few < more
    other = {one for one in IDS if is_sampled(one, "plan@sha256:1", Decimal("0.1"))}
    assert few != other


@pytest.mark.parametrize(
    ("amount", "day", "asked"),
    [
        (600_000, date(2025, 3, 1), False),
        (600_001, date(2025, 3, 1), True),
        (700_000, date(2025, 7, 1), False),
        (700_001, date(2025, 7, 1), True),
        (10**9, date(2025, 10, 1), False),
    ],
)
def test_above_the_threshold_of_the_day_two_must_agree(
    amount: int, day: date, *, asked: bool
) -> None:
    plan = plan_named("every-benefit")
    assert plan.four_eyes is not None
    values = ((date(2025, 1, 1), 600_000), (date(2025, 7, 1), 700_000), (date(2025, 10, 1), None))
    term = msgspec.structs.replace(plan.four_eyes, values=Dated(values=values))
    plan = msgspec.structs.replace(plan, four_eyes=term)
    assert two_must_agree(plan, policy(), bill(day=day), amount) is asked


def test_without_a_threshold_nobody_has_to_agree() -> None:
    assert PLAN.four_eyes is None
    assert two_must_agree(PLAN, policy(), bill(), 10**12) is False


def test_whatever_is_awaited_has_words() -> None:
    core = ROOT / "services" / "claims" / "core"
    paths = [path for path in sorted(core.glob("*.py")) if path.name != "intake.py"]
    sources = "".join(path.read_text("utf-8") for path in paths)
    named = set(
        re.findall(r'"((?:bill|line|member|policy|provider|social_insurance)\.[a-z_]+)"', sources)
    )
    named |= set(re.findall(r'"(review\.[a-z_]+)"', sources))
    assert {"bill.referral", "policy.family_size", "review.sampling"} <= named
    assert named <= set(explain._AWAITED)


def test_the_id_of_a_claim_counts_only_where_the_plan_draws_claims() -> None:
    plain = [adjudicate(PLAN, policy(), UsageSnapshot(), bill(), claim_id=one) for one in "ab"]
    assert plain[0].input_hash == plain[1].input_hash
    drawing = plan_named("every-benefit")
    drawn = [adjudicate(drawing, policy(), UsageSnapshot(), bill(), claim_id=one) for one in "ab"]
    assert drawn[0].input_hash != drawn[1].input_hash


def test_a_review_is_an_input_and_moves_the_disposition() -> None:
    before = adjudicate(PLAN, policy(), UsageSnapshot(), bill())
    after = adjudicate(PLAN, policy(), UsageSnapshot(), bill(), review=Review())
    assert (before.disposition, after.disposition) == (
        Disposition.AUTO_APPROVED,
        Disposition.APPROVED,
    )
    assert before.input_hash != after.input_hash
    assert output_hash(after) == after.output_hash


def test_every_fault_of_a_review_is_named() -> None:
    review = Review(
        lines=(
            ReviewedLine(number=1, clause="8.5", quantity=Decimal(2)),
            ReviewedLine(number=1, clause="none", unit_price=Decimal(-1)),
            ReviewedLine(number=7, clause="8.5"),
        )
    )
    with pytest.raises(UnacceptableBill) as caught:
        adjudicate(PLAN, policy(), UsageSnapshot(), bill(line()), review=review)
    assert [(fault.field, fault.reason) for fault in caught.value.faults] == [
        ("review.lines[0]", "DUPLICATE_NUMBER"),
        ("review.lines[0].quantity", "ABOVE_BILLED"),
        ("review.lines[1]", "DUPLICATE_NUMBER"),
        ("review.lines[1]", "UNKNOWN_CLAUSE"),
        ("review.lines[1].unit_price", "ABOVE_BILLED"),
        ("review.lines[2]", "UNKNOWN_LINE"),
    ]
    (unknown,) = [one for one in caught.value.faults if one.reason == "UNKNOWN_CLAUSE"]
    assert all(clause.id in unknown.text for clause in PLAN.clauses)


def test_the_day_of_terms_lies_in_the_policy_and_in_the_cover() -> None:
    replace = msgspec.structs.replace
    stay = replace(bill(), start_date=date(2025, 12, 30), end_date=date(2026, 1, 2))
    assert day_of_terms(PLAN, policy(), stay) == date(2025, 12, 31)
    assert day_of_terms(PLAN, policy(end=date(2027, 1, 1)), stay) == date(2026, 1, 2)
    at_start = replace(PLAN, general=replace(PLAN.general, terms_day=StayDay.START))
    assert day_of_terms(at_start, policy(end=date(2027, 1, 1)), stay) == date(2025, 12, 30)
