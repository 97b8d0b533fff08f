"""Bills that are odd on purpose, each for one reason. Says what is planted, not what is decided.

Every kind stands in Planted; how many of each: docs/demo.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from demo.hospital import care, wards
from demo.hospital.bills import QUARANTINED, WAITING_DAYS, Bill, Planted, Year, after_birthday
from demo.hospital.care import Treatment
from demo.hospital.insured import FIRST, LAPSE_LAST, LAST, LATE_START
from demo.hospital.people import Person
from demo.hospital.split import CLINIC, HOSPITAL

# How many of each in 1,500 bills; of another number in proportion, rounded up.
_PER_1500 = {
    Planted.DUPLICATE: 18,
    Planted.EXCLUDED: 15,
    Planted.PRE_EXISTING: 14,
    Planted.WAITING: 12,
    Planted.NOT_COVERED: 12,
    Planted.TOO_OLD: 10,
    Planted.WRONG_HOUSE: 10,
    Planted.SAME_EXAMINATION: 18,
    Planted.TOO_MANY: 10,
    Planted.UNKNOWN_MEMBER: 10,
    Planted.FACT_MISSING: 14,
    Planted.LARGE: 10,
    Planted.NO_CONSENT: 12,
    Planted.WITHDRAWN: 12,
    Planted.UNBALANCED: 14,
    Planted.WRONG_LINE: 13,
    Planted.UNKNOWN_CODE: 12,
    Planted.IMPOSSIBLE_DATE: 12,
    Planted.END_BEFORE_START: 12,
    Planted.NEGATIVE: 12,
    Planted.NO_IDENTITY: 12,
}
# Within so many days the same examination in another house is a repetition.
_WINDOW = timedelta(days=14)
# Days without a visit that a person needs for another pair of examinations.
_FREE = 250
# What people come to either house with.
_LIGHT = [one for one in care.VISITS if one.clinic]


def counts(bills: int) -> dict[Planted, int]:
    """How many bills of each kind a hospital with so many bills holds; at least one."""
    return {kind: -(-count * bills // 1500) for kind, count in _PER_1500.items()}


def planted(
    year: Year, wanted: Mapping[Planted, int], strangers: Sequence[Person], nameless: Person
) -> list[Bill]:
    """All planted bills but duplicates, and the good ones that examinations repeat."""
    bills = _examinations(year, wanted[Planted.SAME_EXAMINATION])
    leaving = _leaving(year, wanted[Planted.WITHDRAWN])
    staying = [one for one in year.adults if one not in leaving]
    makers: dict[Planted, Callable[[Year], Iterator[Bill]]] = {
        Planted.EXCLUDED: _excluded,
        Planted.PRE_EXISTING: _pre_existing,
        Planted.WAITING: _waiting,
        Planted.NOT_COVERED: _not_covered,
        Planted.TOO_OLD: _too_old,
        Planted.WRONG_HOUSE: _wrong_house,
        Planted.TOO_MANY: _too_many,
    }
    for kind, maker in makers.items():
        bills.extend(itertools.islice(maker(year), wanted[kind]))
    bills.extend(itertools.islice(_fact_missing(year, staying), wanted[Planted.FACT_MISSING]))
    bills.extend(itertools.islice(_large(year, staying), wanted[Planted.LARGE]))
    bills.extend(itertools.islice(_held(year), wanted[Planted.NO_CONSENT]))
    bills.extend(itertools.islice(_withdrawn(year, leaving), wanted[Planted.WITHDRAWN]))
    for index in range(wanted[Planted.UNKNOWN_MEMBER]):
        who = strangers[index % len(strangers)]
        bills.append(year.visit(who, _light(year), Planted.UNKNOWN_MEMBER, (FIRST, LAST)))
    for kind in sorted(QUARANTINED):
        for _ in range(wanted[kind]):
            who = nameless if kind is Planted.NO_IDENTITY else year.chance.choice(year.adults)
            bills.append(year.visit(who, _light(year), kind, (FIRST, LAST)))
    return bills


def _light(year: Year) -> Treatment:
    return year.chance.choice(_LIGHT)


def duplicates(year: Year, bills: Sequence[Bill], count: int) -> list[Bill]:
    """Copies of clean outpatient bills; they differ in nothing but the number given later."""
    clean = [bill for bill in bills if bill.planted is Planted.CLEAN and bill.care == "AMB"]
    return [replace(bill, planted=Planted.DUPLICATE) for bill in year.chance.sample(clean, count)]


def _examinations(year: Year, count: int) -> list[Bill]:
    """Pairs: an examination in one house, and again in the other 1 to 14 days later.

    For 14 days before and after both, the person has no other visit, so that no third examination
    meets them.
    """
    # Under the diabetes plan the deductible is soon used up, so that a wrong approval would cost.
    people = [year.adults, year.diabetic, year.diabetic]
    bills = []
    for index in range(count):
        what = care.EXAMINATIONS[index % len(care.EXAMINATIONS)]
        houses = (HOSPITAL, CLINIC) if index % 4 < 2 else (CLINIC, HOSPITAL)
        person = year.chance.choice(people[index % len(people)])
        # So that a fresh pair always finds room.
        while year.free_days(person, (FIRST, LAST)) < _FREE:
            person = year.chance.choice(year.adults)
        first = year.visit(person, what, within=_roomy(year, person), provider=houses[0])
        day = first.start.date()
        again = (day + timedelta(days=1), day + _WINDOW)
        second = year.visit(
            person, what, Planted.SAME_EXAMINATION, within=again, provider=houses[1]
        )
        year.block(person, day - _WINDOW, second.start.date() + _WINDOW)
        bills += [first, second]
    return bills


def _roomy(year: Year, person: Person) -> tuple[date, date]:
    """A month in which nothing around lies booked."""
    starts = [FIRST + timedelta(days=index) for index in range(0, 300, 10)]
    reach = timedelta(days=60)
    free = [
        day
        for day in starts
        if year.free_days(person, (day - _WINDOW * 2, day + reach)) == 60 + 28 + 1
    ]
    day = year.chance.choice(free)
    return day, day + timedelta(days=15)


def _excluded(year: Year) -> Iterator[Bill]:
    for index in itertools.count():
        what = (care.COSMETIC, care.DENTAL)[index % 2]
        yield year.visit(year.chance.choice(year.adults), what, Planted.EXCLUDED)


def _pre_existing(year: Year) -> Iterator[Bill]:
    """Visits for a lumbar disc or for diabetes, each excluded for that person."""
    lumbar = [one for one in year.medical if _agreed(year, one, "M51")]
    diabetic = [one for one in year.medical if _agreed(year, one, "E11")]
    for index in itertools.count():
        who, what = ((lumbar, care.LUMBAR), (diabetic, care.DIABETES_REFILL))[index % 2]
        person = who[index // 2 % len(who)]
        yield year.visit(person, what, Planted.PRE_EXISTING, provider=HOSPITAL)


def _agreed(year: Year, person: Person, prefix: str) -> bool:
    return any(
        one.code_prefix == prefix and one.terms == "EXCLUDED"
        for one in year.roster.insured(person).disclosed
    )


def _waiting(year: Year) -> Iterator[Bill]:
    window = (LATE_START, LATE_START + timedelta(days=WAITING_DAYS - 1))
    for index in itertools.count():
        yield year.visit(year.new[index % len(year.new)], _light(year), Planted.WAITING, window)


def _not_covered(year: Year) -> Iterator[Bill]:
    before = (FIRST, LATE_START - timedelta(days=1))
    after = (LAPSE_LAST + timedelta(days=1), LAST)
    for index in itertools.count():
        who, window = ((year.lapsed, after), (year.new, before))[index % 2]
        person = who[index // 2 % len(who)]
        yield year.visit(person, _light(year), Planted.NOT_COVERED, window)


def _too_old(year: Year) -> Iterator[Bill]:
    for index in itertools.count():
        person = year.grown[index % len(year.grown)]
        yield year.visit(person, _light(year), Planted.TOO_OLD, after_birthday(person))


def _wrong_house(year: Year) -> Iterator[Bill]:
    for index in itertools.count():
        person = year.adults[index % len(year.adults)]
        yield year.visit(person, wards.CLINIC_STAY, Planted.WRONG_HOUSE, provider=CLINIC)


def _too_many(year: Year) -> Iterator[Bill]:
    eldest = sorted(year.adults, key=lambda one: one.born)
    for index in itertools.count():
        person = eldest[index % len(eldest)]
        # Half of them paid at the counter, which soon exceeds the deductible.
        settled = person.social and index % 2 == 0
        yield year.visit(person, wards.LONG_REHABILITATION, Planted.TOO_MANY, settled=settled)


def _leaving(year: Year, count: int) -> list[Person]:
    """Who withdraws the consent: of middle age, for the eldest and youngest have their own kinds.

    Whatever else of theirs waits for a person ends with it, so that no other such bill is theirs.
    """
    social = sorted((one for one in year.adults if one.social), key=lambda one: one.born)
    if len(social) < 2:  # in a small hospital: a younger one, for an adult is needed as well
        social = [one for one in year.medical if one.social and one not in year.adults]
    most = min(count, max(1, len(social) // 3))  # the others are needed as well
    begin = (len(social) - most) // 2
    return social[begin : begin + most]


def _held(year: Year) -> Iterator[Bill]:
    for index in itertools.count():
        person = year.silent[index % len(year.silent)]
        yield year.visit(person, _light(year), Planted.NO_CONSENT)


def _withdrawn(year: Year, leaving: Sequence[Person]) -> Iterator[Bill]:
    for index in itertools.count():
        person = leaving[index % len(leaving)]
        yield year.visit(person, _light(year), Planted.WITHDRAWN, settled=False)


def _fact_missing(year: Year, staying: Sequence[Person]) -> Iterator[Bill]:
    social = [one for one in staying if one.social]
    for _ in itertools.count():
        person = year.chance.choice(social)
        yield year.visit(person, _light(year), Planted.FACT_MISSING, settled=False)


def _large(year: Year, staying: Sequence[Person]) -> Iterator[Bill]:
    eldest = sorted(staying, key=lambda one: one.born)
    for index in itertools.count():
        person = eldest[-1 - index % len(eldest)]
        course = wards.LONG_COURSE
        yield year.visit(person, course, Planted.LARGE, settled=person.social)
