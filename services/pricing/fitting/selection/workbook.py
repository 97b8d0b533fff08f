"""select/relativities.xlsx: what was indicated, and two columns for the actuary. Only written here.

One sheet a cause and a summary. Everything but `selected` and `reason` is protected, without a
password: it is against slips, and reading back finds every edit. The bytes depend on the fit alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.common.money import currency_exponent
from services.pricing.core.tariff import MILLION, factor_text
from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.packing import packed
from services.pricing.fitting.selection.cells import Row
from services.pricing.fitting.selection.settings import Bounds

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

SUMMARY = "汇总 summary"
# Header, the row's attribute, width. `selected` and `reason` are the actuary's; the last two check.
COLUMNS = (
    ("表 table", "table", 16),
    ("格 cell", "cell", 18),
    ("因子 feature", "feature", 18),
    ("暴露人年 exposure", "exposure", 12),
    ("赔案数 claims", "claims", 10),
    ("赔款 claims amount, {currency}", "amount_minor", 18),
    ("频率系数 frequency", "frequency", 11),
    ("案均系数 severity", "severity", 11),
    ("原始 raw", "raw", 10),
    ("可信度 credibility", "credibility", 11),
    ("指示系数 indicated", "indicated", 12),
    ("指示 95% 下限 indicated, 95 % from", "low95", 10),
    ("指示 95% 上限 indicated, 95 % to", "high95", 10),
    ("现行系数 previous", "previous", 12),
    ("选定系数 selected", "selected", 12),
    ("理由 reason", "reason", 48),
    ("变动 change", "change", 10),
    ("检查 check", "check", 30),
)
PLACE = {name: number for number, (_, name, _) in enumerate(COLUMNS, 1)}
HEADER_ROW = 3
_RELATIVITIES = frozenset(
    {"frequency", "severity", "raw", "credibility", "indicated", "low95", "high95", "previous"}
)
_FIT_ROW = 3
_FORBIDDEN = re.compile(r"[\[\]:*?/\\]")


def sheet_names(fit: Fit) -> dict[str, str]:
    """Cause → the name of its sheet, which a spreadsheet limits to 31 characters."""
    found: dict[str, str] = {}
    for number, cause in enumerate(fit.causes, 1):
        name = _FORBIDDEN.sub("_", cause.name)
        short = name[:27]
        found[cause.name] = name if len(name) <= 31 else f"{short}~{number}"
    return found


def workbook_bytes(
    fit: Fit,
    fit_sha256: str,
    rows: Sequence[Row],
    bounds: Bounds,
    selected: dict[tuple[str, str, str], tuple[float, str]] | None = None,
) -> bytes:
    """The workbook; `selected` and `reason` as given, else what was indicated and nothing.

    `bounds` are the tariff's, which a factor may not leave.
    """
    from openpyxl import Workbook  # noqa: PLC0415 - half a second

    book = Workbook()
    names = sheet_names(fit)
    for cause in fit.causes:
        sheet = book.create_sheet(names[cause.name])
        sheet["A1"] = f"{cause.zh} {cause.en}"
        mine = [row for row in rows if row.cause == cause.name]
        _sheet(sheet, mine, selected or {}, fit.currency, bounds)
    _summary(book, fit, fit_sha256, rows, names)
    return packed(book)


def headers(currency: str) -> tuple[str, ...]:
    """What stands over the columns of a cause's sheet."""
    return tuple(title.format(currency=currency) for title, _, _ in COLUMNS)


def _sheet(
    sheet: Worksheet,
    rows: Sequence[Row],
    selected: dict[tuple[str, str, str], tuple[float, str]],
    currency: str,
    bounds: Bounds,
) -> None:
    from openpyxl.styles import Font, PatternFill, Protection  # noqa: PLC0415 - as above
    from openpyxl.utils import get_column_letter  # noqa: PLC0415 - as above

    sheet["A1"].font = Font(bold=True, size=13)
    grey, yellow = PatternFill("solid", "DDDDDD"), PatternFill("solid", "FFF9D6")
    titles = headers(currency)
    places = currency_exponent(currency)
    formats = _formats(places)
    for number, (header, (_, _, width)) in enumerate(zip(titles, COLUMNS, strict=True), 1):
        heading = sheet.cell(HEADER_ROW, number, header)
        heading.font, heading.fill = Font(bold=True), grey
        sheet.column_dimensions[get_column_letter(number)].width = width
    for number, row in enumerate(rows, HEADER_ROW + 1):
        chosen, reason = selected.get(row.key, (row.indicated / MILLION, ""))
        for name, place in PLACE.items():
            entry: Any = sheet.cell(number, place)
            if name == "selected":
                entry.value = chosen
            elif name == "reason":
                entry.value = reason or None
            elif name == "change":
                entry.value = f'=IF(N{number}="","",O{number}/N{number}-1)'
            elif name == "check":
                first = _is_first(rows, number - HEADER_ROW - 1)
                entry.value = _check(number, row, bounds, first=first)
            else:
                entry.value = _shown(name, row, places)
            if name in ("selected", "reason"):
                entry.protection, entry.fill = Protection(locked=False), yellow
            entry.number_format = formats.get(name, "General")
    sheet.freeze_panes = f"C{HEADER_ROW + 1}"
    sheet.protection.sheet = True


