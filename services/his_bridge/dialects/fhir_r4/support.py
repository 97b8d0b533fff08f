"""What bills and readings point at: read once, looked up by type and id. Asks no server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar, cast

import msgspec

from services.his_bridge.core.bill import Tier
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.fhir_terms import CoverageRule, FhirTerms
from services.his_bridge.core.parsed import Identity, Person
from services.his_bridge.core.telling import (
    in_plain,
    telling_names,
    telling_numbers,
    whole_names,
)
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import structs
from services.his_bridge.dialects.fhir_r4.decoding import FhirDecoder
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import (
    SUPPORTING,
    Account,
    ChargeItem,
    Condition,
    Coverage,
    Encounter,
    HumanName,
    Identifier,
    MedicationRequest,
    Organization,
    Patient,
    Reference,
    Request,
    Supporting,
)
from services.his_bridge.dialects.strict_json import names_of

R = TypeVar("R", bound=Supporting)
TIER_EXTENSION = "urn:lipei:fhir:hospital-tier"
USUAL_TERMS = FhirTerms()
# Statuses of what is not so, or came to nothing; charge items of what is not to be paid.
_TAKEN_BACK: Mapping[type[Supporting], frozenset[str]] = {
    Encounter: frozenset({"entered-in-error", "cancelled"}),
    ChargeItem: frozenset({"entered-in-error", "not-billable", "aborted"}),
    Account: frozenset({"entered-in-error"}),
    MedicationRequest: frozenset({"entered-in-error"}),
}
_REFUTED = {"entered-in-error", "refuted"}
_SELF = "self"  # HL7's code of a subscriber who is the patient
Key = tuple[str, str]

NAMES = names_of(
    *(
        kind
        for kind in vars(structs).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    )
)
_DECODERS = {name: FhirDecoder(kind, NAMES) for name, kind in SUPPORTING.items()}


class Supported(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that others point at, with the faults of its structure; a patient as a person."""

    resource: Supporting | None
    faults: tuple[Fault, ...]
    person: Person | None = None


Support = Mapping[Key, Supported]


def read_supporting(kind: str, raw: bytes, terms: SourceTerms) -> Supported:
    """Read one resource of the kinds in SUPPORTING."""
    resource, faults = _DECODERS[kind].decode(raw)
    if resource is not None and resource.resource_type != kind:
        wrong = Fault(reason=Reason.WRONG_TYPE, path="resourceType")
        return Supported(resource=None, faults=(*faults, wrong))
    person = _person_of(resource, terms) if isinstance(resource, Patient) else None
    return Supported(resource=resource, faults=faults, person=person)


def contained_in(raw: list[msgspec.Raw], terms: SourceTerms) -> dict[Key, Supported]:
    """Contained resources, their ids marked with "#"."""
    found: dict[Key, Supported] = {}
    for each in raw:
        try:
            header = msgspec.json.decode(bytes(each), type=structs.Header)
        except (msgspec.DecodeError, RecursionError):
            continue  # whoever points at it gets a fault
        if header.resource_type in SUPPORTING and header.id:
            key = (header.resource_type, f"#{header.id}")
            if key in found:  # of two of one id nobody can say which is meant
                twice = Fault(reason=Reason.DUPLICATE_KEY, path="id")
                found[key] = Supported(resource=None, faults=(twice,))
                continue
            found[key] = read_supporting(header.resource_type, bytes(each), terms)
    return found


def resolve(
    findings: Findings, key: Key | None, path: str, kind: type[R], support: Support
) -> R | None:
    """The resource that a reference means; its own faults are named behind an arrow."""
    if key is None:
        return None
    found = support.get(key)
    if found is None:
        findings.add(Reason.REFERENCE_NOT_FOUND, path)
        return None
    for fault in found.faults:
        findings.add(fault.reason, f"{path}->{fault.path}")
    return cast(R, found.resource) if isinstance(found.resource, kind) else None


def stands(
    findings: Findings,
    path: str,
    found: Encounter | Condition | MedicationRequest | ChargeItem | Account | None,
    patients: Collection[Key],
    base_url: str,
) -> None:
    """Name it when what a bill points at was taken back, or is another patient's."""
    if found is None:
        return
    if was_taken_back(found):
        findings.add(Reason.REFERENCE_TAKEN_BACK, path)
    subjects = found.subject if isinstance(found, Account) else [found.subject]
    names_patient(findings, path, subjects, patients, base_url)


