"""Which lines a term is about: conditions, covers, ages, code sets, and the share that follows.

A condition whose fact nobody stated is neither met nor failed: the line waits for the fact.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.claims.core.claim import AppliedShare, Claim, Limits, Line, Missing
from services.claims.core.plan import Covers, FixedLimit, UnitLimit, When
from services.claims.core.plan_parts import Ages
from services.claims.core.terms import CodeMatcher, could_take


def covers(covered: Covers, claim: Claim, line: Line) -> bool:
    """Whether a deductible, ceiling or count is about the line."""
    if covered.sections and not in_sections(covered.sections, line):
        return False
    if covered.ages is not None and not age_within(covered.ages, claim, line):
        return False
    return not covered.categories or claim.category in covered.categories


def may_cover(covered: Covers, claim: Claim, line: Line) -> bool:
    """Whether it could be about the line once its section and category are known."""
    if covered.sections and not may_be_in(covered.sections, claim, line):
        return False
    if covered.ages is not None and not age_within(covered.ages, claim, line):
        return False
    return not covered.categories or claim.category in (None, *covered.categories)


def limits_about(claim: Claim, line: Line) -> Limits:
    """The deductibles, out-of-pocket maxima and ceilings about the line.

    They look at its section and day alone, and are looked up once for all lines that share both.
    """
    asked = (id(line.section), line.service_date)
    found = claim.limits.get(asked)
    if found is None:
        terms = claim.terms
        found = claim.limits[asked] = Limits(
            deductibles=tuple(
                one
                for one in terms.deductibles
                if one.term.id not in terms.embedding and covers(one.term.covers, claim, line)
            ),
            out_of_pocket=tuple(
                one for one in terms.out_of_pocket if covers(one.term.covers, claim, line)
            ),
            ceilings=tuple(one for one in terms.ceilings if covers(one.term.covers, claim, line)),
        )
    return found


def in_sections(sections: tuple[str, ...], line: Line) -> bool:
    """Whether one of the sections took the line."""
    return line.section is not None and line.section.id in sections


def may_be_in(sections: tuple[str, ...], claim: Claim, line: Line) -> bool:
    """Whether one of the sections took the line, or could once the kind of care is known."""
    if line.section_unknown:
        return not could_take(claim.terms, line.facts.code).isdisjoint(sections)
    return in_sections(sections, line)


def holds(
    when: When, diagnoses: CodeMatcher | None, claim: Claim, line: Line, *, reserve: bool = False
) -> bool | Missing:
    """Whether all conditions hold for the line; what is missing only if no known one fails.

    To `reserve`, a section or category that is not known yet could be any that is still possible.
    """
    if not _stated_hold(when, claim, line, reserve=reserve):
        return False
    of_bill = _bill_holds(when, claim)
    if of_bill is False:
        return False
    missing = of_bill if isinstance(of_bill, Missing) else None
    if diagnoses is not None:
        if line.diagnosis is None:
            missing = missing or Missing("line.diagnosis")
        elif not diagnoses.has(line.diagnosis):
            return False
    if (
        when.ages is not None
        or when.sexes
        or when.referral is not None
        or when.family_doctor_contract is not None
        or when.contracted_provider is not None
    ):
        person = _person_holds(when, claim, line)
        if person is not True:
            return person and (missing or person)
    return missing or True


def _bill_holds(when: When, claim: Claim) -> bool | Missing:
    """Whether the conditions hold that are the same for all lines; looked at once a claim."""
    known = claim.held.get(id(when))
    if known is not None:
        return known
    used, insured = when.social_insurance_used, when.insured_with_social_insurance
    if used is None and insured is None and not (when.tiers or when.care_types):
        claim.held[id(when)] = True
        return True
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
    failed = False
    for awaits, fact, wanted in unsure:
        if wanted and fact is None:
            missing = missing or Missing(awaits)
        elif wanted and fact not in wanted:
            failed = True
    answer = claim.held[id(when)] = False if failed else missing or True
    return answer


def _person_holds(when: When, claim: Claim, line: Line) -> bool | Missing:
    """Whether age, sex, referral and family doctor are as asked for, on the service date."""
    if when.ages is not None and not age_within(when.ages, claim, line):
        return False
    member, day, contracted = claim.policy.member, line.service_date, None
    if member.family_doctor is not None:
        contracted = [
            one.provider_id for one in member.family_doctor.contracts if one.start <= day < one.end
        ]
    here = None if contracted is None else claim.bill.provider_id in contracted
    missing: Missing | None = None
    for awaits, fact, wanted in (
        ("bill.referral", claim.bill.referral, when.referral),
        (
            "member.family_doctor",
            None if contracted is None else bool(contracted),
            when.family_doctor_contract,
        ),
        ("member.family_doctor", here, when.contracted_provider),
    ):
        if wanted is not None and fact is None:
            missing = missing or Missing(awaits)
        elif wanted is not None and fact is not wanted:
            return False
    if when.sexes and member.sex is None:
        missing = missing or Missing("member.sex")
    elif when.sexes and member.sex not in when.sexes:
        return False
    return missing or True


def _stated_hold(when: When, claim: Claim, line: Line, *, reserve: bool) -> bool:
    """Whether the conditions hold whose facts are always there."""
    placed = may_be_in(when.sections, claim, line) if reserve else in_sections(when.sections, line)
    if when.sections and not placed:
        return False
    unsure = reserve and claim.category is None
    if when.categories and claim.category not in when.categories and not unsure:
        return False
    if when.networks and claim.provider.network not in when.networks:
        return False
    return not when.outcome_tiers or claim.outcome_tier in when.outcome_tiers


def age_within(ages: Ages, claim: Claim, line: Line) -> bool:
    """Whether the member's completed years on the service date lie in the band."""
    if ages.first is None and ages.last is None:
        return True
    age = claim.age_on(line.service_date)
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
    conditions = claim.policy.member.disclosed_conditions if line.diagnosis is None else ()
    unsure = line.section_unknown or claim.category is None or bool(conditions)
    if isinstance(line.share, AppliedShare) and not (line.missing and unsure):
        return line.share
    possible = list(_possible_shares(claim, line))
    if isinstance(line.share, AppliedShare):
        possible.append(line.share)
    if conditions:
        possible += _pre_existing_shares(claim)
    return max(possible, key=lambda share: share.value, default=None)


