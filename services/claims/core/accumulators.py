"""What deductibles, ceilings and counts hold, period by period, and what a decision adds to them.

Knows neither why an amount is added nor where balances are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from services.claims.core.decision import UsageChange
from services.claims.core.facts import Balance, PolicySnapshot, Scope, UsageSnapshot, usage_snapshot
from services.claims.core.plan import Period
from services.common.dated import add_months

_Key = tuple[str, Scope, date | None]
_NOTHING = (0, 0)


def policy_year_start(start: date, day: date) -> date:
    """First day of the policy year that `day` lies in, for a policy that began on `start`.

    >>> policy_year_start(date(2024, 2, 29), date(2026, 2, 28))
    datetime.date(2026, 2, 28)
    """
    years = day.year - start.year
    if add_months(start, 12 * years) > day:
        years -= 1
    return add_months(start, 12 * years)


def period_start(period: Period | None, policy: PolicySnapshot, day: date) -> date | None:
    """First day of the period that `day` lies in; None for life and for one treatment."""
    match period:
        case Period.POLICY_YEAR:
            return policy_year_start(policy.start, day)
        case Period.CALENDAR_YEAR:
            return date(day.year, 1, 1)
        case Period.CALENDAR_MONTH:
            return date(day.year, day.month, 1)
        case _:
            return None


class Keys(dict[tuple[str, Scope, Period | None], _Key]):
    """From accumulator, scope and period to the key of its balance on a day; each made once."""

    def __init__(self, policy: PolicySnapshot, day: date) -> None:
        super().__init__()
        self._policy = policy
        self._day = day
        self._starts: dict[Period | None, date | None] = {}

    def __missing__(self, asked: tuple[str, Scope, Period | None]) -> _Key:
        accumulator, scope, period = asked
        if period not in self._starts:
            self._starts[period] = period_start(period, self._policy, self._day)
        key = self[asked] = (accumulator, scope, self._starts[period])
        return key


def opened(policy: PolicySnapshot, usage: UsageSnapshot, day: date) -> Tally:
    """The accumulators as they are stored, on a day, before a claim adds to them."""
    used = {
        (one.accumulator, one.scope, one.period_start): (one.amount, one.count)
        for one in usage.balances
    }
    return Tally(used, Keys(policy, day))


class Tally:
    """The accumulators while one claim is decided: stored balances, and what this claim adds."""

    __slots__ = ("_added", "_keys", "_used")

    def __init__(self, used: Mapping[_Key, tuple[int, int]], keys: Keys) -> None:
        self._used = used
        self._keys = keys
        self._added: dict[_Key, list[int]] = {}

    def afresh(self) -> Tally:
        """The same stored balances, to which nothing has been added yet."""
        return Tally(self._used, self._keys)

    def left(self, accumulator: str, scope: Scope, period: Period | None, limit: int) -> int:
        """What of an amount's limit is left, never below 0."""
        key = self._keys[accumulator, scope, period]
        used, added = self._used.get(key), self._added.get(key)
        if used is not None:
            limit -= used[0]
        if added is not None:
            limit -= added[0]
        return max(0, limit)

    def count_left(self, accumulator: str, scope: Scope, period: Period | None, limit: int) -> int:
        """What of a count's limit is left, never below 0."""
        key = self._keys[accumulator, scope, period]
        return max(0, limit - self._used.get(key, _NOTHING)[1])

    def add(
        self,
        accumulator: str,
        scope: Scope,
        period: Period | None,
        *,
        amount: int = 0,
        count: int = 0,
    ) -> None:
        """Add to an accumulator; adding nothing leaves no trace."""
        if amount or count:
            added = self._added.setdefault(self._keys[accumulator, scope, period], [0, 0])
            added[0] += amount
            added[1] += count

    def changes(self) -> tuple[UsageChange, ...]:
        """What the claim adds, in canonical order; what counts one treatment only is not in it."""
        return tuple(one for one in self.added() if one.scope is not Scope.TREATMENT)

    def added(self) -> tuple[UsageChange, ...]:
        """What the claim has added so far, in canonical order, of one treatment as well."""
        ordered = sorted(self._added, key=_canonical)
        return tuple(
            UsageChange(
                accumulator=key[0],
                scope=key[1],
                period_start=key[2],
                amount=self._added[key][0],
                count=self._added[key][1],
            )
            for key in ordered
        )


def most_of(
    one: tuple[UsageChange, ...], other: tuple[UsageChange, ...]
) -> tuple[UsageChange, ...]:
    """Of each accumulator the larger of two changes, in canonical order."""
    found: dict[_Key, UsageChange] = {}
    for change in (*one, *other):
        key = (change.accumulator, change.scope, change.period_start)
        known = found.get(key, change)
        found[key] = UsageChange(
            accumulator=change.accumulator,
            scope=change.scope,
            period_start=change.period_start,
            amount=max(known.amount, change.amount),
            count=max(known.count, change.count),
        )
    return tuple(found[key] for key in sorted(found, key=_canonical))


def _canonical(key: _Key) -> tuple[str, Scope, date]:
    return (key[0], key[1], key[2] or date.min)


def with_changes(
    usage: UsageSnapshot, changes: tuple[UsageChange, ...], *, release: bool = False
) -> UsageSnapshot:
    """The usage after a decision's changes, or after their exact release. Services stay.

    Raises: ValueError when a release takes back more than was there.
    """
    sign = -1 if release else 1
    totals = {
        (one.accumulator, one.scope, one.period_start): (one.amount, one.count)
        for one in usage.balances
    }
    for change in changes:
        key = (change.accumulator, change.scope, change.period_start)
        amount, count = totals.get(key, (0, 0))
        totals[key] = (amount + sign * change.amount, count + sign * change.count)
        if min(totals[key]) < 0:
            raise ValueError(f"{change.accumulator}: released more than was used")
    balances = (
        Balance(accumulator=key[0], scope=key[1], period_start=key[2], amount=amount, count=count)
        for key, (amount, count) in totals.items()
        if amount or count
    )
    return usage_snapshot(balances, usage.services)
