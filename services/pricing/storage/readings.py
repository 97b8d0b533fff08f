"""Readings and their revisions, doctors' targets and coach's tasks, on SQLite or PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from services.common.database import Database
from services.common.sealing import Sealer
from services.pricing.core.months import PersonalTarget
from services.pricing.core.programme import Measure, Target
from services.pricing.core.readings import Measured, Written
from services.pricing.core.recording import Incoming, Verdict, verdict
from services.pricing.storage.tables import (
    StorageUnavailable,
    available,
    coach_task,
    personal_target,
    reading,
    recording,
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


class OtherContent(ValueError):
    """The request id was used before with other content; nothing was recorded."""


class ReadingsDiffer(ValueError):
    """Readings at these places are known with other content; nothing was recorded."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__(f"{len(places)} differ")
        self.places = tuple(places)


class Kept(msgspec.Struct, frozen=True):
    """A reading as it counts: its newest revision, and when its first one was received."""

    reading: Incoming
    received_us: int


class DoctorsTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target as a doctor set it."""

    measure: Measure
    start: date
    target: Target | None
    doctor_id: str
    reason: str


class CoachTask(msgspec.Struct, frozen=True, kw_only=True):
    """A low glucose that a coach should talk about."""

    id: int
    name: str
    member_token: str
    reading: str
    measured: Measured
    effective_us: int
    raised_us: int


class _SealedRecording(msgspec.Struct, frozen=True):
    readings: tuple[Incoming, ...]
    answer: Recorded


class _SealedTask(msgspec.Struct, frozen=True):
    measured: Measured
    effective_us: int


_encode = msgspec.json.Encoder(order="deterministic").encode
_WRITTEN = msgspec.json.Decoder(Written)
_RECORDING = msgspec.json.Decoder(_SealedRecording)
_TARGET = msgspec.json.Decoder(DoctorsTarget)
_TASK = msgspec.json.Decoder(_SealedTask)


class StartsInThePast(Exception):
    """A doctor's target would hold for days that are over; nothing is kept."""


