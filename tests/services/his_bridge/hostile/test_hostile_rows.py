"""Whatever stands in a hospital's tables, the pull or the record says what is wrong with it."""

from __future__ import annotations

import itertools
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


# What a test adds, the bridges of this file have not seen before.
NUMBERS = itertools.count(2)


def identified() -> tuple[str, str]:
    """A number that nobody has had, and a time after all times before."""
    number = next(NUMBERS)
    return f"b{number}", f"2026-03-01 {11 + number // 60}:{number % 60:02}:00"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, str]]:
    folder = tmp_path_factory.mktemp("rows")
    url = f"sqlite:///{folder / 'hospital.db'}"
    build(url)
    with connected(url) as connection:
        insert(connection, "v_bill", BILL)
        insert(connection, "v_line", LINE)
    text = PROFILE.replace("sql-hospital", "demo-hospital")
    with attacked(folder, text, **{VARIABLE: url}) as bridge:
        bridge.good()
        yield bridge, url


def take_away(url: str, name: str) -> None:
    tables = ("v_bill", "v_line")
    run(url, "; ".join(f"DELETE FROM {table} WHERE bill_no = '{name}'" for table in tables))


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_no_good_hospital_has(rows: tuple[Attacked, str], what: str) -> None:
    bridge, url = rows
    (bill, line), failure, reason = ROWS[what]
    name, later = identified()
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, "bill_no": name, "updated": later, **bill})
        insert(connection, "v_line", {**LINE, "bill_no": name, **line})
    said, reasons = bridge.attack()
    assert (said, reason if reason in reasons else " ".join(reasons)) == (failure, reason)
    # A mended row goes on.
    take_away(url, name)
    name, later = identified()
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, "bill_no": name, "updated": later})
        insert(connection, "v_line", {**LINE, "bill_no": name})
    bridge.good()


def test_a_bill_of_rows_without_end(rows: tuple[Attacked, str]) -> None:
    bridge, url = rows
    name, later = identified()
    with connected(url) as connection:
        insert(connection, "v_bill", {**BILL, "bill_no": name, "updated": later})
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
    columns = ", ".join(LINE)
    values = ", ".join(f"'{name}'" if column == "bill_no" else column for column in LINE)
    one = f"(SELECT * FROM v_line WHERE bill_no = '{BILL['bill_no']}')"
    run(url, f"INSERT INTO v_line ({columns}) {numbers} SELECT {values} FROM {one}, n")
    said = bridge.attack()
    take_away(url, name)
    assert said == ("SOURCE_TOO_LARGE", {})


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


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, str]]:
    folder = tmp_path_factory.mktemp("messages")
    url = f"sqlite:///{folder / 'hospital.db'}"
    run(url, "CREATE TABLE message (id TEXT, updated TEXT, req TEXT, res TEXT)")
    run(url, "CREATE TABLE person (psn_no TEXT)")
    text = YIBAO_PROFILE.replace("yibao-hospital", "demo-hospital")
    text = text.replace("\n  persons: {table: person, key: psn_no}", "")
    text = text.replace("request: req, response: res", "message: req")
    with attacked(folder, text, **{VARIABLE: url}) as bridge:
        bridge.good(bills=0)
        yield bridge, url


@pytest.mark.parametrize("what", MESSAGES)
def test_messages_that_no_good_hospital_has(messages: tuple[Attacked, str], what: str) -> None:
    bridge, url = messages
    content, failure, reason = MESSAGES[what]
    name, later = identified()
    with connected(url) as connection:
        row = {"id": name, "updated": later, "req": content, "res": None}
        insert(connection, "message", row)
    said, reasons = bridge.attack()
    run(url, f"DELETE FROM message WHERE id = '{name}'")
    assert (said, reason if reason in reasons else " ".join(reasons)) == (failure, reason)


def test_messages_in_a_column_of_bytes_are_read(messages: tuple[Attacked, str]) -> None:
    """Each of a story; a bridge that passed over them would say that there is nothing."""
    bridge, url = messages
    with connected(url) as connection:
        for said in STORY[:3]:
            content = json.dumps({"request": json.dumps(said), "response": None}).encode()
            name, later = identified()
            row = {"id": name, "updated": later, "req": content, "res": None}
            insert(connection, "message", row)
    said_why, reasons = bridge.attack()
    assert said_why == ""
    assert reasons
