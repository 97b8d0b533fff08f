"""Which lines a term is about: conditions, covers, ages, code sets, and the share that follows.

A condition whose fact nobody stated is neither met nor failed: the line waits for the fact.
"""

from __future__ import annotations

from services.claims.core.claim import AppliedShare, Claim, Line, Missing
from services.claims.core.plan import Covers, Exclusion, FixedLimit, UnitLimit, When
from services.claims.core.plan_parts import Ages
from services.claims.core.terms import CodeMatcher, InForce
from services.common.dated import completed_years


def covers(covered: Covers, claim: Claim, line: Line) -> bool:
    """Whether a deductible, ceiling or count is about the line."""
    if covered.sections and not in_sections(covered.sections, line):
        return False
    return not covered.categories or claim.category in covered.categories


def in_sections(sections: tuple[str, ...], line: Line) -> bool:
    """Whether one of the sections took the line."""
    return line.section is not None and line.section.id in sections


def holds(when: When, diagnoses: CodeMatcher | None, claim: Claim, line: Line) -> bool | Missing:
    """Whether all conditions hold for the line; what is missing only if no known one fails."""
    if not _stated_hold(when, claim, line):
        return False
    used, insured = when.social_insurance_used, when.insured_with_social_insurance
    unsure: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("social_insurance.used", claim.social_insurance_used, () if used is None else (used,)),
        (
            "member.social_insurance",
            claim.policy.member.social_insurance,
            () if insured is None else (insured,),
        ),
        ("provider.tier", claim.provider.tier, when.tiers),
        ("bill.care_type", claim.bill.care_type, when.care_types),
    )
    missing: Missing | None = None
    for awaits, fact, wanted in unsure:
        if wanted and fact is None:
            missing = missing or Missing(awaits)
        elif wanted and fact not in wanted:
            return False
    if diagnoses is not None:
        if line.diagnosis is None:
            missing = missing or Missing("line.diagnosis")
        elif not diagnoses.has(line.diagnosis):
            return False
    return missing or True


def _stated_hold(when: When, claim: Claim, line: Line) -> bool:
    """Whether the conditions hold whose facts are always there."""
    if when.sections and not in_sections(when.sections, line):
        return False
    if when.categories and claim.category not in when.categories:
        return False
    if when.networks and claim.provider.network not in when.networks:
        return False
    return not when.outcome_tiers or claim.outcome_tier in when.outcome_tiers


def age_within(ages: Ages, claim: Claim, line: Line) -> bool:
    """Whether the member's completed years on the service date lie in the band."""
    if ages.first is None and ages.last is None:
        return True
    age = completed_years(claim.policy.member.birth_date, line.service_date)
    return (ages.first is None or age >= ages.first) and (ages.last is None or age <= ages.last)


def plan_share(claim: Claim, line: Line) -> AppliedShare | Missing | None:
    """The plan's first share whose conditions hold; None when its benefit has ended."""
    for one in claim.terms.shares:
        applies = holds(one.term.when, one.diagnoses, claim, line)
        if isinstance(applies, Missing):
            return applies
        if applies:
            return AppliedShare(one.value, one.term.clause)
    return None


def best_share(claim: Claim, line: Line) -> AppliedShare | None:
    """The largest share that the line could still get once everything is known."""
    if isinstance(line.share, AppliedShare):
        return line.share
    possible = [
        AppliedShare(one.value, one.term.clause)
        for one in claim.terms.shares
        if holds(one.term.when, one.diagnoses, claim, line) is not False
    ]
    return max(possible, key=lambda share: share.value, default=None)


def limits_line(
    limit: InForce[Exclusion, bool] | InForce[UnitLimit, int] | InForce[FixedLimit, int],
    sections: tuple[str, ...],
    line: Line,
) -> bool:
    """Whether an exclusion or limit is about the line's section and code."""
    if sections and not in_sections(sections, line):
        return False
    return limit.codes is None or limit.codes.has(line.facts.code)
