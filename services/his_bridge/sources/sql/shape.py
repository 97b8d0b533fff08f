"""Whether a database has the tables and columns that a profile names, and of usable types.

Everything that is missing is named at once, so that the hospital's IT mends its view once.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import NoSuchTableError, SAWarning
from sqlalchemy.types import Float, NullType, TypeEngine

from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql.faults import SHAPE
from services.his_bridge.sources.sql.statements import Long, LongBytes, Named, Whole

_PG_COLUMNS = text(
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
    "WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
)
# Their values would be rounded, or depend on the server's locale, before we see them.
_PG_INEXACT = ("real", "double precision", "money")
# No value of these types is long; of all others, domains among them, any may be.
_PG_SHORT = re.compile(
    r"(?:smallint|integer|bigint|numeric(?:\(.*)?|real|double precision|money|boolean|date|uuid"
    r"|name|time.*|interval.*|character(?: varying)?\([0-9]{1,4}\))\Z"
)

_PG_NUMBER = re.compile(r"(?:smallint|integer|bigint|numeric(?:\(.*)?)\Z")


class Wanted:
    """What is asked of one table; `exact` are columns that hold amounts or quantities."""

    def __init__(self, table: str, columns: Iterable[str], exact: Collection[str] = ()) -> None:
        self.table = table
        self.columns = tuple(dict.fromkeys(columns))
        self.exact = frozenset(exact)


def types_of(
    connection: Connection, wanted: Iterable[Wanted], charset: str
) -> Mapping[str, Mapping[str, TypeEngine[Any]]]:
    """The columns' types by table, as far as binding needs them.

    Raises: SourceFault naming every table and column that is missing, or of an inexact type.
    """
    found: dict[str, dict[str, TypeEngine[Any]]] = {}
    faults: list[str] = []
    postgresql = connection.dialect.name == "postgresql"
    for each in wanted:
        if postgresql:
            columns, inexact = _of_postgresql(connection, each.table, charset)
        else:
            columns, inexact = _reflected(connection, each.table)
        if columns is None:
            faults.append(f"there is no table or view {each.table}, or no right to see it")
            continue
        missing = [name for name in each.columns if name not in columns]
        if missing:
            faults.append(f"{each.table} has no column {', '.join(missing)}")
        rounded = sorted(each.exact & inexact)
        if rounded:
            faults.append(
                f"{each.table}: {', '.join(rounded)} holds amounts as binary floating point or "
                "money; cast to DECIMAL in the view"
            )
        found[each.table] = {**found.get(each.table, {}), **columns}
    if faults:
        raise SourceFault(SHAPE, "; ".join(dict.fromkeys(faults)))
    return found


Columns = tuple[dict[str, TypeEngine[Any]] | None, frozenset[str]]


def _of_postgresql(connection: Connection, table: str, charset: str) -> Columns:
    # Values go as text and come as text; the server knows the types.
    quote = connection.dialect.identifier_preparer.quote
    name = ".".join(quote(part) for part in table.split("."))
    rows = connection.execute(_PG_COLUMNS, {"name": name}).all()
    if not rows:
        return None, frozenset()
    named = [(_name(raw, charset), kind) for raw, kind in rows]
    inexact = frozenset(name for name, kind in named if kind in _PG_INEXACT)
    return {name: _type_of(kind) for name, kind in named}, inexact


def _type_of(kind: str) -> TypeEngine[Any]:
    if kind == "uuid":
        return Named()
    if _PG_NUMBER.match(kind):
        return Whole()
    if _PG_SHORT.match(kind):
        return NullType()
    return LongBytes() if kind == "bytea" else Long()


def _reflected(connection: Connection, table: str) -> Columns:
    schema, _, plain = table.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # types that SQLAlchemy does not know are text
        try:
            rows = inspect(connection).get_columns(plain, schema=schema or None)
        except NoSuchTableError:
            return None, frozenset()
    sqlite = connection.dialect.name == "sqlite"
    inexact = frozenset(row["name"] for row in rows if isinstance(row["type"], Float))
    columns = {row["name"]: NullType() if sqlite else row["type"] for row in rows}
    return (columns or None), inexact


def _name(raw: Any, charset: str) -> str:
    return raw.decode(charset, "replace") if isinstance(raw, bytes) else str(raw)
