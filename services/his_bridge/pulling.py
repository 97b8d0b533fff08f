"""One bounded pull of one hospital: fetch, store, acknowledge by moving the cursor, read, release.

No transaction is open while the hospital is asked. Every step may be cut off anywhere: what was
fetched lies in the inbox, what was not yet read is read by the next pull, and unique keys make each
record count once.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection

from services.common import log
from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import Outcome, SetAside
from services.his_bridge.dialects.port import Glance, Key, RecordReader
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.port import Page, Source, SourceFault
from services.his_bridge.storage import holding, inbox, last_pulls, leases, outcomes
from services.his_bridge.storage.inbox import Arrived, Pending, Stored
from services.his_bridge.storage.leases import LeaseLost

# Records in one transaction (EVIDENCE, HIS: batches of 200).
BATCH = 200
# People whose consents are applied in one statement.
MEMBERS = 1_000
# Why a pull failed whose caller gave up before it ended.
CUT_OFF = "PULL_CUT_OFF"

# The bytes of a record that was set aside are kept so long for whoever mends it at the hospital.
RAW_KEPT_US = 90 * 86_400_000_000

NowUs = Callable[[], int]
# Without a glance the bridge failed on the record at first sight.
Looked = tuple[Pending, Glance | None]
_FAILED = SetAside(faults=(Fault(reason=Reason.BRIDGE_FAILED, path=""),))


class LeaseHeld(Exception):
    """Another pull of this hospital is under way."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("another pull holds the lease")
        self.retry_after_s = retry_after_s


class PullReport(msgspec.Struct, kw_only=True):
    """What a pull did. `more`: the source had more when it ended."""

    received: int = 0
    released: int = 0
    quarantined: int = 0
    filtered: int = 0
    held: int = 0
    more: bool = False


