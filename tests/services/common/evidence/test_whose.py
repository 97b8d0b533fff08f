"""A log of before is carried over: its leaves stay, and what stands beside them says who read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Table,
    exc,
    insert,
    inspect,
    text,
)

from services.common.database import Database, append_only_ddl
from services.common.evidence.leaf import leaf_bytes
from services.common.evidence.whose import NEW, say_whose
from tests.services.common.evidence.logs import read

BEFORE = Table(
    "evidence_leaf",
    MetaData(),
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
FIRST = leaf_bytes(read(0)).replace(b'"owner":"",', b"").replace(b'"v":2', b'"v":1')
MACHINE = FIRST.replace(b"insurer/i1/desk/1", b"service/settlement")
MEMBER = MACHINE.replace(b"policies/p0/claims/c0", b"members/abc/readings/r")
BODIES = [FIRST, MACHINE, MEMBER, b"spoiled", *[FIRST] * 2_500]
READERS = ["insurer/i1", "", "", "", *["insurer/i1"] * 2_500]


@pytest.fixture
def schema() -> str:
    return ""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.writing() as connection:
        BEFORE.create(connection)
        for line in append_only_ddl("evidence_leaf", connection.dialect.name):
            connection.execute(text(line))
        rows = [{"leaf_index": at, "body": body} for at, body in enumerate(BODIES)]
        connection.execute(insert(BEFORE), rows)
    yield database
    database.close()


@pytest.mark.on_postgresql
def test_leaves_of_before_say_who_read_and_are_what_they_were(database: Database) -> None:
    with database.writing() as connection:
        say_whose(connection)
    with database.reading() as connection:
        query = text("SELECT body, reader, owner, member FROM evidence_leaf ORDER BY leaf_index")
        found = connection.execute(query).all()
        indexes = {one["name"] for one in inspect(connection).get_indexes("evidence_leaf")}
    assert [bytes(row.body) for row in found] == BODIES
    assert [row.reader for row in found] == READERS
    assert {row.owner for row in found} == {""}
    assert [row.member for row in found[:4]] == ["", "", "abc", ""]
    assert indexes >= {f"ix_evidence_leaf_{name}" for name in NEW}


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "statement", ["UPDATE evidence_leaf SET reader = 'x'", "DELETE FROM evidence_leaf"]
)
def test_leaves_refuse_changes_again_afterwards(database: Database, statement: str) -> None:
    with database.writing() as connection:
        say_whose(connection)
    with pytest.raises(exc.DBAPIError, match="append-only"), database.writing() as connection:
        connection.execute(text(statement))
