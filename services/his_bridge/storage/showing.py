"""What of the released bills and readings may be handed out now: what an active consent covers.

Asked at every look, so that a withdrawal holds from its own transaction on, whatever was released
before. Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    exists,
    false,
    or_,
    select,
    true,
)

from services.common.paging import Page, any_after
from services.common.sealing import Erased, Sealer, members
from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.consent import Purpose
from services.his_bridge.storage import sealed
from services.his_bridge.storage.consents import in_force, register_of
from services.his_bridge.storage.holding import need_of_bill, need_of_day
from services.his_bridge.storage.tables import inbox, reading, released_bill
from services.his_bridge.storage.taking_back import owed

STUDY_GROUP = 20  # bills of nobody are handed out by so many at once, never by fewer
_GROUPS_AT_ONCE = 25  # groups that are looked at together on the way to a page's border


class NoActiveConsent(Exception):
    """The bill was released once, but no active consent covers it any more."""


class NoBorder(Exception):
    """No group of bills ends with this number in the list of bills for studies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownBill:
    """A released bill and the consent that covers it now.

    Without one it takes back what the insurer has, and leaves bare: which bill, and no more of it.
    """

    row: Row[Any]
    bill: Bill
    consent_id: str | None

    @property
    def seq(self) -> int:
        """Its number in the list."""
        return int(self.row.seq)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownReading:
    """A released reading and the consent that covers it now; None: it is taken back."""

    row: Row[Any]
    reading: Reading
    consent_id: str | None

    @property
    def seq(self) -> int:
        """Its number in the list."""
        return int(self.row.seq)


@dataclass(frozen=True, slots=True)
class _Use:
    """Who has the bills, for what."""

    recipient: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class _Bills:
    """Whose bills are looked at, when, and for which uses: each needs a consent of its own.

    The first use is the one that is named in the answer. What is `bare` needs none.
    """

    hospital: str
    now_us: int
    uses: tuple[_Use, ...]
    bare: ColumnElement[bool] = field(default_factory=false)


def _settled_by(recipient: str, hospital: str, now_us: int) -> _Bills:
    uses = (_Use(recipient, Purpose.CLAIM_SETTLEMENT),)
    return _Bills(hospital, now_us, uses, owed(recipient))


def bill_named(
    connection: Connection, sealer: Sealer, hospital: str, recipient: str, name: str, now_us: int
) -> Page[ShownBill]:
    """One released bill, or none of that name.

    Raises: NoActiveConsent; Erased.
    """
    wanted = _settled_by(recipient, hospital, now_us)
    row = connection.execute(
        select(released_bill, wanted.bare.label("bare")).where(
            released_bill.c.hospital == hospital, released_bill.c.name == name
        )
    ).first()
    if row is None:
        return Page((), more=False)
    if sealer.is_erased(members.subject_of(row.member)):
        raise Erased
    shown = _covered(connection, sealer, wanted, [row])
    if not shown:
        raise NoActiveConsent
    return Page(shown, more=False)


def bills_after(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    seq: int,
    most: int,
    delivery: str | None,
    now_us: int,
) -> Page[ShownBill]:
    """Released bills that may leave, in the order of their release, after a number.

    Whole where a consent covers them, else bare: what takes back a bill that the insurer has.
    """
    delivered = true() if delivery is None else released_bill.c.delivery == delivery
    wanted = _settled_by(recipient, hospital, now_us)
    return _bills(connection, sealer, wanted, delivered, seq, most)


def _bills(
    connection: Connection,
    sealer: Sealer,
    wanted: _Bills,
    more: ColumnElement[bool],
    seq: int,
    most: int,
) -> Page[ShownBill]:
    found: list[ShownBill] = []
    member, number = released_bill.c.member, released_bill.c.seq
    covered = and_(
        *(
            in_force(member, wanted.hospital, use.recipient, use.purpose, wanted.now_us)
            for use in wanted.uses
        )
    )
    query = select(released_bill, wanted.bare.label("bare")).where(
        released_bill.c.hospital == wanted.hospital, or_(covered, wanted.bare), more
    )
    while len(found) < most:
        left = most - len(found)
        after = query.where(number > seq).order_by(number)
        rows = connection.execute(after.limit(left)).all()
        found += _covered(connection, sealer, wanted, rows)
        if len(rows) < left:
            return Page(found, more=False)
        seq = rows[-1].seq
    return Page(found, more=any_after(connection, query, number, seq))


