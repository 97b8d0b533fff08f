"""From a hospital's tables to bills that the insurer may have, once each, and back to its books."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from services.common.database import Database
from services.his_bridge.core.reconciliation import differences
from services.his_bridge.intake import PullReport
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from services.his_bridge.reconciling import Reconciler
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.sources.sql import SqlSource
from services.his_bridge.storage import lists, showing
from services.his_bridge.wiring import hospital_of
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, record
from tests.services.his_bridge.dialects.yibao.messages import PERSON
from tests.services.his_bridge.dialects.yibao.messages import PROFILE as YIBAO
from tests.services.his_bridge.dialects.yibao.test_messages import STORY
from tests.services.his_bridge.records import TOKEN, tokens
from tests.services.his_bridge.sources.sql.hospital import (
    BILL,
    LINE,
    add,
    build,
    connected,
    insert,
    profile,
    run,
)

FOREVER = 1 << 62
NOW_US = 1_780_000_000_000_000  # half a year before the clock by which rows are seen: set back
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)


@pytest.fixture
def schema() -> str:
    return ""


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Database]:
    found = with_tables(f"sqlite:///{tmp_path / 'bridge.db'}", "services.his_bridge")
    for hospital in ("sql-hospital", "yibao-hospital"):
        record(found, hospital, all_of(TOKEN), now_us=0)
    yield found
    found.close()


def pulled(found: SourceProfile, kept: Database, channel: str = "bills") -> PullReport:
    async def pulling() -> PullReport:
        keys = subject_keys(kept)
        hospital = hospital_of(found, kept, keys, tokens, lambda: NOW_US, INSURER)
        puller = hospital.bills if channel == "bills" else hospital.readings
        assert puller is not None
        assert hospital.source is not None
        try:
            return await puller.pull(5_000, FOREVER)
        finally:
            await hospital.source.close()

    return asyncio.run(pulling())


def released(kept: Database, hospital: str) -> list[tuple[str, int]]:
    """Kind and total of each release."""
    with kept.reading() as connection:
        sealer = subject_keys(kept).sealer(connection)
        page = showing.bills_after(connection, sealer, hospital, INSURER, 0, 9_999, None, NOW_US)
        return [(str(shown.row.kind), shown.bill.total) for shown in page]


def waiting(kept: Database, hospital: str) -> int:
    """How many records wait for a person."""
    with kept.reading() as connection:
        sealer = subject_keys(kept).sealer(connection)
        return len(lists.quarantine_after(connection, sealer, hospital, 0, 9_999))


def difference(found: SourceProfile, kept: Database) -> tuple[object, ...]:
    """How the hospital's books differ from what was released."""

    async def reading() -> Any:
        hospital = hospital_of(found, kept, subject_keys(kept), tokens, lambda: NOW_US, INSURER)
        assert hospital.source is not None
        try:
            return await hospital.source.reconcile(FIRST, LAST)
        finally:
            await hospital.source.close()

    theirs = asyncio.run(reading())
    name = found.terms.hospital
    with kept.reading() as connection:
        sealer = subject_keys(kept).sealer(connection)
        ours = lists.totals_by_day(connection, sealer, name, FIRST, LAST)
    assert ours
    return differences(theirs, ours)


def test_rows_are_released_once_and_agree_with_the_books(database_url: str, kept: Database) -> None:
    build(database_url)
    found = profile(database_url)
    with connected(database_url) as connection:
        for number in range(45):
            add(connection, f"b{number:02}")
        add(connection, "bad", total="49.99")
    report = pulled(found, kept)
    assert (report.received, report.released, report.quarantined) == (46, 45, 1)
    again = pulled(found, kept)
    assert (again.received, again.released) == (0, 0)
    assert [day.missing_here for day in difference(found, kept)] == [{"Bill/bad"}]  # type: ignore[attr-defined]  # a DayDifference

    run(
        database_url,
        "UPDATE v_bill SET total = '50.00', updated = '2026-03-01 11:00:00' WHERE bill_no = 'bad'",
    )
    run(
        database_url,
        "UPDATE v_bill SET status = '2', updated = '2026-03-01 11:00:00' WHERE bill_no = 'b07'",
    )
    with connected(database_url) as connection:
        insert(connection, "v_line", {**LINE, "bill_no": "b09", "line_no": "2"})
        connection.execute(
            text(
                "UPDATE v_bill SET total = '100', updated = '2026-03-01 10:59:00'"
                " WHERE bill_no = 'b09'"
            )
        )
        add(
            connection,
            "back",
            status="2",
            orig_no="b11",
            total="-50",
            updated="2026-03-01 11:00:00",
        )
    pulled(found, kept)
    kinds = released(kept, "sql-hospital")[45:]
    assert sorted(kinds) == [
        ("CORRECTION", 10_000),
        ("FINAL", 5_000),
        ("REVERSAL", 5_000),
        ("REVERSAL", 5_000),
    ]  # fmt: skip - in a row they can be compared
    assert difference(found, kept) == ()

    run(database_url, "DELETE FROM v_bill WHERE bill_no = 'b20'")
    pulled(found, kept)
    assert [day.missing_there for day in difference(found, kept)] == [{"Bill/b20"}]  # type: ignore[attr-defined]  # a DayDifference


