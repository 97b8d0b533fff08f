"""A FHIR R4 Observation as the readings that programmes use. Converts no unit."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.loinc import FASTING_CODES, LOINC, VALUE_PLACES
from services.his_bridge.core.parsed import ParsedReading, ParsedReadings
from services.his_bridge.core.source_time import CLOCK_SKEW
from services.his_bridge.core.terms import ReadingRule, SourceTerms
from services.his_bridge.dialects.fhir_r4.decoding import FhirDecoder
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import (
    CodeableConcept,
    Observation,
    Quantity,
)
from services.his_bridge.dialects.fhir_r4.support import (
    NAMES,
    Key,
    Support,
    contained_in,
    is_deletion,
    resolve_person,
)

_DECODER = FhirDecoder(Observation, NAMES)
_RELEASED = {"final", "amended", "corrected"}
_NOT_YET = {"registered", "preliminary"}
_WITHDRAWN = {"cancelled", "entered-in-error"}


class DecodedObservation(msgspec.Struct, frozen=True, kw_only=True):
    """An Observation and the faults of its structure."""

    observation: Observation | None
    faults: tuple[Fault, ...]


def decode_observation(raw: bytes) -> DecodedObservation:
    """Read an Observation's bytes. Never raises: what is wrong stands in the faults."""
    observation, faults = _DECODER.decode(raw)
    return DecodedObservation(observation=observation, faults=faults)


def is_wanted(decoded: DecodedObservation, terms: SourceTerms) -> bool:
    """Whether a programme uses it. What cannot be told is wanted: it waits in quarantine."""
    seen = decoded.observation
    if seen is None:
        return True
    if is_deletion(seen.request):
        return False
    if seen.status in _NOT_YET:
        return False
    return any(rule is not None for rule, _, _ in _measured(seen, terms))


def is_withdrawn(decoded: DecodedObservation) -> bool:
    """Whether the hospital takes the measurement back."""
    seen = decoded.observation
    return seen is not None and (seen.status in _WITHDRAWN or is_deletion(seen.request))


def device_of(decoded: DecodedObservation, terms: SourceTerms) -> str:
    """What the source calls the device that measured; empty where it says none.

    Two versions of a Device are one. What is contained in the record has a name of that record
    alone, and tells no two devices apart. May be a serial number: not to be stored as it is.
    """
    said = decoded.observation.device if decoded.observation else None
    if said is None:
        return ""
    if said.reference:
        named = said.reference.removeprefix(terms.base_url.rstrip("/") + "/")
        return "" if named.startswith("#") else named.partition("/_history/")[0]
    number = said.identifier
    return f"{number.system or ''}|{number.value}" if number and number.value else ""


def needs_of(decoded: DecodedObservation, terms: SourceTerms) -> set[Key]:
    """What the source must look up before the readings can be read."""
    key = _subject(decoded.observation, Findings(()), terms) if decoded.observation else None
    return set() if key is None or key[1].startswith("#") else {key}


def read_observation(
    decoded: DecodedObservation, support: Support, terms: SourceTerms
) -> ParsedReadings:
    """The readings that an Observation states; blood pressure is two."""
    seen = decoded.observation
    if seen is None:
        return ParsedReadings(readings=(), person=None, faults=decoded.faults)
    findings = Findings(decoded.faults)
    support = {**support, **contained_in(seen.contained, terms)} if seen.contained else support
    person = resolve_person(findings, _subject(seen, findings, terms), "subject", support)
    if seen.resource_type != "Observation":
        findings.add(Reason.WRONG_TYPE, "resourceType")
    if seen.status not in _RELEASED:
        findings.add(Reason.STATUS_UNKNOWN, "status")
    zone = ZoneInfo(terms.zone)
    effective = _effective(seen, findings, zone)
    issued = findings.moment(seen.issued, "issued", zone, any_year=True)
    if issued and effective and effective - issued > CLOCK_SKEW:
        findings.add(Reason.END_BEFORE_START, "issued")
    provenance = _provenance(seen, terms)
    if provenance is None:
        findings.add(Reason.PROVENANCE_UNKNOWN, "category")
    readings = []
    for rule, quantity, path in _measured(seen, terms):
        if rule is None:
            continue
        reading = _reading(rule, quantity, path, effective, provenance, findings)
        if reading is not None:
            readings.append(msgspec.structs.replace(reading, issued=issued))
    return ParsedReadings(
        readings=tuple(readings),
        person=person,
        faults=tuple(findings.faults),
    )


def _subject(seen: Observation, findings: Findings, terms: SourceTerms) -> Key | None:
    text = seen.subject.reference if seen.subject else None
    return findings.reference(text, "subject", "Patient", terms.base_url)


def _measured(
    seen: Observation, terms: SourceTerms
) -> list[tuple[ReadingRule | None, Quantity | None, str]]:
    whole = (_rule_for(seen.code, terms), seen.value_quantity, "valueQuantity")
    return [
        whole,
        *(
            (_rule_for(part.code, terms), part.value_quantity, f"component[{i}].valueQuantity")
            for i, part in enumerate(seen.component)
        ),
    ]


def _rule_for(concept: CodeableConcept | None, terms: SourceTerms) -> ReadingRule | None:
    codes = set()
    for coding in concept.coding if concept else ():
        if coding.system == LOINC:
            codes.add(coding.code)
        elif (code_map := terms.reading_maps.get(coding.system or "")) is not None:
            mapped = code_map.codes.get(coding.code or "")
            codes.add(mapped.code if mapped else None)
    return next((rule for rule in terms.readings if rule.code in codes), None)


def _provenance(seen: Observation, terms: SourceTerms) -> Provenance | None:
    for category in seen.category:
        for coding in category.coding:
            found = terms.provenances.get(coding.code or "")
            if found is not None:
                return found
    return None


def _effective(seen: Observation, findings: Findings, zone: ZoneInfo) -> datetime | None:
    for text, path in (
        (seen.effective_date_time, "effectiveDateTime"),
        (seen.effective_instant, "effectiveInstant"),
        (seen.effective_period.start if seen.effective_period else None, "effectivePeriod.start"),
    ):
        if text is not None:
            return findings.moment(text, path, zone, any_year=True)
    findings.add(Reason.TIME_MISSING, "effectiveDateTime")
    return None


def _reading(
    rule: ReadingRule,
    quantity: Quantity | None,
    path: str,
    effective: datetime | None,
    provenance: Provenance | None,
    findings: Findings,
) -> ParsedReading | None:
    if quantity is None:
        findings.add(Reason.VALUE_MISSING, path)
        return None
    if quantity.comparator is not None:
        findings.add(Reason.VALUE_NOT_EXACT, f"{path}.comparator")
    unit = quantity.code or quantity.unit
    if unit is None or unit not in rule.units:
        findings.add(Reason.UNIT_UNKNOWN, f"{path}.code")
    value = findings.decimal(quantity.value, f"{path}.value", places=VALUE_PLACES)
    if value is not None and value < 0:
        findings.add(Reason.NEGATIVE_AMOUNT, f"{path}.value")
    if value is None or unit is None or effective is None or provenance is None:
        return None
    return ParsedReading(
        component=rule.code,
        system=LOINC,
        code=rule.code,
        value=value,
        unit=unit,
        effective=effective,
        provenance=provenance,
        fasting=True if rule.code in FASTING_CODES else None,
    )
