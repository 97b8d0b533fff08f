"""A hospital's view or middle table as a source. Blocking drivers run in threads of their own.

A sweep walks up (mark, key) in every table that has marks; cursor.py says where the next one
begins and why nothing is missed. Deleted rows leave no mark: reconcile finds them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, Engine, FromClause, TableClause
from sqlalchemy.exc import SQLAlchemyError

from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.yibao.reckoning import Reckoning, bill_of
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.sql import Marks, SqlSettings
from services.his_bridge.sources.port import Key, Page, RawRecord, SourceFault
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.connecting import (
    CONNECTIONS,
    ISOLATION,
    engine_for,
    refuse_larger,
    stop_after,
)
from services.his_bridge.sources.sql.cursor import (
    Place,
    Spot,
    Value,
    Walk,
    next_start,
    place_of,
    time_of,
    value_of,
)
from services.his_bridge.sources.sql.faults import SHAPE, TOO_LARGE, TOO_SLOW, fault_of, made
from services.his_bridge.sources.sql.persons import persons_by_number
from services.his_bridge.sources.sql.reads import BILL, MESSAGE, PERSON, Reads, reads_of
from services.his_bridge.sources.sql.reconciling import Window
from services.his_bridge.sources.sql.rows import RowReader, Types
from services.his_bridge.sources.sql.shape import Wanted, types_of

# A call whose thread has not come back after so many time limits of a statement is given up.
_PATIENCE = 10
# How much of one mark or key SQLite may read, only to say that it is too large.
_LOOKED_AT = 64 << 20

P = ParamSpec("P")
R = TypeVar("R")


class SqlSource:
    """Reads one hospital's tables. Writes nothing, and keeps no place."""

    def __init__(self, profile: SourceProfile, *, clock: Callable[[], float] = time.time) -> None:
        if not isinstance(profile.source, SqlSettings):
            raise TypeError("the profile's source is none of SQL")
        self._profile = profile
        self._settings = profile.source
        self._limits = profile.limits
        self._zone = ZoneInfo(profile.terms.zone)
        self._clock = clock
        self._reads = reads_of(profile)
        own = profile.dialect_terms
        self._person_columns = own.person.all if isinstance(own, YibaoTerms) else ()
        self._charset = getattr(own, "charset", "gb18030")
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._types: Types | None = None
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="lipei-sql")

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The page at a cursor. Raises: SourceFault."""
        return await self._in_thread(self._fetch, self._reads_of(kind), cursor)

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Persons by the number that messages carry. Raises: SourceFault."""
        if self._settings.persons is None:
            return {}
        return await self._in_thread(self._look_up, sorted(keys))

    async def fetch_again(self, kind: str, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        """These records, or the records of these bills, as they are now. Raises: SourceFault."""
        if kind == MESSAGE and isinstance(self._profile.dialect_terms, YibaoTerms):
            return await self._messages_again(self._profile.dialect_terms, frozenset(record_ids))
        reads = self._reads_of(kind)
        return await self._in_thread(self._again, reads, record_ids)

    async def reconcile(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """What the tables hold per day of billing. Raises: SourceFault."""
        own = self._profile.dialect_terms
        if not isinstance(own, YibaoTerms):
            return await self._in_thread(self._reconciled, first, last)
        reckoning = Reckoning(own, self._profile.terms)
        async for record in self._all_messages():
            reckoning.add(record.raw)
        return reckoning.totals(first, last)

    async def check(self) -> None:
        """Log in and look whether the tables and columns are there. Reads no row.

        Raises: SourceFault.
        """
        await self._in_thread(self._check)

    async def close(self) -> None:
        """Drop the connections; a statement under way ends by its own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            self._engine.dispose()

    async def _all_messages(self) -> AsyncIterator[RawRecord]:
        cursor, swept = None, False
        while not swept:
            page = await self.fetch(MESSAGE, cursor)
            cursor, swept = page.cursor, page.swept
            for record in page.records:
                yield record

    async def _messages_again(
        self, own: YibaoTerms, wanted: frozenset[str]
    ) -> tuple[RawRecord, ...]:
        # No column says which bill a message is of: all are looked at, those of the bills kept.
        named = frozenset(f"{MESSAGE}/{bill}" for bill in wanted)
        return tuple(
            [
                record
                async for record in self._all_messages()
                if record.record_id in wanted
                or bill_of(record.raw, own, self._profile.terms) in named
            ]
        )

    def _reads_of(self, kind: str) -> Reads:
        reads = self._reads.get(kind)
        if reads is None:
            raise SourceFault(SHAPE, f"the profile names no table, or no columns, for {kind}")
        return reads

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **more: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: work(*args, **more))
        try:
            return await asyncio.wait_for(future, _PATIENCE * self._limits.timeout_s)
        except TimeoutError:
            raise made(TOO_SLOW) from None

    # What follows blocks.

    def _check(self) -> None:
        with self._reading():
            return

    @contextmanager
    def _reading(self, *, guarded: bool = False) -> Iterator[tuple[Connection, Types]]:
        """A read-only transaction on tables of the expected shape. Raises: SourceFault."""
        engine = self._connected()
        backend = engine.dialect.name
        try:
            with engine.connect() as connection:
                if backend in ISOLATION:
                    connection.execution_options(isolation_level=ISOLATION[backend])
                stop_after(connection.connection, backend, self._limits.timeout_s)
                most = self._most
                refuse_larger(
                    connection.connection, backend, max(most, _LOOKED_AT) if guarded else most
                )
                with connection.begin():
                    if self._types is None:
                        self._types = self._checked(connection)
                    yield connection, self._types
        except SQLAlchemyError as error:
            fault = fault_of(error)
            if fault.reason == SHAPE and self._types is not None:
                self._types = None
                with self._reading():  # a column went: looking anew names it
                    pass
            raise fault from None
        except UnicodeDecodeError:
            text = "the database's texts are not in the charset of the connection"
            raise SourceFault("SOURCE_CHARSET", text) from None

    def _connected(self) -> Engine:
        with self._lock:
            if self._engine is None:
                if not self._settings.url:
                    raise SourceFault("SOURCE_URL", f"set {self._settings.variable}")
                self._engine = engine_for(self._settings.url, self._limits.timeout_s)
            return self._engine

    def _checked(self, connection: Connection) -> Types:
        reads = self._reads.values()
        wanted = [each for read in reads for each in read.wanted()]
        persons = self._settings.persons
        if persons is not None:
            wanted.append(Wanted(persons.table, (persons.key, *self._person_columns)))
        types = types_of(connection, wanted, self._charset)
        backend = connection.dialect.name
        for walk in (walk for read in reads for walk in read.walks):
            if walk.horizon is not None and not statements.has_horizon(backend):
                text = f"{walk.table}: {backend} tells no horizon; give updated alone"
                raise SourceFault(SHAPE, text)
        return types

    @property
    def _most(self) -> int:
        return self._limits.max_body_mib << 20

    def _fetch(self, reads: Reads, cursor: bytes | None) -> Page:
        place = place_of(cursor, reads.digest, len(reads.walks))
        if not place.guarded:
            try:
                return self._fetched(reads, place)
            except SourceFault as fault:
                if fault.reason != TOO_LARGE or self._connected().dialect.name != "sqlite":
                    raise
        # A mark or key may be what is too large, and would hide every row beside it.
        return self._fetched(reads, msgspec.structs.replace(place, guarded=True))

    def _fetched(self, reads: Reads, place: Place) -> Page:
        with self._reading(guarded=place.guarded) as (connection, types):
            if not place.sweeping:
                place = self._begun(connection, reads, types, place)
            page = self._page(connection, reads, types, place)
        return page if page.swept else self._with_left(reads, place, page)

    def _with_left(self, reads: Reads, before: Place, page: Page) -> Page:
        """The page that begins a walk, with how many follow; none where counting takes too long."""
        moved = msgspec.json.decode(page.cursor, type=Place)
        spot = moved.walks[before.at].spot
        if moved.at != before.at or before.walks[before.at].spot is not None or spot is None:
            return page
        marks = reads.walks[before.at]
        try:
            with self._reading(guarded=moved.guarded) as (connection, types):
                table = self._walked(marks, types, guarded=moved.guarded)
                left = connection.execute(statements.left(marks, table, spot))
                return msgspec.structs.replace(page, left=left.scalar_one())
        except SourceFault:
            return page

    def _again(self, reads: Reads, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        with self._reading() as (connection, types):
            keys = {Value("text", text) for text in record_ids}
            if reads.named_in and record_ids:
                columns = (reads.head.key, *reads.named_in)
                table = statements.clause(reads.head.table, columns, types[reads.head.table])
                rows = connection.execute(
                    statements.keys_of(reads.head, table, reads.named_in, record_ids)
                )
                keys |= {key for row in rows if (key := value_of(row[0])) is not None}
            reader = self._reader(connection, reads, types, round(self._clock() * 1_000_000))
            found = {
                record.record_id: record
                for _, record in reader.records(sorted(keys, key=lambda key: key.text))
                if record is not None
            }
        return tuple(found.values())

    def _reconciled(self, first: date, last: date) -> Mapping[date, DayTotals]:
        own = self._profile.dialect_terms
        with self._reading() as (connection, types):
            if isinstance(own, RowTerms):
                reads, now_us = self._reads[BILL], round(self._clock() * 1_000_000)
                reader = self._reader(connection, reads, types, now_us)
                window = Window(connection, reads, types, own, self._profile.terms, reader)
                return window.totals(first, last)
        raise TypeError("the profile has no terms of rows")

    def _look_up(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        persons = self._settings.persons
        numbers = {number: (kind, number) for kind, number in keys if kind == PERSON}
        if persons is None or not numbers:
            return {}
        with self._reading() as (connection, types):
            found = persons_by_number(
                connection, types, persons, self._person_columns, sorted(numbers)
            )
        return {numbers[number]: raw for number, raw in found.items() if number in numbers}

    def _begun(self, connection: Connection, reads: Reads, types: Types, place: Place) -> Place:
        """A sweep's beginning, under the marks of this moment."""
        walks = []
        for marks, walk in zip(reads.walks, place.walks, strict=True):
            table = _clause(marks, types)
            if walk.start is None:
                empty = connection.execute(statements.without_marks(marks, table)).first()
                if empty is not None:
                    text = f"{marks.table} has rows without {' or '.join(marks.columns)}"
                    raise SourceFault("SOURCE_ROWS_WITHOUT_MARK", text)
            walked = self._walked(marks, types, guarded=place.guarded)
            backend = connection.dialect.name
            mark = connection.execute(statements.mark_of(marks, walked, backend)).scalar()
            walks.append(Walk(start=walk.start, mark=value_of(mark)))
        return msgspec.structs.replace(place, walks=tuple(walks), at=0, sweeping=True)

    def _page(self, connection: Connection, reads: Reads, types: Types, place: Place) -> Page:
        stamp_us = max(round(self._clock() * 1_000_000), place.stamp_us + 1)
        place = msgspec.structs.replace(place, stamp_us=stamp_us)
        marks, walk = reads.walks[place.at], place.walks[place.at]
        most = self._limits.page_size
        table = self._walked(marks, types, guarded=place.guarded)
        statement = statements.page(marks, table, start=walk.start, spot=walk.spot, most=most)
        spots = [_spot(at, key, marks) for at, key in connection.execute(statement)]
        if spots and spots[-1] == walk.spot:
            text = f"{marks.table}.{marks.updated}: finer than a microsecond; cast it in the view"
            raise SourceFault("SOURCE_MARK_TOO_FINE", text)
        reader = self._reader(connection, reads, types, stamp_us, guarded=place.guarded)
        keys = list(dict.fromkeys(spot.key for spot in spots))
        records: list[RawRecord] = []
        read: set[Value] = set()
        for key, record in reader.records(keys):
            read.add(key)
            if record is not None:
                records.append(record)
        whole = len(read) == len(keys)
        if not whole:
            unread = next(n for n, spot in enumerate(spots) if spot.key not in read)
            spots = spots[:unread]
        after = spots[-1] if spots else walk.spot
        ended = whole and len(spots) < most
        if ended and place.guarded:
            fault = self._in_the_way(connection, reads, types)
            if fault is not None and not spots:
                raise fault
            ended = fault is None  # what was read is handed on first
        moved, swept = self._moved(reads, place, after, ended=ended)
        return Page(
            records=tuple(records),
            cursor=msgspec.json.encode(moved),
            swept=swept,
            reached=time_of(spots[-1].at, self._zone) if spots else None,
        )

    def _walked(self, marks: Marks, types: Types, *, guarded: bool) -> FromClause:
        """The table of a walk; `guarded`, without marks and keys that are too large."""
        table = _clause(marks, types)
        return statements.guarded(table, marks.columns, self._most) if guarded else table

    def _in_the_way(self, connection: Connection, reads: Reads, types: Types) -> SourceFault | None:
        """What says which marks or keys are too large to be walked over; None when none is."""
        large = []
        for marks in (reads.head, *(part.table for part in reads.parts)):
            asked = statements.too_large(marks, _clause(marks, types), self._most)
            found = connection.execute(asked).one()
            large += [
                f"{marks.table}.{name}"
                for name, is_large in zip(marks.columns, found, strict=True)
                if is_large
            ]
        if not large:
            return None
        text = f"rows hold more than the profile's max_body_mib in {', '.join(large)} alone"
        return SourceFault(TOO_LARGE, f"{text}; leave them out of the view")

    def _reader(
        self,
        connection: Connection,
        reads: Reads,
        types: Types,
        stamp_us: int,
        *,
        guarded: bool = False,
    ) -> RowReader:
        return RowReader(
            connection,
            reads,
            types,
            zone=self._zone,
            most=self._most,
            read_at=datetime.fromtimestamp(stamp_us / 1_000_000, UTC),
            guarded=guarded,
        )

    def _moved(
        self, reads: Reads, place: Place, spot: Spot | None, *, ended: bool
    ) -> tuple[Place, bool]:
        walks = list(place.walks)
        walks[place.at] = msgspec.structs.replace(walks[place.at], spot=spot)
        if not ended:
            return msgspec.structs.replace(place, walks=tuple(walks)), False
        if place.at + 1 < len(walks):
            return msgspec.structs.replace(place, walks=tuple(walks), at=place.at + 1), False
        starts = (
            Walk(start=self._next_start(marks, walk))
            for marks, walk in zip(reads.walks, walks, strict=True)
        )
        done = Place(reads=place.reads, walks=tuple(starts), stamp_us=place.stamp_us)
        return done, True

    def _next_start(self, marks: Marks, walk: Walk) -> Value | None:
        if marks.horizon is not None:
            return walk.mark
        return next_start(
            walk.mark,
            overlap_s=self._limits.overlap_s,
            overlap_steps=self._settings.overlap_steps,
            now=datetime.fromtimestamp(self._clock(), UTC),
            zone=self._zone,
        )


def _clause(marks: Marks, types: Types) -> TableClause:
    return statements.clause(marks.table, marks.columns, types.get(marks.table, {}))


def _spot(at: object, key: object, marks: Marks) -> Spot:
    mark, name = value_of(at), value_of(key)
    if mark is None or name is None:
        text = f"{marks.table}: {', '.join(marks.columns)} must be texts, times or whole numbers"
        raise SourceFault(SHAPE, text)
    return Spot(mark, name)
