"""The statements that Oracle, SQL Server and MySQL would get, as text: no driver is needed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import URL, Select
from sqlalchemy.dialects import mssql, oracle
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import BINARY, DateTime, String, TypeEngine

from services.his_bridge.profiles.source_kinds.sql import ROW_XMIN, Marks
from services.his_bridge.sources.sql import statements
from services.his_bridge.sources.sql.cursor import Spot, Value, value_of

MARKS = Marks(table="his.v_bill", key="BILL_NO", updated="UPDATED")
TYPES: dict[str, TypeEngine[Any]] = {"UPDATED": DateTime(), "BILL_NO": String(20), "RV": BINARY(8)}
SPOT = Spot(Value("time", "2026-03-01T10:00:00"), Value("text", "b1"))
DIALECTS: dict[str, Dialect] = {
    name: URL.create(name).get_dialect()()
    for name in ("oracle", "mssql", "mysql", "postgresql", "sqlite")
}


def written(statement: Select[tuple[object, ...]], dialect: str) -> str:
    compiled = statement.compile(dialect=DIALECTS[dialect])
    return re.sub(r"\s+", " ", str(compiled)).strip()


def page(dialect: str) -> str:
    table = statements.clause(MARKS.table, MARKS.columns, TYPES)
    return written(statements.page(MARKS, table, start=None, spot=SPOT, most=200), dialect)


WALKS = {
    "oracle": (
        'SELECT DISTINCT his.v_bill."UPDATED" AS lipei_at, his.v_bill."BILL_NO" AS lipei_key '
        'FROM his.v_bill WHERE his.v_bill."BILL_NO" IS NOT NULL '
        'AND his.v_bill."UPDATED" >= :param_1 AND (his.v_bill."UPDATED" > :param_1 '
        'OR his.v_bill."UPDATED" = :param_1 AND his.v_bill."BILL_NO" > :param_2) '
        'ORDER BY his.v_bill."UPDATED", his.v_bill."BILL_NO" '
        "FETCH FIRST __[POSTCOMPILE_param_3] ROWS ONLY"
    ),
    "mssql": (
        "SELECT DISTINCT TOP __[POSTCOMPILE_param_1] his.v_bill.[UPDATED] AS lipei_at, "
        "his.v_bill.[BILL_NO] AS lipei_key FROM his.v_bill "
        "WHERE his.v_bill.[BILL_NO] IS NOT NULL AND his.v_bill.[UPDATED] >= :param_2 "
        "AND (his.v_bill.[UPDATED] > :param_2 "
        "OR his.v_bill.[UPDATED] = :param_2 AND his.v_bill.[BILL_NO] > :param_3) "
        "ORDER BY lipei_at, his.v_bill.[BILL_NO]"
    ),
    "mysql": (
        "SELECT DISTINCT his.v_bill.`UPDATED` AS lipei_at, his.v_bill.`BILL_NO` AS lipei_key "
        "FROM his.v_bill WHERE his.v_bill.`BILL_NO` IS NOT NULL "
        "AND his.v_bill.`UPDATED` >= %s AND (his.v_bill.`UPDATED` > %s "
        "OR his.v_bill.`UPDATED` = %s AND his.v_bill.`BILL_NO` > %s) "
        "ORDER BY lipei_at, his.v_bill.`BILL_NO` LIMIT %s"
    ),
}


@pytest.mark.parametrize("dialect", WALKS)
def test_a_walk_is_a_keyset_on_every_database(dialect: str) -> None:
    assert page(dialect) == WALKS[dialect]


@pytest.mark.parametrize("dialect", [*WALKS, "postgresql"])  # SQLite's text has an OFFSET of 0
def test_no_statement_skips_rows_by_their_number(dialect: str) -> None:
    assert "OFFSET" not in page(dialect).upper()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_keys_of_char_columns_are_asked_for_with_and_without_their_blanks(dialect: str) -> None:
    table = statements.clause(MARKS.table, MARKS.columns, TYPES)
    statement = statements.rows_of(MARKS, table, ("BILL_NO",), [Value("text", "b1   ")])
    assert " IN (" in written(statement, dialect)
    (values,) = statement.compile(dialect=DIALECTS[dialect]).params.values()
    assert values == ["b1   ", "b1"]


def test_the_horizon_of_sql_server_is_its_oldest_open_row_version() -> None:
    marks = Marks(table="v_bill", key="BILL_NO", horizon="RV")
    table = statements.clause(marks.table, marks.columns, TYPES)
    assert written(statements.mark_of(marks, table, "mssql"), "mssql") == (
        "SELECT MIN_ACTIVE_ROWVERSION()"
    )
    start = value_of(b"\x00\x00\x00\x00\x00\x00\x07\xd1")
    text = written(statements.page(marks, table, start=start, spot=None, most=5), "mssql")
    assert "v_bill.[RV] >= " in text


def test_the_row_s_own_transaction_is_a_number_that_does_not_wrap() -> None:
    marks = Marks(table="v_bill", key="bill_no", horizon=ROW_XMIN)
    table = statements.clause(marks.table, marks.columns, {})
    text = written(
        statements.page(marks, table, start=Value("text", "9"), spot=None, most=5), "postgresql"
    )
    assert "& 4294967295" in text
    assert "xmin::text::bigint" in text
    assert statements.has_horizon("postgresql")
    assert not statements.has_horizon("oracle")


def test_a_time_is_bound_as_what_the_column_is() -> None:
    table = statements.clause(MARKS.table, MARKS.columns, TYPES)
    statement = statements.page(MARKS, table, start=None, spot=SPOT, most=200)
    params = statement.compile(dialect=DIALECTS["oracle"]).params
    assert datetime(2026, 3, 1, 10) in params.values()  # noqa: DTZ001 the hospital's own


IN_DAYS = {
    "oracle": (
        'FROM his.v_bill WHERE his.v_bill."ENDED" >= :param_1 AND his.v_bill."ENDED" < :param_2 '
        'OR (his.v_bill."ENDED" IS NULL '
        'OR ltrim(CAST(his.v_bill."ENDED" AS VARCHAR2(64 CHAR))) = :ltrim_1) '
        'AND his.v_bill."BEGUN" >= :param_3 AND his.v_bill."BEGUN" < :param_4'
    ),
    "mssql": (
        "FROM his.v_bill WHERE his.v_bill.[ENDED] >= :param_1 AND his.v_bill.[ENDED] < :param_2 "
        "OR (his.v_bill.[ENDED] IS NULL "
        "OR ltrim(CAST(his.v_bill.[ENDED] AS VARCHAR(64))) = :ltrim_1) "
        "AND his.v_bill.[BEGUN] >= :param_3 AND his.v_bill.[BEGUN] < :param_4"
    ),
    "mysql": (
        "FROM his.v_bill WHERE his.v_bill.`ENDED` >= %s AND his.v_bill.`ENDED` < %s "
        "OR (his.v_bill.`ENDED` IS NULL OR ltrim(CAST(his.v_bill.`ENDED` AS CHAR(64))) = %s) "
        "AND his.v_bill.`BEGUN` >= %s AND his.v_bill.`BEGUN` < %s"
    ),
}


@pytest.mark.parametrize("dialect", IN_DAYS)
def test_a_day_is_that_of_the_end_and_without_one_of_the_beginning(dialect: str) -> None:
    table = statements.clause(MARKS.table, (MARKS.key, "ENDED", "BEGUN"), TYPES)
    between = (("2026-02-28", "2026-03-03"),)
    columns = [
        statements.DayColumn(name="ENDED", ranges=between, blank=True),
        statements.DayColumn(name="BEGUN", ranges=between),
    ]
    within = statements.in_days(table, columns)
    counted = statements.counted(MARKS, table, within, flat=False)
    assert written(counted, dialect).endswith(IN_DAYS[dialect])


SIZED: dict[str, tuple[dict[str, TypeEngine[Any]], str]] = {
    "oracle": (
        {
            "C": oracle.CLOB(),
            "B": oracle.BLOB(),
            "V": oracle.VARCHAR2(32_767),
            "L": oracle.LONG(),
            "S": oracle.VARCHAR2(200),
        },
        (
            'SELECT coalesce(sum(dbms_lob.getlength(t."C")), :coalesce_1) '
            '+ coalesce(sum(dbms_lob.getlength(t."B")), :coalesce_2) '
            '+ coalesce(sum(length(t."V")), :coalesce_3) AS anon_1 FROM t WHERE t."K" IN'
        ),
    ),
    "mssql": (
        {
            "C": mssql.NVARCHAR(None),
            "B": mssql.VARBINARY(None),  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
            "V": mssql.TEXT(),
            "X": mssql.XML(),
            "S": mssql.NVARCHAR(200),
        },
        (
            "SELECT coalesce(sum(CAST(datalength(t.[C]) AS BIGINT) / 2), :coalesce_1) "
            "+ coalesce(sum(CAST(datalength(t.[B]) AS BIGINT)), :coalesce_2) "
            "+ coalesce(sum(CAST(datalength(t.[V]) AS BIGINT)), :coalesce_3) "
            "+ coalesce(sum(CAST(datalength(t.[X]) AS BIGINT) / 2), :coalesce_4) AS anon_1 "
            "FROM t WHERE t.[K] IN"
        ),
    ),
}


@pytest.mark.parametrize("dialect", SIZED)
def test_what_may_be_large_is_counted_by_the_database_before_it_is_fetched(dialect: str) -> None:
    types, text = SIZED[dialect]
    marks = Marks(table="t", key="K", updated="U")
    table = statements.clause("t", ("K", *types), types)
    statement = statements.size_of(marks, table, tuple(types), [Value("text", "b1")], dialect)
    assert statement is not None
    assert written(statement, dialect).startswith(text)
    # The control: where no column may be large nothing is asked.
    assert statements.size_of(marks, table, ("S",), [Value("text", "b1")], dialect) is None
