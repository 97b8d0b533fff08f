"""The rules that refuse a line, ranked: the first that holds wins, each under its clause.

A rule whose fact is missing refuses nothing; the line waits for the fact unless another rule
refuses it anyway. Amounts are not decided here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import date, timedelta

from services.claims.core.claim import AppliedShare, Claim, Line, Missing, Refusal
from services.claims.core.codes import code_key, comparable
from services.claims.core.conditions import (
    age_within,
    covers,
    holds,
    in_sections,
    limits_line,
    plan_share,
)
from services.claims.core.facts import (
    UNIT_SCALE,
    CareType,
    DisclosedCondition,
    PreExistingTerms,
)
from services.claims.core.plan import (
    Ceiling,
    CountLimit,
    PreExistingValue,
    ProviderRule,
    Qualification,
    WaitingPeriod,
    WaitingUnit,
)
from services.claims.core.reasons import Reason
from services.claims.core.review import not_necessary, reason_of
from services.claims.core.terms import InForce, price_of
from services.common.dated import add_months

# A clause refuses, a fact may be missing, None lets the line pass.
Finding = str | Missing | None
Rule = Callable[[Claim, Line], Finding]


def refuse(claim: Claim, line: Line) -> None:
    """Set the line's refusal, or the facts that it waits for, and the share that it is paid at."""
    line.share = plan_share(claim, line)
    for reason, rule in RULES:
        finding = rule(claim, line)
        if isinstance(finding, str):
            line.refusal = Refusal(reason_of(line, reason), finding)
            return
        if finding is not None:
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
    for one in claim.terms.exclusions:
        if one.diagnoses is None and limits_line(one, one.term.sections, line):
            return one.term.clause
    return line.section.clause if line.share is None else None


def diagnosis_excluded(claim: Claim, line: Line) -> Finding:
    """The plan excludes the line's diagnosis, or the code for this diagnosis."""
    for one in claim.terms.exclusions:
        if one.diagnoses is None or not limits_line(one, one.term.sections, line):
            continue
        if line.diagnosis is None:
            return Missing("line.diagnosis")
        if one.diagnoses.has(line.diagnosis):
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
    line.share = AppliedShare(value.share, clause)
    return None


def waiting_period(claim: Claim, line: Line) -> Finding:
    """The stay began before a waiting period was over; renewals without a gap served theirs."""
    if claim.cover is None:
        return None
    missing: Missing | None = None
    for one in claim.cover_terms.waiting_periods:
        if claim.cover_day >= waiting_until(one.term, one.value, claim.cover.continuous_since):
            continue
        waits = _waits(one, claim, line)
        if isinstance(waits, Missing):
            missing = waits
        elif waits:
            return one.term.clause
    return missing


def waiting_until(term: WaitingPeriod, value: int, since: date) -> date:
    """First day on which the waiting period is over; that day is covered.

    N months from a day end on the same day N months later, clamped to the end of the month.
    """
    if term.unit is WaitingUnit.MONTHS:
        return add_months(since, value)
    return since + timedelta(days=value)


def provider_not_listed(claim: Claim, line: Line) -> Finding:
    """The provider is not what the plan asks for; an emergency may be an exception."""
    terms, care_type = claim.terms, claim.bill.care_type
    if terms.emergency_exception and care_type is CareType.EMERGENCY:
        return None
    missing: Missing | None = None
    for one in terms.provider_rules:
        applies = _provider_rule_applies(one.term, claim, line)
        if applies is False:
            continue
        qualified = _qualified(one.value, claim)
        if isinstance(applies, Missing) and qualified is not True:
            missing = applies
        elif isinstance(qualified, Missing):
            missing = qualified
        elif not qualified:
            return one.term.clause
    return missing


def not_in_price_list(claim: Claim, line: Line) -> Finding:
    """The provider has a price list, and the code has no price in it that day."""
    prices = claim.provider.prices
    if prices is None or price_of(prices, line.facts.code) is not None:
        return None
    return claim.plan.prices.clause


def duplicate_examination(claim: Claim, line: Line) -> Finding:
    """The same examination at another provider, allowed before and still to be recognised.

    One that was done after the line is not its repeat, whichever was decided first.
    """
    if not claim.elsewhere:
        return None
    days = claim.elsewhere.get(code_key(line.facts.code), ())
    until = bisect_right(days, line.service_date)
    if not until:
        return None
    apart = (line.service_date - days[until - 1]).days
    for one in claim.terms.mutual_recognition:
        if apart <= one.value and one.codes is not None and one.codes.has(line.facts.code):
            return one.term.clause
    return None


def count_used_up(claim: Claim, line: Line) -> Finding:
    """The count, or the units, that the plan pays for were used up before the claim."""
    for one in claim.terms.count_limits:
        term = one.term
        if not one.value or not covers(term.covers, claim, line):
            continue
        if not claim.before.count_left(term.id, term.scope, term.period, one.value):
            return term.clause
    for limit in claim.terms.unit_limits:
        units = limit.term
        if not limit.value or not limits_line(limit, units.sections, line):
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


