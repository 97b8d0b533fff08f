"""Months and days as whole numbers, for arrays: days since 1970-01-01, months from a first one."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]

# Readings of the year before the study and of what a laboratory value reaches back to.
FIRST_MONTH = np.datetime64("2021-10")


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def month_starts(after_day: date) -> Whole:
    """First day of every month of the simulation, and the day after the last."""
    last = np.datetime64(after_day, "M")
    months = np.arange(FIRST_MONTH, last + 1)
    return np.asarray(months.astype("datetime64[D]").astype(np.int64))


def years_later(day: Whole, years: Whole | int) -> Whole:
    """The same day of the year, some years later; the day of the month is at most 28."""
    months = day.astype("datetime64[D]").astype("datetime64[M]")
    inside = day - months.astype("datetime64[D]").astype(np.int64)
    later = months + np.asarray(years) * 12
    return np.asarray(later.astype("datetime64[D]").astype(np.int64) + inside)


def at_most_28th(day: Whole) -> Whole:
    """The day, or the 28th of its month, so that it stands in every year."""
    months = day.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]")
    first = months.astype(np.int64)
    return np.asarray(np.minimum(day, first + 27))
