"""A hospital's tables on SQLite or PostgreSQL, the profile that reads them, and how to read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.sources.sql import SqlSource

R = TypeVar("R")
PATIENCE = 2_000  # pages that no test needs; reaching it is an endless loop
VARIABLE = "LIPEI_HIS_BRIDGE_SQL_URL_SQL_HOSPITAL"
NOW = 1_780_000_000.0  # 2026-05-29 04:26:40 in Shanghai, after every row of these tests

PROFILE = """
hospital: sql-hospital
dialect: sql_rows
zone: Asia/Shanghai
currency: CNY
source:
  kind: sql
  bills: {table: v_bill, key: bill_no, updated: updated}
  lines: {table: v_line, bill_key: bill_no, order: line_no}
sql_rows:
  bill:
    {identity: id_no, name: pat_name, care_type: visit_type, begin: begun, end: ended,
     total: total, status: status, reverses: orig_no, fund_paid: fund, diagnoses: [diag]}
  line:
    {id: line_no, code: yb_code, local_code: item_code, name: item_name, quantity: qty,
     price: price, amount: amt, time: charged, reverses: orig_line}
  systems: {lines: "urn:yb", local_lines: "urn:local", diagnoses: "urn:icd"}
  care_types: {"1": outpatient, "3": inpatient}
  statuses: {"0": interim, "1": final, "2": reversed, "9": draft}
identities: [{system: "01", kind: CN-ID}]
provider: {id: H1, tier: tertiary}
codes:
  lines: {accepted: [{system: "urn:yb", public_displays: true}]}
  diagnoses: {accepted: [{system: "urn:icd"}]}
social_insurance: from_record
pull: {page_size: 20, overlap_s: 600, timeout_s: 20}
"""

# Amounts are DECIMAL where the database has it; SQLite would make floats of them.
TABLES = """
CREATE TABLE v_bill (bill_no {key}, updated {time}, id_no VARCHAR(18), pat_name VARCHAR(50),
 visit_type CHAR(1), begun {time}, ended {time}, total {money}, status CHAR(1),
 orig_no VARCHAR(20), fund {money}, diag VARCHAR(20));
CREATE TABLE v_line (bill_no VARCHAR(20), line_no VARCHAR(20), yb_code VARCHAR(30),
 item_code VARCHAR(30), item_name TEXT, qty {money}, price {money}, amt {money},
 charged {time}, orig_line VARCHAR(20))
"""
KINDS = {
    "sqlite": {"key": "TEXT", "time": "TEXT", "money": "TEXT"},
    "postgresql": {"key": "CHAR(12)", "time": "TIMESTAMP", "money": "NUMERIC(16,4)"},
}


def profile(url: str, change: Callable[[str], str] = lambda text: text) -> SourceProfile:
    return parse_profile(change(PROFILE), "sql-hospital.yaml", {VARIABLE: url})


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """The hospital's own connection, which writes."""
    with _engine(url).begin() as connection:
        yield connection


@lru_cache(maxsize=2)
def _engine(url: str) -> Engine:
    """It keeps no connection; what SQLAlchemy asks a database at first is asked once."""
    backend = make_url(url).get_backend_name()
    driver = "postgresql+psycopg" if backend == "postgresql" else "sqlite"
    return create_engine(make_url(url).set(drivername=driver), poolclass=NullPool)


def run(url: str, statements: str, **values: Any) -> None:
    with connected(url) as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(text(statement), values)


def build(url: str) -> None:
    run(url, TABLES.format(**KINDS[make_url(url).get_backend_name()]))


BILL: Mapping[str, Any] = {
    "bill_no": "b1",
    "updated": "2026-03-01 10:00:00",
    "id_no": "11010119900307002X",
    "pat_name": "欧阳建国",
    "visit_type": "1",
    "begun": "2026-03-01 09:00:00",
    "ended": "2026-03-01 10:00:00",
    "total": "50.00",
    "status": "1",
    "orig_no": None,
    "fund": "20.00",
    "diag": "E11.9",
}
LINE: Mapping[str, Any] = {
    "bill_no": "b1",
    "line_no": "1",
    "yb_code": "250101001",
    "item_code": "XJ",
    "item_name": "血常规",
    "qty": "2",
    "price": "25.00",
    "amt": "50.00",
    "charged": "2026-03-01 09:30:00",
    "orig_line": None,
}


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), dict(row))


def add(connection: Connection, number: str, **changes: Any) -> None:
    """A bill with one line; what is changed is the head's."""
    insert(connection, "v_bill", {**BILL, "bill_no": number, **changes})
    insert(connection, "v_line", {**LINE, "bill_no": number})


def with_source(
    found: SourceProfile, work: Callable[[SqlSource], Awaitable[R]], clock: float = NOW
) -> R:
    async def reading() -> R:
        source = SqlSource(found, clock=lambda: clock)
        try:
            return await work(source)
        finally:
            await source.close()

    return asyncio.run(reading())


async def sweep(
    source: SqlSource, cursor: bytes | None, kind: str = "Bill"
) -> tuple[bytes, list[RawRecord]]:
    """One sweep to its end, with repetitions."""
    seen: list[RawRecord] = []
    for _ in range(PATIENCE):
        page = await source.fetch(kind, cursor)
        cursor = page.cursor
        seen += page.records
        if page.swept:
            return cursor, seen
    raise AssertionError("the sweep does not end")


def swept(
    found: SourceProfile, cursor: bytes | None = None, kind: str = "Bill"
) -> tuple[bytes, list[RawRecord]]:
    return with_source(found, lambda source: sweep(source, cursor, kind))


def body(record: RawRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.raw)
    return found
