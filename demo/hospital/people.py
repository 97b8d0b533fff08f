"""The demo's people, households and policies, drawn from a seed. Knows no FHIR and no wire.

Nobody here exists: identity numbers lie in area 990001, which no authority issues, bank accounts
and clearing codes begin with digits that no bank has.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

MEDICAL_PLAN = "million-medical"
DIABETES_PLAN = "chronic-diabetes"
AREA = "990001"

_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_MALE = "伟强磊军勇杰涛明刚平鹏辉超斌"
_FEMALE = "芳娜敏静丽娟艳霞玲红燕梅莉婷"
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


@dataclass(frozen=True, kw_only=True)
class Person:
    """One patient of the hospital."""

    key: str
    name: str
    female: bool
    born: date
    # None for a visitor who showed no identity document.
    id_number: str | None
    # Has social insurance (医保).
    social: bool = True
    diabetic: bool = False
    hypertensive: bool = False


@dataclass(frozen=True, kw_only=True)
class Disclosed:
    """A condition from before the cover: what was agreed, EXCLUDED, COVERED or AT_SHARE."""

    code_prefix: str
    terms: str
    share: str = ""


@dataclass(frozen=True, kw_only=True)
class Insured:
    """A person under a policy; relationship is SELF, SPOUSE, CHILD or PARENT."""

    person: Person
    relationship: str
    disclosed: tuple[Disclosed, ...] = ()
    # Reached in a health programme before the policy year; empty without one.
    outcome_tier: str = ""


@dataclass(frozen=True, kw_only=True)
class Cover:
    """One policy with its people and the account that it pays to."""

    policy_id: str
    plan: str
    start: date
    last: date
    previous: str = ""
    insured: tuple[Insured, ...]
    holder_name: str
    account_number: str
    bank_code: str


def completed_years(person: Person, day: date) -> int:
    """The person's age on a day."""
    born = person.born
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def id_number(born: date, serial: int) -> str:
    """An 18-character number of the form of a Chinese identity card, with a true check digit.

    >>> id_number(date(1980, 1, 2), 17)
    '99000119800102017X'
    """
    body = f"{AREA}{born:%Y%m%d}{serial:03d}"
    return body + check_digit(body)


def check_digit(body: str) -> str:
    """The last character of an identity number, from the 17 digits before it (GB 11643-1999)."""
    total = sum(int(digit) * weight for digit, weight in zip(body, _ID_WEIGHTS, strict=True))
    return _ID_CHECKS[total % 11]


class Town:
    """Draws people whose numbers never repeat."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._count = 0
        self._born_on: Counter[date] = Counter()

    def person(self, *, born: date, female: bool, surname: str = "") -> Person:
        """A person with the day's next serial number; odd serials are men, as on the card."""
        self._count += 1
        self._born_on[born] += 1
        surname = surname or self._chance.choice(_SURNAMES)
        serial = 2 * self._born_on[born] + (0 if female else 1)
        return Person(
            key=f"p{self._count:04d}",
            name=surname + self._chance.choice(_FEMALE if female else _MALE),
            female=female,
            born=born,
            id_number=id_number(born, serial),
        )

    def household(self, size: int, today: date) -> list[tuple[Person, str]]:
        """Policyholder first, then spouse, children and a parent, up to `size` people."""
        chance = self._chance
        age = chance.randint(28, 66)
        surname = chance.choice(_SURNAMES)
        woman = chance.random() < 0.5
        people = [(self.person(born=self._born(age, today), female=woman, surname=surname), "SELF")]
        if size >= 2:
            spouse = self._born(age + chance.randint(-3, 3), today)
            people.append((self.person(born=spouse, female=not woman), "SPOUSE"))
        while len(people) < size:
            if age >= 48 or (len(people) == 3 and chance.random() < 0.4):
                born, kin = self._born(min(age + chance.randint(23, 30), 88), today), "PARENT"
            else:
                born, kin = self._born(chance.randint(1, min(17, age - 22)), today), "CHILD"
            people.append(
                (self.person(born=born, female=chance.random() < 0.5, surname=surname), kin)
            )
        return people

    def family_with_grown_child(self, today: date) -> list[tuple[Person, str]]:
        """Two parents and a child who turns 26 in the summer half of the year from `today` on."""
        chance = self._chance
        surname = chance.choice(_SURNAMES)
        woman = chance.random() < 0.5
        age = chance.randint(49, 58)
        birthday = date(today.year - 26, chance.randint(4, 8), chance.randint(1, 28))
        child = self.person(born=birthday, female=chance.random() < 0.5, surname=surname)
        return [
            (self.person(born=self._born(age, today), female=woman, surname=surname), "SELF"),
            (self.person(born=self._born(age, today), female=not woman), "SPOUSE"),
            (child, "CHILD"),
        ]

    def _born(self, age: int, today: date) -> date:
        return today - timedelta(days=age * 365 + age // 4 + self._chance.randint(1, 360))