def test_what_takes_from_a_bill_stands_when_the_bills_row_is_touched_again(
    database_url: str, kept: Database
) -> None:
    """As most systems do that flag a row when it was taken back."""
    build(database_url)
    found = profile(database_url)
    with connected(database_url) as connection:
        add(connection, "part")
        add(connection, "whole")
    assert pulled(found, kept).released == 2
    back: dict[str, Any] = {"updated": "2026-03-10 10:00:00", "begun": "2026-03-10 09:00:00"}
    back |= {"ended": None, "fund": None}
    with connected(database_url) as connection:
        row = {**BILL, **back, "bill_no": "p-back", "orig_no": "part", "total": "-25.00"}
        insert(connection, "v_bill", row)
        of_line = {"line_no": "9", "qty": "-1", "amt": "-25.00", "orig_line": "1"}
        insert(connection, "v_line", {**LINE, "bill_no": "p-back", **of_line})
        row = {**BILL, **back, "bill_no": "w-back", "orig_no": "whole", "total": "-50.00"}
        insert(connection, "v_bill", {**row, "status": "2"})
    pulled(found, kept)
    told = released(kept, "sql-hospital")
    assert sorted(told[2:]) == [("CORRECTION", 2_500), ("REVERSAL", 5_000)]
    run(database_url, "UPDATE v_bill SET diag = 'E11.90', updated = '2026-03-11 10:00:00'")
    assert pulled(found, kept).received == 4
    assert released(kept, "sql-hospital")[4:] == [("CORRECTION", 2_500)]
    assert difference(found, kept) == ()


def reconciled(
    found: SourceProfile, kept: Database, first: date = FIRST, last: date = LAST
) -> tuple[int, list[tuple[str, str, str]]]:
    """How many bills were fetched again, and what still differs: day, kind and id."""

    async def comparing() -> tuple[int, list[tuple[str, str, str]]]:
        keys = subject_keys(kept)
        hospital = hospital_of(found, kept, keys, tokens, lambda: NOW_US, INSURER)
        assert hospital.source is not None
        try:
            done = await Reconciler(kept, keys, lambda: NOW_US).reconcile(hospital, first, last)
        finally:
            await hospital.source.close()
        named = [(one.day.isoformat(), one.kind, one.external_id) for one in done.differing]
        return done.again, named

    return asyncio.run(comparing())


@pytest.mark.on_postgresql
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
def test_what_changed_without_a_mark_is_found_and_mended_and_what_is_gone_is_named(
    database_url: str, kept: Database, zone: str
) -> None:
    build(database_url)
    found = profile(database_url, lambda text: text.replace("Asia/Shanghai", zone))
    with connected(database_url) as connection:
        for number in range(6):
            add(connection, f"b{number}")
        # Of these days in the hospital's zone, whichever is ours or UTC's.
        add(connection, "late", ended="2026-03-01 23:59:59")
        add(connection, "early", ended="2026-03-02 00:00:01")
        add(connection, "newest", updated="2026-03-05 10:00:00")
    assert pulled(found, kept).released == 9
    assert reconciled(found, kept) == (0, [])
    # Nobody wrote when: no sweep sees any of it.
    run(database_url, "UPDATE v_bill SET total = '25.00' WHERE bill_no = 'b1'")
    run(database_url, "UPDATE v_line SET amt = '25.00', price = '12.50' WHERE bill_no = 'b1'")
    run(database_url, "UPDATE v_bill SET ended = '2026-03-02 00:30:00' WHERE bill_no = 'b2'")
    run(database_url, "UPDATE v_bill SET status = '2' WHERE bill_no = 'b3'")
    run(database_url, "DELETE FROM v_bill WHERE bill_no = 'b4'")
    assert pulled(found, kept).received == 0
    again, differing = reconciled(found, kept)
    assert again == 3
    assert differing == [("2026-03-01", "extra", "Bill/b4")]
    assert sorted(released(kept, "sql-hospital")[9:]) == [
        ("CORRECTION", 2_500),
        ("CORRECTION", 5_000),
        ("REVERSAL", 5_000),
    ]
    # Once more nothing is fetched, and what is gone stays named.
    assert reconciled(found, kept) == (0, differing)
    with connected(database_url) as connection:
        add(connection, "b4")
    assert reconciled(found, kept) == (0, [])


