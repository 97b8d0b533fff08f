"""An insured person as a study may see them: cut to what it needs, and made as coarse as others.

Who shares what is told of birth and sex with fewer than `LEAST` others is not told of. It knows no
database and no pseudonyms; days are calendar days, intervals half-open.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from services.claims.core.facts import BillFacts, CareType, Coding, DisclosedCondition, Sex

# So many people share what is told of birth and sex, at the least.
LEAST = 5
_BAND_YEARS = 5
# Disclosed by ICD-10 code: E11 is type 2 diabetes, I10 to I15 are hypertensive diseases.
_DIABETES = "E11"
_HYPERTENSION = ("I10", "I11", "I12", "I13", "I15")
# Chapter XIX of ICD-10: injury, poisoning and other consequences of external causes.
_INJURY = ("S", "T")


class Precision(enum.IntEnum):
    """How exactly a birth is told."""

    FIVE_YEARS = 1
    YEAR = 2
    MONTH = 3


class Born(msgspec.Struct, frozen=True):
    """What of a person others may know."""

    birth_date: date
    sex: Sex
    # Covered so soon after the five years of the birth that the day of cover tells more than these.
    young: bool = False


class Census:
    """How exactly the birth of each person may be told, by all who are in the study.

    All people of one sex and band of five years are told alike, unless the parts that a finer
    telling would make of them are large enough, every one: else the few would stand out as those
    whose telling is coarse.
    """

    def __init__(self, people: Iterable[Born]) -> None:
        months: Counter[tuple[Sex, int, int]] = Counter()
        grown: Counter[tuple[Sex, int]] = Counter()
        for one in people:
            months[one.sex, one.birth_date.year, one.birth_date.month] += 1
            grown[one.sex, one.birth_date.year // _BAND_YEARS] += not one.young
        years: dict[tuple[Sex, int], list[int]] = defaultdict(list)
        for (sex, year, _), number in months.items():
            years[sex, year].append(number)
        bands: dict[tuple[Sex, int], list[int]] = defaultdict(list)
        for (sex, year), numbers in years.items():
            bands[sex, year // _BAND_YEARS].append(sum(numbers))
        by_year = {band for band, parts in bands.items() if min(parts) >= LEAST}
        self._told = {
            (sex, year): _precision(months=numbers, by_year=(sex, year // _BAND_YEARS) in by_year)
            for (sex, year), numbers in years.items()
            if (band := (sex, year // _BAND_YEARS)) in by_year or grown[band] >= LEAST
        }

    def precision(self, one: Born) -> Precision | None:
        """How exactly; None for who is not told of at all."""
        how = self._told.get((one.sex, one.birth_date.year))
        return None if one.young and how is Precision.FIVE_YEARS else how


def digest_of(people: Mapping[str, Born]) -> str:
    """The same only of the same people, born alike, in one order; 32 hex digits."""
    found = hashlib.sha256()
    for whose, one in people.items():
        found.update(repr((whose, one.birth_date, one.sex.value, one.young)).encode())
    return found.hexdigest()[:32]


def _precision(*, months: Sequence[int], by_year: bool) -> Precision:
    if not by_year:
        return Precision.FIVE_YEARS
    return Precision.MONTH if min(months) >= LEAST else Precision.YEAR


def told_birth(birth: date, precision: Precision) -> date:
    """The birth as it is told: the first of its month, or the middle of what it may be.

    >>> told_birth(date(1983, 3, 7), Precision.MONTH)
    datetime.date(1983, 3, 1)
    >>> told_birth(date(1983, 3, 7), Precision.FIVE_YEARS)
    datetime.date(1982, 7, 1)
    """
    if precision is Precision.MONTH:
        return birth.replace(day=1)
    year = birth.year
    if precision is Precision.FIVE_YEARS:
        year = year - year % _BAND_YEARS + _BAND_YEARS // 2
    return date(year, 7, 1)


def condition_of(disclosed: Iterable[DisclosedCondition]) -> str:
    """Which chronic condition was disclosed: none, hypertension, type2_diabetes or both.

    A prefix wider than the disease (E, I1) says neither.

    >>> condition_of(
    ...     [DisclosedCondition(code_prefix="E11.9"), DisclosedCondition(code_prefix="I10")]
    ... )
    'both'
    """
    prefixes = [one.code_prefix for one in disclosed]
    diabetes = any(one.startswith(_DIABETES) for one in prefixes)
    hypertension = any(one.startswith(_HYPERTENSION) for one in prefixes)
    if diabetes and hypertension:
        return "both"
    return "type2_diabetes" if diabetes else "hypertension" if hypertension else "none"


def cause_of(bill: BillFacts) -> str:
    """Why it was claimed: injury by the principal diagnosis, else where the care was given.

    Everything but a stay is outpatient: emergency, pharmacy, chronic and online care too. Without
    a kind of care it is unknown.
    """
    principal = next((one for one in bill.diagnoses if one.principal), None)
    if principal is not None and _is_injury(principal.code):
        return "injury"
    if bill.care_type is None:
        return "unknown"
    return "inpatient" if bill.care_type is CareType.INPATIENT else "outpatient"


def _is_injury(code: Coding) -> bool:
    return "icd-10" in code.system.lower() and code.code.upper().startswith(_INJURY)


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a person's cover under one policy, whose years count from `policy_start`."""

    policy_id: str
    policy_start: date
    start: date
    end: date
    currency: str


