"""Records that were read and cannot count yet: parked until an original comes, or quarantined.

A row stands as long as its record waits and goes when it counts; the quarantine keeps its own row,
as resolved. Works in the caller's transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from services.common.bulk import one_of
from services.common.paging import Page, any_after
from services.common.sealing import Sealer
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.folding import is_parked
from services.his_bridge.storage.inbox import SetAsideRow, set_aside
from services.his_bridge.storage.lists import OF_INBOX, Waiting
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.sealed import open_record
from services.his_bridge.storage.tables import inbox, quarantine, waiting_event

_FAULTS = msgspec.json.Decoder(tuple[Fault, ...])
_NEVER_CAME = (Fault(reason=Reason.ORIGINAL_NEVER_CAME, path="reverses"),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """Why a record cannot count yet, and under which account it stands."""

    account: str
    faults: tuple[Fault, ...]
    total: int | None = None


def bring_up_to_date(
    connection: Connection,
    hospital: str,
    accounts: Iterable[str],
    now: Mapping[int, Waits],
    *,
    now_us: int,
) -> list[SetAsideRow]:
    """Let the rows of these accounts say what waits `now`, by inbox row; who goes to a person."""
    query = select(waiting_event.c.inbox_id, waiting_event.c.faults).where(
        waiting_event.c.hospital == hospital
    )
    before = {
        row.inbox_id: _FAULTS.decode(row.faults)
        for some in portions(accounts)
        for row in connection.execute(
            query.where(one_of(connection, waiting_event.c.external_index, some))
        )
    }
    gone = [i for i, faults in before.items() if i not in now or now[i].faults != faults]
    new = sorted(i for i in now if i not in before or i in gone)
    _forget(connection, gone, now_us)
    if new:
        connection.execute(
            insert(waiting_event),
            [
                {
                    "inbox_id": inbox_id,
                    "hospital": hospital,
                    "external_index": now[inbox_id].account,
                    "faults": msgspec.json.encode(now[inbox_id].faults),
                    "quarantined": not is_parked(now[inbox_id].faults),
                    "at_us": now_us,
                }
                for inbox_id in new
            ],
        )
    return [
        SetAsideRow(inbox_id=i, faults=now[i].faults, total_minor=now[i].total)
        for i in new
        if not is_parked(now[i].faults)
    ]


def _forget(connection: Connection, inbox_ids: Sequence[int], now_us: int) -> None:
    """These records count now, or wait for another reason."""
    for ids in portions(inbox_ids):
        connection.execute(delete(waiting_event).where(waiting_event.c.inbox_id.in_(ids)))
        connection.execute(
            update(quarantine)
            .where(quarantine.c.inbox_id.in_(ids), quarantine.c.resolved_us.is_(None))
            .values(resolved_us=now_us)
        )


def give_up(
    connection: Connection, hospital: str, *, before_us: int, currency: str, now_us: int
) -> int:
    """Put into the quarantine what is parked since before then; how many.

    It still counts by itself when its original comes.
    """
    old = (
        waiting_event.c.hospital == hospital,
        ~waiting_event.c.quarantined,
        waiting_event.c.at_us < before_us,
    )
    query = select(waiting_event.c.inbox_id).where(*old).order_by(waiting_event.c.inbox_id)
    rows = [
        SetAsideRow(inbox_id=inbox_id, faults=_NEVER_CAME)
        for inbox_id in connection.execute(query).scalars()
    ]
    set_aside(connection, hospital, rows, currency=currency, now_us=now_us)
    connection.execute(update(waiting_event).where(*old).values(quarantined=True))
    return len(rows)


def parked_by_state(
    connection: Connection, hospital: str
) -> tuple[Counter[tuple[str, str]], int | None]:
    """Channel and state in the inbox → how many wait for an original; since when the first does."""
    columns = (inbox.c.channel, inbox.c.state)
    rows = connection.execute(
        select(*columns, func.count().label("number"), func.min(waiting_event.c.at_us).label("us"))
        .select_from(waiting_event)
        .join(inbox, inbox.c.id == waiting_event.c.inbox_id)
        .where(waiting_event.c.hospital == hospital, ~waiting_event.c.quarantined)
        .group_by(*columns)
    ).all()
    numbers = Counter({(row.channel, row.state): row.number for row in rows})
    return numbers, min((row.us for row in rows), default=None)


def parked_after(
    connection: Connection, sealer: Sealer, hospital: str, seq: int, most: int
) -> Page[Waiting]:
    """Records that wait for an original, in the order of arrival, after a number."""
    number = waiting_event.c.inbox_id
    query = (
        select(
            waiting_event.c.inbox_id.label("seq"),
            waiting_event.c.inbox_id.label("name"),
            waiting_event.c.hospital,
            waiting_event.c.faults,
            waiting_event.c.at_us,
            *(inbox.c[name] for name in OF_INBOX),
        )
        .join(inbox, inbox.c.id == waiting_event.c.inbox_id)
        .where(waiting_event.c.hospital == hospital, ~waiting_event.c.quarantined)
    )
    rows = connection.execute(query.where(number > seq).order_by(number).limit(most)).all()
    found = [Waiting(row, open_record(sealer, row, "external_id").decode()) for row in rows]
    more = len(rows) == most and any_after(connection, query, number, rows[-1].seq)
    return Page(found, more=more)
