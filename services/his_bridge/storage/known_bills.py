"""What the database knows of some bills: their events, what was merged, released, and what waits.

Loaded once for a batch, for all bills that its records can touch. Every function works in the
caller's transaction. Decides nothing.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, or_, select

from services.common.bulk import one_of
from services.common.sealing import Erased, Sealer, members
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.folded_lines import numbers_given
from services.his_bridge.core.merges import Aliases, Merge, aliases_of
from services.his_bridge.core.outcomes import MergeLevel
from services.his_bridge.storage import sealed
from services.his_bridge.storage.inbox import READ
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import (
    bill_event,
    held_record,
    inbox,
    merge_event,
    released_bill,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An event, and the row of the inbox that it was read from."""

    event: BillEvent
    inbox_id: int
    member: str | None  # opaque id


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A bill as it was released once; its content is None when it went with its patient.

    `numbers` are those under which its charges, and all that left it before, were released.
    """

    kind: EventKind
    bill: Bill | None
    claims: bytes
    numbers: Mapping[str, int]


@dataclass(kw_only=True, slots=True)
class Account:
    """All that happened under one of the source's ids of a bill.

    `told` holds what was released last, and of a bill that was merged all that was. One that only
    `grows` was not read: nothing that arrives now can close it, or make anything of it wait.
    """

    bill_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    kept: list[Kept] = field(default_factory=list)
    events: int = 0  # ever recorded, with those that nobody can open any more
    told: list[Told] = field(default_factory=list)
    releases: int = 0
    erased: bool = False
    grows: bool = False


class Merges:
    """Merges of one level, by what they say together."""

    def __init__(self, level: MergeLevel) -> None:
        self.level = level
        self.merges: dict[int, Merge] = {}  # by the inbox row
        self.ids: dict[str, str] = {}  # what goes on: name → the source's id, or the token
        self.aliases: Aliases = aliases_of(())

    def add(self, inbox_id: int, merge: Merge, into_id: str | None) -> None:
        """One more; what all say together follows."""
        self.merges[inbox_id] = merge
        if into_id is not None:
            self.ids[merge.into] = into_id
        self.aliases = aliases_of(self.merges.values())

    def load(
        self, connection: Connection, sealer: Sealer, hospital: str, names: Iterable[str]
    ) -> set[str]:
        """Read all merges that these names are part of, however far; all names that they name."""
        known, new = set(names), set(names)
        while new:
            query = select(merge_event).where(
                merge_event.c.hospital == hospital, merge_event.c.level == str(self.level)
            )
            sides = merge_event.c.into_name, merge_event.c.out_name
            rows = [
                row
                for some in portions(new)
                for row in connection.execute(
                    query.where(or_(*(one_of(connection, side, some) for side in sides)))
                )
            ]
            sealer.load(self._subject(hospital, row.into_name) for row in rows)
            for row in rows:
                merge = Merge(
                    record=str(row.inbox_id),
                    into=row.into_name,
                    out_of=row.out_name,
                    order=(row.updated_us, row.rank),
                )
                self.merges[row.inbox_id] = merge
                subject = self._subject(hospital, row.into_name)
                try:
                    self.ids[row.into_name] = sealed.open_merged(sealer, row, subject)
                except Erased:
                    continue  # no token is left of who goes on
            named = {name for row in rows for name in (row.into_name, row.out_name)}
            new = named - known
            known |= new
        self.aliases = aliases_of(self.merges.values())
        return known

    def row(
        self, sealer: Sealer, hospital: str, inbox_id: int, *, now_us: int
    ) -> dict[str, object]:
        """A merge as it is kept."""
        merge = self.merges[inbox_id]
        subject = self._subject(hospital, merge.into)
        return {
            "hospital": hospital,
            "inbox_id": inbox_id,
            "level": str(self.level),
            "into_name": merge.into,
            "out_name": merge.out_of,
            "into_id": sealed.seal_merged(
                sealer, hospital, inbox_id, subject, self.ids[merge.into]
            ),
            "updated_us": merge.order[0],
            "rank": merge.order[1],
            "at_us": now_us,
        }

    def _subject(self, hospital: str, name: str) -> str:
        of_patient = self.level is MergeLevel.PATIENT
        return sealed.subject_of(hospital, name if of_patient else None)


def load_events(
    connection: Connection, sealer: Sealer, hospital: str, names: Iterable[str]
) -> dict[str, Account]:
    """What is known of these accounts, by their names."""
    found: dict[str, Account] = defaultdict(Account)
    query = select(bill_event).where(bill_event.c.hospital == hospital)
    query = query.order_by(bill_event.c.bill_id, bill_event.c.number)
    rows = [
        row
        for some in portions(names)
        for row in connection.execute(
            query.where(one_of(connection, bill_event.c.external_index, some))
        )
    ]
    sealer.load(members.subject_of(row.member) for row in rows if row.member is not None)
    for row in rows:
        account = found.setdefault(row.external_index, Account(bill_id=row.bill_id))
        account.events = row.number
        try:
            bill = None if row.body is None else sealed.open_event(sealer, row)
        except Erased:
            account.erased = True
            continue
        event = BillEvent(
            record=row.record_index,
            account=row.external_index,
            kind=EventKind(row.kind),
            order=(row.updated_us, row.rank),
            bill=bill,
            reverses=row.reverses_index,
            stated_total=row.stated_total,
        )
        account.kept.append(Kept(event=event, inbox_id=row.inbox_id, member=row.member))
    return found


def load_told(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    accounts: Mapping[str, Account],
    whole: Collection[str],
) -> None:
    """Add what was released last of each account, and of those in `whole` all that ever was.

    Content is opened of these alone: a bill of many late charges was released many times.
    """
    mine = released_bill.c.hospital == hospital
    query = (
        select(
            released_bill.c.external_index,
            released_bill.c.member,
            func.count().label("number"),
            func.max(released_bill.c.seq).label("newest"),
        )
        .where(mine)
        .group_by(released_bill.c.external_index, released_bill.c.member)
    )
    groups = [
        row
        for some in portions(accounts)
        for row in connection.execute(
            query.where(one_of(connection, released_bill.c.external_index, some))
        )
    ]
    sealer.load(members.subject_of(row.member) for row in groups)
    newest: dict[str, int] = {}
    for row in groups:
        account = accounts[row.external_index]
        account.releases += row.number
        account.erased |= sealer.is_erased(members.subject_of(row.member))
        newest[row.external_index] = max(row.newest, newest.get(row.external_index, 0))
    column: ColumnElement[Any]
    wanted = (
        (released_bill.c.seq, [seq for name, seq in newest.items() if name not in whole]),
        (released_bill.c.external_index, [name for name in newest if name in whole]),
    )
    bodies = select(released_bill).where(mine).order_by(released_bill.c.seq)
    for column, values in wanted:
        for part in portions(values):
            for row in connection.execute(bodies.where(one_of(connection, column, part))):
                account = accounts[row.external_index]
                account.bill_id = row.bill_id
                account.told.append(_told(sealer, row))


def _told(sealer: Sealer, row: Any) -> Told:
    try:
        bill: Bill | None = sealed.open_bill(sealer, row)
    except Erased:
        return Told(kind=EventKind(row.kind), bill=None, claims=row.claims, numbers={})
    numbers = sealed.open_numbers(sealer, row) | numbers_given(bill.lines if bill else ())
    return Told(kind=EventKind(row.kind), bill=bill, claims=row.claims, numbers=numbers)


def accounts_of(connection: Connection, hospital: str, people: Iterable[str]) -> set[str]:
    """Names of the accounts of which these people's records said something."""
    query = select(bill_event.c.external_index).where(bill_event.c.hospital == hospital).distinct()
    return {
        name
        for some in portions(people)
        for name in connection.execute(
            query.where(one_of(connection, bill_event.c.member, some))
        ).scalars()
    }


