"""One factor brings a book to its target under its collar, or the range that it can reach."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.arithmetic import BILLION, balanced, clipped, less_credit
from services.pricing.core.balance import (
    TOLERANCE,
    NotBalanced,
    OutOfReach,
    Reach,
    off_balance,
    target_of,
)
from services.pricing.core.renewal import bounds_e4, bounds_minor, offered_e4, to_minor_inside
from services.pricing.core.tariff import E4, MILLION, Collar

_COLLAR = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="a test")
_PERSON = st.tuples(
    st.integers(1_000_00, 30_000_00),  # technical, minor units
    st.integers(1_000_00, 30_000_00),  # expiring
    st.sampled_from([0, 30_000, 60_000, 100_000]),  # credit
)


def total(people: list[tuple[int, int, int]], k: int) -> int:
    found = 0
    for technical, expiring, credit in people:
        offered = offered_e4(technical * E4, k, *bounds_e4(expiring, _COLLAR))
        found += less_credit(offered, credit)
    return found


def reach(people: list[tuple[int, int, int]]) -> Reach:
    bounds = [bounds_e4(expiring, _COLLAR) for _, expiring, _ in people]
    least = [less_credit(low, p[2]) for (low, _), p in zip(bounds, people, strict=True)]
    most = [less_credit(high, p[2]) for (_, high), p in zip(bounds, people, strict=True)]
    return Reach(sum(least), sum(most))


@given(st.lists(_PERSON, min_size=1, max_size=40), st.integers(-140_000, 240_000))
def test_the_total_meets_the_target_within_a_millionth_or_the_target_is_refused(
    people: list[tuple[int, int, int]], change: int
) -> None:
    target = target_of(sum(less_credit(p[1] * E4, p[2]) for p in people) // E4, change)
    allowed = reach(people)
    try:
        k = off_balance(lambda k: total(people, k), target, allowed)
    except OutOfReach as refused:
        least, most = refused.reach.least_e4, refused.reach.most_e4
        assert not least <= target <= most
        return
    assert abs(Fraction(total(people, k), target) - 1) <= TOLERANCE
    assert total(people, k - 1) < target <= total(people, k)


@given(st.lists(_PERSON, min_size=1, max_size=20), st.integers(1, 1_000 * BILLION - 3))
def test_where_the_factor_is_believed_to_be_never_changes_it(
    people: list[tuple[int, int, int]], near: int
) -> None:
    target = total(people, BILLION)
    found = off_balance(lambda k: total(people, k), target, reach(people))
    assert found == off_balance(lambda k: total(people, k), target, reach(people), (near, near + 1))


def test_clipping_again_and_again_gives_other_premiums_for_the_same_total() -> None:
    """The control: what practice often does is not what the one factor does."""
    people = [(1_000_00, 2_000_00, 0), (3_000_00, 2_000_00, 0), (2_000_00, 2_200_00, 0)]
    target = 6_100_00 * E4
    k = off_balance(lambda k: total(people, k), target, reach(people))
    one = [offered_e4(t * E4, k, *bounds_e4(e, _COLLAR)) for t, e, _ in people]
    again = [t * E4 for t, _, _ in people]
    for _ in range(200):
        scale = Fraction(target, sum(again))
        clipped_again = []
        for amount, (_, expiring, _) in zip(again, people, strict=True):
            least, most = bounds_e4(expiring, _COLLAR)
            clipped_again.append(clipped(int(amount * scale), least, most))
        again = clipped_again
    assert abs(sum(again) - sum(one)) <= len(people) * E4
    assert max(abs(a - b) / b for a, b in zip(again, one, strict=True)) > 0.01


def test_a_target_out_of_reach_is_refused_with_what_the_collar_allows() -> None:
    people = [(1_000_00, 1_000_00, 0), (2_000_00, 1_000_00, 100_000)]
    with pytest.raises(OutOfReach) as refused:
        off_balance(lambda k: total(people, k), 2_400_00 * E4, reach(people))
    assert refused.value.reach == Reach(1_615_00 * E4, 2_375_00 * E4)
    assert refused.value.target_e4 == 2_400_00 * E4


def test_a_book_that_is_too_small_to_be_balanced_is_refused() -> None:
    """One fen in all: between two totals that differ by more than a millionth lies no factor."""
    with pytest.raises(NotBalanced):
        off_balance(lambda k: k // BILLION * 10_000, 15_000, Reach(0, 80_000))


def test_a_target_below_what_the_collar_allows_is_out_of_reach_too() -> None:
    people = [(1_000_00, 1_000_00, 0), (2_000_00, 1_000_00, 100_000)]
    with pytest.raises(OutOfReach) as refused:
        off_balance(lambda k: total(people, k), 1_000_00 * E4, reach(people))
    assert refused.value.reach == reach(people)


@pytest.mark.parametrize("near", [None, (0, 1), (1, 2), (5, 9)])
def test_the_least_factor_is_a_billionth(near: tuple[int, int] | None) -> None:
    assert off_balance(lambda _k: 10_000, 10_000, Reach(10_000, 10_000), near) == 1


def test_a_millionth_from_the_target_is_near_enough_and_two_are_not() -> None:
    allowed = Reach(0, 2_000_000)
    assert off_balance(lambda _k: 1_000_001, 1_000_000, allowed) == 1
    with pytest.raises(NotBalanced):
        off_balance(lambda _k: 1_000_002, 1_000_000, allowed)


def test_a_book_that_owes_nothing_is_balanced_at_nothing() -> None:
    assert off_balance(lambda _k: 0, 0, Reach(0, 0)) == 1


@pytest.mark.parametrize(
    ("expiring", "change", "target"),
    [
        (1_000_000, 35_000, 10_350_000_000),
        (1_000_000, -35_000, 9_650_000_000),
        (1, 50, 10_001),
        (1, 49, 10_000),
    ],
)
def test_the_target_is_the_expiring_premium_with_the_change_half_up(
    expiring: int, change: int, target: int
) -> None:
    assert target_of(expiring, change) == target


def test_technical_prices_beyond_the_factor_reach_no_target() -> None:
    people = [(1, 1_000_00, 0)]
    with pytest.raises(OutOfReach) as refused:
        off_balance(lambda k: total(people, k), 1_100_00 * E4, reach(people))
    assert refused.value.reach.most_e4 == 850_00 * E4


@given(st.integers(0, 9 * 10**12), st.integers(1, 1_000 * BILLION - 1))
def test_the_factor_is_applied_exactly_and_rounded_half_up(amount: int, k: int) -> None:
    assert balanced(amount, k) == (2 * amount * k + BILLION) // (2 * BILLION)


@given(st.integers(1, 10**9), st.integers(1, MILLION), st.integers(MILLION, 9 * MILLION))
def test_bounds_are_whole_fen_inside_the_collar_with_the_expiring_premium_between(
    expiring: int, low: int, high: int
) -> None:
    collar = Collar(least_millionths=low, greatest_millionths=high, source="a test")
    least, most = bounds_minor(expiring, collar)
    assert expiring * low <= least * MILLION
    assert most * MILLION <= expiring * high
    assert least <= expiring <= most
    exactly = bounds_e4(expiring, collar)
    ends = Fraction(expiring * low, 100), Fraction(expiring * high, 100)
    assert ends[0] <= exactly[0] < ends[0] + 1
    assert ends[1] - 1 < exactly[1] <= ends[1]
    assert to_minor_inside(*exactly) == (least, most)


def test_small_premiums_held_by_the_collar_meet_the_target_within_a_millionth() -> None:
    """Two in three lie at a bound that is no whole fen: 85.85, 126.25. The sum is of fractions."""
    people = [(10 * 101, 101, 0), (101, 101, 0), (1, 101, 100_000)] * 40
    target = target_of(101 * len(people), 0)
    k = off_balance(lambda k: total(people, k), target, reach(people))
    low, high = Fraction(101 * 85, 100), Fraction(101 * 125, 100)
    exact = Fraction(0)
    for technical, _, credit in people:
        offered = min(max(Fraction(technical * k, BILLION), low), high)
        exact += offered * (1 - Fraction(credit, MILLION))
    assert abs(exact * E4 / target - 1) <= TOLERANCE


def test_the_ends_of_the_collar_themselves_can_be_reached() -> None:
    people = [(1_000, 101, 0), (1, 333, 0), (500, 7, 0)]
    expiring = sum(e for _, e, _ in people)
    for change in (-150_000, 250_000):
        target = target_of(expiring, change)
        k = off_balance(lambda k: total(people, k), target, reach(people))
        assert total(people, k) == target
