"""What a database is and what it hands over: reached, refused, understood, or named."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import SetAside
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.dialects.sql_rows import BillRowReader
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql.connecting import engine_for
from services.his_bridge.sources.sql.faults import DRIVERS
from services.his_bridge.sources.sql.faults import fault_of as fault_of_error
from tests.services.his_bridge.records import tokens
from tests.services.his_bridge.sources.sql.hospital import (
    add,
    body,
    build,
    connected,
    profile,
    run,
    swept,
)


@pytest.fixture
def schema() -> str:
    return ""


def fault_of(url: str) -> SourceFault:
    with pytest.raises(SourceFault) as caught:
        swept(profile(url))
    return caught.value


def test_without_a_url_the_setting_is_named() -> None:
    fault = fault_of("")
    assert (fault.reason, fault.text) == ("SOURCE_URL", "set LIPEI_HIS_BRIDGE_SQL_URL_SQL_HOSPITAL")


@pytest.mark.parametrize(
    "url",
    ["no url", "postgresql+asyncpg://h/d", "mssql+pyodbc://h/d", "postgresql://u:p@q@127.0.0.1/d"],
)
def test_a_url_that_nobody_can_use_is_named(url: str) -> None:
    fault = fault_of(url)
    assert (fault.reason, fault.retry_after_s) == ("SOURCE_URL", None)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("oracle://u:p@h/d", "oracle"),
        ("mssql://u:p@h/d", "sqlserver"),
        ("mysql://u:p@h/d", "mysql"),
    ],
)
def test_a_missing_driver_says_which_extra_brings_it(url: str, extra: str) -> None:
    module = DRIVERS[make_url(url).get_backend_name()][0].partition("+")[2]
    assert importlib.util.find_spec(module) is None, "the development lock has no such driver"
    fault = fault_of(url)
    assert fault.reason == "SOURCE_DRIVER_MISSING"
    assert f"pip install 'lipei[{extra}]'" in fault.text
    assert "p@" not in str(fault)


def test_a_database_that_nobody_has_a_dialect_for_is_named() -> None:
    assert fault_of("dm://u:p@h:5236").reason == "SOURCE_DRIVER_MISSING"


def test_a_server_that_is_away_is_waited_for() -> None:
    fault = fault_of("postgresql://u:geheim@127.0.0.1:9/d")
    assert fault.reason == "SOURCE_AWAY"
    assert fault.retry_after_s is not None
    assert "geheim" not in str(fault)


def test_a_login_that_is_refused_waits_for_a_person(postgres_database: str) -> None:
    wrong = make_url(postgres_database).set(username="nobody_of_ours")
    fault = fault_of(wrong.render_as_string(hide_password=False))
    assert (fault.reason, fault.retry_after_s) == ("SOURCE_REFUSES", None)


def test_a_missing_right_waits_for_a_person(postgres_database: str) -> None:
    build(postgres_database)
    run(
        postgres_database,
        "DROP ROLE IF EXISTS reads_nothing; CREATE ROLE reads_nothing LOGIN",
    )
    other = make_url(postgres_database).set(username="reads_nothing")
    fault = fault_of(other.render_as_string(hide_password=False))
    run(postgres_database, "DROP ROLE reads_nothing")
    assert (fault.reason, fault.retry_after_s) == ("SOURCE_REFUSES", None)


def test_a_file_that_is_not_there_is_away() -> None:
    assert fault_of("sqlite:////nowhere/at/all.db").reason == "SOURCE_AWAY"


def test_no_password_is_part_of_what_a_cursor_belongs_to() -> None:
    one = profile("postgresql://a:secret@h:5432/his").source.scope
    assert one == profile("postgresql://b:other@h:5432/his").source.scope
    assert one != profile("postgresql://a:secret@h:5432/another").source.scope
    assert "secret" not in repr(one)


@pytest.fixture
def without_charset(postgres_url: str) -> Iterator[str]:
    """A database that keeps bytes and does not know their charset, as old ones do."""
    admin = make_url(postgres_url).set(drivername="postgresql+psycopg")
    engine = create_engine(admin, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    name = "gb18030_as_it_is"
    make = f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
    with engine.connect() as connection:
        connection.execute(text(make))
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    yield url
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_bytes_of_a_database_without_charset_are_decoded_strictly(without_charset: str) -> None:
    # 玕 ends in a byte that is a letter of ASCII, as 464 of these characters do.
    good = "玕瑋".encode("gb18030").hex()
    engine = create_engine(
        make_url(without_charset).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"options": "-c client_encoding=UTF8"},
    )
    with engine.begin() as connection:
        for statement in ("CREATE TABLE b (bill_no TEXT, name TEXT, other TEXT)",):
            connection.execute(text(statement))
        connection.execute(
            text(
                "INSERT INTO b VALUES ('b1', convert_from(decode(:g, 'hex'), 'SQL_ASCII'),"
                " convert_from(decode('c5', 'hex'), 'SQL_ASCII'))"
            ),
            {"g": good},
        )
        connection.execute(
            text(
                "CREATE VIEW v_bill AS SELECT bill_no, '2026-03-01 10:00:00'::timestamp AS updated,"
                " '11010119900307002X' AS id_no, name AS pat_name, '1' AS visit_type,"
                " '2026-03-01 09:00:00'::timestamp AS begun, NULL::timestamp AS ended,"
                " 5.00::numeric AS total, '1' AS status, NULL::text AS orig_no,"
                " 0::numeric AS fund, NULL::text AS diag FROM b"
            )
        )
        connection.execute(
            text(
                "CREATE VIEW v_line AS SELECT bill_no, '1' AS line_no, '250101001' AS yb_code,"
                " other AS item_code, name AS item_name, 1::numeric AS qty, 5.00::numeric AS price,"
                " 5.00::numeric AS amt, NULL::timestamp AS charged, NULL::text AS orig_line FROM b"
            )
        )
    _, (record,) = swept(profile(without_charset))
    assert body(record)["head"]["pat_name"] == {"bytes": good}
    assert body(record)["head"]["id_no"] == "11010119900307002X"
    found = profile(without_charset)
    assert isinstance(found.dialect_terms, RowTerms)
    reader = BillRowReader(found.dialect_terms, found.terms, tokens)
    outcome = reader.judge("b1", reader.glance(record.raw), {})
    assert isinstance(outcome, SetAside)
    assert [(f.reason, f.path) for f in outcome.faults] == [
        (Reason.NOT_IN_CHARSET, "lines[0].item_code")
    ]


def test_what_python_has_no_value_for_comes_as_the_database_writes_it(
    postgres_database: str,
) -> None:
    build(postgres_database)
    with connected(postgres_database) as connection:
        add(connection, "b1", begun="infinity", ended="0044-03-15 BC", total="NaN")
        add(connection, "b2", updated="infinity")
    cursor, records = swept(profile(postgres_database))
    head = body(records[0])["head"]
    assert (head["begun"], head["ended"]) == ("infinity", "0044-03-15 00:00:00 BC")
    assert head["total"] == {"not_a_number": True}
    assert [record.record_id for record in records] == ["b1", "b2"]
    with connected(postgres_database) as connection:
        add(connection, "b3", updated="2026-05-29 05:00:00")
    assert {r.record_id for r in swept(profile(postgres_database), cursor)[1]} == {"b2", "b3"}


def test_a_horizon_is_asked_of_databases_that_have_one(sqlite_database: str) -> None:
    build(sqlite_database)
    found = profile(sqlite_database, lambda t: t.replace("updated: updated", "horizon: updated"))
    with pytest.raises(SourceFault, match="sqlite tells no horizon"):
        swept(found)


def test_an_engine_connects_to_nobody_until_it_is_asked() -> None:
    engine_for("postgresql://u:p@127.0.0.1:9/d", 1).dispose()


class DriverError(Exception):
    """As a driver raises it: numbers first, and a text that quotes values."""


@pytest.mark.parametrize(
    ("kind", "args", "reason"),
    [
        (OperationalError, (1045, "Access denied for user 'lipei'"), "SOURCE_REFUSES"),
        (OperationalError, (3024, "maximum statement execution time exceeded"), "SOURCE_TOO_SLOW"),
        (ProgrammingError, (1146, "Table 'v' doesn't exist"), "SOURCE_SHAPE"),
        (OperationalError, (2003, "Can't connect"), "SOURCE_AWAY"),
        (OperationalError, ((18456, b"Login failed"),), "SOURCE_REFUSES"),
        (OperationalError, ((20003, b"Adaptive Server connection"),), "SOURCE_TOO_SLOW"),
        (DatabaseError, ("ORA-01017: invalid username/password",), "SOURCE_REFUSES"),
        (DatabaseError, ("ORA-00942: table or view does not exist",), "SOURCE_SHAPE"),
        (DatabaseError, ("DPY-4024: call timeout of 20000 ms exceeded",), "SOURCE_TOO_SLOW"),
        (OperationalError, ("DPY-6005: cannot connect to database",), "SOURCE_AWAY"),
        (OperationalError, ('致命错误: 用户 "lipei" Password 认证失败',), "SOURCE_REFUSES"),
        (DatabaseError, ("who knows",), "SOURCE_UNEXPECTED"),
    ],
)
def test_each_drivers_errors_are_told_apart_and_their_texts_stay_inside(
    kind: type[DBAPIError], args: tuple[object, ...], reason: str
) -> None:
    fault = fault_of_error(kind("SELECT 1", {}, DriverError(*args)))
    assert fault.reason == reason
    assert "lipei" not in fault.text
    assert (fault.retry_after_s is None) == (reason not in ("SOURCE_AWAY", "SOURCE_TOO_SLOW"))