def accounts_by_record(
    connection: Connection, hospital: str, records: Iterable[str]
) -> dict[str, set[str]]:
    """Names of the accounts of which each of these records said something, if it ever did."""
    columns = bill_event.c.record_index, bill_event.c.external_index
    query = select(*columns).where(bill_event.c.hospital == hospital).distinct()
    found: dict[str, set[str]] = {}
    for some in portions(records):
        of_these = one_of(connection, bill_event.c.record_index, some)
        for record, name in connection.execute(query.where(of_these)):
            found.setdefault(record, set()).add(name)
    return found


def held_among(connection: Connection, inbox_ids: Sequence[int]) -> set[int]:
    """Which of these records are held for want of a consent."""
    query = select(held_record.c.inbox_id)
    return {
        inbox_id
        for ids in portions(inbox_ids)
        for inbox_id in connection.execute(
            query.where(one_of(connection, held_record.c.inbox_id, ids))
        ).scalars()
    }


def readable_among(connection: Connection, inbox_ids: Sequence[int]) -> list[int]:
    """Which of these records were read and can be read again, newest first."""
    query = select(inbox.c.id).where(inbox.c.state == READ, inbox.c.raw.is_not(None))
    found = (
        inbox_id
        for ids in portions(inbox_ids)
        for inbox_id in connection.execute(
            query.where(one_of(connection, inbox.c.id, ids))
        ).scalars()
    )
    return sorted(found, reverse=True)


def as_one_patients(kept: Sequence[Kept], patients: Merges) -> list[BillEvent]:
    """The events of one bill, each of the patient who went on by then.

    Where that makes it several patients' bill, all are of whoever goes on in the end: a stay may
    begin under the old patient and end under the new one. Whose a record was said to be before its
    newest version makes it nobody else's.
    """
    found = [_at(one, patients, one.event.order[0]) for one in kept]
    newest: dict[str, BillEvent] = {}
    for event in found:
        known = newest.get(event.record)
        if known is None or known.order < event.order:
            newest[event.record] = event
    stated = [event.bill for event in newest.values() if event.bill is not None]
    if len({bill.member_token for bill in stated}) > 1:
        return [_at(one, patients, None) for one in kept]
    return found


def _at(kept: Kept, patients: Merges, at_us: int | None) -> BillEvent:
    event = kept.event
    if event.bill is None or kept.member is None:
        return event
    token = token_at(patients, kept.member, at_us, event.bill.member_token)
    bill = msgspec.structs.replace(event.bill, member_token=token)
    return msgspec.structs.replace(event, bill=bill)


def token_at(patients: Merges, patient: str, at_us: int | None, token: str) -> str:
    """The token of a patient at this time of the source's; without a time, in the end."""
    for step in patients.aliases.steps(patient):
        if at_us is not None and step.order[0] > at_us:
            break
        token = patients.ids.get(step.into, token)
    return token