class Puller:
    """Pulls one channel (bills or readings) of one hospital."""

    def __init__(
        self,
        channel: str,
        profile: SourceProfile,
        source: Source,
        reader: RecordReader,
        database: Database,
        keys: SubjectKeys,
        now_us: NowUs,
        recipient: str,
    ) -> None:
        self._channel = channel
        self._hospital = profile.terms.hospital
        self._place = outcomes.Place(
            hospital=profile.terms.hospital,
            channel=channel,
            recipient=recipient,
            currency=profile.terms.currency,
            zone=profile.terms.zone,
        )
        self._lease_us = profile.limits.lease_s * 1_000_000
        self._scope = _scope_of(profile)
        self._source = source
        self._reader = reader
        self._database = database
        self._keys = keys
        self._now_us = now_us

    async def pull(self, max_records: int, until_us: int) -> PullReport:
        """Pull until so many new records came, the source has no more, or the time is up.

        At least one page is fetched. What earlier pulls left unread is read first, and what was
        held until a consent came.

        Raises: LeaseHeld; SourceFault, with everything kept that was fetched.
        """
        report = PullReport()
        async with self._leased() as holder:
            await self._database.run(self._apply_consents, holder)
            await self._read_left_over(holder, report)
            await self._pages(holder, max_records, until_us, report)
        log.logger().info(
            "pulled",
            hospital=self._hospital,
            channel=self._channel,
            received=report.received,
            released=report.released,
            quarantined=report.quarantined,
            filtered=report.filtered,
            held=report.held,
            more=report.more,
        )
        return report

    async def _pages(
        self, holder: str, max_records: int, until_us: int, report: PullReport
    ) -> None:
        """Page by page; while one is read, the hospital is already asked for the next."""
        cursor = await self._database.run(self._cursor)
        coming = asyncio.ensure_future(self._source.fetch(self._reader.kind, cursor))
        support: dict[Key, Any] = {}
        try:
            while True:
                page = await coming
                stored, looked = await self._database.run(self._store, holder, page)
                report.received += stored.received
                report.quarantined += stored.conflicts
                report.filtered += stored.filtered
                report.more = not page.swept
                looked_at = report.received + report.filtered
                end = page.swept or looked_at >= max_records or self._now_us() >= until_us
                if not end:
                    coming = asyncio.ensure_future(
                        self._source.fetch(self._reader.kind, page.cursor)
                    )
                await self._read(holder, looked, support, report)
                if end:
                    return
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[str]:
        """The lease, kept alive while the hospital is slow, given back at the end."""
        holder = uuid.uuid4().hex
        held_until = await self._database.run(self._acquire, holder)
        if held_until is not None:
            raise LeaseHeld(max(0.1, (held_until - self._now_us()) / 1e6))
        beat = asyncio.ensure_future(self._keep_alive(holder))
        failure = ""
        try:
            yield holder
        except LeaseLost:
            raise LeaseHeld(self._lease_us / 1e6) from None
        except BaseException as fault:  # a hospital that hangs ends in the caller's cancellation
            failure = _reason_of(fault)
            log.logger().warning(
                "pull_failed", hospital=self._hospital, channel=self._channel, reason=failure
            )
            raise
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
            # Shielded: a caller that hangs up must not leave the next one waiting.
            await asyncio.shield(self._database.run(self._give_back, holder, failure))

    async def _keep_alive(self, holder: str) -> None:
        while True:
            await asyncio.sleep(self._lease_us / 3e6)
            await self._database.run(self._renew, holder)

    async def _read_left_over(self, holder: str, report: PullReport) -> None:
        while True:
            left = await self._database.run(self._left_over)
            if not left:
                return
            looked = await self._database.run(self._glance_at, left)
            await self._read(holder, looked, {}, report)

    async def _read(
        self,
        holder: str,
        looked: Sequence[Looked],
        support: dict[Key, Any],
        report: PullReport,
    ) -> None:
        """Read stored records. `support` remembers, for this pull only, what was looked up."""
        for start in range(0, len(looked), BATCH):
            batch = looked[start : start + BATCH]
            needs = {key for _, glance in batch if glance for key in glance.needs}
            needs -= support.keys()
            found = await self._source.look_up(needs) if needs else {}
            settled = await self._database.run(self._settle, holder, batch, found, support)
            report.released += settled.released
            report.quarantined += settled.quarantined
            report.filtered += settled.filtered
            report.held += settled.held

    # What follows blocks, and runs in the database's thread pool.

    def _acquire(self, holder: str) -> int | None:
        now_us = self._now_us()
        with self._database.writing() as connection:
            held_until = leases.acquire(
                connection,
                self._hospital,
                self._channel,
                holder,
                now_us=now_us,
                until_us=now_us + self._lease_us,
            )
            if held_until is None:
                inbox.drop_old_raw(connection, self._hospital, before_us=now_us - RAW_KEPT_US)
            return held_until

    def _renew(self, holder: str) -> None:
        with self._database.writing() as connection:
            self._hold(connection, holder)

    def _hold(self, connection: Connection, holder: str) -> None:
        leases.renew(
            connection,
            self._hospital,
            self._channel,
            holder,
            until_us=self._now_us() + self._lease_us,
        )

    def _give_back(self, holder: str, failure: str) -> None:
        with self._database.writing() as connection:
            if leases.release(connection, self._hospital, self._channel, holder):
                last_pulls.record(
                    connection, self._hospital, self._channel, failure, now_us=self._now_us()
                )

    def _apply_consents(self, holder: str) -> None:
        """Consents that began or ran out by the mere passing of time."""
        now_us, place = self._now_us(), self._place
        with self._database.writing() as connection:
            self._hold(connection, holder)
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

    def _cursor(self) -> bytes | None:
        with self._database.reading() as connection:
            return inbox.cursor_of(connection, self._hospital, self._channel, self._scope)

    def _left_over(self) -> list[Pending]:
        with self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            return inbox.left_over(connection, sealer, self._hospital, self._channel, BATCH)

    def _glance_at(self, pending: Sequence[Pending]) -> list[Looked]:
        return [(entry, self._glance(entry.raw)) for entry in pending]

    def _glance(self, raw: bytes) -> Glance | None:
        try:
            return self._reader.glance(raw)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self._failed(fault)
            return None

    def _judge(self, entry: Pending, glance: Glance | None, support: Mapping[Key, Any]) -> Outcome:
        if glance is None:
            return _FAILED
        try:
            return self._reader.judge(_record_id(entry), glance, support)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self._failed(fault)
            return _FAILED

    def _failed(self, fault: Exception) -> None:
        # The type only: the text may hold what the record holds.
        log.logger().error(
            "record_failed",
            hospital=self._hospital,
            channel=self._channel,
            fault=type(fault).__name__,
        )

    def _store(self, holder: str, page: Page) -> tuple[Stored, list[Looked]]:
        glances = [self._glance(record.raw) for record in page.records]
        arrived = [
            Arrived(
                external_id=f"{record.kind}/{record.record_id}",
                version=record.version,
                updated_us=0 if record.updated is None else _micros(record.updated.timestamp()),
                raw=record.raw,
                keep_out=glance is not None and glance.keep_out,
            )
            for record, glance in zip(page.records, glances, strict=True)
        ]
        now_us = self._now_us()
        with self._database.writing() as connection:
            self._hold(connection, holder)
            stored = inbox.store(
                connection,
                self._keys.sealer(connection),
                self._hospital,
                self._channel,
                arrived,
                currency=self._place.currency,
                now_us=now_us,
            )
            inbox.move_cursor(
                connection,
                self._hospital,
                self._channel,
                self._scope,
                page.cursor,
                now_us=now_us,
            )
        return stored, [(entry, glances[position]) for position, entry in stored.pending]

    def _settle(
        self,
        holder: str,
        batch: Sequence[Looked],
        found: Mapping[Key, bytes],
        support: dict[Key, Any],
    ) -> outcomes.Settled:
        support.update(
            (key, self._reader.read_supporting(key[0], raw)) for key, raw in found.items()
        )
        judged: list[tuple[Pending, Outcome]] = [
            (entry, self._judge(entry, glance, support)) for entry, glance in batch
        ]
        with self._database.writing() as connection:
            self._hold(connection, holder)
            return outcomes.settle(
                connection,
                self._keys.sealer(connection),
                self._place,
                judged,
                now_us=self._now_us(),
            )


def _reason_of(fault: BaseException) -> str:
    if isinstance(fault, SourceFault):
        return fault.reason
    return CUT_OFF if isinstance(fault, asyncio.CancelledError) else str(Reason.BRIDGE_FAILED)


def _record_id(entry: Pending) -> str:
    return entry.external_id.partition("/")[2]


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _scope_of(profile: SourceProfile) -> str:
    """What the cursor belongs to: another server, period or choice of readings begins anew."""
    terms = profile.terms
    parts = (
        terms.base_url,
        terms.first_day,
        terms.last_day,
        [rule.code for rule in terms.readings],
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
