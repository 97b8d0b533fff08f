"""One throw-away PostgreSQL server for a test session, and a fresh database for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import make_url, text

from bench import postgres
from bench.postgres import administration, fresh_database

__all__ = ["database_like", "fresh_database", "postgres_server"]

_ONE_MAKES = 0x6C696B65  # "like": the advisory lock under which a run's workers take turns


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of its maintenance database. What a test writes need not survive a power cut."""
    with postgres.postgres_server(durable=False) as url:
        yield url


def database_like(
    server_url: str, what: str, fill: Callable[[str], None], like: str = "template1"
) -> str:
    """The name of a copy of `like` that `fill` has filled, to be copied; all workers share it.

    It stays as long as the server.
    """
    name = f"like_{what.replace('.', '_')}"
    known = text("SELECT 1 FROM pg_database WHERE datname = :name")
    with administration(server_url) as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({_ONE_MAKES})"))
        try:
            if connection.execute(known, {"name": name}).first() is None:
                # It has its name when it is whole.
                connection.execute(text(f"CREATE DATABASE half_{name} TEMPLATE {like}"))
                fill(
                    make_url(server_url)
                    .set(database=f"half_{name}")
                    .render_as_string(hide_password=False)
                )
                connection.execute(text(f"ALTER DATABASE half_{name} RENAME TO {name}"))
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({_ONE_MAKES})"))
    return name