def _possible_shares(claim: Claim, line: Line) -> Iterator[AppliedShare]:
    """The plan's shares that could hold; none after the first that holds whatever is found out."""
    for one in claim.terms.shares:
        if holds(one.term.when, one.diagnoses, claim, line, reserve=True) is not False:
            yield AppliedShare(one.value, one.term.clause)
            if holds(one.term.when, one.diagnoses, claim, line) is True:
                return


def _pre_existing_shares(claim: Claim) -> Iterator[AppliedShare]:
    """The shares of their own that the member's conditions could have, whatever the diagnosis."""
    rules, clause = claim.cover_terms, claim.plan.pre_existing.clause
    for condition in claim.policy.member.disclosed_conditions:
        if condition.share is not None:
            yield AppliedShare(condition.share, clause)
    for one in rules.pre_existing:
        if one.value.share is not None:
            yield AppliedShare(one.value.share, one.term.clause)
    if rules.pre_existing_otherwise is not None and rules.pre_existing_otherwise.share is not None:
        yield AppliedShare(rules.pre_existing_otherwise.share, clause)


def limits(
    term: UnitLimit | FixedLimit, claim: Claim, line: Line, *, reserve: bool = False
) -> bool:
    """Whether a limit of the line's code is about its section and the member's age.

    To `reserve`, whether it could be.
    """
    if term.sections:
        inside = (
            may_be_in(term.sections, claim, line) if reserve else in_sections(term.sections, line)
        )
        if not inside:
            return False
    return term.ages is None or age_within(term.ages, claim, line)
