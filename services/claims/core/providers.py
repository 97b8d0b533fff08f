"""Rules about who gave the care: the plan's list, tiers and networks, and licences."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from services.claims.core.claim import Claim, Finding, Line, Missing
from services.claims.core.conditions import in_sections
from services.claims.core.facts import CareType, Licence
from services.claims.core.plan import ProviderRule, Qualification


def provider_not_listed(claim: Claim, line: Line) -> Finding:
    """The provider is not what the plan asks for; an emergency may be an exception."""
    excepted = in_emergency(claim, line)
    if excepted is True:
        return None
    missing: Missing | None = None
    for one in claim.terms.provider_rules:
        applies = _provider_rule_applies(one.term, claim, line)
        if applies is False:
            continue
        qualified = _qualified(one.value, claim)
        if isinstance(applies, Missing) and qualified is not True:
            missing = applies
        elif isinstance(qualified, Missing):
            missing = qualified
        elif not qualified:
            return excepted or one.term.clause
    return missing


def may_be_unlisted(claim: Claim) -> bool:
    """Whether the provider is not known to be what every term asks for."""
    return any(_qualified(one.value, claim) is not True for one in claim.terms.provider_rules)


def provider_not_qualified(claim: Claim, line: Line) -> Finding:
    """The care is for providers with a licence that this one lacks; an emergency is an exception.

    What has no codes and no sections is about all care of its types.
    """
    if line.edits is None or not line.edits.qualified:
        return None
    care_type, excepted = claim.bill.care_type, in_emergency(claim, line)
    if excepted is True:
        return None
    missing: Missing | None = None
    for one in line.edits.qualified:
        term = one.term
        if term.sections and not in_sections(term.sections, line):
            continue
        if term.care_types and care_type is not None and care_type not in term.care_types:
            continue
        found = licensed(claim, one.value)
        if found is True:
            continue
        if term.care_types and care_type is None:
            missing = missing or Missing("bill.care_type")
        elif isinstance(found, Missing):
            missing = missing or found
        else:
            return excepted or term.clause
    return missing


def in_emergency(claim: Claim, line: Line) -> bool | Missing:
    """Whether the line is emergency care, or of a stay that began so, which any provider may give.

    The plan's hours run from admission on the hospital's clock; their last moment is within. Where
    only a day is known the line waits for the time, unless no time of the day would matter.
    """
    terms, bill = claim.terms, claim.bill
    emergency = bill.emergency or bill.care_type is CareType.EMERGENCY
    if not terms.emergency_exception or not emergency:
        return False
    if terms.emergency_hours is None:
        return True
    earliest, latest = _span(bill.admitted, bill.start_date)
    first, last = _span(line.facts.service_time, line.service_date)
    hours = timedelta(hours=terms.emergency_hours)
    if last - earliest <= hours:
        return True
    if first - latest > hours:
        return False
    return Missing("bill.admission_time" if bill.admitted is None else "line.service_time")


def _span(moment: datetime | None, day: date) -> tuple[datetime, datetime]:
    """The moment itself; where nobody stated it the first and the last of its day."""
    if moment is not None:
        return moment, moment
    return datetime.combine(day, time.min), datetime.combine(day, time.max)


def licensed(claim: Claim, wanted: tuple[Licence, ...]) -> bool | Missing:
    """Whether the provider has one of the licences; no licence wanted is none needed."""
    if not wanted:
        return True
    if not claim.bill.licences:
        return Missing("provider.licences")
    return any(licence in wanted for licence in claim.bill.licences)


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
