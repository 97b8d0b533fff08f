"""A report's sections as one self-contained page and as a workbook. Measures nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from services.pricing.fitting.packing import packed
from services.pricing.fitting.report.section import Section

PAGE, TABLES = "report.html", "tables.xlsx"
_CHAPTERS = {
    "look": "What to look at 需要查看之处",
    "level": "Level 总体水平",
    "separation": "Separation 区分能力",
    "factors": "Factors 因子",
    "claims": "Claims by factor 分因子赔案数",
    "tables": "Relativities 系数表",
    "models": "Models 模型",
    "residuals": "Residuals 残差",
    "survival": "Survival 生存曲线",
    "fairness": "Fairness 公平性",
    "dislocation": "Dislocation 续保变动",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """How a column is headed and its numbers are written; `excel` is the workbook's format."""

    title: str
    shown: Callable[[float], str] = "{:.3f}".format
    excel: str = "0.000"
    of_money: bool = False


def _money(title: str) -> _Column:
    return _Column(title, "{:,.2f}".format, "#,##0.00", of_money=True)


def _share(title: str) -> _Column:
    return _Column(title, "{:.1%}".format, "0.0%")


def _fine(title: str) -> _Column:
    return _Column(title, "{:.4f}".format, "0.0000")


def _count(title: str) -> _Column:
    return _Column(title, "{:,.0f}".format, "#,##0")


_LOW, _HIGH = "95 % from 区间下限", "95 % to 区间上限"
# A column that is not here is one of the book's, and headed by its own name.
_COLUMNS = {
    "group": _Column("group 分组"),
    "decile": _count("decile 十分位"),
    "tariff": _Column("tariff 费率"),
    "cell": _Column("band or level 格"),
    "persons": _count("people 人数"),
    "exposure": _Column("policy-years 暴露人年", "{:,.1f}".format, "#,##0.0"),
    "claims": _count("claims 赔案数"),
    "actual_a_year": _money("actual a year 年均实际"),
    "expected_a_year": _money("expected a year 年均预期"),
    "actual": _money("actual a year 年均实际"),
    "flat": _money("one price for all, a year 统一费率"),
    "ratio": _Column("actual / expected 实际与预期之比"),
    "low95": _Column(_LOW),
    "high95": _Column(_HIGH),
    "gini": _Column("Gini 基尼系数"),
    "where": _Column("where 处"),
    "claims_a_year": _Column("claims a year 年均赔案数", "{:.4f}".format, "0.0000"),
    "model_a_year": _Column("expected a year 年均预期", "{:.4f}".format, "0.0000"),
    "coefficient": _Column("coefficient 系数项"),
    "estimate": _fine("estimate 估计值"),
    "se_naive": _fine("naive error 朴素标准误"),
    "se_robust": _fine("robust error 稳健标准误"),
    "se_clustered": _fine("error clustered by person 按人聚类标准误"),
    "clustered_over_naive": _Column("clustered / naive 聚类与朴素之比", "{:.2f}".format, "0.00"),
    "cox": _fine("Cox"),
    "poisson_first": _fine("monthly Poisson 逐月泊松"),
    "apart": _fine("apart, errors 相差标准误"),
    "p": _fine("p, same over time 比例风险 p 值"),
    "ratio_from": _Column("amount / expected from 自", "{:g}".format, "0.00"),
    "ratio_to": _Column("to 至", "{:g}".format, "0.00"),
    "share_of_claims": _share("share of claims 赔案占比"),
    "gamma": _share("Gamma's share 伽马占比"),
    "note": _Column("note 备注"),
    "reason": _Column("reason 理由"),
    "from": _Column("residual from 残差自", "{:g}".format, "0.0"),
    "to": _Column("residual to 残差至", "{:g}".format, "0.0"),
    "people": _share("share of people 人数占比"),
    "poisson": _share("Poisson's share 泊松占比"),
    "day": _count("days 天数"),
    "share": _share("share without a claim 未出险占比"),
    "at_risk": _count("people at risk 在险人数"),
    "policies": _count("policies 保单数"),
    "change": _share("change 变动"),
    "change without credit": _share("change without credit 优惠前变动"),
    "charged / technical": _Column("charged / technical 实收与技术保费之比"),
    "held up": _share("held at the lower end 触及下限"),
    "held down": _share("held at the upper end 触及上限"),
    "credit": _share("credit 优惠"),
}
# Of a table of relativities these are factors, of a double lift amounts.
_TARIFFS = {
    "indicated": ("indicated 指示系数", "indicated, a year 指示系数预期"),
    "selected": ("selected 选定系数", "selected, a year 选定系数预期"),
    "previous": ("previous 现行系数", "previous, a year 现行系数预期"),
}
_SHEET = re.compile(r"[\[\]:*?/\\]")
_LONGEST_SHEET, _WIDTH = 31, 16
_FORMULA = "=+-@"  # a text that begins so would be reckoned


