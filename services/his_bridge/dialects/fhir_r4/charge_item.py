"""FHIR R4 ChargeItems as events of the bill of their account or visit, which says when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.fhir_terms import FhirTerms, GroupBy
from services.his_bridge.core.parsed import ParsedBill, ParsedLine
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.charges import own_price, quantity_of
from services.his_bridge.dialects.fhir_r4.claim_care import emergency_of
from services.his_bridge.dialects.fhir_r4.claim_money import read_fund_paid
from services.his_bridge.dialects.fhir_r4.decoding import FhirDecoder
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.merged import patients_of
from services.his_bridge.dialects.fhir_r4.stays import (
    Diagnoses,
    care_type_of,
    occurrence_of,
    period_of,
    span_of,
    visits_of,
)
from services.his_bridge.dialects.fhir_r4.structs import (
    Account,
    ChargeItem,
    Encounter,
    Header,
    Reference,
)
from services.his_bridge.dialects.fhir_r4.support import (
    NAMES,
    Key,
    Support,
    contained_in,
    insured,
    is_deletion,
    names_patient,
    number_of,
    onward,
    provider_of,
    resolve,
    resolve_person,
)
from services.his_bridge.dialects.strict_json import StrictDecoder

Holder = Account | Encounter
_DECODERS: Mapping[str, FhirDecoder[ChargeItem] | FhirDecoder[Account] | FhirDecoder[Encounter]] = {
    "ChargeItem": FhirDecoder(ChargeItem, NAMES),
    "Account": FhirDecoder(Account, NAMES),
    "Encounter": FhirDecoder(Encounter, NAMES),
}
_HEADER = StrictDecoder(Header, NAMES)


class What(StrEnum):
    """What a record says happened to its bill."""

    ADDS = "adds"
    TAKES_BACK = "takes back"
    CLOSES = "closes"
    ALL_BACK = "all back"
    NOTHING = "nothing"


_OF_CHARGES = {
    "billable": What.ADDS,
    "billed": What.ADDS,
    "not-billable": What.TAKES_BACK,
    "aborted": What.TAKES_BACK,
    "entered-in-error": What.TAKES_BACK,
    "planned": What.NOTHING,
}
_OF_HOLDERS = {
    "inactive": What.CLOSES,  # an account
    "finished": What.CLOSES,  # a visit
    "cancelled": What.ALL_BACK,
    "entered-in-error": What.ALL_BACK,
}


class DecodedCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge, or what holds charges together, with the faults of its structure."""

    resource: ChargeItem | Holder | None
    faults: tuple[Fault, ...]


def decode_charge(raw: bytes) -> DecodedCharge:
    """Read a record's bytes by what it says it is. Never raises."""
    header, _ = _HEADER.decode(raw)
    kind = header.resource_type if header is not None else None
    resource, faults = _DECODERS.get(kind or "", _DECODERS["ChargeItem"]).decode(raw)
    return DecodedCharge(resource=resource, faults=faults)


def what_of(decoded: DecodedCharge) -> What:
    """What happened. What cannot be told adds, and has faults."""
    resource = decoded.resource
    if isinstance(resource, ChargeItem) or resource is None:
        status = resource.status if resource is not None else None
        return _OF_CHARGES.get(status or "", What.ADDS)
    # A server that forgets an account after its time takes no money back by that.
    return (
        What.NOTHING
        if is_deletion(resource.request)
        else _OF_HOLDERS.get(resource.status or "", What.NOTHING)
    )


def bill_id_of(
    decoded: DecodedCharge, record_id: str, own: FhirTerms, findings: Findings, base_url: str
) -> str | None:
    """The bill that a record speaks of, as Type/id of what holds its charges together."""
    resource = decoded.resource
    if isinstance(resource, Account | Encounter):
        return f"{type(resource).__name__}/{record_id}"
    if resource is None:
        return None
    if own.group_by is GroupBy.ENCOUNTER:
        text = resource.context.reference if resource.context else None
        key = findings.reference(text, "context", "Encounter", base_url)
    else:
        if len(resource.account) > 1:
            # Shared among accounts, and nobody says in which parts.
            findings.add(Reason.REFERENCE_MALFORMED, "account")
            return None
        text = resource.account[0].reference if resource.account else None
        key = findings.reference(text, "account[0]", "Account", base_url)
    return None if key is None else "/".join(key)


def needs_of(decoded: DecodedCharge, terms: SourceTerms, own: FhirTerms) -> set[Key]:
    """What must be looked up before a charge can be read."""
    resource = decoded.resource
    if not isinstance(resource, ChargeItem) or what_of(decoded) is not What.ADDS:
        return set()
    keys = _References(resource, Findings(()), terms, own).all()
    return {key for key in keys if key is not None and not key[1].startswith("#")}


