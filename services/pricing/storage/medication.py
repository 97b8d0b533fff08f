"""Medication events and their revisions, on SQLite or PostgreSQL; kept as readings are.

Each is sealed under the key of whoever holds it about the member (`tenancy.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys
from services.pricing.core.recording import IncomingSupply, Verdict, supply_verdict
from services.pricing.storage.readings import OtherContent, ReadingsDiffer, name_index, taken
from services.pricing.storage.tables import StorageUnavailable, available, medication, recording
from services.pricing.storage.tenancy import find, hold, holders, locked_members, subject_of

_ATTEMPTS = 3
_encode = msgspec.json.Encoder(order="deterministic").encode
_EVENT = msgspec.json.Decoder(IncomingSupply)


class KeptSupply(msgspec.Struct, frozen=True):
    """An event as it counts: its newest revision, when its first was received, whose it is."""

    event: IncomingSupply
    received_us: int
    recorder: str


class MedicationRecorded(msgspec.Struct, frozen=True):
    """What a recording did."""

    recorded: int
    known: int


_ANSWER = msgspec.json.Decoder(MedicationRecorded)


class MedicationStore:
    """Records and reads. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def record(
        self, tenant: Tenant, request_id: str, events: tuple[IncomingSupply, ...], now_us: int
    ) -> MedicationRecorded:
        """Keep the tenant's events, all or none. The same request answers the same for ever.

        Raises: OtherContent, ReadingsDiffer with the places of the events that differ.
        """
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    return self._record(connection, tenant, request_id, events, now_us)
            except IntegrityError:
                continue
        raise StorageUnavailable("other calls keep recording the same events")

    def events_of(
        self, tenant: Tenant, member_token: str, first: date, after: date
    ) -> list[KeptSupply]:
        """The member's events that begin in the years from `first` to before `after`.

        None of a member who does not exist for the tenant, and none that was taken back.
        """
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            member = find(connection, sealer, tenant, member_token)
            if member is None:
                return []
            held_by = holders(connection, [member])[member]
            sealer.load(map(subject_of, held_by))
            inside = select(medication.c.name_index).where(
                medication.c.holding.in_(list(held_by)),
                medication.c.year >= first.year,
                medication.c.year <= after.year,
            )
            rows = connection.execute(
                select(medication)
                .where(medication.c.name_index.in_(inside))
                .order_by(medication.c.name_index, medication.c.revision)
            ).all()
            opened = [(row, _opened(sealer, row)) for row in rows]
        newest = {row.name_index: said for row, said in opened}
        first_us = {row.name_index: _received_us(row, said) for row, said in reversed(opened)}
        by = {row.name_index: held_by[row.holding] for row in rows}
        kept = [KeptSupply(s, first_us[at], by[at]) for at, s in newest.items() if not s.withdrawn]
        return sorted(kept, key=lambda entry: entry.event.name)

    def _record(
        self,
        connection: Connection,
        tenant: Tenant,
        request_id: str,
        events: tuple[IncomingSupply, ...],
        now_us: int,
    ) -> MedicationRecorded:
        sealer = self._keys.sealer(connection)
        place = {"table": recording.name, "column": "fingerprint"}
        # Readings and events share the requests: what one says, the other cannot say again.
        fingerprint = sealer.fingerprint(b"medication" + _encode(events), **place)
        known = connection.execute(
            select(recording).where(recording.c.request_id == request_id)
        ).one_or_none()
        if known is not None:
            if known.fingerprint != fingerprint:
                raise OtherContent("request_id used before")
            return _ANSWER.decode(known.answer)
        tokens = [entry.member_token for entry in events]
        member_of = locked_members(connection, sealer, tokens, now_us)
        own = hold(connection, tenant, member_of.values(), now_us)
        sealer.load(map(subject_of, own.values()))
        holding_of = {token: own[member] for token, member in member_of.items()}
        index_of = {
            one.name: name_index(sealer, medication, holding_of[one.member_token], one.name)
            for one in events
        }
        kept = _newest(connection, sealer, index_of)
        named = [(entry.name, entry.member_token) for entry in events]
        elsewhere = taken(connection, sealer, medication, tenant, member_of, named)
        verdicts = _verdicts(events, kept, elsewhere, by_hospital=tenant.kind is Kind.HOSPITAL)
        new = [
            one for one, found in zip(events, verdicts, strict=True) if found is not Verdict.KNOWN
        ]
        answer = MedicationRecorded(len(new), len(events) - len(new))
        asked = {"request_id": request_id, "at_us": now_us}
        told = {"fingerprint": fingerprint, "answer": _encode(answer)}
        connection.execute(insert(recording), asked | told)
        rows = []
        for one in new:
            revision = kept[one.name][0] + 1 if one.name in kept else 1
            at, held_in = index_of[one.name], holding_of[one.member_token]
            sealed = sealer.seal(_encode(one), **_place(f"{at}/{revision}", held_in))
            row = {"name_index": at, "revision": revision, "holding": held_in}
            rows.append({**row, "year": one.first.year, "sealed": sealed, **asked})
        if rows:
            connection.execute(insert(medication), rows)
        return answer


def _verdicts(
    events: Sequence[IncomingSupply],
    kept: Mapping[str, tuple[int, IncomingSupply]],
    elsewhere: set[str],
    *,
    by_hospital: bool,
) -> list[Verdict]:
    # Whoever else records under a name learns only that it is taken, not whether it agrees.
    found = [
        Verdict.DIFFERS
        if one.name in elsewhere
        else supply_verdict(
            one, kept[one.name][1] if one.name in kept else None, by_hospital=by_hospital
        )
        for one in events
    ]
    differ = [place for place, one in enumerate(found) if one is Verdict.DIFFERS]
    if differ:
        raise ReadingsDiffer(differ)
    return found


def _newest(
    connection: Connection, sealer: Sealer, index_of: Mapping[str, str]
) -> dict[str, tuple[int, IncomingSupply]]:
    names = {at: name for name, at in index_of.items()}
    rows = connection.execute(
        select(medication)
        .where(medication.c.name_index.in_(list(names)))
        .order_by(medication.c.revision)
    )
    newest = {row.name_index: row for row in rows}
    return {names[at]: (row.revision, _opened(sealer, row)) for at, row in newest.items()}


def _opened(sealer: Sealer, row: Row[Any]) -> IncomingSupply:
    place = _place(f"{row.name_index}/{row.revision}", row.holding)
    return _EVENT.decode(sealer.open(row.sealed, **place))


def _received_us(row: Row[Any], said: IncomingSupply) -> int:
    return int(row.at_us if said.stated_us is None else said.stated_us)


def _place(row: str, held_in: str) -> dict[str, str]:
    subject = subject_of(held_in)
    return {"table": medication.name, "column": "sealed", "row": row, "subject": subject}
