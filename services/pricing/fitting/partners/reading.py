"""Months and stays out of Parquet, CSV or frames: read strictly, every fault at once.

A fault names file, column, rows, why and what to do, never a value of a person. Nothing is mended
here: a stay whose discharge lies before its admission would else count for somebody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from services.pricing.core.months import Result, last_day_of, month_of
from services.pricing.core.partners import PartnerMonth, Stay
from services.pricing.fitting.book_settings import TableSource
from services.pricing.fitting.dictionary import Column, Kind, Table
from services.pricing.fitting.experience.checking import Found
from services.pricing.fitting.experience.faults import Effect
from services.pricing.fitting.experience.tables import (
    Connection,
    columns_twice,
    connect,
    expression,
    first_line_not_utf8,
    identifier,
    quoted,
    raw_columns,
)
from services.pricing.fitting.partners.settings import (
    MONTHS,
    PARTNER_TABLES,
    STAYS,
    PartnersSettings,
)

_EXAMPLES = 5
# A year of one digit too many or too few is no day: it would put decades of missing months between.
_FIRST_DAY, _LAST_DAY = "1900-01-01", "2199-12-31"
_FORMS = {
    "month": "write 2025-03, from 1900 to 2199",
    Kind.DAY: "write YYYY-MM-DD, from 1900 to 2199",
    Kind.FLAG: "write true or false",
    Kind.NUMBER: "write a decimal, such as 0.12",
}
_EMPTY = "nothing written"


class PartnersRefused(ValueError):
    """The tables cannot be used; `faults` say all that is wrong."""

    def __init__(self, faults: Iterable[Found]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{one.where}: {one.kind}: {one.what}" for one in self.faults))


class NoTables(LookupError):
    """There is nothing to measure, or a file is no table; the text says what was looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """What was read; None where there is no such table. `faults` are to look at, none stops."""

    months: tuple[PartnerMonth, ...] | None
    stays: tuple[Stay, ...] | None
    faults: tuple[Found, ...]


def partner_files(folder: Path, settings: PartnersSettings) -> dict[str, Path]:
    """The file of each table that is there, by the table's name.

    Raises: NoTables when there is none, or one that the settings name is missing.
    """
    found, missing, named = {}, [], False
    for name in PARTNER_TABLES:
        file = settings.tables.get(name, TableSource()).file
        tried = [file] if file else [f"{name}.parquet", f"{name}.csv"]
        path = next((folder / one for one in tried if (folder / one).is_file()), None)
        if path is not None:
            found[name] = path
        else:
            missing.append(f"{name}: no {' and no '.join(tried)} in {folder}")
            named = named or bool(file)
    if named or not found:
        raise NoTables("\n".join(missing))
    return found


def read_files(
    files: Mapping[str, Path], settings: PartnersSettings, *, known_before: date
) -> Tables:
    """The tables in these files. `known_before` is the first day of which nothing is known.

    Raises: PartnersRefused with every fault; NoTables when a file is no table.
    """
    with connect() as con:
        for name, path in files.items():
            is_csv = path.suffix.lower() == ".csv"
            if is_csv and (told := list(first_line_not_utf8(path))):
                raise NoTables("\n".join(told))
            try:
                scan = (
                    con.read_csv(str(path), header=True, all_varchar=True)
                    if is_csv
                    else con.read_parquet(str(path))
                )
                twice = list(columns_twice(con, path)) if is_csv else []
            except duckdb.Error:
                text = f"{path.name} is neither Parquet nor CSV with a header, or cannot be read"
                raise NoTables(text) from None
            if twice:
                raise NoTables("\n".join(twice))
            scan.create_view(f"raw_{name}")
        return _read(con, settings, known_before)


def read_frames(
    frames: Mapping[str, pd.DataFrame], settings: PartnersSettings, *, known_before: date
) -> Tables:
    """The same of frames, by the tables' names.

    Raises: PartnersRefused.
    """
    with connect() as con:
        for name in PARTNER_TABLES:
            if name in frames:
                con.register(f"raw_{name}", frames[name])
        return _read(con, settings, known_before)


class _Faults:
    """Faults of one table, each kind with its rows."""

    def __init__(self, table: Table, source: TableSource) -> None:
        self._table, self._source = table, source
        self._rows: dict[tuple[str, str, str, str, Effect], list[int]] = defaultdict(list)

    def column(self, name: str) -> str:
        """A column by the owner's name, ours in brackets."""
        theirs = self._source.columns.get(name, name)
        return name if theirs == name else f"{theirs} [{name}]"

    def note(
        self,
        row: int,
        kind: str,
        column: str,
        what: str,
        do: str,
        effect: Effect = Effect.STOPS,
    ) -> None:
        """One row that has it; 0 for the table itself."""
        self._rows[kind, column, what, do, effect].append(row)

    def found(self) -> Iterator[Found]:
        """Each kind once."""
        name, file = self._table.name, self._source.file
        for (kind, column, what, do, effect), rows in self._rows.items():
            numbers = sorted(row for row in rows if row)
            yield Found(
                table=name,
                where=f"{file} [{name}]" if file else name,
                kind=kind,
                column=column,
                what=f"{self.column(column)}: {what}",
                do=do,
                effect=effect,
                rows=len(numbers),
                examples=tuple(numbers[:_EXAMPLES]),
            )


