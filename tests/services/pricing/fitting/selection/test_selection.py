"""The workbook there and back, what is refused of it, and the tariff that comes of it."""

from __future__ import annotations

import ast
import inspect
import io
from collections.abc import Callable
from typing import Any, cast

import msgspec
import openpyxl
import pytest

from services.common.strict_yaml import StrictYamlError
from services.pricing.core.evidence import evidence_digest, evidence_from
from services.pricing.core.gates import all_passed, cells_of, judge
from services.pricing.core.incentive import LegalCap
from services.pricing.core.tariff import MILLION, Basis, canonical_bytes
from services.pricing.fitting.models.fit_result import Fit, FitWarning, Loads, Scaling, cell_title
from services.pricing.fitting.pricing_file import template
from services.pricing.fitting.selection import choice
from services.pricing.fitting.selection.basis import study_basis
from services.pricing.fitting.selection.cells import cell_name, millionths, rows_of
from services.pricing.fitting.selection.choice import (
    Choice,
    Selection,
    WorkbookRefused,
    read_workbook,
    selection_bytes,
    selection_from,
)
from services.pricing.fitting.selection.memo import memo
from services.pricing.fitting.selection.memo_page import (
    LANGUAGES,
    Heading,
    Language,
    html,
    markdown,
)
from services.pricing.fitting.selection.proposal import (
    ProposalRefused,
    proposal,
    tariff_file,
)
from services.pricing.fitting.selection.settings import TariffSettings
from services.pricing.fitting.selection.workbook import (
    COLUMNS,
    HEADER_ROW,
    PLACE,
    SUMMARY,
    sheet_names,
    workbook_bytes,
)
from services.pricing.tariff_requests import evidence_of
from services.pricing.tariffs.loader import load_tariff
from tests.services.pricing.at_hand import demo_rates
from tests.services.pricing.fitting.selection.hand_made import (
    DATA,
    YAML,
    digest,
    file,
    hand_made,
    settings,
    validated,
)
from tests.services.pricing.proposals import bans

FIT = hand_made()
SHA256 = digest(FIT)
ROWS = rows_of(FIT, demo_rates().tariff)
PREVIOUS = demo_rates().version
BOUNDS = settings().factor_bounds
AGE_30 = HEADER_ROW + 2  # the row of ages 30-39 in the sheet of inpatient care
SELECTED, REASON = PLACE["selected"], PLACE["reason"]


@pytest.fixture(scope="module")
def content() -> bytes:
    return workbook_bytes(FIT, SHA256, ROWS, BOUNDS)


def as_indicated(fit_sha256: str) -> Selection:
    """The selection of somebody who takes everything as it was indicated."""
    choices = tuple(
        Choice(
            cause=row.cause,
            table=row.table,
            cell=row.cell,
            indicated_millionths=row.indicated,
            selected_millionths=row.indicated,
            previous_millionths=row.previous,
            reason="",
        )
        for row in ROWS
    )
    return Selection(format=1, fit_sha256=fit_sha256, previous=PREVIOUS, choices=choices)


def edited(content: bytes, change: Callable[[openpyxl.Workbook], Any]) -> bytes:
    book = openpyxl.load_workbook(io.BytesIO(content))
    change(book)
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def read(content: bytes, fit: Fit = FIT) -> Selection:
    return read_workbook(content, fit, digest(fit), ROWS, PREVIOUS, BOUNDS)


def faults(content: bytes, change: Callable[[openpyxl.Workbook], Any]) -> list[tuple[str, ...]]:
    with pytest.raises(WorkbookRefused) as refused:
        read(edited(content, change))
    return [(one.sheet, one.cell, one.reason) for one in refused.value.faults]


def setting(row: int, column: int, value: object) -> Callable[[openpyxl.Workbook], Any]:
    def change(book: openpyxl.Workbook) -> None:
        cell: Any = book["inpatient"].cell(row, column)
        cell.value = value

    return change


def test_a_workbook_that_nobody_edited_selects_what_was_indicated(content: bytes) -> None:
    found = read(content)
    assert found == as_indicated(SHA256)
    assert found.changed == 0
    assert len(found.choices) == len(ROWS) == 49
    assert all(one.previous_millionths == one.indicated_millionths for one in found.choices)
    assert selection_from(selection_bytes(found)) == found


