"""The rules that refuse a line, ranked: the first that holds wins, each under its clause.

A rule whose fact is missing refuses nothing; the line waits for the fact unless another rule
refuses it anyway. Amounts are not decided here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection
from functools import lru_cache

from services.claims.core.authorisations import (
    authorisation_used_up,
    not_authorised,
    wrongly_authorised,
)
from services.claims.core.claim import AppliedShare, Claim, Finding, Line, Missing, Refusal
from services.claims.core.clinical import (
    age_contradicts,
    diagnosis_contradicts,
    dispensed_before_prescribed,
    place_contradicts,
    provider_type_contradicts,
    sex_contradicts,
    unsupported_by_diagnosis,
)
from services.claims.core.coded import coded_together
from services.claims.core.codes import comparable
from services.claims.core.conditions import (
    age_within,
    covers,
    holds,
    in_sections,
    limits,
    plan_share,
)
from services.claims.core.edits import (
    bundled,
    keep_allowed,
    package_differs,
    refilled_too_soon,
    suspected_duplicate,
    too_frequent,
    units_exceeded,
)
from services.claims.core.facts import (
    UNIT_SCALE,
    DisclosedCondition,
    EarlierService,
    Liability,
    PreExistingTerms,
)
from services.claims.core.filing import (
    appealed_late,
    filed_late,
    may_be_liable,
    third_party,
    work_injury,
)
from services.claims.core.flow import unknown_facts
from services.claims.core.plan import (
    PreExistingValue,
    Repeated,
)
from services.claims.core.providers import (
    may_be_unlisted,
    provider_not_listed,
    provider_not_qualified,
)
from services.claims.core.reasons import Reason
from services.claims.core.review import not_necessary, reason_of
from services.claims.core.waiting import still_waiting, waiting_period

Rule = Callable[[Claim, Line], Finding]
Rules = tuple[tuple[Reason, Rule], ...]
_Speaks = Callable[[Claim], bool]


def refuse_lines(claim: Claim) -> None:
    """Set each line's refusal, or the facts that it waits for, and the share that it is paid at.

    Rules that look at several services come after all rules about one: what those refuse stands
    beside nothing, and what is never paid stands beside nothing either.
    """
    silent = _silent(_SPEAKS_ALONE, claim)
    alone: dict[frozenset[Reason], Rules] = {}
    tables = _has_tables(claim)
    shares: dict[tuple[object, ...], AppliedShare | Missing | None] = {}
    for line in claim.lines:
        # All that differs between the lines of a bill; most have the same share.
        asked = (id(line.section), line.section_unknown, id(line.diagnosis), line.service_date)
        if asked not in shares:
            shares[asked] = plan_share(claim, line)
        line.share = shares[asked]
        of_code = line.edits.refuses_for if line.edits is not None else _NO_REASON
        rules = alone.get(of_code)
        if rules is None:
            rules = alone[of_code] = _alone(silent, of_code)
        _ask(rules, claim, line)
        line.facts_missing = len(line.missing)
        line.refused_alone = line.refusal is not None
        if not line.refused_alone:
            line.zero = _zero(claim, line)
        line.stands = not line.refused_alone and not (tables and line.zero)
    beside_others(claim)
    together = rules_together(claim)
    for line in claim.lines:
        if line.refusal is None:
            _ask_together(together, claim, line)
            if line.refusal is None:
                keep_allowed(claim, line)


def beside_others(claim: Claim, mute: Collection[int] = ()) -> None:
    """Begin anew with what is coded beside each other, without the lines of these numbers."""
    if claim.edits is not None:
        claim.coded = coded_together(claim, mute)


def rules_together(claim: Claim) -> Rules:
    """The rules about several services that could say something of some line of the claim.

    They are the same once rules about single lines have been asked.
    """
    return _together(_silent(_SPEAKS_TOGETHER, claim))


def refuse_again(rules: Rules, claim: Claim, line: Line) -> None:
    """Ask the rules about several services again, as the lines before now stand."""
    if not line.refused_alone:
        line.refusal = None
        del line.missing[line.facts_missing :]
        _ask_together(rules, claim, line)


def waits(claim: Claim, line: Line) -> bool:
    """Whether the line waits for a fact or a person, or would if no other line refused it."""
    if line.refused_alone:
        return False
    if line.missing or suspected_duplicate(claim, line) or fact_missing(claim, line):
        return True
    return next(unknown_facts(claim, line), None) is not None


def _ask_together(rules: Rules, claim: Claim, line: Line) -> None:
    _ask(rules, claim, line)
    if line.refusal is None and (claim.terms.steps or claim.terms.payees):
        line.missing += unknown_facts(claim, line)


def _ask(rules: Rules, claim: Claim, line: Line) -> None:
    for reason, rule in rules:
        finding = rule(claim, line)
        if finding is None:
            continue
        if isinstance(finding, str):
            line.refusal = Refusal(reason_of(line, reason), finding)
            return
        line.missing.append(finding)


def impossible_dates(claim: Claim, line: Line) -> Finding:
    """A service before the member's birth, or after the bill was closed."""
    day = line.service_date
    if claim.policy.member.birth_date <= day <= claim.bill.end_date:
        return None
    return claim.plan.general.impossible_dates


