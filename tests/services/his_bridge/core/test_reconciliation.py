"""Differences between source and bridge are seen even where counts and sums agree."""

from __future__ import annotations

from datetime import date

from services.his_bridge.core.reconciliation import DayTotals, by_day, differences

DAY = date(2026, 3, 1)


def totals(**bills: int) -> dict[date, DayTotals]:
    return by_day((DAY, external_id, total) for external_id, total in bills.items())


def test_equal_sides_do_not_differ() -> None:
    assert differences(totals(a=1, b=2), totals(b=2, a=1)) == ()


def test_one_missed_and_one_too_many_are_seen_though_count_and_sum_agree() -> None:
    (difference,) = differences(totals(a=1, b=2), totals(a=1, c=2))
    assert difference.missing_here == {"b"}
    assert difference.missing_there == {"c"}
    assert difference.total_difference == 0


def test_a_changed_amount_and_a_missing_day_are_seen() -> None:
    (difference,) = differences(totals(a=5), totals(a=4))
    assert (difference.total_difference, difference.other_total) == (1, frozenset("a"))
    (difference,) = differences(totals(a=5), {})
    assert difference.missing_here == {"a"}


def test_two_amounts_that_were_exchanged_are_seen_though_the_sum_agrees() -> None:
    (difference,) = differences(totals(a=1, b=2), totals(a=2, b=1))
    assert difference.other_total == {"a", "b"}
    assert difference.total_difference == 0