def _formats(places: int) -> dict[str, str]:
    """How a spreadsheet writes each column's numbers."""
    money = f"#,##0.{'0' * places}" if places else "#,##0"
    return {
        **dict.fromkeys((*_RELATIVITIES, "selected"), "0.000000"),
        "exposure": "#,##0.0",
        "claims": "#,##0",
        "amount_minor": money,
        "change": "0.0%",
    }


def _shown(name: str, row: Row, places: int) -> Any:
    value = getattr(row, name)
    if name == "amount_minor":
        return value / 10**places
    if name in _RELATIVITIES:
        return None if value is None else value / MILLION
    return round(value, 6) if name == "exposure" else value


def _is_first(rows: Sequence[Row], place: int) -> bool:
    return place == 0 or rows[place - 1].table != rows[place].table


def _check(number: int, row: Row, bounds: Bounds, *, first: bool) -> str:
    """What the row says of itself while somebody edits; reading back judges anew."""
    wrong = {"rising": "<", "falling": ">"}.get(row.monotone)
    order = "FALSE" if first or wrong is None else f"O{number}{wrong}O{number - 1}"
    least, greatest = factor_text(bounds.least), factor_text(bounds.greatest)
    aside, fine = "FALSE", "ok"
    if row.bounded:
        fine = "ok, 指示值受限 indicated is held by a bound"
    if row.low95 is not None and row.high95 is not None:
        aside = f"OR(O{number}<L{number},O{number}>M{number})"
    return (
        f'=IF(NOT(ISNUMBER(O{number})),"须为数字 a number",'
        f'IF(OR(O{number}<{least},O{number}>{greatest}),"须在 within {least}–{greatest}",'
        f'IF({order},"单调被破坏 order broken",'
        f'IF(AND(ABS(O{number}-K{number})>=0.0000005,TRIM(P{number})=""),'
        f'"须写理由 say why",IF({aside},"ok, 95% 区间外 outside its 95 %","{fine}")))))'
    )


def _summary(
    book: Workbook, fit: Fit, fit_sha256: str, rows: Sequence[Row], names: dict[str, str]
) -> None:
    from openpyxl.styles import Font  # noqa: PLC0415 - as above

    sheet = book.worksheets[0]
    sheet.title = SUMMARY
    sheet["A1"] = "选定系数 Selection of relativities"
    sheet["A1"].font = Font(bold=True, size=13)
    synthetic = "合成数据，不得用于销售 synthetic, not for sale" if fit.synthetic else ""
    sheet["A2"] = synthetic
    sheet.cell(_FIT_ROW, 1, "拟合 fit (SHA-256)")
    sheet.cell(_FIT_ROW, 2, fit_sha256)
    sheet.cell(_FIT_ROW + 1, 1, "数据 data (SHA-256)")
    sheet.cell(_FIT_ROW + 1, 2, fit.book)
    sheet["A6"] = "只填黄色两列；选定不同于指示时必须写理由。"
    sheet["A7"] = "Fill in the yellow columns only; where selected differs from indicated, say why."
    header = (
        "责任 cause",
        "表 table",
        "格数 cells",
        "改动 changed",
        "对预期赔款的影响 effect on expected claims",
        "待处理 to mend",
    )
    for place, text in enumerate(header, 1):
        sheet.cell(9, place, text).font = Font(bold=True)
    number = 10
    for cause in fit.causes:
        mine = [row for row in rows if row.cause == cause.name]
        for table in cause.tables:
            at = [n for n, row in enumerate(mine, HEADER_ROW + 1) if row.table == table.name]
            first, last, where = at[0], at[-1], f"'{names[cause.name]}'!"

            def span(letter: str, first: int = first, last: int = last, at: str = where) -> str:
                return f"{at}{letter}{first}:{letter}{last}"

            changed = f"ABS({span('O')}-{span('K')})>=0.0000005"
            effect = f"SUMPRODUCT({span('F')},{span('O')}/{span('K')})/SUM({span('F')})-1"
            values: tuple[Any, ...] = (
                cause.name,
                table.name,
                len(at),
                f"=SUMPRODUCT(--({changed}))",
                f"=IF(SUM({span('F')})=0,0,{effect})",
                f'=SUMPRODUCT(--(LEFT({span("R")},2)<>"ok"))',
            )
            for place, value in enumerate(values, 1):
                sheet.cell(number, place, value)
            sheet.cell(number, 5).number_format = "0.00%"
            number += 1
    for warning in fit.warnings:
        number += 1
        sheet.cell(number, 1, f"{warning.code} {warning.where}")
        sheet.cell(number, 2, f"{warning.zh} {warning.en}")
    for letter, width in zip("ABCDEF", (24, 24, 12, 12, 24, 14), strict=True):
        sheet.column_dimensions[letter].width = width
    sheet.protection.sheet = True


def fit_in(sheet: Worksheet) -> object:
    """The digest of the fit that a workbook's summary names."""
    return sheet.cell(_FIT_ROW, 2).value