def was_taken_back(
    found: Encounter | Condition | MedicationRequest | ChargeItem | Account,
) -> bool:
    """Whether it is not so, came to nothing, or is not to be paid."""
    if isinstance(found, Condition):
        said = found.verification_status.coding if found.verification_status else []
        return any(coding.code in _REFUTED for coding in said)
    return found.status in _TAKEN_BACK[type(found)]


def names_patient(
    findings: Findings,
    path: str,
    subjects: Sequence[Reference | None],
    patients: Collection[Key],
    base_url: str,
) -> None:
    """Name it when what a bill points at says whose it is, and that is not the bill's patient.

    `patients` are all records of that one person; none where nobody knows whose the bill is. A
    contained patient is known in its own record only, and is compared with nobody.
    """
    unheard = Findings(())
    texts = [subject.reference for subject in subjects if subject is not None]
    keys = {unheard.reference(text, "", "Patient", base_url) for text in texts}
    told = {key for key in keys if key is not None and not key[1].startswith("#")}
    theirs = {key for key in patients if not key[1].startswith("#")}
    if told and theirs and not told & theirs:
        findings.add(Reason.ANOTHER_PATIENT, f"{path}->subject")


def number_of(
    identifiers: Sequence[Identifier], path: str, fallback: str | None, findings: Findings
) -> str | None:
    """The first number that a record goes by now, else the fallback."""
    for index, entry in enumerate(identifiers):
        if entry.value and entry.use != "old":
            where = f"{path}[{index}].value"
            return findings.text(entry.value, where, ascii_only=True)
    return fallback


def resolve_person(
    findings: Findings, key: Key | None, path: str, support: Support
) -> Person | None:
    """The person that a reference means, with the path in front of the faults of their identity."""
    if resolve(findings, key, path, Patient, support) is None or key is None:
        return None
    person = support[key].person
    if person is None or not person.faults:
        return person
    faults = tuple(Fault(reason=f.reason, path=f"{path}->{f.path}") for f in person.faults)
    return msgspec.structs.replace(person, faults=faults)


def _person_of(patient: Patient, terms: SourceTerms) -> Person:
    """Who the patient is, by the first kind of document in the profile's order that is there."""
    faults: list[Fault] = []
    identity: Identity | None = None
    for rule in terms.identities:
        values = {
            entry.value.strip()
            for entry in patient.identifier
            if entry.system == rule.system and entry.value and entry.use != "old"
        } - {""}
        if len(values) > 1:
            faults.append(Fault(reason=Reason.IDENTITY_AMBIGUOUS, path="identifier"))
            break
        if values:
            identity = Identity(kind=rule.kind, number=values.pop())
            break
    else:
        faults.append(Fault(reason=Reason.IDENTITY_MISSING, path="identifier"))
    names, parts = _names_of(patient.name)
    numbers = {patient.id, *(entry.value for entry in patient.identifier)}
    numbers |= {entry.value for entry in patient.telecom}
    numbers |= {text for place in patient.address for text in (place.text, *place.line)}
    return Person(
        identity=identity,
        telling=in_plain(names | telling_numbers(numbers)),
        name_parts=in_plain(parts),
        faults=tuple(faults),
    )


def provider_of(
    findings: Findings, key: Key | None, path: str, support: Support, terms: SourceTerms
) -> tuple[str | None, Tier | None]:
    """The provider's number, by the profile or its Organization's identifier, and its tier."""
    organization = resolve(findings, key, path, Organization, support)
    if organization is None:
        return terms.provider_id, terms.tier
    tier = terms.tier
    for extension in organization.extension:
        if extension.url == TIER_EXTENSION:
            try:
                tier = Tier((extension.value_code or "").upper())
            except ValueError:
                findings.add(Reason.TIER_UNKNOWN, f"{path}->extension")
    if terms.provider_id is not None or terms.provider_system is None:
        return terms.provider_id, tier
    for index, entry in enumerate(organization.identifier):
        if entry.system == terms.provider_system and entry.value:
            where = f"{path}->identifier[{index}].value"
            return findings.text(entry.value, where, ascii_only=True), tier
    findings.add(Reason.PROVIDER_UNKNOWN, path)
    return None, tier