def not_covered(claim: Claim, _line: Line) -> Finding:
    """No cover on the day that cover looks at."""
    return None if claim.cover is not None else claim.plan.general.not_covered


def dependant_not_eligible(claim: Claim, line: Line) -> Finding:
    """A relationship that the plan does not insure, or not at this age."""
    rules = claim.cover_terms.eligibility
    if not rules:
        return None
    relationship = claim.policy.member.relationship
    ours = [one for one in rules if one.term.relationship is relationship]
    if any(age_within(one.value, claim, line) for one in ours):
        return None
    return (ours or rules)[0].term.clause


def duplicate(claim: Claim, line: Line) -> Finding:
    """The same service of the same day, quantity and price, allowed under another bill."""
    return claim.plan.general.duplicates if line.repeats else None


def benefit_excluded(claim: Claim, line: Line) -> Finding:
    """No section takes the code, it is excluded, or its section or the share of it has ended."""
    if line.section_unknown:
        return Missing("bill.care_type")
    if line.ended_section is not None:
        return line.ended_section.clause
    if line.section is None:
        return claim.plan.general.outside_sections
    for one in line.about.excluded:
        if not one.term.sections or in_sections(one.term.sections, line):
            return one.term.clause
    return line.section.clause if line.share is None else None


def diagnosis_excluded(_claim: Claim, line: Line) -> Finding:
    """The plan excludes the line's diagnosis, or the code for this diagnosis."""
    for one in line.about.excluded_for:
        if one.term.sections and not in_sections(one.term.sections, line):
            continue
        if line.diagnosis is None:
            return Missing("line.diagnosis")
        if one.diagnoses is not None and one.diagnoses.has(line.diagnosis):
            return one.term.clause
    return None


def pre_existing(claim: Claim, line: Line) -> Finding:
    """A disclosed condition that is excluded; one at a share of its own sets the line's share.

    What was agreed with the member goes before the plan's rule, the longest prefix before others.
    """
    conditions = claim.policy.member.disclosed_conditions
    if not conditions:
        return None
    if line.diagnosis is None:
        return Missing("line.diagnosis")
    code = comparable(line.diagnosis.code)
    ours = [one for one in conditions if code.startswith(comparable(one.code_prefix))]
    if not ours:
        return None
    condition = max(ours, key=lambda one: len(comparable(one.code_prefix)))
    value, clause = _pre_existing_value(claim, line, condition)
    if value is None or value.terms is PreExistingTerms.COVERED:
        return None
    if value.terms is PreExistingTerms.EXCLUDED or value.share is None:
        return clause
    never_paid = isinstance(line.share, AppliedShare) and line.share.value == 0
    if not never_paid:  # a share of its own makes no benefit of what the plan never pays
        line.share = AppliedShare(value.share, clause)
    return None