def test_the_same_fit_gives_the_same_bytes(content: bytes) -> None:
    assert workbook_bytes(FIT, SHA256, ROWS, BOUNDS) == content
    other = msgspec.structs.replace(FIT, run_card="runs/0004-fit.json")
    assert workbook_bytes(other, digest(other), ROWS, BOUNDS) != content


def test_only_selected_and_reason_may_be_edited(content: bytes) -> None:
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames == [SUMMARY, "inpatient", "outpatient", "injury"]
    for sheet in book.worksheets:
        assert sheet.protection.sheet
    open_columns = {
        cell.column
        for row in book["inpatient"].iter_rows(min_row=HEADER_ROW + 1)
        for cell in row
        if not cell.protection.locked
    }
    assert open_columns == {SELECTED, REASON}


def test_a_selection_with_its_reason_is_taken_beside_what_was_indicated(content: bytes) -> None:
    def change(book: openpyxl.Workbook) -> None:
        setting(AGE_30, SELECTED, 0.55)(book)
        setting(AGE_30, REASON, "competition")(book)

    found = read(edited(content, change))
    (one,) = [
        choice
        for choice in found.choices
        if choice.selected_millionths != choice.indicated_millionths
    ]
    assert (one.cause, one.table, one.cell) == ("inpatient", "age", "30-39")
    assert (one.indicated_millionths, one.selected_millionths) == (500_000, 550_000)
    assert one.reason == "competition"


