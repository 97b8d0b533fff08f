"""Comparisons of a hospital's source with what is kept here, and where a missing bill stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from services.common.paging import Page, any_after
from services.common.sealing import Sealer
from services.his_bridge.core.reconciliation import DayDifference, DayTotals
from services.his_bridge.storage import sealed
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.operation_tables import reconciliation
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import inbox


class DayCompared(msgspec.Struct, frozen=True, kw_only=True):
    """One day: counts, sums in minor units, and of the bills that differ how many stand where.

    `waiting`: at the source and here, and not released: held, in quarantine, or not read yet.
    `missing`: at the source, and nothing of them here. `extra`: released, and gone at the source.
    """

    day: date
    source_count: int
    source_minor: int
    here_count: int
    here_minor: int
    waiting: int = 0
    missing: int = 0
    extra: int = 0
    other_total: int = 0

    @property
    def agrees(self) -> bool:
        """Whether every bill of the source is accounted for."""
        return not (self.missing or self.extra or self.other_total)


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison of whole days, both ends included; days on which neither has a bill lack."""

    seq: int
    first: date
    last: date
    days: tuple[DayCompared, ...]
    at_us: int

    @property
    def agrees(self) -> bool:
        """Whether every day does."""
        return all(day.agrees for day in self.days)


_DAYS = msgspec.json.Decoder(tuple[DayCompared, ...])


def known_of(
    connection: Connection, sealer: Sealer, hospital: str, channel: str, ids: Collection[str]
) -> set[str]:
    """Those of the source's ids of which anything lies in the inbox."""
    by_index = {sealed.external_index(sealer, hospital, one): one for one in ids}
    indexes = sorted(by_index)
    found: set[str] = set()
    for some in portions(indexes):
        rows = connection.execute(
            select(inbox.c.external_index).where(
                inbox.c.hospital == hospital,
                inbox.c.channel == channel,
                inbox.c.external_index.in_(some),
            )
        )
        found |= {by_index[index] for index in rows.scalars()}
    return found


def compared(
    source: Mapping[date, DayTotals],
    here: Mapping[date, DayTotals],
    differing: Sequence[DayDifference],
    known: Collection[str],
) -> tuple[DayCompared, ...]:
    """Both sides day by day. Of `known` ids something lies here, released or not."""
    by_day = {one.day: one for one in differing}
    found = []
    for day in sorted({*source, *here}):
        theirs, ours = source.get(day, DayTotals()), here.get(day, DayTotals())
        one = by_day.get(day)
        unreleased = one.missing_here if one else frozenset()
        waiting = sum(1 for name in unreleased if name in known)
        found.append(
            DayCompared(
                day=day,
                source_count=theirs.count,
                source_minor=theirs.total,
                here_count=ours.count,
                here_minor=ours.total,
                waiting=waiting,
                missing=len(unreleased) - waiting,
                extra=len(one.missing_there) if one else 0,
                other_total=len(one.other_total) if one else 0,
            )
        )
    return tuple(found)


def record(
    connection: Connection,
    hospital: str,
    first: date,
    last: date,
    days: Sequence[DayCompared],
    *,
    now_us: int,
) -> Reconciled:
    """Write a comparison down."""
    seq = next_numbers(connection, f"reconciliations/{hospital}", 1)
    connection.execute(
        insert(reconciliation),
        {
            "hospital": hospital,
            "seq": seq,
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "days": msgspec.json.encode(days),
            "at_us": now_us,
        },
    )
    return Reconciled(seq=seq, first=first, last=last, days=tuple(days), at_us=now_us)


def after(connection: Connection, hospital: str, seq: int, most: int) -> Page[Reconciled]:
    """Comparisons in the order in which they were made, after a number."""
    number = reconciliation.c.seq
    query = select(reconciliation).where(reconciliation.c.hospital == hospital)
    rows = connection.execute(query.where(number > seq).order_by(number).limit(most)).all()
    more = len(rows) == most and any_after(connection, query, number, rows[-1].seq)
    return Page(map(_reconciled, rows), more=more)


def last(connection: Connection, hospital: str) -> Reconciled | None:
    """The newest comparison; None before the first."""
    row = connection.execute(
        select(reconciliation)
        .where(reconciliation.c.hospital == hospital)
        .order_by(reconciliation.c.seq.desc())
        .limit(1)
    ).first()
    return None if row is None else _reconciled(row)


def since(connection: Connection, hospital: str, at_us: int) -> Iterator[Reconciled]:
    """Comparisons made then or later, in the order in which they were made."""
    query = select(reconciliation).where(
        reconciliation.c.hospital == hospital, reconciliation.c.at_us >= at_us
    )
    yield from map(_reconciled, connection.execute(query.order_by(reconciliation.c.seq)))


def standing(made: Iterable[Reconciled]) -> list[DayCompared]:
    """The days that differ, each by the newest of these comparisons that took it in.

    So whoever compares other days, or days without bills, ends no alarm.
    """
    found: dict[date, DayCompared] = {}
    for one in made:
        found = {day: kept for day, kept in found.items() if not one.first <= day <= one.last}
        found |= {day.day: day for day in one.days if not day.agrees}
    return [found[day] for day in sorted(found)]


def first_arrival_us(connection: Connection, hospital: str) -> int | None:
    """When the first record came; None before it."""
    query = select(func.min(inbox.c.at_us)).where(inbox.c.hospital == hospital)
    return connection.execute(query).scalar_one_or_none()


def _reconciled(row: Row[Any]) -> Reconciled:
    return Reconciled(
        seq=row.seq,
        first=date.fromisoformat(row.first_day),
        last=date.fromisoformat(row.last_day),
        days=_DAYS.decode(row.days),
        at_us=row.at_us,
    )
