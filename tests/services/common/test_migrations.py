"""A schema is migrated once, by one of those who start at once, and never by an older program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from services.common.database import Database, UnknownSchema, migrate
from tests.services.common.programs import Together, together

pytestmark = pytest.mark.both_databases

STARTERS = 3
PAUSE = "time.sleep(0.2)"  # lets every starter come along while the first one migrates
UNTIL_ANOTHER_IS_HELD_UP = """
    here = op.get_bind()
    while not here.execute(sa.text(
        "SELECT count(*) FROM pg_stat_clear_snapshot(), pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND pg_stat_activity.datname = current_database()"
    )).scalar_one():
        time.sleep(0.01)
"""
REVISION = """
import time
from alembic import op
import sqlalchemy as sa
revision, down_revision = {revision!r}, {before!r}

def upgrade():
    op.create_table("table_{revision}", sa.Column("id", sa.Integer))
    {also}
"""
STARTER = """
import json, sys
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import exc
from services.common.database import Database, _upgrade, migrate

def at_once(database, root):
    config = Config()
    folder = root + "/example_service/migrations"
    config.set_main_option("script_location", folder.replace("%", "%%"))
    with database.engine.begin() as connection:
        _upgrade(connection, config, ScriptDirectory.from_config(config))

def taking_turns(database, root):
    sys.path.insert(0, root)
    sys.modules.pop("example_service", None)
    migrate(database, "example_service")

print("ready", flush=True)
for line in sys.stdin:
    way, url, root = json.loads(line)
    database = Database(url)
    try:
        {"taking turns": taking_turns, "at once": at_once}[way](database, root)
        print("migrated", flush=True)
    except exc.DBAPIError:
        print("failed", flush=True)
    database.close()
"""


@pytest.fixture(scope="module")
def starters() -> Iterator[Together]:
    with together(STARTERS, STARTER) as starters:
        yield starters


class Program:
    """A service with migrations and nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions = root / "example_service" / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        (root / "example_service" / "__init__.py").touch()

    def has(self, revision: str, before: str | None, also: str = "pass") -> None:
        content = REVISION.format(revision=revision, before=before, also=also)
        (self.versions / f"{revision}.py").write_text(content)

    def forget(self, revision: str) -> None:
        (self.versions / f"{revision}.py").unlink()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    root = tmp_path / "100% code"  # a percent sign is nothing special in a path
    program = Program(root)
    program.has("0001", None)
    monkeypatch.syspath_prepend(root)
    yield program
    sys.modules.pop("example_service", None)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    catalogue = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if database.is_sqlite
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    with database.reading() as connection:
        return set(connection.execute(text(catalogue)).scalars())


def test_a_fresh_database_gets_the_newest_schema_and_keeps_it(
    program: Program, database: Database
) -> None:
    migrate(database, "example_service")
    assert tables(database) == {"alembic_version", "table_0001"}
    migrate(database, "example_service")
    program.has("0002", "0001")
    migrate(database, "example_service")
    assert tables(database) == {"alembic_version", "table_0001", "table_0002"}


def test_processes_that_start_at_once_migrate_once(
    starters: Together, program: Program, database_url: str
) -> None:
    program.has("0001", None, also=PAUSE)
    order = json.dumps(["taking turns", database_url, str(program.root)])
    assert starters.do(order) == ["migrated"] * STARTERS
    database = Database(database_url)
    assert tables(database) == {"alembic_version", "table_0001"}
    database.close()


def test_without_turns_processes_that_start_at_once_trip_over_each_other(
    starters: Together, program: Program, postgres_database: str
) -> None:
    program.has("0001", None, also=UNTIL_ANOTHER_IS_HELD_UP)
    order = json.dumps(["at once", postgres_database, str(program.root)])
    assert "failed" in starters.do(order)


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_is(
    program: Program, database: Database
) -> None:
    program.has("0002", "0001")
    migrate(database, "example_service")
    program.forget("0002")
    with pytest.raises(UnknownSchema, match="or a newer one"):
        migrate(database, "example_service")
    program.has("0003", "0001")  # a program of another branch
    with pytest.raises(UnknownSchema):
        migrate(database, "example_service")
    assert tables(database) == {"alembic_version", "table_0001", "table_0002"}


def test_a_migration_that_fails_leaves_nothing_half_done(
    program: Program, database: Database
) -> None:
    program.has("0002", "0001", also="op.execute('SELECT no_such_function()')")
    with pytest.raises(exc.DBAPIError):
        migrate(database, "example_service")
    assert tables(database) <= {"alembic_version"}
    program.has("0002", "0001")
    migrate(database, "example_service")
    assert tables(database) == {"alembic_version", "table_0001", "table_0002"}