def not_in_price_list(claim: Claim, line: Line) -> Finding:
    """The provider has a price list, and the code has no price in it that day.

    Or it has none, where the plan pays by lists alone; of other plans it is not asked then.
    """
    prices = claim.provider.prices
    listed = prices is not None and line.key in prices
    return None if listed else claim.plan.prices.clause


def duplicate_examination(claim: Claim, line: Line) -> Finding:
    """The same examination at another provider, allowed before and still to be recognised.

    One that was done after the line is not its repeat, whichever was decided first, unless the
    term denies the later claim. A reason that the term accepts lets it be done again.
    """
    given = claim.elsewhere.get(line.key, ())
    if not given:
        return None
    until = bisect_right(given, line.service_date, key=lambda one: one.service_date)
    for one in claim.terms.mutual_recognition:
        if one.codes is None or not one.codes.has(line.facts.code):
            continue
        denies = one.term.denies.on(claim.terms_day) if one.term.denies else None
        earlier = given[until - 1] if until else None
        if denies is Repeated.LATER_CLAIM:
            earlier = min(given, key=lambda other: _days_apart(line, other))
        if earlier is None or _days_apart(line, earlier) > one.value:
            continue
        overrides = one.term.overrides.on(claim.terms_day) if one.term.overrides else None
        if line.facts.repeat_reason not in (overrides or ()):
            line.earlier_claim = earlier.claim
            return one.term.clause
    return None


def _days_apart(line: Line, other: EarlierService) -> int:
    return abs((line.service_date - other.service_date).days)


def frequency_used_up(claim: Claim, line: Line) -> Finding:
    """A count, units, "once every N days" or an earlier supply leave nothing for the line."""
    found = count_used_up(claim, line)
    if found is not None or line.edits is None:
        return found
    return too_frequent(claim, line) or refilled_too_soon(claim, line)


def count_used_up(claim: Claim, line: Line) -> Finding:
    """The count, or the units, that the plan pays for were used up before the claim."""
    for one in claim.nothing_left.counts:
        if covers(one.covers, claim, line):
            return one.clause
    for limit in line.about.unit_limits:
        units = limit.term
        if not limit.value or not limits(units, claim, line):
            continue
        most = limit.value * UNIT_SCALE
        if not claim.before.left(units.id, units.scope, units.period, most):
            return units.clause
    return None


def section_ceiling_used_up(claim: Claim, line: Line) -> Finding:
    """A ceiling of the line's section or category had nothing left before the claim."""
    return _used_up(claim, line, of_section=True)


def ceiling_used_up(claim: Claim, line: Line) -> Finding:
    """A ceiling of member, family or policy had nothing left before the claim."""
    return _used_up(claim, line, of_section=False)


def zero_benefit(_claim: Claim, line: Line) -> Finding:
    """A share, ceiling, count or limit of zero: zero is a value."""
    return line.zero


def _zero(claim: Claim, line: Line) -> str | None:
    if isinstance(line.share, AppliedShare) and line.share.value == 0:
        return line.share.clause
    for term in claim.nothing_left.zero:
        if covers(term.covers, claim, line):
            return term.clause
    for units in line.about.unit_limits:
        if units.value == 0 and limits(units.term, claim, line):
            return units.term.clause
    for price in line.about.fixed_limits:
        if price.value == 0 and limits(price.term, claim, line):
            return price.term.clause
    return None


def fact_missing(claim: Claim, line: Line) -> Finding:
    """What shares, copays and categories read and nobody stated. It refuses nothing."""
    if isinstance(line.share, Missing):
        return line.share
    if claim.category is None and claim.terms.reads_category:
        return Missing("bill.care_type")
    for one in claim.terms.copays:
        applies = holds(one.term.when, one.diagnoses, claim, line)
        if applies is not False:
            return applies if isinstance(applies, Missing) else None
    return None


