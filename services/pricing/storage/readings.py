"""Readings and their revisions, doctors' targets and coach's tasks, on SQLite or PostgreSQL.

Each is sealed under the key of whoever holds it about the member (`tenancy.py`). What was erased is
unknown here: what the same recorder brings for the same token afterwards starts anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from services.common.access.tenant import Tenant
from services.common.database import Database
from services.common.paging import Page, any_after
from services.common.sealing import Erased, Sealer, SubjectKeys, members
from services.pricing.core.months import PersonalTarget
from services.pricing.core.programme import Measure, Target
from services.pricing.core.readings import Measured
from services.pricing.core.recording import Incoming, Verdict, verdict
from services.pricing.storage.revisions import Known, Revisions, encode, place_of
from services.pricing.storage.tables import (
    OtherContent,
    StorageUnavailable,
    available,
    coach_task,
    flag_clearing,
    medication,
    personal_target,
    reading,
    recording,
)
from services.pricing.storage.tenancy import (
    find,
    held,
    hold,
    holders,
    locked_member,
    locked_members,
    mine,
    subject_of,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Two calls that race with one new name: the one that lost looks again.
_ATTEMPTS = 3
IsLow = Callable[[Incoming], Measured | None]


class Recorded(msgspec.Struct, frozen=True):
    """What a recording did: counts, and the names of the coach's tasks that it raised."""

    recorded: int
    known: int
    tasks: tuple[str, ...]


class ReadingsDiffer(ValueError):
    """Readings at these places are known with other content; nothing was recorded."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__(f"{len(places)} differ")
        self.places = tuple(places)


class Kept(msgspec.Struct, frozen=True):
    """A reading as it counts: its newest revision, when its first was received, whose it is."""

    reading: Incoming
    received_us: int
    recorder: str  # `holder_of`


class DoctorsTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target as a doctor set it."""

    measure: Measure
    start: date
    target: Target | None
    doctor_id: str
    reason: str


class LowGlucose(msgspec.Struct, frozen=True, kw_only=True):
    """Whose glucose was low, by which reading, and when."""

    member_token: str
    reading: str
    measured: Measured
    effective_us: int


class CoachTask(msgspec.Struct, frozen=True, kw_only=True):
    """A low glucose that a coach should talk about; `about` is None once it was erased."""

    id: int
    name: str
    raised_us: int
    about: LowGlucose | None


class _Answer(msgspec.Struct, frozen=True):
    recorded: int
    known: int
    # Each task's opaque name, and the place in the request of the reading that raised it.
    tasks: tuple[tuple[str, int], ...]


READINGS = Revisions(table=reading, decode=msgspec.json.Decoder(Incoming).decode)
_ANSWER = msgspec.json.Decoder(_Answer)
_TARGET = msgspec.json.Decoder(DoctorsTarget)
_TASK = msgspec.json.Decoder(LowGlucose)


class NotTheirs(LookupError):
    """The tenant has recorded nothing about the member, and so has no say; nothing is kept."""


class StartsInThePast(Exception):
    """A doctor's target would hold for days that are over; nothing is kept."""


