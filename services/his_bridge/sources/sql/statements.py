"""The statements that read a hospital's tables: SQLAlchemy Core, no text of ours. Runs nothing.

Rows are walked by (mark, key), never by OFFSET; the condition is written so that an index on those
two columns serves it on every database.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    FromClause,
    Integer,
    LargeBinary,
    Numeric,
    Select,
    String,
    TableClause,
    Text,
    Unicode,
    UnicodeText,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.mssql import XML
from sqlalchemy.types import NullType, TypeEngine

from services.his_bridge.profiles.source_kinds.sql import ROW_XMIN, Marks
from services.his_bridge.sources.sql.cursor import Spot, Value

Types = Mapping[str, TypeEngine[Any]]
AT, KEY = "lipei_at", "lipei_key"
_LONGEST_SHORT = 4_000
_LONGEST_TIME = 64
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# The transaction of a row's last change as a number that never wraps: `xmin` has 32 bits, and the
# newest number tells how many times they ran over.
_NEWEST = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_ROW_XMIN = f"({_NEWEST} - (({_NEWEST} - xmin::text::bigint) & 4294967295))"
# Below this mark every transaction has ended, and what it wrote is visible.
_HORIZONS = {
    "postgresql": "pg_snapshot_xmin(pg_current_snapshot())::text",
    "mssql": "MIN_ACTIVE_ROWVERSION()",
}


class Long(NullType):
    """A column of PostgreSQL that may hold any length, of which the server knows the type."""

    cache_ok = True


class Whole(NullType):
    """A column of PostgreSQL that holds numbers, and is compared with no other text."""

    cache_ok = True


class Named(NullType):
    """The same of a UUID."""

    cache_ok = True


class LongBytes(Long):
    """The same of bytes."""


def clause(name: str, columns: Iterable[str], types: Types) -> TableClause:
    """A table or view, by its name with or without schema."""
    schema, _, plain = name.rpartition(".")
    made = [column(each, types.get(each, NullType())) for each in dict.fromkeys(columns)]
    return table(plain, *made, schema=schema or None)


def guarded(of: FromClause, names: Sequence[str], most: int) -> FromClause:
    """SQLite's table without the rows that hold more than so many bytes in one of these columns.

    Each is asked for its size before anything compares it, which no index serves: a comparison
    would read it whole.
    """
    small = {name: ~_is_larger(of.c[name], most) for name in names}
    columns = (
        case((small[each.name], each), else_=null()).label(each.name)
        if each.name in small
        else each
        for each in of.c
    )
    return select(*columns).where(*small.values()).subquery()


def too_large(marks: Marks, of: FromClause, most: int) -> Select[Any]:
    """The columns of marks that hold more bytes somewhere, as one row of 0 and 1; on SQLite."""
    found = [func.max(_is_larger(of.c[name], most)) for name in marks.columns]
    return select().add_columns(*found)


def _is_larger(of: ColumnElement[Any], most: int) -> ColumnElement[bool]:
    return func.coalesce(func.length(cast(of, LargeBinary)), 0) > most


def has_horizon(backend: str) -> bool:
    """Whether a database tells which transactions have ended."""
    return backend in _HORIZONS


def mark_of(marks: Marks, of: FromClause, backend: str) -> Select[Any]:
    """The mark under which a sweep begins: the horizon, else the newest `updated`."""
    if marks.horizon is not None:
        return select(literal_column(_HORIZONS[backend]))
    return select(func.max(_at(marks, of)))


def without_marks(marks: Marks, of: FromClause) -> Select[Any]:
    """A row that no walk finds, if there is one: its key or its mark is empty."""
    empty = [of.c[name].is_(None) for name in marks.columns]
    return select(of.c[marks.key]).where(or_(*empty)).limit(1)


def page(
    marks: Marks, of: FromClause, *, start: Value | None, spot: Spot | None, most: int
) -> Select[Any]:
    """The next marks and keys, in their order; each pair once."""
    found = _beyond(marks, of, start=start, spot=spot)
    return found.order_by(found.selected_columns[AT], of.c[marks.key]).limit(most)


def left(marks: Marks, of: FromClause, spot: Spot) -> Select[Any]:
    """How many marks and keys lie beyond a place."""
    return select(func.count()).select_from(_beyond(marks, of, start=None, spot=spot).subquery())


def _beyond(marks: Marks, of: FromClause, *, start: Value | None, spot: Spot | None) -> Select[Any]:
    at, key = _at(marks, of), of.c[marks.key]
    conditions: list[ColumnElement[bool]] = [key.is_not(None)]
    if spot is not None:
        here = _bound(spot.at, at)
        beyond = and_(at == here, key > _bound(spot.key, key))
        conditions += [at >= here, or_(at > here, beyond)]
    elif start is not None:
        conditions.append(at >= _bound(start, at))
    return select(at.label(AT), key.label(KEY)).where(*conditions).distinct()


def rows_of(
    marks: Marks,
    of: FromClause,
    columns: Sequence[str],
    keys: Sequence[Value],
    order: str | None = None,
) -> Select[Any]:
    """The rows of some keys, with what tells when each last changed, where the table has it."""
    key = of.c[marks.key]
    at: ColumnElement[Any] = literal_column("NULL")
    if marks.updated is not None or marks.horizon is not None:
        at = _at(marks, of)
    wanted = [of.c[name] for name in dict.fromkeys(columns)]
    statement = select(at.label(AT), key.label(KEY), *wanted).where(_has_key(marks, of, keys))
    return statement.order_by(key, *([of.c[order]] if order else []))


def size_of(
    marks: Marks, of: FromClause, columns: Sequence[str], keys: Sequence[Value], backend: str
) -> Select[Any] | None:
    """How much the rows of some keys hold in columns that may hold any length.

    The database counts, so that nobody fetches what is too large. None where no column may, or the
    database is none of those that we know how to ask.
    """
    count = _COUNTED.get(backend)
    large = [of.c[name] for name in dict.fromkeys(columns) if _may_be_large(of.c[name], backend)]
    if count is None or not large:
        return None
    sizes = (func.coalesce(func.sum(count(each)), 0) for each in large)
    return select(functools.reduce(operator.add, sizes)).where(_has_key(marks, of, keys))


def keys_of(
    marks: Marks, of: FromClause, columns: Sequence[str], values: Sequence[str]
) -> Select[Any]:
    """The keys of rows that have one of the values in one of the columns."""
    found = [
        of.c[name].in_(
            bindparam(None, _fit(values, of.c[name]), type_=of.c[name].type, expanding=True)
        )
        for name in columns
    ]
    return select(of.c[marks.key]).where(or_(*found)).distinct()


class DayColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column that tells a day, and from where to where it is asked for, as it writes days.

    `blank`: a text of blanks stands there as well as NULL.
    """

    name: str
    ranges: tuple[tuple[Any, Any], ...]
    blank: bool = False


