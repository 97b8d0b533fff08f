"""Which months were on target, and what the longest run earns: the truth's own arithmetic.

Definitions are those of docs/conventions.md B. Numbers of the programmes were copied by hand.
Imports nothing of services.pricing.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from fractions import Fraction

from demo.hospital.bills import ZONE
from demo.hospital.insured import FIRST, YEAR
from demo.hospital.people import Person, completed_years
from demo.hospital.readings import Kind, Reading, Record, Source

Month = tuple[int, int]

RENEWAL = date(YEAR + 1, 1, 1)
GLUCOSE, PRESSURE = "diabetes-glucose", "hypertension-pressure"
# The youngest and the oldest whom the tariff prices.
AGES = (18, 79)

_DAYS_TO_ARRIVE = 7
_SLOTS_NEEDED = 3
_WINDOW_MONTHS, _DAYS_BEFORE = 12, 45
# Longest run → share of the premium without credit.
_SHARES = {0: Decimal(0), 1: Decimal("0.03"), 2: Decimal("0.06")}
_SHARE_OF_MORE = Decimal("0.10")
_LOW = Decimal("3.9")
_MG_DL = Decimal("18.016")


class Result(StrEnum):
    """How a month ended."""

    ON_TARGET = "on target"
    OFF_TARGET = "off target"
    NOT_ENOUGH = "not enough"


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A person in a health programme, and what must come of the person's readings.

    `months` are the twelve of the renewal's window, earliest first; `share` is what the longest
    run on target earns of next year's premium.
    """

    person: Person
    programme: str
    months: tuple[tuple[Month, Result], ...]
    run: int
    share: Decimal


def participants(people: Iterable[Person], record: Record) -> tuple[Participant, ...]:
    """Everybody with a diagnosis whom the tariff prices; diabetics in the programme for glucose."""
    by_person: defaultdict[str, list[Reading]] = defaultdict(list)
    for reading in record.all:
        by_person[reading.person.key].append(reading)
    found = []
    for person in people:
        if not (person.diabetic or person.hypertensive) or not _priced(person):
            continue
        programme = GLUCOSE if person.diabetic else PRESSURE
        months = judge(programme, by_person[person.key])
        run = longest_run([result for _, result in months])
        found.append(
            Participant(
                person=person,
                programme=programme,
                months=tuple(months),
                run=run,
                share=_SHARES.get(run, _SHARE_OF_MORE),
            )
        )
    return tuple(found)


def window(renewal: date = RENEWAL) -> list[Month]:
    """The twelve whole months whose last day is at least 45 days before the renewal.

    >>> window(date(2026, 1, 1))[0], window(date(2026, 1, 1))[-1]
    ((2024, 11), (2025, 10))
    """
    latest = renewal - timedelta(days=_DAYS_BEFORE)
    year, month = latest.year, latest.month
    if latest.day < calendar.monthrange(year, month)[1]:
        year, month = _shift((year, month), -1)
    return [_shift((year, month), -back) for back in reversed(range(_WINDOW_MONTHS))]


def longest_run(results: Sequence[Result]) -> int:
    """Months of the longest run on target; anything else breaks a run."""
    longest = run = 0
    for result in results:
        run = run + 1 if result is Result.ON_TARGET else 0
        longest = max(longest, run)
    return longest


def judge(programme: str, readings: Iterable[Reading]) -> list[tuple[Month, Result]]:
    """Each month of the window, judged by one person's readings that were known at the renewal."""
    by_month: defaultdict[Month, list[Reading]] = defaultdict(list)
    for one in readings:
        known = one.received.astimezone(ZONE).date() < RENEWAL
        if known and not came_late(one):
            day = one.at.astimezone(ZONE).date()
            by_month[day.year, day.month].append(one)
    if programme == GLUCOSE:
        return [(month, _glucose_month(month, by_month)) for month in window()]
    return [(month, _pressure_month(by_month[month])) for month in window()]


def came_late(reading: Reading) -> bool:
    """Whether a reading was received too long after the end of its own month to count."""
    day = reading.at.astimezone(ZONE).date()
    month_end = date(day.year, day.month, calendar.monthrange(day.year, day.month)[1])
    return reading.received.astimezone(ZONE).date() > month_end + timedelta(days=_DAYS_TO_ARRIVE)


