"""Fourteen months of readings, of laboratory and clinic and of people at home.

Each person has a course: well controlled all along, improving in the year, poorly controlled, or
careless about measuring. The course sets a level month by month; readings scatter around it. Some
arrive late, some are low, some people type in only their best. Judges nothing.
"""

from __future__ import annotations

import calendar
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from demo.hospital.bills import ZONE
from demo.hospital.insured import YEAR
from demo.hospital.people import Person

# November of the year before the insured one to its December.
MONTHS = tuple((YEAR - 1, month) for month in (11, 12)) + tuple(
    (YEAR, month) for month in range(1, 13)
)


class Kind(StrEnum):
    """What was measured."""

    HBA1C = "HbA1c"
    FASTING = "glucose, fasting"
    GLUCOSE = "glucose, after a meal or unknown"
    SYSTOLIC = "systolic pressure"
    DIASTOLIC = "diastolic pressure"


class Source(StrEnum):
    """Who vouches for a reading; laboratory and clinic are in the hospital's system."""

    LABORATORY = "laboratory"
    CLINIC = "clinic"
    DEVICE = "device"
    TYPED = "typed"


class Course(StrEnum):
    """How a person's disease and diligence run over the fourteen months."""

    WELL = "well controlled"
    IMPROVING = "improving"
    POOR = "poorly controlled"
    CARELESS = "skips readings"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value; the two pressures of one measurement share `at` and `source`.

    Units are UCUM: %, mmol/L, mm[Hg]; meters of some people speak mg/dL.
    """

    key: str
    person: Person
    kind: Kind
    value: Decimal
    unit: str
    at: datetime
    received: datetime
    source: Source


@dataclass(frozen=True, kw_only=True)
class Record:
    """All readings of a hospital's people, by time, and each person's course."""

    courses: dict[str, Course]
    # In the hospital's system.
    hospital: tuple[Reading, ...]
    # Not there: measured and kept by the people themselves.
    home: tuple[Reading, ...]

    @property
    def all(self) -> tuple[Reading, ...]:
        """Both together."""
        return (*self.hospital, *self.home)

    def of(self, person: Person) -> list[Reading]:
        """One person's readings, by time."""
        mine = [one for one in self.all if one.person.key == person.key]
        return sorted(mine, key=lambda one: (one.at, one.key))


_COURSES = (Course.WELL, Course.IMPROVING, Course.POOR, Course.CARELESS)
_WEIGHTS = (35, 30, 20, 15)
# HbA1c in % and systolic pressure in mmHg at begin and end of the fourteen months, and the scatter
# of people around them.
_LEVELS = {
    Course.WELL: ((6.4, 6.4, 0.2), (125, 124, 4)),
    Course.IMPROVING: ((8.2, 6.4, 0.3), (149, 125, 5)),
    Course.POOR: ((8.7, 8.5, 0.5), (151, 149, 6)),
    Course.CARELESS: ((7.2, 7.1, 0.6), (138, 136, 8)),
}
# The improving reach their end level after so many months.
_IMPROVED_AFTER = 9
_MG_DL = Decimal("18.016")


def measure(chance: random.Random, people: Iterable[Person]) -> Record:
    """The readings of everybody who lives with diabetes or high blood pressure."""
    hospital: list[Reading] = []
    home: list[Reading] = []
    courses: dict[str, Course] = {}
    for person in people:
        if not (person.diabetic or person.hypertensive):
            continue
        course = courses[person.key] = chance.choices(_COURSES, _WEIGHTS)[0]
        diary = _Diary(chance, person, course)
        if person.diabetic:
            hospital += diary.laboratory()
            home += diary.home_glucose()
        if person.hypertensive:
            hospital += diary.clinic()
            home += diary.home_pressure()
    return Record(courses=courses, hospital=_by_time(hospital), home=_by_time(home))


def _by_time(readings: list[Reading]) -> tuple[Reading, ...]:
    return tuple(sorted(readings, key=lambda one: (one.at, one.key)))


