"""Whether source and bridge hold the same bills, day by day. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date

import msgspec


class DayTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The bills of one day: the total of each in minor units, signed, by its id.

    `records` are the source's records of those bills that are not one record of the same id.
    """

    bills: Mapping[str, int] = {}
    records: Mapping[str, frozenset[str]] = {}

    def records_of(self, bill: str) -> frozenset[str]:
        """What the source keeps of a bill."""
        return self.records.get(bill) or frozenset({bill})

    @property
    def ids(self) -> frozenset[str]:
        """Which bills."""
        return frozenset(self.bills)

    @property
    def count(self) -> int:
        """How many bills."""
        return len(self.bills)

    @property
    def total(self) -> int:
        """The sum of their totals."""
        return sum(self.bills.values())


def by_day(
    bills: Iterable[tuple[date, str, int]], records: Mapping[str, frozenset[str]] | None = None
) -> dict[date, DayTotals]:
    """Day, id and total of each bill, by day. Of an id that comes twice the last counts."""
    days: defaultdict[date, dict[str, int]] = defaultdict(dict)
    for day, external_id, total in bills:
        days[day][external_id] = total
    parts = records or {}
    return {
        day: DayTotals(bills=found, records={one: parts[one] for one in found if one in parts})
        for day, found in days.items()
    }


class DayDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How one day differs: ids on one side only, ids whose totals differ, and the sums' difference.

    `total_difference` is the source's sum less ours.
    """

    day: date
    missing_here: frozenset[str]
    missing_there: frozenset[str]
    other_total: frozenset[str]
    total_difference: int


def differences(
    source: Mapping[date, DayTotals], here: Mapping[date, DayTotals]
) -> tuple[DayDifference, ...]:
    """The days on which both sides differ, oldest first; equal counts and sums prove nothing."""
    found = []
    for day in sorted({*source, *here}):
        theirs, ours = source.get(day, DayTotals()), here.get(day, DayTotals())
        if theirs.bills != ours.bills:
            both = theirs.ids & ours.ids
            found.append(
                DayDifference(
                    day=day,
                    missing_here=theirs.ids - ours.ids,
                    missing_there=ours.ids - theirs.ids,
                    other_total=frozenset(n for n in both if theirs.bills[n] != ours.bills[n]),
                    total_difference=theirs.total - ours.total,
                )
            )
    return tuple(found)
