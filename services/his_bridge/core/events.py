"""What happens to a bill over time, and the bill that results: a fold over events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import Bill


class EventKind(StrEnum):
    """What an event says about its bill."""

    INTERIM = "INTERIM"  # states the bill so far; the stay goes on
    FINAL = "FINAL"  # states the bill as a whole
    LATE = "LATE"  # adds lines to what was stated
    REVERSAL = "REVERSAL"  # takes back one event, or all before it (冲红)
    CORRECTION = "CORRECTION"  # states the bill as a whole, anew


class BillStatus(StrEnum):
    """Where a bill stands."""

    OPEN = "OPEN"
    FINAL = "FINAL"
    REVERSED = "REVERSED"


class BillEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one bill.

    `order` ranks the bill's events as the hospital made them, whenever they arrived: time of the
    change at the source, then number of arrival. A reversal
    names the event that it takes back, or None for everything before it; it carries no bill.
    """

    event_id: str
    kind: EventKind
    order: tuple[int, int]
    bill: Bill | None = None
    reverses: str | None = None


class FoldedBill(msgspec.Struct, frozen=True, kw_only=True):
    """A bill's state. `parked` names reversals that came before what they reverse."""

    status: BillStatus
    bill: Bill | None
    parked: tuple[str, ...] = ()


_STATEMENTS = {EventKind.INTERIM, EventKind.FINAL, EventKind.CORRECTION}


def fold(events: Sequence[BillEvent]) -> FoldedBill | None:
    """The state that these events of one bill make, in whatever order they arrived.

    The last statement that was not taken back counts, with the late lines after it. None before
    anything was stated.
    """
    ranked = sorted(events, key=lambda event: (event.order, event.event_id))
    known = {event.event_id for event in ranked if event.kind is not EventKind.REVERSAL}
    taken_back: set[str] = set()
    parked: list[str] = []
    standing: list[BillEvent] = []
    for event in ranked:
        if event.kind is not EventKind.REVERSAL:
            standing.append(event)
        elif event.reverses is None:
            taken_back.update(earlier.event_id for earlier in standing)
        elif event.reverses in known:
            taken_back.add(event.reverses)
        else:
            parked.append(event.event_id)
    standing = [event for event in standing if event.event_id not in taken_back]
    stated = [index for index, event in enumerate(standing) if event.kind in _STATEMENTS]
    if not stated:
        if not taken_back:
            return (
                None
                if not parked
                else FoldedBill(status=BillStatus.OPEN, bill=None, parked=tuple(parked))
            )
        return FoldedBill(status=BillStatus.REVERSED, bill=None, parked=tuple(parked))
    base = standing[stated[-1]]
    late = [event for event in standing[stated[-1] + 1 :] if event.kind is EventKind.LATE]
    open_ = base.kind is EventKind.INTERIM
    return FoldedBill(
        status=BillStatus.OPEN if open_ else BillStatus.FINAL,
        bill=_with_late_lines(base, late),
        parked=tuple(parked),
    )


def kind_of_statement(state: FoldedBill | None, stated: Bill) -> EventKind | None:
    """What a source that states whole bills says by stating this one.

    None when it says nothing new: the same bill in a new version changes nothing.
    """
    if state is None or (state.bill is None and state.status is BillStatus.OPEN):
        return EventKind.FINAL
    if state.status is BillStatus.FINAL and state.bill == stated:
        return None
    return EventKind.FINAL if state.status is BillStatus.OPEN else EventKind.CORRECTION


def _with_late_lines(base: BillEvent, late: Sequence[BillEvent]) -> Bill | None:
    bill = base.bill
    if bill is None:
        return None
    lines, total = list(bill.lines), bill.total
    for event in late:
        if event.bill is None:
            continue
        # Late charges number their lines anew; within the bill numbers stay unique.
        highest = max((line.number for line in lines), default=0)
        lines += [
            msgspec.structs.replace(line, number=highest + position)
            for position, line in enumerate(event.bill.lines, start=1)
        ]
        total += event.bill.total
    return msgspec.structs.replace(bill, lines=tuple(lines), total=total)