def _covered(
    connection: Connection, sealer: Sealer, wanted: _Bills, rows: Sequence[Row[Any]]
) -> list[ShownBill]:
    people = {row.member for row in rows}
    registers = {
        recipient: register_of(
            connection, sealer, wanted.hospital, recipient, people, at_us=wanted.now_us
        )
        for recipient in {use.recipient for use in wanted.uses}
    }
    shown = []
    sealer.load(members.subject_of(member) for member in people)
    for row in rows:
        if sealer.is_erased(members.subject_of(row.member)):
            continue  # nothing of theirs opens
        bill = sealed.open_bill(sealer, row)
        need = need_of_bill(bill)
        found = [
            registers[use.recipient].covering(row.member, use.purpose, need, rather=row.consent_id)
            for use in wanted.uses
        ]
        if found[0] is not None and None not in found:
            shown.append(ShownBill(row=row, bill=bill, consent_id=found[0].terms.consent_id))
        elif row.bare:
            shown.append(ShownBill(row=row, bill=bill, consent_id=None))
    return shown


def readings_after(
    connection: Connection,
    sealer: Sealer,
    recipient: str,
    member_token: str | None,
    seq: int,
    most: int,
    now_us: int,
    hospitals: Sequence[str],
) -> Page[ShownReading]:
    """Readings of one member, or of all, in the order of their release, after a number.

    Each with the time when the bridge first saw it so, as `received_us`. One that lost its consent
    without having been released anew yet is left out: it comes at the end of the list.
    """
    purpose = Purpose.HEALTH_PROGRAMME
    whose: ColumnElement[bool] = reading.c.hospital.in_(hospitals)
    if member_token is not None:
        patients = [sealed.patient(hospital, member_token) for hospital in hospitals]
        mine = members.find_all(connection, sealer, patients)
        whose = and_(whose, reading.c.member.in_(list(mine.values())))
    found: list[ShownReading] = []
    number = reading.c.seq
    query = (
        select(reading, inbox.c.at_us.label("received_us"))
        .join(inbox, inbox.c.id == reading.c.inbox_id)
        .where(
            or_(
                reading.c.withheld,
                in_force(reading.c.member, reading.c.hospital, recipient, purpose, now_us),
            ),
            whose,
        )
    )
    while len(found) < most:
        left = most - len(found)
        after = query.where(number > seq).order_by(number)
        rows = connection.execute(after.limit(left)).all()
        found += _shown(connection, sealer, recipient, rows, now_us)
        if len(rows) < left:
            return Page(found, more=False)
        seq = rows[-1].seq
    return Page(found, more=any_after(connection, query, number, seq))


def _shown(
    connection: Connection, sealer: Sealer, recipient: str, rows: Sequence[Row[Any]], now_us: int
) -> list[ShownReading]:
    registers = {
        hospital: register_of(
            connection,
            sealer,
            hospital,
            recipient,
            {row.member for row in rows if row.hospital == hospital},
            at_us=now_us,
        )
        for hospital in {row.hospital for row in rows}
    }
    shown = []
    for row in rows:
        kept = sealed.open_reading(sealer, row)
        said = sealed.reading_of(bytes(kept.body))
        if row.withheld:
            shown.append(ShownReading(row=row, reading=said, consent_id=None))
            continue
        need = need_of_day(kept.day)
        found = registers[row.hospital].covering(
            row.member, Purpose.HEALTH_PROGRAMME, need, rather=row.consent_id
        )
        if found is not None:
            shown.append(ShownReading(row=row, reading=said, consent_id=found.terms.consent_id))
    return shown


def last_states_after(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    student: str,
    seq: int,
    most: int,
    now_us: int,
) -> Page[ShownBill]:
    """Released bills as their last event left them, reversed ones not at all, after a number.

    Of bills that a consent lets `recipient` settle and another lets `student` study. The list is
    cut into groups of STUDY_GROUP from its beginning; only whole groups are answered, at most
    `most` bills, and the page can be empty. What fills no group yet waits until others join it.

    Raises: NoBorder when no group ends with the number `seq`, for whoever may begin anywhere
    tells two pages apart by one bill.
    """
    later = released_bill.alias("later")
    overtaken = exists().where(
        later.c.hospital == released_bill.c.hospital,
        later.c.bill_id == released_bill.c.bill_id,
        later.c.seq > released_bill.c.seq,
    )
    last = and_(released_bill.c.kind != "REVERSAL", ~overtaken)
    settling = _Use(recipient, Purpose.CLAIM_SETTLEMENT)
    studying = _Use(student, Purpose.DEIDENTIFIED_STUDY)
    wanted = _Bills(hospital, now_us, (settling, studying))
    _find_border(connection, sealer, wanted, last, seq)
    found = _bills(connection, sealer, wanted, last, seq, most - most % STUDY_GROUP)
    whole = found[: len(found) - len(found) % STUDY_GROUP]
    return Page(whole, more=found.more)


def _find_border(
    connection: Connection, sealer: Sealer, wanted: _Bills, last: ColumnElement[bool], seq: int
) -> None:
    until = and_(last, released_bill.c.seq <= seq)
    at = 0
    while at < seq:
        found = _bills(connection, sealer, wanted, until, at, STUDY_GROUP * _GROUPS_AT_ONCE)
        if not found or len(found) % STUDY_GROUP:
            raise NoBorder
        at = found[-1].seq
        if at != seq and not found.more:
            raise NoBorder
