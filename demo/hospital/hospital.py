"""A Chinese hospital's year of bills, drawn from a seed: the same seed, the same hospital.

Knows no FHIR, no wire and nothing of how a claim is decided. What is planted on purpose stands on
each bill. All figures: docs/demo.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date

from demo.hospital.bills import Bill, Planted, Year
from demo.hospital.insured import Roster, enrol
from demo.hospital.months import Participant, participants
from demo.hospital.people import Person, Town
from demo.hospital.planted import counts, duplicates, planted
from demo.hospital.readings import Reading, Record, measure
from demo.hospital.truth import Expectation, expectations
from demo.hospital.visits import ordinary

SEED, PEOPLE, BILLS = 20250101, 300, 1500
LEAST_PEOPLE, LEAST_BILLS = 20, 40
# Nobody is billed twice for one day: with more, the year would run out of days.
MOST_BILLS_EACH = 12


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """Everything that the demo plays with."""

    seed: int
    roster: Roster
    visitors: tuple[Person, ...]
    # Insured people who never consented to anything.
    silent: tuple[Person, ...]
    bills: tuple[Bill, ...]
    # What must become of each bill, in the same order; worked out before anybody decides.
    truth: tuple[Expectation, ...]
    record: Record
    # Members of health programmes, with what their readings must earn.
    participants: tuple[Participant, ...]

    @property
    def leaving(self) -> tuple[Person, ...]:
        """People who withdraw their consent to claim settlement while a claim of theirs waits."""
        gone = {bill.person.key for bill in self.bills if bill.planted is Planted.WITHDRAWN}
        return tuple(person for person in self.roster.people if person.key in gone)

    @property
    def home_readings(self) -> tuple[Reading, ...]:
        """What people measured at home: not in the hospital's system, so no bridge pulls it."""
        return self.record.home


def generate(seed: int, *, people: int = PEOPLE, bills: int = BILLS) -> Hospital:
    """The hospital of a seed, with so many insured people and bills; some bills are bad.

    >>> one, same, other = (generate(seed, people=20, bills=40) for seed in (1, 1, 2))
    >>> one == same, one == other
    (True, False)
    """
    chance = random.Random(seed)
    town = Town(chance)
    roster = enrol(chance, town, people)
    strangers = tuple(
        town.person(born=date(1975 + index, 3, 9), female=index % 2 == 0) for index in range(4)
    )
    nameless = replace(town.person(born=date(1990, 8, 21), female=False), id_number=None)
    year = Year(chance, roster)
    wanted = counts(bills)
    drawn = planted(year, wanted, strangers, nameless)
    drawn += ordinary(year, bills - len(drawn) - wanted[Planted.DUPLICATE])
    drawn += duplicates(year, drawn, wanted[Planted.DUPLICATE])
    numbered = _numbered(drawn)
    record = measure(chance, roster.people)
    return Hospital(
        seed=seed,
        roster=roster,
        visitors=(*strangers, nameless),
        silent=tuple(year.silent),
        bills=numbered,
        truth=expectations(roster, numbered),
        record=record,
        participants=participants(roster.people, record),
    )


def _numbered(bills: list[Bill]) -> tuple[Bill, ...]:
    """In the order in which they were made out; a copy comes after its original."""
    by_end = sorted(bills, key=lambda bill: (bill.end, bill.planted is Planted.DUPLICATE))
    return tuple(
        replace(bill, number=f"99000125-{index:010d}") for index, bill in enumerate(by_end, start=1)
    )
