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
from services.his_bridge.core.consent import Consent, Need
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
from services.his_bridge.storage import holding
from services.his_bridge.storage.consents import Register, register_of
from services.his_bridge.storage.holding import HELD, PURPOSES, READINGS, Held, Version
from services.his_bridge.storage.inbox import Pending, SetAsideRow, set_aside
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import bill_event, inbox, reading, released_bill

DELIVERY_PENDING = "PENDING"
# Begins the component of a reading that turned out to be another patient's.
_MOVED = "~"
_BILL = msgspec.json.Decoder(Bill)
_READING = msgspec.json.Decoder(Reading)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a batch. A record that says nothing new is in none of them."""

    released: int = 0
    quarantined: int = 0
    filtered: int = 0
    held: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where records come from and to whom they may be released."""

    hospital: str
    channel: str
    recipient: str
    currency: str
    zone: str


def settle(
    connection: Connection,
    place: Place,
    judged: Sequence[tuple[Pending, Outcome]],
    *,
    now_us: int,
) -> Settled:
    """Write the outcomes of a batch, and mark its records as read, or as held.

    What states anything about a person is released only under a consent that is active now; else
    it is held, and only its newest version is.
    """
    holding.one_at_a_time(connection, place.hospital, reads=True)
    batch = _Batch(connection, place, judged, now_us)
    for pending, outcome in judged:
        batch.add(pending, outcome)
    return batch.write()


class _Batch:
    """Outcomes on their way into the database, with what is already known of their bills."""

    def __init__(
        self,
        connection: Connection,
        place: Place,
        judged: Sequence[tuple[Pending, Outcome]],
        now_us: int,
    ) -> None:
        self._connection = connection
        self._place = place
        self._hospital = hospital = place.hospital
        self._now_us = now_us
        self._held: dict[int, Held] = {}
        self._superseded: list[int] = []
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
        self._register: Register = register_of(
            connection, hospital, place.recipient, self._members(judged), at_us=now_us
        )
        self._waiting = holding.waiting_versions(
            connection,
            hospital,
            place.channel,
            bills | readings,
            {pending.inbox_id for pending, _ in judged},
        )

    def _members(self, judged: Sequence[tuple[Pending, Outcome]]) -> set[str]:
        """Whoever the outcomes speak of, or what is known of their records."""
        events = (event for _, mine in self._events.values() for event in mine)
        known = [event.bill.member_token for event in events if event.bill is not None]
        known += [_READING.decode(body).member_token for _, body in self._readings.values()]
        needs = (_need_of(outcome, self._place.zone) for _, outcome in judged)
        return {*known, *(need[0] for need in needs if need is not None)}

    def add(self, pending: Pending, outcome: Outcome) -> None:
        """Decide what one outcome changes."""
        state = "read"
        if not isinstance(outcome, SetAside) and self._is_overtaken(pending):
            # A newer version is held: when a consent comes, that one is read.
            self._superseded.append(pending.inbox_id)
            return
        need = _need_of(outcome, self._place.zone)
        if need is not None and self._consent(*need) is None:
            self._hold(pending, *need)
            return
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

    def _consent(self, member: str, need: Need, rather: str = "") -> Consent | None:
        purpose = PURPOSES[self._place.channel]
        return self._register.covering(member, purpose, need, rather)

    def _is_overtaken(self, pending: Pending) -> bool:
        """Whether a newer version of the record is held; older ones that wait are overtaken now."""
        mine = (pending.updated_us, pending.inbox_id)
        waiting = self._waiting.get(pending.external_id, [])
        for version in waiting:
            if version.rank < mine:
                self._held.pop(version.inbox_id, None)
                self._superseded.append(version.inbox_id)
        newer = [version for version in waiting if version.rank > mine]
        self._waiting[pending.external_id] = newer
        return any(version.held for version in newer)

    def _hold(self, pending: Pending, member: str, need: Need) -> None:
        self._held[pending.inbox_id] = Held(
            inbox_id=pending.inbox_id, member_token=member, need=need
        )
        version = Version(updated_us=pending.updated_us, inbox_id=pending.inbox_id, held=True)
        self._waiting[pending.external_id].append(version)

    def write(self) -> Settled:
        """Write everything that was decided."""
        place, now_us = self._place, self._now_us
        set_aside(
            self._connection, self._hospital, self._aside, currency=place.currency, now_us=now_us
        )
        holding.supersede(self._connection, self._superseded)
        holding.hold(
            self._connection, self._hospital, place.channel, self._held.values(), now_us=now_us
        )
        self._states[HELD] = list(self._held)
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
            held=len(self._held),
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
        # A reversal is recorded whatever the person allows; who looks at it needs the consent.
        found = self._consent(bill.member_token, holding.need_of_bill(bill))
        bill_id, _, number = event.event_id.partition(".")
        self._new_bills.append(
            {
                "hospital": self._hospital,
                "name": bill_id if number == "1" else event.event_id,
                "external_id": pending.external_id,
                "kind": str(event.kind),
                "day": _day_of(bill),
                "total_minor": bill.total,
                "member_token": bill.member_token,
                "consent_id": found.terms.consent_id if found else "",
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
        need = holding.need_of_reading(measured, self._place.zone)
        found = self._consent(measured.member_token, need)
        self._new_readings.append(
            {
                "name": name,
                "hospital": self._hospital,
                "external_id": pending.external_id,
                "component": component,
                "member_token": measured.member_token,
                "body": body,
                "inbox_id": pending.inbox_id,
                "day": need.first_day.isoformat(),
                "consent_id": found.terms.consent_id if found else "",
                "withheld": found is None,
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


def _need_of(outcome: Outcome, zone: str) -> tuple[str, Need] | None:
    """Whose consent an outcome needs, and for what; None when it states nothing about anybody."""
    if isinstance(outcome, BillStated):
        return outcome.bill.member_token, holding.need_of_bill(outcome.bill)
    if isinstance(outcome, ReadingsStated) and outcome.readings:
        # All readings of one record are of one person and one moment.
        _, first = outcome.readings[0]
        return first.member_token, holding.need_of_reading(first, zone)
    return None


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
