"""What must hold for every bill under every plan, drawn by Hypothesis."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import adjudicate
from services.claims.core.canonical import (
    Inputs,
    decision_bytes,
    decision_from,
    inputs_bytes,
    inputs_from,
    plan_version,
)
from services.claims.core.decision import (
    Bearer,
    Decision,
    Disposition,
    LineOutcome,
    conservation_faults,
)
from services.claims.core.facts import (
    Authorisation,
    Balance,
    BillFacts,
    CareType,
    Coding,
    FamilyDoctor,
    HospitalTier,
    LineFacts,
    PriorPayments,
    Scope,
    Sex,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import Deductible, OutOfPocketMaximum, Plan
from services.claims.core.reasons import Reason
from services.claims.core.terms import terms_on
from services.common.dated import Dated
from tests.services.claims.core.bills import (
    YIBAO,
    allowed_services,
    bill,
    bills,
    line,
    plan_named,
    policy,
    usages,
)
from tests.services.claims.core.plans import LIMITS, plans, plans_of_one_share

PLANS = ("every-term", "every-benefit", "million-medical", "chronic-diabetes")
_YEARS = policy(end=date(2027, 1, 1))
POLICY = msgspec.structs.replace(
    _YEARS,
    family_size=3,
    member=msgspec.structs.replace(
        _YEARS.member,
        sex=Sex.FEMALE,
        family_doctor=FamilyDoctor(),
        authorisations=tuple(
            Authorisation(
                id=f"A-{code}",
                start=date(2025, 1, 1),
                end=date(2026, 1, 1),
                codes=(Coding(system=YIBAO, code=code),),
                units=Decimal(2),
                amount=100_000,
            )
            for code in ("Q1", "G1")
        ),
    ),
)
NOTHING = UsageSnapshot()
EXAMPLES = st.sampled_from(PLANS).map(plan_named)


@st.composite
def _claims(
    draw: st.DrawFn, chosen: st.SearchStrategy[Plan] = EXAMPLES
) -> tuple[Plan, UsageSnapshot, BillFacts, PriorPayments]:
    plan = draw(chosen)
    facts, prior = draw(bills())
    listed = [one.id for one in plan.providers.listing if one.prices is not None]
    if listed and draw(st.sampled_from((True, False))):  # else few bills meet a price list
        facts = msgspec.structs.replace(facts, provider_id=draw(st.sampled_from(listed)))
    return plan, draw(usages(plan)), facts, prior


@settings(max_examples=120)
@given(_claims())
def test_whatever_the_bill_every_promise_of_a_decision_holds(
    claim: tuple[Plan, UsageSnapshot, BillFacts, PriorPayments],
) -> None:
    plan, usage, facts, prior = claim
    decision = adjudicate(plan, POLICY, usage, facts, prior)
    _every_fen_has_one_bearer_and_one_reason(plan, facts, decision)
    _earlier_payers_bear_exactly_what_they_paid(facts, prior, decision)
    _no_ceiling_is_exceeded(plan, usage, facts, decision)
    _a_claim_waits_if_and_only_if_something_is_awaited(decision)
    _a_pended_claim_reserves_what_it_could_pay(plan, facts, decision)
    _a_decision_is_recomputed_from_its_stored_bytes(plan, usage, facts, prior, decision)
    changes = decision.usage_changes
    assert with_changes(with_changes(usage, changes), changes, release=True) == usage


def _every_fen_has_one_bearer_and_one_reason(
    plan: Plan, facts: BillFacts, decision: Decision
) -> None:
    assert conservation_faults(decision) == ()
    for one in decision.lines:
        assert one.billed == sum(share.amount for share in one.shares)
        paid = sum(share.amount for share in one.shares if share.bearer is Bearer.INSURER)
        assert paid == one.benefit
        assert one.payee is None or one.benefit > 0, "nobody is paid nothing"
    assert decision.benefit == sum(one.benefit for one in decision.lines)
    assert [one.number for one in decision.lines] == [one.number for one in facts.lines]
    assert decision.billed == sum(one.billed for one in facts.lines)
    clauses = {clause.id for clause in plan.clauses}
    for one in decision.lines:
        assert {share.clause for share in one.shares} <= clauses


def _earlier_payers_bear_exactly_what_they_paid(
    facts: BillFacts, prior: PriorPayments, decision: Decision
) -> None:
    borne: Counter[Reason] = Counter()
    for one in decision.lines:
        for share in one.shares:
            if share.bearer is Bearer.PRIOR_PAYER:
                borne[share.reason] += share.amount
    stated = facts.social_insurance
    assert stated is not None
    fund = stated.fund_paid
    if fund is None:
        fund = sum(one.fund_paid or 0 for one in facts.lines)
    assert borne[Reason.SOCIAL_INSURANCE_PAID] == fund
    assert borne[Reason.PRIOR_PAYER_PAID] == sum(one.amount for one in prior.payments)
    for one in decision.lines:
        earlier = sum(s.amount for s in one.shares if s.bearer is Bearer.PRIOR_PAYER)
        assert one.benefit <= max(0, one.allowed - earlier)


def _no_ceiling_is_exceeded(
    plan: Plan, usage: UsageSnapshot, facts: BillFacts, decision: Decision
) -> None:
    after = {one.accumulator: one for one in with_changes(usage, decision.usage_changes).balances}
    before = {one.accumulator: one.amount for one in usage.balances}
    terms = terms_on(plan, facts.end_date, POLICY.family_size)
    limits = {one.term.id: one.value for one in terms.ceilings}
    limits |= {one.term.id: one.value for one in terms.deductibles}
    limits |= {"authorisation A-Q1 units": 20_000, "authorisation A-G1 amount": 100_000}
    for name, most in limits.items():
        if name in after:
            assert after[name].amount <= max(most, before.get(name, 0))


def _a_claim_waits_if_and_only_if_something_is_awaited(decision: Decision) -> None:
    pended = [one for one in decision.lines if one.outcome is LineOutcome.PENDED]
    assert bool(pended) is (decision.disposition is Disposition.PENDED_INFO)
    assert bool(decision.pends) is decision.disposition.value.startswith("pended")
    denied = all(one.outcome is LineOutcome.DENIED for one in decision.lines)
    assert denied is (decision.disposition is Disposition.DENIED)
    if denied:
        assert decision.usage_changes == ()
        assert decision.benefit == 0


def _a_pended_claim_reserves_what_it_could_pay(
    plan: Plan, facts: BillFacts, decision: Decision
) -> None:
    if decision.pends:
        reserved = {change.accumulator: change.amount for change in decision.usage_changes}
        if not terms_on(plan, facts.end_date).undisputed_first:
            assert not {one.id for one in plan.deductibles} & set(reserved)
        overall = next(one.id for one in plan.ceilings if not one.of_section)
        assert reserved.get(overall, 0) >= decision.benefit


def _a_decision_is_recomputed_from_its_stored_bytes(
    plan: Plan,
    usage: UsageSnapshot,
    facts: BillFacts,
    prior: PriorPayments,
    decision: Decision,
) -> None:
    version = plan_version(plan)
    inputs = Inputs(plan_version=version, policy=POLICY, usage=usage, bill=facts, prior=prior)
    stored = inputs_bytes(inputs)
    read = inputs_from(stored)
    assert inputs_bytes(read) == stored
    assert adjudicate(plan, read.policy, read.usage, read.bill, read.prior) == decision
    assert decision_from(decision_bytes(decision)) == decision


# --- reserves ---


def _all_borne(plan: Plan, usage: UsageSnapshot) -> UsageSnapshot:
    """The usage once other claims have used up every deductible and out-of-pocket maximum."""
    terms: list[Deductible | OutOfPocketMaximum] = [*plan.deductibles, *plan.out_of_pocket]
    borne = {one.id for one in terms}
    starts = (date(2025, 1, 1), date(2026, 1, 1))
    return usage_snapshot(
        [
            *(one for one in usage.balances if one.accumulator not in borne),
            *(
                Balance(accumulator=one.id, scope=one.scope, period_start=start, amount=10**12)
                for one in terms
                if one.scope is not Scope.TREATMENT
                for start in starts
            ),
        ]
    )


def _resolved(draw: st.DrawFn, facts: BillFacts) -> BillFacts:
    """The bill once everything that it left open is known."""
    stated = facts.social_insurance
    assert stated is not None
    used = stated.used
    return msgspec.structs.replace(
        facts,
        care_type=facts.care_type or draw(st.sampled_from(CareType)),
        hospital_tier=facts.hospital_tier or draw(st.sampled_from(HospitalTier)),
        referral=draw(st.booleans()),
        social_insurance=msgspec.structs.replace(
            stated, used=draw(st.booleans()) if used is None else used
        ),
    )


@settings(max_examples=100)
@given(st.data())
def test_whatever_papers_say_a_pended_claim_has_reserved_what_it_then_pays(
    data: st.DataObject,
) -> None:
    plan, usage, facts, prior = data.draw(_claims())
    pended = adjudicate(plan, POLICY, usage, facts, prior)
    if pended.disposition is not Disposition.PENDED_INFO:
        return
    reserved = {change.accumulator: change.amount for change in pended.usage_changes}
    known = data.draw(st.composite(_resolved)(facts))
    final = adjudicate(plan, POLICY, _all_borne(plan, usage), known, prior)
    for change in final.usage_changes:
        if change.accumulator in {one.id for one in plan.ceilings}:
            assert change.amount <= reserved.get(change.accumulator, 0), change.accumulator


# --- generated plans ---

Claim = tuple[Plan, UsageSnapshot, BillFacts, PriorPayments]

# What a drawn bill can meet in a drawn plan; the rest needs a bill made for it, as the cases are.
REACHED = (
    *(Reason.NOT_IN_PRICE_LIST, Reason.FREQUENCY, Reason.AUTHORISATION),
    *(Reason.SOCIAL_INSURANCE_PAID, Reason.DEDUCTIBLE, Reason.COPAY, Reason.COINSURANCE),
    *(Reason.SECTION_CEILING, Reason.CEILING, Reason.PRIOR_PAYER_PAID, Reason.ZERO_BENEFIT),
    *(Reason.BENEFIT, Reason.BENEFIT_EXCLUDED, Reason.DIAGNOSIS_EXCLUDED, Reason.FACT_MISSING),
)


def _reasons_of(decision: Decision) -> set[Reason]:
    return {share.reason for line in decision.lines for share in line.shares}


def _meets(reason: Reason, claim: Claim) -> bool:
    plan, usage, facts, prior = claim
    return reason in _reasons_of(adjudicate(plan, POLICY, usage, facts, prior))


def test_whatever_the_plan_every_fen_has_one_bearer_and_one_reason_and_every_term_is_met() -> None:
    _, terms = _conserved(150)
    assert terms == set(LIMITS)


@pytest.mark.fault
def test_whatever_the_plan_every_reason_is_met_too() -> None:
    reasons, _ = _conserved(500)
    # Which plans are drawn hangs on what else is imported: a rare reason is looked for.
    search = settings(max_examples=5_000, derandomize=True, phases=[Phase.generate])
    for reason in set(REACHED) - reasons:
        find(_claims(plans()), partial(_meets, reason), settings=search)


def _conserved(examples: int) -> tuple[set[Reason], set[str]]:
    """The reasons given, and the terms held, by so many drawn plans; all fen are conserved."""
    reasons: set[Reason] = set()
    terms: set[str] = set()

    @settings(max_examples=examples, derandomize=True)
    @given(_claims(plans()))
    def conserved(claim: Claim) -> None:
        plan, usage, facts, prior = claim
        decision = adjudicate(plan, POLICY, usage, facts, prior)
        _every_fen_has_one_bearer_and_one_reason(plan, facts, decision)
        _earlier_payers_bear_exactly_what_they_paid(facts, prior, decision)
        changes = decision.usage_changes
        assert with_changes(with_changes(usage, changes), changes, release=True) == usage
        reasons.update(_reasons_of(decision))
        terms.update(name for name in LIMITS if getattr(plan, name))

    conserved()
    return reasons, terms


# --- monotonicity ---


def _shifted(values: Dated[int], by: int) -> Dated[int]:
    return Dated(
        values=tuple(
            (day, None if value is None else max(0, value + by)) for day, value in values.values
        )
    )


def _one_shifted(terms: tuple[Any, ...], which: int, by: int) -> tuple[Any, ...]:
    """The terms with one of them, or all of them, at another amount."""
    return tuple(
        msgspec.structs.replace(one, values=_shifted(one.values, by))
        if which in (index, len(terms))
        else one
        for index, one in enumerate(terms)
    )


def _payout(plan: Plan, usage: UsageSnapshot, facts: BillFacts, prior: PriorPayments) -> int:
    return adjudicate(plan, POLICY, usage, facts, prior).benefit


@settings(max_examples=100)
@given(_claims(EXAMPLES | plans()), st.integers(0, 3), st.integers(1, 500_000))
def test_a_higher_deductible_never_raises_the_payout(
    claim: tuple[Plan, UsageSnapshot, BillFacts, PriorPayments], which: int, more: int
) -> None:
    """Without an out-of-pocket maximum, which a higher deductible uses up sooner.

    Where a ceiling cuts, which never counts toward the maximum, the share of one that then holds
    pays more of what follows.
    """
    plan, usage, facts, prior = claim
    plan = msgspec.structs.replace(plan, out_of_pocket=())
    higher = _one_shifted(plan.deductibles, which, more)
    less = msgspec.structs.replace(plan, deductibles=higher)
    assert _payout(less, usage, facts, prior) <= _payout(plan, usage, facts, prior)


@settings(max_examples=100)
@given(_claims(EXAMPLES | plans()), st.integers(0, 3), st.integers(1, 3_000_000))
def test_a_lower_ceiling_never_raises_the_payout(
    claim: tuple[Plan, UsageSnapshot, BillFacts, PriorPayments], which: int, less: int
) -> None:
    plan, usage, facts, prior = claim
    lower = msgspec.structs.replace(plan, ceilings=_one_shifted(plan.ceilings, which, -less))
    assert _payout(lower, usage, facts, prior) <= _payout(plan, usage, facts, prior)


# --- order and splitting ---


_AMOUNTS = st.lists(st.integers(1, 80_000), min_size=1, max_size=7)


def _charges(amounts: Sequence[int]) -> tuple[LineFacts, ...]:
    return tuple(
        line(number, f"V{number}", str(Decimal(amount).scaleb(-2)))
        for number, amount in enumerate(amounts, start=1)
    )


def _settle_in_turn(plan: Plan, bills: Sequence[BillFacts]) -> list[Decision]:
    usage, decisions = NOTHING, []
    for facts in bills:
        decision = adjudicate(plan, POLICY, usage, facts)
        usage = with_changes(usage, decision.usage_changes)
        decisions.append(decision)
    return decisions


@settings(max_examples=100)
@given(plans_of_one_share(), _AMOUNTS, st.randoms(use_true_random=False))
def test_the_order_of_lines_moves_at_most_a_fen_per_line(
    plan: Plan, amounts: list[int], chance: random.Random
) -> None:
    shuffled = list(amounts)
    chance.shuffle(shuffled)
    first = _payout(plan, NOTHING, bill(*_charges(amounts)), PriorPayments())
    second = _payout(plan, NOTHING, bill(*_charges(shuffled)), PriorPayments())
    assert abs(first - second) <= len(amounts)


@settings(max_examples=100)
@given(plans_of_one_share(), _AMOUNTS, st.lists(st.integers(0, 7), max_size=3))
def test_splitting_a_bill_never_pays_more_than_a_fen_per_line(
    plan: Plan, amounts: list[int], cuts: list[int]
) -> None:
    whole = _payout(plan, NOTHING, bill(*_charges(amounts)), PriorPayments())
    ends = [0, *sorted(cuts), len(amounts)]
    parts = [amounts[start:end] for start, end in pairwise(ends) if amounts[start:end]]
    bills = [bill(*_charges(part), number=f"B{n}") for n, part in enumerate(parts)]
    split = sum(one.benefit for one in _settle_in_turn(plan, bills))
    assert split <= whole + len(amounts)
    assert whole <= split + len(amounts), "nor does it pay less: one share, one sum"


def test_releasing_more_than_was_used_is_refused() -> None:
    decision = adjudicate(plan_named("every-term"), POLICY, NOTHING, bill())
    with pytest.raises(ValueError, match="released more"):
        with_changes(NOTHING, decision.usage_changes, release=True)


def test_what_a_claim_allowed_is_known_to_the_next() -> None:
    plan, facts = plan_named("every-term"), bill(line(1), line(2, "X1"))
    decision = adjudicate(plan, POLICY, NOTHING, facts)
    services = allowed_services(facts, decision)
    assert [one.code.code for one in services] == ["V1"]
