"""One throw-away PostgreSQL server for a test session, and a fresh database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench import postgres
from bench.postgres import fresh_database

__all__ = ["fresh_database", "postgres_server"]


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of its maintenance database. What a test writes need not survive a power cut."""
    with postgres.postgres_server(durable=False) as url:
        yield url
