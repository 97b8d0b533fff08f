"""Writers that commit late, roll back, change rows again and have wrong clocks hide nothing.

The schedule is drawn once from a seed and played on open transactions of a real PostgreSQL, so
every run shows the same interleaving; the cursor that one would write first is the control.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, func, make_url, select, text
from sqlalchemy.pool import NullPool

from services.common.database import Database
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.sql import SqlSource
from services.his_bridge.storage import inbox
from services.his_bridge.storage.inbox import Arrived
from services.his_bridge.storage.tables import inbox as inbox_table
from tests.postgres import fresh_database
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.sources.sql.hospital import (
    BILL,
    LINE,
    PATIENCE,
    body,
    build,
    insert,
    profile,
    run,
    with_source,
)

WRITERS, ROWS, MANY_ROWS = 8, 400, 1_200
START = datetime(2026, 3, 1, 8, 0, 0)  # noqa: DTZ001 the hospital's own clock
SKEW_S = 15
# No transaction of the schedule is longer, by the hospital's clock.
LONGEST_S = 60


@pytest.fixture
def schema() -> str:
    return ""


def built(url: str) -> str:
    """The hospital's tables behind a URL of PostgreSQL."""
    build(url)
    run(
        url,
        "ALTER TABLE v_bill ADD COLUMN changed_in xid8 DEFAULT pg_current_xact_id();"
        "CREATE INDEX ON v_bill (updated, bill_no); CREATE INDEX ON v_bill (changed_in, bill_no);"
        "CREATE INDEX ON v_line (bill_no)",
    )
    return url


@contextmanager
def keeping(folder: Path) -> Iterator[Database]:
    """A bridge's own database."""
    found = with_tables(f"sqlite:///{folder / 'bridge.db'}", "services.his_bridge")
    yield found
    found.close()


@dataclass
class Writer:
    """One open transaction of the hospital, with a clock of its own."""

    connection: Connection
    skew_s: int
    since: datetime | None = None
    wrote: dict[str, str] = field(default_factory=dict)


@dataclass
class Hospital:
    """What was committed, by bill, and the hospital's clock."""

    writers: list[Writer]
    draw: random.Random
    now: datetime = START
    made: int = 0
    committed: dict[str, str] = field(default_factory=dict)

    def step(self) -> None:
        """One of the writers does one thing."""
        self.now += timedelta(seconds=1)
        writer = self.draw.choice(self.writers)
        overdue = writer.since is not None and (self.now - writer.since).seconds >= LONGEST_S
        roll = self.draw.random()
        if writer.since is not None and (overdue or roll < 0.2):
            self.end(writer, keep=roll > 0.02)
        elif roll < 0.8:
            self.write(writer)
        else:
            self.change(writer)

    def stamp(self, writer: Writer) -> str:
        return str(self.now + timedelta(seconds=writer.skew_s))

    def write(self, writer: Writer) -> None:
        number = f"b{self.made:05}"
        self.made += 1
        self.begun(writer)
        insert(
            writer.connection, "v_bill", {**BILL, "bill_no": number, "updated": self.stamp(writer)}
        )
        insert(writer.connection, "v_line", {**LINE, "bill_no": number})
        writer.wrote[number] = str(BILL["total"])

    def change(self, writer: Writer) -> None:
        locked = {number for one in self.writers for number in one.wrote}
        free = sorted(self.committed.keys() - locked)
        if not free:
            return
        self.begun(writer)
        number, total = self.draw.choice(free), f"{self.draw.randrange(1, 10_000)}.25"
        writer.connection.execute(
            text(
                "UPDATE v_bill SET total = :t, updated = :u, changed_in = pg_current_xact_id()"
                " WHERE bill_no = :n"
            ),
            {"t": total, "u": self.stamp(writer), "n": number},
        )
        writer.wrote[number] = total

    def begun(self, writer: Writer) -> None:
        writer.since = writer.since or self.now

    def end(self, writer: Writer, *, keep: bool) -> None:
        if keep:
            writer.connection.commit()
            self.committed.update(writer.wrote)
        else:
            writer.connection.rollback()
        writer.since, writer.wrote = None, {}


@contextmanager
def writing_to(url: str) -> Iterator[Hospital]:
    """The hospital whose writers all have a transaction of their own."""
    draw = random.Random(20260301)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with ExitStack() as stack:
        writers = [
            Writer(stack.enter_context(engine.connect()), draw.randint(-SKEW_S, SKEW_S))
            for _ in range(WRITERS)
        ]
        yield Hospital(writers, draw)


def play(hospital: Hospital, look: Callable[[], None], rows: int = ROWS) -> None:
    """The whole schedule, with a look at the tables now and then, and one at the end."""
    while hospital.made < rows:
        hospital.step()
        if hospital.draw.random() < 0.025:
            look()
    for writer in hospital.writers:
        hospital.end(writer, keep=True)
    look()