def write_report(
    folder: Path,
    sections: Sequence[Section],
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    currency: str,
    synthetic: bool,
) -> tuple[Path, Path]:
    """Write report.html and tables.xlsx into the folder and return their paths.

    Amounts are those of the sections, in whole money.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, tables = folder / PAGE, folder / TABLES
    page.write_text(_page(sections, title, facts, currency, synthetic), "utf-8")
    tables.write_bytes(packed(_workbook(sections, facts, currency, synthetic)))
    return page, tables


def _page(
    sections: Sequence[Section],
    title: str,
    facts: Sequence[tuple[str, str]],
    currency: str,
    synthetic: bool,
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
        (chapter, _CHAPTERS[chapter], [_shown(section, currency) for section in group])
        for chapter, group in groupby(sections, key=lambda section: section.chapter)
    ]
    template = environment.get_template("report.html.j2")
    return template.render(title=title, facts=facts, chapters=chapters, synthetic=synthetic)


def _shown(section: Section, currency: str) -> dict[str, Any]:
    table = section.table
    columns = _columns(section)
    rows = [] if table is None else table.itertuples(index=False)
    return {
        "en": section.en,
        "zh": section.zh,
        "sentence": section.sentence,
        "picture": section.picture,
        "columns": [_heading(column, currency) for column in columns],
        "rows": [
            [_text(column, value) for column, value in zip(columns, row, strict=True)]
            for row in rows
        ],
    }


def _columns(section: Section) -> list[_Column]:
    names = [] if section.table is None else [str(name) for name in section.table.columns]
    amounts = "decile" in names and "actual" in names
    return [
        (_money if amounts else _Column)(_TARIFFS[name][amounts])
        if name in _TARIFFS
        else _COLUMNS.get(name, _Column(name.replace("_", " ")))
        for name in names
    ]


def _heading(column: _Column, currency: str) -> str:
    return f"{column.title}, {currency}" if column.of_money else column.title


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(pd.isna(value)))


def _text(column: _Column, value: Any) -> str:
    if _missing(value):
        return "—"
    if isinstance(value, bool | str):
        return str(value)
    return column.shown(float(value))


def _workbook(
    sections: Sequence[Section], facts: Sequence[tuple[str, str]], currency: str, synthetic: bool
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
        columns = _columns(section)
        sheet.append([_heading(column, currency) for column in columns])
        for row in section.table.itertuples(index=False):
            sheet.append([_plain(value) for value in row])
            for cell, column in zip(sheet[sheet.max_row], columns, strict=False):
                cell.number_format = column.excel
        for cell in (*sheet[1], *sheet[2]):
            cell.font = Font(bold=True)
        for place in range(1, len(section.table.columns) + 1):
            sheet.column_dimensions[get_column_letter(place)].width = _WIDTH
        sheet.freeze_panes = "B3"
    return book


def _plain(value: Any) -> Any:
    if _missing(value):
        return None
    if isinstance(value, float):
        return max(min(value, 1e300), -1e300)  # no spreadsheet knows infinity
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    return value.item() if hasattr(value, "item") else value