def insured(
    findings: Findings,
    person: Person | None,
    patient: Key | None,
    coverages: Mapping[str, Key | None],
    support: Support,
    own: FhirTerms,
    base_url: str,
) -> Person | None:
    """The person under the number that a payor of the profile gave them; else as they are.

    A subscriber's number names the subscriber: of whoever is insured along with them it is not
    taken, and their own documents count.
    """
    if person is None or not own.coverages:
        return person
    numbers: dict[tuple[str, str], str] = {}
    for path, key in coverages.items():
        contract = resolve(findings, key, path, Coverage, support)
        if contract is None or contract.status != "active" or not contract.subscriber_id:
            continue
        rule = _rule_of(contract, own)
        if rule is None or not _is_self(contract):
            continue
        text = contract.beneficiary.reference if contract.beneficiary else None
        whose = Findings(()).reference(text, "", "Patient", base_url)
        # A contained patient is known in its own record only.
        if patient is None or patient[1].startswith("#") or whose != patient:
            findings.add(Reason.IDENTITY_AMBIGUOUS, f"{path}->beneficiary")
            continue
        numbers[rule.kind, contract.subscriber_id.strip()] = path
    if not numbers:
        return person
    if len(numbers) > 1:
        findings.add(Reason.IDENTITY_AMBIGUOUS, max(numbers.values()))
        return person
    (kind, number), _ = numbers.popitem()
    own_faults = [f for f in person.faults if f.reason is not Reason.IDENTITY_MISSING]
    return msgspec.structs.replace(
        person,
        identity=Identity(kind=kind, number=number),
        telling=in_plain({*person.telling, *telling_numbers([number])}),
        faults=tuple(own_faults),
    )


def is_deletion(request: Request | None) -> bool:
    """Whether these bytes tell that the server deleted the resource."""
    return request is not None and request.method == "DELETE"


def points_at(kind: str, raw: bytes, base_url: str) -> set[Key]:
    """What a resource that others point at needs in turn to be understood."""
    pointers = onward(decode_supporting(kind, raw), base_url, Findings(()))
    return {key for key in pointers.values() if key is not None}


def decode_supporting(kind: str, raw: bytes) -> Supporting | None:
    """A resource of the kinds in SUPPORTING, whatever its faults; None when nothing can be read."""
    decoder = _DECODERS.get(kind)
    return None if decoder is None else decoder.decode(raw)[0]


def onward(
    resource: Supporting | None, base_url: str, findings: Findings, behind: str = ""
) -> dict[str, Key | None]:
    """The pointers of a charge, an encounter or an account, by path in it.

    `behind` is the pointer that led to it, with its arrow: where a fault stands is told from there.
    """
    pointers: list[tuple[str, Reference | None, str]] = []
    if isinstance(resource, ChargeItem):
        pointers.append(("context", resource.context, "Encounter"))
    elif isinstance(resource, Encounter):
        pointers += [
            (f"diagnosis[{index}].condition", entry.condition, "Condition")
            for index, entry in enumerate(resource.diagnosis)
        ]
    elif isinstance(resource, Account):
        pointers += [
            (f"coverage[{index}].coverage", entry.coverage, "Coverage")
            for index, entry in enumerate(resource.coverage)
        ]
    return {
        path: findings.reference(pointer.reference, behind + path, kind, base_url)
        for path, pointer, kind in pointers
        if pointer is not None and pointer.reference
    }


def _rule_of(contract: Coverage, own: FhirTerms) -> CoverageRule | None:
    payors = {(p.identifier.system, p.identifier.value) for p in contract.payor if p.identifier}
    return next((rule for rule in own.coverages if (rule.system, rule.payor) in payors), None)


def _is_self(contract: Coverage) -> bool:
    codings = contract.relationship.coding if contract.relationship else []
    return any(coding.code == _SELF for coding in codings)


def _names_of(names: list[HumanName]) -> tuple[set[str], set[str]]:
    whole: set[str] = set()
    parts: set[str] = set()
    for name in names:
        family = name.family or ""
        whole |= {name.text or "", *whole_names(family, name.given)}
        parts |= {family, "".join(name.given), *name.given, *(name.text or "").split()}
    return telling_names(whole), telling_names(parts)
