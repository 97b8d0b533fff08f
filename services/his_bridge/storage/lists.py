"""What the bridge has to show besides bills and readings: quarantine, and the insurer's answers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    Select,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)

from services.common.paging import Page, any_after
from services.common.sealing import Erased, Sealer, members
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.storage.inbox import PENDING
from services.his_bridge.storage.offers import after_refusal
from services.his_bridge.storage.operation_tables import replay
from services.his_bridge.storage.releases import DELIVERY_PENDING
from services.his_bridge.storage.sealed import open_record, open_released
from services.his_bridge.storage.tables import (
    acknowledgement,
    inbox,
    last_seq,
    quarantine,
    released_bill,
)
from services.his_bridge.storage.taking_back import overtake

# What of a release an answer changes, or hangs on.
_ANSWERED = ("name", "kind", "delivery", "first_refused_us")
_FAULTS = msgspec.json.Decoder(tuple[Fault, ...])
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the insurer did with one bill: TAKEN with claims, or REFUSED with reasons.

    PENDING with reasons is of one at which its service failed: it waits, and is tried again.
    """

    bill: str
    delivery: str
    claims: tuple[str, ...]
    refusal_reasons: tuple[str, ...]


class UnknownBills(LookupError):
    """At least one bill of an acknowledgement was never released; nothing was recorded."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} unknown")
        self.names = tuple(names)


class TakenBefore(ValueError):
    """A bill that was taken cannot be refused afterwards; nothing was recorded."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} taken")
        self.names = tuple(names)


class OtherContent(ValueError):
    """The request id was used before with other content; nothing was recorded."""