MARCH = [date(2026, 3, day) for day in range(1, 32)]


def row(
    connection: Connection, number: str, day: int, status: str, total: str, **head: Any
) -> None:
    """A row of March with one charge, that has the row's own number."""
    of_day = f"2026-03-{day:02} 10:00:00"
    head = {"updated": of_day, "begun": of_day, "ended": of_day, "fund": None, **head}
    insert(
        connection, "v_bill", {**BILL, "bill_no": number, "status": status, "total": total, **head}
    )
    charge = {"bill_no": number, "line_no": number, "qty": "1", "price": total, "amt": total}
    insert(connection, "v_line", {**LINE, **charge})


def test_a_bill_of_several_rows_is_compared_whole_whatever_days_are_asked_for(
    database_url: str, kept: Database
) -> None:
    build(database_url)
    run(database_url, "ALTER TABLE v_bill ADD COLUMN visit VARCHAR(20)")
    found = profile(
        database_url,
        lambda text: text.replace("{identity: id_no,", "{identity: id_no, bill: visit,").replace(
            '"9": draft', '"9": draft, "5": late'
        ),
    )
    with connected(database_url) as connection:
        row(connection, "a1", 1, "0", "30.00", visit="A")  # interim, stated anew by
        row(connection, "a2", 5, "1", "50.00", visit="A")
        row(connection, "b1", 1, "5", "30.00", visit="B")  # closed without charges: waits
        row(connection, "b2", 5, "5", "20.00", visit="B")
        row(connection, "b3", 6, "1", "50.00", visit="B")
        connection.execute(text("DELETE FROM v_line WHERE bill_no = 'b3'"))
        connection.execute(text("UPDATE v_bill SET total = NULL WHERE bill_no = 'b2'"))
        row(connection, "c1", 2, "0", "30.00", visit="C")  # still open
        row(connection, "d1", 2, "1", "30.00", visit="D", id_no="110101199003070118")  # held
        row(connection, "e1", 2, "1", "30.00", visit="E")
        row(connection, "e2", 20, "5", "30.00", visit="E")
        row(connection, "f1", 3, "1", "30.00", visit="F")
        row(connection, "f2", 9, "2", "-30.00", orig_no="f1", visit="F")  # takes all of it back
        row(connection, "g1", 3, "1", "7.00", visit="G", diag=None)
    report = pulled(found, kept)
    assert (report.released, report.held, report.quarantined) == (3, 1, 1)
    assert reconciled(found, kept) == (0, [])
    for day in MARCH:
        assert reconciled(found, kept, day, day) == (0, [])
    # One of several rows that was written behind the place of the next sweep.
    with connected(database_url) as connection:
        row(connection, "e3", 4, "5", "8.00", visit="E", updated="2026-03-03 10:00:00")
    assert pulled(found, kept).received == 0
    day = date(2026, 3, 20)
    assert reconciled(found, kept, day, day) == (1, [])
    assert released(kept, "sql-hospital")[-1] == ("CORRECTION", 6_800)


def test_a_part_of_a_bill_that_was_taken_back_stays_so_when_its_row_is_touched_again(
    database_url: str, kept: Database
) -> None:
    """As a row that is the whole bill; the part that was not (the control) is billed as it is."""
    build(database_url)
    run(database_url, "ALTER TABLE v_bill ADD COLUMN visit VARCHAR(20)")
    found = profile(
        database_url,
        lambda text: text.replace("{identity: id_no,", "{identity: id_no, bill: visit,"),
    )
    with connected(database_url) as connection:
        for visit in ("A", "B"):
            row(connection, f"{visit}1", 3, "1", "30.00", visit=visit)
        row(connection, "A2", 9, "2", "-30.00", orig_no="A1", visit="A")
    pulled(found, kept)
    before = released(kept, "sql-hospital")
    run(database_url, "UPDATE v_bill SET updated = '2026-03-11 10:00:00', diag = 'E11.90'")
    assert pulled(found, kept).received == 3
    assert (before, released(kept, "sql-hospital")[len(before) :]) == (
        [("FINAL", 3_000)],
        [("CORRECTION", 3_000)],
    )
    assert difference(found, kept) == ()


