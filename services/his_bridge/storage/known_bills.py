"""What the database knows of some bills: their events, what was merged, released, and what waits.

Loaded once for a batch, for all bills that its records can touch. Every function works in the
caller's transaction. Decides nothing.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import ColumnElement, Connection, or_, select

from services.common.sealing import Erased, Sealer, members
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.merges import Aliases, Merge, aliases_of
from services.his_bridge.core.outcomes import MergeLevel
from services.his_bridge.storage import sealed
from services.his_bridge.storage.inbox import READ
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
    """A bill as it was released once; its content is None when it went with its patient."""

    kind: EventKind
    bill: Bill | None
    claims: bytes


@dataclass(kw_only=True, slots=True)
class Account:
    """All that happened under one of the source's ids of a bill."""

    bill_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    kept: list[Kept] = field(default_factory=list)
    events: int = 0  # ever recorded, with those that nobody can open any more
    told: list[Told] = field(default_factory=list)
    erased: bool = False


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
            rows = connection.execute(
                select(merge_event).where(
                    merge_event.c.hospital == hospital,
                    merge_event.c.level == str(self.level),
                    or_(merge_event.c.into_name.in_(new), merge_event.c.out_name.in_(new)),
                )
            ).all()
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
    wanted = list(names)
    found: dict[str, Account] = defaultdict(Account)
    if not wanted:
        return found
    rows = connection.execute(
        select(bill_event)
        .where(bill_event.c.hospital == hospital, bill_event.c.external_index.in_(wanted))
        .order_by(bill_event.c.bill_id, bill_event.c.number)
    ).all()
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
    connection: Connection, sealer: Sealer, hospital: str, accounts: dict[str, Account]
) -> None:
    """Add what was released of each account, oldest first."""
    if not accounts:
        return
    rows = connection.execute(
        select(released_bill)
        .where(
            released_bill.c.hospital == hospital,
            released_bill.c.external_index.in_(list(accounts)),
        )
        .order_by(released_bill.c.seq)
    ).all()
    sealer.load(members.subject_of(row.member) for row in rows)
    for row in rows:
        account = accounts[row.external_index]
        account.bill_id = row.bill_id
        try:
            bill: Bill | None = sealed.open_bill(sealer, row)
        except Erased:
            bill = None
            account.erased = True
        account.told.append(Told(kind=EventKind(row.kind), bill=bill, claims=row.claims))


def accounts_of(
    connection: Connection, hospital: str, records: Iterable[str], people: Iterable[str]
) -> set[str]:
    """Names of the accounts of which these records or these people's records said something."""
    of_records, of_people = list(records), list(people)
    wanted: list[ColumnElement[bool]] = []
    if of_records:
        wanted.append(bill_event.c.record_index.in_(of_records))
    if of_people:
        wanted.append(bill_event.c.member.in_(of_people))
    if not wanted:
        return set()
    query = select(bill_event.c.external_index).where(
        bill_event.c.hospital == hospital, or_(*wanted)
    )
    return set(connection.execute(query.distinct()).scalars())


def held_among(connection: Connection, inbox_ids: Sequence[int]) -> set[int]:
    """Which of these records are held for want of a consent."""
    if not inbox_ids:
        return set()
    query = select(held_record.c.inbox_id).where(held_record.c.inbox_id.in_(inbox_ids))
    return set(connection.execute(query).scalars())


def readable_among(connection: Connection, inbox_ids: Sequence[int]) -> list[int]:
    """Which of these records were read and can be read again, newest first."""
    query = select(inbox.c.id).where(
        inbox.c.id.in_(inbox_ids), inbox.c.state == READ, inbox.c.raw.is_not(None)
    )
    return list(connection.execute(query.order_by(inbox.c.id.desc())).scalars())


def effective(event: BillEvent, patient: str | None, patients: Merges) -> BillEvent:
    """The event of the patient who goes on, where it was made after the patients were merged."""
    if event.bill is None or patient is None:
        return event
    token = token_at(patients, patient, event.order[0], event.bill.member_token)
    bill = msgspec.structs.replace(event.bill, member_token=token)
    return msgspec.structs.replace(event, bill=bill)


def token_at(patients: Merges, patient: str, at_us: int, token: str) -> str:
    """The token under which a patient is known at this time of the source's."""
    for step in patients.aliases.steps(patient):
        if step.order[0] > at_us:
            break
        token = patients.ids.get(step.into, token)
    return token
