"""One database per service, SQLite or PostgreSQL, behind one door. Knows no table.

Every write transaction on SQLite opens with BEGIN IMMEDIATE, and here is the only place that says
so: with a plain BEGIN three writers lost updates or were refused as locked.
Any other transaction cannot write, on either database.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from contextvars import copy_context
from importlib import resources
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import grpc
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Integer,
    MetaData,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from services.common.log import logger
from services.common.refusals import Refused
from services.common.settings import UnknownSetting

P = ParamSpec("P")
R = TypeVar("R")

BUSY_TIMEOUT_MS = 5_000
# What it means when a database cannot be used; their texts may hold its URL.
DATABASE_FAULTS = (SQLAlchemyError,)
# SQLite's driver keeps what a statement was last given until the connection runs it again. Eight
# connections would each keep a message of 10 MiB; one that wrote more than this is not kept.
_MOST_BYTES_KEPT = 1 << 20
# An erasure waits so long for somebody who reads, then the scrubbing is owed, and so seldom tried.
_SCRUB_ATTEMPTS, _SCRUB_BUSY_MS, _SCRUB_PAUSE_S, _SCRUB_AGAIN_S = 20, 100, 0.02, 1.0
_MIGRATION_LOCK = 0x6C697065  # "lipe": the advisory lock under which PostgreSQL migrates
_WRITES = "lipei_writes"
# Of PostgreSQL, by SQLSTATE: it cannot be reached, is at the end of its means, or goes or comes.
_AWAY_STATES = ("08", "53", "57P")
# Once it is a standby it lets nobody write, whoever has taken over from it.
_READ_ONLY_STATE = "25006"
# Before a login succeeded there is no SQLSTATE, and texts alone tell. Servers may speak Chinese.
_REFUSES = re.compile(
    "authentication|认证|pg_hba|permitted to log in|no password|does not exist|不存在"
)
# Of SQLite: another process holds it too long, the file is out of reach, or the disk is full, of
# which it hears as a fault of reading and writing where a quota or the log's index is the matter.
_AWAY_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)
_NO_ANSWER = "the database does not answer; wait and repeat, with the same request_id"
_NO_PLACE = (
    "the database refuses the service's login, or there is none of that name; have the service's "
    "operator look at its setting, and repeat with the same request_id"
)
# Below a second workflows take their own growing pause instead: they do not poll it for ever.
_RETRY_S = 0.5

# SQLite numbers rows by itself only under the type INTEGER.
SERIAL = BigInteger().with_variant(Integer, "sqlite")


def named_metadata() -> MetaData:
    """Metadata of one service's tables: both databases know every constraint by the same name."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UnknownSchema(RuntimeError):
    """The database was migrated by a newer program than this one."""


class CannotMigrate(UnknownSchema):
    """The database has rows that the new schema cannot carry over; nothing is changed."""


class DatabaseAway(Refused, SQLAlchemyError):  # type: ignore[misc]  # its `code` is the refusal's
    """The database does not answer now: nothing is half done, and the same call may succeed later.

    Both a refusal, so that a call is answered with it, and one of DATABASE_FAULTS.
    """

    def __init__(self, *, refuses: bool = False) -> None:
        """`refuses` where it answers, and has no place for us: waiting alone mends nothing."""
        reason = "DATABASE_REFUSES" if refuses else "DATABASE_UNAVAILABLE"
        text = _NO_PLACE if refuses else _NO_ANSWER
        super().__init__(grpc.StatusCode.UNAVAILABLE, reason, text, retry_after_s=_RETRY_S)

    def __str__(self) -> str:
        return self.text


def is_away(fault: BaseException) -> bool:
    """Whether a fault is the database's, which is away, out of reach or too busy, and not ours."""
    if isinstance(fault, NoConnectionFree | DatabaseAway):
        return True
    if not isinstance(fault, DBAPIError):
        return False
    if fault.connection_invalidated:
        return True
    raw: Any = fault.orig
    if isinstance(raw, sqlite3.Error):
        return (getattr(raw, "sqlite_errorcode", 0) & 0xFF) in _AWAY_CODES
    if not isinstance(fault, OperationalError | InterfaceError):
        return False
    state = getattr(raw, "sqlstate", None)  # a connection that was never made has none
    return state is None or str(state).startswith(_AWAY_STATES)


def _refuses(fault: SQLAlchemyError) -> bool:
    """Whether a connection was refused that was never made: by a password, a role, a name."""
    if not isinstance(fault, OperationalError) or fault.connection_invalidated:
        return False
    raw: Any = fault.orig
    of_a_server = hasattr(raw, "sqlstate") and raw.sqlstate is None
    return of_a_server and bool(_REFUSES.search(str(raw)))


