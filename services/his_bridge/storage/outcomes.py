"""What was read out of records, made durable: one transaction a batch."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.events import (
    BillEvent,
    BillStatus,
    EventKind,
    FoldedBill,
    fold,
    kind_of_statement,
)
from services.his_bridge.core.outcomes import (
    BillStated,
    BillWithdrawn,
    KeptOut,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.storage.inbox import Pending, SetAsideRow, set_aside
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import bill_event, inbox, reading, released_bill

DELIVERY_PENDING = "PENDING"
# The list of all readings, whichever hospital they come from.
READINGS = "readings"
# Begins the component of a reading that turned out to be another patient's.
_MOVED = "~"
_BILL = msgspec.json.Decoder(Bill)
_READING = msgspec.json.Decoder(Reading)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a batch. A record that says nothing new is in none of them."""

    released: int = 0
    quarantined: int = 0
    filtered: int = 0


def settle(
    connection: Connection,
    hospital: str,
    judged: Sequence[tuple[Pending, Outcome]],
    *,
    currency: str,
    now_us: int,
) -> Settled:
    """Write the outcomes of a batch, and mark its records as read."""
    batch = _Batch(connection, hospital, judged, now_us)
    for pending, outcome in judged:
        batch.add(pending, outcome)
    return batch.write(currency)


class _Batch:
    """Outcomes on their way into the database, with what is already known of their bills."""

    def __init__(
        self,
        connection: Connection,
        hospital: str,
        judged: Sequence[tuple[Pending, Outcome]],
        now_us: int,
    ) -> None:
        self._connection = connection
        self._hospital = hospital
        self._now_us = now_us
        self._states: dict[str, list[int]] = defaultdict(list)
        self._aside: list[SetAsideRow] = []
        self._new_events: list[dict[str, Any]] = []
        self._new_bills: list[dict[str, Any]] = []
        self._new_readings: list[dict[str, Any]] = []
        bills = {p.external_id for p, o in judged if isinstance(o, BillStated | BillWithdrawn)}
        readings = {
            p.external_id
            for p, o in judged
            if isinstance(o, ReadingsStated | ReadingsWithdrawn | KeptOut)
        }
        self._events = _events_of(connection, hospital, bills)
        self._readings = _readings_of(connection, hospital, readings)

    def add(self, pending: Pending, outcome: Outcome) -> None:
        """Decide what one outcome changes."""
        state = "read"
        if isinstance(outcome, SetAside):
            row = SetAsideRow(
                inbox_id=pending.inbox_id, faults=outcome.faults, total_minor=outcome.total
            )
            self._aside.append(row)
            state = "quarantined"
        elif isinstance(outcome, BillStated | BillWithdrawn):
            state = self._add_bill(pending, outcome)
        elif isinstance(outcome, ReadingsStated):
            state = self._add_readings(pending, outcome)
        elif isinstance(outcome, ReadingsWithdrawn):
            state = self._withdraw_readings(pending)
        elif isinstance(outcome, KeptOut):
            # A record that stated readings before, and now none that a programme uses.
            taken_back = self._withdraw_readings(pending) == "read"
            state = "read" if taken_back else "filtered"
        self._states[state].append(pending.inbox_id)

    def write(self, currency: str) -> Settled:
        """Write everything that was decided."""
        set_aside(
            self._connection, self._hospital, self._aside, currency=currency, now_us=self._now_us
        )
        if self._new_events:
            self._connection.execute(insert(bill_event), self._new_events)
        self._number(self._new_bills, f"bills/{self._hospital}")
        if self._new_bills:
            self._connection.execute(insert(released_bill), self._new_bills)
        self._write_readings()
        for state, ids in self._states.items():
            self._connection.execute(update(inbox).where(inbox.c.id.in_(ids)).values(state=state))
        return Settled(
            released=len(self._new_bills) + len(self._new_readings),
            quarantined=len(self._aside),
            filtered=len(self._states["filtered"]),
        )

    def _add_bill(self, pending: Pending, outcome: BillStated | BillWithdrawn) -> str:
        bill_id, events = self._events.setdefault(pending.external_id, (uuid.uuid4().hex, []))
        before = fold(events)
        if isinstance(outcome, BillStated):
            kind = kind_of_statement(before, outcome.bill)
            bill: Bill | None = outcome.bill
        else:
            is_there = before is not None and before.status is not BillStatus.REVERSED
            kind = EventKind.REVERSAL if is_there else None
            bill = None
        if kind is None:
            # A bill taken back before it was ever seen is none of ours.
            return "unchanged" if events else "filtered"
        number = len(events) + 1
        event = BillEvent(
            event_id=f"{bill_id}.{number}",
            kind=kind,
            order=(pending.updated_us, number),
            bill=bill,
        )
        events.append(event)
        self._new_events.append(
            {
                "hospital": self._hospital,
                "bill_id": bill_id,
                "number": number,
                "external_id": pending.external_id,
                "kind": str(kind),
                "updated_us": pending.updated_us,
                "inbox_id": pending.inbox_id,
                "body": None if bill is None else msgspec.json.encode(bill),
                "at_us": self._now_us,
            }
        )
        self._release(pending, event, before, fold(events))
        return "read"

    def _release(
        self,
        pending: Pending,
        event: BillEvent,
        before: FoldedBill | None,
        after: FoldedBill | None,
    ) -> None:
        # An event that came late and was overtaken is recorded and changes nothing.
        if after == before:
            return
        bill = (after.bill if after else None) or (before.bill if before else None)
        if bill is None:
            return
        bill_id, _, number = event.event_id.partition(".")
        self._new_bills.append(
            {
                "hospital": self._hospital,
                "name": bill_id if number == "1" else event.event_id,
                "external_id": pending.external_id,
                "kind": str(event.kind),
                "day": _day_of(bill),
                "total_minor": bill.total,
                "body": msgspec.json.encode(bill),
                "received_us": pending.received_us,
                "released_us": self._now_us,
                "delivery": DELIVERY_PENDING,
                "claims": b"[]",
                "refusal_reasons": b"[]",
            }
        )

    def _add_readings(self, pending: Pending, outcome: ReadingsStated) -> str:
        stated = dict(outcome.readings)
        # What an earlier version stated and this one does not, it has taken back.
        gone = [component for component in self._known(pending) if component not in stated]
        changed = [self._withdraw(pending, component) for component in gone]
        changed += [self._state(pending, name, measured) for name, measured in stated.items()]
        return "read" if any(changed) else "unchanged"

    def _withdraw_readings(self, pending: Pending) -> str:
        changed = [self._withdraw(pending, component) for component in self._known(pending)]
        return "read" if any(changed) else "unchanged"

    def _known(self, pending: Pending) -> list[str]:
        return sorted(c for external_id, c in self._readings if external_id == pending.external_id)

    def _state(self, pending: Pending, component: str, measured: Reading) -> bool:
        name, known = self._readings.get((pending.external_id, component), (uuid.uuid4().hex, b""))
        if known and _READING.decode(known).member_token != measured.member_token:
            # Another patient's after all. Under the first one's name it stays, as withdrawn.
            self._withdraw(pending, component, kept_as=f"{_MOVED}{name[:15]}")
            name, known = uuid.uuid4().hex, b""
        return self._release_reading(pending, component, name, measured)

    def _withdraw(self, pending: Pending, component: str, kept_as: str = "") -> bool:
        """Whoever has taken it must hear of it, so it is released once more, as withdrawn."""
        name, known = self._readings[pending.external_id, component]
        gone = msgspec.structs.replace(_READING.decode(known), withdrawn=True)
        return self._release_reading(pending, kept_as or component, name, gone)

    def _release_reading(
        self, pending: Pending, component: str, name: str, measured: Reading
    ) -> bool:
        key = pending.external_id, component
        body = msgspec.json.encode(measured)
        if self._readings.get(key) == (name, body):
            return False
        self._readings[key] = name, body
        self._new_readings.append(
            {
                "name": name,
                "hospital": self._hospital,
                "external_id": pending.external_id,
                "component": component,
                "member_token": measured.member_token,
                "body": body,
                "inbox_id": pending.inbox_id,
            }
        )
        return True

    def _write_readings(self) -> None:
        if not self._new_readings:
            return
        # A corrected reading keeps its name and moves to the end of the list.
        newest = {row["name"]: row for row in self._new_readings}
        rows = list(newest.values())
        self._connection.execute(delete(reading).where(reading.c.name.in_(list(newest))))
        self._number(rows, READINGS)
        self._connection.execute(insert(reading), rows)

    def _number(self, rows: list[dict[str, Any]], name: str) -> None:
        if rows:
            first = next_numbers(self._connection, name, len(rows))
            for offset, row in enumerate(rows):
                row["seq"] = first + offset