_FAULTS: list[tuple[Callable[[openpyxl.Workbook], Any], list[tuple[str, ...]]]] = [
    (setting(AGE_30, SELECTED, 0.55), [("inpatient", f"P{AGE_30}", "NO_REASON")]),
    (setting(AGE_30, SELECTED, "dear"), [("inpatient", f"O{AGE_30}", "NOT_A_NUMBER")]),
    (setting(AGE_30, SELECTED, True), [("inpatient", f"O{AGE_30}", "NOT_A_NUMBER")]),
    (setting(AGE_30, SELECTED, None), [("inpatient", f"O{AGE_30}", "NOT_A_NUMBER")]),
    (setting(AGE_30, SELECTED, "=K5*1.1"), [("inpatient", f"O{AGE_30}", "NO_VALUE")]),
    (setting(AGE_30, SELECTED, 0), [("inpatient", f"O{AGE_30}", "OUT_OF_RANGE")]),
    (setting(AGE_30, SELECTED, -1), [("inpatient", f"O{AGE_30}", "OUT_OF_RANGE")]),
    (setting(AGE_30, SELECTED, 10.000001), [("inpatient", f"O{AGE_30}", "OUT_OF_RANGE")]),
    (setting(AGE_30, SELECTED, 0.099999), [("inpatient", f"O{AGE_30}", "OUT_OF_RANGE")]),
    (setting(AGE_30, REASON, "x" * 601), [("inpatient", f"P{AGE_30}", "REASON_TOO_LONG")]),
    (setting(AGE_30, REASON, "two\nlines"), [("inpatient", f"P{AGE_30}", "REASON_TOO_LONG")]),
    (setting(AGE_30, PLACE["indicated"], 0.6), [("inpatient", f"K{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["claims"], 41), [("inpatient", f"E{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["exposure"], None), [("inpatient", f"D{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["previous"], 0.4), [("inpatient", f"N{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["feature"], "sex"), [("inpatient", f"C{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["cell"], "30-38"), [("inpatient", f"B{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["cell"], "40-49"), [("inpatient", f"B{AGE_30}", "EDITED")]),
    (setting(AGE_30, PLACE["table"], "years"), [("inpatient", f"A{AGE_30}", "EDITED")]),
    (
        lambda book: (
            setting(60, PLACE["table"], "years")(book) or setting(60, PLACE["cell"], "1-2")(book)
        ),
        [("inpatient", "A60", "UNKNOWN_ROW")],
    ),
    (
        lambda book: book["inpatient"].delete_rows(AGE_30),
        [("inpatient", "A1", "MISSING_ROW")],
    ),
    (
        lambda book: (
            setting(60, PLACE["table"], "age")(book) or setting(60, PLACE["cell"], "30-39")(book)
        ),
        [("inpatient", "B60", "DUPLICATE_ROW")],
    ),
    (setting(60, SELECTED, 1), [("inpatient", "O60", "UNKNOWN_ROW")]),
    (setting(HEADER_ROW, SELECTED, "chosen"), [("inpatient", "O3", "HEADER_CHANGED")]),
    (lambda book: book.create_sheet("notes"), [("notes", "A1", "UNKNOWN_SHEET")]),
    (lambda book: book.remove(book["injury"]), [("injury", "A1", "MISSING_SHEET")]),
    (lambda book: book.remove(book[SUMMARY]), [(SUMMARY, "B3", "OTHER_FIT")]),
]


@pytest.mark.parametrize("number", range(len(_FAULTS)))
def test_a_workbook_that_cannot_be_taken_says_sheet_and_cell(content: bytes, number: int) -> None:
    change, expected = _FAULTS[number]
    found = faults(content, change)
    assert [one for one in found if one[2] != "NOT_MONOTONE"] == expected


def test_a_factor_that_no_tariff_takes_is_refused_by_its_name_and_seen_in_the_sheet(
    content: bytes,
) -> None:
    with pytest.raises(WorkbookRefused) as refused:
        read(edited(content, setting(AGE_30, SELECTED, 95)))
    texts = [one.text for one in refused.value.faults if one.reason == "OUT_OF_RANGE"]
    assert texts == ["inpatient.age.30-39 must lie in 0.1 to 10 (tariff.factor_bounds)"]
    wide = YAML.replace("  golden:", "  factor_bounds: {least: '0.1', greatest: '99'}\n  golden:")
    changed = edited(content, setting(AGE_30, SELECTED, 95))
    bounds = settings(wide).factor_bounds
    with pytest.raises(WorkbookRefused) as wider:
        read_workbook(changed, FIT, SHA256, ROWS, PREVIOUS, bounds)
    assert "OUT_OF_RANGE" not in [one.reason for one in wider.value.faults]
    sheet = openpyxl.load_workbook(io.BytesIO(content))["inpatient"]
    check = str(sheet.cell(AGE_30, PLACE["check"]).value)
    assert f"OR(O{AGE_30}<0.1,O{AGE_30}>10)" in check
    assert f"OR(O{AGE_30}<L{AGE_30},O{AGE_30}>M{AGE_30})" in check
    assert check.count("(") == check.count(")")


def test_a_selection_that_breaks_the_order_is_refused(content: bytes) -> None:
    def change(book: openpyxl.Workbook) -> None:
        setting(AGE_30, SELECTED, 0.3)(book)
        setting(AGE_30, REASON, "a slip")(book)

    assert faults(content, change) == [("inpatient", f"O{AGE_30}", "NOT_MONOTONE")]


def test_every_fault_of_every_sheet_comes_at_once(content: bytes) -> None:
    def change(book: openpyxl.Workbook) -> None:
        setting(AGE_30, SELECTED, "x")(book)
        setting(AGE_30, PLACE["raw"], 7)(book)
        injury: Any = book["injury"].cell(HEADER_ROW + 1, SELECTED)
        injury.value = 0.9
        book.create_sheet("notes")

    assert faults(content, change) == [
        ("notes", "A1", "UNKNOWN_SHEET"),
        ("inpatient", f"I{AGE_30}", "EDITED"),
        ("inpatient", f"O{AGE_30}", "NOT_A_NUMBER"),
        ("injury", f"P{HEADER_ROW + 1}", "NO_REASON"),
    ]


def test_what_is_no_workbook_and_what_is_of_another_fit_is_refused(content: bytes) -> None:
    with pytest.raises(WorkbookRefused, match=r"no \.xlsx"):
        read(b"relativities")
    with pytest.raises(WorkbookRefused, match="another fit"):
        read(content, msgspec.structs.replace(FIT, run_card="runs/0004-fit.json"))


def test_every_fault_of_a_workbook_has_a_case() -> None:
    told = {fault[2] for _, expected in _FAULTS for fault in expected}

    texts = {
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(choice)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    reasons = {text for text in texts if text.isupper() and len(text) > 4}
    assert reasons == told | {"NOT_MONOTONE", "NOT_A_WORKBOOK"}


def test_a_long_or_strange_cause_has_a_sheet_of_its_own() -> None:
    causes = [
        msgspec.structs.replace(FIT.causes[0], name=name) for name in ("a" * 40, "a" * 39 + "b")
    ]
    names = sheet_names(msgspec.structs.replace(FIT, causes=tuple(causes)))
    assert len(set(names.values())) == 2
    assert max(map(len, names.values())) <= 31


def test_relativities_become_millionths_half_up() -> None:
    assert [millionths(one) for one in (0.1, 1.0000005, 1.0000004, 2 / 3)] == [
        100_000,
        1_000_001,
        1_000_000,
        666_667,
    ]
    assert cell_name(FIT.causes[0].tables[0].cells[0]) == "18-29"


def selection(**chosen: tuple[float, str]) -> Selection:
    """As indicated, but for cells of inpatient care by sex."""
    found = as_indicated(SHA256)
    return msgspec.structs.replace(
        found,
        choices=tuple(
            msgspec.structs.replace(
                one,
                selected_millionths=round(chosen[one.cell][0] * MILLION),
                reason=chosen[one.cell][1],
            )
            if (one.cause, one.table) == ("inpatient", "sex") and one.cell in chosen
            else one
            for one in found.choices
        ),
    )


LAW = LegalCap(300_000, "a regulation")


def test_a_proposal_passes_the_gates_and_keeps_both_relativities() -> None:
    made = proposal(FIT, SHA256, selection(F=(0.97, "less by the wider book")), settings())
    gates = judge(made.tariff, made.evidence, bans(), LAW)
    assert all_passed(gates), [gate for gate in gates if not gate.passed]
    assert made.tariff.format == 2
    assert isinstance(made.tariff.basis, Basis)
    assert made.tariff.basis.data_sha256 == DATA
    assert made.tariff.basis.evidence_sha256 == evidence_digest(made.evidence)
    assert made.tariff.notice_en == "Synthetic, not for sale. a test"
    (cell,) = [
        one
        for one in made.evidence.causes[0].tables[1].cells
        if one.indicated_millionths != one.selected_millionths
    ]
    assert (cell.indicated_millionths, cell.selected_millionths) == (940_000, 970_000)
    assert cells_of(made.tariff.causes[0].tables[1])["F"] == 970_000
    # Women pay more in hospital: every base comes down, so that the book as a whole pays the same.
    for cause, fitted in zip(made.tariff.causes, FIT.causes, strict=True):
        assert cause.base_e4 < fitted.base_e4
    balance = made.tariff.basis.off_balance
    assert abs(balance.selected_e4 - balance.indicated_e4) * MILLION <= balance.indicated_e4
    assert load_tariff(tariff_file(made.tariff), "hand-made.json").tariff == made.tariff


def test_the_same_selection_gives_the_same_tariff() -> None:
    one, other = (proposal(FIT, SHA256, selection(), settings()) for _ in range(2))
    assert canonical_bytes(one.tariff) == canonical_bytes(other.tariff)
    assert [cause.base_e4 for cause in one.tariff.causes] == [c.base_e4 for c in FIT.causes]


def test_an_approved_change_moves_the_bases() -> None:
    changed = YAML.replace("  golden:", "  approved_change: '0.05'\n  golden:")
    made = proposal(FIT, SHA256, selection(), settings(changed))
    for cause, fitted in zip(made.tariff.causes, FIT.causes, strict=True):
        assert cause.base_e4 == fitted.base_e4 * 105 // 100
    assert all_passed(judge(made.tariff, made.evidence, bans(), LAW))


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("  credit_cap: {share: '0.30', source: a regulation}\n", "", "tariff.credit_cap"),
        (YAML[YAML.index("  golden:") :], "", "tariff.golden"),
        ("age: '67', sex: M", "age: '17', sex: X", "tariff.golden.man of 67.age"),
        ("id: hand-made", "id: Hand Made", "tariff.id"),
        ("stratum_mean: '8.5'", "stratum_mean: '8'", "tariff.basis.windows[0].stratum_mean"),
    ],
)
def test_what_the_settings_lack_is_said(old: str, new: str, path: str) -> None:
    assert old in YAML
    with pytest.raises(ProposalRefused) as refused:
        proposal(FIT, SHA256, selection(), settings(YAML.replace(old, new)))
    assert path in [fault.path for fault in refused.value.faults]


def test_loads_that_the_fit_was_not_calibrated_with_are_refused_one_by_one() -> None:
    loads = Loads(
        fixed_expense_e4=70_000_000, variable_expense_millionths=120_000, profit_millionths=60_000
    )
    fit = msgspec.structs.replace(FIT, target_loss_ratio=0.7, loads=loads)
    chosen = as_indicated(digest(fit))
    with pytest.raises(ProposalRefused) as refused:
        proposal(fit, digest(fit), chosen, settings())
    assert [(one.path, one.reason) for one in refused.value.faults] == [
        ("tariff.fixed_expense_minor", "OTHER_LOADS"),
        ("tariff.profit", "OTHER_LOADS"),
    ]
    # Control: the same loads, and a fit without a target, are taken.
    same = Loads(
        fixed_expense_e4=60_000_000, variable_expense_millionths=120_000, profit_millionths=50_000
    )
    fit = msgspec.structs.replace(fit, loads=same)
    assert proposal(fit, digest(fit), as_indicated(digest(fit)), settings()).tariff.format == 2


def test_a_selection_of_another_fit_is_refused() -> None:
    with pytest.raises(ProposalRefused, match="another fit"):
        proposal(FIT, "0" * 64, selection(), settings())
    short = msgspec.structs.replace(selection(), choices=selection().choices[1:])
    with pytest.raises(ProposalRefused, match=r"inpatient\.age\.18-29: is in the fit"):
        proposal(FIT, SHA256, short, settings())


def test_the_template_reads_and_leaves_the_cap_to_be_set() -> None:
    assert file(template()).of(TariffSettings).credit_cap is None
    with pytest.raises(StrictYamlError, match="credit_cap") as refused:
        settings(YAML.replace("source: a regulation", "sauce: a regulation"))
    assert {one.reason for one in refused.value.faults} == {"MISSING", "UNKNOWN_KEY"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_memo_says_everything_that_is_filed(language: Any) -> None:
    made = proposal(FIT, SHA256, selection(F=(0.97, "less <by> the | book")), settings())
    gates = judge(made.tariff, made.evidence, bans(), LAW)
    blocks = memo(made.tariff, made.evidence, gates, language)
    text, page = markdown(blocks), html(blocks, language)
    headings = [one for one in blocks if isinstance(one, Heading)]
    assert len([one for one in headings if one.level == 2]) == 12
    for said in (DATA, evidence_digest(made.evidence), "0.97", "reserving", "a regulation"):
        assert said in text
        assert said in page
    load = (
        "大额赔案" if language == "zh" else "claims above the threshold",
        "| 40 | 38 | 11.0 % |",
    )
    for said in load:
        assert said in text
    for gate in gates:
        assert f"| {gate.name} |" in text
    years = FIT.causes[0].tables[0].cells[0].exposure
    assert f"| {years:,.0f} |" in text
    assert "less &lt;by> the \\| book" in text
    assert "less &lt;by&gt; the | book" in page
    assert ("公平性说明" in text) is (language == "zh")
    assert page.count("<table>") == page.count("</table>") > 15


STUDY = {
    "book": {"valuation_day": "2026-03-31"},
    "settings": {
        "first_day": "2023-01-01",
        "after_day": "2026-01-01",
        "trend": {"inpatient": [["2000-01-01", 0.06]]},
        "trend_to_day": "2026-07-01",
        "trend_source": "reserving committee",
        "development_source": "the book's own chain ladder",
        "reference_deductible_minor": 150_000,
        "reading_window_months": 12,
    },
    "causes": [
        {
            "cause": "inpatient",
            "threshold_minor": 20_000_000,
            "development": {"used": {"amounts": [0.716, 0.987, 1.0]}},
        }
    ],
    "holdout": [{"holdout": "person", "segments": 3101, "exposure": 1464.9, "people": 593}],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_memo_says_how_the_level_was_set_and_on_what_basis(language: Any) -> None:
    loads = Loads(
        fixed_expense_e4=60_000_000, variable_expense_millionths=120_000, profit_millionths=50_000
    )
    fit = msgspec.structs.replace(
        FIT,
        target_loss_ratio=0.7,
        loads=loads,
        scaling=Scaling(pure_minor=480_000.0, factor=1.1732),
        large_loss_load_e4=round(FIT.large_loss_load_e4 * 1.1732),
    )
    chosen = as_indicated(digest(fit))
    made = proposal(fit, digest(fit), chosen, settings(), study_basis(STUDY))
    gates = judge(made.tariff, made.evidence, bans(), LAW)
    assert all_passed(gates)
    text = markdown(memo(made.tariff, made.evidence, gates, language))
    # 0.17125 = 1 - 0.7 - 0.12 - 6000 x 0.7 / 480000; 0.819753 = 0.83 x 480000 / 486000
    for said in ("1.1732", "0.17125", "0.819753", "| 0.7 |", "| 0.05 |", "4,800.00 CNY"):
        assert said in text
    for said in ("2026-03-31", "2023-01-01", "2026-01-01", "0.06 (2000-01-01)", "2026-07-01"):
        assert said in text
    for said in (
        "reserving committee",
        "chain ladder",
        "200,000.00",
        "1,500.00",
        "71.6 %",
        "| 3,101 | 1,465 |",  # 1,464.9 years
    ):
        assert said in text
    best = round(FIT.causes[0].base_e4 / 1.1732 / 10_000)
    assert f"{best / 100:,.2f} CNY" in text
    assert evidence_from(canonical_bytes(made.evidence)) == made.evidence
    assert evidence_of(canonical_bytes(made.evidence)) == (made.evidence, [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_memo_of_a_fit_that_tells_no_level_says_so_and_keeps_its_evidence(language: Any) -> None:
    made = proposal(FIT, SHA256, selection(), settings())
    content = canonical_bytes(made.evidence)
    assert b'"level"' not in content
    assert b'"study"' not in content
    text = markdown(memo(made.tariff, made.evidence, (), language))
    assert {"zh": "拟合未载明。", "en": "The fit does not tell."}[language] in text
    claims = "actual claims" if language == "en" else "实际赔款"
    assert claims in text
    assert "expected claims, over all its exposure" not in text


def test_the_columns_are_named_once() -> None:
    assert len({name for _, name, _ in COLUMNS}) == len(COLUMNS) == len(PLACE)


def test_a_relativity_that_a_bound_holds_says_so_in_workbook_and_memo() -> None:
    fit = hand_made()
    table = next(one for one in fit.causes[0].tables if one.kind == "bands")
    where = f"{fit.causes[0].name}.{table.name}.{cell_title(table.cells[0])}"
    held = FitWarning(code="BOUNDED", where=where, zh="受限", en="held")
    bounded = msgspec.structs.replace(fit, warnings=(held,))
    listed = rows_of(bounded, None)
    assert [row.bounded for row in listed].count(True) == 1
    assert not any(row.bounded for row in rows_of(fit, None))
    content = workbook_bytes(bounded, digest(bounded), listed, BOUNDS)
    book = openpyxl.load_workbook(io.BytesIO(content))
    checks = [
        str(line[-1]) for sheet in book.worksheets for line in sheet.iter_rows(values_only=True)
    ]
    assert sum("held by a bound" in one for one in checks) == 1
    made = proposal(bounded, digest(bounded), as_indicated(digest(bounded)), settings())
    for language, said in (("zh", "受上下限约束"), ("en", "held by a bound")):
        told = markdown(memo(made.tariff, made.evidence, (), cast("Language", language)))
        assert told.count(said) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_memo_holds_the_validation_or_names_it_as_open(language: Language) -> None:
    zh = language == "zh"
    made = proposal(FIT, SHA256, selection(), settings(), validation=validated())
    assert evidence_from(canonical_bytes(made.evidence)) == made.evidence
    told = markdown(memo(made.tariff, made.evidence, (), language))
    for said in (
        "留出的最后一年" if zh else "the last year, held out",
        "留出的人员" if zh else "people held out",
        "| 1,465 | 1.013 | 0.941 – 1.086 | 0.312 | 0.25 – 0.36 |",
        "| 10 | 70.00 CNY | 65.00 CNY |",
        "检验 2 个系数，1 个 p &lt; 0.05" if zh else "2 coefficients tested, 1 with p &lt; 0.05",
        "sex F | 0.013 |",
        "region north | 1,465 | — |",
    ):
        assert said in told
    without = proposal(FIT, SHA256, selection(), settings())
    told = markdown(memo(without.tariff, without.evidence, (), language))
    assert ("待补：" if zh else "Open: there is no validation report") in told