def first_and_last(of: FromClause, name: str) -> Select[Any]:
    """The least and the greatest value of a column."""
    return select(func.min(of.c[name]), func.max(of.c[name]))


def in_days(of: FromClause, columns: Sequence[DayColumn]) -> ColumnElement[bool]:
    """The rows whose day lies in the ranges: of the first of these columns that says one."""
    conditions: list[ColumnElement[bool]] = []
    unsaid: list[ColumnElement[bool]] = []
    for each in columns:
        when = of.c[each.name]
        for first, beyond in each.ranges:
            low, high = (bindparam(None, end, type_=when.type) for end in (first, beyond))
            conditions.append(and_(*unsaid, when >= low, when < high))
        empty: ColumnElement[bool] = when.is_(None)
        if each.blank:
            # PostgreSQL tells times as texts too, and trims none; Oracle casts to no bare VARCHAR.
            empty = or_(empty, func.ltrim(cast(when, String(_LONGEST_TIME))) == "")
        unsaid.append(empty)
    return or_(*conditions)


def days(
    marks: Marks,
    of: FromClause,
    columns: Sequence[str],
    within: ColumnElement[bool],
    after: Value | None,
    most: int,
) -> Select[Any]:
    """The records of a window of days, by key."""
    key = of.c[marks.key]
    conditions = [within]
    if after is not None:
        conditions.append(key > _bound(after, key))
    wanted = [of.c[name] for name in dict.fromkeys(columns)]
    return select(key.label(KEY), *wanted).where(*conditions).distinct().order_by(key).limit(most)