def last_number(connection: Connection, name: str) -> int:
    """The last number that a list has given; 0 before the first."""
    query = select(last_seq.c.value).where(last_seq.c.list == name)
    return connection.execute(query).scalar_one_or_none() or 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A quarantined record's row, and the source's own id of it."""

    row: Row[Any]
    external_id: str

    @property
    def seq(self) -> int:
        """Its number in the list."""
        return int(self.row.seq)


# What opens the source's own id of a record (sealed.open_record), but for its hospital.
OF_INBOX = ("channel", "external_index", "external_id", "version", "content_hash", "member")


def quarantine_after(
    connection: Connection, sealer: Sealer, hospital: str, seq: int, most: int
) -> Page[Waiting]:
    """Records that wait for a person, oldest first, after a number.

    A later version of the same record that was read, released or not, resolves what was set aside
    before, and so does an original that came after what takes it back. If the later version is bad
    as well, it waits itself. A late older version resolves nothing, nor does the same version with
    other bytes. What was replayed waits anew only if it was set aside anew.
    """
    of_inbox = [inbox.c[name] for name in OF_INBOX]
    number = quarantine.c.seq
    query = still_waiting(select(quarantine, *of_inbox), hospital)
    after = query.where(number > seq).order_by(number)
    rows = connection.execute(after.limit(most)).all()
    waiting = [Waiting(row, open_record(sealer, row, "external_id").decode()) for row in rows]
    more = len(rows) == most and any_after(connection, query, number, rows[-1].seq)
    return Page(waiting, more=more)


def quarantined_by_state(connection: Connection, hospital: str) -> Counter[tuple[str, str]]:
    """Channel and state in the inbox → how many records `quarantine_after` lists of it."""
    columns = (inbox.c.channel, inbox.c.state)
    query = still_waiting(select(*columns, func.count().label("number")), hospital)
    rows = connection.execute(query.group_by(*columns))
    return Counter({(row.channel, row.state): row.number for row in rows})


def quarantined_by_reason(connection: Connection, hospital: str) -> Counter[str]:
    """Reason → how many records that wait for a person have it."""
    rows = connection.execute(still_waiting(select(quarantine.c.faults), hospital))
    found: Counter[str] = Counter()
    for row in rows:
        found.update({str(fault.reason) for fault in _FAULTS.decode(row.faults)})
    return found


def still_waiting(query: Query, hospital: str) -> Query:
    """A query over quarantine and inbox, narrowed to the entries that wait for a person."""
    later = inbox.alias("later")
    # In the order of an index, so that of many versions of a record one is looked at: as a mere
    # EXISTS it is made a join, which holds each version against each.
    resolved_by = (
        select(later.c.id)
        .where(
            later.c.hospital == inbox.c.hospital,
            later.c.channel == inbox.c.channel,
            later.c.external_index == inbox.c.external_index,
            later.c.version != inbox.c.version,
            later.c.state != PENDING,
            tuple_(later.c.updated_us, later.c.id) > tuple_(inbox.c.updated_us, inbox.c.id),
        )
        .order_by(later.c.updated_us.desc(), later.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        query.select_from(quarantine)
        .join(inbox, inbox.c.id == quarantine.c.inbox_id)
        .where(
            quarantine.c.hospital == hospital,
            quarantine.c.resolved_us.is_(None),
            resolved_by.is_(None),
            ~exists().where(replay.c.quarantine == quarantine.c.name),
        )
    )


def acknowledge(
    connection: Connection,
    hospital: str,
    request_id: str,
    answers: Sequence[Answer],
    *,
    recipient: str,
    now_us: int,
) -> None:
    """Record the answers of the insurer `recipient`, all or none. Repeating it changes nothing.

    Raises: UnknownBills, TakenBefore, OtherContent.
    """
    request_hash = hashlib.sha256(msgspec.json.encode(answers)).hexdigest()
    if request_id:
        before = connection.execute(
            select(acknowledgement.c.request_hash).where(
                acknowledgement.c.hospital == hospital,
                acknowledgement.c.request_id == request_id,
            )
        ).scalar_one_or_none()
        if before == request_hash:
            return
        if before is not None:
            raise OtherContent("request_id used before")
    names = [answer.bill for answer in answers]
    states = {
        row.name: row
        for row in connection.execute(
            select(*(released_bill.c[column] for column in _ANSWERED))
            .where(released_bill.c.hospital == hospital, released_bill.c.name.in_(names))
            .order_by(released_bill.c.seq)
            .with_for_update()
        )
    }
    unknown = [name for name in names if name not in states]
    if unknown:
        raise UnknownBills(unknown)
    # Somebody had an answer meanwhile.
    answers = [
        one
        for one in answers
        if one.delivery != DELIVERY_PENDING or states[one.bill].delivery == DELIVERY_PENDING
    ]
    late = [a.bill for a in answers if states[a.bill].delivery == "TAKEN" and a.delivery != "TAKEN"]
    if late:
        raise TakenBefore(late)
    for answer in answers:
        before_it = states[answer.bill]
        later: dict[str, int | str | None] = {"next_offer_us": None}
        if answer.delivery == "REFUSED":
            first_us = before_it.first_refused_us
            later = {"handed_to": None}
            later |= after_refusal(answer.refusal_reasons, first_us, now_us)
        elif before_it.delivery != "TAKEN":
            later["handed_to"] = recipient
        connection.execute(
            update(released_bill)
            .where(released_bill.c.hospital == hospital, released_bill.c.name == answer.bill)
            .values(
                delivery=answer.delivery,
                claims=msgspec.json.encode(answer.claims),
                refusal_reasons=msgspec.json.encode(answer.refusal_reasons),
                **later,
            )
        )
    answered = [one.bill for one in answers if one.delivery != DELIVERY_PENDING]
    later_ones = [name for name in answered if states[name].kind != "FINAL"]
    if later_ones:
        overtake(connection, hospital, recipient, later_ones, besides=names)
    if request_id:
        connection.execute(
            insert(acknowledgement),
            {
                "hospital": hospital,
                "request_id": request_id,
                "request_hash": request_hash,
                "at_us": now_us,
            },
        )


def totals_by_day(
    connection: Connection, sealer: Sealer, hospital: str, first: date, last: date
) -> dict[date, DayTotals]:
    """What the bridge holds per day of billing: ids, their number and the sum of their totals.

    Every bill counts once, as its last event left it; a reversed one not at all. An erased one
    counts under our own name, because the source's id went with its patient.
    """
    columns = [column for column in released_bill.c if column.name != "body"]
    # Whatever was ever of these days, and where it stands now: years of others are not read.
    of_days = released_bill.alias("of_days")
    once = select(of_days.c.external_index).where(
        of_days.c.hospital == hospital,
        of_days.c.day.between(first.isoformat(), last.isoformat()),
    )
    rows = connection.execute(
        select(*columns)
        .where(released_bill.c.hospital == hospital, released_bill.c.external_index.in_(once))
        .order_by(released_bill.c.seq)
    )
    latest = {row.external_index: row for row in rows}
    counted = [
        (day, row)
        for row in latest.values()
        if row.kind != "REVERSAL" and first <= (day := date.fromisoformat(row.day)) <= last
    ]
    sealer.load(members.subject_of(row.member) for _, row in counted)
    return by_day((day, _external_id(sealer, row), row.total_minor) for day, row in counted)


def _external_id(sealer: Sealer, row: Row[Any]) -> str:
    try:
        return open_released(sealer, row, "external_id").decode()
    except Erased:
        return f"erased/{row.name}"
