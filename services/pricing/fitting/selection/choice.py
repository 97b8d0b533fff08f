"""Reads the workbook back, strictly: every fault with its sheet and cell, or what was selected."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from services.common.money import currency_exponent
from services.pricing.core.tariff import canonical_bytes, factor_text
from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.selection.cells import Row, millionths
from services.pricing.fitting.selection.settings import Bounds
from services.pricing.fitting.selection.workbook import (
    COLUMNS,
    HEADER_ROW,
    PLACE,
    SUMMARY,
    fit_in,
    headers,
    sheet_names,
)

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

_LONGEST_REASON = 600
_ACTUARYS = frozenset({"selected", "reason", "change", "check"})


class WorkbookFault(msgspec.Struct, frozen=True):
    """One thing that is wrong with the workbook: sheet, cell ("O7"), stable reason, what to do."""

    sheet: str
    cell: str
    reason: str
    text: str


class WorkbookRefused(ValueError):
    """The workbook cannot be taken; `faults` holds all."""

    def __init__(self, faults: Sequence[WorkbookFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{one.sheet}!{one.cell}: {one.text}" for one in faults))


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cell: what was indicated beside what was selected, and why, in millionths."""

    cause: str
    table: str
    cell: str
    indicated_millionths: int
    selected_millionths: int
    previous_millionths: int | None
    reason: str


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """select/selection.json: every cell of a fit with what was selected; canonical JSON."""

    format: Literal[1]
    fit_sha256: str
    previous: str | None
    choices: tuple[Choice, ...]

    @property
    def changed(self) -> int:
        """How many cells differ from what was indicated."""
        return sum(one.selected_millionths != one.indicated_millionths for one in self.choices)


def selection_bytes(selection: Selection) -> bytes:
    """The one JSON form of a selection."""
    return canonical_bytes(selection)


def selection_from(content: bytes) -> Selection:
    """The selection that `selection_bytes` wrote.

    Raises: msgspec.ValidationError or DecodeError when the bytes are none.
    """
    return _decoder.decode(content)


_decoder = msgspec.json.Decoder(Selection)


def read_workbook(
    content: bytes,
    fit: Fit,
    fit_sha256: str,
    rows: Sequence[Row],
    previous: str | None,
    bounds: Bounds,
) -> Selection:
    """What was selected, in the fit's order, each inside the tariff's `factor_bounds`.

    Raises: WorkbookRefused with every fault of every sheet.
    """
    sheets, formulas = _opened(content)
    faults: list[WorkbookFault] = []
    names = sheet_names(fit)
    known = {SUMMARY, *names.values()}
    faults += [
        WorkbookFault(name, "A1", "UNKNOWN_SHEET", "the fit has no such cause; take it out")
        for name in sheets
        if name not in known
    ]
    if SUMMARY not in sheets or fit_in(sheets[SUMMARY]) != fit_sha256:
        text = "names another fit than fit/fit.json; `lipei pricing select --fresh` writes anew"
        faults.append(WorkbookFault(SUMMARY, "B3", "OTHER_FIT", text))
    found: dict[tuple[str, str, str], Choice] = {}
    for cause, name in names.items():
        if name not in sheets:
            text = "the sheet of this cause is missing; take it from a fresh workbook"
            faults.append(WorkbookFault(name, "A1", "MISSING_SHEET", text))
            continue
        mine = [row for row in rows if row.cause == cause]
        reading = _Reading(name, sheets[name], formulas[name], mine, fit.currency, bounds)
        found |= reading.choices()
        faults += reading.faults
    if faults:
        raise WorkbookRefused(faults)
    choices = tuple(found[row.key] for row in rows)
    return Selection(format=1, fit_sha256=fit_sha256, previous=previous, choices=choices)


def _opened(content: bytes) -> tuple[dict[str, Worksheet], dict[str, Worksheet]]:
    from openpyxl import load_workbook  # noqa: PLC0415 - half a second
    from openpyxl.utils.exceptions import InvalidFileException  # noqa: PLC0415 - half a second

    try:
        values = load_workbook(io.BytesIO(content), data_only=True)
        formulas = load_workbook(io.BytesIO(content))
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError):
        fault = WorkbookFault("", "", "NOT_A_WORKBOOK", "is no .xlsx workbook that can be read")
        raise WorkbookRefused([fault]) from None
    return (
        {sheet.title: sheet for sheet in values.worksheets},
        {sheet.title: sheet for sheet in formulas.worksheets},
    )