def low_glucose(readings: Iterable[Reading]) -> int:
    """How many glucose values are so low that a coach must talk about them."""
    return sum(
        one.kind in (Kind.FASTING, Kind.GLUCOSE) and _rounded(one) < _LOW for one in readings
    )


def _glucose_month(month: Month, by_month: Mapping[Month, Sequence[Reading]]) -> Result:
    """A laboratory HbA1c of this month or the two after it decides, the nearest first."""
    for ahead in range(3):
        tests = [
            one
            for one in by_month.get(_shift(month, ahead), ())
            if one.kind is Kind.HBA1C and one.source is Source.LABORATORY
        ]
        if tests:
            first = min(tests, key=lambda one: (one.at, one.key))
            return _result(_rounded(first) < 7)
    slots = _slots(
        [one]
        for one in by_month.get(month, ())
        if one.kind in (Kind.FASTING, Kind.GLUCOSE) and _rounded(one) >= _LOW
    )
    if len(slots) < _SLOTS_NEEDED:
        return Result.NOT_ENOUGH
    fasting = [_rounded(one) for (one,) in slots if one.kind is Kind.FASTING]
    others = [_rounded(one) for (one,) in slots if one.kind is Kind.GLUCOSE]
    return _result(
        (not fasting or Fraction("4.4") <= _mean(fasting) <= 7)
        and (not others or _mean(others) < 10)
    )


def _pressure_month(readings: Sequence[Reading]) -> Result:
    pairs: defaultdict[object, list[Reading]] = defaultdict(list)
    for one in readings:
        if one.kind in (Kind.SYSTOLIC, Kind.DIASTOLIC):
            pairs[one.at, one.source].append(one)
    slots = _slots(
        sorted(pair, key=lambda one: one.kind is Kind.DIASTOLIC) for pair in pairs.values()
    )
    if len(slots) < _SLOTS_NEEDED:
        return Result.NOT_ENOUGH
    met = True
    for clinic, top, bottom in ((False, 135, 85), (True, 140, 90)):
        found = [pair for pair in slots if (pair[0].source is Source.CLINIC) == clinic]
        if found:
            met &= _mean([_rounded(pair[0]) for pair in found]) < top
            met &= _mean([_rounded(pair[1]) for pair in found]) < bottom
    return _result(met)


def _slots(candidates: Iterable[Sequence[Reading]]) -> list[Sequence[Reading]]:
    """What counts in each of the four slots: the best provenance, then the earliest."""
    ranks = {Source.LABORATORY: 0, Source.CLINIC: 0, Source.DEVICE: 1, Source.TYPED: 2}
    best: dict[int, Sequence[Reading]] = {}
    for one in sorted(candidates, key=lambda one: (ranks[one[0].source], one[0].at, one[0].key)):
        best.setdefault(min(3, (one[0].at.astimezone(ZONE).day - 1) // 7), one)
    # Three that the hospital fills stand alone, so that nobody gains by leaving one's own out.
    hospital = [one for one in best.values() if ranks[one[0].source] == 0]
    return hospital if len(hospital) >= _SLOTS_NEEDED else list(best.values())


def _rounded(reading: Reading) -> Decimal:
    """The value in %, mmol/L or mmHg, converted and then rounded as it is compared."""
    places = Decimal(1) if reading.unit == "mm[Hg]" else Decimal("0.1")
    value = reading.value / _MG_DL if reading.unit == "mg/dL" else reading.value
    return value.quantize(places, ROUND_HALF_UP)


def _mean(values: Sequence[Decimal]) -> Fraction:
    return Fraction(sum(map(Fraction, values)), len(values))


def _result(met: bool) -> Result:
    return Result.ON_TARGET if met else Result.OFF_TARGET


def _priced(person: Person) -> bool:
    """Whether the tariff has a price for the person in the year that expires and in the next."""
    youngest, oldest = completed_years(person, FIRST), completed_years(person, RENEWAL)
    return AGES[0] <= youngest and oldest <= AGES[1]


def _shift(month: Month, by: int) -> Month:
    year, index = divmod(month[0] * 12 + month[1] - 1 + by, 12)
    return year, index + 1
