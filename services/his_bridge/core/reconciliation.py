"""Whether source and bridge hold the same bills, day by day. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec


class DayTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The bills of one day: which, and the sum of their totals in minor units."""

    ids: frozenset[str] = frozenset()
    total: int = 0

    @property
    def count(self) -> int:
        """How many bills."""
        return len(self.ids)

    def with_bill(self, external_id: str, total: int) -> DayTotals:
        """The same day with one more bill."""
        return DayTotals(ids=self.ids | {external_id}, total=self.total + total)


class DayDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How one day differs: ids on one side only, and the source's total less ours."""

    day: date
    missing_here: frozenset[str]
    missing_there: frozenset[str]
    total_difference: int


def differences(
    source: Mapping[date, DayTotals], here: Mapping[date, DayTotals]
) -> tuple[DayDifference, ...]:
    """The days on which both sides differ, oldest first; equal counts alone prove nothing."""
    found = []
    for day in sorted({*source, *here}):
        theirs, ours = source.get(day, DayTotals()), here.get(day, DayTotals())
        if theirs != ours:
            found.append(
                DayDifference(
                    day=day,
                    missing_here=theirs.ids - ours.ids,
                    missing_there=ours.ids - theirs.ids,
                    total_difference=theirs.total - ours.total,
                )
            )
    return tuple(found)
