"""Values that change on known days, and the calendar arithmetic of policies. Knows no clock."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from itertools import pairwise
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class NoTermsInForce(LookupError):
    """No value is in force on the day asked for."""


class Dated(msgspec.Struct, Generic[T], frozen=True):
    """A value with the day from which each of its versions holds; None ends it.

    `values` ascend by first day and hold at least one; days do not repeat.
    """

    values: tuple[tuple[date, T | None], ...]

    def __post_init__(self) -> None:
        """Refuse values that `on` would misread."""
        days = [day for day, _ in self.values]
        if not days or any(later <= earlier for earlier, later in pairwise(days)):
            raise ValueError("dated values need a first day each, ascending and without repeats")

    def on(self, day: date) -> T | None:
        """The value in force on `day`; None when it has ended.

        Raises: NoTermsInForce before the first day.
        """
        found: tuple[date, T | None] | None = None
        for entry in self.values:
            if entry[0] > day:
                break
            found = entry
        if found is None:
            raise NoTermsInForce(f"nothing in force on {day.isoformat()}")
        return found[1]


def add_months(day: date, months: int) -> date:
    """The same day `months` later, clamped to the end of the month.

    >>> add_months(date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    month += 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def completed_years(birth: date, day: date) -> int:
    """Age in completed years on `day`; one who was born on 29 February ages on 1 March.

    >>> completed_years(date(1960, 2, 29), date(2026, 2, 28))
    65
    """
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


# Of the days that policies and bills name. Periods that are counted from one stay in the calendar.
FIRST_YEAR, LAST_YEAR = 1900, 2199


def half_open(last_day: date) -> date:
    """First day after a written last day: files write the last day, storage is half-open."""
    return last_day + timedelta(days=1)