def test_what_takes_a_refund_back_stands_with_it_when_the_bills_row_is_touched_again(
    database_url: str, kept: Database
) -> None:
    """It names the refund, which names the bill: both come behind the bill's newest row."""
    build(database_url)
    run(database_url, "ALTER TABLE v_bill ADD COLUMN visit VARCHAR(20)")
    found = profile(
        database_url,
        lambda text: text.replace("{identity: id_no,", "{identity: id_no, bill: visit,"),
    )
    with connected(database_url) as connection:
        row(connection, "a", 1, "1", "50.00", visit="A")
        row(connection, "b", 2, "1", "-20.00", visit="A", orig_no="a")
        statement = "UPDATE v_line SET qty = '-0.4', price = '50.00', orig_line = 'a'"
        connection.execute(text(f"{statement} WHERE bill_no = 'b'"))
        row(connection, "c", 3, "1", "20.00", visit="A", orig_no="b")
    assert pulled(found, kept).received == 3
    assert released(kept, "sql-hospital")[-1][1] == 5_000
    touched = "SET updated = '2026-03-11 10:00:00', diag = 'E11.90' WHERE bill_no = 'a'"
    run(database_url, f"UPDATE v_bill {touched}")
    assert pulled(found, kept).received == 1
    assert released(kept, "sql-hospital")[-1] == ("CORRECTION", 5_000)
    assert difference(found, kept) == ()


def test_a_bill_of_several_rows_of_which_one_never_came_is_missing_until_it_is_fetched(
    database_url: str, kept: Database
) -> None:
    build(database_url)
    run(database_url, "ALTER TABLE v_bill ADD COLUMN visit VARCHAR(20)")
    found = profile(
        database_url,
        lambda text: text.replace("{identity: id_no,", "{identity: id_no, bill: visit,").replace(
            '"9": draft', '"9": draft, "5": late'
        ),
    )
    with connected(database_url) as connection:
        row(connection, "a1", 1, "5", "30.00", visit="A")
        row(connection, "z1", 9, "9", "30.00", visit="Z")
    assert pulled(found, kept).released == 0
    with connected(database_url) as connection:
        row(connection, "a2", 1, "1", "30.00", visit="A", updated="2026-03-01 10:00:01")
    assert pulled(found, kept).received == 0
    assert reconciled(found, kept) == (1, [])
    assert released(kept, "sql-hospital") == [("FINAL", 3_000)]


def test_what_takes_from_a_bill_is_compared_on_the_bills_day(
    database_url: str, kept: Database
) -> None:
    build(database_url)
    found = profile(database_url)
    with connected(database_url) as connection:
        row(connection, "a", 1, "1", "50.00")
        row(connection, "b", 1, "1", "50.00")
        row(connection, "a-back", 12, "1", "-20.00", orig_no="a")
        statement = (
            "UPDATE v_line SET qty = '-0.4', price = '50.00', orig_line = 'a' WHERE bill_no ="
        )
        connection.execute(text(f"{statement} 'a-back'"))
        row(connection, "b-back", 12, "2", "-50.00", orig_no="b")
        row(connection, "open", 1, "1", "9.00", ended=None)
    assert pulled(found, kept).released == 2
    for first, last in ((1, 7), (8, 14), (1, 31), (12, 12)):
        days = date(2026, 3, first), date(2026, 3, last)
        assert reconciled(found, kept, *days) == (0, [])
    # A visit that states no end was never looked at before: now it is found when it is gone.
    run(database_url, "DELETE FROM v_bill WHERE bill_no = 'open'")
    assert reconciled(found, kept) == (0, [("2026-03-01", "extra", "Bill/open")])


@pytest.mark.on_postgresql
def test_messages_make_one_bill_whose_persons_are_looked_up(
    database_url: str, kept: Database
) -> None:
    variable = "LIPEI_HIS_BRIDGE_SQL_URL_YIBAO_HOSPITAL"
    found = parse_profile(
        YIBAO + "pull: {page_size: 2}\n", "yibao-hospital.yaml", {variable: database_url}
    )
    run(
        database_url,
        "CREATE TABLE message (id INTEGER, updated VARCHAR(19), req TEXT, res TEXT);"
        "CREATE TABLE person (psn_no VARCHAR(30), psn_cert_type TEXT, certno TEXT, psn_name TEXT)",
    )
    with connected(database_url) as connection:
        insert(connection, "person", {"psn_no": "p1", **PERSON})
        # Written down late, and not in their order.
        for number, said in enumerate(reversed(STORY)):
            request = {key: said[key] for key in said if key not in ("infcode", "output")}
            answer = {key: said[key] for key in ("infcode", "output") if key in said}
            row = {"id": number, "updated": f"2026-03-0{1 + number} 00:00:00"}
            texts = {"req": json.dumps(request), "res": json.dumps(answer)}
            insert(connection, "message", {**row, **texts})
    report = pulled(found, kept)
    assert report.received == len(STORY)
    assert waiting(kept, "yibao-hospital") == 0  # a settlement that came before its charges waited
    assert released(kept, "yibao-hospital")[-1][1] == 12_500
    assert difference(found, kept) == ()
    assert pulled(found, kept).received == 0
    again = asyncio.run(fetched_again(found, ["v1"]))
    assert len(again) == len(STORY)


