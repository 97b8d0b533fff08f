"""Records as they came: stored before they are read, once each, together with the cursor."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select

from services.his_bridge.core.faults import Fault, Reason, in_order, stage_of
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import inbox, quarantine, read_cursor

PENDING = "pending"
_CONFLICT = (Fault(reason=Reason.SAME_VERSION_OTHER_CONTENT, path="meta.versionId"),)


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A record from the source. One to keep out is stored only if an earlier version was."""

    external_id: str
    version: str
    updated_us: int
    raw: bytes
    keep_out: bool


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record that was not read yet."""

    inbox_id: int
    external_id: str
    raw: bytes
    updated_us: int
    received_us: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page: records to read, with their positions in it, and counts."""

    pending: tuple[tuple[int, Pending], ...]
    received: int
    conflicts: int
    filtered: int


class SetAsideRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record for the quarantine."""

    inbox_id: int
    faults: tuple[Fault, ...]
    total_minor: int | None = None


def store(
    connection: Connection,
    hospital: str,
    channel: str,
    arrived: Sequence[Arrived],
    *,
    currency: str,
    now_us: int,
) -> Stored:
    """Put what is new into the inbox.

    The same id, version and bytes again change nothing. The same id and version with other bytes
    go to the quarantine and are never read: nobody can say which of the two is right.
    """
    known = _known(connection, hospital, channel, {record.external_id for record in arrived})
    rows: list[tuple[int, dict[str, object]]] = []
    filtered = 0
    for position, record in enumerate(arrived):
        digest = hashlib.sha256(record.raw).hexdigest()
        versions = known.get(record.external_id)
        if versions is None:
            if record.keep_out:
                filtered += 1
                continue
            versions = known[record.external_id] = {}
        digests = versions.setdefault(record.version, set())
        if digest in digests:
            continue
        row = {
            "hospital": hospital,
            "channel": channel,
            "external_id": record.external_id,
            "version": record.version,
            "sha256": digest,
            "raw": record.raw,
            "state": "conflict" if digests else PENDING,
            "updated_us": record.updated_us,
            "at_us": now_us,
        }
        digests.add(digest)
        rows.append((position, row))
    if not rows:
        return Stored(pending=(), received=0, conflicts=0, filtered=filtered)
    ids = connection.execute(
        insert(inbox).returning(inbox.c.id, sort_by_parameter_order=True),
        [row for _, row in rows],
    ).scalars()
    pending: list[tuple[int, Pending]] = []
    conflicts: list[SetAsideRow] = []
    for inbox_id, (position, row) in zip(ids, rows, strict=True):
        if row["state"] == PENDING:
            record = arrived[position]
            entry = Pending(
                inbox_id=inbox_id,
                external_id=record.external_id,
                raw=record.raw,
                updated_us=record.updated_us,
                received_us=now_us,
            )
            pending.append((position, entry))
        else:
            conflicts.append(SetAsideRow(inbox_id=inbox_id, faults=_CONFLICT))
    set_aside(connection, hospital, conflicts, currency=currency, now_us=now_us)
    return Stored(
        pending=tuple(pending),
        received=len(rows),
        conflicts=len(conflicts),
        filtered=filtered,
    )


def left_over(connection: Connection, hospital: str, channel: str, most: int) -> list[Pending]:
    """Stored records that nobody has read, oldest first: an earlier pull was cut off."""
    rows = connection.execute(
        select(inbox.c.id, inbox.c.external_id, inbox.c.raw, inbox.c.updated_us, inbox.c.at_us)
        .where(inbox.c.hospital == hospital, inbox.c.channel == channel, inbox.c.state == PENDING)
        .order_by(inbox.c.id)
        .limit(most)
    )
    return [
        Pending(
            inbox_id=row.id,
            external_id=row.external_id,
            raw=row.raw,
            updated_us=row.updated_us,
            received_us=row.at_us,
        )
        for row in rows
    ]


def set_aside(
    connection: Connection,
    hospital: str,
    rows: Sequence[SetAsideRow],
    *,
    currency: str,
    now_us: int,
) -> None:
    """Write records into the quarantine."""
    if not rows:
        return
    first = next_numbers(connection, f"quarantine/{hospital}", len(rows))
    connection.execute(
        insert(quarantine),
        [
            {
                "hospital": hospital,
                "seq": first + offset,
                "name": uuid.uuid4().hex,
                "inbox_id": row.inbox_id,
                "stage": str(stage_of(row.faults)),
                "faults": msgspec.json.encode(in_order(row.faults)),
                "total_minor": row.total_minor,
                "currency": currency,
                "at_us": now_us,
            }
            for offset, row in enumerate(rows)
        ],
    )


def cursor_of(connection: Connection, hospital: str, channel: str, scope: str) -> bytes | None:
    """Where the next page begins; None at the very beginning."""
    return connection.execute(
        select(read_cursor.c.position).where(
            read_cursor.c.hospital == hospital,
            read_cursor.c.channel == channel,
            read_cursor.c.scope == scope,
        )
    ).scalar_one_or_none()


def move_cursor(
    connection: Connection,
    hospital: str,
    channel: str,
    scope: str,
    position: bytes,
    *,
    now_us: int,
) -> None:
    """Remember where the next page begins; in the transaction that stored this one."""
    key = {"hospital": hospital, "channel": channel, "scope": scope}
    connection.execute(
        delete(read_cursor).where(*(read_cursor.c[name] == value for name, value in key.items()))
    )
    connection.execute(insert(read_cursor), {**key, "position": position, "at_us": now_us})


def _known(
    connection: Connection, hospital: str, channel: str, external_ids: set[str]
) -> dict[str, dict[str, set[str]]]:
    rows = connection.execute(
        select(inbox.c.external_id, inbox.c.version, inbox.c.sha256).where(
            inbox.c.hospital == hospital,
            inbox.c.channel == channel,
            inbox.c.external_id.in_(external_ids),
        )
    )
    known: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        known.setdefault(row.external_id, {}).setdefault(row.version, set()).add(row.sha256)
    return known