_ALONE: tuple[tuple[Reason, Rule], ...] = (
    (Reason.IMPOSSIBLE_DATES, impossible_dates),
    (Reason.NOT_COVERED_ON_DATE, not_covered),
    (Reason.DEPENDANT_NOT_ELIGIBLE, dependant_not_eligible),
    (Reason.DUPLICATE, duplicate),
    (Reason.LATE_FILING, filed_late),
    (Reason.APPEAL_LATE, appealed_late),
    (Reason.WORK_INJURY, work_injury),
    (Reason.OTHER_LIABILITY, third_party),
    (Reason.BENEFIT_EXCLUDED, benefit_excluded),
    (Reason.DIAGNOSIS_EXCLUDED, diagnosis_excluded),
    (Reason.PRE_EXISTING, pre_existing),
    (Reason.WAITING_PERIOD, waiting_period),
    (Reason.AUTHORISATION, not_authorised),
    (Reason.AUTHORISATION_INVALID, wrongly_authorised),
    (Reason.AUTHORISATION_EXCEEDED, authorisation_used_up),
    (Reason.PROVIDER_NOT_LISTED, provider_not_listed),
    (Reason.PROVIDER_NOT_QUALIFIED, provider_not_qualified),
    (Reason.NOT_IN_PRICE_LIST, not_in_price_list),
    (Reason.AGE_MISMATCH, age_contradicts),
    (Reason.SEX_MISMATCH, sex_contradicts),
    (Reason.CLINICAL_MISMATCH, diagnosis_contradicts),
    (Reason.PLACE_MISMATCH, place_contradicts),
    (Reason.PROVIDER_TYPE_MISMATCH, provider_type_contradicts),
    (Reason.UNSUPPORTED_BY_DIAGNOSIS, unsupported_by_diagnosis),
    (Reason.DISPENSED_BEFORE_PRESCRIBED, dispensed_before_prescribed),
    (Reason.DUPLICATE_EXAMINATION, duplicate_examination),
    (Reason.MEDICAL_NECESSITY, not_necessary),
)
_TOGETHER: tuple[tuple[Reason, Rule], ...] = (
    (Reason.PACKAGE_MISMATCH, package_differs),
    (Reason.BUNDLED, bundled),
    (Reason.UNITS_EXCEEDED, units_exceeded),
    (Reason.FREQUENCY, frequency_used_up),
    (Reason.SECTION_CEILING, section_ceiling_used_up),
    (Reason.CEILING, ceiling_used_up),
    (Reason.ZERO_BENEFIT, zero_benefit),
    (Reason.SUSPECTED_DUPLICATE, suspected_duplicate),
    (Reason.FACT_MISSING, fact_missing),
)
RULES = (*_ALONE, *_TOGETHER)


def _has_tables(claim: Claim) -> bool:
    return claim.edits is not None and claim.edits.has_tables


def _may_need_authorisation(claim: Claim) -> bool:
    return bool(claim.terms.authorisations)


def _on_some_day(rule: Rule, claim: Claim) -> bool:
    """Whether a rule that looks at nothing else of a line than its day finds something."""
    return any(rule(claim, line) is not None for line in claim.days.values())


def _limits_often(claim: Claim) -> bool:
    edits = claim.edits
    counted = claim.nothing_left.counts or claim.terms.unit_limits
    return bool(counted or (edits is not None and (edits.frequency or edits.refills)))


def _misses_facts(claim: Claim) -> bool:
    unknown = claim.category is None and claim.terms.reads_category
    if unknown or claim.terms.copays:
        return True
    return any(isinstance(line.share, Missing) for line in claim.lines)