def _read(con: Connection, settings: PartnersSettings, known_before: date) -> Tables:
    months = stays = None
    faults: list[Found] = []
    for table in PARTNER_TABLES.values():
        if not (raw := raw_columns(con, table.name)):
            continue
        source = settings.tables.get(table.name, TableSource())
        noted = _Faults(table, source)
        strata = settings.strata if table is STAYS else ()
        if table is STAYS and _given(source, raw):
            strata = ()  # What is expected stands in the rows.
        rows = _rows(con, table, source, raw, strata, noted)
        if table is MONTHS:
            months = tuple(_months(rows, known_before, noted))
        else:
            given = _given(source, raw)
            stays = tuple(_stays(rows, strata, known_before, noted, given=given))
        faults += noted.found()
    if any(one.effect is Effect.STOPS for one in faults):
        raise PartnersRefused(faults)
    return Tables(months=months, stays=stays, faults=tuple(faults))


def _given(source: TableSource, raw: Mapping[str, str]) -> bool:
    return source.columns.get("expected", "expected") in raw


def _rows(
    con: Connection,
    table: Table,
    source: TableSource,
    raw: Mapping[str, str],
    strata: tuple[str, ...],
    noted: _Faults,
) -> list[dict[str, Any]]:
    """Rows as read, `right` where each single value is; no row when a column is missing."""
    names = [*(c.name for c in table.columns if c.required), *strata]
    missing = [name for name in names if source.columns.get(name, name) not in raw]
    for name in missing:
        do = f"add it, or name yours in partners.tables.{table.name}.columns"
        noted.note(0, "MISSING_COLUMN", name, "no such column", do)
    if missing:
        return []
    chosen = []
    for column in table.columns:
        theirs = source.columns.get(column.name, column.name)
        written = "false"
        if theirs in raw:
            written = f"coalesce(CAST({identifier(theirs)} AS VARCHAR), '') <> ''"
        chosen.append(f"{_value(column, source, raw)} AS {identifier(column.name)}")
        chosen.append(f"{written} AS {identifier('written ' + column.name)}")
    chosen += [
        f"CAST({identifier(source.columns.get(name, name))} AS VARCHAR) AS {identifier(name)}"
        for name in strata
    ]
    result = con.table(f"raw_{table.name}").project(", ".join(chosen))
    read = []
    for number, values in enumerate(result.fetchall(), 1):
        row = dict(zip(result.columns, values, strict=True)) | {"row": number}
        # Lists, not any lazy kind: every fault of a row is noted.
        right = [_right(row, column, table, noted) for column in table.columns]
        read.append(row | {"right": all(right + [_has(row, name, noted) for name in strata])})
    return read


def _value(column: Column, source: TableSource, raw: Mapping[str, str]) -> str:
    """A value as its type; a month may be written without a day, a probability stays exact."""
    theirs = source.columns.get(column.name, column.name)
    text = f"CAST({identifier(theirs)} AS VARCHAR)"
    if column.kind is Kind.NUMBER and theirs in raw:
        return f"TRY_CAST({text} AS DECIMAL(18, 9))"
    found = expression(column, source, raw)
    if column.name == "month":
        found = f"coalesce(TRY_CAST({text} AS DATE), TRY_CAST({text} || '-01' AS DATE))"
    if column.kind is Kind.DAY:
        found = (
            f"CASE WHEN {found} BETWEEN DATE {quoted(_FIRST_DAY)} AND DATE {quoted(_LAST_DAY)}"
            f" THEN {found} END"
        )
    return found


def _right(row: Mapping[str, Any], column: Column, table: Table, noted: _Faults) -> bool:
    value, written = row[column.name], row[f"written {column.name}"]
    if value is None and not written:
        if not column.empty:
            noted.note(row["row"], "EMPTY", column.name, _EMPTY, "fill it in")
        return column.empty
    if value is None:
        do = _FORMS.get(column.name) or _FORMS[column.kind]
        noted.note(row["row"], "NOT_READ", column.name, f"cannot be read as {column.kind}", do)
        return False
    if column.choices and value not in column.choices:
        words = ", ".join(column.choices)
        do = f"write {words}, or map it by partners.tables.{table.name}.values"
        noted.note(row["row"], "UNKNOWN_WORD", column.name, "unknown word", do)
        return False
    return True


