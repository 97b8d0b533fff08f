"""Which sealed records each rpc fetched, counted by SQLite's driver. Knows no answer and no leaf.

The evidence of access is written from what an answer holds. This looks from the other side, at
every row that leaves the database, so that the two can be compared (evidence.compared). SQLite
itself says which columns a statement reads.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.access.caller import rpc_under_way

_Plan = tuple[tuple[str, int | None, tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedIn:
    """What of a table is sealed, and to which record its rows belong."""

    columns: frozenset[str]
    record: str  # the kind of record
    named_by: Sequence[str]  # the result's column with the record's opaque id: the first there is


def sealed_in(columns: str, record: str, *named_by: str) -> SealedIn:
    """The same, with the columns in one line."""
    return SealedIn(columns=frozenset(columns.split()), record=record, named_by=named_by)


def tally_file(state: Path, service: str) -> Path:
    """Where a service writes what it counted: a JSON object a line, opaque ids only."""
    return state / f"reads-{service}.jsonl"


def counting(
    state: Path, service: str, tables: Mapping[str, SealedIn], *, wanted: bool
) -> type[sqlite3.Connection] | None:
    """Connections that count what they fetch of these tables; None when that is not wanted."""
    return _counting(_Tally(tally_file(state, service)), tables) if wanted else None


class _Tally:
    """Appends a line for each record that an rpc fetched, once a call."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def fetched(self, kind: str, record: str) -> None:
        """A row of this record was handed out."""
        rpc = rpc_under_way()
        if rpc is None:
            return
        with self._lock:
            if (kind, record) in rpc.fetched:
                return
            rpc.fetched.add((kind, record))
            said = {"rpc": rpc.rpc, "call": rpc.call, "clearance": rpc.clearance}
            line = json.dumps({**said, "kind": kind, "record": record})
            os.write(self._out, f"{line}\n".encode())


def _counting(tally: _Tally, tables: Mapping[str, SealedIn]) -> type[sqlite3.Connection]:
    class Cursor(sqlite3.Cursor):
        """Remembers what its statement reads."""

        connection: Any
        reads: frozenset[tuple[str, str]] = frozenset()
        plan: _Plan | None = None

        def execute(self, sql: str, parameters: Any = (), /) -> Any:
            self.plan = None
            connection = self.connection
            connection.noticed.clear()
            done = super().execute(sql, parameters)
            # A statement is prepared, and its columns told, once for each connection.
            self.reads = connection.known.setdefault(sql, frozenset(connection.noticed))
            return done

    class Counting(sqlite3.Connection):
        """Counts the rows that it hands out."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.noticed: set[tuple[str, str]] = set()
            self.known: dict[str, frozenset[tuple[str, str]]] = {}
            self.set_authorizer(self._notice)
            self.row_factory = self._count

        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def _notice(self, action: int, table: Any, column: Any, *_more: Any) -> int:
            sealed = tables.get(table) if action == sqlite3.SQLITE_READ else None
            if sealed is not None and column in sealed.columns:
                self.noticed.add((table, column))
            return sqlite3.SQLITE_OK

        def _count(self, cursor: Any, row: tuple[Any, ...]) -> tuple[Any, ...]:
            if cursor.reads:
                if cursor.plan is None:
                    cursor.plan = _planned(cursor, tables)
                for kind, named_by, sealed in cursor.plan:
                    if any(row[place] is not None for place in sealed):
                        record = "?" if named_by is None else str(row[named_by])
                        tally.fetched(kind, record)
            return row

    return Counting


def _planned(cursor: Any, tables: Mapping[str, SealedIn]) -> _Plan:
    """Of each sealed table in a result: its kind, the place of its record's id, sealed places."""
    names = [column[0] for column in cursor.description]
    found = []
    for table in {table for table, _ in cursor.reads}:
        of_table = tables[table]
        read = {column for name, column in cursor.reads if name == table}
        sealed = tuple(place for place, name in enumerate(names) if name in read)
        named_by = next((names.index(name) for name in of_table.named_by if name in names), None)
        if sealed:
            found.append((of_table.record, named_by, sealed))
    return tuple(found)
