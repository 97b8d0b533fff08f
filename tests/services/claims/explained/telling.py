"""Explained claims for tests: every decision of the case files, and small ones made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS, adjudicate, decide_again
from services.claims.core.canonical import Inputs, plan_version
from services.claims.core.decision import Decision, Disposition
from services.claims.core.explain import explain
from services.claims.core.explanation import Explained, explained
from services.claims.core.facts import (
    BillFacts,
    PolicySnapshot,
    PriorPayments,
    Review,
    UsageSnapshot,
)
from services.claims.core.life_cycle import TAKEN_BACK, ClaimState
from services.claims.core.plan import Plan
from services.claims.explained.told import CoordinatedClaim, ToldClaim, ended
from services.claims.plans import case_run, cases
from services.common.strict_yaml import load
from tests.services.claims.core.bills import CASES, plan_named, policy

DECIDED_US = 1_767_603_600_000_000  # 2026-01-05 17:00 in Shanghai
PAID_US = 1_767_632_400_000_000  # 2026-01-06 01:00 in Shanghai, the day before in UTC
_STATES = {
    Disposition.AUTO_APPROVED: ClaimState.PAID,
    Disposition.APPROVED: ClaimState.PAID,
    Disposition.DENIED: ClaimState.DENIED,
    Disposition.PENDED_INFO: ClaimState.PENDED_INFO,
    Disposition.PENDED_REVIEW: ClaimState.PENDED_REVIEW,
    Disposition.PENDED_FRAUD: ClaimState.PENDED_FRAUD,
}


@dataclass(frozen=True, eq=False)
class Decided:
    """A decision with what it was made from; explained once, which decides it once more."""

    plan: Plan
    inputs: Inputs
    decision: Decision

    def explained(self, texts: Mapping[int, str] | None = None) -> Explained:
        if texts:
            return explained(self.plan, self.inputs, self.decision, texts)
        return _explained(self)


@cache
def _explained(one: Decided) -> Explained:
    return explained(one.plan, one.inputs, one.decision, {})


@cache
def decided_in_cases() -> tuple[Decided, ...]:
    """Every decision that the case files lead to, as the runner asks the engine for them."""
    found: list[Decided] = []

    def watched(plan: Plan, *args: Any, **kwargs: Any) -> Decision:
        decision = adjudicate(plan, *args, **kwargs)
        found.append(Decided(plan, _inputs(plan, *args, **kwargs), decision))
        return decision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_run, "adjudicate", watched)
        for path in sorted(CASES.glob("*.yaml")):
            yaml = path.read_bytes()
            cases.run_cases(plan_named(load(yaml, str(path))["plan"]), yaml, str(path))
    return tuple(found)


def unlike(decisions: Iterable[Decided]) -> list[Decided]:
    """One decision of each disposition with each set of outcomes, of reasons and of who bears."""
    found: dict[object, Decided] = {}
    for one in decisions:
        shares = [share for of in one.decision.lines for share in of.shares]
        outcomes = frozenset(of.outcome for of in one.decision.lines)
        said = frozenset((share.reason, share.bearer) for share in shares)
        found.setdefault((one.decision.disposition, outcomes, said), one)
    return list(found.values())


def _inputs(
    plan: Plan,
    who: PolicySnapshot,
    usage: UsageSnapshot,
    bill: BillFacts,
    prior: PriorPayments = NO_PRIOR_PAYMENTS,
    *,
    review: Review | None = None,
    claim_id: str = "",
) -> Inputs:
    return Inputs(
        plan_version=plan_version(plan),
        policy=who,
        usage=usage,
        bill=bill,
        prior=prior,
        review=review,
        claim_id=claim_id if plan.sampling is not None else "",
    )


def decided(
    plan: Plan,
    bill: BillFacts,
    usage: UsageSnapshot | None = None,
    prior: PriorPayments = NO_PRIOR_PAYMENTS,
) -> Decided:
    """One bill of the tests' member under a plan."""
    inputs = _inputs(plan, policy(), usage or UsageSnapshot(), bill, prior)
    decision = decide_again(plan, inputs)
    return Decided(plan, inputs, decision)


def told(
    one: Decided,
    *,
    state: ClaimState | None = None,
    texts: Mapping[int, str] | None = None,
    coordinated: tuple[CoordinatedClaim, ...] | None = None,
    released: bool | None = None,
) -> ToldClaim:
    """The claim of a decision, paid if anything was; each earlier insurer is another one.

    Released is what was taken back in its state, unless a test says otherwise.
    """
    decision = one.decision
    stands = state or _STATES[decision.disposition]
    if state is None and stands is ClaimState.PAID and not decision.benefit:
        stands = ClaimState.CLOSED_ZERO
    paid = decision.benefit if stands is ClaimState.PAID else 0
    if coordinated is None:
        coordinated = tuple(CoordinatedClaim(amount=p.amount) for p in one.inputs.prior.payments)
    explanation = one.explained(texts)
    over = ended(stands, released=stands in TAKEN_BACK if released is None else released)
    text = explain(one.plan, decision, texts or {}, ended=over, told=explanation)
    return ToldClaim(
        name="policies/p-1/claims/0123456789abcdef",
        claim_id="0123456789abcdef",
        policy_id="p-1",
        member="5f3a",
        insurer="insurer",
        provider_id=one.inputs.bill.provider_id,
        bill_number=one.inputs.bill.bill_number,
        state=stands,
        decided_us=DECIDED_US,
        paid=paid,
        paid_us=PAID_US if paid else None,
        zone=ZoneInfo("Asia/Shanghai"),
        coordinated=coordinated,
        told=explanation,
        text=text,
        ended=over,
    )