# Most claims are beyond most rules: these are asked only where they could say something.
_SPEAKS_ALONE: dict[Reason, _Speaks] = {
    Reason.IMPOSSIBLE_DATES: lambda claim: _on_some_day(impossible_dates, claim),
    Reason.NOT_COVERED_ON_DATE: lambda claim: claim.cover is None,
    Reason.DEPENDANT_NOT_ELIGIBLE: lambda claim: _on_some_day(dependant_not_eligible, claim),
    Reason.DUPLICATE: lambda claim: bool(claim.usage.services),
    Reason.LATE_FILING: lambda claim: _on_some_day(filed_late, claim),
    Reason.APPEAL_LATE: lambda claim: claim.bill.appeal is not None,
    Reason.WORK_INJURY: lambda claim: may_be_liable(claim, Liability.WORK_INJURY),
    Reason.OTHER_LIABILITY: lambda claim: may_be_liable(claim, Liability.THIRD_PARTY),
    Reason.DIAGNOSIS_EXCLUDED: lambda claim: bool(claim.terms.exclusions),
    Reason.PRE_EXISTING: lambda claim: bool(claim.policy.member.disclosed_conditions),
    Reason.WAITING_PERIOD: still_waiting,
    Reason.AUTHORISATION: _may_need_authorisation,
    Reason.AUTHORISATION_INVALID: _may_need_authorisation,
    Reason.AUTHORISATION_EXCEEDED: _may_need_authorisation,
    Reason.PROVIDER_NOT_LISTED: may_be_unlisted,
    Reason.NOT_IN_PRICE_LIST: lambda claim: (
        claim.provider.prices is not None or claim.terms.needs_list
    ),
    Reason.DUPLICATE_EXAMINATION: lambda claim: bool(claim.elsewhere),
    Reason.MEDICAL_NECESSITY: lambda claim: claim.review is not None,
}
_SPEAKS_TOGETHER: dict[Reason, _Speaks] = {
    Reason.PACKAGE_MISMATCH: lambda claim: claim.coded is not None and bool(claim.coded.packages),
    Reason.BUNDLED: _has_tables,
    Reason.UNITS_EXCEEDED: _has_tables,
    Reason.FREQUENCY: _limits_often,
    Reason.SECTION_CEILING: lambda claim: bool(claim.nothing_left.ceilings),
    Reason.CEILING: lambda claim: bool(claim.nothing_left.ceilings),
    Reason.SUSPECTED_DUPLICATE: lambda claim: bool(
        claim.edits is not None and claim.edits.suspected_duplicates and claim.usage.services
    ),
    Reason.FACT_MISSING: _misses_facts,
}
_NO_REASON: frozenset[Reason] = frozenset()
# What a code's own edits say; the plan's edits may know nothing of a code.
_OF_CODE = frozenset(
    (
        Reason.PROVIDER_NOT_QUALIFIED,
        Reason.AGE_MISMATCH,
        Reason.SEX_MISMATCH,
        Reason.CLINICAL_MISMATCH,
        Reason.PLACE_MISMATCH,
        Reason.PROVIDER_TYPE_MISMATCH,
        Reason.UNSUPPORTED_BY_DIAGNOSIS,
        Reason.DISPENSED_BEFORE_PRESCRIBED,
    )
)


@lru_cache(maxsize=4096)
def _alone(silent: frozenset[Reason], refuses_for: frozenset[Reason]) -> Rules:
    """The rules about single lines that could say something of a code with such edits."""
    return tuple(one for one in _ALONE if one[0] not in silent | (_OF_CODE - refuses_for))


@lru_cache(maxsize=1024)
def _together(silent: frozenset[Reason]) -> Rules:
    return tuple(one for one in _TOGETHER if one[0] not in silent)


def _silent(speaking: dict[Reason, _Speaks], claim: Claim) -> frozenset[Reason]:
    return frozenset([reason for reason, speaks in speaking.items() if not speaks(claim)])


def _used_up(claim: Claim, line: Line, *, of_section: bool) -> Finding:
    for one in claim.nothing_left.ceilings:
        if one.of_section is of_section and covers(one.covers, claim, line):
            return one.clause
    return None


def _pre_existing_value(
    claim: Claim, line: Line, condition: DisclosedCondition
) -> tuple[PreExistingValue | None, str]:
    """What holds for the condition, and the clause; None is no rule and so covered."""
    rules = claim.plan.pre_existing
    value, clause = claim.cover_terms.pre_existing_otherwise, rules.clause
    for one in claim.cover_terms.pre_existing:
        if one.term.sections and not in_sections(one.term.sections, line):
            continue
        if one.diagnoses is None or (line.diagnosis and one.diagnoses.has(line.diagnosis)):
            value, clause = one.value, one.term.clause
            break
    if condition.terms is not None:
        value = PreExistingValue(terms=condition.terms, share=condition.share)
    return value, clause
