"""What of the released bills and readings may be handed out now: what an active consent covers.

Asked at every look, so that a withdrawal holds from its own transaction on, whatever was released
before. Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    cast,
    exists,
    func,
    or_,
    select,
    true,
)

from services.his_bridge.core.bill import Bill
from services.his_bridge.core.consent import Purpose
from services.his_bridge.storage.consents import in_force, register_of
from services.his_bridge.storage.holding import need_of_bill, need_of_day
from services.his_bridge.storage.tables import bill_event, inbox, reading, released_bill

_BILL = msgspec.json.Decoder(Bill)
_BILL_ID_LENGTH = 32  # what a released bill's name begins with


class NoActiveConsent(Exception):
    """The bill was released once, but no active consent covers it any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownBill:
    """A released bill and the consent that covers it now."""

    row: Row[Any]
    bill: Bill
    consent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownReading:
    """A released reading and the consent that covers it now; None: it is taken back."""

    row: Row[Any]
    consent_id: str | None


@dataclass(frozen=True, slots=True)
class _Bills:
    """Whose bills are looked at, by whom, for what, and when."""

    hospital: str
    recipient: str
    purpose: Purpose
    now_us: int


def bill_named(
    connection: Connection, hospital: str, recipient: str, name: str, now_us: int
) -> ShownBill | None:
    """One released bill.

    Raises: NoActiveConsent.
    """
    row = connection.execute(
        select(released_bill).where(
            released_bill.c.hospital == hospital, released_bill.c.name == name
        )
    ).first()
    if row is None:
        return None
    wanted = _Bills(hospital, recipient, Purpose.CLAIM_SETTLEMENT, now_us)
    shown = _covered(connection, wanted, [row])
    if not shown:
        raise NoActiveConsent
    return shown[0]


def bills_after(
    connection: Connection,
    hospital: str,
    recipient: str,
    seq: int,
    most: int,
    delivery: str | None,
    now_us: int,
) -> list[ShownBill]:
    """Released bills that a consent covers, in the order of their release, after a number."""
    delivered = true() if delivery is None else released_bill.c.delivery == delivery
    wanted = _Bills(hospital, recipient, Purpose.CLAIM_SETTLEMENT, now_us)
    return _bills(connection, wanted, delivered, seq, most)


def _bills(
    connection: Connection, wanted: _Bills, more: ColumnElement[bool], seq: int, most: int
) -> list[ShownBill]:
    found: list[ShownBill] = []
    member = released_bill.c.member_token
    while len(found) < most:
        query = select(released_bill).where(
            released_bill.c.hospital == wanted.hospital,
            released_bill.c.seq > seq,
            in_force(member, wanted.hospital, wanted.recipient, wanted.purpose, wanted.now_us),
            more,
        )
        rows = connection.execute(query.order_by(released_bill.c.seq).limit(most)).all()
        found += _covered(connection, wanted, rows)
        if len(rows) < most:
            break
        seq = rows[-1].seq
    return found[:most]


def _covered(connection: Connection, wanted: _Bills, rows: Sequence[Row[Any]]) -> list[ShownBill]:
    members = {row.member_token for row in rows}
    register = register_of(
        connection, wanted.hospital, wanted.recipient, members, at_us=wanted.now_us
    )
    shown = []
    for row in rows:
        bill = _BILL.decode(row.body)
        found = register.covering(
            row.member_token, wanted.purpose, need_of_bill(bill), rather=row.consent_id
        )
        if found is not None:
            shown.append(ShownBill(row=row, bill=bill, consent_id=found.terms.consent_id))
    return shown


def readings_after(
    connection: Connection,
    recipient: str,
    member_token: str | None,
    seq: int,
    most: int,
    now_us: int,
    hospital: str | None = None,
) -> list[ShownReading]:
    """Readings of one member, or of all, in the order of their release, after a number.

    Each with the time when the bridge first saw it so, as `received_us`. One that lost its consent
    without having been released anew yet is left out: it comes at the end of the list.
    """
    purpose = Purpose.HEALTH_PROGRAMME
    found: list[ShownReading] = []
    while len(found) < most:
        query = (
            select(reading, inbox.c.at_us.label("received_us"))
            .join(inbox, inbox.c.id == reading.c.inbox_id)
            .where(
                reading.c.seq > seq,
                or_(
                    reading.c.withheld,
                    in_force(
                        reading.c.member_token, reading.c.hospital, recipient, purpose, now_us
                    ),
                ),
            )
        )
        if member_token is not None:
            query = query.where(reading.c.member_token == member_token)
        if hospital is not None:
            query = query.where(reading.c.hospital == hospital)
        rows = connection.execute(query.order_by(reading.c.seq).limit(most)).all()
        found += _shown(connection, recipient, rows, now_us)
        if len(rows) < most:
            break
        seq = rows[-1].seq
    return found[:most]


def _shown(
    connection: Connection, recipient: str, rows: Sequence[Row[Any]], now_us: int
) -> list[ShownReading]:
    registers = {
        hospital: register_of(
            connection,
            hospital,
            recipient,
            {row.member_token for row in rows if row.hospital == hospital},
            at_us=now_us,
        )
        for hospital in {row.hospital for row in rows}
    }
    shown = []
    for row in rows:
        if row.withheld:
            shown.append(ShownReading(row=row, consent_id=None))
            continue
        need = need_of_day(date.fromisoformat(row.day))
        found = registers[row.hospital].covering(
            row.member_token, Purpose.HEALTH_PROGRAMME, need, rather=row.consent_id
        )
        if found is not None:
            shown.append(ShownReading(row=row, consent_id=found.terms.consent_id))
    return shown


def last_states_after(
    connection: Connection, hospital: str, recipient: str, seq: int, most: int, now_us: int
) -> list[ShownBill]:
    """Released bills as their last event left them, reversed ones not at all, after a number.

    Of people who consent to studies only, whatever else they consent to.
    """
    later = released_bill.alias("later")
    overtaken = exists().where(
        bill_event.c.hospital == released_bill.c.hospital,
        bill_event.c.bill_id == func.substr(released_bill.c.name, 1, _BILL_ID_LENGTH),
        later.c.hospital == bill_event.c.hospital,
        later.c.name == bill_event.c.bill_id + "." + cast(bill_event.c.number, String),
        later.c.seq > released_bill.c.seq,
    )
    last = and_(released_bill.c.kind != "REVERSAL", ~overtaken)
    wanted = _Bills(hospital, recipient, Purpose.DEIDENTIFIED_STUDY, now_us)
    return _bills(connection, wanted, last, seq, most)
