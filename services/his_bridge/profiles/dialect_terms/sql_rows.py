"""What a profile says of a view's columns: section `sql_rows`."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.row_terms import (
    BillColumns,
    DiagnosisColumns,
    LineColumns,
    ReadingColumns,
    RowStatus,
    RowTerms,
)
from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.sql import NAME

E = TypeVar("E", bound=Enum)
SYSTEM = r"[!-~]{1,200}"
CHARSETS = "gb18030|gbk|gb2312|big5|utf-8"


def read(section: Section) -> RowTerms:
    """The columns and what their codes mean; faults go into the section."""
    systems = section.section("systems")
    bill, line = _bill(section), _line(section)
    terms = RowTerms(
        bill=bill,
        line=line,
        diagnosis=_diagnosis(section),
        reading=_reading(section),
        line_system=systems.text("lines", SYSTEM, required=False) or "",
        local_line_system=systems.text("local_lines", SYSTEM, required=False) or "",
        diagnosis_system=systems.text("diagnoses", SYSTEM, required=False) or "",
        care_types=meanings(section, "care_types", CareType),
        emergency_admissions=section.texts("emergency_admissions"),
        statuses=meanings(section, "statuses", RowStatus),
        reading_system=systems.text("readings", SYSTEM, required=False) or "http://loinc.org",
        main_marks=section.texts("main_marks") or ("1",),
        charset=section.text("charset", CHARSETS, required=False) or "gb18030",
    )
    _needs(systems, "lines", terms.line_system, wanted=line.code is not None)
    _needs(systems, "local_lines", terms.local_line_system, wanted=line.local_code is not None)
    coded = bool(bill.diagnoses) or terms.diagnosis is not None
    _needs(systems, "diagnoses", terms.diagnosis_system, wanted=coded)
    if line.code is None and line.local_code is None:
        section.fault("line", "MISSING", "give code, local_code or both")
    if line.price is None and line.amount is None:
        section.fault("line", "MISSING", "give price, amount or both")
    if bool(bill.admission) is not bool(terms.emergency_admissions):
        section.fault(
            "emergency_admissions",
            "MISSING" if bill.admission else "UNUSED",
            "say which texts of the column bill.admission are an emergency; both or neither",
        )
    if bill.status is not None and not terms.statuses:
        section.fault("statuses", "MISSING", "must say what each status means")
    systems.close()
    return terms


def _bill(section: Section) -> BillColumns:
    entry = section.section("bill", required=True)
    found = BillColumns(
        identity=_column(entry, "identity") or "",
        identity_kind=_column(entry, "identity_kind", required=False),
        name=_column(entry, "name", required=False),
        personal=_columns(entry, "personal"),
        number=_column(entry, "number", required=False),
        bill=_column(entry, "bill", required=False),
        care_type=_column(entry, "care_type", required=False),
        admission=_column(entry, "admission", required=False),
        begin=_column(entry, "begin") or "",
        end=_column(entry, "end", required=False),
        total=_column(entry, "total") or "",
        status=_column(entry, "status", required=False),
        reverses=_column(entry, "reverses", required=False),
        fund_paid=_column(entry, "fund_paid", required=False),
        account_paid=_column(entry, "account_paid", required=False),
        self_paid=_column(entry, "self_paid", required=False),
        diagnoses=_columns(entry, "diagnoses"),
    )
    entry.close()
    return found


def _line(section: Section) -> LineColumns:
    entry = section.section("line", required=True)
    found = LineColumns(
        id=_column(entry, "id", required=False),
        code=_column(entry, "code", required=False),
        local_code=_column(entry, "local_code", required=False),
        name=_column(entry, "name", required=False),
        quantity=_column(entry, "quantity") or "",
        price=_column(entry, "price", required=False),
        amount=_column(entry, "amount", required=False),
        time=_column(entry, "time", required=False),
        fund_paid=_column(entry, "fund_paid", required=False),
        reverses=_column(entry, "reverses", required=False),
    )
    entry.close()
    return found


def _diagnosis(section: Section) -> DiagnosisColumns | None:
    if not section.has("diagnosis"):
        return None
    entry = section.section("diagnosis")
    found = DiagnosisColumns(
        code=_column(entry, "code") or "",
        main=_column(entry, "main", required=False),
    )
    entry.close()
    return found


def _reading(section: Section) -> ReadingColumns | None:
    if not section.has("reading"):
        return None
    entry = section.section("reading")
    found = ReadingColumns(
        identity=_column(entry, "identity") or "",
        identity_kind=_column(entry, "identity_kind", required=False),
        code=_column(entry, "code") or "",
        value=_column(entry, "value") or "",
        unit=_column(entry, "unit") or "",
        time=_column(entry, "time") or "",
        issued=_column(entry, "issued", required=False),
        category=_column(entry, "category", required=False),
        status=_column(entry, "status", required=False),
    )
    entry.close()
    return found


def _column(entry: Section, key: str, *, required: bool = True) -> str | None:
    return entry.text(key, NAME, required=required)


def _columns(entry: Section, key: str) -> tuple[str, ...]:
    return entry.texts(key)


def meanings(section: Section, key: str, kind: type[E]) -> dict[str, E]:
    """What each code of the hospital's means."""
    by_name = {str(member.value).lower(): member for member in kind}
    found: dict[str, E] = {}
    for code, name in section.mapping(key).items():
        if isinstance(name, str) and name in by_name:
            found[str(code)] = by_name[name]
        else:
            text = f"must assign each code one of: {', '.join(by_name)}"
            section.fault(key, "CHOICE", text)
    return found


def _needs(systems: Section, key: str, given: str, *, wanted: bool) -> None:
    if wanted and not given:
        systems.fault(key, "MISSING", "must name the code system of the column")
