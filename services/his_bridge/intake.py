"""What happens to the records of one channel: kept, read, settled, released; and under whose lease.

Pulls and push channels share it. Every step may be cut off anywhere: what arrived lies in the
inbox, what was not yet read is read by whoever comes next, and unique keys make each record count
once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from services.common.database import DATABASE_FAULTS, Database
from services.common.sealing import SubjectKeys
from services.his_bridge.core.mapping import Side, StoredMap
from services.his_bridge.core.outcomes import Outcome, token_in
from services.his_bridge.core.source_time import made_us
from services.his_bridge.dialects.port import Glance, Key, Learnt, RecordReader
from services.his_bridge.judging import FAILED, Judging, MapsLoaded, ReaderOf
from services.his_bridge.leasing import DAY_US, ChannelLease, NowUs
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.read_ahead import MOST_BYTES_OF_ONE, ReadAhead, ReadAheads
from services.his_bridge.sources.port import Page, RawRecord
from services.his_bridge.storage import (
    holding,
    inbox,
    last_pulls,
    outcomes,
    pull_progress,
    waiting,
)
from services.his_bridge.storage.inbox import Arrived, Pending, Stored
from services.his_bridge.storage.leases import LeaseLost

BILLS = "bills"  # the other channel has readings
# Records in one transaction: 1,583 HL7 v2 bills a second on PostgreSQL, with a commit each 248.
BATCH = 200
# People whose consents are applied in one statement.
MEMBERS = 1_000
# Whoever sends all the time is noted as alive so often, not in every transaction.
_HEARD_AGAIN_US = 1_000_000

LookUp = Callable[[Collection[Key]], Awaitable[Mapping[Key, bytes]]]


class Looked(msgspec.Struct, frozen=True):
    """A stored record at first sight, or already judged.

    With neither a glance nor an outcome the bridge failed on it.
    """

    pending: Pending
    glance: Glance | None = None
    outcome: Outcome | None = None

    @property
    def needs(self) -> frozenset[Key]:
        """What must be looked up to judge it."""
        return self.glance.needs if self.glance else frozenset()


Settle = Callable[[str, Sequence[Looked], Mapping[Key, bytes], dict[Key, Any]], outcomes.Settled]


class Taken(StrEnum):
    """What became of one record that was pushed to us; all but CONFLICT deserve a good answer."""

    STORED = "STORED"
    KNOWN = "KNOWN"  # the same id, version and bytes lie here already
    CONFLICT = "CONFLICT"  # the same id and version with other bytes: kept once, and never read
    KEPT_OUT = "KEPT_OUT"  # none of the bridge's business, and not stored


class PullReport(msgspec.Struct, kw_only=True):
    """What was done. `more`: the source had more when it ended."""

    received: int = 0
    released: int = 0
    quarantined: int = 0
    filtered: int = 0
    held: int = 0
    more: bool = False


class Intake:
    """One channel (bills or readings) of one hospital.

    `look_up` asks the source for records that others point at; without it they are not found.
    `reader_of` makes the reader, and makes it anew when maps of codes were loaded.
    """

    def __init__(
        self,
        channel: str,
        profile: SourceProfile,
        reader_of: ReaderOf,
        database: Database,
        keys: SubjectKeys,
        now_us: NowUs,
        recipient: str,
        look_up: LookUp | None = None,
    ) -> None:
        self.channel = channel
        self.hospital = profile.terms.hospital
        self._judging = Judging(channel, profile.terms, reader_of)
        self._lease = ChannelLease(
            profile.terms.hospital, channel, profile.limits.lease_s, database, now_us
        )
        self._place = outcomes.Place(
            hospital=profile.terms.hospital,
            channel=channel,
            recipient=recipient,
            currency=profile.terms.currency,
            zone=profile.terms.zone,
        )
        self._park_us = profile.limits.park_days * DAY_US
        self._scope = self._scope_now = self._scope_of_profile = profile.scope
        self._look_up = look_up
        self._heard_us = -_HEARD_AGAIN_US
        self._ahead = ReadAheads()
        self._database = database
        self._keys = keys
        self._now_us = now_us

    @property
    def reader(self) -> RecordReader:
        """Reads this channel's records, under the maps of codes that were known last."""
        return self._judging.reader

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        """Keep what was pushed, in one transaction. Once this returns, nothing of it is lost."""
        return await self._database.run(self._take, records, True)

    async def take_again(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        """The same for what the source was asked for once more, beside its cursor."""
        return await self._database.run(self._take, records, False)

    async def try_out(self, records: Sequence[RawRecord]) -> list[Outcome]:
        """What would become of these records before consent is asked. Keeps nothing.

        Raises: SourceFault.
        """
        await self._database.run(self._use_maps)
        glances = await self._database.run(self._glances, records)
        needs = {key for glance in glances if glance for key in glance.needs}
        found = await self._look_up(needs) if needs and self._look_up else {}
        return await self._database.run(self._judging.tried, records, glances, found)

    async def read_arrived(self, gather_s: float = 0.0) -> PullReport:
        """Read, under the lease, whatever lies unread, and release what is good.

        What arrives within `gather_s` is read together: a batch costs as much as ten records.

        Raises: LeaseHeld.
        """
        report = PullReport()
        async with self.leased(asks_source=False) as holder:
            await self.begin(holder, report, gather_s)
        return report

    async def begin(self, holder: str, report: PullReport, gather_s: float = 0.0) -> None:
        """What comes first under every lease: what time changed, and what lies unread."""
        await self._database.run(self._use_maps)
        # For the whole of this lease: a cursor belongs to what was left out on the way to it.
        self._scope = self._scope_now
        await self._database.run(self._apply_consents, holder)
        await self._read_left_over(holder, report, gather_s)
        report.quarantined += await self._database.run(self._give_up_waiting, holder)

    async def left_alone_s(self) -> float:
        """How long a source that keeps failing is not to be asked; 0.0 when it may be."""
        until_us = await self._database.run(self._left_alone_until_us)
        return max(0.0, (until_us - self._now_us()) / 1e6)

    async def cursor(self) -> bytes | None:
        """Where the next page of the source begins; None at the very beginning."""
        return await self._database.run(self._cursor)

    async def store(self, holder: str, page: Page) -> tuple[Stored, list[Looked]]:
        """Keep a page and move the cursor, in one transaction."""
        return await self._database.run(self._store_page, holder, page)

    async def nothing_to_ask(self) -> None:
        """The hospital pushes: what came is all there is just now."""
        await self._database.run(self._advance, pull_progress.Step())

    def leased(self, *, asks_source: bool = True) -> AbstractAsyncContextManager[str]:
        """The lease, kept alive while the hospital is slow, given back at the end.

        How it went with the source is remembered, if it was asked.

        Raises: LeaseHeld.
        """
        return self._lease.taken(asks_source=asks_source)

    async def _read_left_over(self, holder: str, report: PullReport, gather_s: float) -> None:
        while True:
            left = await self._database.run(self._left_over)
            if not left:
                return
            await self.read(holder, left, {}, report)
            if len(left) < BATCH:
                await asyncio.sleep(gather_s)

    async def read(
        self,
        holder: str,
        looked: Sequence[Looked],
        support: dict[Key, Any],
        report: PullReport,
    ) -> None:
        """Read stored records. `support` remembers, for this pull only, what was looked up."""
        for start in range(0, len(looked), BATCH):
            batch = looked[start : start + BATCH]
            try:
                done = [await self._settled(self._settle, holder, batch, support)]
            except Exception as fault:
                if not _is_of_records(fault):
                    raise
                self._judging.failed(fault)
                done = [
                    await self._settled(self._settle_alone, holder, [one], support) for one in batch
                ]
            for settled in done:
                report.released += settled.released
                report.quarantined += settled.quarantined
                report.filtered += settled.filtered
                report.held += settled.held

    async def _settled(
        self, settle: Settle, holder: str, looked: Sequence[Looked], support: dict[Key, Any]
    ) -> outcomes.Settled:
        """Settle some records by the maps that hold as they are written."""
        found: dict[Key, bytes] = {}
        while True:
            needs = {key for one in looked for key in one.needs} - support.keys()
            if needs and self._look_up:
                found.update(await self._look_up(needs))
            try:
                return await self._database.run(settle, holder, looked, found, support)
            except MapsLoaded:
                await self._database.run(self._use_maps)
                pending = [one.pending for one in looked]
                looked = await self._database.run(self._glance_at, pending)

    # What follows blocks, and runs in the database's thread pool.

    def _use_maps(self) -> None:
        """Maps loaded by anybody, also by another replica."""
        self._judging.use_maps(self._database)
        # A value without a code that a programme uses is not kept. So the source is read anew
        # under another map; the inbox knows all else.
        of_readings = [one for one in self._judging.maps if one.side is Side.READINGS]
        if self.channel != BILLS and of_readings:
            self._scope_now = _scope_under(self._scope_of_profile, of_readings)

    def _glances(self, records: Sequence[RawRecord]) -> list[Glance | None]:
        return [self._judging.glance(record.raw) for record in records]

    def _left_alone_until_us(self) -> int:
        with self._database.reading() as connection:
            return last_pulls.left_alone_until_us(connection, self.hospital, self.channel)

    def _apply_consents(self, holder: str) -> None:
        """Consents that began or ran out by the mere passing of time."""
        now_us, place = self._now_us(), self._place
        with self._database.writing() as connection:
            self._lease.hold(connection, holder)
            holding.one_at_a_time(connection, place.hospital)
            members = sorted(
                holding.due(connection, place.hospital, place.recipient, place.channel, now_us)
            )
            for start in range(0, len(members), MEMBERS):
                holding.apply(
                    connection,
                    self._keys.sealer(connection),
                    place.hospital,
                    place.recipient,
                    place.channel,
                    members[start : start + MEMBERS],
                    now_us=now_us,
                )

    def _give_up_waiting(self, holder: str) -> int:
        """Records whose original did not come in time are for a person; how many."""
        if self.channel != BILLS:
            return 0
        now_us = self._now_us()
        with self._database.writing() as connection:
            self._lease.hold(connection, holder)
            return waiting.give_up(
                connection,
                self.hospital,
                before_us=now_us - self._park_us,
                currency=self._place.currency,
                now_us=now_us,
            )

    def _cursor(self) -> bytes | None:
        with self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            return inbox.cursor_of(connection, sealer, self.hospital, self.channel, self._scope)

    def _left_over(self) -> list[Looked]:
        with self._database.reading() as connection:
            ids = inbox.left_over(connection, self.hospital, self.channel, BATCH)
            ahead = self._ahead.take(ids, self._judging.maps_read)
            sealer = self._keys.sealer(connection)
            rest = inbox.opened(connection, sealer, [at for at in ids if at not in ahead])
        found = [Looked(one.pending, outcome=one.outcome) for one in ahead.values()]
        return sorted([*found, *self._glance_at(rest)], key=lambda one: one.pending.inbox_id)

    def _glance_at(self, pending: Sequence[Pending]) -> list[Looked]:
        return [Looked(entry, self._judging.glance(entry.raw)) for entry in pending]

    def _judged(self, record: RawRecord, glance: Glance | None) -> Outcome | None:
        """What becomes of a record that says all that it means; None where that takes long."""
        if glance is None or glance.keep_out or glance.needs:
            return None
        if len(record.raw) > MOST_BYTES_OF_ONE:
            return None
        return self._judging.judge(record.record_id, glance, {})

    def _take(self, records: Sequence[RawRecord], pushed: bool) -> tuple[Taken, ...]:
        under = self._judging.maps_read
        arrived, glances = self._arrived(records)
        judged: dict[int, Outcome] = {}
        for position, record in enumerate(records if pushed else ()):
            outcome = self._judged(record, glances[position])
            if outcome is not None:
                judged[position] = outcome
                token = token_in(outcome)
                arrived[position] = msgspec.structs.replace(arrived[position], token=token)
        with self._database.writing(nbytes=_nbytes(records)) as connection:
            stored = self._store(connection, arrived)
            now_us = self._now_us()
            is_sign = pushed and now_us - self._heard_us >= _HEARD_AGAIN_US
            if is_sign:
                # Of a source that pushes it is the last success that something came.
                last_pulls.record(connection, self.hospital, self.channel, "", now_us=now_us)
        if is_sign:
            self._heard_us = now_us
        self._ahead.keep(
            ReadAhead(pending=pending, outcome=judged[position], under=under)
            for position, pending in stored.pending
            if position in judged
        )
        found = [
            Taken.KEPT_OUT if position in stored.filtered else Taken.KNOWN
            for position in range(len(records))
        ]
        for position in (*stored.conflicts, *stored.known_conflicts):
            found[position] = Taken.CONFLICT
        for position, _ in stored.pending:
            found[position] = Taken.STORED
        return tuple(found)

    def _store_page(self, holder: str, page: Page) -> tuple[Stored, list[Looked]]:
        arrived, glances = self._arrived(page.records)
        with self._database.writing(nbytes=_nbytes(page.records)) as connection:
            self._lease.hold(connection, holder)
            stored = self._store(connection, arrived)
            inbox.move_cursor(
                connection,
                self._keys.sealer(connection),
                self.hospital,
                self.channel,
                self._scope,
                page.cursor,
                now_us=self._now_us(),
            )
            now_us = self._now_us()
            step = _step(page, stored, now_us)
            pull_progress.advance(connection, self.hospital, self.channel, step, now_us=now_us)
        return stored, [Looked(entry, glances[position]) for position, entry in stored.pending]

    def _advance(self, step: pull_progress.Step) -> None:
        with self._database.writing() as connection:
            pull_progress.advance(
                connection, self.hospital, self.channel, step, now_us=self._now_us()
            )

    def _arrived(self, records: Sequence[RawRecord]) -> tuple[list[Arrived], list[Glance | None]]:
        glances, now_us = self._glances(records), self._now_us()
        arrived = [
            Arrived(
                external_id=f"{record.kind}/{record.record_id}",
                version=record.version,
                updated_us=made_us(record.updated, now_us, seen=record.seen),
                raw=record.raw,
                meaning=record.meaning,
                keep_out=glance is not None and glance.keep_out,
            )
            for record, glance in zip(records, glances, strict=True)
        ]
        return arrived, glances

    def _store(self, connection: Connection, arrived: Sequence[Arrived]) -> Stored:
        return inbox.store(
            connection,
            self._keys.sealer(connection),
            self.hospital,
            self.channel,
            arrived,
            currency=self._place.currency,
            now_us=self._now_us(),
        )

    def _settle(
        self,
        holder: str,
        batch: Sequence[Looked],
        found: Mapping[Key, bytes],
        support: dict[Key, Any],
    ) -> outcomes.Settled:
        support.update((key, self._judging.supporting(key, raw)) for key, raw in found.items())
        judged: list[tuple[Pending, Outcome]] = [
            (
                one.pending,
                one.outcome or self._judging.judge(_record_id(one.pending), one.glance, support),
            )
            for one in batch
        ]
        return self._write(holder, judged, self._judging.learnt(found, support))

    def _new_of(
        self, connection: Connection, learnt: Sequence[Learnt]
    ) -> list[tuple[Pending, Outcome]]:
        """Of what was learnt beside, what was not known; it is kept as any record is."""
        if not learnt:
            return []
        now_us = self._now_us()
        stored = self._store(connection, [_arrived_of(one, now_us) for one in learnt])
        return [(pending, learnt[position].outcome) for position, pending in stored.pending]

    def _settle_alone(
        self,
        holder: str,
        looked: Sequence[Looked],
        found: Mapping[Key, bytes],
        support: dict[Key, Any],
    ) -> outcomes.Settled:
        """Settle the one record of a batch that failed; if it is the guilty one it is set aside."""
        (one,) = looked
        mine = {key: found[key] for key in one.needs if key in found and key not in support}
        try:
            return self._settle(holder, looked, mine, support)
        except Exception as fault:
            if not _is_of_records(fault):
                raise
            self._judging.failed(fault)
            return self._write(holder, [(one.pending, FAILED)])

    def _write(
        self,
        holder: str,
        judged: Sequence[tuple[Pending, Outcome]],
        learnt: Sequence[Learnt] = (),
    ) -> outcomes.Settled:
        nbytes = _nbytes(pending for pending, _ in judged)
        with self._database.writing(nbytes=nbytes) as connection:
            self._lease.hold(connection, holder)
            self._judging.take_turn(connection)
            # Who goes on as whom counts for these records already.
            judged = [*self._new_of(connection, learnt), *judged]
            return outcomes.settle(
                connection,
                self._keys.sealer(connection),
                self._place,
                judged,
                now_us=self._now_us(),
            )


def _arrived_of(one: Learnt, now_us: int) -> Arrived:
    return Arrived(
        external_id=f"{one.kind}/{one.record_id}",
        version=one.version,
        updated_us=made_us(one.updated, now_us),
        raw=one.raw,
        meaning=one.meaning,
        keep_out=False,
    )


def _is_of_records(fault: Exception) -> bool:
    """Whether a fault lies in what was read, and not in the database or the lease."""
    if isinstance(fault, DATABASE_FAULTS):
        return isinstance(fault, DataError | IntegrityError)
    return not isinstance(fault, LeaseLost | MapsLoaded)


def _nbytes(records: Iterable[RawRecord | Pending]) -> int:
    return sum(len(record.raw) for record in records)


def _scope_under(scope: str, maps: Sequence[StoredMap]) -> str:
    content = msgspec.json.encode([scope, maps], order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _step(page: Page, stored: Stored, now_us: int) -> pull_progress.Step:
    # When we read a record says nothing of how far its source's changes are.
    moments = [one.updated for one in page.records if one.updated is not None and not one.seen]
    if page.reached is not None:
        moments = [page.reached]
    young = page.unsettled
    settle_s = None if young is None else young.settle_s
    return pull_progress.Step(
        seen=len(page.records),
        received=stored.received,
        reached_us=made_us(max(moments), now_us) if moments else None,
        left=page.left,
        swept=page.swept,
        unsettled=0 if young is None else young.count,
        settle_us=None if settle_s is None else round(settle_s * 1_000_000),
        refused_files=page.refused_files,
        taken_files=page.taken_files,
    )


def _record_id(entry: Pending) -> str:
    return entry.external_id.partition("/")[2]
