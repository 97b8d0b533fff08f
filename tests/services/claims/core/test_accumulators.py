"""Periods and the tally of what one claim adds."""

from __future__ import annotations

from datetime import date

import pytest

from services.claims.core.accumulators import (
    opened,
    period_start,
    policy_year_start,
    with_changes,
)
from services.claims.core.decision import UsageChange
from services.claims.core.facts import Balance, Scope, UsageSnapshot, usage_snapshot
from services.claims.core.plan import Period
from tests.services.claims.core.bills import policy

YEAR = date(2025, 3, 1)


@pytest.mark.parametrize(
    ("start", "day", "begins"),
    [
        (date(2025, 3, 1), date(2025, 3, 1), date(2025, 3, 1)),
        (date(2025, 3, 1), date(2026, 2, 28), date(2025, 3, 1)),
        (date(2025, 3, 1), date(2026, 3, 1), date(2026, 3, 1)),
        (date(2024, 2, 29), date(2025, 2, 27), date(2024, 2, 29)),
        (date(2024, 2, 29), date(2025, 2, 28), date(2025, 2, 28)),
        (date(2024, 2, 29), date(2028, 2, 28), date(2027, 2, 28)),
        (date(2024, 2, 29), date(2028, 2, 29), date(2028, 2, 29)),
    ],
)
def test_a_policy_year_begins_on_the_policys_day(start: date, day: date, begins: date) -> None:
    assert policy_year_start(start, day) == begins


@pytest.mark.parametrize(
    ("period", "begins"),
    [
        (Period.POLICY_YEAR, date(2025, 3, 1)),
        (Period.CALENDAR_YEAR, date(2026, 1, 1)),
        (Period.CALENDAR_MONTH, date(2026, 2, 1)),
        (Period.LIFETIME, None),
        (None, None),
    ],
)
def test_each_period_begins_on_its_own_day(period: Period | None, begins: date | None) -> None:
    ours = policy(start=YEAR, end=date(2026, 3, 1))
    assert period_start(period, ours, date(2026, 2, 14)) == begins


def test_what_is_left_is_never_below_nothing() -> None:
    used = usage_snapshot(
        [Balance(accumulator="c", scope=Scope.MEMBER, period_start=YEAR, amount=90, count=3)]
    )
    tally = opened(policy(start=YEAR, end=date(2026, 3, 1)), used, date(2025, 4, 1))
    assert tally.left("c", Scope.MEMBER, Period.POLICY_YEAR, 100) == 10
    tally.add("c", Scope.MEMBER, Period.POLICY_YEAR, amount=25)
    assert tally.left("c", Scope.MEMBER, Period.POLICY_YEAR, 100) == 0
    assert tally.count_left("c", Scope.MEMBER, Period.POLICY_YEAR, 5) == 2
    assert tally.left("c", Scope.FAMILY, Period.POLICY_YEAR, 100) == 100


def test_what_counts_one_treatment_only_is_not_stored() -> None:
    tally = opened(policy(), UsageSnapshot(), date(2025, 4, 1))
    tally.add("stay", Scope.TREATMENT, None, amount=5)
    tally.add("year", Scope.MEMBER, Period.POLICY_YEAR, amount=5)
    tally.add("year", Scope.MEMBER, Period.LIFETIME, count=1)
    tally.add("nothing", Scope.MEMBER, Period.LIFETIME)
    assert tally.left("stay", Scope.TREATMENT, None, 10) == 5
    assert [
        (one.accumulator, one.period_start, one.amount, one.count) for one in tally.changes()
    ] == [
        ("year", None, 0, 1),
        ("year", date(2025, 1, 1), 5, 0),
    ]


def test_what_is_released_exactly_leaves_no_balance_of_nothing() -> None:
    used = UsageChange(accumulator="a", scope=Scope.MEMBER, period_start=YEAR, amount=700, count=1)
    after = with_changes(UsageSnapshot(), (used,))
    assert [(one.amount, one.count) for one in after.balances] == [(700, 1)]
    assert with_changes(after, (used,), release=True) == UsageSnapshot()