def zero_benefit(claim: Claim, line: Line) -> Finding:
    """A share, ceiling, count or limit of zero: zero is a value."""
    if isinstance(line.share, AppliedShare) and line.share.value == 0:
        return line.share.clause
    terms = claim.terms
    zero: list[Ceiling | CountLimit] = [
        *(c.term for c in terms.ceilings if c.value == 0),
        *(c.term for c in terms.count_limits if c.value == 0),
    ]
    clauses = [term.clause for term in zero if covers(term.covers, claim, line)]
    clauses += [
        limit.term.clause
        for limit in terms.unit_limits
        if limit.value == 0 and limits_line(limit, limit.term.sections, line)
    ]
    clauses += [
        limit.term.clause
        for limit in terms.fixed_limits
        if limit.value == 0 and limits_line(limit, limit.term.sections, line)
    ]
    return clauses[0] if clauses else None


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


RULES: tuple[tuple[Reason, Rule], ...] = (
    (Reason.IMPOSSIBLE_DATES, impossible_dates),
    (Reason.NOT_COVERED_ON_DATE, not_covered),
    (Reason.DEPENDANT_NOT_ELIGIBLE, dependant_not_eligible),
    (Reason.DUPLICATE, duplicate),
    (Reason.BENEFIT_EXCLUDED, benefit_excluded),
    (Reason.DIAGNOSIS_EXCLUDED, diagnosis_excluded),
    (Reason.PRE_EXISTING, pre_existing),
    (Reason.WAITING_PERIOD, waiting_period),
    (Reason.PROVIDER_NOT_LISTED, provider_not_listed),
    (Reason.NOT_IN_PRICE_LIST, not_in_price_list),
    (Reason.DUPLICATE_EXAMINATION, duplicate_examination),
    (Reason.FREQUENCY, count_used_up),
    (Reason.SECTION_CEILING, section_ceiling_used_up),
    (Reason.CEILING, ceiling_used_up),
    (Reason.ZERO_BENEFIT, zero_benefit),
    (Reason.FACT_MISSING, fact_missing),
    (Reason.MEDICAL_NECESSITY, not_necessary),
)


def _used_up(claim: Claim, line: Line, *, of_section: bool) -> Finding:
    for one in claim.terms.ceilings:
        term = one.term
        if term.of_section is not of_section or not one.value:
            continue
        if not covers(term.covers, claim, line):
            continue
        if not claim.before.left(term.id, term.scope, term.period, one.value):
            return term.clause
    return None


def _pre_existing_value(
    claim: Claim, line: Line, condition: DisclosedCondition
) -> tuple[PreExistingValue | None, str]:
    """What holds for the condition, and the clause; None is no rule and so covered."""
    rules = claim.plan.pre_existing
    value, clause = claim.cover_terms.pre_existing_otherwise, rules.clause
    for one in claim.cover_terms.pre_existing:
        if line.diagnosis and one.diagnoses and one.diagnoses.has(line.diagnosis):
            value, clause = one.value, one.term.clause
            break
    if condition.terms is not None:
        value = PreExistingValue(terms=condition.terms, share=condition.share)
    return value, clause


def _waits(one: InForce[WaitingPeriod, int], claim: Claim, line: Line) -> bool | Missing:
    """Whether the waiting period is about the line and nothing exempts it."""
    term = one.term
    if term.sections and not in_sections(term.sections, line):
        return False
    if not age_within(term.ages, claim, line):
        return False
    care_type = claim.bill.care_type
    if care_type is not None and care_type in term.exempt_care_types:
        return False
    if line.diagnosis is None:
        if one.diagnoses is not None or one.exempt is not None:
            return Missing("line.diagnosis")
    else:
        if one.diagnoses is not None and not one.diagnoses.has(line.diagnosis):
            return False
        if one.exempt is not None and one.exempt.has(line.diagnosis):
            return False
    if care_type is None and term.exempt_care_types:
        return Missing("bill.care_type")
    return True


def _provider_rule_applies(rule: ProviderRule, claim: Claim, line: Line) -> bool | Missing:
    if rule.sections and not in_sections(rule.sections, line):
        return False
    if rule.care_types:
        if claim.bill.care_type is None:
            return Missing("bill.care_type")
        return claim.bill.care_type in rule.care_types
    return True


def _qualified(wanted: Qualification, claim: Claim) -> bool | Missing:
    provider = claim.provider
    if wanted.listed and not provider.listed:
        return False
    if wanted.networks and provider.network not in wanted.networks:
        return False
    if wanted.tiers:
        if provider.tier is None:
            return Missing("provider.tier")
        return provider.tier in wanted.tiers
    return True
