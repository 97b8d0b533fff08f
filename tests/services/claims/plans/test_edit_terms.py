"""Edits in plan files: read as written, as rows or CSV; every fault with its line, all at once."""

from __future__ import annotations

from datetime import date

import pytest

from services.claims.core.canonical import plan_bytes
from services.claims.core.plan_edits import Edits, Per
from services.claims.plans.loader import load_plan
from services.common.strict_yaml import Fault, StrictYamlError
from tests.services.claims.core.bills import CASES, plan_named

WHOLE = (CASES / "plans" / "every-edit.yaml").read_text(encoding="utf-8")


def _faults(yaml: str) -> list[Fault]:
    with pytest.raises(StrictYamlError) as caught:
        load_plan(yaml, "plan.yaml")
    return caught.value.faults


def _line(yaml: str, text: str) -> int:
    return next(n for n, row in enumerate(yaml.splitlines(), start=1) if text in row)


def _edits() -> Edits:
    edits = plan_named("every-edit").edits
    assert edits is not None
    return edits


def test_the_plan_with_every_edit_has_every_list() -> None:
    edits = _edits()
    assert [name for name in edits.__struct_fields__ if not getattr(edits, name)] == []


@pytest.mark.parametrize(
    "name", ["every-term", "million-medical", "chronic-diabetes", "synthea-usd"]
)
def test_a_plan_without_edits_has_no_trace_of_them_in_its_bytes(name: str) -> None:
    assert plan_named(name).edits is None
    assert b'"edits"' not in plan_bytes(plan_named(name))
    assert b'"overrides"' not in plan_bytes(plan_named(name))


def test_rows_and_csv_are_read_alike_and_a_last_day_is_stored_half_open() -> None:
    rows, csv = _edits().unit_edits
    assert [(one.code, one.units, one.per) for one in rows.rows[:2]] == [
        ("U1", 20_000, Per.LINE),
        ("U1", 30_000, Per.LINE),
    ]
    assert [(one.code, one.units, one.per, one.effective, one.end) for one in csv.rows] == [
        ("U2", 30_000, Per.DAY, date(2024, 1, 1), None),
        ("U3", 15_000, Per.DAY, date(2024, 1, 1), date(2025, 4, 1)),
    ]
    (pairs,) = _edits().pair_edits
    assert [(one.first, one.second, one.indicator, one.end) for one in pairs.rows] == [
        ("A1", "A2", 0, date(2026, 1, 1)),
        ("A1", "A3", 1, None),
        ("A1", "A4", 9, date(2024, 1, 2)),
        ("A2", "A5", 0, None),
    ]


_CSV = WHOLE[WHOLE.index("    csv: |\n      code,") : WHOLE.index("\npair_edits")]

