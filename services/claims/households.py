"""Which claims of a period read each other's use, so that they are decided one after the other.

Two claims belong together when they are of one policy or of one person, and so do those that
belong to the same third one. Asks no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.claims.core.what_if import Part
from services.claims.storage.claims import UNDECIDED
from services.claims.storage.periods import PeriodClaim, in_force

_UNDECIDED = frozenset(state.value for state in UNDECIDED)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """Days on which claims were received, both included, each in its hospital's zone."""

    first: date
    last: date

    @property
    def since_us(self) -> int:
        """No claim of the period was received before, whatever its zone."""
        return _us(self.first - _DAY, UTC)

    def places(self, zones: dict[str, tuple[int, int]], row: PeriodClaim) -> int:
        """-1 before the period, 0 within, 1 after it. `zones` keeps what was worked out."""
        bounds = zones.get(row.time_zone)
        if bounds is None:
            zone = ZoneInfo(row.time_zone)
            bounds = _us(self.first, zone), _us(self.last + _DAY, zone)
            zones[row.time_zone] = bounds
        begin, end = bounds
        return -1 if row.created_us < begin else 0 if row.created_us < end else 1


def _us(day: date, zone: Any) -> int:
    return int(datetime.combine(day, time(), zone).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """The claims of one household, each with what it is to the period."""

    rows: list[tuple[PeriodClaim, Part]] = field(default_factory=list)


@dataclass(slots=True)
class Sorted:
    """The claims of a period by household, and how many were left out, why."""

    groups: list[Group]
    selected: int
    erased: int = 0
    taken_back: int = 0
    undecided: int = 0
    versions: set[str] = field(default_factory=set)


def sort_claims(
    rows: Iterable[PeriodClaim], period: Period, plan_id: str, plan_policies: frozenset[str]
) -> Sorted:
    """What to decide again: the plan's claims of the period, with whatever they read or free.

    `rows` are all claims received since the period began, in the order received.
    """
    zones: dict[str, tuple[int, int]] = {}
    found = Sorted(groups=[], selected=0)
    parts: list[tuple[PeriodClaim, Part]] = []
    links = _Links()
    for row in rows:
        part = _part(found, row, period.places(zones, row), plan_id, plan_policies)
        if part is not None:
            parts.append((row, part))
            if part is Part.AGAIN:
                found.selected += 1
                found.versions.add(str(row.plan_version))
                links.join(_of_policy(row), _of_person(row))
    by_root: dict[str, Group] = {}
    for row, part in parts:
        names = [_of_policy(row)] if part is Part.LATER else [_of_policy(row), _of_person(row)]
        for root in {links.root(name) for name in names if name in links.known}:
            by_root.setdefault(root, Group()).rows.append((row, part))
    found.groups = list(by_root.values())
    return found


def _part(
    found: Sorted, row: PeriodClaim, place: int, plan_id: str, plan_policies: frozenset[str]
) -> Part | None:
    """What the claim is to the period; None is nothing, and may be counted as left out."""
    ours = (
        row.policy_id in plan_policies
        if row.plan_version is None
        else row.plan_version.rpartition("@")[0] == plan_id
    )
    counts = in_force(row)
    if row.erased_us is not None or not counts:
        if place == 0 and ours:
            if row.erased_us is not None:
                found.erased += 1
            elif row.state in _UNDECIDED:
                found.undecided += 1
            else:
                found.taken_back += 1
        return None
    if place < 0:
        return Part.EARLIER
    if place > 0:
        return Part.LATER
    return Part.AGAIN if ours else Part.STANDS


def _of_policy(row: PeriodClaim) -> str:
    return f"policy {row.policy_id}"


def _of_person(row: PeriodClaim) -> str:
    return f"person {row.person_id}"


class _Links:
    """Which names belong together."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def root(self, name: str) -> str:
        """The name that stands for all that belong together."""
        known = self.known
        while known[name] != name:
            known[name] = known[known[name]]
            name = known[name]
        return name

    def join(self, one: str, other: str) -> None:
        """From now on they belong together."""
        for name in (one, other):
            self.known.setdefault(name, name)
        self.known[self.root(other)] = self.root(one)


def chunks(groups: Sequence[Group], size: int) -> Iterator[list[Group]]:
    """Whole households, about so many claims at once."""
    some: list[Group] = []
    count = 0
    for group in groups:
        some.append(group)
        count += len(group.rows)
        if count >= size:
            yield some
            some, count = [], 0
    if some:
        yield some
