"""What SQLite hands out of sealed columns is counted, once a call, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, MetaData, text

from services.claims.storage import counted as claims_counted
from services.claims.storage import payout_tables
from services.claims.storage import tables as claims_tables
from services.common.access.caller import UnderWay, under_way
from services.common.access.read_tally import counting, sealed_in, tally_file
from services.common.database import Database
from services.common.settings import UnknownSetting
from services.his_bridge.storage import counted as bridge_counted
from services.his_bridge.storage import operation_tables
from services.his_bridge.storage import tables as bridge_tables
from services.pricing.storage import counted as pricing_counted
from services.pricing.storage import tables as pricing_tables

TABLES = {
    "thing": sealed_in("body note", "thing", "id"),
    "part": sealed_in("body", "thing", "thing_id"),
}
RPC = "/lipei.claims.v1.ClaimsService/GetClaim"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    driver = counting(tmp_path, "claims", TABLES, wanted=True)
    database = Database(f"sqlite:///{tmp_path}/things.db", driver=driver)
    with database.writing() as connection:
        for statement in (
            "CREATE TABLE thing (id TEXT, number INTEGER, body BLOB, note BLOB)",
            "CREATE TABLE part (thing_id TEXT, body BLOB)",
            "CREATE TABLE other (id TEXT, body BLOB)",
            "INSERT INTO thing VALUES ('a', 1, X'01', X'02'), ('b', 2, X'03', NULL)",
            "INSERT INTO thing VALUES ('c', 3, NULL, NULL)",
            "INSERT INTO part VALUES ('a', X'01'), ('z', X'05')",
            "INSERT INTO other VALUES ('a', X'01')",
        ):
            connection.execute(text(statement))
    yield database
    database.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tally_file(folder, "claims").read_text().splitlines()]


def fetch(database: Database, query: str, most: int | None = None) -> None:
    with database.reading() as connection:
        rows = connection.execute(text(query))
        assert rows.all() if most is None else rows.fetchmany(most)


@pytest.mark.parametrize(
    ("query", "records"),
    [
        ("SELECT * FROM thing", ["a", "b"]),  # nothing is sealed of the third
        ("SELECT id, note FROM thing", ["a"]),
        ("SELECT t.body, t.id FROM thing AS t WHERE t.number = 2", ["b"]),
        ("SELECT thing_id, body FROM part", ["a", "z"]),
        ("SELECT t.id, t.number, p.body FROM thing t JOIN part p ON p.thing_id = t.id", ["?"]),
        ("SELECT id, number FROM thing", []),
        ("SELECT id FROM thing WHERE body IS NOT NULL", []),
        ("SELECT id, body FROM other", []),
    ],
)
def test_rows_with_sealed_columns_are_counted_by_their_record(
    database: Database, tmp_path: Path, query: str, records: list[str]
) -> None:
    for _ in range(2):  # the second time the statement is not prepared anew
        with under_way(UnderWay(rpc=RPC, clearance=3)):
            fetch(database, query)
    found = lines(tmp_path)
    assert sorted(line["record"] for line in found) == sorted(2 * records)
    assert len({line["call"] for line in found}) == (2 if records else 0)
    assert all(line["rpc"] == RPC and line["clearance"] == 3 for line in found)


def test_a_record_counts_once_a_call(database: Database, tmp_path: Path) -> None:
    with under_way(UnderWay(rpc=RPC, clearance=3)):
        fetch(database, "SELECT * FROM thing")
        fetch(database, "SELECT * FROM part")
    assert sorted(line["record"] for line in lines(tmp_path)) == ["a", "b", "z"]


def test_rows_that_stay_in_the_database_do_not_count(database: Database, tmp_path: Path) -> None:
    with under_way(UnderWay(rpc=RPC, clearance=3)):
        fetch(database, "SELECT * FROM thing ORDER BY id", most=1)
    assert [line["record"] for line in lines(tmp_path)] == ["a"]


def test_a_pools_thread_counts_for_its_call(database: Database, tmp_path: Path) -> None:
    async def calls() -> None:
        with under_way(UnderWay(rpc=RPC, clearance=3)):
            await database.run(fetch, database, "SELECT * FROM thing")

    asyncio.run(calls())
    assert [line["rpc"] for line in lines(tmp_path)] == [RPC, RPC]


def test_outside_a_call_nothing_counts(database: Database, tmp_path: Path) -> None:
    fetch(database, "SELECT * FROM thing")
    assert lines(tmp_path) == []


def test_only_the_owner_reads_the_tally(database: Database, tmp_path: Path) -> None:
    assert stat.S_IMODE(tally_file(tmp_path, "claims").stat().st_mode) == 0o600


def test_nothing_is_written_unless_wanted(tmp_path: Path) -> None:
    assert counting(tmp_path, "claims", TABLES, wanted=False) is None
    assert not tally_file(tmp_path, "claims").exists()


def test_postgresql_has_no_place_to_count(tmp_path: Path) -> None:
    driver = counting(tmp_path, "claims", TABLES, wanted=True)
    with pytest.raises(UnknownSetting, match="LIPEI_COUNT_READS"):
        Database("postgresql://nobody@127.0.0.1:9/none", driver=driver)


@pytest.mark.parametrize(
    ("metadata", "counted"),
    [
        (claims_tables.metadata, claims_counted),
        (bridge_tables.metadata, bridge_counted),
        (pricing_tables.metadata, pricing_counted),
    ],
    ids=["claims", "his_bridge", "pricing"],
)
def test_every_column_of_bytes_is_said_to_be_sealed_or_clear(
    metadata: MetaData, counted: Any
) -> None:
    shared = ("evidence_", "subject_key", "erasure")  # leaves, keys and counts
    found = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if isinstance(column.type, LargeBinary) and not table.name.startswith(shared)
    }
    sealed = {
        f"{name}.{column}" for name, table in counted.SEALED.items() for column in table.columns
    }
    # Their tables are there too.
    assert payout_tables.payment_file.metadata is claims_tables.metadata
    assert operation_tables.code_map.metadata is bridge_tables.metadata
    assert sealed | counted.CLEAR == found
    assert not sealed & counted.CLEAR
    for name, table in counted.SEALED.items():
        assert table.named_by[-1] in metadata.tables[name].c
