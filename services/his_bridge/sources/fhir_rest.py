"""FHIR R4 over REST, by keyset paging on `_lastUpdated` with an overlap.

Offsets drift while records change, `next` links are offsets in disguise at many servers, and a
record may become visible after a later one (EVIDENCE, HIS). So a sweep walks up `_lastUpdated` from
a known place, and the next sweep begins an overlap before the newest record that was visible when
this one began: whatever was committed late lies behind that point, and the inbox knows the rest.
That place is never beyond our own clock: one record from the future must not hide all that follow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from services.his_bridge.core.fhir_terms import BillsFrom, FhirTerms
from services.his_bridge.core.reconciliation import DayTotals, by_day
from services.his_bridge.dialects.fhir_r4 import (
    Entry,
    Framed,
    KeyRepeated,
    NotABundle,
    frame,
    people_behind,
    points_at,
    stated_by,
)
from services.his_bridge.dialects.strict_json import marks_of, meaning_of
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.sources.http import (
    Gone,
    HospitalHttp,
    Missing,
    Parameters,
    Refused,
    TooLarge,
)
from services.his_bridge.sources.port import Key, Page, RawRecord, SourceFault

# Ids in one request: about 4 KB of URL, which every server takes.
LOOK_UP_AT_ONCE = 100
# From an invoice to its charge, the charge's visit, and the visit's disease.
DEEPEST = 3
MAX_COUNT = 5_000
# Values of a page, counted by JSON's marks: a thousand bills of fifty charges. Each becomes an
# object, and a page of nothing else would take the memory of a thousand pages.
MOST_MARKS = 1_500_000
MAX_URL = 4_000
# No server caps its pages below this; a shorter page of known records is the end even where the
# server can neither exclude ids nor tell a total.
SMALLEST_CAP = 10
# A server may compare whole seconds where we say milliseconds.
COARSEST = timedelta(seconds=1)


class _Place(msgspec.Struct, frozen=True):
    """A cursor. `seen` are records at `position`; `newest` was visible as the sweep began.

    `newest` is not beyond our clock of then. `begun` is where this sweep began; `anew`: the server
    had lost it, and it began once more.
    """

    position: datetime | None = None
    seen: tuple[str, ...] = ()
    newest: datetime | None = None
    sweeping: bool = False
    begun: datetime | None = None
    anew: bool = False


class _Turns(msgspec.Struct, frozen=True):
    """A cursor over several kinds: which is swept now, and where each of them stands."""

    turn: int = 0
    cursors: dict[str, msgspec.Raw] = {}


class FhirRest:
    """A FHIR R4 server as a source."""

    def __init__(
        self,
        profile: SourceProfile,
        http: HospitalHttp | None = None,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._profile = profile
        self._now_s = now_s
        self._limits = profile.limits
        smart = profile.source.smart if isinstance(profile.source, FhirRestSettings) else None
        self._http = http or HospitalHttp(profile.terms.base_url, profile.limits, smart)
        own = profile.dialect_terms
        self._own = own if isinstance(own, FhirTerms) else FhirTerms()
        self._follows = self._own.bills_from is not BillsFrom.CLAIM
        # The longest page of this sweep: the server's own cap is not below it.
        self._longest = 0

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The page at a cursor; several kinds (A,B) are swept one after the other.

        Raises: SourceFault.
        """
        kinds = kind.split(",")
        if len(kinds) == 1:
            return await self._fetch(kind, cursor)
        turns = _Turns() if cursor is None else msgspec.json.decode(cursor, type=_Turns)
        current = kinds[turns.turn % len(kinds)]
        page = await self._fetch(current, turns.cursors.get(current))
        turn = turns.turn + page.swept
        moved = _Turns(
            turn=turn % len(kinds), cursors={**turns.cursors, current: msgspec.Raw(page.cursor)}
        )
        return Page(
            records=page.records,
            cursor=msgspec.json.encode(moved),
            swept=page.swept and turn == len(kinds),
            # Of the kinds whose turn comes later nothing is known.
            left=page.left if turns.turn + 1 == len(kinds) else None,
        )

    async def _fetch(self, kind: str, cursor: bytes | msgspec.Raw | None) -> Page:
        place = _Place() if cursor is None else msgspec.json.decode(cursor, type=_Place)
        if not place.sweeping:
            self._longest = 0
            # By our clock as the sweep begins: what is written while it runs is the next one's.
            now = datetime.fromtimestamp(self._now_s(), UTC)
            newest = await self._newest(kind, now)
            start = _earlier(place.position, now - timedelta(seconds=self._limits.overlap_s))
            place = _Place(position=start, newest=newest, sweeping=True, begun=start)
        try:
            fresh, short, left = await self._beyond(kind, place)
        except Gone:
            if place.anew:
                text = f"the source does not search {kind} any more; check the profile's base_url"
                raise SourceFault("SOURCE_GONE", text) from None
            # It forgot this search. The window is read once more: the inbox knows what came.
            again = msgspec.structs.replace(place, position=place.begun, seen=(), anew=True)
            return Page(records=(), cursor=_written(again), swept=False)
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
            left=left,
        )

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Referenced resources by `_id`, in batches; one by one what a batch left out.

        Where bills are made of charges, also what those point at in turn; and always patients who
        are one person with those whom the records name, as far as that is in doubt.
        """
        found: dict[Key, bytes] = {}
        wanted, base_url = set(keys), self._profile.terms.base_url
        for _ in range(DEEPEST):
            news = await self._found(wanted)
            found.update(news)
            onward: set[Key] = set()
            for (kind, _), raw in news.items():
                if self._follows:
                    onward |= points_at(kind, raw, base_url)
                onward |= people_behind(kind, raw, found, base_url)
            wanted = onward - found.keys()
            if not wanted:
                break
        return found

    async def _found(self, keys: Collection[Key]) -> dict[Key, bytes]:
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
        """Every bill that the server shows, per day; its own date filter is not asked.

        Raises: SourceFault, also where bills are made of charges: the server shows no bill then.
        """
        terms = self._profile.terms
        stated = stated_by(terms, self._own)
        if stated is None:
            text = "the server shows charges and no bills, so there are no bills to compare"
            raise SourceFault("SOURCE_CANNOT_RECONCILE", text)
        latest: dict[str, tuple[date, int] | None] = {}
        cursor: bytes | None = None
        swept = False
        while not swept:
            page = await self.fetch(self._own.bill_kind, cursor)
            cursor, swept = page.cursor, page.swept
            glances = [stated.glance(record.raw) for record in page.records]
            needs = {key for glance in glances for key in glance.needs}
            found = await self.look_up(needs) if needs else {}
            for record, glance in zip(page.records, glances, strict=True):
                external_id = f"{record.kind}/{record.record_id}"
                latest[external_id] = stated.bill(glance, found)
        return by_day(
            (entry[0], external_id, entry[1])
            for external_id, entry in latest.items()
            if entry is not None and first <= entry[0] <= last and terms.in_period(entry[0])
        )

    async def count(self, kind: str) -> int | None:
        """How many records the server says that it has; None where it does not say. Reads none.

        A server that does not count is asked as a sweep begins, for one record.

        Raises: SourceFault, as a sweep would.
        """
        try:
            return (await self._search(kind, [("_summary", "count")])).total
        except SourceFault as fault:
            if fault.reason != "SOURCE_REFUSES_SEARCH":
                raise
        return (await self._search(kind, [("_sort", "-_lastUpdated"), ("_count", "1")])).total

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.close()

    async def _newest(self, kind: str, now: datetime) -> datetime | None:
        """Some record's last change, the newest if it sorts: its clock was there already.

        What lies beyond our clock tells nothing; then the newest of all others, if it filters.
        """
        parameters = [("_sort", "-_lastUpdated"), ("_count", "1")]
        newest = _newest_of(await self._search(kind, parameters))
        if newest is not None and newest > now:
            parameters.append(("_lastUpdated", f"le{_instant(now)}"))
            newest = _newest_of(await self._search(kind, parameters))
        return _earlier(newest, now)

    def _after_sweep(self, place: _Place) -> _Place:
        if place.position is None or place.newest is None:
            # Nothing with a time was there as the sweep began: what came since may be anywhen.
            return _Place(position=place.begun)
        earlier = min(place.position, place.newest)
        return _Place(position=earlier - timedelta(seconds=self._limits.overlap_s))

    async def _beyond(self, kind: str, place: _Place) -> tuple[list[Entry], bool, int | None]:
        """Records at or after the place that this sweep has not seen; none only at the end.

        Also whether the page looked like the last one, and how many follow by the server's count.
        """
        count = min(MAX_COUNT, self._limits.page_size + len(place.seen))
        fits, most = 0, MAX_COUNT  # a page of `fits` came; one of more than `most` is too large
        while True:
            try:
                framed = await self._page(kind, _window(place, count), sweeps=True)
            except TooLarge:
                most = count - 1
                if most == 0:
                    raise _too_large() from None
                count = max(1, count // 4) if fits == 0 else (fits + most + 1) // 2
                continue
            full = len(framed.entries) >= count or framed.says_more
            fresh = _unseen(framed.entries, place)
            if fresh:
                return fresh, not full, _left(framed)
            if not full and len(framed.entries) < min(count, self._longest):
                return [], True, None
            if full and count < most:
                # One moment holds more records than a page: ask for a larger one.
                fits = count
                count = min(most, count * 4) if most == MAX_COUNT else (count + most + 1) // 2
                continue
            return await self._without_seen(kind, place, framed, most), False, None

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
        """An answer that can be made no smaller. Raises: SourceFault."""
        try:
            return await self._page(kind, parameters)
        except TooLarge:
            raise _too_large() from None

    async def _page(self, kind: str, parameters: Parameters, *, sweeps: bool = False) -> Framed:
        """An answer. Raises: SourceFault, and TooLarge for one that may come in smaller pages.

        One of a sweep may be gone (Gone), and must be whole: what it leaves out is never asked for.
        """
        long = sum(len(name) + len(value) for name, value in parameters) > MAX_URL
        try:
            if long:
                body = await self._http.search_by_post(kind, parameters)
            else:
                body = await self._http.get(kind, parameters)
            if marks_of(body) > MOST_MARKS:
                raise TooLarge
            framed = frame(body, kind)
            if framed.reports_errors and sweeps:
                text = "the source reports errors beside its answer; records may be missing"
                raise SourceFault("SOURCE_SEARCH_INCOMPLETE", text)
        except NotABundle:
            raise SourceFault("SOURCE_NOT_FHIR", "the answer is no FHIR searchset") from None
        except KeyRepeated:
            text = "an answer has a key twice in one object; records may be missing"
            raise SourceFault("SOURCE_KEY_REPEATED", text) from None
        except Missing as missing:
            if sweeps and isinstance(missing, Gone):
                raise
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
        try:
            parameters = [("_id", ",".join(ids)), ("_count", str(len(ids)))]
            framed = await self._page(kind, parameters)
        except TooLarge:
            if len(ids) == 1:
                return {}  # a person's picture may be in it: only what needs it waits
            middle = len(ids) // 2
            return await self._batch(kind, ids[:middle]) | await self._batch(kind, ids[middle:])
        found = {(kind, e.record_id): e.raw for e in framed.entries if e.record_id in wanted}
        for record_id in ids:
            if (kind, record_id) not in found:
                try:
                    found[kind, record_id] = await self._http.get(f"{kind}/{record_id}")
                except (Missing, Refused, TooLarge):
                    continue  # deleted, or never there: the bill says so in the quarantine
        return found


def _left(framed: Framed) -> int | None:
    """How many records follow a page; only where the server counts what matches."""
    return None if framed.total is None else max(0, framed.total - len(framed.entries))


def _newest_of(framed: Framed) -> datetime | None:
    return max((e.updated for e in framed.entries if e.updated is not None), default=None)


def _earlier(moment: datetime | None, bound: datetime) -> datetime | None:
    return None if moment is None else min(moment, bound)


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
    return msgspec.structs.replace(place, position=last, seen=seen, anew=False)


def _key(entry: Entry) -> str:
    return f"{entry.record_id} {entry.version}"


def _record(entry: Entry) -> RawRecord:
    return RawRecord(
        kind=entry.kind,
        record_id=entry.record_id,
        version=entry.version,
        updated=entry.updated,
        raw=entry.raw,
        meaning=meaning_of(entry.raw),
    )


def _written(place: _Place) -> bytes:
    return msgspec.json.encode(place)


def _instant(moment: datetime) -> str:
    whole = moment.microsecond % 1000 == 0
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if whole else "microseconds")
    return text.replace("+00:00", "Z")
