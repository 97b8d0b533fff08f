"""Orders of an ORU^R01 as readings behind the dialects' port. Converts no unit but in name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.intake import Held, whole_readings
from services.his_bridge.core.loinc import FASTING_CODES, LOINC, VALUE_PLACES
from services.his_bridge.core.outcomes import (
    KeptOut,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.core.parsed import ParsedReading, ParsedReadings
from services.his_bridge.core.source_time import CLOCK_SKEW
from services.his_bridge.core.terms import ReadingRule
from services.his_bridge.dialects.hl7v2.admission import (
    Hl7Reading,
    is_kept_out,
    order_id,
    type_of,
)
from services.his_bridge.dialects.hl7v2.bills import unread
from services.his_bridge.dialects.hl7v2.message import Message, Segment
from services.his_bridge.dialects.hl7v2.orders import Order, orders_of
from services.his_bridge.dialects.hl7v2.person import read_person
from services.his_bridge.dialects.hl7v2.refusals import Refused
from services.his_bridge.dialects.hl7v2.values import Findings, path_of
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym

# HL7 table 0085: what the laboratory stands by, and what it takes back.
_RELEASED = frozenset({"F", "C", "U"})
_TAKEN_BACK = frozenset({"D", "W", "X"})
# HL7 table 0123, OBR-25: the order was cancelled.
_CANCELLED = "X"
_EXACT_COMPARATORS = frozenset({"", "="})


class ResultReader:
    """Reads the orders of results as readings; each order is a record of its own."""

    kind = "HL7v2-results"  # of its own, so that dropped files of results have their own folder

    def __init__(self, reading: Hl7Reading, tokens: Tokens) -> None:
        self.reading = reading
        self._tokens = tokens
        self._zone = ZoneInfo(reading.terms.zone)

    def glance(self, raw: bytes) -> Glance:
        """Decode the message; one without results that a programme uses is to be kept out."""
        try:
            message = self.reading.message(raw)
        except Refused as refused:
            return Glance(decoded=unread(refused), keep_out=False, needs=frozenset())
        out = is_kept_out(type_of(message), self.reading.own)
        wanted = orders_of(message, self.reading.terms)
        return Glance(decoded=message, keep_out=out or not wanted, needs=frozenset())

    def read_supporting(self, kind: str, raw: bytes) -> Any:
        """Nothing: a message says all that it means."""
        raise LookupError(kind)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        """The readings of one order, their withdrawal, or their faults."""
        message = glance.decoded
        if not isinstance(message, Message):
            return SetAside(faults=message)
        order = next(
            (
                one
                for one in orders_of(message, self.reading.terms)
                if order_id(message.header, self.reading.own, one) == record_id
            ),
            None,
        )
        if order is None:
            return KeptOut()
        results = [one for one in order.results if one[0].first(11) not in _TAKEN_BACK]
        if not results or order.obr.first(25) == _CANCELLED:
            return ReadingsWithdrawn()
        released = [one for one in results if one[0].first(11) in _RELEASED]
        if not released:
            return KeptOut()  # not yet: preliminary, or in work
        return self._stated(message, order, released)

    def _stated(
        self, message: Message, order: Order, results: list[tuple[Segment, ReadingRule]]
    ) -> Outcome:
        terms, findings = self.reading.terms, Findings(self.reading.coder)
        zone = terms.zone
        person = None
        if order.pid is None:
            findings.add(Reason.IDENTITY_MISSING, "PID")
        else:
            person = read_person(order.pid, findings, terms)
        person, token = pseudonym(person, "PID[1].3", self._tokens)
        issued = findings.moment(order.obr, 22, zone, any_year=True)
        taken = findings.moment(order.obr, 7, zone, any_year=True)
        section = findings.text(order.obr, 24) or message.header.part(3)
        provenance = terms.provenances.get(section)
        if provenance is None:
            findings.add(Reason.PROVENANCE_UNKNOWN, path_of(order.obr, 24))
        readings = [
            reading
            for obx, rule in results
            if (reading := self._reading_of(obx, rule, taken, issued, provenance, findings))
        ]
        days = {reading.effective.astimezone(self._zone).date() for reading in readings}
        if len(days) > 1:  # one consent must cover the record
            findings.add(Reason.SEVERAL_DAYS, path_of(order.obr, 7))
        parsed = ParsedReadings(
            readings=tuple(readings), person=person, faults=tuple(findings.faults)
        )
        try:
            return ReadingsStated(readings=whole_readings(parsed, token))
        except Held as held:
            return SetAside(faults=held.faults)

    def _reading_of(
        self,
        obx: Segment,
        rule: ReadingRule,
        taken: datetime | None,
        issued: datetime | None,
        provenance: Provenance | None,
        findings: Findings,
    ) -> ParsedReading | None:
        zone = self.reading.terms.zone
        effective = findings.moment(obx, 14, zone, any_year=True) or taken
        if effective is None:
            findings.add(Reason.TIME_MISSING, path_of(obx, 14))
        elif issued is not None and effective - issued > CLOCK_SKEW:
            findings.add(Reason.END_BEFORE_START, path_of(obx, 14))
        unit = findings.text(obx, 6)
        unit = self.reading.own.units.get(unit, unit)
        if unit not in rule.units:
            findings.add(Reason.UNIT_UNKNOWN, path_of(obx, 6))
        path = path_of(obx, 5)
        written = findings.text(obx, 5)
        if obx.first(2) == "SN":
            if written not in _EXACT_COMPARATORS or findings.text(obx, 5, 3):
                findings.add(Reason.VALUE_NOT_EXACT, path)
            written = findings.text(obx, 5, 2)
        if not written:
            findings.add(Reason.VALUE_MISSING, path)
            return None
        if written.startswith(("<", ">")):
            findings.add(Reason.VALUE_NOT_EXACT, path)
            return None
        value = findings.decimal(obx, 5, written, places=VALUE_PLACES)
        if value is not None and value < 0:
            findings.add(Reason.NEGATIVE_AMOUNT, path)
        if value is None or effective is None or provenance is None:
            return None
        return ParsedReading(
            component=rule.code if not obx.first(4) else f"{rule.code}/{obx.first(4)}",
            system=LOINC,
            code=rule.code,
            value=value,
            unit=unit,
            effective=effective,
            provenance=provenance,
            issued=issued,
            fasting=True if rule.code in FASTING_CODES else None,
        )