class _Diary:
    """Draws one person's readings."""

    def __init__(self, chance: random.Random, person: Person, course: Course) -> None:
        self._chance = chance
        self._person = person
        self._course = course
        self._device = chance.random() < 0.7
        self._unit = "mg/dL" if self._device and chance.random() < 0.2 else "mmol/L"
        # Every fourth who types keeps only the best of what was measured.
        self._best_of = not self._device and chance.random() < 0.25
        self._off = chance.gauss(0, 1)
        self._count = 0

    def laboratory(self) -> Iterator[Reading]:
        """HbA1c about every quarter, with a fasting glucose from the same blood."""
        first = self._chance.randint(0, 2)
        for index in range(first, len(MONTHS), 3):
            if self._chance.random() < (0.5 if self._course is Course.CARELESS else 0.08):
                continue
            at = self._moment(index, self._chance.randint(1, 28), (7, 10))
            received = at + timedelta(hours=self._chance.randint(3, 40))
            if self._chance.random() < 0.05:
                received = _after_month(at) + timedelta(days=self._chance.randint(8, 20))
            level = self._level(index)
            yield self._reading(Kind.HBA1C, level + self._chance.gauss(0, 0.12), at, received)
            yield self._reading(Kind.FASTING, self._fasting(level), at, received)

    def clinic(self) -> Iterator[Reading]:
        """Blood pressure every other month, by staff."""
        for index in range(self._chance.randint(0, 1), len(MONTHS), 2):
            at = self._moment(index, self._chance.randint(1, 28), (8, 16))
            top = self._pressure(index) + 4
            yield from self._pair(top, at, at + timedelta(minutes=20), Source.CLINIC)

    def home_glucose(self) -> Iterator[Reading]:
        """Several a week from a meter that is connected, else about one a week, typed in."""
        for index in range(len(MONTHS)):
            for at in self._moments(index, (5, 12) if self._device else (3, 6)):
                level = self._level(index)
                fasting = self._chance.random() < 0.6
                draws = [
                    self._fasting(level) if fasting else self._fasting(level) + 2.4
                    for _ in range(3 if self._best_of else 1)
                ]
                value = min(draws, key=lambda one: abs(one - 5.6))
                if self._chance.random() < 0.012:
                    value = self._chance.uniform(2.9, 3.8)
                kind = Kind.FASTING if fasting else Kind.GLUCOSE
                yield self._reading(kind, value, at, self._arrival(at), self._home())

    def home_pressure(self) -> Iterator[Reading]:
        """About one or two a week, from a connected cuff or typed in."""
        for index in range(len(MONTHS)):
            for at in self._moments(index, (4, 8) if self._device else (3, 5)):
                draws = [self._pressure(index) for _ in range(3 if self._best_of else 1)]
                yield from self._pair(min(draws), at, self._arrival(at), self._home())

    def _moments(self, index: int, times: tuple[int, int]) -> list[datetime]:
        careless = self._course is Course.CARELESS
        if careless and self._chance.random() < 0.5:
            return []
        count = self._chance.randint(1, 3) if careless else self._chance.randint(*times)
        year, month = MONTHS[index]
        days = calendar.monthrange(year, month)[1]
        # Spread over the month, so that diligent people have something in most weeks.
        step = days / count
        chosen = [int(turn * step + self._chance.random() * step) + 1 for turn in range(count)]
        return [self._moment(index, min(day, days), (6, 20)) for day in chosen]

    def _moment(self, index: int, day: int, hours: tuple[int, int]) -> datetime:
        year, month = MONTHS[index]
        # Seconds that no other reading of the person has: time alone decides which came first.
        self._count += 1
        minutes, seconds = divmod(self._count, 60)
        hour = self._chance.randint(*hours)
        return datetime(year, month, day, hour, minutes % 60, seconds, tzinfo=ZONE)

    def _arrival(self, at: datetime) -> datetime:
        """Soon, or now and then after the month is closed."""
        if self._chance.random() < 0.02:
            return _after_month(at) + timedelta(days=self._chance.randint(8, 15))
        return at + timedelta(minutes=self._chance.randint(1, 600))

    def _home(self) -> Source:
        return Source.DEVICE if self._device else Source.TYPED

    def _level(self, index: int) -> float:
        begin, end, scatter = _LEVELS[self._course][0]
        return _along(begin, end, index) + self._off * scatter

    def _fasting(self, hba1c: float) -> float:
        return 1.5 * hba1c - 3.7 + self._chance.gauss(0, 0.45)

    def _pressure(self, index: int) -> float:
        begin, end, scatter = _LEVELS[self._course][1]
        return _along(begin, end, index) + self._off * scatter + self._chance.gauss(0, 5)

    def _pair(
        self, top: float, at: datetime, received: datetime, source: Source
    ) -> Iterator[Reading]:
        yield self._reading(Kind.SYSTOLIC, top, at, received, source)
        bottom = top * 0.45 + 21 + self._chance.gauss(0, 3)
        yield self._reading(Kind.DIASTOLIC, bottom, at, received, source)

    def _reading(
        self,
        kind: Kind,
        value: float,
        at: datetime,
        received: datetime,
        source: Source = Source.LABORATORY,
    ) -> Reading:
        places, unit = "0.1", "%" if kind is Kind.HBA1C else "mmol/L"
        if kind in (Kind.SYSTOLIC, Kind.DIASTOLIC):
            places, unit = "1", "mm[Hg]"
        exact = Decimal(repr(value)).quantize(Decimal(places), ROUND_HALF_UP)
        if unit == "mmol/L" and source is Source.DEVICE and self._unit != unit:
            exact, unit = (exact * _MG_DL).quantize(Decimal(1), ROUND_HALF_UP), self._unit
        return Reading(
            key=f"{self._person.key}-{at:%Y%m%d-%H%M%S}-{kind.name.lower()}",
            person=self._person,
            kind=kind,
            value=exact,
            unit=unit,
            at=at,
            received=received,
            source=source,
        )


def _along(begin: float, end: float, index: int) -> float:
    return begin + (end - begin) * min(1.0, index / _IMPROVED_AFTER)


def _after_month(at: datetime) -> datetime:
    """The end of the month in which something was measured."""
    return (at.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0)
