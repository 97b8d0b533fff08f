"""Many rows of one table by one statement, however many they are. Knows no table's meaning.

On PostgreSQL the values travel as one array a column, so that the statement is the same for one row
and for thousands; SQLite repeats a prepared statement within one call. Triggers and checks see
every row by itself on both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, TableValuedAlias, bindparam, column, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    replacing: tuple[str, ...] = (),
) -> None:
    """Insert rows in their order; all of them name the same columns.

    Where the primary key is there already, the columns in `replacing` are overwritten.
    """
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        connection.execute(_from_arrays(table, names, replacing), as_arrays(rows))
    else:
        connection.execute(_one_by_one(table, replacing), rows)


def as_arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values by column, as `given` binds them."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def given(types: Mapping[str, TypeEngine[Any]]) -> TableValuedAlias:
    """On PostgreSQL, the rows of arrays that are bound under the columns' names, in their order."""
    arrays = (bindparam(name, type_=postgresql.ARRAY(of)) for name, of in types.items())
    columns = (column(name, of) for name, of in types.items())
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="given")


# Built once for each table and columns: building costs more than a short statement's answer.
@cache
def _from_arrays(table: Table, names: tuple[str, ...], replacing: tuple[str, ...]) -> Any:
    rows = given({name: table.c[name].type for name in names})
    statement = postgresql.insert(table).from_select(names, select(rows))
    return _replacing(statement, table, replacing) if replacing else statement


@cache
def _one_by_one(table: Table, replacing: tuple[str, ...]) -> Any:
    return _replacing(sqlite.insert(table), table, replacing) if replacing else insert(table)


def _replacing(statement: Any, table: Table, names: tuple[str, ...]) -> Any:
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in names},
    )
