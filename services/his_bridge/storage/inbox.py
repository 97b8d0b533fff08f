"""Records as they came: stored before they are read, once each, together with the cursor."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from itertools import accumulate

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from services.common.bulk import insert_numbered, one_of
from services.common.sealing import Sealer, members
from services.his_bridge.core.events import is_counted
from services.his_bridge.core.faults import Fault, Reason, in_order, stage_of
from services.his_bridge.core.mapping import Unmapped
from services.his_bridge.storage import sealed
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.tables import inbox, quarantine, read_cursor

PENDING = "pending"
# Of so many bytes, no more records are read at once.
MOST_BYTES = 2 << 20
READ = "read"
QUARANTINED, CONFLICT = "quarantined", "conflict"
_CONFLICT = (Fault(reason=Reason.SAME_VERSION_OTHER_CONTENT, path="version"),)


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A record from the source. One to keep out is stored only if an earlier version was.

    Of two of one version `meaning` tells whether they are the same; without it their bytes do.
    `token` is the patient's, of a record that was read as it came: it is sealed under their key.
    """

    external_id: str
    version: str
    updated_us: int
    raw: bytes
    keep_out: bool
    meaning: bytes | None = None
    token: str | None = None


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record that nothing was made of yet. `member` is under whose key it is sealed."""

    inbox_id: int
    external_id: str
    external_index: str
    raw: bytes
    bound: str  # what the row's sealed columns are bound to
    updated_us: int
    rank: str  # its place among what the source made in one moment
    received_us: int
    member: str | None = None  # opaque id


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of records: those to read, with their positions, and the positions of others.

    A record in none of them was here already. `received` counts what was written. `conflicts`
    were written now; `known_conflicts` came again, and stay what they are.
    """

    pending: tuple[tuple[int, Pending], ...] = ()
    received: int = 0
    conflicts: tuple[int, ...] = ()
    known_conflicts: tuple[int, ...] = ()
    filtered: tuple[int, ...] = ()


class _New(msgspec.Struct, frozen=True):
    """A record to write, its place among what arrived, its blind index and its content's hash."""

    position: int
    record: Arrived
    external: str
    digest: str
    conflicts: bool

    @property
    def token(self) -> str | None:
        """Whose it is, if that is known; of two contents of one version nobody knows which."""
        return None if self.conflicts else self.record.token


class _Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, and the positions of what is not."""

    new: tuple[_New, ...]
    known_conflicts: tuple[int, ...]
    filtered: tuple[int, ...]


class SetAsideRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record for the quarantine."""

    inbox_id: int
    faults: tuple[Fault, ...]
    total_minor: int | None = None
    unmapped: tuple[Unmapped, ...] = ()


