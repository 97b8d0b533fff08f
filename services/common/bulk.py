"""Many rows of one table by one statement, however many they are. Knows no table's meaning.

On PostgreSQL the values travel as one array a column, or as a COPY, so that the statement is the
same for one row and for thousands; SQLite repeats a prepared statement within one call. Triggers
and checks see every row by itself on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    String,
    Table,
    TableValuedAlias,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

# How PostgreSQL's binary COPY writes a column; the first that fits.
_COPIED = (
    (String, "text"),
    (LargeBinary, "bytea"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Boolean, "bool"),
)


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


def copy_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same in a third of the time, for rows that are all new: a COPY on PostgreSQL.

    All rows name the same columns, in one order; the others get the database's own defaults.
    Faults are SQLAlchemy's, as those of every other statement.
    """
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(_one_by_one(table, ()), rows)
        return
    statement, types = _copy_of(table, tuple(rows[0]))
    driver: Any = connection.connection.driver_connection
    fault = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(tuple(row.values()))
    except fault as found:
        raise DBAPIError.instance(
            statement, None, found, fault, hide_parameters=True, dialect=connection.dialect
        ) from found


def insert_numbered(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> list[int]:
    """As copy_rows, for a table whose column `id` the database numbers; the ids, in that order."""
    if not rows:
        return []
    if connection.dialect.name != "postgresql":
        query = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        return list(connection.execute(query, rows).scalars())
    ids = list(connection.execute(_next_ids(table), {"many": len(rows)}).scalars())
    copy_rows(connection, table, [{"id": at, **row} for at, row in zip(ids, rows, strict=True)])
    return ids


def one_of(
    connection: Connection, values_of: ColumnElement[Any], values: Iterable[Any]
) -> ColumnElement[bool]:
    """Whether a column has one of these values, on PostgreSQL by one parameter for them all.

    SQLite takes 32,766 parameters in a statement: what may be more goes in portions.
    """
    if connection.dialect.name == "postgresql":
        of = postgresql.ARRAY(values_of.type)
        return values_of == any_(bindparam(None, list(values), type_=of, unique=True))
    return values_of.in_(list(values))


def as_arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values by column, as `given` binds them."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def given(types: Mapping[str, TypeEngine[Any]]) -> TableValuedAlias:
    """On PostgreSQL, the rows of arrays that are bound under the columns' names, in their order."""
    arrays = (bindparam(name, type_=postgresql.ARRAY(of)) for name, of in types.items())
    columns = (column(name, of) for name, of in types.items())
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="given")


@cache
def _next_ids(table: Table) -> Any:
    many = func.generate_series(1, bindparam("many", type_=Integer))
    number = func.nextval(func.pg_get_serial_sequence(table.name, "id"))
    return select(number).select_from(many.table_valued("at"))


@cache
def _copy_of(table: Table, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    kinds = [table.c[name].type for name in names]
    types = [next(written for kind, written in _COPIED if isinstance(of, kind)) for of in kinds]
    return f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)", tuple(types)


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
