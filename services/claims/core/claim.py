"""One claim while it is decided: the terms of its days, its lines, and what is known of each.

It gathers facts and terms and decides nothing. Knows no storage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from services.claims.core.accumulators import Tally, opened, policy_year_start
from services.claims.core.coded import Coded
from services.claims.core.codes import CodeKey, code_key
from services.claims.core.edit_terms import CodeEdits, EditTerms, edits_on
from services.claims.core.facts import (
    BillFacts,
    Coding,
    CoverInterval,
    EarlierService,
    HospitalTier,
    LineFacts,
    PolicySnapshot,
    PriorPayments,
    Review,
    ReviewedLine,
    UsageSnapshot,
)
from services.claims.core.plan import (
    Ceiling,
    CountLimit,
    Deductible,
    OutOfPocketMaximum,
    Plan,
    Section,
    StayDay,
    TierDay,
)
from services.claims.core.reasons import Reason
from services.claims.core.repeats import (
    elsewhere,
    repeated_lines,
    resembling_lines,
    service_day,
)
from services.claims.core.terms import (
    CodeTerms,
    InForce,
    PriceByCode,
    Terms,
    prices_on,
    terms_on,
)
from services.common.dated import completed_years

if TYPE_CHECKING:
    from services.claims.core.authorisations import Authority


@dataclass(slots=True)
class Missing:
    """A fact that a term reads and nobody stated; `awaits` is its stable name.

    Or what a person must look at, under a reason and clause of its own.
    """

    awaits: str
    reason: Reason = Reason.FACT_MISSING
    clause: str = ""


# What a rule finds: a clause refuses, a fact may be missing, None lets the line pass.
Finding = str | Missing | None


@dataclass(frozen=True, slots=True)
class AppliedShare:
    """The insurer's share for a line, and the clause that says so."""

    value: Decimal
    clause: str


@dataclass(slots=True)
class Refusal:
    """Why a line is denied, under which clause."""

    reason: Reason
    clause: str


@dataclass(slots=True)
class Line:
    """One line while it is decided.

    `edits` None is a plan without any. `stands` is whether other lines stand beside it: no rule
    about single lines refuses it, and no share or limit of zero. `facts_missing` is how
    many facts those rules missed; what rules about several services find comes after them.
    `earlier_claim` names the claim that a duplicate repeats, `resembles` one of a service that is
    nearly the same; both may be empty where nobody knows it. `key` is the code as it is compared,
    `zero` the clause of a share or limit that never pays the line.
    """

    facts: LineFacts
    key: CodeKey
    service_date: date
    diagnosis: Coding | None
    about: CodeTerms
    section: Section | None = None
    ended_section: Section | None = None
    section_unknown: bool = False
    repeats: bool = False
    share: AppliedShare | Missing | None = None
    refusal: Refusal | None = None
    missing: list[Missing] = field(default_factory=list)
    authority: Authority | None = None
    reviewed: ReviewedLine | None = None
    edits: CodeEdits | None = None
    earlier_claim: str = ""
    resembles: str | None = None
    refused_alone: bool = False
    stands: bool = True
    facts_missing: int = 0
    zero: str | None = None


