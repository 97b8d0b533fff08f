"""A small Chinese hospital's year of bills, drawn from a seed: the same seed, the same hospital.

Knows no FHIR, no wire and nothing of how a claim is decided. What is planted on purpose stands on
each bill. All figures: docs/demo.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from demo import care
from demo.care import Treatment, Use
from demo.codes import SERVICES, Service
from demo.insured import FIRST, LAST, LATE_START, Roster, enrol
from demo.people import MEDICAL_PLAN, Person, Town

HOSPITAL, CLINIC = "H99000100001", "H99000100002"
ZONE = timezone(timedelta(hours=8))
_FEN = Decimal("0.01")
_NOBODY = Decimal(0)


class Planted(StrEnum):
    """What is wrong with a bill, or odd about it, on purpose."""

    CLEAN = "clean"
    # The insurer decides these.
    DUPLICATE = "the same bill under another number"
    EXCLUDED = "a treatment that the plan excludes"
    PRE_EXISTING = "a condition excluded at underwriting"
    WAITING = "illness within the waiting period"
    UNKNOWN_MEMBER = "a patient whom no policy insures"
    FACT_MISSING = "nobody says whether social insurance was used"
    # The bridge sets these aside.
    UNBALANCED = "lines do not add up to the total"
    WRONG_LINE = "quantity times price is not the line's amount"
    UNKNOWN_CODE = "a code of a system that nobody knows"
    IMPOSSIBLE_DATE = "30 February"
    END_BEFORE_START = "discharged before admitted"
    NEGATIVE = "a negative amount"
    NO_IDENTITY = "a patient without identity document"


QUARANTINED = frozenset(
    {
        Planted.UNBALANCED,
        Planted.WRONG_LINE,
        Planted.UNKNOWN_CODE,
        Planted.IMPOSSIBLE_DATE,
        Planted.END_BEFORE_START,
        Planted.NEGATIVE,
        Planted.NO_IDENTITY,
    }
)
# How many of each in 200 bills; at least one in any hospital.
_PER_200 = {
    Planted.DUPLICATE: 3,
    Planted.EXCLUDED: 4,
    Planted.PRE_EXISTING: 4,
    Planted.WAITING: 2,
    Planted.UNKNOWN_MEMBER: 1,
    Planted.FACT_MISSING: 2,
    Planted.UNBALANCED: 2,
    Planted.WRONG_LINE: 1,
    Planted.UNKNOWN_CODE: 1,
    Planted.IMPOSSIBLE_DATE: 1,
    Planted.END_BEFORE_START: 1,
    Planted.NEGATIVE: 1,
    Planted.NO_IDENTITY: 1,
}
# Of the ordinary bills; the rest are outpatient visits.
_REFILLS, _EMERGENCIES, _STAYS = 0.30, 0.10, 0.24
# What social insurance's fund pays of a line: by care, then class 甲 and 乙.
_FUND_SHARES = {
    "AMB": {"甲": Decimal("0.50"), "乙": Decimal("0.40")},
    "EMER": {"甲": Decimal("0.55"), "乙": Decimal("0.45")},
    "REFILL": {"甲": Decimal("0.70"), "乙": Decimal("0.60")},
    "IMP": {"甲": Decimal("0.75"), "乙": Decimal("0.60")},
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One charge; amounts in yuan."""

    service: Service
    quantity: Decimal
    net: Decimal
    day: date
    # None when the bill was not settled through social insurance.
    fund_paid: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Bill:
    """One bill; care is AMB, EMER, IMP or REFILL; the first disease is the principal one."""

    number: str
    person: Person
    provider: str
    care: str
    start: datetime
    end: datetime
    diseases: tuple[str, ...]
    lines: tuple[Line, ...]
    social: bool
    account_paid: Decimal
    planted: Planted

    @property
    def total(self) -> Decimal:
        """Sum of the lines."""
        return sum((line.net for line in self.lines), Decimal(0))

    @property
    def fund_paid(self) -> Decimal:
        """What social insurance's fund paid."""
        return sum((line.fund_paid or _NOBODY for line in self.lines), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """HbA1c in % or, with two values, systolic and diastolic pressure in mmHg."""

    person: Person
    at: datetime
    values: tuple[Decimal, ...]


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """Everything that the demo plays with."""

    seed: int
    roster: Roster
    visitors: tuple[Person, ...]
    bills: tuple[Bill, ...]
    measurements: tuple[Measurement, ...]


def generate(seed: int, *, people: int = 50, bills: int = 200) -> Hospital:
    """The hospital of a seed, with so many insured people and bills; some bills are bad.

    >>> generate(1) == generate(1), generate(1) == generate(2)
    (True, False)
    """
    chance = random.Random(seed)
    town = Town(chance)
    roster = enrol(chance, town, people)
    stranger = town.person(born=date(1975, 3, 9), female=True)
    nameless = replace(town.person(born=date(1990, 8, 21), female=False), id_number=None)
    year = _Year(chance, roster)
    counts = {kind: max(1, count * bills // 200) for kind, count in _PER_200.items()}
    drawn = _planted(year, counts, stranger, nameless)
    ordinary = bills - len(drawn) - counts[Planted.DUPLICATE]
    drawn += _ordinary(year, chance, ordinary)
    drawn += _duplicates(chance, drawn, counts[Planted.DUPLICATE])
    return Hospital(
        seed=seed,
        roster=roster,
        visitors=(stranger, nameless),
        bills=_numbered(drawn),
        measurements=_measurements(chance, roster),
    )


class _Year:
    """Books visits so that no person is billed twice for one day, and draws their lines."""

    def __init__(self, chance: random.Random, roster: Roster) -> None:
        self.chance = chance
        self.roster = roster
        self._booked: dict[str, set[date]] = {}
        settled = [one for one in roster.people if roster.cover_of(one).start == FIRST]
        self.medical = [one for one in settled if roster.cover_of(one).plan == MEDICAL_PLAN]
        self.diabetic = [one for one in settled if roster.cover_of(one).plan != MEDICAL_PLAN]
        self.new = [one for one in roster.people if one not in settled]
        self.disclosed = {
            one.person.key: one.disclosed[0]
            for cover in roster.covers
            if cover.last == LAST
            for one in cover.insured
            if one.disclosed
        }

    def visit(
        self,
        person: Person,
        treatment: Treatment,
        planted: Planted = Planted.CLEAN,
        within: tuple[date, date] = (FIRST, LAST),
    ) -> Bill:
        """One bill of a person on free days."""
        start, end = self._book(person, treatment, within)
        provider = HOSPITAL
        if treatment.care == "REFILL" or (treatment.care == "AMB" and treatment.weight == 5):
            provider = CLINIC if self.chance.random() < 0.5 else HOSPITAL
        social = person.social and self.chance.random() < 0.95
        lines = tuple(self._lines(treatment, start.date(), end.date(), social))
        cash = sum((line.net - (line.fund_paid or _NOBODY) for line in lines), Decimal(0))
        from_account = social and treatment.care in ("AMB", "REFILL") and self.chance.random() < 0.5
        return Bill(
            number="",
            person=person,
            provider=provider,
            care=treatment.care,
            start=start,
            end=end,
            diseases=treatment.diseases,
            lines=lines,
            social=social,
            account_paid=Decimal(int(cash / 2)) if from_account else _NOBODY,
            planted=planted,
        )

    def _book(
        self, person: Person, treatment: Treatment, within: tuple[date, date]
    ) -> tuple[datetime, datetime]:
        booked = self._booked.setdefault(person.key, set())
        for _ in range(1000):
            nights = self.chance.randint(*treatment.nights)
            first = within[0] + timedelta(days=self.chance.randint(0, (within[1] - within[0]).days))
            days = {first + timedelta(days=index) for index in range(nights + 1)}
            if not days & booked and max(days) <= LAST:
                booked |= days
                break
        else:
            raise ValueError(f"no free day for {person.key} within {within[0]} and {within[1]}")
        begin = time(self.chance.randint(8, 15), self.chance.randint(0, 59))
        start = datetime.combine(first, begin, ZONE)
        stay = timedelta(days=nights) if nights else timedelta(minutes=self.chance.randint(20, 90))
        return start, start + stay

    def _lines(self, treatment: Treatment, first: date, last: date, social: bool) -> list[Line]:
        days = (last - first).days + 1
        # A daily charge stands on the bill in at most six parts, as on a daily list (一日清单).
        step = -(-days // 6)
        lines = []
        for use in treatment.uses:
            if use.chance < 1.0 and self.chance.random() >= use.chance:
                continue
            if not use.daily:
                lines.append(self._line(use, 1, last, treatment.care, social))
                continue
            for begin in range(0, days, step):
                length = min(step, days - begin)
                day = first + timedelta(days=begin + length - 1)
                lines.append(self._line(use, length, day, treatment.care, social))
        return lines

    def _line(self, use: Use, times: int, day: date, kind: str, social: bool) -> Line:
        service = SERVICES[use.code]
        quantity = Decimal(times * self.chance.randint(use.least, use.most))
        net = (quantity * service.price).quantize(_FEN, ROUND_HALF_UP)
        share = _FUND_SHARES[kind].get(service.list_class, _NOBODY)
        fund = (net * share).quantize(_FEN, ROUND_HALF_UP) if social else None
        return Line(service=service, quantity=quantity, net=net, day=day, fund_paid=fund)


def _planted(
    year: _Year, counts: dict[Planted, int], stranger: Person, nameless: Person
) -> list[Bill]:
    """The bills that are odd on purpose, duplicates excepted."""
    cold, excluded = care.TREATMENTS[0], (care.COSMETIC, care.DENTAL)
    adults = [
        one
        for one in year.medical
        if one.born.year < FIRST.year - 25 and one.key not in year.disclosed
    ]
    lumbar = [one for one in year.medical if _excluded(year, one, "M51")]
    diabetic = [one for one in year.medical if _excluded(year, one, "E11")]
    bills = [
        year.visit(adults[index % len(adults)], excluded[index % 2], Planted.EXCLUDED)
        for index in range(counts[Planted.EXCLUDED])
    ]
    for index in range(counts[Planted.PRE_EXISTING]):
        who, what = ((lumbar, care.LUMBAR), (diabetic, care.DIABETES_REFILL))[index % 2]
        bills.append(year.visit(who[index // 2 % len(who)], what, Planted.PRE_EXISTING))
    for index in range(counts[Planted.WAITING]):
        person = year.new[index % len(year.new)]
        window = (LATE_START, LATE_START + timedelta(days=27))
        bills.append(year.visit(person, cold, Planted.WAITING, window))
    bills.extend(
        year.visit(stranger, cold, Planted.UNKNOWN_MEMBER)
        for _ in range(counts[Planted.UNKNOWN_MEMBER])
    )
    social = [one for one in adults if one.social]
    bills.extend(
        year.visit(year.chance.choice(social), cold, Planted.FACT_MISSING)
        for _ in range(counts[Planted.FACT_MISSING])
    )
    for kind in sorted(QUARANTINED):
        for _ in range(counts[kind]):
            person = nameless if kind is Planted.NO_IDENTITY else year.chance.choice(adults)
            bills.append(year.visit(person, cold, kind))
    return bills


def _excluded(year: _Year, person: Person, prefix: str) -> bool:
    agreed = year.disclosed.get(person.key)
    return agreed is not None and agreed.terms == "EXCLUDED" and agreed.code_prefix == prefix


def _ordinary(year: _Year, chance: random.Random, count: int) -> list[Bill]:
    """Refills by month, stays, emergencies, and the rest outpatient."""
    refills = [
        (person, care.DIABETES_REFILL, month) for person in year.diabetic for month in range(1, 13)
    ] + [
        (person, care.PRESSURE_REFILL, month)
        for person in year.medical
        if person.hypertensive
        for month in range(1, 13)
    ]
    chance.shuffle(refills)
    bills = [
        year.visit(person, treatment, within=_days_of(month))
        for person, treatment, month in refills[: int(count * _REFILLS)]
    ]
    stays = int(count * _STAYS)
    bills += [
        year.visit(person, care.KIDNEY_STAY) for person in year.diabetic[: max(1, stays // 12)]
    ]
    while len(bills) < int(count * (_REFILLS + _STAYS)):
        bills.append(_any_visit(year, chance, "IMP"))
    for _ in range(int(count * _EMERGENCIES)):
        bills.append(_any_visit(year, chance, "EMER"))
    while len(bills) < count:
        bills.append(_any_visit(year, chance, "AMB"))
    return bills


def _days_of(month: int) -> tuple[date, date]:
    return date(FIRST.year, month, 1), date(FIRST.year, month, 28)


def _any_visit(year: _Year, chance: random.Random, kind: str) -> Bill:
    choices = [one for one in care.TREATMENTS if one.care == kind]
    while True:
        treatment = chance.choices(choices, [one.weight for one in choices])[0]
        youngest, oldest = treatment.ages
        able = [one for one in year.medical if youngest <= FIRST.year - one.born.year - 1 < oldest]
        if able:
            return year.visit(chance.choice(able), treatment)


def _duplicates(chance: random.Random, bills: list[Bill], count: int) -> list[Bill]:
    """Copies of clean outpatient bills; they differ in nothing but the number given later."""
    clean = [bill for bill in bills if bill.planted is Planted.CLEAN and bill.care == "AMB"]
    return [replace(bill, planted=Planted.DUPLICATE) for bill in chance.sample(clean, count)]


def _numbered(bills: list[Bill]) -> tuple[Bill, ...]:
    """In the order in which they were made out; a copy comes after its original."""
    by_end = sorted(bills, key=lambda bill: (bill.end, bill.planted is Planted.DUPLICATE))
    return tuple(
        replace(bill, number=f"99000125-{index:010d}") for index, bill in enumerate(by_end, start=1)
    )


def _measurements(chance: random.Random, roster: Roster) -> tuple[Measurement, ...]:
    """HbA1c every quarter for diabetics, blood pressure every month for hypertensives."""
    found = []
    for person in roster.people:
        level, top = chance.gauss(7.4, 0.6), chance.gauss(142, 8)
        for month in range(1, 13):
            at = datetime(FIRST.year, month, chance.randint(1, 28), 9, 30, tzinfo=ZONE)
            hba1c = Decimal(f"{min(12.0, max(5.2, chance.gauss(level, 0.3))):.1f}")
            systolic = Decimal(f"{min(190.0, max(105.0, chance.gauss(top, 6))):.0f}")
            diastolic = Decimal(f"{min(115.0, max(60.0, float(systolic) * 0.6)):.0f}")
            if person.diabetic and month % 3 == 2:
                found.append(Measurement(person=person, at=at, values=(hba1c,)))
            if person.hypertensive:
                found.append(Measurement(person=person, at=at, values=(systolic, diastolic)))
    return tuple(sorted(found, key=lambda one: (one.at, one.person.key, len(one.values))))
