"""A plan's terms on one day: every dated value looked up once, code sets ready to be asked.

Terms are the same between two days on which anything changes, so they are made once per plan and
stretch and kept. Knows no claim.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec

from services.claims.core.codes import CodeKey, code_key, comparable
from services.claims.core.decision import Payee
from services.claims.core.facts import (
    CareType,
    Coding,
    ContractPrice,
    HospitalTier,
)
from services.claims.core.plan import (
    AuthorisationTerm,
    Ceiling,
    Copay,
    CountLimit,
    Covers,
    Deductible,
    Eligibility,
    Exclusion,
    FamilyStep,
    FixedLimit,
    MutualRecognition,
    OutOfPocketMaximum,
    PayeeTerm,
    Plan,
    PlanProvider,
    PreExistingRule,
    PreExistingValue,
    ProviderRule,
    Qualification,
    Section,
    Share,
    SystemCodes,
    TierDay,
    UnitLimit,
    WaitingPeriod,
    WithoutList,
)
from services.claims.core.plan_parts import Ages, Part
from services.common.dated import Dated, NoTermsInForce
from services.common.money import MAX_MINOR_UNITS

PriceByCode = dict[CodeKey, Decimal]


_MOST_KNOWN = 8_192


class CodeMatcher:
    """Answers whether a code is in any of some code sets; the same code again at once."""

    __slots__ = ("_exact", "_known", "_prefixes")

    def __init__(self, codes: Iterable[SystemCodes]) -> None:
        self._exact: set[tuple[str, str]] = set()
        self._known: dict[tuple[str, str], bool] = {}
        prefixes: dict[str, tuple[str, ...]] = {}
        for one in codes:
            self._exact.update((one.system, comparable(code)) for code in one.exact)
            begun = tuple(comparable(prefix) for prefix in one.prefixes)
            prefixes[one.system] = prefixes.get(one.system, ()) + begun
        self._prefixes = {system: found for system, found in prefixes.items() if found}

    def has(self, code: Coding) -> bool:
        """Whether the sets hold the code, itself or by a prefix."""
        asked = (code.system, code.code)
        known = self._known.get(asked)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:  # bills bring whatever codes they like
                self._known.clear()
            known = self._known[asked] = self._holds(code)
        return known

    def _holds(self, code: Coding) -> bool:
        written = comparable(code.code)
        if (code.system, written) in self._exact:
            return True
        prefixes = self._prefixes.get(code.system)
        return prefixes is not None and written.startswith(prefixes)


TermT = TypeVar("TermT")
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class InForce(Generic[TermT, ValueT]):
    """A term, its value of the day, and matchers for the code sets that it names (None: none)."""

    term: TermT
    value: ValueT
    codes: CodeMatcher | None = None
    diagnoses: CodeMatcher | None = None
    exempt: CodeMatcher | None = None


@dataclass(frozen=True, slots=True)
class ProviderTerms:
    """What the plan says of one provider on the day; `prices` None is no price list."""

    listed: bool
    tier: HospitalTier | None
    network: str | None
    prices: PriceByCode | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a code belongs: a section, an ended one, or nobody knows without the care type."""

    section: Section | None = None
    ended: Section | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class CodeTerms:
    """The limits and exclusions that are about one code; `excluded_for` hang on a diagnosis too."""

    fixed_limits: tuple[InForce[FixedLimit, int], ...]
    unit_limits: tuple[InForce[UnitLimit, int], ...]
    excluded: tuple[InForce[Exclusion, bool], ...]
    excluded_for: tuple[InForce[Exclusion, bool], ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything of a plan that is in force on one day.

    What has ended is not in it, save for the sections whose codes it keeps out of what is left.
    `emergency_hours` None is without end. `needs_list` denies what a provider without a price list
    bills.
    `families` are the family's deductibles by the ids of those embedded in them, `embedding` their
    own ids, and `steps` what the limits that grow with the family are about.
    """

    plan: Plan
    sections: tuple[InForce[Section, bool], ...]
    ended_sections: tuple[InForce[Section, bool], ...]
    eligibility: tuple[InForce[Eligibility, Ages], ...]
    exclusions: tuple[InForce[Exclusion, bool], ...]
    pre_existing: tuple[InForce[PreExistingRule, PreExistingValue], ...]
    pre_existing_otherwise: PreExistingValue | None
    waiting_periods: tuple[InForce[WaitingPeriod, int], ...]
    provider_rules: tuple[InForce[ProviderRule, Qualification], ...]
    emergency_exception: bool
    emergency_hours: int | None
    needs_list: bool
    tier_day: TierDay
    providers: dict[str, ProviderTerms]
    mutual_recognition: tuple[InForce[MutualRecognition, int], ...]
    fixed_limits: tuple[InForce[FixedLimit, int], ...]
    unit_limits: tuple[InForce[UnitLimit, int], ...]
    deductibles: tuple[InForce[Deductible, int], ...]
    copays: tuple[InForce[Copay, int], ...]
    shares: tuple[InForce[Share, Decimal], ...]
    out_of_pocket: tuple[InForce[OutOfPocketMaximum, int], ...]
    ceilings: tuple[InForce[Ceiling, int], ...]
    count_limits: tuple[InForce[CountLimit, int], ...]
    auto_pay_ceiling: int | None
    reads_category: bool
    authorisations: tuple[InForce[AuthorisationTerm, bool], ...]
    payees: tuple[InForce[PayeeTerm, Payee], ...]
    sampling: Decimal | None
    four_eyes: int | None
    undisputed_first: bool
    families: dict[str, InForce[Deductible, int]]
    embedding: frozenset[str]
    steps: tuple[Covers, ...]
    _placed: dict[tuple[str, str, CareType | None], Placed] = field(
        default_factory=dict, compare=False
    )
    _known: dict[tuple[str, str], CodeTerms] = field(default_factory=dict, compare=False)

    def of(self, code: Coding) -> CodeTerms:
        """What limits and excludes the code."""
        asked = (code.system, code.code)
        found = self._known.get(asked)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            about = [one for one in self.exclusions if one.codes is None or one.codes.has(code)]
            found = self._known[asked] = CodeTerms(
                fixed_limits=tuple(
                    one for one in self.fixed_limits if one.codes is None or one.codes.has(code)
                ),
                unit_limits=tuple(
                    one for one in self.unit_limits if one.codes is None or one.codes.has(code)
                ),
                excluded=tuple(one for one in about if one.diagnoses is None),
                excluded_for=tuple(one for one in about if one.diagnoses is not None),
            )
        return found

    def place(self, code: Coding, care_type: CareType | None) -> Placed:
        """The section that takes a code.

        One that names the code goes before one that named it and has ended, and that before one
        that takes all that is left: a benefit that has ended is not paid out of another.
        """
        asked = (code.system, code.code, care_type)
        found = self._placed.get(asked)
        if found is None:
            if len(self._placed) >= _MOST_KNOWN:  # bills bring whatever codes they like
                self._placed.clear()
            found = self._placed[asked] = self._place(code, care_type)
        return found

    def _place(self, code: Coding, care_type: CareType | None) -> Placed:
        named = [one for one in self.sections if one.codes is not None]
        for one in (*named, *self.ended_sections):
            if one.codes is None or not one.codes.has(code):
                continue
            wanted = one.term.care_types
            if wanted and care_type is None:
                return Placed(unknown=True)
            if not wanted or care_type in wanted:
                return Placed(section=one.term) if one.value else Placed(ended=one.term)
        for one in self.sections:
            if one.codes is None and one.term.care_types and care_type is None:
                return Placed(unknown=True)
            if one.codes is None and (not one.term.care_types or care_type in one.term.care_types):
                return Placed(section=one.term)
        return Placed()


def could_take(terms: Terms, code: Coding) -> frozenset[str]:
    """The sections that would take the code for one kind of care or another."""
    return frozenset(
        one.term.id for one in terms.sections if one.codes is None or one.codes.has(code)
    )


def terms_on(plan: Plan, day: date, family_size: int | None = None) -> Terms:
    """The plan's terms on a day, its limits grown for a family of this size.

    Of an unknown size, None, they are as high as they could be: that is for reserving alone.

    Raises: NoTermsInForce when the plan has no terms yet on that day.
    """
    first = stretch(plan, day)
    terms = _terms_from(plan, first)
    return _for_family(plan, first, family_size) if terms.steps else terms


def stretch(plan: Plan, day: date) -> date:
    """The first day of the stretch around `day` in which nothing of the plan changes.

    Raises: NoTermsInForce when the plan has no terms yet on that day.
    """
    if day < plan.first_day:
        raise NoTermsInForce(f"plan {plan.id} has no terms before {plan.first_day.isoformat()}")
    days = _days_of_change(plan)
    return days[bisect_right(days, day) - 1]


def prices_on(prices: Iterable[ContractPrice], day: date) -> PriceByCode:
    """The codes of a price list that have a price on the day, with it."""
    found: PriceByCode = {}
    for one in prices:
        if one.price.values[0][0] <= day and (price := one.price.on(day)) is not None:
            found[code_key(one.code)] = price
    return found


@lru_cache(maxsize=64)
def _days_of_change(plan: Plan) -> tuple[date, ...]:
    days = {day for day in _days(plan) if day > plan.first_day}
    return (plan.first_day, *sorted(days))


def _days(part: object) -> Iterator[date]:
    if isinstance(part, Dated):
        yield from (day for day, _ in part.values)
    elif isinstance(part, msgspec.Struct):
        for name in part.__struct_fields__:
            yield from _days(getattr(part, name))
    elif isinstance(part, tuple):
        for one in part:
            yield from _days(one)


def matchers(plan: Plan, day: date) -> Callable[[tuple[str, ...]], CodeMatcher | None]:
    """From the ids of code sets to what answers for all of them on the day; None for no ids."""
    sets = {one.id: one.codes.on(day) or () for one in plan.code_sets}

    def matcher(ids: tuple[str, ...]) -> CodeMatcher | None:
        if not ids:
            return None
        return CodeMatcher(codes for set_id in ids for codes in sets[set_id])

    return matcher


@lru_cache(maxsize=256)
def _terms_from(plan: Plan, day: date) -> Terms:
    """The terms of the stretch that begins on `day`."""
    matcher = matchers(plan, day)
    emergency, tier_day = plan.providers.emergency_exception, plan.outcome_tier_day
    deductibles = on_day(plan.deductibles, lambda t: t.values, day, matcher)
    families = _families(deductibles)
    return Terms(
        plan=plan,
        sections=on_day(plan.sections, lambda t: t.in_force, day, matcher),
        ended_sections=tuple(
            InForce(one, False, codes=matcher(one.codes))
            for one in plan.sections
            if one.codes and _has_ended(one.in_force, day)
        ),
        eligibility=on_day(plan.eligibility, lambda t: t.values, day, matcher),
        exclusions=on_day(plan.exclusions, lambda t: t.in_force, day, matcher),
        pre_existing=on_day(plan.pre_existing.rules, lambda t: t.values, day, matcher),
        pre_existing_otherwise=plan.pre_existing.otherwise.on(day),
        waiting_periods=on_day(plan.waiting_periods, lambda t: t.values, day, matcher),
        provider_rules=on_day(plan.providers.rules, lambda t: t.values, day, matcher),
        emergency_exception=emergency is not None and bool(emergency.in_force.on(day)),
        emergency_hours=_value_on(emergency.hours if emergency else None, day),
        needs_list=_value_on(plan.prices.without_list, day) is WithoutList.DENIED,
        tier_day=_value_on(tier_day.values if tier_day else None, day) or TierDay.POLICY_YEAR,
        providers={one.id: _provider(one, day) for one in plan.providers.listing},
        mutual_recognition=on_day(plan.mutual_recognition, lambda t: t.values, day, matcher),
        fixed_limits=on_day(plan.fixed_limits, lambda t: t.values, day, matcher),
        unit_limits=on_day(plan.unit_limits, lambda t: t.values, day, matcher),
        deductibles=deductibles,
        copays=on_day(plan.copays, lambda t: t.values, day, matcher),
        shares=on_day(plan.shares, lambda t: t.values, day, matcher),
        out_of_pocket=on_day(plan.out_of_pocket, lambda t: t.values, day, matcher),
        ceilings=on_day(plan.ceilings, lambda t: t.values, day, matcher),
        count_limits=on_day(plan.count_limits, lambda t: t.values, day, matcher),
        auto_pay_ceiling=plan.auto_pay_ceiling.values.on(day) if plan.auto_pay_ceiling else None,
        reads_category=_reads_category(plan),
        authorisations=on_day(plan.authorisations, lambda t: t.in_force, day, matcher),
        payees=on_day(plan.payees, lambda t: t.values, day, matcher),
        sampling=plan.sampling.values.on(day) if plan.sampling else None,
        four_eyes=plan.four_eyes.values.on(day) if plan.four_eyes else None,
        undisputed_first=bool(plan.undisputed_first and plan.undisputed_first.in_force.on(day)),
        families=families,
        embedding=frozenset(one.term.id for one in families.values()),
        steps=tuple(_steps(plan, day)),
    )


def _steps(plan: Plan, day: date) -> Iterator[Covers]:
    kinds: tuple[Iterable[Deductible | OutOfPocketMaximum | Ceiling], ...] = (
        plan.deductibles,
        plan.out_of_pocket,
        plan.ceilings,
    )
    for terms in kinds:
        for one in terms:
            step = one.family_step
            # A step that has ended reads no family's size: nobody waits for it.
            if step is not None and step.add.on(day) is not None and one.values.on(day) is not None:
                yield one.covers


def _families(
    deductibles: tuple[InForce[Deductible, int], ...],
) -> dict[str, InForce[Deductible, int]]:
    by_id = {one.term.id: one for one in deductibles}
    return {
        one.term.id: by_id[one.term.embedded_in]
        for one in deductibles
        if one.term.embedded_in in by_id
    }


@lru_cache(maxsize=1024)
def _for_family(plan: Plan, day: date, size: int | None) -> Terms:
    terms = _terms_from(plan, day)
    deductibles = tuple(_grown(one, one.term.family_step, day, size) for one in terms.deductibles)
    return replace(
        terms,
        deductibles=deductibles,
        families=_families(deductibles),
        out_of_pocket=tuple(
            _grown(one, one.term.family_step, day, size) for one in terms.out_of_pocket
        ),
        ceilings=tuple(_grown(one, one.term.family_step, day, size) for one in terms.ceilings),
    )


_Grown = TypeVar("_Grown", Deductible, OutOfPocketMaximum, Ceiling)


def _grown(
    one: InForce[_Grown, int], step: FamilyStep | None, day: date, size: int | None
) -> InForce[_Grown, int]:
    """The limit for a family of this size; of an unknown one its cap, or one never reached."""
    add = None if step is None else step.add.on(day)
    if step is None or add is None:
        return one
    most = None if step.most is None else step.most.on(day)
    if size is None:
        value = MAX_MINOR_UNITS if most is None else most
    else:
        value = one.value + add * max(0, size - step.members)
        value = value if most is None else min(value, most)
    return replace(one, value=value)


_T = TypeVar("_T", bound=Part)
_V = TypeVar("_V")


def on_day(
    terms: Iterable[_T],
    value_of: Callable[[_T], Dated[_V]],
    day: date,
    matcher: Callable[[tuple[str, ...]], CodeMatcher | None],
) -> tuple[InForce[_T, _V], ...]:
    """The terms that have a value, with it: null is no limit and no term, zero is a value."""
    found = []
    for term in terms:
        value = value_of(term).on(day)
        if value is None or value is False:
            continue
        when = getattr(term, "when", term)
        found.append(
            InForce(
                term,
                value,
                codes=matcher(getattr(term, "codes", ())),
                diagnoses=matcher(getattr(when, "diagnoses", ())),
                exempt=matcher(getattr(term, "exempt_diagnoses", ())),
            )
        )
    return tuple(found)


def _value_on(values: Dated[_V] | None, day: date) -> _V | None:
    return None if values is None else values.on(day)


def _has_ended(in_force: Dated[bool], day: date) -> bool:
    """Whether something held once and holds no more; what has yet to begin has not ended."""
    held = any(value for first, value in in_force.values if first <= day)
    return held and not in_force.on(day)


def _reads_category(plan: Plan) -> bool:
    covers = (
        *(one.covers for one in plan.deductibles),
        *(one.covers for one in plan.out_of_pocket),
        *(one.covers for one in plan.ceilings),
        *(one.covers for one in plan.count_limits),
    )
    whens = (*(one.when for one in plan.shares), *(one.when for one in plan.copays))
    return any(one.categories for one in covers) or any(one.categories for one in whens)


def _provider(provider: PlanProvider, day: date) -> ProviderTerms:
    return ProviderTerms(
        listed=bool(provider.listed.on(day)),
        tier=provider.tier.on(day) if provider.tier else None,
        network=provider.network.on(day) if provider.network else None,
        prices=None if provider.prices is None else prices_on(provider.prices, day),
    )
