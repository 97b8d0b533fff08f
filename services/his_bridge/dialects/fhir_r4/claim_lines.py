"""Diagnoses and lines of a FHIR R4 Claim, as written. Adds nothing up and maps no code."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.parsed import Concept, ParsedDiagnosis, ParsedLine
from services.his_bridge.core.terms import Principal, SourceTerms
from services.his_bridge.dialects.fhir_r4.claim_money import read_fund_paid
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import (
    Claim,
    ClaimItem,
    Condition,
    MedicationRequest,
)

QUANTITY_PLACES = 4
UNIT_PRICE_PLACES = 6
NET_PLACES = 6  # finer than a coin is a fault of the balance, with its own reason


def read_diagnoses(
    claim: Claim,
    conditions: Mapping[str, Condition | None],
    findings: Findings,
    terms: SourceTerms,
) -> tuple[ParsedDiagnosis, ...]:
    """The diagnoses, coded in place or through a Condition."""
    found: list[ParsedDiagnosis] = []
    seen: set[int] = set()
    for index, diagnosis in enumerate(claim.diagnosis):
        path = f"diagnosis[{index}]"
        number = findings.number(diagnosis.sequence, f"{path}.sequence", seen)
        pointer = f"{path}.diagnosisReference"
        concept: Concept | None = None
        if diagnosis.diagnosis_codeable_concept is not None:
            where = f"{path}.diagnosisCodeableConcept"
            concept = findings.concept(diagnosis.diagnosis_codeable_concept, where)
        elif pointer in conditions:
            condition = conditions[pointer]
            if condition is not None:
                concept = findings.concept(condition.code, f"{pointer}->code")
        else:
            findings.add(Reason.CODE_MISSING, path)
        marked = any(
            coding.code == "principal" for kind in diagnosis.type for coding in kind.coding
        )
        found.append(ParsedDiagnosis(number=number, principal=marked, concept=concept))
    nobody = not any(entry.principal for entry in found)
    if found and nobody and terms.principal is Principal.FIRST:
        found[0] = msgspec.structs.replace(found[0], principal=True)
    return tuple(found)


def read_lines(
    claim: Claim,
    diagnosis_numbers: set[int],
    prescription: MedicationRequest | None,
    findings: Findings,
    terms: SourceTerms,
) -> tuple[ParsedLine, ...]:
    """The lines in their order; a pharmacy's first line may take its drug from the prescription."""
    if not claim.item:
        findings.add(Reason.NO_LINES, "item")
    zone = ZoneInfo(terms.zone)
    seen: set[int] = set()
    lines = []
    for index, item in enumerate(claim.item):
        path = f"item[{index}]"
        line = _line(item, path, seen, diagnosis_numbers, zone, findings, terms)
        if index == 0 and prescription is not None:
            drug = findings.concept(
                prescription.medication_codeable_concept,
                "prescription->medicationCodeableConcept",
            )
            line = msgspec.structs.replace(line, concept=drug, local_concept=line.concept)
        lines.append(line)
    return tuple(lines)


def _line(
    item: ClaimItem,
    path: str,
    seen: set[int],
    diagnosis_numbers: set[int],
    zone: ZoneInfo,
    findings: Findings,
    terms: SourceTerms,
) -> ParsedLine:
    if bytes(item.factor) not in (b"", b"null"):
        factor = findings.decimal(item.factor, f"{path}.factor", places=UNIT_PRICE_PLACES)
        if factor is not None and factor != 1:
            findings.add(Reason.FACTOR_UNSUPPORTED, f"{path}.factor")
    stated = item.net is not None or item.unit_price is not None
    return ParsedLine(
        path=path,
        number=findings.number(item.sequence, f"{path}.sequence", seen),
        concept=findings.concept(item.product_or_service, f"{path}.productOrService"),
        quantity=_quantity(item, path, findings),
        unit_price=findings.money(
            item.unit_price, f"{path}.unitPrice", terms.currency, places=UNIT_PRICE_PLACES
        ),
        net=findings.money(item.net, f"{path}.net", terms.currency, places=NET_PLACES),
        states_amount=stated
        or findings.broken_at(f"{path}.net")
        or findings.broken_at(f"{path}.unitPrice"),
        service_time=_service_time(item, path, zone, findings),
        diagnosis_numbers=_diagnosis_numbers(item, path, diagnosis_numbers, findings),
        fund_paid=read_fund_paid(item.extension, path, findings, terms),
    )


def _quantity(item: ClaimItem, path: str, findings: Findings) -> Decimal | None:
    if item.quantity is None:
        # FHIR: the number of repetitions of the service; a line without it happened once.
        return None if findings.broken_at(f"{path}.quantity") else Decimal(1)
    if item.quantity.comparator is not None:
        findings.add(Reason.VALUE_NOT_EXACT, f"{path}.quantity.comparator")
    where = f"{path}.quantity.value"
    quantity = findings.decimal(item.quantity.value, where, places=QUANTITY_PLACES)
    if quantity is not None and quantity <= 0:
        findings.add(Reason.QUANTITY_NOT_POSITIVE, where)
        return None
    return quantity


def _service_time(
    item: ClaimItem, path: str, zone: ZoneInfo, findings: Findings
) -> datetime | None:
    if item.serviced_date is not None:
        return findings.moment(item.serviced_date, f"{path}.servicedDate", zone)
    if item.serviced_period is None:
        return None
    where = f"{path}.servicedPeriod"
    start = findings.moment(item.serviced_period.start, f"{where}.start", zone)
    end = findings.moment(item.serviced_period.end, f"{where}.end", zone, day_ends=True)
    if start is not None and end is not None and end < start:
        findings.add(Reason.END_BEFORE_START, where)
    return start or end


def _diagnosis_numbers(
    item: ClaimItem, path: str, known: set[int], findings: Findings
) -> tuple[int, ...]:
    seen: set[int] = set()
    numbers = []
    for index, raw in enumerate(item.diagnosis_sequence):
        where = f"{path}.diagnosisSequence[{index}]"
        number = findings.number(raw, where, seen)
        if number and number not in known:
            findings.add(Reason.DIAGNOSIS_NUMBER_UNKNOWN, where)
        numbers.append(number)
    return tuple(numbers)
