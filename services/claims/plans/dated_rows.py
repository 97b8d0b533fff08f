"""Reads rows that hold from a first to a last day, and tables of them written as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date

from services.claims.plans.reader import STAND_IN, Mapping
from services.common.dated import half_open
from services.common.strict_yaml import YamlMap

_COMPACT_DATE = re.compile(r"[0-9]{8}", re.ASCII)


def row_days(row: Mapping) -> tuple[date, date | None]:
    """First day, and first day after the written last one; none when the row has no end.

    9999-12-31 is no end: many systems export an open one so.
    """
    effective, deletion = row.get("effective").day(), row.maybe("deletion")
    last = None if deletion is None else deletion.day()
    if deletion is None or last in (None, STAND_IN, date.max):
        return effective, None
    if last < effective:
        deletion.fault("DATES_OUT_OF_ORDER", "the last day lies before the first")
        return effective, None
    return effective, half_open(last)


def csv_rows(term: Mapping, *headings: tuple[str, ...]) -> Iterator[Mapping]:
    """The lines below the heading, which is one of these, as mappings.

    An empty cell and "*" are nothing. Rows stand on the lines after the key, as YAML writes a block
    of text.
    """
    value = term.maybe("csv")
    if value is None:
        return
    lines = value.block("write a block of text (|) with a heading and one row a line")
    if not isinstance(value.value, str):
        return
    columns = tuple(lines[0].strip().split(",")) if lines else ()
    if columns not in headings:
        known = " or ".join(",".join(one) for one in headings)
        value.fault("WRONG_HEADING", f"the first line must be {known}")
        return
    for number, written in enumerate(lines[1:], start=2):
        if not written.strip():
            continue
        place, line = f"{value.path}[{number - 1}]", value.line + number
        try:
            cells = [cell.strip() for cell in next(csv.reader([written], strict=True))]
        except csv.Error:
            text = "quotes that do not close, or a cell too long; a row stands on one line"
            term.faults.add(place, line, "WRONG_ROW", text)
            continue
        if len(cells) != len(columns):
            text = f"a row has {len(columns)} cells, this one {len(cells)}"
            term.faults.add(place, line, "WRONG_ROW", text)
            continue
        row = YamlMap(
            (column, _cell(column, cell))
            for column, cell in zip(columns, cells, strict=True)
            if cell not in ("", "*")
        )
        row.line, row.lines = line, dict.fromkeys(columns, line)
        yield Mapping(term.faults, row, place)


def _cell(column: str, cell: str) -> str | int:
    if column in ("effective", "deletion") and _COMPACT_DATE.fullmatch(cell):
        return f"{cell[:4]}-{cell[4:6]}-{cell[6:]}"
    return int(cell) if column == "indicator" and cell.isascii() and cell.isdigit() else cell