def store(
    connection: Connection,
    sealer: Sealer,
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
    found = _sorted_out(connection, sealer, hospital, channel, arrived)
    new = found.new
    if not new:
        return Stored(known_conflicts=found.known_conflicts, filtered=found.filtered)
    member_of = _members_of(connection, sealer, hospital, new, now_us)
    rows = [_row(sealer, hospital, channel, one, member_of.get(one.token), now_us) for one in new]
    ids = insert_numbered(connection, inbox, rows)
    pending: list[tuple[int, Pending]] = []
    aside: list[SetAsideRow] = []
    for inbox_id, one in zip(ids, new, strict=True):
        if one.conflicts:
            aside.append(SetAsideRow(inbox_id=inbox_id, faults=_CONFLICT))
        else:
            member = member_of.get(one.token)
            entry = _pending(inbox_id, hospital, channel, one, member, now_us)
            pending.append((one.position, entry))
    set_aside(connection, hospital, aside, currency=currency, now_us=now_us)
    return Stored(
        pending=tuple(pending),
        received=len(new),
        conflicts=tuple(one.position for one in new if one.conflicts),
        known_conflicts=found.known_conflicts,
        filtered=found.filtered,
    )


def _sorted_out(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    channel: str,
    arrived: Sequence[Arrived],
) -> _Sorted:
    """What is new, what is known as a conflict, and what is none of the bridge's business."""
    indexes = [sealed.external_index(sealer, hospital, one.external_id) for one in arrived]
    known = _known(connection, hospital, channel, set(indexes))
    new: list[_New] = []
    again: list[int] = []
    filtered: list[int] = []
    for position, (record, external) in enumerate(zip(arrived, indexes, strict=True)):
        versions = known.get(external)
        if versions is None:
            if record.keep_out:
                filtered.append(position)
                continue
            versions = known[external] = {}
        content = record.raw if record.meaning is None else record.meaning
        digest = sealed.content_hash(sealer, content)
        digests = versions.setdefault(record.version, {})
        if digest not in digests:
            digests[digest] = bool(digests)
            new.append(_New(position, record, external, digest, conflicts=digests[digest]))
        elif digests[digest]:
            again.append(position)
    return _Sorted(new=tuple(new), known_conflicts=tuple(again), filtered=tuple(filtered))


def _members_of(
    connection: Connection, sealer: Sealer, hospital: str, new: Sequence[_New], now_us: int
) -> dict[str | None, str]:
    """Token → opaque id of the patients whose records these are, and whose keys still seal."""
    tokens = {one.token for one in new if one.token is not None}
    found = sealed.members_of(connection, sealer, hospital, tokens, now_us) if tokens else {}
    sealer.load([sealed.inbox_subject(hospital), *map(members.subject_of, found.values())])
    # Somebody may be erased just now: nothing is sealed under a key that is gone.
    return {
        token: member
        for token, member in found.items()
        if not sealer.is_erased(members.subject_of(member))
    }


def _row(
    sealer: Sealer, hospital: str, channel: str, new: _New, member: str | None, now_us: int
) -> dict[str, object]:
    record = new.record
    bound = sealed.inbox_row(hospital, channel, new.external, record.version, new.digest)
    subject = sealed.subject_of(hospital, member)
    return {
        **sealed.seal_record(
            sealer, bound, subject, external_id=record.external_id, raw=record.raw
        ),
        "member": member,
        "hospital": hospital,
        "channel": channel,
        "external_index": new.external,
        "version": record.version,
        "content_hash": new.digest,
        "state": CONFLICT if new.conflicts else PENDING,
        "updated_us": record.updated_us,
        "at_us": now_us,
    }


def _pending(
    inbox_id: int, hospital: str, channel: str, new: _New, member: str | None, now_us: int
) -> Pending:
    record = new.record
    return Pending(
        inbox_id=inbox_id,
        external_id=record.external_id,
        external_index=new.external,
        raw=record.raw,
        bound=sealed.inbox_row(hospital, channel, new.external, record.version, new.digest),
        updated_us=record.updated_us,
        rank=_rank(record.version, new.digest),
        received_us=now_us,
        member=member,
    )


def left_over(connection: Connection, hospital: str, channel: str, most: int) -> list[int]:
    """Ids of stored records that wait to be read, oldest first: as many as memory should hold."""
    sizes = connection.execute(
        select(inbox.c.id, func.length(inbox.c.raw).label("size"))
        .where(inbox.c.hospital == hospital, inbox.c.channel == channel, inbox.c.state == PENDING)
        .order_by(inbox.c.id)
        .limit(most)
    ).all()
    sums = accumulate(row.size for row in sizes)
    return [row.id for row, whole in zip(sizes, sums, strict=True) if whole - row.size < MOST_BYTES]


def opened(connection: Connection, sealer: Sealer, ids: Collection[int]) -> list[Pending]:
    """These stored records, oldest first."""
    if not ids:
        return []
    these = one_of(connection, inbox.c.id, ids)
    rows = connection.execute(select(inbox).where(these).order_by(inbox.c.id)).all()
    sealer.load(sealed.subject_of(row.hospital, row.member) for row in rows)
    return [
        Pending(
            inbox_id=row.id,
            external_id=sealed.open_record(sealer, row, "external_id").decode(),
            external_index=row.external_index,
            raw=sealed.open_record(sealer, row, "raw"),
            bound=sealed.inbox_row(
                row.hospital, row.channel, row.external_index, row.version, row.content_hash
            ),
            updated_us=row.updated_us,
            rank=_rank(row.version, row.content_hash),
            received_us=row.at_us,
            member=row.member,
        )
        for row in rows
    ]


def still_unread(connection: Connection, ids: Collection[int]) -> set[int]:
    """Which of these records wait to be read: of a patient who was erased none does any more."""
    if not ids:
        return set()
    these = one_of(connection, inbox.c.id, ids), inbox.c.state == PENDING
    return set(connection.execute(select(inbox.c.id).where(*these)).scalars())


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


def drop_old_raw(connection: Connection, hospital: str, *, before_us: int) -> int:
    """Forget the bytes of records that were set aside before then; how many.

    Nobody can tell whose they are, so no erasure finds them; their reasons and ids stay.
    """
    old = select(quarantine.c.inbox_id).where(
        quarantine.c.hospital == hospital, quarantine.c.at_us < before_us
    )
    waiting = inbox.c.id.in_(old) & inbox.c.raw.is_not(None) & inbox.c.member.is_(None)
    return connection.execute(update(inbox).where(waiting).values(raw=None)).rowcount


def cursor_of(
    connection: Connection, sealer: Sealer, hospital: str, channel: str, scope: str
) -> bytes | None:
    """Where the next page begins; None at the very beginning."""
    position = connection.execute(
        select(read_cursor.c.position).where(
            read_cursor.c.hospital == hospital,
            read_cursor.c.channel == channel,
            read_cursor.c.scope == scope,
        )
    ).scalar_one_or_none()
    if position is None:
        return None
    return sealed.open_cursor(sealer, hospital, channel, scope, position)


def move_cursor(
    connection: Connection,
    sealer: Sealer,
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
    kept = sealed.seal_cursor(sealer, hospital, channel, scope, position)
    connection.execute(insert(read_cursor), {**key, "position": kept, "at_us": now_us})


def _rank(version: str, content_hash: str) -> str:
    """By version, counted where it is a number, then by content: never by arrival."""
    if not is_counted(version):
        return f"{version}:{content_hash}"
    number = version.lstrip("0")
    return f"{len(number):02}{number}:{content_hash}"


def _known(
    connection: Connection, hospital: str, channel: str, indexes: set[str]
) -> dict[str, dict[str, dict[str, bool]]]:
    """Blind index → version → hash of a content that lies here, and whether it is a conflict."""
    rows = connection.execute(
        select(inbox.c.external_index, inbox.c.version, inbox.c.content_hash, inbox.c.state).where(
            inbox.c.hospital == hospital,
            inbox.c.channel == channel,
            one_of(connection, inbox.c.external_index, indexes),
        )
    )
    known: dict[str, dict[str, dict[str, bool]]] = {}
    for row in rows:
        versions = known.setdefault(row.external_index, {})
        versions.setdefault(row.version, {})[row.content_hash] = row.state == CONFLICT
    return known
