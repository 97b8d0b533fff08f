"""Maps of codes as they were loaded, and the codes that records wait for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from services.common.database import take_turns
from services.common.paging import Page
from services.common.sealing import Sealer
from services.his_bridge.core.mapping import Side, StoredMap, Unmapped
from services.his_bridge.storage import replays
from services.his_bridge.storage.inbox import SetAsideRow
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.lists import still_waiting
from services.his_bridge.storage.operation_tables import code_map, unmapped_code
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.sealed import inbox_subject
from services.his_bridge.storage.tables import inbox, quarantine

_CODES = msgspec.json.Decoder(dict[str, str])


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What loading a map did, against the one before it; `resumed` records are read once more."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    resumed: int = 0


_LOADED = msgspec.json.Decoder(Loaded)
_UNMAPPED = msgspec.json.Decoder(Unmapped)


class OtherMap(ValueError):
    """The request id was used before with another map; nothing was loaded."""


class OtherVersion(ValueError):
    """Another table of the same system was loaded under this version; nothing was loaded."""


class WaitingCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code that records wait for: how many, and the minor units that hang on it."""

    side: Side
    system: str
    code: str
    records: int
    amount: int
    seq: int  # its place in the list, from 1


def load(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    request_id: str,
    version: str,
    loaded: StoredMap,
    *,
    now_us: int,
) -> Loaded:
    """Put a map into force in place of the one of the same side and system, and resume what waits.

    Records are resumed that wait for a code that the map knows; each is read once more. Repeating
    a request changes nothing.

    Raises: OtherMap; OtherVersion when another table of the system was loaded by this version.
    """
    content = msgspec.json.encode([version, loaded], order="deterministic")
    request_hash = hashlib.sha256(content).hexdigest()
    before = connection.execute(
        select(code_map.c.request_hash, code_map.c.answer).where(
            code_map.c.hospital == hospital, code_map.c.request_id == request_id
        )
    ).first()
    if before is not None:
        if before.request_hash != request_hash:
            raise OtherMap("request_id used before")
        return _LOADED.decode(before.answer)
    take_turn(connection, hospital)
    used = connection.execute(
        select(code_map.c.codes).where(
            code_map.c.hospital == hospital,
            code_map.c.side == str(loaded.side),
            code_map.c.from_system == loaded.from_system,
            code_map.c.version == version,
        )
    ).scalars()
    if any(_CODES.decode(codes) != loaded.codes for codes in used):
        raise OtherVersion("a version names one table")
    seq = next_numbers(connection, f"code_map/{hospital}", 1)
    known = next(
        (
            one.codes
            for one in in_force(connection, hospital)
            if (one.side, one.from_system) == (loaded.side, loaded.from_system)
        ),
        {},
    )
    done = Loaded(
        added=len(loaded.codes.keys() - known.keys()),
        changed=sum(1 for k, v in loaded.codes.items() if k in known and known[k] != v),
        removed=len(known.keys() - loaded.codes.keys()),
        resumed=_resume(connection, sealer, hospital, loaded, now_us),
    )
    connection.execute(
        insert(code_map),
        {
            "hospital": hospital,
            "seq": seq,
            "request_id": request_id,
            "request_hash": request_hash,
            "side": str(loaded.side),
            "from_system": loaded.from_system,
            "to_system": loaded.to_system,
            "version": version,
            "codes": msgspec.json.encode(loaded.codes),
            "answer": msgspec.json.encode(done),
            "at_us": now_us,
        },
    )
    return done


def take_turn(connection: Connection, hospital: str, *, shared: bool = False) -> None:
    """Let nobody judge by one map while another is loaded; `shared` for those who judge."""
    take_turns(connection, f"code maps/{hospital}", shared=shared)


def newest(connection: Connection, hospital: str) -> int:
    """The number of the map that was loaded last; 0 before the first."""
    query = select(func.max(code_map.c.seq)).where(code_map.c.hospital == hospital)
    return connection.execute(query).scalar_one() or 0


def in_force(connection: Connection, hospital: str) -> tuple[StoredMap, ...]:
    """The newest map of each side and system."""
    last = (
        select(func.max(code_map.c.seq))
        .where(code_map.c.hospital == hospital)
        .group_by(code_map.c.side, code_map.c.from_system)
    )
    rows = connection.execute(
        select(code_map).where(code_map.c.hospital == hospital, code_map.c.seq.in_(last))
    )
    return tuple(
        StoredMap(
            side=Side(row.side),
            from_system=row.from_system,
            to_system=row.to_system,
            codes=_CODES.decode(row.codes),
        )
        for row in rows
    )


