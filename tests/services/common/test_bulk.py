"""Many rows at once: each value comes back as it went in, and faults are those of any statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    exc,
    select,
    text,
)

from services.common.bulk import copy_rows, insert_numbered, one_of
from services.common.database import SERIAL, Database

pytestmark = pytest.mark.both_databases

kept = Table(
    "kept",
    MetaData(),
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("name", String(20), nullable=False, unique=True),
    Column("body", LargeBinary),
    Column("large", BigInteger),
    Column("small", Integer),
    Column("yes", Boolean),
    Column("other", Integer, server_default="7"),
)
ROWS: list[dict[str, Any]] = [
    {"name": "诊察费\t\n\\N", "body": b"\x00\xff\\", "large": 2**62, "small": -1, "yes": True},
    {"name": "", "body": b"", "large": -(2**62), "small": 0, "yes": False},
    {"name": "null", "body": None, "large": None, "small": None, "yes": None},
]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, threads=2)
    with database.writing() as connection:
        kept.metadata.create_all(connection)
    yield database
    database.close()


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(select(kept.c.name).order_by(kept.c.id)).scalars())


def test_rows_come_back_as_they_went_in(database: Database) -> None:
    with database.writing() as connection:
        ids = insert_numbered(connection, kept, ROWS)
        copy_rows(connection, kept, [{"id": max(ids) + 1, "name": "last"}])
        copy_rows(connection, kept, [])
        assert insert_numbered(connection, kept, []) == []
    with database.reading() as connection:
        found = connection.execute(select(kept).order_by(kept.c.id)).mappings().all()
    assert [row["id"] for row in found] == [*ids, max(ids) + 1]
    for row, said in zip(found, ROWS, strict=False):
        assert {**row, "id": 0} == {"id": 0, "other": 7, **said}


def test_the_database_goes_on_numbering(database: Database) -> None:
    with database.writing() as connection:
        ids = insert_numbered(connection, kept, ROWS)
        connection.execute(text("INSERT INTO kept (name) VALUES ('by hand')"))
        more = insert_numbered(connection, kept, [{"name": "one more"}])
        one = connection.execute(select(kept.c.id).where(kept.c.name == "by hand")).scalar_one()
    assert len({*ids, one, *more}) == len(ROWS) + 2
    assert sorted(ids) == ids


@pytest.mark.parametrize("twice", [{"name": "a"}, {"name": None}], ids=["unique", "null"])
def test_a_fault_is_an_integrity_error_and_nothing_is_kept(
    database: Database, twice: dict[str, Any]
) -> None:
    def write() -> None:
        with database.writing() as connection:
            insert_numbered(connection, kept, [{"name": "a"}, {"name": "b"}, twice])

    with pytest.raises(exc.IntegrityError):
        write()
    assert names(database) == []
    with database.writing() as connection:  # the control, on the same connection
        insert_numbered(connection, kept, [{"name": "a"}])
    assert names(database) == ["a"]


def test_a_text_that_is_too_long_is_a_fault_where_the_database_says_so(
    postgres_database: str,
) -> None:
    database = Database(postgres_database, threads=1)

    def write() -> None:
        with database.writing() as connection:
            kept.metadata.create_all(connection)
            copy_rows(connection, kept, [{"name": "x" * 21}])

    with pytest.raises(exc.DataError):
        write()
    database.close()


@pytest.mark.parametrize(
    ("values", "found"),
    [([], []), (["b"], ["b"]), (["null", "b", "x"], ["b", "null"]), (["a,b", "{b}"], ["a,b"])],
)
def test_one_of_finds_what_is_named(
    database: Database, values: list[str], found: list[str]
) -> None:
    with database.writing() as connection:
        insert_numbered(connection, kept, [{"name": one} for one in ("a", "b", "null", "a,b")])
        query = select(kept.c.name).where(one_of(connection, kept.c.name, values))
        assert sorted(connection.execute(query).scalars()) == sorted(found)
        numbers = select(kept.c.name).where(one_of(connection, kept.c.id, iter([2])))
        assert list(connection.execute(numbers).scalars()) == ["b"]
