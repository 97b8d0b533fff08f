"""Records taken out of the quarantine to be read once more, under the maps and rules of today."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from services.his_bridge.core.faults import Stage
from services.his_bridge.storage.inbox import CONFLICT, PENDING, QUARANTINED
from services.his_bridge.storage.lists import still_waiting
from services.his_bridge.storage.operation_tables import replay as replayed
from services.his_bridge.storage.operation_tables import replay_request
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import inbox, quarantine

BY_A_PERSON, BY_A_MAP = "person", "map"


class OtherReplay(ValueError):
    """The request id was used before for other records; nothing was replayed."""


class OfConflict(ValueError):
    """Entries whose version came with two contents; nothing was replayed."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} are conflicts")
        self.names = tuple(names)


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that wait and cannot be replayed, and why."""

    conflicts: int
    bytes_gone: int


class Unreplayable(LookupError):
    """Entries that do not wait, or whose bytes nobody has any more; nothing was replayed."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} cannot be replayed")
        self.names = tuple(names)


def replay(
    connection: Connection, hospital: str, names: Sequence[str], why: str, *, now_us: int
) -> int:
    """Have these quarantined records read once more; how many. Each entry is replayed once.

    What is wrong still, becomes a new entry. Of what cannot be replayed nothing is said.
    """
    rows = _replayable(connection, hospital, names)
    if not rows:
        return 0
    connection.execute(
        insert(replayed),
        [{"quarantine": name, "hospital": hospital, "why": why, "at_us": now_us} for name in rows],
    )
    for ids in portions(rows.values()):
        connection.execute(update(inbox).where(inbox.c.id.in_(ids)).values(state=PENDING))
    return len(rows)


def replay_once(
    connection: Connection,
    hospital: str,
    request_id: str,
    names: Sequence[str],
    asked: Sequence[str],
    *,
    now_us: int,
) -> int:
    """The same for a request, all or none; repeating it replays nothing more.

    `asked` is what the request says: which records were the oldest changes by the replay itself.

    Raises: OtherReplay, OfConflict, Unreplayable.
    """
    request_hash = hashlib.sha256(msgspec.json.encode(list(asked))).hexdigest()
    before = connection.execute(
        select(replay_request.c.request_hash, replay_request.c.replayed).where(
            replay_request.c.hospital == hospital, replay_request.c.request_id == request_id
        )
    ).first()
    if before is not None:
        if before.request_hash != request_hash:
            raise OtherReplay("request_id used before")
        return int(before.replayed)
    known = _replayable(connection, hospital, names)
    unknown = [name for name in names if name not in known]
    if unknown:
        conflicts = _conflicts(connection, hospital, unknown)
        raise OfConflict(conflicts) if conflicts else Unreplayable(unknown)
    done = replay(connection, hospital, names, BY_A_PERSON, now_us=now_us)
    connection.execute(
        insert(replay_request),
        {
            "hospital": hospital,
            "request_id": request_id,
            "request_hash": request_hash,
            "replayed": done,
            "at_us": now_us,
        },
    )
    return done


def waiting_names(
    connection: Connection, hospital: str, stage: Stage | None, most: int
) -> list[str]:
    """The oldest entries that can be replayed, of a stage or of all."""
    query = still_waiting(select(quarantine.c.name), hospital).where(*_can_be_read())
    if stage is not None:
        query = query.where(quarantine.c.stage == str(stage))
    return list(connection.execute(query.order_by(quarantine.c.seq).limit(most)).scalars())


def left_out(connection: Connection, hospital: str, stage: Stage | None) -> LeftOut:
    """How many entries of a stage, or of all, wait and cannot be replayed."""
    query = still_waiting(select(inbox.c.state, func.count().label("number")), hospital)
    query = query.where((inbox.c.state == CONFLICT) | inbox.c.raw.is_(None))
    if stage is not None:
        query = query.where(quarantine.c.stage == str(stage))
    numbers = {row.state: row.number for row in connection.execute(query.group_by(inbox.c.state))}
    conflicts = numbers.pop(CONFLICT, 0)
    return LeftOut(conflicts=conflicts, bytes_gone=sum(numbers.values()))


def _conflicts(connection: Connection, hospital: str, names: Sequence[str]) -> list[str]:
    query = still_waiting(select(quarantine.c.name), hospital).where(inbox.c.state == CONFLICT)
    return [
        name
        for some in portions(names)
        for name in connection.execute(query.where(quarantine.c.name.in_(some))).scalars()
    ]


def _replayable(connection: Connection, hospital: str, names: Sequence[str]) -> dict[str, int]:
    query = still_waiting(select(quarantine.c.name, quarantine.c.inbox_id), hospital)
    return {
        row.name: row.inbox_id
        for some in portions(names)
        for row in connection.execute(query.where(quarantine.c.name.in_(some), *_can_be_read()))
    }


def _can_be_read() -> tuple[ColumnElement[bool], ...]:
    # A conflict's bytes are never read: nobody can say which of the two is right.
    return inbox.c.state == QUARANTINED, inbox.c.raw.is_not(None)
