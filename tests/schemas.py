"""Databases with a service's tables, copied: to migrate each anew takes longer than most tests."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import inspect, make_url

from services.common.database import Database, migrate


def with_tables(
    url: str, package: str, *, threads: int = 8, driver: type[sqlite3.Connection] | None = None
) -> Database:
    """The database behind a URL, with a service's tables; an SQLite file not there is a copy."""
    file = make_url(url).database
    if url.startswith("sqlite:") and file and not Path(file).exists():
        Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(migrated_file(package), file)
    database = Database(url, threads=threads, driver=driver)
    with database.reading() as connection:
        migrated = inspect(connection).has_table("alembic_version")
    if not migrated:
        migrate(database, package)
    return database


@cache
def migrated_file(package: str) -> Path:
    """An SQLite file with a service's tables, to be copied; an empty one for "", which is none."""
    folder = tempfile.mkdtemp(prefix="lipei-schema-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "test.db"
    path.touch()
    if package:
        migrate_url(f"sqlite:///{path}", package)
    return path


def migrate_url(url: str, package: str) -> None:
    """Give a database a service's tables."""
    database = Database(url)
    migrate(database, package)
    database.close()