def counted(
    marks: Marks, of: FromClause, within: ColumnElement[bool], *, flat: bool
) -> Select[Any]:
    """How many records a window of days holds, by the database's own count."""
    key = of.c[marks.key]
    number = func.count(key.distinct()) if flat else func.count()
    return select(number).select_from(of).where(within)


def _at(marks: Marks, of: FromClause) -> ColumnElement[Any]:
    """What tells when a row last changed: its transaction, where that is known, else `updated`."""
    if marks.horizon == ROW_XMIN:
        return literal_column(_ROW_XMIN, BigInteger())
    name = marks.horizon or marks.updated
    if name is None:
        raise TypeError("a table without marks is not walked")
    return of.c[name]


def _has_key(marks: Marks, of: FromClause, keys: Sequence[Value]) -> ColumnElement[bool]:
    key = of.c[marks.key]
    values = list(dict.fromkeys(text for each in keys for text in _spellings(each.bound())))
    return key.in_(bindparam(None, _fit(values, key), type_=key.type, expanding=True))


def _fit(values: Sequence[Any], of: ColumnElement[Any]) -> list[Any]:
    """Those that the column may hold: a text that is no number is an error beside numbers."""
    if isinstance(of.type, Whole | Numeric | Integer):
        return [each for each in values if not isinstance(each, str) or _NUMBER.fullmatch(each)]
    if isinstance(of.type, Named | Uuid):
        return [each for each in values if not isinstance(each, str) or _UUID.fullmatch(each)]
    return list(values)


def _may_be_large(of: ColumnElement[Any], backend: str) -> bool:
    """SQLite keeps a text of any length in a column of any type."""
    if backend in ("sqlite", "postgresql"):
        return backend == "sqlite" or isinstance(of.type, Long)
    if backend == "oracle" and of.type.__visit_name__ == "LONG":
        return False  # no function takes one; the driver fetches it whole
    length = getattr(of.type, "length", None)
    is_text = isinstance(of.type, String | LargeBinary | JSON)
    return is_text and (length is None or length > _LONGEST_SHORT)


def _characters(of: ColumnElement[Any]) -> ColumnElement[int]:
    if isinstance(of.type, LongBytes):
        return func.octet_length(of)
    return func.char_length(cast(of, Text))


def _in_oracle(of: ColumnElement[Any]) -> ColumnElement[int]:
    """Oracle's LENGTH takes no BLOB, and GETLENGTH is of what lies apart from its row."""
    apart = isinstance(of.type, Text | LargeBinary)
    return func.dbms_lob.getlength(of) if apart else func.length(of)


def _in_mssql(of: ColumnElement[Any]) -> ColumnElement[int]:
    """SQL Server's LEN leaves blanks out and takes no TEXT; DATALENGTH counts bytes of any."""
    size = cast(func.datalength(of), BigInteger)
    wide = isinstance(of.type, Unicode | UnicodeText | XML)
    return size // literal_column("2", BigInteger()) if wide else size


# As Python counts: characters of a text, bytes of what is none.
_COUNTED: Mapping[str, Callable[[ColumnElement[Any]], ColumnElement[int]]] = {
    "postgresql": _characters,
    "mysql": func.char_length,
    "mariadb": func.char_length,
    # SQLite reads a text to count it; its connection refuses one that is far too large unread.
    "sqlite": func.length,
    "oracle": _in_oracle,
    "mssql": _in_mssql,
}


def _bound(value: Value, against: ColumnElement[Any]) -> BindParameter[Any]:
    # Without a type of its own a text is read by PostgreSQL as what it is compared with.
    untyped = value.kind == "text" and not isinstance(against.type, NullType)
    kind = NullType() if untyped and isinstance(against.type, BigInteger) else against.type
    return bindparam(None, value.bound(), type_=kind)


def _spellings(key: Any) -> Iterable[Any]:
    """A key as it came, and without the blanks that fill a CHAR column."""
    yield key
    if isinstance(key, str) and key != key.rstrip(" "):
        yield key.rstrip(" ")