def _has(row: Mapping[str, Any], stratum: str, noted: _Faults) -> bool:
    if row[stratum]:
        return True
    do = "fill it in, or take the column off partners.strata"
    noted.note(row["row"], "EMPTY", stratum, f"{_EMPTY}: a stay without a stratum", do)
    return False


def _months(
    rows: Iterable[Mapping[str, Any]], known_before: date, noted: _Faults
) -> Iterator[PartnerMonth]:
    seen: set[tuple[str, str, date]] = set()
    partners: dict[tuple[str, date], str] = {}
    for row in rows:
        partner, member, number = row["partner"], row["member_id"], row["row"]
        if None in (partner, member, row["month"]):
            continue
        month = month_of(row["month"])
        if last_day_of(month) >= known_before:
            do = "hand in months that are over, or move book.valuation_day"
            noted.note(number, "AHEAD", "month", "not over on book.valuation_day", do)
        if (partner, member, month) in seen:
            what = "the same partner, member and month stand in an earlier row"
            noted.note(number, "DUPLICATE_KEY", "month", what, "keep one row of each")
        seen.add((partner, member, month))
        if partners.setdefault((member, month), partner) != partner:
            what = "the member was with another partner in that month: it counts for both"
            do = "nothing, if it is meant; else give the month to one"
            noted.note(number, "TWO_PARTNERS", "month", what, do, Effect.LOOK_AT)
        if row["right"]:
            yield PartnerMonth(partner, member, month, Result(row["result"]))


def _stays(
    rows: Iterable[Mapping[str, Any]],
    strata: tuple[str, ...],
    known_before: date,
    noted: _Faults,
    *,
    given: bool,
) -> Iterator[Stay]:
    seen: set[str] = set()
    by_member: dict[str, list[tuple[date, date, int]]] = defaultdict(list)
    for row in rows:
        admitted, discharged = row["admission_day"], row["discharge_day"]
        if row["stay_id"] in seen:
            what = "stands in an earlier row"
            noted.note(row["row"], "DUPLICATE_KEY", "stay_id", what, "keep one row of each")
        elif _days_right(row, known_before, noted) and row["member_id"] and admitted:
            by_member[row["member_id"]].append((admitted, discharged or date.max, row["row"]))
        seen.add(row["stay_id"])
        expected = row["expected"]
        if given and not _probable(row, noted):
            continue
        if row["right"]:
            yield Stay(
                name=row["stay_id"],
                member=row["member_id"],
                admitted=admitted,
                discharged=discharged,
                planned=row["planned"],
                partner=row["partner"] or "",
                died=bool(row["died"]),
                stratum=tuple(row[name] for name in strata),
                expected=Fraction(expected) if given else None,
            )
    _overlaps(by_member, noted)


def _days_right(row: Mapping[str, Any], known_before: date, noted: _Faults) -> bool:
    admitted, discharged, number = row["admission_day"], row["discharge_day"], row["row"]
    if row["died"] and discharged is None and not row["written discharge_day"]:
        what = "empty, though the member died there"
        noted.note(number, "DIED_WHEN", "discharge_day", what, "give the day of death")
    if admitted and discharged and discharged < admitted:
        what = "before the day of admission"
        noted.note(number, "NO_DAYS", "discharge_day", what, "swap or mend the days")
        return False
    for column, day in (("admission_day", admitted), ("discharge_day", discharged)):
        if day and day >= known_before:
            what = "on book.valuation_day or later: not known then"
            do = "leave it out (a discharge: leave it empty), or move book.valuation_day"
            noted.note(number, "AHEAD", column, what, do)
            return False
    return True


def _probable(row: Mapping[str, Any], noted: _Faults) -> bool:
    expected, number = row["expected"], row["row"]
    if expected is None and row["written expected"]:
        return False  # What cannot be read is noted already.
    if expected is None:
        do = "fill it in for every stay, or leave the column out: the book's own rates count then"
        noted.note(number, "EMPTY", "expected", f"{_EMPTY}, but other stays have one", do)
        return False
    if not 0 <= expected <= 1:
        do = "write a probability from 0 to 1, 0.12 for 12 %"
        noted.note(number, "NO_PROBABILITY", "expected", "not within 0 to 1", do)
        return False
    return True


def _overlaps(by_member: Mapping[str, list[tuple[date, date, int]]], noted: _Faults) -> None:
    for stays in by_member.values():
        until = date.min
        for admitted, discharged, number in sorted(stays):
            if admitted < until:
                what = "within an earlier stay of the same member: the person lies in one bed"
                do = "join the rows of one stay, or mend the days; a transfer begins on the day"
                noted.note(number, "OVERLAP", "admission_day", what, f"{do} of discharge")
            until = max(until, discharged)