def test_messages_of_a_patient_without_consent_wait_and_are_not_missing(
    database_url: str, kept: Database
) -> None:
    variable = "LIPEI_HIS_BRIDGE_SQL_URL_YIBAO_HOSPITAL"
    found = parse_profile(YIBAO, "yibao-hospital.yaml", {variable: database_url})
    run(
        database_url,
        "CREATE TABLE message (id INTEGER, updated VARCHAR(19), req TEXT, res TEXT);"
        "CREATE TABLE person (psn_no VARCHAR(30), psn_cert_type TEXT, certno TEXT, psn_name TEXT)",
    )
    another = "110101199003070118"

    def add_message(connection: Connection, number: int) -> None:
        said = json.loads(json.dumps(STORY[number]).replace(PERSON["certno"], another))
        request = {key: said[key] for key in said if key not in ("infcode", "output")}
        answer = {key: said[key] for key in ("infcode", "output") if key in said}
        texts = {"req": json.dumps(request), "res": json.dumps(answer)}
        insert(connection, "message", {"id": number, "updated": "2026-03-01 00:00:00", **texts})

    with connected(database_url) as connection:
        insert(connection, "person", {"psn_no": "p1", **PERSON, "certno": another})
        for number in range(1, len(STORY)):
            add_message(connection, number)
        connection.execute(text("UPDATE message SET updated = '2026-03-09 00:00:00' WHERE id = 2"))
    pulled(found, kept)
    assert reconciled(found, kept) == (0, [])
    with connected(database_url) as connection:
        add_message(connection, 0)  # late: no sweep sees it
    assert pulled(found, kept).received == 0
    assert reconciled(found, kept) == (1, [])


async def fetched_again(found: SourceProfile, bills: list[str]) -> tuple[RawRecord, ...]:
    source = SqlSource(found)
    try:
        return await source.fetch_again("Message", bills)
    finally:
        await source.close()


READINGS = """
readings:
  categories: {lab: laboratory}
  codes:
    - {loinc: 4548-4, units: ["%"]}
"""


@pytest.mark.both_databases
def test_results_of_a_laboratory_are_released_as_readings(
    database_url: str, kept: Database
) -> None:
    build(database_url)
    run(
        database_url,
        "CREATE TABLE v_result (result_no VARCHAR(20), updated VARCHAR(19), id_no VARCHAR(18),"
        " item VARCHAR(20), val VARCHAR(20), unit VARCHAR(20), taken VARCHAR(19), st CHAR(1))",
    )

    def change(text: str) -> str:
        table = "  readings: {table: v_result, key: result_no, updated: updated}\n"
        columns = (
            "  reading:\n    {identity: id_no, code: item, value: val, unit: unit, time: taken,"
            " status: st}\n"
        )
        text = text.replace("  lines: {table", table + "  lines: {table")
        return text.replace("  systems: {", columns + "  systems: {") + READINGS

    found = profile(database_url, change)
    row = {
        "result_no": "r1",
        "updated": "2026-03-01 10:00:00",
        "id_no": "11010119900307002X",
        "item": "4548-4",
        "val": "7.2",
        "unit": "%",
        "taken": "2026-03-01 08:00:00",
        "st": "1",
    }  # fmt: skip - a row of a table
    with connected(database_url) as connection:
        insert(connection, "v_result", row)
        insert(connection, "v_result", {**row, "result_no": "r2", "item": "2160-0"})
        insert(connection, "v_result", {**row, "result_no": "r3", "val": "high"})
        insert(
            connection, "v_result", {**row, "result_no": "r4", "unit": "mmol/mol", "taken": None}
        )
    report = pulled(found, kept, "readings")
    assert (report.received, report.released, report.quarantined, report.filtered) == (3, 1, 2, 1)
    run(
        database_url,
        "UPDATE v_result SET st = '2', updated = '2026-03-01 11:00:00' WHERE result_no = 'r1'",
    )
    assert pulled(found, kept, "readings").released == 1
