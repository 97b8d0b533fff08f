"""Records out of rows: heads with their lines, in bounded memory. Knows no cursor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, FromClause, Select
from sqlalchemy.exc import DataError

from services.his_bridge.dialects.yibao.message import identified
from services.his_bridge.profiles.source_kinds.sql import Marks, MessageTable
from services.his_bridge.sources.port import RawRecord, SourceFault
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.cursor import Value, moment_of
from services.his_bridge.sources.sql.faults import TOO_LARGE, is_too_large
from services.his_bridge.sources.sql.reads import Reads
from services.his_bridge.sources.sql.values import canonical, exact, one_of

# Keys in one statement: below the limits of every database (Oracle: 1,000 in a list).
AT_ONCE = 50
_BATCH = 500  # rows that a driver hands over at once
_CELL = 16  # what a value costs besides its text
_VERSION = 64

Row = dict[str, Any]
Types = Mapping[str, statements.Types]


class TooMuch(Exception):
    """The rows of these keys take more memory than was allowed."""


class RowReader:
    """Reads the records of keys, within one transaction."""

    def __init__(
        self,
        connection: Connection,
        reads: Reads,
        types: Types,
        *,
        zone: ZoneInfo,
        most: int,
        read_at: datetime,
        guarded: bool = False,
    ) -> None:
        self._connection = connection
        self._reads = reads
        self._types = types
        self._zone = zone
        self._most = most
        self._read_at = read_at
        self._guarded = guarded  # whether SQLite's rows of far too large keys are left out

    def records(self, keys: Sequence[Value]) -> Iterator[tuple[Value, RawRecord | None]]:
        """The record of each key in turn, until a page's memory is full; None: it has no head.

        Raises: SourceFault when one record alone is larger than that.
        """
        used, at_once, place = 0, AT_ONCE, 0
        while place < len(keys):
            some = keys[place : place + at_once]
            try:
                found = self._some(some, self._most - used)
            except TooMuch:
                if len(some) > 1:
                    at_once = max(1, len(some) // 2)
                    continue
                if used:
                    return
                text = "one record's rows are larger than the profile's max_body_mib"
                raise SourceFault(TOO_LARGE, text) from None
            for key, record in zip(some, found, strict=True):
                used += 0 if record is None else len(record.raw)
                yield key, record
            place += len(some)

    def _some(self, keys: Sequence[Value], most: int) -> list[RawRecord | None]:
        budget = _Budget(most)
        reads = self._reads
        updated = (reads.head.updated,) if reads.ordered and reads.head.updated else ()
        columns = (*reads.columns, *reads.flat, *_version_column(reads), *updated)
        heads = self._rows(reads.head, columns, keys, None, budget)
        parts = {
            part.name: self._rows(part.table, part.columns, keys, part.table.order, budget)
            for part in reads.parts
        }
        return [self._record(name_of(key), heads, parts) for key in keys]

    def _rows(
        self,
        marks: Marks,
        columns: Sequence[str],
        keys: Sequence[Value],
        order: str | None,
        budget: _Budget,
    ) -> dict[str, list[tuple[Any, Row]]]:
        """By key: when each of its rows changed, and the row."""
        names = tuple(dict.fromkeys(columns))
        needed = (*names, *marks.columns, *([order] if order else []))
        types = self._types.get(marks.table, {})
        table: FromClause = statements.clause(marks.table, needed, types)
        if self._guarded:
            table = statements.guarded(table, (marks.key,), self._most)
        backend = self._connection.dialect.name
        size = statements.size_of(marks, table, needed, keys, backend)
        if size is not None:
            budget.allow(self._size(size))
        statement = statements.rows_of(marks, table, names, keys, order)
        found: dict[str, list[tuple[Any, Row]]] = {}
        with self._connection.execute(statement, execution_options={"yield_per": _BATCH}) as rows:
            for at, key, *values in rows:
                budget.take(values)
                row = {name: exact(value) for name, value in zip(names, values, strict=True)}
                found.setdefault(key_text(key), []).append((at, row))
        return found

    def _size(self, statement: Select[Any]) -> int:
        """What the database counts. Raises: TooMuch when it refuses to read what is to count."""
        try:
            return int(self._connection.execute(statement).scalar_one())
        except DataError as error:
            if is_too_large(error):
                raise TooMuch from None
            raise

    def _record(
        self,
        key: str,
        heads: Mapping[str, list[tuple[Any, Row]]],
        parts: Mapping[str, Mapping[str, list[tuple[Any, Row]]]],
    ) -> RawRecord | None:
        rows = heads.get(key)
        if not rows:
            return None
        reads = self._reads
        lines = {name: found.get(key, []) for name, found in parts.items()}
        wanted = (*reads.columns, *_version_column(reads))
        head = one_of([{name: row[name] for name in wanted} for _, row in rows])
        version = head.pop(reads.head.version) if reads.head.version else None
        if reads.head.version in reads.columns:
            head[reads.head.version] = version
        body: dict[str, Any] = {name: [row for _, row in found] for name, found in lines.items()}
        if reads.flat:
            body["lines"] = [{name: row[name] for name in reads.flat} for _, row in rows]
        raw = self._raw(head, body)
        if isinstance(reads.head, MessageTable):
            own = identified(raw, self._zone)
            return RawRecord(
                kind=reads.kind,
                record_id=own.record_id,
                version=own.version,
                updated=own.updated or self._updated(rows),
                raw=raw,
                seen=own.updated is None and self._is_seen,
            )
        changed = [str(at) for at, _ in (*rows, *(each for f in lines.values() for each in f))]
        return RawRecord(
            kind=reads.kind,
            record_id=key,
            version=_version(version, changed, raw),
            updated=self._updated(rows),
            raw=raw,
            seen=self._is_seen,
        )

    @property
    def _is_seen(self) -> bool:
        return not self._reads.ordered or self._reads.head.updated is None

    def _raw(self, head: Row, body: Mapping[str, Any]) -> bytes:
        table = self._reads.head
        if isinstance(table, MessageTable):
            if table.message is not None:
                return _text_of(head.get(table.message))
            if table.request is not None:
                answer = head.get(table.response) if table.response is not None else None
                return canonical({"request": head.get(table.request), "response": answer})
        return canonical({"head": head, **body})

    def _updated(self, rows: Sequence[tuple[Any, Row]]) -> datetime | None:
        """When a record changed, where several make one bill and their order counts.

        A row that is a bill alone is its newest state, whatever the clock of its writer says: what
        is read later is later.
        """
        if self._is_seen or self._reads.head.updated is None:
            return self._read_at
        moments = [moment_of(row[self._reads.head.updated], self._zone) for _, row in rows]
        return max((moment for moment in moments if moment is not None), default=None)


class _Budget:
    """How much memory rows may still take."""

    def __init__(self, most: int) -> None:
        self._left = most

    def allow(self, size: int) -> None:
        """Look whether so much is left, before it is fetched. Raises: TooMuch."""
        if size > self._left:
            raise TooMuch

    def take(self, values: Sequence[Any]) -> None:
        """Count a row. Raises: TooMuch."""
        for value in values:
            self._left -= _CELL + (len(value) if isinstance(value, str | bytes) else 0)
        if self._left < 0:
            raise TooMuch


def _text_of(message: Any) -> bytes:
    """The message as it stands in its column; what is none is for the dialect to name."""
    if isinstance(message, str):
        return message.encode("utf-8", "backslashreplace")
    if isinstance(message, dict) and isinstance(message.get("bytes"), str):
        return bytes.fromhex(message["bytes"])
    return b"null"


def key_text(raw: Any) -> str:
    """A key as text, without the blanks that fill a CHAR column; the same in every table."""
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw).hex()
    return str(raw).strip()


def name_of(key: Value) -> str:
    """A record's id: its key as text."""
    return key.text.strip()


def _version_column(reads: Reads) -> tuple[str, ...]:
    return (reads.head.version,) if reads.head.version else ()


def _version(stated: Any, changed: Sequence[str], raw: bytes) -> str:
    """The hospital's own version; else one that changes with the marks and with the content.

    The content alone would take a bill that was changed back for one that is known.
    """
    if stated is not None:
        return str(stated).strip()[:_VERSION]
    digest = hashlib.sha256(raw + "\0".join(sorted(changed)).encode()).hexdigest()
    return digest[:32]
