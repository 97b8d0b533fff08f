"""Connections to a hospital's database: read only, bounded in time, values as exact as they come.

Whatever a driver would round or reshape is switched off here. No statement of ours writes; the
session is set read only besides where the database can, and the account should be.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from psycopg import Connection as PsycopgConnection
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool, QueuePool

from services.his_bridge.profiles.source_kinds.sql import STRAY_AT, has_stray_at
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql.faults import DRIVERS, driver_missing

CONNECTIONS = 2
_RECYCLE_S = 600
# A statement's snapshot must be the next statement's, so that heads and lines agree. On Oracle a
# serializable transaction is that; SQL Server has it only where the hospital switched it on.
ISOLATION = {
    "postgresql": "REPEATABLE READ",
    "mysql": "REPEATABLE READ",
    "mariadb": "REPEATABLE READ",
    "oracle": "SERIALIZABLE",
}
# PostgreSQL's own texts of what Python cannot hold (infinity) or would reshape.
_AS_TEXT = ("timestamp", "timestamptz", "date", "time", "timetz", "json", "jsonb", "money", "xid8")
_TEXTS = ("text", "varchar", "bpchar", "name")
_LONGEST_CHARACTER = 4  # bytes, in UTF-8
_STEPS = 10_000  # of SQLite's machine between two looks at the clock


def engine_for(url: str, timeout_s: int) -> Engine:
    """An engine that connects when first asked.

    Raises: SourceFault for a URL that nobody can use, or whose driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SourceFault("SOURCE_URL", "the setting is no SQLAlchemy URL") from None
    if has_stray_at(parsed):
        raise SourceFault("SOURCE_URL", STRAY_AT)
    backend = parsed.get_backend_name()
    driver = DRIVERS.get(backend, (parsed.drivername, ""))[0]
    if parsed.drivername not in (backend, driver):
        text = f"{backend} is read with {driver}, not {parsed.drivername}"
        raise SourceFault("SOURCE_URL", text)
    try:
        if backend == "sqlite":
            # A file that was replaced lives on for whoever has it open: each call opens it anew.
            engine = create_engine(parsed.set(drivername=driver), poolclass=NullPool)
        else:
            engine = create_engine(
                parsed.set(drivername=driver),
                poolclass=QueuePool,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=timeout_s,
                pool_recycle=_RECYCLE_S,
                pool_pre_ping=True,
            )
    except (ImportError, NoSuchModuleError) as error:
        raise driver_missing(backend, error) from None
    connect = _CONNECT.get(backend)
    if connect is not None:
        event.listen(engine, "do_connect", _connected(connect, timeout_s))
    return engine


Connect = Callable[[Dialect, list[Any], dict[str, Any], int], Any]


def _connected(connect: Connect, timeout_s: int) -> Callable[..., Any]:
    def do_connect(dialect: Dialect, _record: Any, args: list[Any], more: dict[str, Any]) -> Any:
        return connect(dialect, args, more, timeout_s)

    return do_connect


def _postgresql(dialect: Dialect, args: list[Any], more: dict[str, Any], timeout_s: int) -> Any:
    options = (
        f"-c statement_timeout={timeout_s}s -c lock_timeout={timeout_s}s "
        "-c default_transaction_read_only=on -c DateStyle=ISO,YMD -c TimeZone=UTC "
        "-c IntervalStyle=iso_8601"
    )
    more = {"connect_timeout": max(2, timeout_s), **more}
    more["options"] = f"{more.get('options', '')} {options}".strip()
    connection = dialect.connect(*args, **more)
    for name in (*_AS_TEXT, *_TEXTS):
        connection.adapters.register_loader(name, _Text)
    return connection


class _Text(Loader):
    """Text, or its bytes where the database does not know in which charset they are."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        connection = self.connection
        known = isinstance(connection, PsycopgConnection)
        encoding = connection.info.encoding if known and connection is not None else "utf-8"
        self._encoding = None if encoding == "ascii" else encoding

    def load(self, data: Buffer) -> str | bytes:
        raw = bytes(data)
        if self._encoding is not None:
            return raw.decode(self._encoding)
        return raw.decode("ascii") if raw.isascii() else raw


def _sqlite(dialect: Dialect, args: list[Any], more: dict[str, Any], timeout_s: int) -> Any:
    more = {**more, "timeout": timeout_s}
    if not more.get("uri"):
        # By its plain name SQLite would make a file that is not there.
        args, more = [f"file:{quote(args[0])}?mode=rw"], {**more, "uri": True}
    connection = dialect.connect(*args, **more)
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = _text_or_bytes
    return connection


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _mysql(dialect: Dialect, args: list[Any], more: dict[str, Any], timeout_s: int) -> Any:
    limits = {"connect_timeout": timeout_s, "read_timeout": 2 * timeout_s}
    connection = dialect.connect(*args, **{"charset": "utf8mb4", **more, **limits})
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION READ ONLY")
    if getattr(dialect, "is_mariadb", False):
        cursor.execute(f"SET SESSION max_statement_time = {timeout_s}")
    else:
        cursor.execute(f"SET SESSION max_execution_time = {timeout_s * 1000}")
    cursor.close()
    return connection


def _mssql(dialect: Dialect, args: list[Any], more: dict[str, Any], timeout_s: int) -> Any:
    limits = {"login_timeout": timeout_s, "timeout": timeout_s}
    return dialect.connect(*args, **{"charset": "UTF-8", **more, **limits})


def _oracle(dialect: Dialect, args: list[Any], more: dict[str, Any], timeout_s: int) -> Any:
    connection = dialect.connect(*args, **more)
    connection.call_timeout = timeout_s * 1000
    return connection


_CONNECT: dict[str, Connect] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "mysql": _mysql,
    "mariadb": _mysql,
    "mssql": _mssql,
    "oracle": _oracle,
}


def refuse_larger(raw_connection: Any, backend: str, most: int) -> None:
    """On SQLite, let no cell of more bytes than so many characters may have be read at all.

    It reads a text to count it; beyond its limit it fails before (measured: a cell of 120 MB took
    117 MiB, and 0.3 MiB with the limit).
    """
    if backend == "sqlite":
        raw_connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most * _LONGEST_CHARACTER)


def stop_after(raw_connection: Any, backend: str, timeout_s: int) -> None:
    """On SQLite, which knows no timeout, begin to count a transaction's time."""
    if backend != "sqlite":
        return
    deadline = time.monotonic() + timeout_s
    raw_connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
