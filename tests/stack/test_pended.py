"""The queue of an insurer's team: how many days are left, and for how much."""

from __future__ import annotations

from typing import Any

from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.type.v1.money_pb2 import Money
from stack.commands.options import Language
from stack.commands.pended import _queue
from stack.decision_text import decision_tables

SHARE = decision_pb2.BearerShare(
    bearer=decision_pb2.BEARER_PATIENT,
    reason=reason_pb2.REASON_FACT_MISSING,
    amount=Money(currency_code="CNY", minor_units=900_000_000),
)


def waiting(**more: Any) -> claims_pb2.Claim:
    claim = claims_pb2.Claim(
        name="policies/p/claims/c", state=claims_pb2.CLAIM_STATE_PENDED_INFO, days_left=28, **more
    )
    claim.decision.benefit.currency_code = "CNY"
    claim.decision.lines.add(shares=[SHARE])
    return claim


def cells(claim: claims_pb2.Claim) -> list[str]:
    return [str(cell) for column in _queue([claim], Language.EN).columns for cell in column.cells]


def test_what_waits_shows_what_is_reserved_and_that_its_clock_stands_still() -> None:
    reserved = Money(currency_code="CNY", minor_units=200_000_000)
    shown = cells(waiting(reserved=reserved, days_stand_still=True))
    assert shown[5:7] == ["up to 2000000.00 CNY", "28 (stopped)"]
    # Under a plan without a limit for everything, and on a clock that runs.
    assert cells(waiting())[5:7] == ["up to 9000000.00 CNY", "28"]


def test_an_overturned_claim_in_review_says_what_it_waits_for() -> None:
    claim = claims_pb2.Claim(state=claims_pb2.CLAIM_STATE_PENDED_REVIEW)

    def told(claim: claims_pb2.Claim) -> list[str]:
        parts = decision_tables(claim, Language.EN, with_history=False)
        return [part for part in parts if isinstance(part, str)]

    assert "waits for a person, as the decision was overturned" in told(claim)
    claim.decision.pends.add(awaits="review")
    assert not [one for one in told(claim) if "overturned" in one]