class _Reading:
    """One sheet being read."""

    def __init__(
        self,
        name: str,
        sheet: Worksheet,
        formulas: Worksheet,
        rows: Sequence[Row],
        currency: str,
        bounds: Bounds,
    ) -> None:
        self._name = name
        self._sheet = sheet
        self._formulas = formulas
        self._rows = rows
        self._currency = currency
        self._bounds = bounds
        self.faults: list[WorkbookFault] = []

    def choices(self) -> dict[tuple[str, str, str], Choice]:
        """What every row says, and all faults."""
        self._headers()
        placed = self._placed()
        found = {}
        for row in self._rows:
            number = placed.get((row.table, row.cell))
            if number is None:
                text = f"the row {row.table} {row.cell} is missing; take it from a fresh workbook"
                self.faults.append(WorkbookFault(self._name, "A1", "MISSING_ROW", text))
                continue
            self._unedited(number, row)
            choice = self._chosen(number, row)
            if choice is not None:
                found[row.key] = choice
        self._monotone(found, placed)
        return found

    def _placed(self) -> dict[tuple[str, str], int]:
        """Where each row stands: rows may be sorted. Whose name was edited is where it was."""
        numbers = range(HEADER_ROW + 1, self._sheet.max_row + 1)
        said = {n: (self._text(n, "table"), self._text(n, "cell")) for n in numbers}
        written = {n: (row.table, row.cell) for n, row in enumerate(self._rows, HEADER_ROW + 1)}
        placed = {key: n for n, key in written.items() if said.get(n) == key}
        moved = {}
        for number, key in said.items():
            if key == ("", ""):
                self._stray(number)
            elif placed.get(key) != number:
                if key in placed or key not in written.values():
                    moved[number] = key
                else:
                    placed[key] = number
        for number, key in moved.items():
            was = written.get(number)
            if was is None or was in placed:
                self._unknown(number, key, placed)
            else:
                placed[was] = number
        return placed

    def _unknown(
        self, number: int, key: tuple[str, str], placed: dict[tuple[str, str], int]
    ) -> None:
        if key in placed:
            text = f"stands in row {placed[key]} already"
            self._fault(number, "cell", "DUPLICATE_ROW", text)
        else:
            of_table = any(row.table == key[0] for row in self._rows)
            text = "the fit has no such cell; take it out"
            self._fault(number, "cell" if of_table else "table", "UNKNOWN_ROW", text)

    def _headers(self) -> None:
        titles = headers(self._currency)
        for number, (header, (_, name, _)) in enumerate(zip(titles, COLUMNS, strict=True), 1):
            if self._sheet.cell(HEADER_ROW, number).value != header:
                text = f"the header must read {header}; columns may not be moved"
                self._fault(HEADER_ROW, name, "HEADER_CHANGED", text)

    def _stray(self, number: int) -> None:
        for name in ("selected", "reason"):
            if self._sheet.cell(number, PLACE[name]).value is not None:
                self._fault(number, name, "UNKNOWN_ROW", "stands beside no cell; take it out")

    def _unedited(self, number: int, row: Row) -> None:
        for _, name, _ in COLUMNS:
            if name in _ACTUARYS:
                continue
            value, expected = self._sheet.cell(number, PLACE[name]).value, getattr(row, name)
            if name == "amount_minor":
                expected /= 10 ** currency_exponent(self._currency)
            if not _same(value, expected, name):
                text = "was edited; only selected and reason are yours"
                self._fault(number, name, "EDITED", text)

    def _chosen(self, number: int, row: Row) -> Choice | None:
        value = self._sheet.cell(number, PLACE["selected"]).value
        written = self._formulas.cell(number, PLACE["selected"]).value
        if value is None and isinstance(written, str) and written.startswith("="):
            text = "holds a formula that was never worked out; open and save it in a spreadsheet"
            self._fault(number, "selected", "NO_VALUE", text)
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            text = "must be a number: the relativity to use"
            self._fault(number, "selected", "NOT_A_NUMBER", text)
            return None
        selected = millionths(float(value))
        least, greatest = self._bounds.least, self._bounds.greatest
        if not least <= selected <= greatest:
            text = (
                f"{'.'.join(row.key)} must lie in {factor_text(least)} to {factor_text(greatest)} "
                "(tariff.factor_bounds)"
            )
            self._fault(number, "selected", "OUT_OF_RANGE", text)
            return None
        reason = self._sheet.cell(number, PLACE["reason"]).value
        said = "" if reason is None else str(reason).strip()
        if selected != row.indicated and not said:
            text = "must say why selected differs from indicated"
            self._fault(number, "reason", "NO_REASON", text)
        if len(said) > _LONGEST_REASON or not said.isprintable():
            text = f"must be at most {_LONGEST_REASON} characters on one line"
            self._fault(number, "reason", "REASON_TOO_LONG", text)
        return _choice(row, selected, said)

    def _monotone(
        self, found: dict[tuple[str, str, str], Choice], placed: dict[tuple[str, str], int]
    ) -> None:
        for before, row in pairwise(self._rows):
            if before.table != row.table or row.monotone == "no":
                continue
            pair = found.get(before.key), found.get(row.key)
            if pair[0] is None or pair[1] is None:
                continue
            step = pair[1].selected_millionths - pair[0].selected_millionths
            if (step < 0) if row.monotone == "rising" else (step > 0):
                text = f"breaks the {row.monotone} order of {row.table}"
                number = placed[row.table, row.cell]
                self._fault(number, "selected", "NOT_MONOTONE", text)

    def _text(self, number: int, name: str) -> str:
        value = self._sheet.cell(number, PLACE[name]).value
        return "" if value is None else str(value)

    def _fault(self, number: int, name: str, reason: str, text: str) -> None:
        where = f"{_letter(PLACE[name])}{number}"
        self.faults.append(WorkbookFault(self._name, where, reason, text))


def _choice(row: Row, selected: int, reason: str) -> Choice:
    return Choice(
        cause=row.cause,
        table=row.table,
        cell=row.cell,
        indicated_millionths=row.indicated,
        selected_millionths=selected,
        previous_millionths=row.previous,
        reason=reason,
    )


def _same(value: Any, expected: Any, name: str) -> bool:
    if expected is None:
        return value is None
    if isinstance(expected, str):
        return str(value) == expected
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if name in ("exposure", "claims", "amount_minor"):
        return abs(Decimal(repr(value)) - Decimal(repr(expected))) <= Decimal("0.000001")
    return bool(millionths(float(value)) == expected)


def _letter(place: int) -> str:
    return chr(ord("A") + place - 1)