@dataclass(slots=True)
class Provider:
    """What is known of the bill's provider on the day of the terms; `prices` None is no list."""

    tier: HospitalTier | None
    network: str | None
    listed: bool
    prices: PriceByCode | None


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """Limits that leave the claim nothing: used up before it, or zero from the start."""

    ceilings: tuple[Ceiling, ...]
    counts: tuple[CountLimit, ...]
    zero: tuple[Ceiling | CountLimit, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of amounts that are about a line, in the plan's order.

    A family's deductible stands in the ones that are embedded in it, and not here.
    """

    deductibles: tuple[InForce[Deductible, int], ...]
    out_of_pocket: tuple[InForce[OutOfPocketMaximum, int], ...]
    ceilings: tuple[InForce[Ceiling, int], ...]


@dataclass(slots=True)
class Claim:
    """One claim while it is decided.

    `terms` are of the day that prices and limits look at, `cover_terms` of the day that cover
    looks at. `before` holds the accumulators before this claim, `elsewhere` other providers'
    services by code, in the order of their days. `cover` None is no cover, `category` None is
    unknown. `edits` None is a plan without any; `coded` is there once rules about single lines
    have been asked. `days` holds one line of each day of service. `held` is what was found of
    conditions that are the same for all lines, by the identity of the condition, `limits`
    those about a line by the identity of its section and its day, and `ages` the member's age by
    day.
    """

    plan: Plan
    policy: PolicySnapshot
    usage: UsageSnapshot
    bill: BillFacts
    prior: PriorPayments
    cover: CoverInterval | None
    cover_day: date
    terms_day: date
    cover_terms: Terms
    terms: Terms
    provider: Provider
    outcome_tier: str | None
    lines: list[Line]
    before: Tally
    nothing_left: NothingLeft
    elsewhere: dict[CodeKey, tuple[EarlierService, ...]]
    days: dict[date, Line]
    category: str | None = ""
    review: Review | None = None
    claim_id: str = ""
    edits: EditTerms | None = None
    coded: Coded | None = None
    held: dict[int, bool | Missing] = field(default_factory=dict)
    limits: dict[tuple[int, date], Limits] = field(default_factory=dict)
    ages: dict[date, int] = field(default_factory=dict)

    def age_on(self, day: date) -> int:
        """The member's completed years on a day."""
        age = self.ages.get(day)
        if age is None:
            age = self.ages[day] = completed_years(self.policy.member.birth_date, day)
        return age

    @property
    def social_insurance_used(self) -> bool | None:
        """Whether the bill was settled through social insurance; None is unknown."""
        stated = self.bill.social_insurance
        return stated.used if stated is not None else None


def open_claim(
    plan: Plan,
    policy: PolicySnapshot,
    usage: UsageSnapshot,
    bill: BillFacts,
    prior: PriorPayments,
    review: Review | None = None,
    claim_id: str = "",
) -> Claim:
    """The claim with everything looked up that does not depend on a rule.

    Raises: NoTermsInForce when the plan has no terms yet on the policy's days.
    """
    cover_day = _stay_day(bill, plan.general.cover_day)
    cover = _cover(policy, bill, plan.general.cover_day)
    terms_day = day_of_terms(plan, policy, bill)
    terms, edits = terms_on(plan, terms_day, policy.family_size), edits_on(plan, terms_day)
    before = opened(policy, usage, terms_day)
    lines = _lines(terms, edits, bill, usage)
    claim = Claim(
        plan=plan,
        policy=policy,
        usage=usage,
        bill=bill,
        prior=prior,
        cover=cover,
        cover_day=cover_day,
        terms_day=terms_day,
        cover_terms=terms_on(plan, _within(policy, cover_day)),
        terms=terms,
        provider=_provider(terms, bill, terms_day),
        outcome_tier=_outcome_tier(policy, _tier_day(policy, bill, terms.tier_day, terms_day)),
        lines=lines,
        days={line.service_date: line for line in lines},
        before=before,
        nothing_left=_nothing_left(terms, before),
        elsewhere=elsewhere(bill, usage.services) if terms.mutual_recognition else {},
        edits=edits,
        review=review,
        claim_id=claim_id,
    )
    claim.category = _category(claim)
    if review is not None:
        reviewed = {one.number: one for one in review.lines}
        for line in claim.lines:
            line.reviewed = reviewed.get(line.facts.number)
    return claim


def day_of_terms(plan: Plan, policy: PolicySnapshot, bill: BillFacts) -> date:
    """The day of the stay whose prices, limits and policy year hold for the claim."""
    day = _within(policy, _stay_day(bill, plan.general.terms_day))
    cover = _cover(policy, bill, plan.general.cover_day)
    # Cover ended during the stay: the last policy year's terms hold.
    return day if cover is None else min(day, cover.end - timedelta(days=1))


def day_of_tiers(plan: Plan, policy: PolicySnapshot, bill: BillFacts) -> tuple[TierDay, date]:
    """The last day on which an outcome tier is certified in time for the claim, and which it is.

    Raises: NoTermsInForce when the plan has no terms yet on the policy's days.
    """
    day = day_of_terms(plan, policy, bill)
    looks_at = terms_on(plan, day, policy.family_size).tier_day
    return looks_at, _tier_day(policy, bill, looks_at, day)


def _stay_day(bill: BillFacts, day: StayDay) -> date:
    return bill.start_date if day is StayDay.START else bill.end_date


def _within(policy: PolicySnapshot, day: date) -> date:
    return min(max(day, policy.start), policy.end - timedelta(days=1))


def _cover(policy: PolicySnapshot, bill: BillFacts, looks_at: StayDay) -> CoverInterval | None:
    """The stretch of cover that answers for the stay.

    A stay that began under a policy that this one renews without a gap, and ends under this one,
    is this one's: it belongs to the year of discharge.
    """
    day = _stay_day(bill, looks_at)
    for interval in policy.member.cover:
        if interval.continuous_since <= day < interval.end and bill.end_date >= interval.start:
            return interval
    return None


def _tier_day(policy: PolicySnapshot, bill: BillFacts, looks_at: TierDay, day: date) -> date:
    """The start of the policy year that `day` lies in, or the day of the stay that is looked at."""
    if looks_at is TierDay.POLICY_YEAR:
        return policy_year_start(policy.start, day)
    return bill.start_date if looks_at is TierDay.STAY_START else bill.end_date


def _outcome_tier(policy: PolicySnapshot, by: date) -> str | None:
    """The tier certified last by a day; one that came later does not count.

    None is no tier: the member has no programme, or has reached nothing yet.
    """
    member = policy.member
    if member.outcome_tier is None:
        return None
    frozen = [
        one for one in (*member.earlier_outcome_tiers, member.outcome_tier) if one.certified <= by
    ]
    return max(frozen, key=lambda one: one.certified).tier if frozen else None


def _nothing_left(terms: Terms, before: Tally) -> NothingLeft:
    return NothingLeft(
        ceilings=tuple(
            one.term
            for one in terms.ceilings
            if one.value
            and not before.left(one.term.id, one.term.scope, one.term.period, one.value)
        ),
        counts=tuple(
            one.term
            for one in terms.count_limits
            if one.value
            and not before.count_left(one.term.id, one.term.scope, one.term.period, one.value)
        ),
        zero=(
            *(one.term for one in terms.ceilings if one.value == 0),
            *(one.term for one in terms.count_limits if one.value == 0),
        ),
    )


def _provider(terms: Terms, bill: BillFacts, day: date) -> Provider:
    listed = terms.providers.get(bill.provider_id)
    prices = None if bill.price_list is None else prices_on(bill.price_list.prices, day)
    if listed is None:
        return Provider(tier=bill.hospital_tier, network=None, listed=False, prices=prices)
    return Provider(
        tier=listed.tier or bill.hospital_tier,
        network=listed.network,
        listed=listed.listed,
        prices=listed.prices if prices is None else prices,
    )


def _lines(
    terms: Terms, edits: EditTerms | None, bill: BillFacts, usage: UsageSnapshot
) -> list[Line]:
    earlier = bool(usage.services)
    repeated = repeated_lines(bill, usage.services) if earlier else {}
    suspects = earlier and edits is not None and bool(edits.suspected_duplicates)
    resembling = resembling_lines(bill, usage.services) if suspects else {}
    by_number = {diagnosis.number: diagnosis.code for diagnosis in bill.diagnoses}
    principal = next((one.code for one in bill.diagnoses if one.principal), None)
    lines = []
    for facts in bill.lines:
        numbers = facts.diagnosis_numbers
        placed = terms.place(facts.code, bill.care_type)
        lines.append(
            Line(
                facts=facts,
                key=code_key(facts.code),
                service_date=service_day(bill, facts),
                diagnosis=by_number[numbers[0]] if numbers else principal,
                about=terms.of(facts.code),
                section=placed.section,
                ended_section=placed.ended,
                section_unknown=placed.unknown,
                repeats=facts.number in repeated,
                edits=None if edits is None else edits.of(facts.code),
                earlier_claim=repeated.get(facts.number, ""),
                resembles=resembling.get(facts.number),
            )
        )
    return lines


def _category(claim: Claim) -> str | None:
    """The first category in the plan's order that any line meets; None hangs on the care type."""
    plan, bill = claim.plan, claim.bill
    sections = {line.section.id for line in claim.lines if line.section is not None}
    unplaced = any(line.section_unknown for line in claim.lines)
    for category in plan.categories:
        if category.overnight and bill.end_date > bill.start_date:
            return category.id
        if not (category.sections or category.care_types):
            continue
        in_section = not category.sections or not sections.isdisjoint(category.sections)
        if not in_section and not unplaced:
            continue
        if bill.care_type is None and (category.care_types or not in_section):
            return None
        if in_section and (not category.care_types or bill.care_type in category.care_types):
            return category.id
    return plan.default_category
