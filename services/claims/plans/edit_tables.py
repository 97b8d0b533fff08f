"""Reads tables of edits, as rows or as CSV in the columns of NCCI's files, and packages.

Conflicts inside a table are noted here, at the line of the row: a row stands only once on any day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Generic, TypeVar

from services.claims.core.codes import CodeKey, code_key, comparable
from services.claims.core.facts import UNIT_SCALE, Coding
from services.claims.core.intake import MAX_QUANTITY
from services.claims.core.plan_edits import (
    Package,
    PackagePart,
    PairEdits,
    PairRow,
    Per,
    UnitEdits,
    UnitRow,
)
from services.claims.plans.context import Context, each, expect_unit, system_uri
from services.claims.plans.cycles import cycles, told_way
from services.claims.plans.dated_rows import csv_rows, row_days
from services.claims.plans.reader import Faults, Mapping, Value

RowT = TypeVar("RowT", UnitRow, PairRow)

_UNIT_COLUMNS = ("code", "units", "per", "effective", "deletion")
_PAIR_COLUMNS = ("column_1", "column_2", "effective", "deletion", "indicator")
_INDICATORS = (0, 1, 9)
_NOT_IN_FORCE = 9


@dataclass(frozen=True, slots=True)
class _Placed(Generic[RowT]):
    """A row and where it stands in the file."""

    row: RowT
    path: str
    line: int


def read_unit_edits(top: Mapping, context: Context) -> tuple[UnitEdits, ...]:
    """The most units of a code that are medically plausible, on a line or a day."""

    def read(term: Mapping) -> UnitEdits:
        expect_unit(term, "units")
        rows = _rows(term, _UNIT_COLUMNS, _unit_row)
        _refuse_overlaps(term.faults, rows, lambda row: (comparable(row.code), row.per.value))
        return UnitEdits(
            id=term.get("id").ident(),
            clause=context.clause(term),
            system=system_uri(term.get("system"), context),
            rows=tuple(one.row for one in rows),
        )

    return each(top, "medical_unit_edits", read)


def read_pair_edits(top: Mapping, context: Context) -> tuple[PairEdits, ...]:
    """Codes that do not go together for one member, provider and day."""

    def read(term: Mapping) -> PairEdits:
        rows = _rows(term, _PAIR_COLUMNS, _pair_row)
        in_force = [one for one in rows if one.row.indicator != _NOT_IN_FORCE]
        # Sorted, a pair and its mirror image are one: of two that stood together both were denied.
        _refuse_overlaps(
            term.faults,
            in_force,
            lambda row: tuple(sorted((comparable(row.first), comparable(row.second)))),
        )
        return PairEdits(
            id=term.get("id").ident(),
            clause=context.clause(term),
            system=system_uri(term.get("system"), context),
            rows=tuple(one.row for one in rows),
            modifiers=tuple(item.text() for item in term.items("modifiers")),
        )

    return each(top, "pair_edits", read)


def _unit_row(row: Mapping) -> UnitRow:
    effective, end = row_days(row)
    return UnitRow(
        code=row.get("code").text(),
        units=_units(row.get("units")),
        per=row.get("per").choice(Per),
        effective=effective,
        end=end,
    )


def _pair_row(row: Mapping) -> PairRow:
    effective, end = row_days(row)
    first, second = row.get("column_1").text(), row.get("column_2").text()
    if comparable(first) == comparable(second):
        row.fault("SAME_CODE", "a code does not exclude itself; use medical_unit_edits", "column_2")
    written = row.get("indicator")
    text = "write 0 (never), 1 (with a modifier) or 9 (not in force)"
    indicator = written.whole_of(_INDICATORS, text)
    return PairRow(first=first, second=second, effective=effective, indicator=indicator, end=end)


def _units(value: Value) -> int:
    return int(value.decimal(places=4, most=MAX_QUANTITY) * UNIT_SCALE)


def _rows(
    term: Mapping, columns: tuple[str, ...], read: Callable[[Mapping], RowT]
) -> list[_Placed[RowT]]:
    """The rows of a table, written as `rows` or as `csv`."""
    if term.has("rows") == term.has("csv"):
        term.fault("NO_ROWS", "write rows or csv, one of them")
    found = []
    for row in (*(item.mapping() for item in term.items("rows")), *csv_rows(term, columns)):
        found.append(_Placed(read(row), row.path, row.line))
        row.done()
    return found


def _refuse_overlaps(
    faults: Faults, rows: Iterable[_Placed[RowT]], key: Callable[[RowT], tuple[str, ...]]
) -> None:
    by_key: dict[tuple[str, ...], list[_Placed[RowT]]] = {}
    for one in rows:
        by_key.setdefault(key(one.row), []).append(one)
    for codes, same in by_key.items():
        ordered = sorted(same, key=lambda one: (one.row.effective, one.line))
        for one, after in pairwise(ordered):
            if one.row.end is None or after.row.effective < one.row.end:
                text = f"{' and '.join(codes)} stand on line {one.line} for the same days"
                faults.add(after.path, after.line, "OVERLAPPING_ROWS", text)


# --- packages ---


def read_packages(top: Mapping, context: Context) -> tuple[Package, ...]:
    """Codes that stand for services which must all be there; none may hold itself."""
    placed: list[tuple[Package, Mapping]] = []
    for item in top.items("packages"):
        term = item.mapping()
        placed.append((_package(term, context), term))
        term.done()
    days = sorted({day for package, _ in placed for day, _ in package.parts.values})
    told: set[tuple[str, str]] = set()
    for day in days:
        for reason, text, term in _conflicts(placed, day):
            if (reason, term.path) not in told:
                told.add((reason, term.path))
                term.fault(reason, f"from {day.isoformat()} {text}")
    return tuple(package for package, _ in placed)


def _package(term: Mapping, context: Context) -> Package:
    expect_unit(term, "units")
    system = system_uri(term.get("system"), context)

    def parts(value: Value) -> tuple[PackagePart, ...]:
        found = []
        for item in value.items():
            part = item.mapping()
            own = part.maybe("system")
            units = part.get("units")
            number = _units(units)
            if number == 0 and isinstance(units.value, int | str):
                units.fault("NOT_POSITIVE", "a part has more than 0 units")
            uri = system if own is None else system_uri(own, context)
            code = Coding(system=uri, code=part.get("code").text())
            found.append(PackagePart(code=code, units=number))
            part.done()
        if not found and isinstance(value.value, list):
            value.fault("EMPTY_LIST", "name the parts, or write null to end the package")
        if len({code_key(one.code) for one in found}) != len(found):
            value.fault("DUPLICATE_CODE", "a code stands twice among the parts")
        return tuple(found)

    return Package(
        id=term.get("id").ident(),
        clause=context.clause(term),
        code=Coding(system=system, code=term.get("code").text()),
        parts=term.get("parts").dated(parts, context.first_day),
    )


def _conflicts(
    placed: list[tuple[Package, Mapping]], day: date
) -> Iterator[tuple[str, str, Mapping]]:
    """Packages of one code on the day, and packages that hold themselves, however deep."""
    held: dict[CodeKey, tuple[CodeKey, ...]] = {}
    terms: dict[CodeKey, Mapping] = {}
    for package, term in placed:
        parts = package.parts.on(day) if package.parts.values[0][0] <= day else None
        if parts is None:
            continue
        key = code_key(package.code)
        if key in held:
            yield "DUPLICATE_CODE", f"another package is {key[1]}", term
        held[key] = tuple(code_key(part.code) for part in parts)
        terms[key] = term
    for way in cycles(held):
        told = told_way([key[1] for key in way], " > ")
        text = f"it holds itself: {told}; leave one of the parts out"
        yield "CYCLIC_PACKAGE", text, terms[way[0]]