def note_unmapped(
    connection: Connection, sealer: Sealer, hospital: str, rows: Sequence[SetAsideRow]
) -> None:
    """Remember for which codes records were set aside, in place of what was noted before."""
    noted = [row.inbox_id for row in rows]
    if not noted:
        return
    for ids in portions(noted):
        connection.execute(delete(unmapped_code).where(unmapped_code.c.inbox_id.in_(ids)))
    values = [
        {
            "inbox_id": row.inbox_id,
            "number": number,
            "hospital": hospital,
            "code_index": _index(sealer, hospital, one.side, one.system, one.code),
            "body": sealer.seal(
                msgspec.json.encode(msgspec.structs.replace(one, amount=0)),
                **_place(hospital, row.inbox_id, number),
            ),
            "amount_minor": one.amount,
        }
        for row in rows
        for number, one in enumerate(row.unmapped, start=1)
    ]
    if values:
        connection.execute(insert(unmapped_code), values)


def waiting_codes(
    connection: Connection, sealer: Sealer, hospital: str, after: int, most: int
) -> Page[WaitingCode]:
    """Codes that records in quarantine wait for, the most money first, from a place in that order.

    A code that stands on several lines of a record counts with all of them, the record once.
    """
    amount = func.sum(unmapped_code.c.amount_minor)
    query = still_waiting(
        select(
            func.min(unmapped_code.c.inbox_id).label("inbox_id"),
            func.count(unmapped_code.c.inbox_id.distinct()).label("records"),
            amount.label("amount"),
        ),
        hospital,
    ).join(unmapped_code, unmapped_code.c.inbox_id == inbox.c.id)
    rows = connection.execute(
        query.group_by(unmapped_code.c.code_index)
        .order_by(amount.desc(), unmapped_code.c.code_index)
        .add_columns(unmapped_code.c.code_index)
        .offset(after)
        .limit(most + 1)
    ).all()
    found = []
    for place, row in enumerate(rows[:most], start=after + 1):
        one = _open_one(connection, sealer, hospital, row.inbox_id, row.code_index)
        found.append(
            WaitingCode(
                side=one.side,
                system=one.system,
                code=one.code,
                records=row.records,
                amount=int(row.amount),
                seq=place,
            )
        )
    return Page(found, more=len(rows) > most)


def _open_one(
    connection: Connection, sealer: Sealer, hospital: str, inbox_id: int, code_index: str
) -> Unmapped:
    row = connection.execute(
        select(unmapped_code.c.number, unmapped_code.c.body)
        .where(unmapped_code.c.inbox_id == inbox_id, unmapped_code.c.code_index == code_index)
        .limit(1)
    ).one()
    return _UNMAPPED.decode(sealer.open(row.body, **_place(hospital, inbox_id, row.number)))


def _resume(
    connection: Connection, sealer: Sealer, hospital: str, loaded: StoredMap, now_us: int
) -> int:
    indexes = [
        _index(sealer, hospital, loaded.side, loaded.from_system, code) for code in loaded.codes
    ]
    names: list[str] = []
    for part in portions(indexes):
        query = still_waiting(select(quarantine.c.name).distinct(), hospital).join(
            unmapped_code, unmapped_code.c.inbox_id == inbox.c.id
        )
        names += connection.execute(query.where(unmapped_code.c.code_index.in_(part))).scalars()
    return replays.replay(connection, hospital, sorted(set(names)), replays.BY_A_MAP, now_us=now_us)


def _index(sealer: Sealer, hospital: str, side: Side, system: str, code: str) -> str:
    text = _text([hospital, side, system, code])
    return sealer.index(text, table="unmapped_code", column="code_index")


def _text(parts: Sequence[str]) -> str:
    """Parts in one text that no other parts give."""
    return msgspec.json.encode(parts).decode()


def _place(hospital: str, inbox_id: int, number: int) -> Mapping[str, str]:
    return {
        "table": "unmapped_code",
        "column": "body",
        "row": f"{inbox_id}/{number}",
        "subject": inbox_subject(hospital),
    }
