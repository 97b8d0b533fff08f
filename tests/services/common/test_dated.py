"""Values hold from their first day on; calendar arithmetic clamps and never overflows a month."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.dated import (
    Dated,
    NoTermsInForce,
    add_months,
    completed_years,
    half_open,
)

days = st.dates(date(1900, 1, 1), date(2200, 12, 31))


def test_a_value_holds_from_its_day_until_the_next_and_null_ends_it() -> None:
    deductible = Dated(
        values=((date(2025, 1, 1), 10), (date(2026, 1, 1), 8), (date(2027, 1, 1), None))
    )
    assert deductible.on(date(2025, 1, 1)) == 10
    assert deductible.on(date(2025, 12, 31)) == 10
    assert deductible.on(date(2026, 1, 1)) == 8
    assert deductible.on(date(2030, 1, 1)) is None
    with pytest.raises(NoTermsInForce, match="2024-12-31"):
        deductible.on(date(2024, 12, 31))


@pytest.mark.parametrize(
    "values",
    [
        (),
        ((date(2026, 1, 1), 1), (date(2025, 1, 1), 2)),
        ((date(2026, 1, 1), 1), (date(2026, 1, 1), 2)),
    ],
)
def test_values_out_of_order_are_refused(values: tuple[tuple[date, int | None], ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Dated(values=values)


@given(st.lists(st.tuples(days, st.integers()), min_size=1, unique_by=lambda v: v[0]), days)
def test_the_latest_value_not_after_the_day_is_in_force(
    values: list[tuple[date, int]], day: date
) -> None:
    dated = Dated[int](values=tuple(sorted(values)))
    begun = [entry for entry in values if entry[0] <= day]
    if begun:
        assert dated.on(day) == max(begun)[1]
    else:
        with pytest.raises(NoTermsInForce):
            dated.on(day)


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-01-15", -1, "2025-12-15"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2026-05-31", 0, "2026-05-31"),
    ],
)
def test_months_later_is_the_same_day_or_the_months_last(day: str, months: int, then: str) -> None:
    assert add_months(date.fromisoformat(day), months) == date.fromisoformat(then)


@given(days, st.integers(-600, 600))
def test_adding_months_moves_exactly_so_many_months(day: date, months: int) -> None:
    then = add_months(day, months)
    assert (then.year - day.year) * 12 + then.month - day.month == months
    assert then.day == min(day.day, monthrange(then.year, then.month)[1])


@given(days, days)
def test_a_birthday_completes_a_year(birth: date, day: date) -> None:
    age = completed_years(birth, day)
    # One who was born on 29 February ages on 1 March of a common year.
    anniversary = birth if (birth.month, birth.day) != (2, 29) else date(birth.year, 3, 1)
    leap_day = (birth.month, birth.day) == (2, 29)
    this_year = date(day.year, 2, 29) if leap_day and _is_leap(day.year) else None
    had_it = day >= (this_year or anniversary.replace(year=day.year))
    assert age == day.year - birth.year - (not had_it)


def _is_leap(year: int) -> bool:
    return monthrange(year, 2)[1] == 29


@given(days)
def test_half_open_is_the_day_after(last: date) -> None:
    assert half_open(last) - last == timedelta(days=1)
