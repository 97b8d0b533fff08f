"""Three processes count up one member's usage: our write transactions lose nothing, others do.

Each process reads the amount, adds to it and writes it back, as an adjudication does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from services.common.database import Database
from tests.services.common.programs import Together, together

WRITERS = 3
TIMES = 60
ROUNDS = 10  # the controls stop at the first that shows the loss
# "defaults" is SQLAlchemy as it comes, and SQLModel with it: the SQLite driver opens a transaction
# at the first UPDATE only, so that the SELECT before it stands outside.
WRITER = """
import json, sys
from contextlib import contextmanager
from sqlalchemy import create_engine, event, exc, text
from services.common.database import Database

def plain_begin(url):
    engine = create_engine(url, connect_args={"timeout": 0.2})
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine.begin, engine.dispose

def defaults(url):
    engine = create_engine(url)
    return engine.begin, engine.dispose

def ours(url):
    database = Database(url)
    return database.writing, database.close

print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    ways = {"defaults": defaults, "begin": plain_begin, "ours": ours}
    begin, close = ways[order["way"]](order["url"])
    acknowledged = refused = 0
    for _ in range(order["times"]):
        try:
            with begin() as connection:
                query = "SELECT fen FROM usage WHERE member = 'm1'" + order["lock"]
                fen = connection.execute(text(query)).scalar_one()
                update = text("UPDATE usage SET fen = :fen WHERE member = 'm1'")
                connection.execute(update, {"fen": fen + 1})
            acknowledged += 1
        except exc.OperationalError as error:
            assert "locked" in str(error), error
            refused += 1
    close()
    print(json.dumps([acknowledged, refused]), flush=True)
"""


@pytest.fixture(scope="module")
def writers() -> Iterator[Together]:
    with together(WRITERS, WRITER) as writers:
        yield writers


@dataclass(frozen=True)
class Counted:
    """What the writers were told, and what the database holds at the end."""

    acknowledged: int
    refused: int
    held: int


WHOLE = Counted(acknowledged=WRITERS * TIMES, refused=0, held=WRITERS * TIMES)


def count_up(writers: Together, url: str, way: str, lock: str = "") -> Counted:
    """Let all writers count up one row, which starts at nothing."""
    database = Database(url)
    with database.writing() as connection:
        columns = "member VARCHAR(20) PRIMARY KEY, fen BIGINT"
        connection.execute(text(f"CREATE TABLE IF NOT EXISTS usage ({columns})"))
        connection.execute(text("DELETE FROM usage"))
        connection.execute(text("INSERT INTO usage VALUES ('m1', 0)"))
    order = json.dumps({"url": url, "way": way, "lock": lock, "times": TIMES})
    answers = [json.loads(answer) for answer in writers.do(order)]
    with database.reading() as connection:
        held = connection.execute(text("SELECT fen FROM usage")).scalar_one()
    database.close()
    return Counted(sum(a for a, _ in answers), sum(r for _, r in answers), int(held))


def some_round(rounds: Iterable[Counted], shows: Callable[[Counted], bool]) -> bool:
    """Whether one of the rounds shows it: on a busy machine writers may miss one another in one."""
    return any(shows(counted) for counted in rounds)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'usage.db'}"


def test_sqlite_with_begin_immediate_keeps_every_update(writers: Together, sqlite_url: str) -> None:
    assert count_up(writers, sqlite_url, "ours") == WHOLE


def test_sqlite_with_the_drivers_transactions_loses_acknowledged_updates(
    writers: Together, sqlite_url: str
) -> None:
    rounds = (count_up(writers, sqlite_url, "defaults") for _ in range(ROUNDS))
    assert some_round(rounds, lambda counted: counted.held < counted.acknowledged)


def test_sqlite_with_a_plain_begin_refuses_updates(writers: Together, sqlite_url: str) -> None:
    rounds = (count_up(writers, sqlite_url, "begin") for _ in range(ROUNDS))
    assert some_round(rounds, lambda counted: counted.refused > 0)


def test_postgresql_with_for_update_keeps_every_update(
    writers: Together, postgres_database: str
) -> None:
    assert count_up(writers, postgres_database, "ours", " FOR UPDATE") == WHOLE


def test_postgresql_without_for_update_loses_acknowledged_updates(
    writers: Together, postgres_database: str
) -> None:
    rounds = (count_up(writers, postgres_database, "ours") for _ in range(ROUNDS))
    assert some_round(rounds, lambda counted: counted.held < counted.acknowledged)
