"""The rule about waiting periods: when one is over, and whom and what it spares."""

from __future__ import annotations

from datetime import date, timedelta

from services.claims.core.claim import Claim, Finding, Line, Missing
from services.claims.core.conditions import age_within, in_sections
from services.claims.core.plan import WaitingPeriod, WaitingUnit
from services.claims.core.terms import InForce
from services.common.dated import add_months


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


def still_waiting(claim: Claim) -> bool:
    """Whether any waiting period, whatever it is about, was not over when the stay began."""
    cover = claim.cover
    return cover is not None and any(
        claim.cover_day < waiting_until(one.term, one.value, cover.continuous_since)
        for one in claim.cover_terms.waiting_periods
    )


def waiting_until(term: WaitingPeriod, value: int, since: date) -> date:
    """First day on which the waiting period is over; that day is covered.

    N months from a day end on the same day N months later, clamped to the end of the month.
    """
    if term.unit is WaitingUnit.MONTHS:
        return add_months(since, value)
    return since + timedelta(days=value)


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
