"""The time of people who may join a programme, cut into months: who was in it when, and since when.

Of a study's segments only those in a listed condition are followed. New users only: who is in a
programme from the first day seen has no time before it and is left out; what follows a first stay
is left out too. The time before joining belongs to those outside: who joins had to stay insured
until then, and would be given that time for nothing (immortal time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.fitting.models.design import Codes, Floats

Days = NDArray[np.int64]
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonMonths:
    """One value per row: a part of a calendar month of one segment of one person.

    `persons` are numbered from 0; `since` are months since the month of joining, from 0 on, and
    before it from -1 back; meaningless where `joins` is false. `left_out` counts persons by reason.
    """

    persons: NDArray[np.intp]
    months: Codes
    covers: Codes
    days: Floats
    joins: NDArray[np.bool_]
    enrolled: NDArray[np.bool_]
    since: Codes
    left_out: dict[str, int]
    row_of: Days  # by segment: its first row, or -1
    month_of: Days  # by segment: the month of its first row

    def __len__(self) -> int:
        return len(self.persons)

    def within(self, first: int, last: int) -> NDArray[np.bool_]:
        """The rows of those who join that lie in a span of months since joining, both inside."""
        return self.joins & (self.since >= first) & (self.since <= last)

    def totals(self, claims: pd.DataFrame, amounts: Floats) -> Floats:
        """The sum of a column of the study's claims over each row; claims elsewhere are left."""
        segments = claims["segment_id"].to_numpy(dtype=np.int64)
        row = self.row_of[segments]
        place = row + _month(_day(claims["event_day"])) - self.month_of[segments]
        held = row >= 0
        found = np.bincount(place[held], weights=amounts[held], minlength=len(self))
        return found.astype(np.float64)


def person_months(experience: pd.DataFrame, conditions: Sequence[str]) -> PersonMonths:
    """The months of a study's experience (one row per segment, numbered by `segment_id`)."""
    rows = experience.sort_values(["person_id", "first_day"], kind="stable")
    person = pd.factorize(rows["person_id"])[0]
    first, after = _day(rows["first_day"]), _day(rows["after_day"])
    inside = rows["participant"].to_numpy(dtype=bool)
    joined = np.full(person.max(initial=-1) + 1, _NEVER)
    np.minimum.at(joined, person[inside], first[inside])
    ever = joined[person] < _NEVER
    later = ever & ~inside & (first > joined[person])
    ended = np.full(len(joined), _NEVER)
    np.minimum.at(ended, person[later], first[later])
    ill = rows["condition"].isin(conditions).to_numpy()
    stays = ill & (first < ended[person])
    has_before = np.zeros(len(joined), dtype=bool)
    has_before[person[stays & ~inside]] = True
    kept = stays & has_before[person]
    return _cut(
        rows["segment_id"].to_numpy(dtype=np.int64)[kept],
        _renumbered(person[kept]),
        np.stack([first[kept], after[kept]]),
        np.where(ever, joined[person], _NEVER)[kept],
        covers=_covers(rows)[kept],
        inside=inside[kept],
        left_out={
            "in it from the first day seen": int((~has_before)[np.unique(person[stays])].sum()),
            "left it, followed until then": int((ended[np.unique(person[kept])] < _NEVER).sum()),
        },
        segments=int(experience["segment_id"].max()) + 1,
    )


def _cut(
    segment: Days,
    person: NDArray[np.intp],
    ends: Days,
    joined: Days,
    *,
    covers: Codes,
    inside: NDArray[np.bool_],
    left_out: dict[str, int],
    segments: int,
) -> PersonMonths:
    first, after = ends
    begin, last = _month(first), _month(after - 1)
    number = last - begin + 1
    row_of, month_of = np.full(segments, -1), np.zeros(segments, dtype=np.int64)
    row_of[segment], month_of[segment] = np.cumsum(number) - number, begin
    within = np.arange(int(number.sum())) - np.repeat(row_of[segment], number)
    month = np.repeat(begin, number) + within
    starts = np.maximum(_first_day(month), np.repeat(first, number))
    stops = np.minimum(_first_day(month + 1), np.repeat(after, number))
    joins = np.repeat(joined < _NEVER, number)
    day = np.where(joins, np.repeat(joined, number), starts)
    # A month that is cut by joining is the first of both sides.
    since = np.where(starts >= day, month - _month(day), month - _month(day - 1) - 1)
    return PersonMonths(
        persons=np.repeat(person, number),
        months=(month - month.min(initial=_NEVER)).astype(np.int32),
        covers=np.repeat(covers, number),
        days=(stops - starts).astype(np.float64),
        joins=joins,
        enrolled=np.repeat(inside, number),
        since=since.astype(np.int32),
        left_out=left_out,
        row_of=row_of,
        month_of=month_of,
    )


def _covers(rows: pd.DataFrame) -> Codes:
    """A number for each pair of deductible and limit: less of small claims is then seen."""
    limit = rows["limit_minor"].astype("float64").fillna(-1.0)
    return pd.MultiIndex.from_arrays([rows["deductible_minor"], limit]).factorize()[0].astype("i4")


def _renumbered(person: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.unique(person, return_inverse=True)[1]


def _day(column: pd.Series[pd.Timestamp]) -> Days:
    """Days since 1970-01-01."""
    return column.to_numpy().astype("datetime64[D]").astype(np.int64)


def _month(day: Days) -> Days:
    """Months since 1970-01."""
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _first_day(month: Days) -> Days:
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
