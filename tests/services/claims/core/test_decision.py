"""A decision that loses or invents money is told so, in every way in which it can."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import (
    ENGINE_VERSION,
    Decision,
    DecisionLine,
    Disposition,
    Payee,
    conservation_faults,
    is_earlier_engine,
)
from services.claims.core.facts import UsageSnapshot
from services.claims.core.reasons import Reason
from tests.services.claims.core.bills import bill, line, plan_named, policy

replace = msgspec.structs.replace
SOUND = adjudicate(
    plan_named("every-term"), policy(), UsageSnapshot(), bill(line(1), line(2, "V2", "50.00"))
)


def _with_line(**changes: Any) -> Decision:
    first, *others = SOUND.lines
    return replace(SOUND, lines=(replace(first, **changes), *others))


def _first_share(**changes: Any) -> Decision:
    first, *others = SOUND.lines[0].shares
    return _with_line(shares=(replace(first, **changes), *others))


def test_a_decision_that_adds_up_has_no_fault() -> None:
    assert conservation_faults(SOUND) == ()


LINE = SOUND.lines[0]
FAULTS = [
    (_first_share(clause=""), ["line 1: a share without amount or clause"]),
    (
        _first_share(amount=0),
        ["line 1: a share without amount or clause", "line 1: bearers bear 8000"],
    ),
    (_first_share(amount=2_001), ["line 1: bearers bear 10001"]),
    (_first_share(amount=1_999), ["line 1: bearers bear 9999"]),
    (
        _with_line(benefit=LINE.benefit - 1),
        [
            "line 1: the insurer bears another amount than the benefit",
            "claim: benefit is not the sum of its lines, 7799",
        ],
    ),
    (
        _with_line(allowed=LINE.billed + 1),
        [
            "line 1: not 0 <= benefit <= allowed <= billed",
            "claim: allowed is not the sum of its lines, 15001",
        ],
    ),
    (
        _with_line(allowed=LINE.benefit - 1),
        [
            "line 1: not 0 <= benefit <= allowed <= billed",
            "claim: allowed is not the sum of its lines, 9799",
        ],
    ),
    (replace(SOUND, billed=SOUND.billed + 1), ["claim: billed is not the sum of its lines, 15000"]),
]


@pytest.mark.parametrize(("decision", "faults"), FAULTS, ids=[str(n) for n in range(len(FAULTS))])
def test_every_fen_that_is_lost_or_invented_is_told(decision: Decision, faults: list[str]) -> None:
    assert conservation_faults(decision) == tuple(faults)


def test_a_benefit_may_be_nothing_and_may_be_all_and_never_less_than_nothing() -> None:
    def one(allowed: int, benefit: int) -> DecisionLine:
        return replace(LINE, shares=(), billed=0, allowed=allowed, benefit=benefit)

    def faults(found: DecisionLine) -> list[str]:
        decision = replace(
            SOUND, lines=(found,), billed=0, allowed=found.allowed, benefit=found.benefit
        )
        return [text for text in conservation_faults(decision) if "not 0" in text]

    assert faults(one(0, 0)) == []
    assert faults(one(0, -1)) != []


def test_only_what_is_pended_waits() -> None:
    assert {one.value for one in Disposition if one.waits} == {
        "pended_info",
        "pended_review",
        "pended_fraud",
    }


def test_the_parts_of_a_line_are_told_in_the_order_of_their_reasons() -> None:
    settled = bill(line(1, price="100.00", fund_paid=3_000))
    (decided,) = adjudicate(plan_named("every-term"), policy(), UsageSnapshot(), settled).lines
    # 100 - 30 = 70 after social insurance, 70 - 20 = 50 after the copay, 0.60 * 50 = 30.
    assert [(one.reason, one.amount) for one in decided.shares] == [
        (Reason.SOCIAL_INSURANCE_PAID, 3_000),
        (Reason.COPAY, 2_000),
        (Reason.COINSURANCE, 2_000),
        (Reason.BENEFIT, 3_000),
    ]


def test_two_parts_are_told_in_that_order_too() -> None:
    settled = bill(line(1, "F1", "100.00", fund_paid=3_000))
    (decided,) = adjudicate(
        plan_named("conventions-money"), policy(), UsageSnapshot(), settled
    ).lines
    assert [(one.reason, one.amount) for one in decided.shares] == [
        (Reason.SOCIAL_INSURANCE_PAID, 3_000),
        (Reason.BENEFIT, 7_000),
    ]


def test_who_is_paid_is_said_of_what_is_paid_only() -> None:
    flow = plan_named("conventions-flow")
    insured = replace(policy(), family_size=1)
    # The deductible of 100 takes the whole of the first line.
    facts = bill(line(1, "D1", "50.00"), line(2, "P1", "40.00"))
    decision = adjudicate(flow, insured, UsageSnapshot(), facts)
    assert [(one.benefit, one.payee) for one in decision.lines] == [
        (0, None),
        (4_000, Payee.MEMBER),
    ]


def test_an_earlier_engine_is_a_number_below_todays_and_nothing_else() -> None:
    assert is_earlier_engine("1")
    others = (ENGINE_VERSION, str(int(ENGINE_VERSION) + 1), "", "1a", "a", "-1", "\uff11")
    assert [one for one in others if is_earlier_engine(one)] == []
