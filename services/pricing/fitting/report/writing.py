"""A report's sections as one self-contained page and as a workbook. Measures nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from services.pricing.fitting.report.contents import Section

PAGE, TABLES = "report.html", "tables.xlsx"
_CHAPTERS = {
    "level": "Level 总体水平",
    "separation": "Separation 区分能力",
    "factors": "Factors 因子",
    "tables": "Relativities 系数表",
    "residuals": "Residuals 残差",
    "survival": "Survival 生存曲线",
    "fairness": "Fairness 公平性",
    "dislocation": "Dislocation 续保变动",
}
_SHARES = frozenset(
    {"change", "change without credit", "held up", "held down", "credit", "people", "poisson"}
)
_YEARLY = frozenset({"actual_a_year", "expected_a_year", "actual", "flat", "indicated", "selected"})
_SHEET = re.compile(r"[\[\]:*?/\\]")
_LONGEST_SHEET, _WIDTH = 31, 16
_FORMULA = "=+-@"  # a text that begins so would be reckoned


def write_report(
    folder: Path,
    sections: Sequence[Section],
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    synthetic: bool,
) -> tuple[Path, Path]:
    """Write report.html and tables.xlsx into the folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, tables = folder / PAGE, folder / TABLES
    page.write_text(_page(sections, title, facts, synthetic), "utf-8")
    _workbook(sections, facts, synthetic).save(tables)
    return page, tables


def _page(
    sections: Sequence[Section], title: str, facts: Sequence[tuple[str, str]], synthetic: bool
) -> str:
    # A level's name is anybody's text: everything is escaped but the pictures, whose texts
    # matplotlib has escaped.
    environment = Environment(
        loader=PackageLoader("services.pricing.fitting.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    chapters = [
        (chapter, _CHAPTERS[chapter], [_shown(section) for section in group])
        for chapter, group in groupby(sections, key=lambda section: section.chapter)
    ]
    template = environment.get_template("report.html.j2")
    return template.render(title=title, facts=facts, chapters=chapters, synthetic=synthetic)


def _shown(section: Section) -> dict[str, Any]:
    table = section.table
    columns = [] if table is None else [str(column) for column in table.columns]
    rows = [] if table is None else table.itertuples(index=False)
    major = "double" in section.en.lower()
    return {
        "en": section.en,
        "zh": section.zh,
        "sentence": section.sentence,
        "picture": section.picture,
        "columns": columns,
        "rows": [
            [_text(column, value, major) for column, value in zip(columns, row, strict=True)]
            for row in rows
        ],
    }


def _text(column: str, value: Any, major: bool) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    if column in _SHARES:
        return f"{value:.1%}"
    if column.endswith("_a_year") or (major and column in _YEARLY):
        return f"{value / 100:,.2f}"
    if column in ("exposure", "day"):
        return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"
    return f"{value:.3f}"


def _workbook(
    sections: Sequence[Section], facts: Sequence[tuple[str, str]], synthetic: bool
) -> Workbook:
    book = Workbook()
    book.remove(book.worksheets[0])
    first = book.create_sheet("report")
    if synthetic:
        first.append(["synthetic: simulated people, not for sale"])
    for fact in facts:
        first.append(list(fact))
    for number, section in enumerate(sections, 1):
        if section.table is None:
            continue
        title = f"{number} {_SHEET.sub(' ', section.en)}"[:_LONGEST_SHEET]
        sheet = book.create_sheet(title)
        sheet.append([section.en, section.zh])
        sheet.append([str(column) for column in section.table.columns])
        for row in section.table.itertuples(index=False):
            sheet.append([_plain(value) for value in row])
        for cell in (*sheet[1], *sheet[2]):
            cell.font = Font(bold=True)
        for place in range(1, len(section.table.columns) + 1):
            sheet.column_dimensions[get_column_letter(place)].width = _WIDTH
        sheet.freeze_panes = "B3"
    return book


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    if isinstance(value, float):
        return max(min(value, 1e300), -1e300)  # no spreadsheet knows infinity
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    return value.item() if hasattr(value, "item") else value