def read_charge(
    decoded: DecodedCharge, record_id: str, support: Support, terms: SourceTerms, own: FhirTerms
) -> tuple[str | None, ParsedBill | tuple[Fault, ...]]:
    """The bill that a charge belongs to, and the bill with this one charge; or only faults."""
    charge = decoded.resource
    if not isinstance(charge, ChargeItem):
        return None, decoded.faults
    findings, zone = Findings(decoded.faults), ZoneInfo(terms.zone)
    bill_id = bill_id_of(decoded, record_id, own, findings, terms.base_url)
    references = _References(charge, findings, terms, own)
    support = {**support, **contained_in(charge.contained, terms)}
    if charge.resource_type != "ChargeItem":
        findings.add(Reason.WRONG_TYPE, "resourceType")
    if _OF_CHARGES.get(charge.status or "") is not What.ADDS:
        findings.add(Reason.STATUS_UNKNOWN, "status")
    if _text_of(charge.subject) is None:
        findings.add(Reason.REFERENCE_MISSING, "subject")
    if _text_of(charge.performing_organization) is None and terms.provider_id is None:
        findings.add(Reason.REFERENCE_MISSING, "performingOrganization")
    account = resolve(findings, references.account, "account[0]", Account, support)
    person = resolve_person(findings, references.subject, "subject", support)
    coverages = {
        f"account[0]->{path}": key
        for path, key in onward(account, terms.base_url, findings, "account[0]->").items()
    }
    person = insured(findings, person, references.subject, coverages, support, own, terms.base_url)
    provider_id, tier = provider_of(
        findings, references.provider, "performingOrganization", support, terms
    )
    visits = visits_of(findings, [("context", references.context)], support)
    served = occurrence_of(charge, "", findings, zone)
    of_account = period_of(
        account.service_period if account else None, "account[0]->servicePeriod", findings, zone
    )
    start, end = span_of(visits, [of_account, served], "occurrenceDateTime", findings, zone)
    patients = patients_of(references.subject, support, terms.base_url)
    diagnoses = Diagnoses()
    for visit in visits:
        # Of a visit or account that is cancelled everything is taken back by its own record.
        names_patient(findings, visit.path, [visit.encounter.subject], patients, terms.base_url)
        diagnoses.add_of(visit, findings, support, patients, terms.base_url)
    reasons = [
        diagnoses.add(findings.concept(reason, f"reason[{index}]"))
        for index, reason in enumerate(charge.reason)
    ]
    net = own_price(charge, "", findings, terms)
    line = ParsedLine(
        path="ChargeItem",
        number=1,
        concept=findings.concept(charge.code, "code"),
        quantity=quantity_of(charge, "", findings),
        unit_price=None,
        net=net,
        states_amount=charge.price_override is not None or findings.broken_at("priceOverride"),
        service_time=served[0],
        diagnosis_numbers=tuple(dict.fromkeys(n for n in reasons if n is not None)),
        fund_paid=read_fund_paid(charge.extension, "ChargeItem", findings, terms),
        line_id=record_id,
    )
    return bill_id, ParsedBill(
        bill_number=_number(bill_id, account, findings),
        provider_id=provider_id,
        tier=tier,
        care_type=care_type_of(visits, "context", findings, terms),
        start=start,
        end=end,
        diagnoses=diagnoses.all(terms),
        lines=(line,),
        total=None,
        total_path="priceOverride",
        states_total=False,
        person=person,
        social_insurance=None,
        faults=tuple(findings.faults),
        emergency=emergency_of(visit.encounter for visit in visits),
    )


class _References:
    """Everything a charge points at."""

    def __init__(
        self, charge: ChargeItem, findings: Findings, terms: SourceTerms, own: FhirTerms
    ) -> None:
        def key_of(pointer: Reference | None, path: str, kind: str) -> Key | None:
            text = _text_of(pointer)
            return findings.reference(text, path, kind, terms.base_url) if text else None

        self.subject = key_of(charge.subject, "subject", "Patient")
        self.context = key_of(charge.context, "context", "Encounter")
        self.provider = key_of(
            charge.performing_organization, "performingOrganization", "Organization"
        )
        first = charge.account[0] if len(charge.account) == 1 else None
        wanted = own.group_by is GroupBy.ACCOUNT or own.coverages
        self.account = key_of(first, "account[0]", "Account") if wanted else None

    def all(self) -> set[Key | None]:
        return {self.subject, self.context, self.provider, self.account}


def _number(bill_id: str | None, account: Account | None, findings: Findings) -> str | None:
    named = bill_id.partition("/")[2] if bill_id is not None else None
    identifiers = account.identifier if account is not None else []
    return number_of(identifiers, "account[0]->identifier", named, findings)


def _text_of(pointer: Reference | None) -> str | None:
    return (pointer.reference or None) if pointer is not None else None