class Bridge:
    """Sweeps, and keeps what comes as the bridge does."""

    def __init__(self, kept: Database, found: SourceProfile) -> None:
        self._kept = kept
        self._profile = found
        self._cursor: bytes | None = None
        self.last: dict[str, dict[str, Any]] = {}
        self.arrivals = 0

    def look(self) -> None:
        with_source(self._profile, self._sweep, clock=2_000_000_000.0)

    async def _sweep(self, source: SqlSource) -> None:
        keys = subject_keys(self._kept)
        for _ in range(PATIENCE):
            page = await source.fetch("Bill", self._cursor)
            self._cursor = page.cursor
            arrived = [
                Arrived(
                    external_id=f"Bill/{record.record_id}",
                    version=record.version,
                    updated_us=0,
                    raw=record.raw,
                    keep_out=False,
                )
                for record in page.records
            ]
            self.arrivals += len(arrived)
            self.last |= {record.record_id: body(record) for record in page.records}
            with self._kept.writing() as connection:
                stored = inbox.store(
                    connection,
                    keys.sealer(connection),
                    "h",
                    "bills",
                    arrived,
                    currency="CNY",
                    now_us=0,
                )
            assert not stored.conflicts
            if page.swept:
                return
        raise AssertionError("the sweep does not end")

    def rows(self) -> tuple[int, int]:
        """How many rows lie in the inbox, and how many different versions they are."""
        versions = select(inbox_table.c.external_index, inbox_table.c.version).distinct().subquery()
        with self._kept.reading() as connection:
            return (
                connection.execute(select(func.count()).select_from(inbox_table)).scalar_one(),
                connection.execute(select(func.count()).select_from(versions)).scalar_one(),
            )


MODES = {
    "overlap": f"updated: updated}}|overlap_s: {LONGEST_S + 2 * SKEW_S + 60}",
    "transaction in a column": "horizon: changed_in}|overlap_s: 0",
    "transaction of the row": "horizon: row_xmin}|overlap_s: 0",
}


# Shorter than the longest transaction: the control.
SHORT = "updated: updated}|overlap_s: 20"
FIRST_TRIED = ("updated", "changed_in")


def read_by(url: str, mode: str) -> SourceProfile:
    mark, overlap = mode.split("|")
    return profile(
        url,
        lambda t: t.replace("updated: updated}", mark).replace(
            "page_size: 20, overlap_s: 600", f"page_size: 100, {overlap}"
        ),
    )


class FirstTried:
    """The control: whatever is beyond the last mark that it saw."""

    def __init__(self, url: str, column: str) -> None:
        self._engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool
        )
        self._column = column
        self._last: Any = None
        self.seen: set[str] = set()

    def look(self) -> None:
        column, last = self._column, self._last
        condition = "" if last is None else f"WHERE {column} > :last"
        with self._engine.connect() as connection:
            rows = connection.execute(
                text(f"SELECT bill_no, {column} FROM v_bill {condition} ORDER BY {column}"),
                {} if last is None else {"last": last},
            ).all()
        self.seen.update(row[0].strip() for row in rows)
        self._last = rows[-1][1] if rows else last


@dataclass(frozen=True)
class Played:
    """One schedule, at which all looked."""

    hospital: Hospital
    bridges: dict[str, Bridge]
    first_tried: dict[str, FirstTried]


@pytest.fixture(scope="module")
def played(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with ExitStack() as stack:
        url = built(stack.enter_context(fresh_database(postgres_url)))
        bridges = {
            mode: Bridge(
                stack.enter_context(keeping(tmp_path_factory.mktemp("kept"))), read_by(url, mode)
            )
            for mode in (*MODES.values(), SHORT)
        }
        first_tried = {column: FirstTried(url, column) for column in FIRST_TRIED}
        hospital = stack.enter_context(writing_to(url))

        looks = [one.look for one in bridges.values()] + [one.look for one in first_tried.values()]

        def look() -> None:
            for one in looks:
                one()

        play(hospital, look)
        yield Played(hospital, bridges, first_tried)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_no_row_is_missed_and_each_is_kept_once(played: Played, mode: str) -> None:
    none_is_missed(played.hospital, played.bridges[mode], ROWS)


@pytest.mark.fault
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_no_row_of_a_long_schedule_is_missed(
    postgres_database: str, tmp_path: Path, mode: str
) -> None:
    url = built(postgres_database)
    with keeping(tmp_path) as kept, writing_to(url) as hospital:
        bridge = Bridge(kept, read_by(url, mode))
        play(hospital, bridge.look, MANY_ROWS)
        none_is_missed(hospital, bridge, MANY_ROWS)


def none_is_missed(hospital: Hospital, bridge: Bridge, rows: int) -> None:
    assert len(hospital.committed) >= rows * 5 // 6
    seen = {number: found["head"]["total"] for number, found in bridge.last.items()}
    assert {number: float(total) for number, total in seen.items()} == {
        number: float(total) for number, total in hospital.committed.items()
    }
    assert all(len(found["lines"]) == 1 for found in bridge.last.values())
    stored, versions = bridge.rows()
    assert stored == versions >= len(hospital.committed)
    assert bridge.arrivals > stored  # what came again was known


@pytest.mark.parametrize(
    ("column", "missed"), [*zip(FIRST_TRIED, (82, 73), strict=True)], ids=["time", "transaction"]
)
def test_the_cursor_that_one_would_write_first_misses_rows(
    played: Played, column: str, missed: int
) -> None:
    assert len(played.hospital.committed.keys() - played.first_tried[column].seen) == missed


def test_an_overlap_shorter_than_the_longest_transaction_misses_rows(played: Played) -> None:
    assert played.hospital.committed.keys() - played.bridges[SHORT].last.keys()
