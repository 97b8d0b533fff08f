"""A small Chinese hospital's year of bills, drawn from a seed: the same seed, the same hospital.

Knows no FHIR, no wire and nothing of how a claim is decided. What is planted on purpose stands on
each bill. All figures: docs/demo.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from demo import care
from demo.bills import QUARANTINED, ZONE, Bill, Planted, Year
from demo.insured import FIRST, LATE_START, Roster, enrol
from demo.people import Person, Town

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
    year = Year(chance, roster)
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


def _planted(
    year: Year, counts: dict[Planted, int], stranger: Person, nameless: Person
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


def _excluded(year: Year, person: Person, prefix: str) -> bool:
    agreed = year.disclosed.get(person.key)
    return agreed is not None and agreed.terms == "EXCLUDED" and agreed.code_prefix == prefix


def _ordinary(year: Year, chance: random.Random, count: int) -> list[Bill]:
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


def _any_visit(year: Year, chance: random.Random, kind: str) -> Bill:
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
