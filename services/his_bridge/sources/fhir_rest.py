"""FHIR R4 over REST, by keyset paging on `_lastUpdated` with an overlap.

Offsets drift while records change, `next` links are offsets in disguise at many servers, and a
record may become visible after a later one (EVIDENCE, HIS). So a sweep walks up `_lastUpdated` from
a known place, and the next sweep begins an overlap before the newest record that was visible when
this one began: whatever was committed late lies behind that point, and the inbox knows the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.dialects.fhir_r4 import Entry, Framed, NotABundle, frame
from services.his_bridge.dialects.fhir_r4.claim import (
    Nature,
    billing_day,
    claimed_total,
    decode_claim,
    nature_of,
)
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.http import (
    HospitalHttp,
    Missing,
    Parameters,
    Refused,
    TooLarge,
)
from services.his_bridge.sources.port import Key, Page, RawRecord, SourceFault

# Ids in one request: about 4 KB of URL, which every server takes.
LOOK_UP_AT_ONCE = 100
MAX_COUNT = 5_000
MAX_URL = 4_000
# No server caps its pages below this; a shorter page of known records is the end even where the
# server can neither exclude ids nor tell a total.
SMALLEST_CAP = 10
# A server may compare whole seconds where we say milliseconds.
COARSEST = timedelta(seconds=1)


class _Place(msgspec.Struct, frozen=True):
    """A cursor. `seen` are records at `position`; `newest` was visible as the sweep began."""

    position: datetime | None = None
    seen: tuple[str, ...] = ()
    newest: datetime | None = None
    sweeping: bool = False


class FhirRest:
    """A FHIR R4 server as a source."""

    def __init__(self, profile: SourceProfile, http: HospitalHttp | None = None) -> None:
        self._profile = profile
        self._limits = profile.limits
        self._http = http or HospitalHttp(profile.terms.base_url, profile.limits)
        # The longest page of this sweep: the server's own cap is not below it.
        self._longest = 0

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The page at a cursor. Raises: SourceFault."""
        place = _Place() if cursor is None else msgspec.json.decode(cursor, type=_Place)
        if not place.sweeping:
            self._longest = 0
            newest = await self._newest(kind)
            place = _Place(position=place.position, newest=newest, sweeping=True)
        fresh, short = await self._beyond(kind, place)
        moved = _moved(place, fresh)
        # Beyond what was there as the sweep began, a short page is enough: a hospital that never
        # rests would keep a sweep from its end for ever, and the next one begins before this point.
        overtaken = moved.position is not None and (
            moved.newest is None or moved.position > moved.newest
        )
        swept = not fresh or (short and overtaken)
        return Page(
            records=tuple(map(_record, fresh)),
            cursor=_written(self._after_sweep(moved) if swept else moved),
            swept=swept,
        )

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Referenced resources by `_id`, in batches; one by one what a batch left out."""
        by_kind: dict[str, list[str]] = {}
        for kind, record_id in sorted(keys):
            by_kind.setdefault(kind, []).append(record_id)
        batches = [
            (kind, ids[start : start + LOOK_UP_AT_ONCE])
            for kind, ids in by_kind.items()
            for start in range(0, len(ids), LOOK_UP_AT_ONCE)
        ]
        found: dict[Key, bytes] = {}
        parts = await asyncio.gather(
            *(self._batch(kind, ids) for kind, ids in batches), return_exceptions=True
        )
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            found.update(part)
        return found

    async def fetch_again(self, kind: str, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        """Resources by `_id`; entries that were not asked for are left out."""
        wanted = set(record_ids)
        parameters = [("_id", ",".join(record_ids)), ("_count", str(len(record_ids)))]
        framed = await self._search(kind, parameters)
        return tuple(_record(entry) for entry in framed.entries if entry.record_id in wanted)

    async def reconcile(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """Every bill that the server shows, per day; its own date filter is not asked."""
        terms = self._profile.terms
        latest: dict[str, tuple[date, int] | None] = {}
        cursor: bytes | None = None
        swept = False
        while not swept:
            page = await self.fetch("Claim", cursor)
            cursor, swept = page.cursor, page.swept
            for record in page.records:
                decoded = decode_claim(record.raw)
                day, total = billing_day(decoded, terms), claimed_total(decoded, terms)
                minor = None if total is None else to_minor(total, terms.currency, "total")
                counts = nature_of(decoded) is Nature.BILL and day is not None
                amount = 0 if minor is None or isinstance(minor, Fault) else minor
                external_id = f"{record.kind}/{record.record_id}"
                latest[external_id] = (day, amount) if counts and day is not None else None
        return by_day(
            (entry[0], external_id, entry[1])
            for external_id, entry in latest.items()
            if entry is not None and first <= entry[0] <= last and terms.in_period(entry[0])
        )

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.close()

    async def _newest(self, kind: str) -> datetime | None:
        """Some record's last change, the newest if it sorts: its clock was there already."""
        parameters = [("_sort", "-_lastUpdated"), ("_count", "1")]
        framed = await self._search(kind, parameters)
        return max((e.updated for e in framed.entries if e.updated is not None), default=None)

    def _after_sweep(self, place: _Place) -> _Place:
        known = [moment for moment in (place.position, place.newest) if moment is not None]
        if not known:
            return _Place()
        return _Place(position=min(known) - timedelta(seconds=self._limits.overlap_s))

    async def _beyond(self, kind: str, place: _Place) -> tuple[list[Entry], bool]:
        """Records at or after the place that this sweep has not seen; none only at the end.

        Also whether the page looked like the last one.
        """
        count = min(MAX_COUNT, self._limits.page_size + len(place.seen))
        fits, most = 0, MAX_COUNT  # a page of `fits` came; one of more than `most` is too large
        while True:
            try:
                framed = await self._search(kind, _window(place, count))
            except TooLarge:
                most = count - 1
                if most == 0:
                    raise _too_large() from None
                count = max(1, count // 4) if fits == 0 else (fits + most + 1) // 2
                continue
            full = len(framed.entries) >= count or framed.says_more
            fresh = _unseen(framed.entries, place)
            if fresh:
                return fresh, not full
            if not full and len(framed.entries) < min(count, self._longest):
                return [], True
            if full and count < most:
                # One moment holds more records than a page: ask for a larger one.
                fits = count
                count = min(most, count * 4) if most == MAX_COUNT else (count + most + 1) // 2
                continue
            return await self._without_seen(kind, place, framed, most), False

    async def _without_seen(self, kind: str, place: _Place, last: Framed, most: int) -> list[Entry]:
        """Tell the end from a page that was cut short, by leaving out what was seen."""
        if not last.entries and not last.says_more:
            return []
        ids = ",".join(sorted({key.partition(" ")[0] for key in place.seen}))
        # Where size is the limit, one record at a time still passes.
        count = self._limits.page_size if most == MAX_COUNT else 1
        try:
            framed = await self._search(kind, [*_window(place, count), ("_id:not", ids)])
        except (Refused, Missing):
            framed = last
        except TooLarge:
            raise _too_large() from None
        fresh = _unseen(framed.entries, place)
        if fresh or not framed.entries:
            return fresh
        if last.total is not None:
            ended = last.total <= len(last.entries)
        else:
            ended = len(last.entries) < SMALLEST_CAP and not last.says_more
        if ended:
            return []
        if most < MAX_COUNT:
            raise _too_large()
        text = (
            "more records carry one and the same _lastUpdated than the server puts on a page; "
            "raise the server's page limit"
        )
        raise SourceFault("SOURCE_PAGE_TOO_SMALL", text)

    async def _search(self, kind: str, parameters: Parameters) -> Framed:
        long = sum(len(name) + len(value) for name, value in parameters) > MAX_URL
        try:
            if long:
                body = await self._http.search_by_post(kind, parameters)
            else:
                body = await self._http.get(kind, parameters)
            framed = frame(body, kind)
        except NotABundle:
            raise SourceFault("SOURCE_NOT_FHIR", "the answer is no FHIR searchset") from None
        except Missing:
            text = f"the source does not search {kind}; check the profile's base_url"
            raise SourceFault("SOURCE_GONE", text) from None
        except Refused:
            if any(name.endswith(":not") for name, _ in parameters):
                raise
            text = f"the source refuses our search for {kind}"
            raise SourceFault("SOURCE_REFUSES_SEARCH", text) from None
        self._longest = max(self._longest, len(framed.entries))
        return framed

    async def _batch(self, kind: str, ids: list[str]) -> dict[Key, bytes]:
        wanted = set(ids)
        framed = await self._search(kind, [("_id", ",".join(ids)), ("_count", str(len(ids)))])
        found = {(kind, e.record_id): e.raw for e in framed.entries if e.record_id in wanted}
        for record_id in ids:
            if (kind, record_id) not in found:
                try:
                    found[kind, record_id] = await self._http.get(f"{kind}/{record_id}")
                except (Missing, Refused):
                    continue  # deleted, or never there: the bill says so in the quarantine
        return found


def _too_large() -> SourceFault:
    return SourceFault("SOURCE_TOO_LARGE", "records are larger than the profile's max_body_mib")


def _window(place: _Place, count: int) -> list[tuple[str, str]]:
    parameters = [("_sort", "_lastUpdated,_id"), ("_count", str(count))]
    if place.position is not None:
        parameters.append(("_lastUpdated", f"ge{_instant(place.position)}"))
    return parameters


def _unseen(entries: Iterable[Entry], place: _Place) -> list[Entry]:
    """What is new to the sweep, after the server's word was checked.

    Raises: SourceFault when it ignored the filter or the order: going on would skip records.
    """
    fresh: list[Entry] = []
    latest: datetime | None = None
    for entry in entries:
        if entry.updated is not None:
            if latest is not None and entry.updated < latest:
                raise SourceFault("SOURCE_IGNORES_SORT", "the answer is not in order")
            latest = entry.updated
            if place.position is not None and entry.updated < place.position:
                if entry.updated < place.position - COARSEST:
                    raise SourceFault("SOURCE_IGNORES_FILTER", "the answer is not filtered")
                continue
        if _key(entry) not in place.seen:
            fresh.append(entry)
    return fresh


def _moved(place: _Place, fresh: list[Entry]) -> _Place:
    """The place after a page: its last moment, and who was seen at that very moment."""
    moments = [entry.updated for entry in fresh if entry.updated is not None]
    last = max(moments, default=place.position)
    here = [_key(entry) for entry in fresh if entry.updated is None or entry.updated == last]
    seen = (*place.seen, *here) if last == place.position else tuple(here)
    return _Place(position=last, seen=seen, newest=place.newest, sweeping=True)


def _key(entry: Entry) -> str:
    return f"{entry.record_id} {entry.version}"


def _record(entry: Entry) -> RawRecord:
    return RawRecord(
        kind=entry.kind,
        record_id=entry.record_id,
        version=entry.version,
        updated=entry.updated,
        raw=entry.raw,
    )


def _written(place: _Place) -> bytes:
    return msgspec.json.encode(place)


def _instant(moment: datetime) -> str:
    whole = moment.microsecond % 1000 == 0
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if whole else "microseconds")
    return text.replace("+00:00", "Z")
