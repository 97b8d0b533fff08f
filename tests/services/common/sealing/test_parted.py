"""Erasures of before lose what a guessed token could be compared with, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, MetaData, String, inspect, text
from sqlalchemy.exc import DBAPIError

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database, append_only_ddl
from services.common.sealing.parted import part_erasures
from services.common.sealing.tables import erasure_table

OF_TOKEN = Tenant(Kind.MEMBER, "k1." + "a" * 64).key


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def fill(database: Database) -> None:
    """As it was: with a hash of the request, append-only."""
    metadata = MetaData()
    erasure_table(metadata).append_column(Column("fingerprint", String(64), nullable=False))
    with database.writing() as connection:
        metadata.create_all(connection)
        for number, tenant in enumerate(("insurer/anxin", OF_TOKEN, "")):
            row = {"id": f"r{number}", "hash": "f" * 64, "tenant": tenant, "answer": b"{}"}
            connection.execute(
                text(
                    "INSERT INTO erasure VALUES "
                    "(:id, 'm', 'ordered 1', :answer, 7, :tenant, 'member', :hash)"
                ),
                row,
            )
        for statement in append_only_ddl("erasure", connection.dialect.name):
            connection.execute(text(statement))


def rows(database: Database) -> list[dict[str, object]]:
    with database.reading() as connection:
        found = connection.execute(text("SELECT * FROM erasure ORDER BY request_id"))
        return [dict(row) for row in found.mappings()]


@pytest.mark.both_databases
def test_hashes_go_and_the_rest_stays_append_only(database: Database) -> None:
    fill(database)
    before = rows(database)
    assert OF_TOKEN in str(before)
    for _ in range(2):  # a second time there is nothing to do
        with database.writing() as connection:
            part_erasures(connection)
    after = rows(database)
    assert [row["tenant"] for row in after] == ["insurer/anxin", "member", ""]
    kept = [{**row, "tenant": ""} for row in after]
    assert kept == [
        {key: "" if key == "tenant" else row[key] for key in row if key != "fingerprint"}
        for row in before
    ]
    for verb in ("UPDATE erasure SET at_us = 9", "DELETE FROM erasure"):
        with pytest.raises(DBAPIError), database.writing() as connection:
            connection.execute(text(verb))
    assert rows(database) == after


def test_a_table_made_anew_is_left_as_it_is(database: Database) -> None:
    metadata = MetaData()
    made = erasure_table(metadata)
    with database.writing() as connection:
        metadata.create_all(connection)
        part_erasures(connection)
        there = [column["name"] for column in inspect(connection).get_columns("erasure")]
    assert there == [column.name for column in made.columns]
