"""Reads contract prices: a list with a map for each code, or a table in CSV for long lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise

from services.claims.core.codes import CodeKey, code_key
from services.claims.core.facts import Coding, ContractPrice
from services.claims.plans.context import Context, each, expect_unit, system_uri
from services.claims.plans.dated_rows import csv_rows, row_days
from services.claims.plans.reader import STAND_IN, Faults, Mapping
from services.common.dated import Dated

COLUMNS = ("code", "unit", "price", "effective", "deletion")
# The name of a service is for people who read the table; nothing is decided by it.
_HEADINGS = (COLUMNS, (*COLUMNS, "name"))
_WITH_SYSTEM = tuple(("system", *one) for one in _HEADINGS)
# What a spreadsheet makes of a long code of digits: its last digits are lost.
_ROUNDED = re.compile(r"[0-9](?:\.[0-9]+)?E\+[0-9]+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Row:
    """A price of one code from a first day to before `end`, and where it stands in the file."""

    code: Coding
    price: Decimal
    effective: date
    end: date | None
    path: str
    line: int


def read_price_list(owner: Mapping, context: Context) -> tuple[ContractPrice, ...]:
    """The contract prices under the key `prices`; of a code one stands on any day."""
    found = owner.maybe("prices")
    if found is None:
        return ()
    if found.is_mapping():
        table = found.mapping()
        prices = _table(table, context)
        table.done()
        return prices
    lines: dict[CodeKey, int] = {}

    def read(term: Mapping) -> ContractPrice:
        expect_unit(term, context.currency)
        code = Coding(system=system_uri(term.get("system"), context), code=term.get("code").text())
        values = term.get("values")
        one = ContractPrice(
            code=code, price=values.dated(lambda v: v.decimal(places=6), context.first_day)
        )
        key = code_key(code)
        if key in lines:
            text = f"this code stands on line {lines[key]} already: its dates belong there"
            term.fault("DUPLICATE_CODE", text, "code")
        lines.setdefault(key, term.line)
        return one

    return each(owner, "prices", read)


def _table(table: Mapping, context: Context) -> tuple[ContractPrice, ...]:
    """The prices of a table: the rows of a code are its dated values."""
    beside = table.maybe("system")
    system = None if beside is None else system_uri(beside, context)
    headings = _WITH_SYSTEM if beside is None else _HEADINGS
    table.get("csv")
    by_code: dict[CodeKey, list[_Row]] = {}
    for row in csv_rows(table, *headings):
        one = _row(row, system, context)
        row.done()
        if one.effective != STAND_IN:
            by_code.setdefault(code_key(one.code), []).append(one)
    return tuple(
        ContractPrice(code=rows[0].code, price=_dated(table.faults, rows, context.first_day))
        for rows in by_code.values()
    )


def _row(row: Mapping, system: str | None, context: Context) -> _Row:
    expect_unit(row, context.currency)
    written = row.get("code")
    code = written.text()
    if _ROUNDED.fullmatch(code):
        text = "a spreadsheet has rounded this code; export its column as text"
        written.fault("ROUNDED_CODE", text)
    row.maybe("name")
    effective, end = row_days(row)
    return _Row(
        code=Coding(
            system=system_uri(row.get("system"), context) if system is None else system, code=code
        ),
        price=row.get("price").decimal(places=6),
        effective=effective,
        end=end,
        path=row.path,
        line=row.line,
    )


def _dated(faults: Faults, rows: Iterable[_Row], first_day: date) -> Dated[Decimal]:
    """The values of one code: a row without a last day holds until the next begins."""
    ordered = sorted(rows, key=lambda one: (one.effective, one.line))
    for one, after in pairwise(ordered):
        if one.effective == after.effective:
            text = f"this code stands on line {one.line} from the same day"
            faults.add(after.path, after.line, "DUPLICATE_CODE", text)
        elif one.end is not None and after.effective < one.end:
            text = f"this code stands on line {one.line} for the same days"
            faults.add(after.path, after.line, "OVERLAPPING_ROWS", text)
    values: dict[date, Decimal | None] = {}
    if first_day < ordered[0].effective:
        values[first_day] = None
    for one in ordered:
        # The price of this row takes the place of an end on the same day.
        values[one.effective] = one.price
        if one.end is not None:
            values[one.end] = None
    return Dated(values=tuple(sorted(values.items(), key=lambda entry: entry[0])))
