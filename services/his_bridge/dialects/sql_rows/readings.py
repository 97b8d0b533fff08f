"""Rows of laboratory results behind the dialects' port. The patient becomes a token here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.intake import Held, whole_readings
from services.his_bridge.core.outcomes import (
    KeptOut,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.core.parsed import ParsedReading, ParsedReadings
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.cells import Cells, Findings
from services.his_bridge.dialects.documents import person
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym
from services.his_bridge.dialects.sql_rows.record import DecodedRows, Rows, RowsDecoder

LOINC = "http://loinc.org"
_FASTING = ("14771-0", "1558-6")
_VALUE_PLACES = 6
_CLOCKS_DIFFER = timedelta(minutes=5)


class ReadingRowReader:
    """Reads rows as readings."""

    kind = "Reading"

    def __init__(self, own: RowTerms, terms: SourceTerms, tokens: Tokens) -> None:
        if own.reading is None:
            raise TypeError("the profile names no columns of readings")
        self._own = own
        self._columns = own.reading
        self._terms = terms
        self._tokens = tokens
        self._zone = ZoneInfo(terms.zone)
        self._units = {rule.code: rule.units for rule in terms.readings}
        self._decoder = RowsDecoder(own)

    def glance(self, raw: bytes) -> Glance:
        """Decode the row; what no programme uses is to be kept out."""
        decoded = self._decoder.decode(raw)
        cells = self._cells(decoded, Findings(()))
        return Glance(
            decoded=decoded,
            keep_out=decoded.rows is not None and self._code(cells) not in self._units,
            needs=frozenset(),
        )

    def read_supporting(self, kind: str, raw: bytes) -> None:
        """Nothing: rows point at nothing."""

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        """The reading, its withdrawal, or its faults."""
        decoded: DecodedRows = glance.decoded
        if decoded.rows is None:
            return SetAside(faults=decoded.faults)
        findings = Findings(decoded.faults)
        cells, columns = self._cells(decoded, findings), self._columns
        code = self._code(cells)
        if code not in self._units:
            return KeptOut()
        if columns.status is not None:
            status = self._own.statuses.get(cells.text(columns.status) or "")
            if status is RowStatus.REVERSED:
                return ReadingsWithdrawn()
            if status is RowStatus.DRAFT:
                return KeptOut()
            if status is None:
                cells.add(Reason.STATUS_UNKNOWN, columns.status)
        kind = None
        if columns.identity_kind is not None:
            kind = cells.text(columns.identity_kind) or ""
        path = cells.at(columns.identity)
        number = cells.text(columns.identity)
        who = person(kind, number, path, self._terms.identities)
        who, token = pseudonym(who, path, self._tokens)  # type: ignore[assignment]  # it is given
        reading = self._reading(code, cells)
        parsed = ParsedReadings(
            readings=() if reading is None else (reading,),
            person=who,
            faults=tuple(findings.faults),
        )
        try:
            return ReadingsStated(readings=whole_readings(parsed, token))
        except Held as held:
            return SetAside(faults=held.faults)

    def _reading(self, code: str, cells: Cells) -> ParsedReading | None:
        columns = self._columns
        value = cells.decimal(columns.value, places=_VALUE_PLACES)
        if not cells.states(columns.value):
            cells.add(Reason.VALUE_MISSING, columns.value)
        unit = cells.text(columns.unit) or ""
        if unit not in self._units[code]:
            cells.add(Reason.UNIT_UNKNOWN, columns.unit)
        effective = cells.moment(columns.time)
        if not cells.states(columns.time):
            cells.add(Reason.TIME_MISSING, columns.time)
        issued = cells.moment(columns.issued)
        if issued and effective and effective - issued > _CLOCKS_DIFFER:
            cells.add(Reason.END_BEFORE_START, columns.issued or "issued")
        provenance = self._provenance(cells)
        if value is None or effective is None or provenance is None:
            return None
        return ParsedReading(
            component=code,
            system=LOINC,
            code=code,
            value=value,
            unit=unit,
            effective=effective,
            provenance=provenance,
            issued=issued,
            fasting=True if code in _FASTING else None,
        )

    def _provenance(self, cells: Cells) -> Provenance | None:
        column = self._columns.category
        if column is None:
            return Provenance.LABORATORY  # a laboratory's own table
        found = self._terms.provenances.get(cells.text(column) or "")
        if found is None:
            cells.add(Reason.PROVENANCE_UNKNOWN, column)
        return found

    def _code(self, cells: Cells) -> str:
        code = cells.text(self._columns.code) or ""
        code_map = self._terms.reading_maps.get(self._own.reading_system)
        if code_map is None:
            return code if self._own.reading_system == LOINC else ""
        return code_map.codes[code].code if code in code_map.codes else ""

    def _cells(self, decoded: DecodedRows, findings: Findings) -> Cells:
        rows = decoded.rows or Rows()
        return Cells(rows.head, "head", findings, self._zone, self._own.charset)
