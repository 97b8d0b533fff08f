"""Proportion of days covered (PDC) by a member's drugs, and the months in which it is enough.

As the Pharmacy Quality Alliance (PQA) defines it: days covered by any fill over the days from the
first fill to the period's end. Overlapping fills of one ingredient are taken one after the other;
days in hospital are left out and use up nothing. A pill box's opening covers its own day, however
often it is opened. Knows no programme file, no database and no wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

import msgspec

from services.common.dated import add_months
from services.pricing.core.months import DAYS_TO_ARRIVE, last_day_of, month_of, month_text
from services.pricing.core.programme import AdherenceTerms
from services.pricing.core.readings import half_up
from services.pricing.core.tariff import MILLION

# An ATC code of this length names one ingredient, or one fixed combination.
INGREDIENT_LENGTH = 7
# PQA: the first fill stands at least so many days before the period's end.
DAYS_FROM_FIRST_FILL = 91
# Fills so long before the window may still cover some of its days.
MONTHS_BEFORE = 12


class SupplyKind(StrEnum):
    """What happened."""

    FILL = "FILL"  # a pharmacy handed out `days` of a drug
    OPENING = "OPENING"  # a pill box was opened on its day
    STAY = "STAY"  # `days` in hospital, which gives the drugs itself


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """One fill, opening or stay of one member; of a stay `drug` is empty."""

    name: str
    kind: SupplyKind
    drug: str  # ATC
    first: date
    days: int
    received: date  # in the policy's zone
    recorder: str  # `hospital/...`, `partner/...`, `member`

    @property
    def own_days(self) -> Iterable[date]:
        """Its days in the calendar, nothing shifted."""
        return (self.first + timedelta(days=ahead) for ahead in range(self.days))


class AdherentMonth(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar month: days that could be covered, days that were, whether that is enough."""

    month: str
    days: int
    covered: int
    met: bool


class Adherence(msgspec.Struct, frozen=True, kw_only=True):
    """How well a window was covered, and what its longest run of adherent months earns.

    `pdc_millionths` is PQA's over the window; None where PQA measures nothing: fewer fills than the
    programme asks for, a first fill too late, or a drug that it excludes (`excluded`).
    """

    fills: int
    treatment_first: str
    days: int
    covered: int
    pdc_millionths: int | None
    excluded: bool
    months: tuple[AdherentMonth, ...]
    run_first: str
    run_last: str
    run_months: int
    share_millionths: int
    evidence: tuple[str, ...]  # names of what covers the run's months


def adherence_of(
    supplies: Iterable[Supply],
    terms: AdherenceTerms,
    first: date,
    months: Sequence[date],
) -> Adherence:
    """The window's PDC, and each of `months` (those that may still earn), a month as its first day.

    The window runs from month `first` to the last of `months`. A month counts all its days out of
    hospital, so that no further fill makes it worse; PQA's figure begins at the first fill in the
    window, and pays nothing. What is received later than 7 days after its own month counts for
    nothing, as readings do.
    """
    known = [one for one in supplies if _in_time(one) and _kind(one.recorder) in terms.recorders]
    drugs = [one for one in known if one.drug.startswith(terms.drugs)]
    stays = frozenset(day for one in known if one.kind is SupplyKind.STAY for day in one.own_days)
    after = add_months(month_of(months[-1]), 1) if months else add_months(first, 12)
    inside = [one for one in drugs if first <= one.first < after]
    by_day = covered_days(drugs, stays, after)
    judged = [_month(month, by_day, stays, terms) for month in months]
    run = _longest(judged)
    begun, of_window = _pqa(inside, stays, after)
    fills = len({one.first for one in inside})
    excluded = bool(terms.excluded) and any(
        one.drug.startswith(terms.excluded) and first <= one.first < after for one in known
    )
    measured = (
        not excluded
        and begun is not None
        and fills >= terms.least_fills
        and (after - begun).days >= DAYS_FROM_FIRST_FILL
        and of_window[1] > 0
    )
    counted = {month.month for month in run}
    behind = {n for day, names in by_day.items() if month_text(day) in counted for n in names}
    return Adherence(
        fills=fills,
        treatment_first=begun.isoformat() if begun else "",
        days=of_window[1],
        covered=of_window[0],
        pdc_millionths=half_up(Fraction(of_window[0] * MILLION, of_window[1]))
        if measured
        else None,
        excluded=excluded,
        months=tuple(judged),
        run_first=run[0].month if run else "",
        run_last=run[-1].month if run else "",
        run_months=len(run),
        share_millionths=terms.steps.share_of(len(run)),
        evidence=tuple(sorted(behind)),
    )


def covered_days(
    drugs: Iterable[Supply], stays: Collection[date], after: date
) -> dict[date, list[str]]:
    """Day before `after` → names of what covers it.

    Each ingredient's fills are taken one after the other, the earliest first; a day in hospital
    uses up none and is not covered.
    """
    found: dict[date, list[str]] = defaultdict(list)
    by_drug: dict[str, list[Supply]] = defaultdict(list)
    for one in drugs:
        if one.kind is SupplyKind.OPENING and one.first < after and one.first not in stays:
            found[one.first].append(one.name)
        elif one.kind is SupplyKind.FILL:
            by_drug[one.drug].append(one)
    for some in by_drug.values():
        free = date.min
        for fill in sorted(some, key=lambda one: (one.first, one.name)):
            day, left = max(fill.first, free), fill.days
            while left and day < after:
                if day not in stays:
                    found[day].append(fill.name)
                    left -= 1
                day += timedelta(days=1)
            free = day
    return dict(found)


def _pqa(
    inside: Sequence[Supply], stays: Collection[date], after: date
) -> tuple[date | None, tuple[int, int]]:
    """The first fill of the period, and of the days from it those covered and all."""
    if not inside:
        return None, (0, 0)
    begun = min(one.first for one in inside)
    days = [begun + timedelta(days=ahead) for ahead in range((after - begun).days)]
    whole = [day for day in days if day not in stays]
    return begun, (len(covered_days(inside, stays, after)), len(whole))


def _month(
    month: date,
    by_day: Mapping[date, Sequence[str]],
    stays: Collection[date],
    terms: AdherenceTerms,
) -> AdherentMonth:
    days = [month + timedelta(days=ahead) for ahead in range(last_day_of(month).day)]
    home = [day for day in days if day not in stays]
    covered = sum(day in by_day for day in home)
    return AdherentMonth(
        month=month_text(month),
        days=len(home),
        covered=covered,
        met=bool(home) and covered * MILLION >= terms.threshold_millionths * len(home),
    )


def _longest(months: Sequence[AdherentMonth]) -> Sequence[AdherentMonth]:
    """The longest run of adherent months, the earliest of equals."""
    best: Sequence[AdherentMonth] = ()
    begin = 0
    for end, month in enumerate(months, 1):
        if not month.met:
            begin = end
        elif end - begin > len(best):
            best = months[begin:end]
    return best


def _in_time(one: Supply) -> bool:
    return one.received <= last_day_of(month_of(one.first)) + timedelta(days=DAYS_TO_ARRIVE)


def _kind(recorder: str) -> str:
    """The kind of whoever recorded it.

    >>> _kind("hospital/general"), _kind("member")
    ('hospital', 'member')
    """
    return recorder.partition("/")[0]