def _day_of(bill: Bill) -> str:
    return bill.end.astimezone(ZoneInfo(bill.zone)).date().isoformat()


def _events_of(
    connection: Connection, hospital: str, external_ids: set[str]
) -> dict[str, tuple[str, list[BillEvent]]]:
    if not external_ids:
        return {}
    rows = connection.execute(
        select(
            bill_event.c.external_id,
            bill_event.c.bill_id,
            bill_event.c.number,
            bill_event.c.kind,
            bill_event.c.updated_us,
            bill_event.c.body,
        )
        .where(bill_event.c.hospital == hospital, bill_event.c.external_id.in_(external_ids))
        .order_by(bill_event.c.bill_id, bill_event.c.number)
    )
    found: dict[str, tuple[str, list[BillEvent]]] = {}
    for row in rows:
        event = BillEvent(
            event_id=f"{row.bill_id}.{row.number}",
            kind=EventKind(row.kind),
            order=(row.updated_us, row.number),
            bill=None if row.body is None else _BILL.decode(row.body),
        )
        found.setdefault(row.external_id, (row.bill_id, []))[1].append(event)
    return found


def _readings_of(
    connection: Connection, hospital: str, external_ids: set[str]
) -> dict[tuple[str, str], tuple[str, bytes]]:
    if not external_ids:
        return {}
    rows = connection.execute(
        select(reading.c.external_id, reading.c.component, reading.c.name, reading.c.body).where(
            reading.c.hospital == hospital, reading.c.external_id.in_(external_ids)
        )
    )
    return {(row.external_id, row.component): (row.name, row.body) for row in rows}
