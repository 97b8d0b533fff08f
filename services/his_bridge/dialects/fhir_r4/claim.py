"""A FHIR R4 Claim, with what it points at, as a bill. Fetches nothing and maps no code."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.fhir_terms import FhirTerms
from services.his_bridge.core.parsed import ParsedBill
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.claim_care import care_type_of, emergency_of
from services.his_bridge.dialects.fhir_r4.claim_lines import read_diagnoses, read_lines
from services.his_bridge.dialects.fhir_r4.claim_money import read_social_insurance
from services.his_bridge.dialects.fhir_r4.decoding import FhirDecoder
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.merged import patients_of
from services.his_bridge.dialects.fhir_r4.stays import period_of
from services.his_bridge.dialects.fhir_r4.structs import (
    Claim,
    Condition,
    Encounter,
    MedicationRequest,
    Period,
)
from services.his_bridge.dialects.fhir_r4.support import (
    NAMES,
    USUAL_TERMS,
    Key,
    Support,
    contained_in,
    insured,
    is_deletion,
    number_of,
    provider_of,
    resolve,
    resolve_person,
    stands,
)

MONEY_PLACES = 6
_DECODER = FhirDecoder(Claim, NAMES)
_STATUSES = {"active", "cancelled", "draft", "entered-in-error"}


class Nature(StrEnum):
    """What a Claim is to the bridge."""

    BILL = "bill"
    WITHDRAWN = "withdrawn"  # cancelled, or entered in error
    NO_BILL = "no bill"  # a draft, or a request before treatment


class DecodedClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A Claim and the faults of its structure; without a claim nothing of it could be read."""

    claim: Claim | None
    faults: tuple[Fault, ...]


def decode_claim(raw: bytes) -> DecodedClaim:
    """Read a Claim's bytes. Never raises: what is wrong stands in the faults."""
    claim, faults = _DECODER.decode(raw)
    return DecodedClaim(claim=claim, faults=faults)


def nature_of(decoded: DecodedClaim) -> Nature:
    """Whether to release, take back or leave alone. What cannot be told is a bill with faults."""
    claim = decoded.claim
    if claim is None:
        return Nature.BILL
    if is_deletion(claim.request):
        return Nature.WITHDRAWN
    if claim.use in ("preauthorization", "predetermination") or claim.status == "draft":
        return Nature.NO_BILL
    if claim.status in ("cancelled", "entered-in-error"):
        return Nature.WITHDRAWN
    return Nature.BILL


def billing_day(decoded: DecodedClaim, terms: SourceTerms) -> date | None:
    """The day, in the hospital's zone, on which the bill ends; None when it cannot be told."""
    claim = decoded.claim
    if claim is None:
        return None
    period = claim.billable_period or Period()
    zone = ZoneInfo(terms.zone)
    unheard = Findings(())
    for text in (period.end, period.start, claim.created):
        moment = unheard.moment(text, "", zone, any_year=True)
        if moment is not None:
            return moment.astimezone(zone).date()
    return None


def needs_of(decoded: DecodedClaim, terms: SourceTerms, own: FhirTerms = USUAL_TERMS) -> set[Key]:
    """What the source must look up before the claim can be read; contained resources excepted."""
    if decoded.claim is None:
        return set()
    keys = _References(decoded.claim, Findings(()), terms, own).all()
    return {key for key in keys if not key[1].startswith("#")}