# (what is replaced, by what, the reason, a piece of the path, a piece of the line at fault)
BAD = [
    ("unit: units\n    rows", "unit: lines\n    rows", "WRONG_UNIT", "medical_unit_edits", "lines"),
    ("units: 0, per", "units: -1, per", "NEGATIVE", "rows[2].units", "U0"),
    ("units: 0, per", 'units: "0.00001", per', "NOT_AN_AMOUNT", "rows[2].units", "U0"),
    ("units: 0, per: line", "units: 0, per: week", "UNKNOWN_WORD", "rows[2].per", "U0"),
    ("deletion: 2025-06-30", "deletion: 2023-06-30", "DATES_OUT_OF_ORDER", "rows[0]", "2023-06"),
    ("deletion: 2025-06-30", "deletion: 2025-07-01", "OVERLAPPING_ROWS", "rows[1]", "units: 3"),
    ("deletion: 2025-06-30", "ends: 2025-06-30", "UNKNOWN_KEY", "rows[0].ends", "units: 2"),
    ("U2,3,day,20240101,*", "U3,3,day,20250331,*", "OVERLAPPING_ROWS", "csv[1]", "U3,3,"),
    ("U2,3,day,20240101,*", "U2,3,day,20240101", "WRONG_ROW", "csv[1]", "U2,3"),
    ("U2,3,day,20240101,*", "U2,3,day,20240230,*", "IMPOSSIBLE_DATE", "csv[1]", "U2,3"),
    ("U2,3,day,20240101,*", "U2,,day,20240101,*", "MISSING_KEY", "csv[1].units", "U2,,"),
    ("code,units,per,eff", "code,units,eff", "WRONG_HEADING", "csv", "csv: |"),
    (_CSV, "    csv: 1\n", "NOT_TEXT", "csv", "csv: 1"),
    ('modifiers: ["59", XS]', "rows: []", "NO_ROWS", "pair_edits[0]", "id: pairs"),
    ("A1,A3,20240101,*,1", "A1,A3,20240101,*,2", "UNKNOWN_WORD", "csv[2]", "A1,A3"),
    ("A1,A3,20240101,*,1", "A1,A3,20240101,*,x", "NOT_A_WHOLE_NUMBER", "csv[2]", "A1,A3"),
    ("A1,A3,20240101,*,1", "A1,ａ1,20240101,*,1", "SAME_CODE", "csv[2].column_2", "ａ1"),
    ("A1,A3,20240101,*,1", "A2,A1,20251231,*,1", "OVERLAPPING_ROWS", "csv[2]", "A2,A1"),
    (
        "code: K2, units: 1}, {code: K3",
        "code: K1, units: 1}, {code: K3",
        "CYCLIC_PACKAGE",
        "packages[0]",
        "id: check-up\n",
    ),
    (
        "[{code: K2, units: 1}], 2027",
        "[{code: K9, units: 1}], 2027",
        "CYCLIC_PACKAGE",
        "packages[0]",
        "id: check-up\n",
    ),
    ("code: K9", "code: K1", "DUPLICATE_CODE", "packages[1]", "id: check-up-plus"),
    ("{code: K3, units: 2}", "{code: k2, units: 2}", "DUPLICATE_CODE", "parts", "k2"),
    ("{code: K3, units: 2}", "{code: K3, units: 0}", "NOT_POSITIVE", "units", "K3"),
    ("[{code: K1, units: 1}, {code: K4, units: 1}]", "[]", "EMPTY_LIST", "parts", "2024-01-01: []"),
    ("2024-01-01: 30, 2026", "2024-01-01: 3651, 2026", "OUT_OF_RANGE", "frequency_limits", "3651"),
    ("2024-01-01: 5, 2026", "2024-01-01: 367, 2026", "OUT_OF_RANGE", "refill_windows", "367"),
    ("codes: [refills], unit: days", "unit: days", "MISSING_KEY", "refill_windows", "id: refills"),
    (
        "{care_types: [outpatient, chronic]}",
        "{}",
        "ASKS_NOTHING",
        "clinical_edits",
        "home-visits, cl",
    ),
    ("sex: female, not_with", "sex: other, not_with", "UNKNOWN_WORD", "sex", "pregnancy-scans, cl"),
    ("{from: 12, to: 55}", "{from: 56, to: 55}", "EMPTY_BAND", "ages", "from: 56"),
    ("not_with: [prostate]", "not_with: [lung]", "UNKNOWN_REFERENCE", "not_with", "lung"),
    ("licences: [hospital, comm", "licences: [zoo, comm", "UNKNOWN_WORD", "licences", "zoo"),
    ("diagnoses: [fractures], ", "", "MISSING_KEY", "medical_necessity[0]", "id: bone-scans"),
    (
        "sections: [drugs], in_force",
        "in_force",
        "COVERS_EVERYTHING",
        "prescriptions",
        'drugs, clause: "3.3"',
    ),
    ("care_types: [online], values", "values", "COVERS_EVERYTHING", "qualified", "id: online"),
    ("[internet_hospital]}", "[]}", "EMPTY_LIST", "qualified_care", "id: online"),
    ("[accident-report], 2026", "[passport], 2026", "UNKNOWN_REFERENCE", "required", "passport"),
    ("2026-01-01: [work_injury]}", "2026-01-01: [nobody]}", "UNKNOWN_WORD", "other", "[nobody]"),
    ("2026-01-01: 180", "2026-01-01: 180.0", "FLOAT", "filing", "180.0"),
    (
        "[force-majeure]",
        "[force-majeure, force-majeure]",
        "DUPLICATE_WORD",
        "exceptions",
        "filing:",
    ),
    ("[force-majeure]", "[Force Majeure]", "NOT_AN_ID", "exceptions", "filing:"),
    ('appeals: {clause: "4.2"', 'appeals: {clause: "9"', "UNKNOWN_REFERENCE", "appeals", "appeals"),
    ('duplicates: {clause: "4.6", ', "duplicates: {", "MISSING_KEY", "suspected", "suspected_dup"),
    ("id: per-day", "id: per-line", "DUPLICATE_ID", "medical_unit_edits", "medical_unit_edits"),
    ("[emergency-surgery, image", "[7, image", "NOT_AN_ID", "overrides", "overrides"),
]


@pytest.mark.parametrize(("old", "new", "reason", "path", "at"), BAD, ids=lambda text: text[:24])
def test_a_fault_is_named_with_its_place(
    old: str, new: str, reason: str, path: str, at: str
) -> None:
    assert old in WHOLE
    bad = WHOLE.replace(old, new, 1)
    found = [fault for fault in _faults(bad) if fault.reason == reason and path in fault.path]
    assert found, [(fault.reason, fault.path) for fault in _faults(bad)]
    assert found[0].line == _line(bad, at.strip())
    assert found[0].text


def test_all_faults_of_edits_come_at_once() -> None:
    bad = (
        WHOLE.replace("U2,3,day", "U2,-3,day")
        .replace("A1,A3,20240101,*,1", "A1,A3,20240101,*,7")
        .replace("{code: K3, units: 2}", "{code: K1, units: 2}")
        .replace('filing: {clause: "4.1"', 'filing: {clause: "4.9"')
    )
    assert [(fault.line, fault.reason) for fault in _faults(bad)] == [
        (_line(bad, "U2,-3"), "NEGATIVE"),
        (_line(bad, "A1,A3"), "UNKNOWN_WORD"),
        (_line(bad, "id: check-up"), "CYCLIC_PACKAGE"),
        (_line(bad, 'clause: "4.9"'), "UNKNOWN_REFERENCE"),
    ]


def test_a_cycle_of_packages_is_told_once_with_its_way() -> None:
    bad = WHOLE.replace("{code: K3, units: 2}", "{code: K9, units: 2}")
    told = [fault for fault in _faults(bad) if fault.reason == "CYCLIC_PACKAGE"]
    assert [fault.text for fault in told] == [
        "from 2024-01-01 it holds itself: K1 > K9 > K1; leave one of the parts out",
    ]


def test_a_pair_that_is_not_in_force_conflicts_with_nothing() -> None:
    yaml = WHOLE.replace("A1,A4,20240101,20240101,9", "A2,A1,20240101,*,9")
    assert load_plan(yaml, "plan.yaml").id == "every-edit"