class PolicyYear(msgspec.Struct, frozen=True, kw_only=True):
    """What of one policy year covers the person."""

    policy_id: str
    first_day: date
    after_day: date
    currency: str


def policy_years(covers: Iterable[Cover], before: date) -> tuple[list[PolicyYear], int]:
    """The person's policy years that begin before a day, without overlap; how many were cut for it.

    Of two policies that cover the same days the one that began first keeps them: a day is exposure
    once, whoever pays.
    """
    pieces = sorted(
        (piece for cover in covers for piece in _split(cover) if piece.first_day < before),
        key=lambda one: (one.first_day, one.policy_id),
    )
    found: list[PolicyYear] = []
    cut = 0
    free_from = date.min
    for piece in pieces:
        cut += piece.first_day < free_from
        free = msgspec.structs.replace(piece, first_day=max(piece.first_day, free_from))
        if free.first_day < free.after_day:
            found.append(free)
            free_from = free.after_day
    return found, cut


def _split(cover: Cover) -> Iterable[PolicyYear]:
    first = cover.start
    while first < cover.end:
        year = first.year
        while (after := _anniversary(cover.policy_start, year)) <= first:
            year += 1
        after = min(after, cover.end)
        yield PolicyYear(
            policy_id=cover.policy_id, first_day=first, after_day=after, currency=cover.currency
        )
        first = after


def _anniversary(start: date, year: int) -> date:
    try:
        return start.replace(year=year)
    except ValueError:  # 29 February
        return date(year, 3, 1)


def after_infancy(years: Iterable[PolicyYear], birth: date) -> list[PolicyYear]:
    """The policy years from the second 1 January after birth on, a day that tells the year alone.

    The first day of a newborn's cover would tell the birth.
    """
    start = date(birth.year + 2, 1, 1)
    return [
        msgspec.structs.replace(one, first_day=max(one.first_day, start))
        for one in years
        if one.after_day > start
    ]


def is_young(first_day: date, birth: date) -> bool:
    """Whether the first day of cover that is told may tell more than five years do of the birth."""
    return first_day <= date(birth.year - birth.year % _BAND_YEARS + _BAND_YEARS + 1, 1, 1)


def covering(years: Sequence[PolicyYear], day: date) -> PolicyYear | None:
    """The policy year that covers a day."""
    return next((one for one in years if one.first_day <= day < one.after_day), None)
