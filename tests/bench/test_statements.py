"""The counter counts: what was asked, no more; and not what it was not told to watch."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bench.statements import counted
from services.common.database import Database

pytestmark = pytest.mark.both_databases


def test_statements_and_commits_are_counted(database_url: str) -> None:
    database = Database(database_url)
    try:
        with database.writing() as connection:  # before: not counted
            connection.execute(text("CREATE TABLE thing (n INTEGER)"))
        with counted(database.engine) as asked:
            with database.writing() as connection:
                insert = text("INSERT INTO thing (n) VALUES (:n)")
                connection.execute(insert, [{"n": 1}, {"n": 2}])  # one, however many rows
                connection.execute(text("SELECT n FROM thing"))
            with database.reading() as connection:
                connection.execute(text("SELECT n FROM thing"))
        with database.writing() as connection:  # after: not counted
            connection.execute(text("DELETE FROM thing"))
    finally:
        database.close()
    assert (asked.statements, asked.commits) == (3, 1)


def test_a_step_more_is_seen(database_url: str) -> None:
    """The control: a path with one statement and one transaction more must not count the same."""
    database = Database(database_url)
    found = []
    try:
        for times in (1, 2):
            with counted(database.engine) as asked:
                for _ in range(times):
                    with database.writing() as connection:
                        connection.execute(text("SELECT 1"))
            found.append((asked.statements, asked.commits))
    finally:
        database.close()
    assert found == [(1, 1), (2, 2)]
