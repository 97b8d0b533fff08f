"""Medication events and their revisions, on SQLite or PostgreSQL; kept as readings are.

Each is sealed under the key of whoever holds it about the member (`tenancy.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.pricing.core.recording import IncomingSupply, Verdict, supply_verdict
from services.pricing.storage.readings import ReadingsDiffer
from services.pricing.storage.revisions import Known, Revisions, encode
from services.pricing.storage.tables import (
    OtherContent,
    StorageUnavailable,
    available,
    medication,
    recording,
)
from services.pricing.storage.tenancy import hold, locked_members, subject_of

_ATTEMPTS = 3
_EVENTS = Revisions(table=medication, decode=msgspec.json.Decoder(IncomingSupply).decode)


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
            found = _EVENTS.of_member(connection, sealer, tenant, member_token, first, after)
        return [
            KeptSupply(line.newest, line.received_us, line.recorder)
            for line in found
            if not line.newest.withdrawn
        ]

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
        fingerprint = sealer.fingerprint(b"medication" + encode(events), **place)
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
            one.name: _EVENTS.index(sealer, holding_of[one.member_token], one.name)
            for one in events
        }
        kept = _EVENTS.newest(connection, sealer, index_of)
        named = [(entry.name, entry.member_token) for entry in events]
        elsewhere = _EVENTS.taken(connection, sealer, tenant, member_of, named)
        verdicts = _verdicts(events, kept, elsewhere, by_hospital=tenant.kind is Kind.HOSPITAL)
        new = [
            one for one, found in zip(events, verdicts, strict=True) if found is not Verdict.KNOWN
        ]
        answer = MedicationRecorded(len(new), len(events) - len(new))
        asked = {"request_id": request_id, "at_us": now_us}
        told = {"fingerprint": fingerprint, "answer": encode(answer)}
        connection.execute(insert(recording), asked | told)
        rows = [
            _EVENTS.row(
                sealer,
                one,
                held_in=holding_of[one.member_token],
                at=index_of[one.name],
                known=kept.get(one.name),
                year=one.first.year,
            )
            | asked
            for one in new
        ]
        if rows:
            connection.execute(insert(medication), rows)
        return answer


def _verdicts(
    events: Sequence[IncomingSupply],
    kept: Mapping[str, Known[IncomingSupply]],
    elsewhere: set[str],
    *,
    by_hospital: bool,
) -> list[Verdict]:
    # Whoever else records under a name learns only that it is taken, not whether it agrees.
    found = [
        Verdict.DIFFERS
        if one.name in elsewhere
        else supply_verdict(
            one, kept[one.name].said if one.name in kept else None, by_hospital=by_hospital
        )
        for one in events
    ]
    differ = [place for place, one in enumerate(found) if one is Verdict.DIFFERS]
    if differ:
        raise ReadingsDiffer(differ)
    return found
