"""The ordinary visits of the year: who comes when, and for what.

Colds, influenza and pneumonia come in winter; old people stay in hospital most often; people who
live with a disease fetch their drugs once a month. Plants nothing.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import date, timedelta

from demo.hospital import care, wards
from demo.hospital.bills import Bill, Year
from demo.hospital.care import Treatment
from demo.hospital.insured import FIRST, YEAR
from demo.hospital.people import Person

# Of the ordinary bills; the rest are outpatient visits.
_REFILLS, _ONLINE, _EMERGENCIES, _STAYS = 0.30, 0.08, 0.10, 0.11
_WINTER = (3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3)
# How much oftener someone of such an age stays: below 40, below 60, older.
_STAY_WEIGHTS = ((40, 1), (60, 2), (200, 5))
# Someone with so few free days left has no time.
_ROOM = {"IMP": 25, "EMER": 7, "AMB": 7}


def ordinary(year: Year, count: int) -> list[Bill]:
    """So many bills with nothing wrong: refills, on-line follow-ups, stays, emergencies, visits."""
    bills = _chronic(year, int(count * _REFILLS), care.DIABETES_REFILL, care.PRESSURE_REFILL)
    bills += _chronic(year, int(count * _ONLINE), care.DIABETES_ONLINE, care.PRESSURE_ONLINE)
    stays = int(count * _STAYS)
    for index in range(max(1, stays // 10)):
        person = year.diabetic[index % len(year.diabetic)]
        bills.append(year.visit(person, wards.KIDNEY_STAY))
    bills += [_any_visit(year, wards.STAYS) for _ in range(stays - max(1, stays // 10))]
    emergencies = [one for one in care.VISITS if one.care == "EMER"]
    bills += [_any_visit(year, emergencies) for _ in range(int(count * _EMERGENCIES))]
    outpatient = [one for one in care.VISITS if one.care == "AMB"]
    bills += [_any_visit(year, outpatient) for _ in range(count - len(bills))]
    return bills


def _chronic(year: Year, count: int, diabetes: Treatment, pressure: Treatment) -> list[Bill]:
    """At most one bill a month, person and disease, in months drawn without preference."""
    people = [*year.medical, *year.diabetic]
    turns = [(one, diabetes, month) for one in year.diabetic for month in range(1, 13)]
    turns += [
        (one, pressure, month) for one in people if one.hypertensive for month in range(1, 13)
    ]
    year.chance.shuffle(turns)
    bills: list[Bill] = []
    for person, treatment, month in turns:
        if len(bills) == count:
            break
        days = _days_of(month)
        # Some spend most of a month in hospital, or keep it free.
        if year.free_days(person, days) >= 7:
            bills.append(year.visit(person, treatment, within=days))
    return bills


def _any_visit(year: Year, choices: Sequence[Treatment]) -> Bill:
    while True:
        treatment = year.chance.choices(choices, [one.weight for one in choices])[0]
        youngest, oldest = treatment.ages
        able = [one for one in year.people if youngest <= FIRST.year - one.born.year - 1 < oldest]
        if not able:
            continue
        weights = [_stay_weight(one) if treatment.care == "IMP" else 1 for one in able]
        person = year.chance.choices(able, weights)[0]
        first, last = year.window(person)
        if treatment.winter:
            begin, end = _days_of(year.chance.choices(range(1, 13), _WINTER)[0])
            # A stay may end after the month in which it began.
            end += timedelta(days=max(treatment.nights))
            first, last = max(first, begin), min(last, end)
        if year.free_days(person, (first, last)) > _ROOM[treatment.care]:
            return year.visit(person, treatment, within=(first, last))


def _stay_weight(person: Person) -> int:
    age = FIRST.year - person.born.year
    return next(weight for below, weight in _STAY_WEIGHTS if age < below)


def _days_of(month: int) -> tuple[date, date]:
    return date(YEAR, month, 1), date(YEAR, month, calendar.monthrange(YEAR, month)[1])
