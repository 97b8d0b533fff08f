"""The bill that its events make: a fold. Pure.

The fold knows a set of events, not an order of arrival: the source's own times decide, and what is
of one moment is told apart by its content. So every order of arrival makes the same bill.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import CLOSING, RANK, BillEvent, EventKind
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.folded_bill import money_faults
from services.his_bridge.core.merges import NO_ALIASES, Aliases, Order
from services.his_bridge.core.walk import Walk


class BillStatus(StrEnum):
    """Where a bill stands."""

    OPEN = "OPEN"
    FINAL = "FINAL"
    REVERSED = "REVERSED"


class FoldedBill(msgspec.Struct, frozen=True, kw_only=True):
    """A bill's state.

    `aside` names, by record, the events that cannot count yet, with all of their faults: one whose
    original is not there is parked, any other waits for a person. None of them is forgotten: the
    next fold may well use it. `blocked` says that the bill as a whole can't be told.
    """

    status: BillStatus
    bill: Bill | None
    aside: Mapping[str, tuple[Fault, ...]] = {}
    blocked: bool = False

    @property
    def parked(self) -> frozenset[str]:
        """Records that wait for what they take back."""
        return frozenset(record for record, faults in self.aside.items() if is_parked(faults))


def is_parked(faults: Iterable[Fault]) -> bool:
    """Whether these say no more than that an original is not there yet."""
    return all(fault.reason is Reason.ORIGINAL_NOT_THERE for fault in faults)


def fold(
    events: Iterable[BillEvent],
    aliases: Aliases = NO_ALIASES,
    given: Mapping[str, int] | None = None,
) -> FoldedBill | None:
    """The bill that these events of one account, and of all that were merged into it, make.

    The last statement that was not taken back counts, with what was added after it; before any
    statement, all that was added. `given` are the numbers under which its charges were released
    before (folded_lines.numbers_given). None before anything happened.
    """
    ranked = _ranked(events)
    if not ranked:
        return None
    if len(ranked) == 1 and not given and not aliases.joined:
        whole = _by_itself(ranked[0])
        if whole is not None:
            return whole
    unfit: dict[int, tuple[Fault, ...]] = {}
    while True:
        standing, parked = _standing(ranked, aliases, unfit)
        others = _others_patients(standing)
        if others:
            aside = {**_by_record(ranked, unfit), **parked, **others}
            return FoldedBill(status=BillStatus.OPEN, bill=None, aside=aside, blocked=True)
        placed = _behind_originals(standing)
        walked = Walk(placed, aliases, aliases.survivor(ranked[0].account))
        found = walked.unfit()
        if not found:
            break
        unfit |= {place: found[e.key] for place, e in enumerate(ranked) if e.key in found}
    return _folded(ranked, walked, {**_by_record(ranked, unfit), **parked}, given or {})


def _by_itself(event: BillEvent) -> FoldedBill | None:
    """What one whole statement makes, as most bills are; None where that takes the walk.

    The same as the walk finds, which costs more than all the rest of the fold.
    """
    bill = event.bill
    if event.kind not in CLOSING or bill is None or bill.social_insurance is not None:
        return None
    lines = bill.lines
    plain = all(
        not line.reverses_line and line.quantity > 0 and not line.line_id.startswith("#")
        for line in lines
    )
    names = {line.line_id or f"#{line.number}" for line in lines}
    numbers = {line.number for line in lines}
    if not lines or not plain or len(names) < len(lines) or len(numbers) < len(lines):
        return None
    total = sum(line.billed for line in lines)
    if event.stated_total is not None and event.stated_total != total:
        return None
    if total != bill.total:
        bill = msgspec.structs.replace(bill, total=total)
    return FoldedBill(status=BillStatus.FINAL, bill=bill)


def _folded(
    ranked: Sequence[BillEvent],
    walked: Walk,
    aside: Mapping[str, tuple[Fault, ...]],
    given: Mapping[str, int],
) -> FoldedBill:
    if not walked.has_lines:
        stated = any(event.bill is not None and event.bill.lines for event in ranked)
        waits = any(event.record in aside and _charges(event) for event in ranked)
        reversed_ = stated and not waits and (not walked.counted or walked.is_closed)
        status = BillStatus.REVERSED if reversed_ else BillStatus.OPEN
        return FoldedBill(status=status, bill=None, aside=aside)
    bill = walked.bill(given)
    faults = money_faults(bill)
    if faults:
        last = [event for event in walked.counted if event.bill is not None][-1]
        aside = {**aside, last.record: faults}
    status = BillStatus.FINAL if walked.is_closed else BillStatus.OPEN
    return FoldedBill(status=status, bill=bill, aside=aside, blocked=bool(faults))


def _charges(event: BillEvent) -> bool:
    lines = event.bill.lines if event.bill is not None else ()
    return any(not line.reverses_line for line in lines)


def _ranked(events: Iterable[BillEvent]) -> list[BillEvent]:
    """Each event once, as the source made them."""
    unique = {(one.key, one.kind): one for one in events}
    return sorted(
        unique.values(),
        key=lambda e: (e.order[0], RANK[e.kind], e.order[1], e.record, e.account),
    )


def _by_record(
    ranked: Sequence[BillEvent], unfit: Mapping[int, tuple[Fault, ...]]
) -> dict[str, tuple[Fault, ...]]:
    # In rank order, so that of one record the newest version's faults are told.
    return {ranked[place].record: unfit[place] for place in sorted(unfit)}


def _standing(
    ranked: Sequence[BillEvent], aliases: Aliases, unfit: Collection[int]
) -> tuple[list[BillEvent], dict[str, tuple[Fault, ...]]]:
    """What is neither replaced by a newer version of its record nor taken back, in rank order.

    Also the reversals that wait for what they take back. Of a record whose newest version is unfit
    the one before stands.
    """
    versions: dict[str, list[Order]] = {}
    for place, event in enumerate(ranked):
        if place not in unfit:
            versions.setdefault(event.record, []).append(event.order)
    firsts: dict[str, Order] = {}
    for event in ranked:
        firsts[event.record] = min(firsts.get(event.record, event.order), event.order)
    gone = {
        place
        for place, event in enumerate(ranked)
        if place in unfit or event.order < max(versions[event.record])
    }
    parked: dict[str, tuple[Fault, ...]] = {}
    for place in reversed(range(len(ranked))):
        event = ranked[place]
        if event.kind is not EventKind.REVERSAL or place in gone:
            continue
        if event.reverses is None:
            targets = _all_before(ranked, place, aliases)
            is_there = bool(targets)
        else:
            targets = _named(ranked, place, firsts)
            is_there = event.reverses in firsts
        gone.update(targets)
        # A source that takes back a whole bill which we never saw is not waited for.
        if not is_there and event.record not in (event.account, event.reverses):
            fault = Fault(reason=Reason.ORIGINAL_NOT_THERE, path="reverses")
            parked[event.record] = (fault,)
    rest = [
        event
        for place, event in enumerate(ranked)
        if place not in gone and event.kind is not EventKind.REVERSAL
    ]
    return rest, parked


def _all_before(ranked: Sequence[BillEvent], place: int, aliases: Aliases) -> list[int]:
    event = ranked[place]
    return [
        other
        for other, earlier in enumerate(ranked[:place])
        if earlier.kind is not EventKind.REVERSAL
        and aliases.is_within(earlier.account, event.account, event.order)
    ]


def _named(ranked: Sequence[BillEvent], place: int, firsts: Mapping[str, Order]) -> list[int]:
    event = ranked[place]
    # Clocks err: what a record said first is taken back even when it seems to come later.
    until = max(event.order, firsts.get(event.reverses or "", event.order))
    # A row changes for many reasons, first of all because another took it back: it stays so as long
    # as the row is there that says it.
    always = event.reverses != event.record
    return [
        other
        for other, target in enumerate(ranked)
        if target.record == event.reverses
        and (always or target.order <= until)
        and other != place
        and (other < place or target.kind is not EventKind.REVERSAL)
    ]


def _behind_originals(standing: Sequence[BillEvent]) -> Sequence[BillEvent]:
    """What takes from a record that it names comes after it, whatever changed that record since.

    Else a bill's row that is touched once more would state the bill without what was taken from it.
    """
    if not any(event.reverses is not None for event in standing):
        return standing
    place_of = {event.record: place for place, event in enumerate(standing)}
    # Behind which place each comes, and how many names away from it: it may name one that names.
    behind: dict[int, tuple[int, int]] = {}
    for start in range(len(standing)):
        chain: dict[int, int | None] = {}
        place: int | None = start
        while place is not None and place not in behind and place not in chain:
            chain[place] = named = place_of.get(standing[place].reverses or "")
            place = named
        for one, original in reversed(chain.items()):
            last, steps = behind.get(-1 if original is None else original, (-1, 0))
            behind[one] = (last, steps + 1) if last > one else (one, 0)
    return [standing[place] for place in sorted(behind, key=lambda one: (*behind[one], one))]


def _others_patients(standing: Sequence[BillEvent]) -> dict[str, tuple[Fault, ...]]:
    """All records of a bill that is said to be of several patients: any of them may be wrong."""
    speaking = {event.record: event.bill.member_token for event in standing if event.bill}
    if len(set(speaking.values())) < 2:
        return {}
    return dict.fromkeys(speaking, (Fault(reason=Reason.PATIENTS_DIFFER, path="patient"),))
