"""Whatever stands in a hospital's tables, the pull or the record says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.services.his_bridge.dialects.yibao.messages import PROFILE as YIBAO_PROFILE
from tests.services.his_bridge.dialects.yibao.test_messages import STORY
from tests.services.his_bridge.hostile.attacked import MIB, Attacked, attacked
from tests.services.his_bridge.sources.sql.hospital import (
    BILL,
    LINE,
    PROFILE,
    build,
    connected,
    insert,
    run,
)

VARIABLE = "LIPEI_HIS_BRIDGE_SQL_URL_DEMO_HOSPITAL"
# Of the bill and of its line; what SQLite puts into a column of any type.
Change = tuple[Mapping[str, Any], Mapping[str, Any]]
ROWS: dict[str, tuple[Change, str, str]] = {
    "a text of 7 MiB": (({}, {"item_name": "x" * (7 * MIB)}), "SOURCE_TOO_LARGE", ""),
    "a text of 4.5 MiB": (({}, {"item_name": "x" * (9 * MIB // 2)}), "", "RECORD_TOO_LARGE"),
    "bytes in a text": (({"pat_name": b"\x81\xff" * 1000}, {}), "", "NOT_IN_CHARSET"),
    "an infinite amount": (({"total": float("inf")}, {}), "", "NUMBER_MALFORMED"),
    "an amount of 1e400": (({"total": "1e400"}, {}), "", "NUMBER_MALFORMED"),
    "an amount of NaN": (({"total": "NaN"}, {}), "", "NUMBER_MALFORMED"),
    "an amount of a million digits": (({"total": "9" * MIB}, {}), "", "NUMBER_MALFORMED"),
    "a quantity that is bytes": (({}, {"qty": b"\x00"}), "", "NUMBER_MALFORMED"),
    "a day that is none": (({"begun": "2026-02-30"}, {}), "", "TIME_IMPOSSIBLE"),
    "nothing at all": (
        ({"id_no": None, "begun": None, "ended": None, "total": None, "visit_type": None}, {}),
        "",
        "IDENTITY_MISSING",
    ),
}


@pytest.fixture
def rows(tmp_path: Any) -> Iterator[tuple[Attacked, str]]:
    url = f"sqlite:///{tmp_path / 'hospital.db'}"
    build(url)
    with connected(url) as connection:
        insert(connection, "v_bill", BILL)
        insert(connection, "v_line", LINE)
    text = PROFILE.replace("sql-hospital", "demo-hospital")
    with attacked(tmp_path, text, **{VARIABLE: url}) as bridge:
        bridge.good()
        yield bridge, url


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_no_good_hospital_has(rows: tuple[Attacked, str], what: str) -> None:
    bridge, url = rows
    (bill, line), failure, reason = ROWS[what]
    later = {"bill_no": "b2", "updated": "2026-03-01 10:05:00"}
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, **later, **bill})
        insert(connection, "v_line", {**LINE, "bill_no": "b2", **line})
    said, reasons = bridge.attack()
    assert (said, reason if reason in reasons else " ".join(reasons)) == (failure, reason)
    # A mended row goes on.
    run(url, "DELETE FROM v_bill WHERE bill_no = 'b2'; DELETE FROM v_line WHERE bill_no = 'b2'")
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, "bill_no": "b3", "updated": "2026-03-01 10:06:00"})
        insert(connection, "v_line", {**LINE, "bill_no": "b3"})
    bridge.good()


def test_a_bill_of_rows_without_end(rows: tuple[Attacked, str]) -> None:
    bridge, url = rows
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, "bill_no": "b2", "updated": "2026-03-01 10:05:00"})
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
    columns = ", ".join(LINE)
    values = ", ".join("'b2'" if name == "bill_no" else name for name in LINE)
    run(url, f"INSERT INTO v_line ({columns}) {numbers} SELECT {values} FROM v_line, n")
    assert bridge.attack() == ("SOURCE_TOO_LARGE", {})


GOOD = json.dumps(STORY[0], ensure_ascii=False)
MESSAGES: dict[str, tuple[object, str, str]] = {
    "a message of 10 MiB": (
        GOOD[:-1] + ', "x": "' + "x" * (10 * MIB) + '"}',
        "SOURCE_TOO_LARGE",
        "",
    ),
    "deep JSON": (GOOD[:-1] + ', "x": ' + "[" * 9_000 + "]" * 9_000 + "}", "", "TOO_DEEP"),
    "a key twice": (GOOD[:-1] + ', "infno": "2204"}', "", "DUPLICATE_KEY"),
    "NaN": (GOOD[:-1] + ', "x": NaN}', "", "NOT_A_NUMBER"),
    "no JSON": ('<?xml version="1.0"?><!DOCTYPE a><a/>', "", "NOT_JSON"),
    "another charset": (b"\xff\xfe" + GOOD.encode(), "", "NOT_JSON"),
    "nothing": (None, "", "NOT_JSON"),
    "a number": (5, "", "NOT_JSON"),
}


@pytest.fixture
def messages(tmp_path: Any) -> Iterator[tuple[Attacked, str]]:
    url = f"sqlite:///{tmp_path / 'hospital.db'}"
    run(url, "CREATE TABLE message (id TEXT, updated TEXT, req TEXT, res TEXT)")
    run(url, "CREATE TABLE person (psn_no TEXT)")
    text = YIBAO_PROFILE.replace("yibao-hospital", "demo-hospital")
    text = text.replace("\n  persons: {table: person, key: psn_no}", "")
    text = text.replace("request: req, response: res", "message: req")
    with attacked(tmp_path, text, **{VARIABLE: url}) as bridge:
        bridge.good(bills=0)
        yield bridge, url


@pytest.mark.parametrize("what", MESSAGES)
def test_messages_that_no_good_hospital_has(messages: tuple[Attacked, str], what: str) -> None:
    bridge, url = messages
    content, failure, reason = MESSAGES[what]
    with connected(url) as connection:
        row = {"id": "m1", "updated": "2026-03-01 10:05:00", "req": content, "res": None}
        insert(connection, "message", row)
    said, reasons = bridge.attack()
    assert (said, reason if reason in reasons else " ".join(reasons)) == (failure, reason)


def test_messages_in_a_column_of_bytes_are_read(messages: tuple[Attacked, str]) -> None:
    """Each of a story; a bridge that passed over them would say that there is nothing."""
    bridge, url = messages
    with connected(url) as connection:
        for number, said in enumerate(STORY[:3]):
            content = json.dumps({"request": json.dumps(said), "response": None}).encode()
            row = {"id": f"m{number}", "updated": f"2026-03-01 10:0{number}:00"}
            insert(connection, "message", {**row, "req": content, "res": None})
    said_why, reasons = bridge.attack()
    assert said_why == ""
    assert reasons
