"""Comparing a hospital's source with what is here: on demand, and by itself once a day."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from services.common import log
from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.core.reconciliation import DayTotals, differences
from services.his_bridge.intake import Taken
from services.his_bridge.leasing import LeaseHeld, NowUs
from services.his_bridge.sources.port import Source, SourceFault
from services.his_bridge.storage import lists, reconciliations
from services.his_bridge.storage.reconciliations import DayCompared, Reconciled
from services.his_bridge.wiring import Hospital

# What the daily comparison takes in: late bills of the last week are found, older ones on demand.
DAYS_BACK = 7
EVERY_US = 86_400_000_000
LOOK_EVERY_S = 60.0
# Bills that are asked for again in one request to the source.
_AT_ONCE = 100


class Pushes(Exception):
    """The source cannot be asked: it pushes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differing:
    """A bill on which both sides differ: `missing`, `extra` or `other_total`; the source's id."""

    day: date
    kind: str
    external_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A comparison as it was written down, how many bills were fetched again, and which differ."""

    found: Reconciled
    again: int
    differing: tuple[Differing, ...]


class Reconciler:
    """Compares sources with the bridge's database."""

    def __init__(self, database: Database, keys: SubjectKeys, now_us: NowUs) -> None:
        self._database = database
        self._keys = keys
        self._now_us = now_us

    async def reconcile(self, hospital: Hospital, first: date, last: date) -> Compared:
        """The comparison of these days, written down.

        What the source has and nothing here knows, or knows otherwise, is asked for once more.

        Raises: Pushes; SourceFault; LeaseHeld.
        """
        source, name = hospital.source, hospital.profile.terms.hospital
        if source is None:
            raise Pushes
        theirs = await source.reconcile(first, last)
        days, astray, differing = await self._database.run(
            self._compared, hospital, theirs, first, last
        )
        again = 0
        if astray:
            again = await self._fetch_again(hospital, source, astray)
            await hospital.bills.intake.read_arrived()
            days, _, differing = await self._database.run(
                self._compared, hospital, theirs, first, last
            )
        found = await self._database.run(self._record, name, first, last, days)
        if not found.agrees:
            log.logger().error(
                "reconciliation_differs",
                hospital=name,
                missing=sum(day.missing for day in days),
                extra=sum(day.extra for day in days),
                other_total=sum(day.other_total for day in days),
            )
        return Compared(found=found, again=again, differing=differing)

    async def keep_reconciling(self, hospitals: Collection[Hospital]) -> None:
        """Once a day each source that can be asked, for the days behind it; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for hospital in hospitals:
                if hospital.source is not None:
                    await self._look_after(hospital)

    async def _look_after(self, hospital: Hospital) -> None:
        try:
            await self.when_due(hospital)
        except Exception as fault:  # noqa: BLE001 what ends this loop would end the bridge
            name = hospital.profile.terms.hospital
            log.logger().error("reconciliation_failed", hospital=name, reason=type(fault).__name__)

    def last_week(self, hospital: Hospital) -> tuple[date, date]:
        """The last seven days until yesterday, in the hospital's zone."""
        return _week_before(self._now_us(), hospital)

    async def when_due(self, hospital: Hospital) -> None:
        """The comparison of the last days, if the last one is a day old; a failure is logged."""
        name = hospital.profile.terms.hospital
        now_us = self._now_us()
        if not await self._database.run(self._is_due, hospital, now_us):
            return
        first, last = self.last_week(hospital)
        try:
            await self.reconcile(hospital, first, last)
        except LeaseHeld:
            return  # a pull is under way; in a minute
        except SourceFault as fault:
            log.logger().warning("reconciliation_failed", hospital=name, reason=fault.reason)

    async def _fetch_again(
        self, hospital: Hospital, source: Source, astray: Collection[str]
    ) -> int:
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for external_id in sorted(astray):
            kind, _, record_id = external_id.partition("/")
            by_kind[kind].append(record_id)
        stored = 0
        for kind, ids in by_kind.items():
            for start in range(0, len(ids), _AT_ONCE):
                records = await source.fetch_again(kind, ids[start : start + _AT_ONCE])
                taken = await hospital.bills.intake.take_again(records)
                stored += sum(1 for one in taken if one is Taken.STORED)
        return stored

    # What follows blocks, and runs in the database's thread pool.

    def _compared(
        self, hospital: Hospital, theirs: Mapping[date, DayTotals], first: date, last: date
    ) -> tuple[tuple[DayCompared, ...], set[str], tuple[Differing, ...]]:
        """Both sides by day, the ids that are worth asking for again, and what differs."""
        name = hospital.profile.terms.hospital
        with self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            here = lists.totals_by_day(connection, sealer, name, first, last)
            differing = differences(theirs, here)
            # Of a bill of several records all must be here: the one that is not may be the reason.
            unreleased = {
                one: theirs[day.day].records_of(one)
                for day in differing
                for one in day.missing_here
            }
            records = {record for some in unreleased.values() for record in some}
            here_at_all = reconciliations.known_of(connection, sealer, name, "bills", records)
            known = {one for one, some in unreleased.items() if some <= here_at_all}
        astray = set(unreleased) - known
        for day in differing:
            astray |= day.other_total | day.missing_there
        named = tuple(
            Differing(day=day.day, kind=kind, external_id=external_id)
            for day in differing
            for kind, ids in (
                ("missing", day.missing_here - known),
                ("extra", day.missing_there),
                ("other_total", day.other_total),
            )
            for external_id in sorted(ids)
        )
        return reconciliations.compared(theirs, here, differing, known), astray, named

    def _record(
        self, name: str, first: date, last: date, days: tuple[DayCompared, ...]
    ) -> Reconciled:
        with self._database.writing() as connection:
            return reconciliations.record(
                connection, name, first, last, days, now_us=self._now_us()
            )

    def _is_due(self, hospital: Hospital, now_us: int) -> bool:
        """Whether nobody compared the week of that time for a day; other days do not count."""
        name = hospital.profile.terms.hospital
        with self._database.reading() as connection:
            arrival = reconciliations.first_arrival_us(connection, name)
            if arrival is None or now_us - arrival < EVERY_US:
                return False
            for one in reconciliations.since(connection, name, now_us - EVERY_US + 1):
                first, last = _week_before(one.at_us, hospital)
                if one.first <= first and last <= one.last:
                    return False
        return True


def _week_before(now_us: int, hospital: Hospital) -> tuple[date, date]:
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    today = now.astimezone(ZoneInfo(hospital.profile.terms.zone)).date()
    return today - timedelta(days=DAYS_BACK), today - timedelta(days=1)