def _is_read_only(fault: DBAPIError) -> bool:
    return getattr(fault.orig, "sqlstate", None) == _READ_ONLY_STATE


class Database:
    """Connections, transactions and a bounded thread pool for one database.

    No method blocks the event loop but `writing` and `reading`, which belong inside `run`.
    """

    def __init__(
        self, url: str, *, threads: int = 8, driver: type[sqlite3.Connection] | None = None
    ) -> None:
        """`driver` takes the place of SQLite's own connections; PostgreSQL has no such place.

        Raises: UnknownSetting for a URL that cannot be used, or a driver where there is no place.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            self.engine = _sqlite(parsed, threads, driver or sqlite3.Connection)
        elif driver is not None:
            raise UnknownSetting("LIPEI_COUNT_READS counts on SQLite only; unset it")
        elif parsed.get_backend_name() == "postgresql":
            self.engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=threads + 1,
                max_overflow=0,
                pool_pre_ping=True,
                hide_parameters=True,
            )
        else:
            raise UnknownSetting("the database URL must begin with sqlite: or postgresql:")
        self._reading_options: dict[str, Any] = (
            {}
            if self.is_sqlite
            else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="database")
        # SQLite has one writer. Threads of one process take turns here, fairly and at once,
        # instead of polling its lock with ever longer sleeps; other processes still poll.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        self._here = threading.local()
        # What an earlier process overwrote and could not scrub any more is scrubbed now.
        self._owes_scrub = self.is_sqlite and not self._log_emptied()
        self._scrub_again_at_s = 0.0

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, which has one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def writing(self, *, dry_run: bool = False, nbytes: int = 0) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back on any exception or a dry run.

        `nbytes` is about how many bytes of values it writes, where they may be many.

        Raises: RuntimeError inside another one of this thread, which would wait for it for ever;
        DatabaseAway when the server lets nobody write, as one that is a standby now.
        """
        if getattr(self._here, "writing", False):
            raise RuntimeError("a write transaction is open in this thread; pass its connection on")
        with self._writer, self.engine.connect() as plain:
            self._here.writing = True
            try:
                connection = plain.execution_options(**{_WRITES: True})
                with connection.begin() as transaction:
                    yield connection
                    if dry_run:
                        transaction.rollback()
            except DBAPIError as fault:
                if not _is_read_only(fault):
                    raise
                plain.invalidate()
                self.engine.dispose()  # the next connection is to whichever server took over
                raise DatabaseAway from None
            finally:
                self._here.writing = False
                if nbytes > _MOST_BYTES_KEPT and self.is_sqlite:
                    plain.invalidate()
        if self._owes_scrub and time.monotonic() >= self._scrub_again_at_s:
            self._pay_scrub(1)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state throughout and is never committed."""
        with self.engine.connect() as plain:
            connection = plain.execution_options(**self._reading_options)
            with connection.begin() as transaction:
                yield connection
                transaction.rollback()

    def scrub(self, name: str) -> bool:
        """Take what was overwritten in a table, given by name, out of the database's files.

        On SQLite freed bytes are zeroed at once (secure_delete) and this empties the write-ahead
        log. While somebody reads an older state (a backup, a shell) that cannot be done: it is
        tried for some seconds, and then owed, which the answer False and a line of the log say;
        every write and the next start try again. On PostgreSQL it vacuums the table. Backups, and
        PostgreSQL's own log until it is recycled, keep what they have.
        """
        if self.is_sqlite:
            return self._pay_scrub(1 if self._owes_scrub else _SCRUB_ATTEMPTS)
        raw = self.engine.raw_connection()
        try:
            driver: Any = raw.driver_connection
            driver.autocommit = True
            driver.execute(f"VACUUM {name}").close()
            driver.autocommit = False
        finally:
            raw.close()
        return True

    def _pay_scrub(self, attempts: int) -> bool:
        done = self._log_emptied()
        while not done and attempts > 1:
            attempts -= 1
            time.sleep(_SCRUB_PAUSE_S)  # writers want their turn
            done = self._log_emptied()
        if done and self._owes_scrub:
            logger().info("scrub_done")
        elif not done and not self._owes_scrub:
            logger().warning("scrub_owed")
        self._owes_scrub = not done
        self._scrub_again_at_s = time.monotonic() + _SCRUB_AGAIN_S
        return done

    def _log_emptied(self) -> bool:
        """Empty SQLite's write-ahead log, unless somebody reads what stands only there."""
        # Not the usual time-out: nobody can write meanwhile. Writers of this process wait in line.
        with self._writer:
            raw = self.engine.raw_connection()
            cursor: Any = raw.cursor()
            try:
                cursor.execute(f"PRAGMA busy_timeout={_SCRUB_BUSY_MS}")
                (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:  # no reason to tell a writer that its write failed
                busy = True
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
                cursor.close()
                raw.close()
        return not busy

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do blocking work in the bounded pool. More than `threads` calls wait in line.

        Raises: whatever the work raises; DatabaseAway when it is the database that does not answer.
        """
        loop = asyncio.get_running_loop()
        context = copy_context()  # a thread's log lines name the service as well
        try:
            return await loop.run_in_executor(
                self._pool, lambda: context.run(work, *args, **kwargs)
            )
        except SQLAlchemyError as fault:
            if not is_away(fault):
                raise
            refuses = _refuses(fault)
            if refuses:
                logger().error("database_refuses", fault=type(fault).__name__)
            else:
                logger().warning("database_away", fault=type(fault).__name__)
            raise DatabaseAway(refuses=refuses) from None  # its text may hold the URL

    def close(self) -> None:
        """Wait for running work and drop all connections."""
        self._pool.shutdown(wait=True)
        self.engine.dispose()


def is_writing(connection: Connection) -> bool:
    """Whether the connection's transaction is one of `Database.writing`."""
    return bool(connection.get_execution_options().get(_WRITES))


def _sqlite(url: URL, threads: int, driver: type[sqlite3.Connection]) -> Engine:
    if not url.database or url.database.startswith((":", "file:")):
        raise UnknownSetting("a SQLite database URL must name a file: sqlite:///path")
    _prepare_file(url.database)
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=threads + 1,
        max_overflow=0,
        connect_args={
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "check_same_thread": False,
            "factory": driver,
        },
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def on_connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # the driver must not open transactions of its own
        cursor = raw.cursor()
        # FULL: an acknowledged payment survives a power cut, at 1.5 ms a commit.
        # Without recursive triggers, INSERT OR REPLACE deletes past an append-only table's trigger.
        # Without secure_delete a destroyed key would stay readable in a freed page.
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "recursive_triggers=ON",
            "secure_delete=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare_file(path: str) -> None:
    Path(path).absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Two processes that switch a fresh file to WAL at once: one is told "locked", whatever its
    # timeout. So they take turns.
    with _file_lock(path), closing(sqlite3.connect(path, BUSY_TIMEOUT_MS / 1000)) as raw:
        (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise RuntimeError("SQLite cannot keep a write-ahead log there; use a local disk")


@contextmanager
def _file_lock(path: str) -> Iterator[None]:
    with Path(f"{path}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def migrate(database: Database, package: str) -> None:
    """Bring the schema to the newest revision of `{package}/migrations`, under a lock.

    Two processes that start at once migrate once.

    Raises: UnknownSchema when the database is ahead of this program; nothing is changed then.
    """
    with resources.as_file(resources.files(package) / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        scripts = ScriptDirectory.from_config(config)
        # SQLite's own lock would give up on a long migration after the busy timeout.
        path = database.engine.url.database if database.is_sqlite else None
        turn = _file_lock(path) if path else nullcontext()
        with turn, database.writing() as connection:
            if not database.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            _upgrade(connection, config, scripts)


def _upgrade(connection: Connection, config: Config, scripts: ScriptDirectory) -> None:
    def revisions(current: Any, _context: Any) -> Any:
        try:
            return scripts._upgrade_revs("head", current)  # noqa: SLF001 - what alembic's own command calls
        except CommandError:
            raise UnknownSchema(
                "the database has a schema that this version of lipei does not know; "
                "start the version that migrated it, or a newer one"
            ) from None

    with EnvironmentContext(config, scripts, fn=revisions) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def take_turns(connection: Connection, what: str, *, shared: bool = False) -> None:
    """Let one transaction at a time do this, until it ends; SQLite has one writer anyway.

    Those that take it `shared` go together, and none of them beside one that does not.
    """
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        connection.execute(select(lock(key)))


def refuse_rows(connection: Connection, names: Iterable[str]) -> None:
    """What a migration calls whose new tables cannot take the old ones' rows over.

    Raises: CannotMigrate naming each table that has any.
    """
    full = [
        name
        for name in names
        if connection.execute(select(literal(1)).select_from(table(name)).limit(1)).first()
    ]
    if full:
        raise CannotMigrate(
            f"{', '.join(full)}: rows of an older version that cannot be carried over; "
            "start with a new database"
        )


def append_only_ddl(table: str, dialect: str) -> list[str]:
    """Statements that make a table refuse UPDATE and DELETE, for SQLite or PostgreSQL."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    refuse = f"{table}_append_only"
    return [
        (
            f"CREATE OR REPLACE FUNCTION {refuse}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
        ),
        (
            f"CREATE TRIGGER {refuse} BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {refuse}()"
        ),
        (
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {refuse}()"
        ),
    ]