class ReadingStore:
    """Records and reads. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def record(
        self,
        tenant: Tenant,
        request_id: str,
        readings: tuple[Incoming, ...],
        is_low: IsLow,
        now_us: int,
    ) -> Recorded:
        """Keep the tenant's readings, all or none, and raise a coach's task where `is_low` says so.

        The same request answers the same for ever, whatever was recorded since.

        Raises: OtherContent, ReadingsDiffer.
        """
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    return self._record(connection, tenant, request_id, readings, is_low, now_us)
            except IntegrityError:
                continue
        raise StorageUnavailable("other calls keep recording the same readings")

    def readings_of(
        self, tenant: Tenant, member_token: str, first: date, after: date
    ) -> list[Kept]:
        """The member's readings of which a revision was measured from `first` to before `after`.

        None of a member who does not exist for the tenant.
        """
        low, high = (
            int((datetime(d.year, d.month, d.day, tzinfo=UTC) - _EPOCH) / timedelta(microseconds=1))
            for d in (first, after)
        )
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            found = READINGS.of_member(connection, sealer, tenant, member_token, first, after)
        return [
            Kept(line.newest, line.received_us, line.recorder)
            for line in found
            if any(low <= said.effective_us < high for said in line.revisions)
        ]

    def revisions_of(self, name: str) -> list[Incoming]:
        """Every revision of a reading, oldest first; empty when there is no such reading."""
        token = name.split("/")[1]
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            member = members.find(connection, sealer, token)
            if member is None:
                return []
            held_by = holders(connection, [member])[member]
            named = [READINGS.index(sealer, held, name) for held in held_by]
            return READINGS.all_of(connection, sealer, named)

    def take_part(self, tenant: Tenant, member_token: str, now_us: int) -> None:
        """The member takes part with the insurer from now on."""
        with available(), self._database.writing() as connection:
            sealer = self._keys.sealer(connection)
            found = locked_members(connection, sealer, [member_token], now_us)
            hold(connection, tenant, found.values(), now_us)

    def set_target(
        self,
        tenant: Tenant,
        request_id: str,
        member_token: str,
        target: DoctorsTarget,
        now_us: int,
        earliest: date | None,
    ) -> None:
        """Keep a doctor's target, of a tenant that has recorded a reading of the member.

        Repeating the request changes nothing. `earliest` is the first day from which a new target
        may hold; None: any.

        Raises: NotTheirs, OtherContent, StartsInThePast; Erased when the request set one that was
        erased.
        """
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    self._set_target(
                        connection, tenant, request_id, member_token, target, now_us, earliest
                    )
                    return
            except IntegrityError:
                continue
        raise StorageUnavailable("another call keeps using this request_id")

    def _set_target(
        self,
        connection: Connection,
        tenant: Tenant,
        request_id: str,
        member_token: str,
        target: DoctorsTarget,
        now_us: int,
        earliest: date | None,
    ) -> None:
        sealer = self._keys.sealer(connection)
        known = connection.execute(
            select(personal_target).where(personal_target.c.request_id == request_id)
        ).one_or_none()
        if known is not None:
            said = _target(sealer, known)
            member = members.find(connection, sealer, member_token)
            held_in = held(connection, tenant, member) if member else None
            if known.holding != held_in or said != target:
                raise OtherContent("request_id used before")
            return
        if earliest is not None and target.start < earliest:
            raise StartsInThePast
        member = locked_member(connection, sealer, member_token)
        held_in = held(connection, tenant, member) if member else None
        if held_in is None or not _has_readings(connection, held_in):
            raise NotTheirs
        place = place_of(personal_target.name, request_id, held_in)
        row = {
            "request_id": request_id,
            "holding": held_in,
            "sealed": sealer.seal(encode(target), **place),
            "at_us": now_us,
        }
        connection.execute(insert(personal_target), row)

    def targets_of(self, tenant: Tenant, member_token: str) -> list[PersonalTarget]:
        """The member's doctors' targets in the order in which they were set.

        None of a member who does not exist for the tenant.
        """
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            member = find(connection, sealer, tenant, member_token)
            if member is None:
                return []
            held_by = holders(connection, [member])[member]
            sealer.load(map(subject_of, held_by))
            theirs = personal_target.c.holding.in_(list(held_by))
            targets = select(personal_target).where(theirs).order_by(personal_target.c.id)
            found = [
                (held_by[row.holding], _target(sealer, row)) for row in connection.execute(targets)
            ]
        return [PersonalTarget(said.measure, said.start, said.target, by) for by, said in found]

    def tasks_after(
        self, tenant: Tenant, member_token: str | None, number: int, most: int
    ) -> Page[CoachTask]:
        """Coach's tasks of one of the tenant's members, or of all, oldest first, after a number.

        Of a member whose data was erased, the task is there and says nothing.
        """
        query, order = select(coach_task), coach_task.c.id
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            query = query.where(mine(connection, sealer, tenant, coach_task.c.holding))
            if member_token is not None:
                member = find(connection, sealer, tenant, member_token)
                about = holders(connection, [member])[member] if member else {}
                query = query.where(coach_task.c.holding.in_(list(about)))
            after = query.where(order > number).order_by(order)
            rows = connection.execute(after.limit(most)).all()
            sealer.load(subject_of(row.holding) for row in rows)
            more = len(rows) == most and any_after(connection, query, order, rows[-1].id)
            return Page((_task(sealer, row) for row in rows), more=more)

    def _record(
        self,
        connection: Connection,
        tenant: Tenant,
        request_id: str,
        readings: tuple[Incoming, ...],
        is_low: IsLow,
        now_us: int,
    ) -> Recorded:
        sealer = self._keys.sealer(connection)
        fingerprint = sealer.fingerprint(
            encode(readings), table=recording.name, column="fingerprint"
        )
        known = connection.execute(
            select(recording).where(recording.c.request_id == request_id)
        ).one_or_none()
        if known is not None:
            if known.fingerprint != fingerprint:
                raise OtherContent("request_id used before")
            return _recorded(_ANSWER.decode(known.answer), readings)
        tokens = [entry.member_token for entry in readings]
        member_of = locked_members(connection, sealer, tokens, now_us)
        own = hold(connection, tenant, member_of.values(), now_us)
        holding_of = {token: own[member] for token, member in member_of.items()}
        sealer.load(map(subject_of, own.values()))
        index_of = {
            entry.name: READINGS.index(sealer, holding_of[entry.member_token], entry.name)
            for entry in readings
        }
        kept = READINGS.newest(connection, sealer, index_of)
        names = [(entry.name, entry.member_token) for entry in readings]
        elsewhere = READINGS.taken(connection, sealer, tenant, member_of, names)
        # Whoever else records under a name learns only that it is taken, not whether it agrees.
        verdicts = [
            Verdict.DIFFERS if entry.name in elsewhere else _judged(entry, kept.get(entry.name))
            for entry in readings
        ]
        differ = [place for place, found in enumerate(verdicts) if found is Verdict.DIFFERS]
        if differ:
            raise ReadingsDiffer(differ)
        new = [r for r, v in zip(readings, verdicts, strict=True) if v is not Verdict.KNOWN]
        asked = {"request_id": request_id, "at_us": now_us}
        rows = [
            READINGS.row(
                sealer,
                found,
                held_in=holding_of[found.member_token],
                at=index_of[found.name],
                known=kept.get(found.name),
                year=(_EPOCH + timedelta(microseconds=found.effective_us)).year,
            )
            | asked
            for found in new
        ]
        tasks = _task_rows(connection, sealer, new, is_low, holding_of, index_of, now_us)
        places = {index_of[entry.name]: place for place, entry in enumerate(readings)}
        named = tuple((str(row["name"]), places[row["reading_index"]]) for row in tasks)
        answer = _Answer(len(new), len(readings) - len(new), named)
        connection.execute(
            insert(recording),
            asked | {"fingerprint": fingerprint, "answer": encode(answer)},
        )
        if rows:
            connection.execute(insert(reading), rows)
        if tasks:
            connection.execute(insert(coach_task), tasks)
        return _recorded(answer, readings)


def counts_of(connection: Connection, holding_ids: Sequence[str]) -> dict[str, int]:
    """How many readings, targets, tasks, medication events and clearings stand in holdings."""
    counted = {
        "readings": (reading, func.count(reading.c.name_index.distinct())),
        "targets": (personal_target, func.count()),
        "tasks": (coach_task, func.count()),
        "medications": (medication, func.count(medication.c.name_index.distinct())),
        "clearings": (flag_clearing, func.count()),
    }
    return {
        kind: connection.execute(select(what).where(table.c.holding.in_(holding_ids))).scalar_one()
        for kind, (table, what) in counted.items()
    }


def _has_readings(connection: Connection, held_in: str) -> bool:
    any_of = select(reading.c.name_index).where(reading.c.holding == held_in).limit(1)
    return connection.execute(any_of).first() is not None


def _recorded(answer: _Answer, readings: Sequence[Incoming]) -> Recorded:
    # The caller's request, known to be the same, says whose task it was.
    names = tuple(
        f"members/{readings[place].member_token}/coachTasks/{name}" for name, place in answer.tasks
    )
    return Recorded(answer.recorded, answer.known, names)


def _judged(said: Incoming, known: Known[Incoming] | None) -> Verdict:
    return verdict(said, known.said if known else None)


def _task_rows(
    connection: Connection,
    sealer: Sealer,
    new: Iterable[Incoming],
    is_low: IsLow,
    holding_of: Mapping[str, str],
    index_of: Mapping[str, str],
    now_us: int,
) -> list[dict[str, Any]]:
    low = {index_of[r.name]: (r, measured) for r in new if (measured := is_low(r)) is not None}
    raised = set(
        connection.execute(
            select(coach_task.c.reading_index).where(coach_task.c.reading_index.in_(list(low)))
        ).scalars()
    )
    found = []
    for reading_index, (incoming, measured) in low.items():
        if reading_index in raised:
            continue
        name, held_in = uuid.uuid4().hex, holding_of[incoming.member_token]
        body = LowGlucose(
            member_token=incoming.member_token,
            reading=incoming.name,
            measured=measured,
            effective_us=incoming.effective_us,
        )
        found.append(
            {
                "name": name,
                "holding": held_in,
                "reading_index": reading_index,
                "sealed": sealer.seal(encode(body), **place_of(coach_task.name, name, held_in)),
                "at_us": now_us,
            }
        )
    return found


def _target(sealer: Sealer, row: Row[Any]) -> DoctorsTarget:
    place = place_of(personal_target.name, row.request_id, row.holding)
    return _TARGET.decode(sealer.open(row.sealed, **place))


def _task(sealer: Sealer, row: Row[Any]) -> CoachTask:
    try:
        sealed = sealer.open(row.sealed, **place_of(coach_task.name, row.name, row.holding))
        about = _TASK.decode(sealed)
    except Erased:
        about = None
    return CoachTask(id=row.id, name=row.name, raised_us=row.at_us, about=about)