def read_claim(
    decoded: DecodedClaim,
    fallback_number: str,
    support: Support,
    terms: SourceTerms,
    own: FhirTerms = USUAL_TERMS,
) -> ParsedBill | tuple[Fault, ...]:
    """The bill that a Claim states, or only faults when nothing of it could be read.

    `fallback_number` is the bill's number when the claim carries no identifier: its id.
    """
    claim = decoded.claim
    if claim is None:
        return decoded.faults
    findings = Findings(decoded.faults)
    references = _References(claim, findings, terms, own)
    support = {**support, **contained_in(claim.contained, terms)} if claim.contained else support
    zone = ZoneInfo(terms.zone)
    if claim.resource_type != "Claim":
        findings.add(Reason.WRONG_TYPE, "resourceType")
    if claim.status not in _STATUSES:
        findings.add(Reason.STATUS_UNKNOWN, "status")
    if claim.use != "claim":
        findings.add(Reason.STATUS_UNKNOWN, "use")
    person = resolve_person(findings, references.patient, "patient", support)
    person = insured(
        findings, person, references.patient, references.coverages, support, own, terms.base_url
    )
    provider_id, tier = provider_of(findings, references.provider, "provider", support, terms)
    stays = {
        path: resolve(findings, key, path, Encounter, support)
        for path, key in references.encounters.items()
    }
    encounters = [found for found in stays.values() if found is not None]
    start, end = _times(claim, encounters, findings, zone)
    conditions = {
        path: resolve(findings, key, path, Condition, support)
        for path, key in references.conditions.items()
    }
    prescription = resolve(
        findings, references.prescription, "prescription", MedicationRequest, support
    )
    diagnoses = read_diagnoses(claim, conditions, findings, terms)
    patients = patients_of(references.patient, support, terms.base_url)
    for path, found in (
        *stays.items(),
        *conditions.items(),
        ("prescription", prescription),
    ):
        stands(findings, path, found, patients, terms.base_url)
    total = findings.money(claim.total, "total", terms.currency, places=MONEY_PLACES)
    return ParsedBill(
        bill_number=number_of(claim.identifier, "identifier", fallback_number, findings),
        provider_id=provider_id,
        tier=tier,
        care_type=care_type_of(claim, encounters, findings, terms),
        start=start,
        end=end,
        diagnoses=diagnoses,
        lines=read_lines(claim, {d.number for d in diagnoses}, prescription, findings, terms),
        total=total,
        total_path="total",
        states_total=claim.total is not None or findings.broken_at("total"),
        person=person,
        social_insurance=read_social_insurance(claim.extension, findings, terms),
        faults=tuple(findings.faults),
        emergency=emergency_of(encounters),
    )


class _References:
    """Everything a claim points at, by the path of the pointer."""

    def __init__(
        self, claim: Claim, findings: Findings, terms: SourceTerms, own: FhirTerms
    ) -> None:
        def key_of(text: str | None, path: str, kind: str) -> Key | None:
            return findings.reference(text, path, kind, terms.base_url)

        patient = claim.patient.reference if claim.patient else None
        self.patient = key_of(patient, "patient", "Patient")
        self.provider: Key | None = None
        if claim.provider or terms.provider_id is None:
            provider = claim.provider.reference if claim.provider else None
            if provider is not None or terms.provider_id is None:
                self.provider = key_of(provider, "provider", "Organization")
        self.prescription: Key | None = None
        if claim.prescription and terms.pharmacy_code_from_prescription:
            text = claim.prescription.reference
            self.prescription = key_of(text, "prescription", "MedicationRequest")
        self.conditions: dict[str, Key | None] = {}
        for index, diagnosis in enumerate(claim.diagnosis):
            if diagnosis.diagnosis_reference is not None:
                path = f"diagnosis[{index}].diagnosisReference"
                text = diagnosis.diagnosis_reference.reference
                self.conditions[path] = key_of(text, path, "Condition")
        self.encounters: dict[str, Key | None] = {}
        for index, item in enumerate(claim.item):
            for inner, encounter in enumerate(item.encounter):
                path = f"item[{index}].encounter[{inner}]"
                self.encounters[path] = key_of(encounter.reference, path, "Encounter")

        self.coverages: dict[str, Key | None] = {}
        for index, contract in enumerate(claim.insurance if own.coverages else ()):
            path = f"insurance[{index}].coverage"
            text = contract.coverage.reference if contract.coverage else None
            self.coverages[path] = key_of(text, path, "Coverage")

    def all(self) -> set[Key]:
        single = (self.patient, self.provider, self.prescription)
        every = (
            *single,
            *self.conditions.values(),
            *self.encounters.values(),
            *self.coverages.values(),
        )
        return {key for key in every if key is not None}


def _times(
    claim: Claim, encounters: list[Encounter], findings: Findings, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Begin and end of the visit or stay: the encounter's, else the billed period's."""
    billed = period_of(claim.billable_period, "billablePeriod", findings, zone)
    stays = [
        period_of(encounter.period, "item[0].encounter[0]->period", findings, zone)
        for encounter in encounters
    ]
    starts = [start for start, _ in stays if start is not None]
    ends = [end for _, end in stays]
    start = min(starts) if starts else billed[0]
    last = [end for end in ends if end is not None]
    end = max(last) if last and len(last) == len(ends) else billed[1]
    for moment, name in ((start, "start"), (end, "end")):
        path = f"billablePeriod.{name}"
        said = claim.billable_period is not None and getattr(claim.billable_period, name)
        if moment is None and not said:
            findings.add(Reason.TIME_MISSING, path)
    if start is not None and end is not None and end < start:
        findings.add(Reason.END_BEFORE_START, "billablePeriod")
    return start, end


def claimed_total(decoded: DecodedClaim, terms: SourceTerms) -> Decimal | None:
    """What the record claims as its total, when that can be read; for the quarantine's list."""
    if decoded.claim is None:
        return None
    total = decoded.claim.total
    return Findings(()).money(total, "total", terms.currency, places=MONEY_PLACES)
