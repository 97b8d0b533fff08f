"""Transactions of a database: whole or not at all, seen in one state, append-only where told."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Connection, exc, make_url, text

from bench.postgres import administration
from services.common import database as module
from services.common import log
from services.common.database import DATABASE_FAULTS, Database, DatabaseAway, append_only_ddl

pytestmark = pytest.mark.both_databases

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, threads=4)
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE usage (member VARCHAR(20) PRIMARY KEY, fen BIGINT)"))
        connection.execute(text("INSERT INTO usage VALUES ('m1', 0)"))
    yield database
    database.close()


def used(connection: Connection) -> int:
    return int(connection.execute(text("SELECT fen FROM usage WHERE member = 'm1'")).scalar_one())


def use(connection: Connection, fen: int) -> None:
    connection.execute(text("UPDATE usage SET fen = :fen WHERE member = 'm1'"), {"fen": fen})


def used_now(database: Database) -> int:
    with database.reading() as connection:
        return used(connection)


def test_writing_commits_at_the_end(database: Database) -> None:
    with database.writing() as connection:
        use(connection, 5)
        assert used_now(database) == 0  # not before
    assert used_now(database) == 5


def test_writing_rolls_back_on_any_exception(database: Database) -> None:
    class Stopped(BaseException):
        pass

    def use_and_fail(fault: BaseException) -> None:
        with database.writing() as connection:
            use(connection, 5)
            raise fault

    for fault in (ValueError(), Stopped()):
        with pytest.raises(type(fault)):
            use_and_fail(fault)
        assert used_now(database) == 0
    with database.writing() as connection:  # and the next one is not held up
        use(connection, 6)
    assert used_now(database) == 6


def test_a_failing_statement_leaves_nothing_and_tells_no_values(database: Database) -> None:
    def use_and_insert_twice() -> None:
        with database.writing() as connection:
            use(connection, 5)
            statement = text("INSERT INTO usage VALUES ('m2', 1), ('m2', :fen)")
            connection.execute(statement, {"fen": 4711})

    with pytest.raises(exc.IntegrityError) as refused:
        use_and_insert_twice()
    assert "4711" not in str(refused.value)
    assert used_now(database) == 0


def test_reading_sees_one_state_throughout(database: Database) -> None:
    with database.reading() as connection:
        assert used(connection) == 0
        with database.writing() as other:
            use(other, 5)
        assert used(connection) == 0
    assert used_now(database) == 5


def test_reading_cannot_write(database: Database) -> None:
    with (
        pytest.raises(exc.DBAPIError, match=r"readonly|read-only"),
        database.reading() as connection,
    ):
        use(connection, 5)
    with database.writing() as connection:  # on the very connection that refused
        use(connection, 6)
    assert used_now(database) == 6


def test_sqlite_is_written_through_the_one_door_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(exc.OperationalError, match="readonly"), database.engine.begin() as around:
        around.execute(text("CREATE TABLE t (a INTEGER)"))
    database.close()


def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_itself(
    database: Database,
) -> None:
    def nested() -> None:
        with database.writing() as outer:
            use(outer, 5)
            with database.writing():
                pass

    with pytest.raises(RuntimeError, match="pass its connection on"):
        nested()
    assert used_now(database) == 0


def test_threads_of_one_process_lose_nothing(database: Database) -> None:
    def one_more() -> None:
        with database.writing() as connection:
            lock = "" if database.is_sqlite else " FOR UPDATE"
            found = connection.execute(text(f"SELECT fen FROM usage WHERE member = 'm1'{lock}"))
            use(connection, found.scalar_one() + 1)

    async def many() -> None:
        await asyncio.gather(*(database.run(one_more) for _ in range(60)))

    asyncio.run(many())
    assert used_now(database) == 60


def test_more_work_than_threads_waits_in_line(database: Database) -> None:
    here = threading.Barrier(4)  # all four threads hold a connection at once
    running: set[str] = set()

    def work(number: int) -> int:
        with database.reading() as connection:
            running.add(threading.current_thread().name)
            if number < 4:
                here.wait()
            return used(connection) + number

    async def many() -> list[int]:
        return await asyncio.gather(*(database.run(work, number) for number in range(20)))

    assert asyncio.run(many()) == list(range(20))
    assert len(running) == 4


def test_work_sees_its_callers_context_and_its_exceptions_come_back(database: Database) -> None:
    async def ask() -> str:
        WHO.set("claims")
        return await database.run(WHO.get)

    async def fail() -> None:
        await database.run(int, "x")

    assert asyncio.run(ask()) == "claims"
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(fail())


REWRITES = {
    "update": "UPDATE entry SET fen = 9 WHERE id = 1",
    "update of nothing new": "UPDATE entry SET fen = fen",
    "delete": "DELETE FROM entry WHERE id = 1",
    "delete all": "DELETE FROM entry",
    "upsert": "INSERT INTO entry VALUES (1, 9) ON CONFLICT (id) DO UPDATE SET fen = 9",
}
OF_ONE_KIND = {
    "sqlite": {"replace": "INSERT OR REPLACE INTO entry VALUES (1, 9)"},
    "postgresql": {"truncate": "TRUNCATE entry", "cascade": "TRUNCATE entry CASCADE"},
}


def make_entries(database: Database, *, append_only: bool) -> None:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE entry (id INTEGER PRIMARY KEY, fen BIGINT)"))
        if append_only:
            for statement in append_only_ddl("entry", database.engine.dialect.name):
                connection.exec_driver_sql(statement)
        connection.execute(text("INSERT INTO entry VALUES (1, 100)"))


def rewrites_that_pass(database: Database) -> set[str]:
    passed = set()
    for name, statement in {**REWRITES, **OF_ONE_KIND[database.engine.dialect.name]}.items():
        try:
            with database.writing() as connection:
                connection.execute(text(statement))
                connection.rollback()
            passed.add(name)
        except exc.DBAPIError as refused:
            if "entry is append-only" not in str(refused):
                raise
    return passed


def test_an_append_only_table_takes_rows_and_gives_none_back(database: Database) -> None:
    make_entries(database, append_only=True)
    assert rewrites_that_pass(database) == set()
    with database.writing() as connection:
        connection.execute(text("INSERT INTO entry VALUES (2, 200)"))
    with database.reading() as connection:
        assert connection.execute(text("SELECT id, fen FROM entry ORDER BY id")).all() == [
            (1, 100),
            (2, 200),
        ]


def test_an_ordinary_table_lets_every_rewrite_pass(database: Database) -> None:
    make_entries(database, append_only=False)
    kinds = OF_ONE_KIND[database.engine.dialect.name]
    assert rewrites_that_pass(database) == {*REWRITES, *kinds}


def test_sqlites_defaults_let_replace_delete_an_append_only_row(tmp_path: Path) -> None:
    # The control for recursive triggers: SQLite fires no DELETE trigger for REPLACE by itself.
    raw = sqlite3.connect(tmp_path / "a.db")
    raw.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, fen BIGINT)")
    for statement in append_only_ddl("entry", "sqlite"):
        raw.execute(statement)
    raw.execute("INSERT INTO entry VALUES (1, 100)")
    raw.execute(OF_ONE_KIND["sqlite"]["replace"])
    assert raw.execute("SELECT fen FROM entry").fetchall() == [(9,)]
    raw.close()


def test_every_sqlite_connection_is_durable_and_keeps_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'a.db'}", threads=2)
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    with database.reading() as first, database.reading() as second, database.writing() as third:
        for connection in (first, second, third):
            found = {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in expected}
            assert found == expected
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    database.close()


@pytest.mark.parametrize(("nbytes", "kept"), [(0, True), (8 << 20, False)])
def test_a_connection_that_wrote_large_values_is_not_kept_with_them(
    tmp_path: Path, nbytes: int, kept: bool
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", threads=1)

    def driver_connection(connection: Connection) -> object:
        return connection.connection.driver_connection

    with database.writing() as connection:
        connection.execute(text("CREATE TABLE message (raw BLOB)"))
    with database.writing(nbytes=nbytes) as connection:
        before = driver_connection(connection)
        connection.execute(text("INSERT INTO message VALUES (:raw)"), {"raw": bytes(8 << 20)})
    with database.writing() as connection:
        assert (driver_connection(connection) is before) == kept
        assert connection.execute(text("SELECT length(raw) FROM message")).scalar() == 8 << 20
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_sqlite_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must name a file"):
        Database(url)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="sqlite: or postgresql:"):
        Database("mysql://x/y")


def test_closing_leaves_no_connection(postgres_url: str, postgres_database: str) -> None:
    database = Database(postgres_database, threads=3)
    with database.reading(), database.reading(), database.reading():
        assert database.engine.pool.status()
    database.close()
    server = Database(postgres_url)
    query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
    name = postgres_database.rpartition("/")[2].partition("?")[0]
    left = 1
    while left:  # its processes take a moment to end; if one stays, the run's time limit tells
        with server.reading() as connection:
            left = connection.execute(query, {"name": name}).scalar_one()
    server.close()


def used_by_call(database: Database) -> int:
    """As a handler asks."""
    return asyncio.run(database.run(used_now, database))


def test_a_server_that_is_away_is_told_apart_and_found_again(
    postgres_url: str, postgres_database: str
) -> None:
    name = make_url(postgres_database).database
    database = Database(postgres_database, threads=2)
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE usage (member VARCHAR(20) PRIMARY KEY, fen BIGINT)"))
        connection.execute(text("INSERT INTO usage VALUES ('m1', 7)"))

    def cut() -> None:
        with administration(postgres_url) as server:
            server.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            ends = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :d")
            server.execute(ends, {"d": name})

    def cut_while_reading() -> None:
        with database.reading() as connection:
            cut()
            used(connection)

    with pytest.raises(DatabaseAway) as told:  # a connection that was made is lost
        asyncio.run(database.run(cut_while_reading))
    assert told.value.code is grpc.StatusCode.UNAVAILABLE
    assert told.value.retry_after_s
    assert isinstance(told.value, DATABASE_FAULTS)
    with pytest.raises(DatabaseAway):  # and none is to be had
        used_by_call(database)
    with administration(postgres_url) as server:
        server.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    assert used_by_call(database) == 7
    database.close()


def test_a_server_that_lets_nobody_write_any_more_is_away(
    postgres_url: str, postgres_database: str
) -> None:
    """As after a failover the old one, which is a standby now."""
    name = make_url(postgres_database).database
    database = Database(postgres_database, threads=2)

    def write(what: str = "CREATE TABLE usage (fen BIGINT)") -> None:
        with database.writing() as connection:
            connection.execute(text(what))

    def write_while_reading() -> None:
        with database.reading() as connection:
            connection.execute(text("INSERT INTO usage VALUES (1)"))

    write()
    with pytest.raises(exc.DBAPIError):  # the control: that one is our own mistake
        asyncio.run(database.run(write_while_reading))
    for read_only in ("on", "off"):
        with administration(postgres_url) as server:
            setting = f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}"
            server.execute(text(setting))
        if read_only == "on":
            database.engine.dispose()
            with pytest.raises(DatabaseAway):
                asyncio.run(database.run(write, "INSERT INTO usage VALUES (1)"))
    asyncio.run(database.run(write, "INSERT INTO usage VALUES (1)"))  # by a connection made anew
    database.close()


def test_a_login_that_is_refused_does_not_look_like_a_server_that_is_away(
    postgres_database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log.configure("test", "INFO")
    right = make_url(postgres_database)
    for wrong in (right.set(database="nowhere"), right.set(username="stranger")):
        database = Database(wrong.render_as_string(hide_password=False))
        with pytest.raises(DatabaseAway) as told:
            used_by_call(database)
        assert (told.value.code, told.value.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "DATABASE_REFUSES",
        )
        database.close()
        written = "".join(capfd.readouterr())
        assert "database_refuses" in written
        assert "stranger" not in written + str(told.value)
    database = Database("postgresql://nobody@127.0.0.1:9/nowhere")
    with pytest.raises(DatabaseAway) as away:  # the control: there is no server
        used_by_call(database)
    assert away.value.reason == "DATABASE_UNAVAILABLE"
    database.close()


def test_a_pool_without_a_free_connection_is_away(database: Database) -> None:
    pool: Any = database.engine.pool
    pool._timeout = 0.01
    with ExitStack() as held:
        for _ in range(pool.size()):
            held.enter_context(database.engine.connect())
        with pytest.raises(DatabaseAway):
            used_by_call(database)
    assert used_by_call(database) == 0


def test_a_file_that_another_process_holds_too_long_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 10)
    mine, other = (Database(f"sqlite:///{tmp_path / 'one.db'}", threads=1) for _ in range(2))

    def write() -> None:
        with mine.writing():
            pass

    with other.writing(), pytest.raises(DatabaseAway):
        asyncio.run(mine.run(write))
    asyncio.run(mine.run(write))
    mine.close()
    other.close()


def test_a_quota_that_is_used_up_is_away(database: Database) -> None:
    """SQLite calls it a fault of reading and writing; only a disk without room has its own name."""
    raw = sqlite3.OperationalError("disk I/O error")
    raw.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    def fails() -> None:
        raise exc.OperationalError("INSERT", {}, raw)

    with pytest.raises(DatabaseAway):
        asyncio.run(database.run(fails))


@pytest.mark.parametrize(
    "statement", ["SELECT fen FROM nowhere", "SELECT", "INSERT INTO usage VALUES ('m1', 1)"]
)
def test_our_own_mistake_is_no_database_that_is_away(database: Database, statement: str) -> None:
    def mistaken() -> None:
        with database.writing() as connection:
            connection.execute(text(statement))
            connection.execute(text("INSERT INTO usage VALUES ('m1', 1)"))

    with pytest.raises(exc.DBAPIError):
        asyncio.run(database.run(mistaken))


def test_a_statement_that_is_cancelled_is_no_server_that_is_away(postgres_database: str) -> None:
    """The driver calls it operational as well; what it did wrong, waiting would not mend."""
    database = Database(postgres_database, threads=1)

    def cancelled() -> None:
        with database.reading() as connection:
            connection.execute(text("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"))

    with pytest.raises(exc.OperationalError):
        asyncio.run(database.run(cancelled))
    database.close()