class ReadingStore:
    """Records and reads. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def record(
        self, request_id: str, readings: tuple[Incoming, ...], is_low: IsLow, now_us: int
    ) -> Recorded:
        """Keep the readings, all or none, and raise a coach's task where `is_low` says so.

        The same request answers the same for ever, whatever was recorded since.

        Raises: OtherContent, ReadingsDiffer.
        """
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    return self._record(connection, request_id, readings, is_low, now_us)
            except IntegrityError:
                continue
        raise StorageUnavailable("other calls keep recording the same readings")

    def readings_of(self, member_token: str, first: date, after: date) -> list[Kept]:
        """The member's readings of which a revision was measured from `first` to before `after`."""
        low, high = (
            int((datetime(d.year, d.month, d.day, tzinfo=UTC) - _EPOCH) / timedelta(microseconds=1))
            for d in (first, after)
        )
        inside = select(reading.c.name).where(
            reading.c.member_token == member_token,
            reading.c.effective_us >= low,
            reading.c.effective_us < high,
        )
        with available(), self._database.reading() as connection:
            rows = connection.execute(
                select(reading)
                .where(reading.c.name.in_(inside))
                .order_by(reading.c.name, reading.c.revision)
            ).all()
        newest = {row.name: row for row in rows}
        first_us = {row.name: _received_us(row) for row in rows if row.revision == 1}
        return [Kept(self._opened(row), first_us[name]) for name, row in newest.items()]

    def revisions_of(self, name: str) -> list[Incoming]:
        """Every revision of a reading, oldest first; empty when there is no such reading."""
        with available(), self._database.reading() as connection:
            rows = connection.execute(
                select(reading).where(reading.c.name == name).order_by(reading.c.revision)
            ).all()
        return [self._opened(row) for row in rows]

    def set_target(
        self,
        request_id: str,
        member_token: str,
        target: DoctorsTarget,
        now_us: int,
        earliest: date | None,
    ) -> None:
        """Keep a doctor's target. Repeating the request changes nothing.

        `earliest` is the first day from which a new target may hold; None: any.

        Raises: OtherContent, StartsInThePast.
        """
        place = _place(personal_target.name, request_id, member_token)
        row = {
            "request_id": request_id,
            "member_token": member_token,
            "sealed": self._sealer.seal(_encode(target), **place),
            "at_us": now_us,
        }
        same = select(personal_target).where(personal_target.c.request_id == request_id)
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    known = connection.execute(same).one_or_none()
                    if known is None:
                        if earliest is not None and target.start < earliest:
                            raise StartsInThePast
                        connection.execute(insert(personal_target), row)
                    elif known.member_token != member_token or self._target(known) != target:
                        raise OtherContent("request_id used before")
                    return
            except IntegrityError:
                continue
        raise StorageUnavailable("another call keeps using this request_id")

    def targets_of(self, member_token: str) -> list[PersonalTarget]:
        """The member's doctors' targets in the order in which they were set."""
        with available(), self._database.reading() as connection:
            rows = connection.execute(
                select(personal_target)
                .where(personal_target.c.member_token == member_token)
                .order_by(personal_target.c.id)
            ).all()
        found = map(self._target, rows)
        return [PersonalTarget(entry.measure, entry.start, entry.target) for entry in found]

    def tasks_after(self, member_token: str | None, number: int, most: int) -> list[CoachTask]:
        """Coach's tasks of one member, or of all, oldest first, after a number."""
        query = select(coach_task).where(coach_task.c.id > number)
        if member_token is not None:
            query = query.where(coach_task.c.member_token == member_token)
        with available(), self._database.reading() as connection:
            rows = connection.execute(query.order_by(coach_task.c.id).limit(most)).all()
        return [self._task(row) for row in rows]

    def _record(
        self,
        connection: Connection,
        request_id: str,
        readings: tuple[Incoming, ...],
        is_low: IsLow,
        now_us: int,
    ) -> Recorded:
        place = _place(recording.name, request_id, "")
        known = connection.execute(
            select(recording.c.sealed).where(recording.c.request_id == request_id)
        ).scalar_one_or_none()
        if known is not None:
            before = _RECORDING.decode(self._sealer.open(known, **place))
            if before.readings != readings:
                raise OtherContent("request_id used before")
            return before.answer
        kept = self._newest(connection, [entry.name for entry in readings])
        verdicts = [verdict(r, k[1] if (k := kept.get(r.name)) else None) for r in readings]
        differ = [place for place, found in enumerate(verdicts) if found is Verdict.DIFFERS]
        if differ:
            raise ReadingsDiffer(differ)
        new = [r for r, v in zip(readings, verdicts, strict=True) if v is not Verdict.KNOWN]
        rows = [
            self._row(r, kept[r.name][0] + 1 if r.name in kept else 1, request_id, now_us)
            for r in new
        ]
        tasks = self._task_rows(connection, new, is_low, now_us)
        names = tuple(f"members/{row['member_token']}/coachTasks/{row['name']}" for row in tasks)
        answer = Recorded(len(new), len(readings) - len(new), names)
        sealed = self._sealer.seal(_encode(_SealedRecording(readings, answer)), **place)
        connection.execute(
            insert(recording), {"request_id": request_id, "sealed": sealed, "at_us": now_us}
        )
        if rows:
            connection.execute(insert(reading), rows)
        if tasks:
            connection.execute(insert(coach_task), tasks)
        return answer

    def _newest(
        self, connection: Connection, names: Sequence[str]
    ) -> dict[str, tuple[int, Incoming]]:
        rows = connection.execute(
            select(reading).where(reading.c.name.in_(names)).order_by(reading.c.revision)
        )
        newest = {row.name: row for row in rows}
        return {name: (row.revision, self._opened(row)) for name, row in newest.items()}

    def _row(self, found: Incoming, revision: int, request_id: str, now_us: int) -> dict[str, Any]:
        place = _place(reading.name, f"{found.name}/{revision}", found.member_token)
        return {
            "name": found.name,
            "revision": revision,
            "member_token": found.member_token,
            "effective_us": found.effective_us,
            "stated_us": found.stated_us,
            "sealed": self._sealer.seal(_encode(found.written), **place),
            "request_id": request_id,
            "at_us": now_us,
        }

    def _task_rows(
        self, connection: Connection, new: Iterable[Incoming], is_low: IsLow, now_us: int
    ) -> list[dict[str, Any]]:
        low = {r.name: (r, measured) for r in new if (measured := is_low(r)) is not None}
        raised = set(
            connection.execute(
                select(coach_task.c.reading).where(coach_task.c.reading.in_(list(low)))
            ).scalars()
        )
        found = []
        for reading_name, (incoming, measured) in low.items():
            if reading_name in raised:
                continue
            name = uuid.uuid4().hex
            place = _place(coach_task.name, name, incoming.member_token)
            body = _encode(_SealedTask(measured, incoming.effective_us))
            found.append(
                {
                    "name": name,
                    "member_token": incoming.member_token,
                    "reading": reading_name,
                    "sealed": self._sealer.seal(body, **place),
                    "at_us": now_us,
                }
            )
        return found

    def _opened(self, row: Row[Any]) -> Incoming:
        place = _place(reading.name, f"{row.name}/{row.revision}", row.member_token)
        return Incoming(
            name=row.name,
            member_token=row.member_token,
            effective_us=row.effective_us,
            stated_us=row.stated_us,
            written=_WRITTEN.decode(self._sealer.open(row.sealed, **place)),
        )

    def _target(self, row: Row[Any]) -> DoctorsTarget:
        place = _place(personal_target.name, row.request_id, row.member_token)
        return _TARGET.decode(self._sealer.open(row.sealed, **place))

    def _task(self, row: Row[Any]) -> CoachTask:
        place = _place(coach_task.name, row.name, row.member_token)
        body = _TASK.decode(self._sealer.open(row.sealed, **place))
        return CoachTask(
            id=row.id,
            name=row.name,
            member_token=row.member_token,
            reading=row.reading,
            measured=body.measured,
            effective_us=body.effective_us,
            raised_us=row.at_us,
        )


def _received_us(row: Row[Any]) -> int:
    return int(row.at_us if row.stated_us is None else row.stated_us)


def _place(table: str, row: str, subject: str) -> dict[str, str]:
    return {"table": table, "column": "sealed", "row": row, "subject": subject}
