"""What the columns of a hospital's view hold, and what the codes in them mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import CareType


class RowStatus(StrEnum):
    """What a bill's status column says of it."""

    INTERIM = "INTERIM"  # the stay goes on
    FINAL = "FINAL"
    LATE = "LATE"  # its lines are added to the bill that it names
    REVERSED = "REVERSED"  # taken back as a whole, or takes back the one that it names
    DRAFT = "DRAFT"  # none of the bridge's business


class ColumnsOf(msgspec.Struct, frozen=True, kw_only=True):
    """Columns by what they hold; None: the hospital has none for it."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every column, once."""
        found: list[str] = []
        for value in msgspec.structs.astuple(self):
            found += [value] if isinstance(value, str) else value or ()
        return tuple(dict.fromkeys(found))


class BillColumns(ColumnsOf, frozen=True, kw_only=True):
    """Of a bill's head. `personal` are read only to keep their texts from leaving."""

    identity: str
    identity_kind: str | None = None
    name: str | None = None
    personal: tuple[str, ...] = ()
    number: str | None = None
    bill: str | None = None  # the id of what several rows make together
    care_type: str | None = None
    admission: str | None = None  # how the patient came in (入院途径)
    begin: str
    end: str | None = None
    total: str
    status: str | None = None
    reverses: str | None = None
    fund_paid: str | None = None
    account_paid: str | None = None
    self_paid: str | None = None
    diagnoses: tuple[str, ...] = ()


class LineColumns(ColumnsOf, frozen=True, kw_only=True):
    """Of a charge. `code` is the standard one, `local_code` the hospital's own."""

    id: str | None = None
    code: str | None = None
    local_code: str | None = None
    name: str | None = None
    quantity: str
    price: str | None = None
    amount: str | None = None
    time: str | None = None
    fund_paid: str | None = None
    reverses: str | None = None


class DiagnosisColumns(ColumnsOf, frozen=True, kw_only=True):
    """Of a diagnosis in a table of its own; `main` is set for the principal one."""

    code: str
    main: str | None = None


class ReadingColumns(ColumnsOf, frozen=True, kw_only=True):
    """Of a laboratory result."""

    identity: str
    identity_kind: str | None = None
    code: str
    value: str
    unit: str
    time: str
    issued: str | None = None
    category: str | None = None
    status: str | None = None


class RowTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How to read a hospital's rows."""

    bill: BillColumns
    line: LineColumns
    diagnosis: DiagnosisColumns | None = None
    reading: ReadingColumns | None = None
    line_system: str = ""
    local_line_system: str = ""
    diagnosis_system: str = ""
    care_types: Mapping[str, CareType] = {}
    emergency_admissions: tuple[str, ...] = ()  # what `admission` holds of an emergency
    statuses: Mapping[str, RowStatus] = {}
    reading_system: str = "http://loinc.org"  # another one needs a map (readings.maps)
    main_marks: tuple[str, ...] = ("1",)
    charset: str = "gb18030"  # of bytes that a database hands over as such
