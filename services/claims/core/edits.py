"""Rules about what was coded together, how much of it and how often. Amounts are not decided here.

A rule answers with the clause that refuses the line, with the fact that it misses, or with None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from services.claims.core.claim import Claim, Finding, Line, Missing
from services.claims.core.coded import (
    Modifiers,
    days_allowed,
    modifiers_of,
    scaled,
    supplies_of,
    units_of,
)
from services.claims.core.codes import CodeKey
from services.claims.core.facts import MAX_DAYS_SUPPLY
from services.claims.core.plan_edits import PairRow, Per, UnitRow
from services.claims.core.reasons import Reason

_WITH_MODIFIER = 1
_NOTHING: Mapping[CodeKey, set[Modifiers]] = {}


def package_differs(claim: Claim, line: Line) -> Finding:
    """The line is, or is part of, a package whose parts are not those of its definition."""
    return claim.coded.packages.get(line.facts.number) if claim.coded is not None else None


def bundled(claim: Claim, line: Line) -> Finding:
    """The second code of a pair whose first the provider gave the member that day.

    A pair of indicator 1 goes together when either of the two carries a listed modifier. Of several
    pairs the first in the plan is told, whatever else was given that day.
    """
    if line.edits is None or not line.edits.pairs or claim.coded is None:
        return None
    pairs, beside = line.edits.pairs, claim.coded.beside.get(line.service_date, _NOTHING)
    if pairs.keys().isdisjoint(beside):
        return None
    ours = modifiers_of(line.facts.modifiers)
    given = [(one, beside[first]) for first in pairs.keys() & beside for one in pairs[first]]
    for one, services in sorted(given, key=lambda pair: pair[0].place):
        if not _holds(one.row, line.service_date):
            continue
        if one.row.indicator != _WITH_MODIFIER:
            return one.clause
        if any(one.modifiers.isdisjoint(ours | theirs) for theirs in services):
            return one.clause
    return None


def units_exceeded(claim: Claim, line: Line) -> Finding:
    """More units on the line, or of its code on the day, than are medically plausible.

    What a reviewer leaves of a line counts, and not what was billed.
    """
    if line.edits is None or not line.edits.units or claim.coded is None:
        return None
    for one in line.edits.units:
        if not _holds(one.row, line.service_date):
            continue
        if one.row.per is not Per.DAY or not line.stands:
            units = scaled(units_of(line))
        elif line.facts.number in claim.coded.mute:
            others = claim.coded.units.get((line.key, line.service_date), 0)
            units = others + scaled(units_of(line))
        else:
            units = claim.coded.units[line.key, line.service_date]
        if units > one.row.units:
            return one.clause
    return None


def too_frequent(claim: Claim, line: Line) -> Finding:
    """An allowed service of the limit's codes lies within its N days before this one.

    The Nth day and the same day are within; what was done after the line is not before it.
    """
    if line.edits is None or claim.coded is None:
        return None
    for one in line.edits.frequency:
        days = days_allowed(claim.coded, one)
        if any(0 <= (line.service_date - day).days <= one.value for day in days):
            return one.term.clause
    return None


def keep_allowed(claim: Claim, line: Line) -> None:
    """Remember a line that no rule refused for the frequency limits of the lines after it."""
    if line.edits is not None and claim.coded is not None:
        for one in line.edits.frequency:
            days_allowed(claim.coded, one).append(line.service_date)


def refilled_too_soon(claim: Claim, line: Line) -> Finding:
    """An earlier supply of the code lasts beyond the window before this one.

    Lines of one bill are one dispensing and do not follow each other.
    """
    if line.edits is None or not line.edits.refills or claim.coded is None:
        return None
    missing: Missing | None = None
    for earlier in supplies_of(claim.coded, line.key):
        days = (line.service_date - earlier.service_date).days
        if not 0 <= days < MAX_DAYS_SUPPLY:  # even the longest supply is used up by then
            continue
        if earlier.days_supply is None:
            missing = Missing("history.days_supply")
            continue
        for one in line.edits.refills:
            if days < earlier.days_supply - one.value:
                return one.term.clause
    return missing


def suspected_duplicate(claim: Claim, line: Line) -> Finding:
    """Nothing is refused: a person looks at a service that resembles one of another bill."""
    if line.resembles is None or claim.edits is None or claim.review is not None:
        return None
    line.earlier_claim = line.resembles
    return Missing(
        "review.suspected_duplicate",
        Reason.SUSPECTED_DUPLICATE,
        claim.edits.suspected_duplicates,
    )


def _holds(row: UnitRow | PairRow, day: date) -> bool:
    return row.effective <= day and (row.end is None or day < row.end)
