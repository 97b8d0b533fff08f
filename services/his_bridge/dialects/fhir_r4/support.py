"""What bills and readings point at: read once, looked up by type and id. Asks no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Identity, Person
from services.his_bridge.core.telling import (
    in_plain,
    telling_names,
    telling_numbers,
    whole_names,
)
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import structs
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import (
    SUPPORTING,
    HumanName,
    Organization,
    Patient,
    Supporting,
)
from services.his_bridge.dialects.strict_json import StrictDecoder, names_of

R = TypeVar("R", bound=Supporting)
Key = tuple[str, str]

NAMES = names_of(
    *(
        kind
        for kind in vars(structs).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    )
)
_DECODERS = {name: StrictDecoder(kind, NAMES) for name, kind in SUPPORTING.items()}


class Supported(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that others point at, with the faults of its structure; a patient as a person."""

    resource: Supporting | None
    faults: tuple[Fault, ...]
    person: Person | None = None


Support = Mapping[Key, Supported]


def read_supporting(kind: str, raw: bytes, terms: SourceTerms) -> Supported:
    """Read one Patient, Encounter, Condition, Organization or MedicationRequest."""
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


def provider_id_of(
    organization: Organization, path: str, findings: Findings, system: str
) -> str | None:
    """The provider's identifier of the profile's system."""
    for index, entry in enumerate(organization.identifier):
        if entry.system == system and entry.value:
            where = f"{path}->identifier[{index}].value"
            return findings.text(entry.value, where, ascii_only=True)
    findings.add(Reason.PROVIDER_UNKNOWN, path)
    return None


def _names_of(names: list[HumanName]) -> tuple[set[str], set[str]]:
    whole: set[str] = set()
    parts: set[str] = set()
    for name in names:
        family = name.family or ""
        whole |= {name.text or "", *whole_names(family, name.given)}
        parts |= {family, "".join(name.given), *name.given, *(name.text or "").split()}
    return telling_names(whole), telling_names(parts)
