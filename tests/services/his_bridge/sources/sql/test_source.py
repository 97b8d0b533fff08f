"""A hospital's tables are read whole, once each, and what cannot be read is said aloud."""

from __future__ import annotations

import sqlite3
import tracemalloc
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import make_url, text

from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql import SqlSource
from services.his_bridge.sources.sql.connecting import refuse_larger
from services.his_bridge.sources.sql.cursor import Place
from tests.services.his_bridge.sources.sql.hospital import (
    KINDS,
    LINE,
    TABLES,
    add,
    body,
    build,
    connected,
    insert,
    profile,
    run,
    swept,
    with_source,
)

pytestmark = pytest.mark.both_databases

MIB = 1 << 20


@pytest.fixture
def schema() -> str:
    """The hospital's own database has none of ours."""
    return ""


@pytest.fixture
def url(database_url: str) -> str:
    build(database_url)
    return database_url


def place(cursor: bytes) -> object:
    """A cursor without the time of reading."""
    return msgspec.structs.replace(msgspec.json.decode(cursor, type=Place), stamp_us=0)


def minute(number: int) -> str:
    return f"2026-03-01 {10 + number // 60:02}:{number % 60:02}:00"


def test_every_bill_comes_once_with_its_lines(url: str) -> None:
    with connected(url) as connection:
        for number in range(57):
            add(connection, f"b{number:03}", updated=minute(number // 3))
        insert(connection, "v_line", {**LINE, "bill_no": "b007", "line_no": "2"})
    cursor, records = swept(profile(url))
    assert [record.record_id for record in records] == [f"b{n:03}" for n in range(57)]
    assert [line["line_no"] for line in body(records[7])["lines"]] == ["1", "2"]
    again, repeated = swept(profile(url), cursor)
    assert {(r.record_id, r.version) for r in repeated} <= {
        (r.record_id, r.version) for r in records
    }
    assert len(repeated) < len(records)  # the overlap, and no more
    assert place(again) == place(cursor)


def test_the_first_page_of_a_sweep_says_how_many_follow(url: str) -> None:
    with connected(url) as connection:
        for number in range(57):
            add(connection, f"b{number:03}", updated=minute(number // 3))

    async def lefts(source: SqlSource) -> list[tuple[int, int | None]]:
        found, at, ended = [], None, False
        while not ended:
            page = await source.fetch("Bill", at)
            at, ended = page.cursor, page.swept
            found.append((len(page.records), page.left))
        return found

    found = with_source(profile(url), lefts)
    first, *others = [one for one in found if one[0]]
    assert first[1] == 57 - first[0]
    assert others
    assert {left for _, left in others} == {None}


def test_a_change_is_a_new_version_and_going_back_is_another(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1")
    found = profile(url)
    cursor, (first,) = swept(found)
    run(url, "UPDATE v_bill SET total = '51', updated = '2026-03-01 10:01:00'")
    cursor, (second,) = swept(found, cursor)
    run(url, "UPDATE v_bill SET total = '50.00', updated = '2026-03-01 10:02:00'")
    cursor, (third,) = swept(found, cursor)
    assert len({first.version, second.version, third.version}) == 3
    read_at = [one.updated.timestamp() for one in (first, second, third) if one.updated]
    assert len({*read_at}) == 3  # though our clock stands still
    assert read_at == sorted(read_at)
    assert body(third) == body(first)


def test_the_hospitals_own_version_counts_when_it_has_one(url: str) -> None:
    run(url, "ALTER TABLE v_bill ADD COLUMN ver INTEGER")
    with connected(url) as connection:
        add(connection, "b1", ver=7)
    found = profile(
        url, lambda t: t.replace("updated: updated}", "updated: updated, version: ver}")
    )
    _, (record,) = swept(found)
    assert record.version == "7"
    assert "ver" not in body(record)["head"]


def test_a_late_line_with_its_own_time_brings_the_bill_again(url: str) -> None:
    run(url, "ALTER TABLE v_line ADD COLUMN changed VARCHAR(19)")
    with connected(url) as connection:
        for number in range(30):
            add(connection, f"b{number:03}")
    run(url, "UPDATE v_line SET changed = '2026-03-01 10:00:00'")
    marked = profile(
        url, lambda t: t.replace("order: line_no}", "order: line_no, updated: changed}")
    )
    cursor, records = swept(marked)
    assert {record.record_id for record in records} == {f"b{n:03}" for n in range(30)}
    late = {**LINE, "bill_no": "b003", "line_no": "9", "changed": "2026-03-02 08:00:00"}
    with connected(url) as connection:
        insert(connection, "v_line", late)
    _, again = swept(marked, cursor)
    versions = {record.version for record in records}
    fresh = {record.record_id for record in again if record.version not in versions}
    assert fresh == {"b003"}
    # The control: without a mark of their own, lines that leave the head alone go unseen.
    plain, _ = swept(profile(url))
    with connected(url) as connection:
        insert(connection, "v_line", {**late, "bill_no": "b004"})
        connection.execute(text("DELETE FROM v_line WHERE bill_no = 'b004' AND line_no = '1'"))
        connection.execute(text("UPDATE v_bill SET updated = '2026-02-01 00:00:00'"))
    assert swept(profile(url), plain)[1] == []


def test_a_flat_view_has_a_row_for_each_charge(url: str) -> None:
    with connected(url) as connection:
        for number in range(45):
            add(connection, f"b{number:03}", updated=minute(number))
            insert(connection, "v_line", {**LINE, "bill_no": f"b{number:03}", "line_no": "2"})
        connection.execute(
            text(
                "CREATE VIEW v_flat AS SELECT b.*, l.line_no, l.yb_code, l.item_code, l.item_name,"
                " l.qty, l.price, l.amt, l.charged, l.orig_line"
                " FROM v_bill b JOIN v_line l ON l.bill_no = b.bill_no"
            )
        )

    def flat(text: str) -> str:
        return text.replace("v_bill", "v_flat").replace(
            "  lines: {table: v_line, bill_key: bill_no, order: line_no}\n", ""
        )

    _, records = swept(profile(url, flat))
    assert [record.record_id for record in records] == [f"b{n:03}" for n in range(45)]
    assert {len(body(record)["lines"]) for record in records} == {2}
    assert "line_no" not in body(records[0])["head"]
    totals = with_source(
        profile(url, flat), lambda s: s.reconcile(date(2026, 3, 1), date(2026, 3, 1))
    )
    assert totals[date(2026, 3, 1)].count == 45


def test_rows_that_disagree_on_a_head_are_marked(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1")
        add(connection, "b1", total="99")
        connection.execute(text("DELETE FROM v_line"))
    _, records = swept(profile(url))
    assert [body(record)["head"]["total"] for record in records] == [{"differs": True}]


def test_a_row_from_a_clock_that_runs_ahead_hides_nothing(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1")
        add(connection, "b2", updated="2099-01-01 00:00:00")
    cursor, _ = swept(profile(url))
    with connected(url) as connection:
        add(connection, "b3", updated="2026-05-29 04:27:00")
    _, records = swept(profile(url), cursor)
    assert {record.record_id for record in records} == {"b2", "b3"}


def test_an_orphan_line_waits_for_its_bill(url: str) -> None:
    run(url, "ALTER TABLE v_line ADD COLUMN changed VARCHAR(19)")
    marked = profile(
        url, lambda t: t.replace("order: line_no}", "order: line_no, updated: changed}")
    )
    with connected(url) as connection:
        insert(connection, "v_line", {**LINE, "changed": "2026-03-01 10:00:00"})
    cursor, records = swept(marked)
    assert records == []
    with connected(url) as connection:
        add(connection, "b1", updated="2026-03-01 10:00:01")
    assert {len(body(r)["lines"]) for r in swept(marked, cursor)[1]} == {2}


def test_everything_that_is_missing_is_named_at_once(url: str) -> None:
    run(url, "ALTER TABLE v_bill DROP COLUMN fund; ALTER TABLE v_bill DROP COLUMN diag")
    run(url, "ALTER TABLE v_line RENAME TO v_lines")
    with pytest.raises(SourceFault) as caught:
        swept(profile(url))
    assert caught.value.reason == "SOURCE_SHAPE"
    assert caught.value.retry_after_s is None
    assert caught.value.text == (
        "v_bill has no column fund, diag; there is no table or view v_line, or no right to see it"
    )


def test_a_page_says_how_far_the_marks_are_and_not_when_it_was_read(url: str) -> None:
    with connected(url) as connection:
        for number in range(3):
            add(connection, f"b{number}", updated=minute(number))
    page = with_source(profile(url), lambda s: s.fetch("Bill", None))
    assert page.reached is not None
    there = page.reached.astimezone(ZoneInfo("Asia/Shanghai")).replace(tzinfo=None)
    assert str(there) == minute(2)
    assert {record.seen for record in page.records} == {True}


def test_a_column_that_goes_while_we_read_is_named_at_once(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1")

    async def twice(source: SqlSource) -> None:
        await source.fetch("Bill", None)
        run(url, "ALTER TABLE v_bill DROP COLUMN fund")
        await source.fetch("Bill", None)

    with pytest.raises(SourceFault) as caught:
        with_source(profile(url), twice)
    assert (caught.value.reason, caught.value.text) == (
        "SOURCE_SHAPE",
        "v_bill has no column fund",
    )


def test_binary_floating_point_is_refused_with_the_columns_names(url: str) -> None:
    run(
        url,
        "DROP TABLE v_line; CREATE TABLE v_line (bill_no TEXT, line_no TEXT, yb_code TEXT,"
        "item_code TEXT, item_name TEXT, qty REAL, price DOUBLE PRECISION, amt NUMERIC(9,2),"
        "charged TEXT, orig_line TEXT)",
    )
    with pytest.raises(SourceFault, match="v_line: price, qty holds amounts as binary"):
        swept(profile(url))


def test_a_row_without_its_mark_is_not_lost_in_silence(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1", updated=None)
    with pytest.raises(SourceFault) as caught:
        swept(profile(url))
    assert caught.value.reason == "SOURCE_ROWS_WITHOUT_MARK"


def test_a_mark_that_is_no_time_is_named(url: str) -> None:
    run(url, "ALTER TABLE v_bill ADD COLUMN soon VARCHAR(9)")
    with connected(url) as connection:
        add(connection, "b1", soon="soon")
    with pytest.raises(SourceFault, match="neither a time"):
        swept(profile(url, lambda t: t.replace("updated: updated", "updated: soon")))


def test_a_record_larger_than_the_limit_is_named_and_smaller_pages_go_on(url: str) -> None:
    with connected(url) as connection:
        for number in range(3):
            add(connection, f"b{number}")
        connection.execute(text("UPDATE v_line SET item_name = :n"), {"n": "长" * 400_000})

    def small(text: str) -> str:
        return text.replace("timeout_s: 20", "timeout_s: 20, max_body_mib: 1")

    _, records = swept(profile(url, small))
    assert [record.record_id for record in records] == ["b0", "b1", "b2"]
    assert {len(body(record)["lines"]) for record in records} == {1}
    with connected(url) as connection:
        insert(connection, "v_line", {**LINE, "bill_no": "b1", "item_name": "长" * 700_000})
    with pytest.raises(SourceFault) as caught:
        swept(profile(url, small))
    assert caught.value.reason == "SOURCE_TOO_LARGE"


@pytest.mark.parametrize("column", ["v_line.item_name", "v_bill.diag"])
def test_a_cell_that_is_too_large_is_refused_before_it_is_fetched(url: str, column: str) -> None:
    """Of the columns that may hold any length; of the others the database itself sees to it."""
    table, _, name = column.partition(".")
    many = 6 * MIB
    with connected(url) as connection:
        add(connection, "b1")
        if url.startswith("postgresql"):
            connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {name} TYPE text"))
        connection.execute(text(f"UPDATE {table} SET {name} = :n"), {"n": "x" * many})

    def limited(most: int) -> SourceProfile:
        limits = f"timeout_s: 20, attempts: 1, max_body_mib: {most}"
        return profile(url, lambda text: text.replace("timeout_s: 20", limits))

    assert fetched(limited(1)) < many // 4
    # The control: a limit that lets it through has it fetched.
    loose = limited(12)
    assert fetched(loose) > many


def test_sqlite_does_not_even_read_a_cell_that_is_far_too_large(tmp_path: Path) -> None:
    """It would read a text to count it, in memory that is not Python's."""
    url = f"sqlite:///{tmp_path / 'his.db'}"
    build(url)
    with connected(url) as connection:
        add(connection, "b1")
        add(connection, "b2")
        large = text("UPDATE v_line SET item_name = :n WHERE bill_no = 'b2'")
        connection.execute(large, {"n": "x" * (6 * MIB)})
    counts = "SELECT sum(length(item_name)) FROM v_line"
    with closing(sqlite3.connect(tmp_path / "his.db")) as raw:
        assert raw.execute(counts).fetchone()[0] > 6 * MIB  # the control
        refuse_larger(raw, "sqlite", MIB)
        with pytest.raises(sqlite3.DataError) as refused:
            raw.execute(counts).fetchone()
        assert refused.value.sqlite_errorcode == sqlite3.SQLITE_TOOBIG

    def small(text: str) -> str:
        return text.replace("timeout_s: 20", "timeout_s: 20, max_body_mib: 1")

    async def pages(source: SqlSource) -> tuple[str, ...]:
        page = await source.fetch("Bill", None)
        with pytest.raises(SourceFault) as caught:
            await source.fetch("Bill", page.cursor)
        return (*(record.record_id for record in page.records), caught.value.reason)

    # What comes before it is read, and what stands in the way is named.
    assert with_source(profile(url, small), pages) == ("b1", "SOURCE_TOO_LARGE")


@pytest.mark.parametrize(("column", "indexed"), [("bill_no", False), ("updated", True)])
def test_a_mark_or_key_that_is_far_too_large_is_named_after_what_can_be_read(
    tmp_path: Path, column: str, indexed: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'his.db'}"
    build(url)
    with connected(url) as connection:
        for name in ("b1", "b2", "b3"):
            add(connection, name)
        if indexed:
            connection.execute(text("CREATE INDEX walked ON v_bill (updated, bill_no)"))
        large = f"UPDATE v_bill SET {column} = {column} || :n WHERE bill_no = 'b2'"
        connection.execute(text(large), {"n": "0" * (6 * MIB)})

    def small(text: str) -> str:
        return text.replace("timeout_s: 20", "timeout_s: 20, max_body_mib: 1")

    async def pages(source: SqlSource) -> tuple[list[str], str]:
        found: list[str] = []
        cursor = None
        for _ in range(10):
            try:
                page = await source.fetch("Bill", cursor)
            except SourceFault as fault:
                return found, f"{fault.reason}: {fault}"
            assert not page.swept
            found += [record.record_id for record in page.records]
            cursor = page.cursor
        raise AssertionError("nothing says what stands in the way")

    found, said = with_source(profile(url, small), pages)
    assert found == ["b1", "b3"]
    assert said.startswith("SOURCE_TOO_LARGE: ")
    assert f"in v_bill.{column} alone" in said
    # The control: mended in the view, it is read and the sweep ends.
    with connected(url) as connection:
        mended = f"UPDATE v_bill SET {column} = substr({column}, 1, length({column}) - {6 * MIB})"
        connection.execute(text(f"{mended} WHERE length({column}) > {MIB}"))
    _, records = swept(profile(url, small))
    assert [record.record_id for record in records] == ["b1", "b2", "b3"]


def test_a_line_whose_key_is_far_too_large_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'his.db'}"
    build(url)
    with connected(url) as connection:
        add(connection, "b1")
        add(connection, "b2")
        large = text("UPDATE v_line SET bill_no = bill_no || :n WHERE bill_no = 'b2'")
        connection.execute(large, {"n": "0" * (6 * MIB)})
    with pytest.raises(SourceFault) as refused:
        swept(profile(url, lambda text: text.replace("s: 20", "s: 20, max_body_mib: 1")))
    assert refused.value.reason == "SOURCE_TOO_LARGE"
    assert "in v_line.bill_no alone" in str(refused.value)


def fetched(found: SourceProfile) -> int:
    """The most memory that Python's own objects took meanwhile."""
    tracemalloc.start()
    try:
        with suppress(SourceFault):
            swept(found)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_statement_that_takes_too_long_is_stopped(url: str) -> None:
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000000)"
        " SELECT b.* FROM v_bill b WHERE (SELECT count(*) FROM n) > 0"
    )
    run(url, f"CREATE VIEW v_slow AS {slow}")
    with connected(url) as connection:
        add(connection, "b1")

    def slowly(text: str) -> str:
        return text.replace("v_bill", "v_slow").replace("timeout_s: 20", "timeout_s: 1")

    with pytest.raises(SourceFault) as caught:
        swept(profile(url, slowly))
    assert caught.value.reason == "SOURCE_TOO_SLOW"
    assert caught.value.retry_after_s is not None


def test_nothing_is_ever_written(url: str) -> None:
    async def write(source: SqlSource) -> None:
        with source._reading() as (connection, _):
            connection.execute(text("DELETE FROM v_bill"))

    with pytest.raises(SourceFault):
        with_source(profile(url), write)


def test_a_day_is_reckoned_by_us_and_by_the_database(url: str) -> None:
    with connected(url) as connection:
        add(connection, "b1")
        add(connection, "b2", total="0.05")
        # 00:30 in Shanghai on the 2nd, whatever day it is elsewhere.
        add(connection, "b3", ended="2026-03-02 00:30:00")
        add(connection, "b4", status="9")
        add(connection, "b5", status="2")
        add(connection, "b6")
        add(connection, "b7", status="2", orig_no="b6", total="-50")
        add(connection, "b8", ended=None)
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    found = with_source(profile(url), lambda s: s.reconcile(first, second))
    assert found == {
        first: DayTotals(bills={"Bill/b1": 5_000, "Bill/b2": 5, "Bill/b8": 5_000}),
        second: DayTotals(bills={"Bill/b3": 5_000}),
    }
    assert with_source(profile(url), lambda s: s.reconcile(second, second)) == {
        second: DayTotals(bills={"Bill/b3": 5_000})
    }
    run(url, "DELETE FROM v_bill WHERE bill_no = 'b1'")
    found = with_source(profile(url), lambda s: s.reconcile(first, first))
    assert found == {first: DayTotals(bills={"Bill/b2": 5, "Bill/b8": 5_000})}
    with connected(url) as connection:
        add(connection, "b2", total="1")
    with pytest.raises(SourceFault, match="bill_no repeats"):
        with_source(profile(url), lambda s: s.reconcile(first, first))


@pytest.mark.parametrize(
    "days",
    [
        {"20260301": 1, "20260302": 2},
        {"202603010000": 1, "20260301235959": 1, "20260302": 2},
        {"2026-03-01": 1, "20260301100000": 1, "2026-03-01T23:59:59": 1, "2026-03-02 00:00": 2},
        {"2026-03-02 10:00": 2, "": 1, "20260302": 2},  # without an end that of the beginning
        # What is no time hides no other; its own row waits for a person.
        {"2026-03-02": 2, "pending": None, "9999-12-31 00:00:00": None},
    ],
    ids=lambda days: next(iter(days)),
)
def test_days_are_found_however_a_text_writes_them(url: str, days: Mapping[str, int]) -> None:
    run(url, "ALTER TABLE v_bill ADD COLUMN ended_as_text VARCHAR(19)")
    with connected(url) as connection:
        for number, ended in enumerate(days):
            add(connection, f"b{number}", ended_as_text=ended, begun="2026-03-01 00:00:00")
    found = profile(url, lambda text: text.replace("end: ended", "end: ended_as_text"))

    def on(day: date) -> Mapping[date, DayTotals]:
        return with_source(found, lambda source: source.reconcile(day, day))

    for day in (1, 2):
        wanted = {f"Bill/b{number}" for number, of in enumerate(days.values()) if of == day}
        of_day = date(2026, 3, day)
        assert on(of_day).get(of_day, DayTotals()).ids == wanted


def test_days_that_are_numbers_are_found(url: str) -> None:
    run(url, "ALTER TABLE v_bill ADD COLUMN ended_as_number BIGINT")
    with connected(url) as connection:
        for number, ended in enumerate((20260301, 20260301235959, 20260302, None)):
            add(connection, f"b{number}", ended_as_number=ended, begun="2026-03-01 00:00:00")
    found = profile(url, lambda text: text.replace("end: ended", "end: ended_as_number"))
    first = date(2026, 3, 1)
    totals = with_source(found, lambda s: s.reconcile(first, first))
    assert totals[first].ids == {"Bill/b0", "Bill/b1", "Bill/b3"}


@pytest.mark.parametrize("kind", ["UUID", "INTEGER"])
def test_keys_need_not_be_texts_and_bills_may_have_names_that_no_key_can_have(
    url: str, kind: str
) -> None:
    backend = make_url(url).get_backend_name()
    own = uuid.UUID(int=7) if kind == "UUID" else 7
    key: Any = str(own) if backend == "sqlite" else own
    kinds = {**KINDS[backend], "key": kind if kind == "INTEGER" or key == own else "TEXT"}
    run(url, "DROP TABLE v_bill; DROP TABLE v_line;" + TABLES.format(**kinds))
    run(url, "ALTER TABLE v_line RENAME COLUMN bill_no TO as_text")
    run(url, f"ALTER TABLE v_line ADD COLUMN bill_no {kinds['key']}")
    with connected(url) as connection:
        add(connection, key, orig_no="B-1", status="0")
    _, records = swept(profile(url))
    assert [(record.record_id, len(body(record)["lines"])) for record in records] == [(str(own), 1)]
    again = with_source(profile(url), lambda s: s.fetch_again("Bill", ["B-1"]))
    assert [record.record_id for record in again] == [str(own)]
    day = date(2026, 3, 1)
    totals = with_source(profile(url), lambda s: s.reconcile(day, day))
    assert totals[day].records_of("Bill/B-1") == {f"Bill/{own}"}


def test_records_are_fetched_again_with_what_belongs_to_them(url: str) -> None:
    with connected(url) as connection:
        for number in range(4):
            add(connection, f"b{number}")
        add(connection, "back", status="2", orig_no="b1", total="-50")
    found = with_source(profile(url), lambda s: s.fetch_again("Bill", ["b1", "b3", "gone"]))
    assert sorted(record.record_id for record in found) == ["b1", "b3", "back"]
    assert {len(body(record)["lines"]) for record in found} == {1}


def test_a_kind_without_a_table_is_named(url: str) -> None:
    with pytest.raises(SourceFault, match="for Reading"):
        swept(profile(url), kind="Reading")
