"""Which patients a server says are one person, by both of their records. Pure.

FHIR R4 has the one who is used no more point at the one who goes on (`replaced-by`), and that one
back (`replaces`). One record alone is not believed: whoever may write one patient would move that
patient's bills to anybody, or take anybody's. So both must say it, the one who goes on must be in
use and the other not, and the links must come to an end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import (
    Account,
    ChargeItem,
    Condition,
    Encounter,
    MedicationRequest,
    Patient,
)
from services.his_bridge.dialects.fhir_r4.support import Key, Support, decode_supporting

REPLACED_BY, REPLACES = "replaced-by", "replaces"
# As it stands in the bytes of a patient who was merged, whichever side; without it nobody was.
_SIGN = b"replace"
_NAMED = re.compile(rb"Patient(?:/|\\/)([A-Za-z0-9\-.]{1,64})")


def survivor_of(patient: Key, support: Support, base_url: str) -> Key:
    """As whom a patient goes on; the same one where that is not sure."""
    at, seen = patient, {patient}
    while (onward := _step(at, support, base_url)) is not None:
        if onward in seen:
            return patient  # in a circle nobody goes on
        seen.add(onward)
        at = onward
    last = _patient(at, support)
    return patient if last is None or last.active is False else at


def patients_of(patient: Key | None, support: Support, base_url: str) -> frozenset[Key]:
    """All records of a bill's patient; none where the patient is not found."""
    if patient is None or patient not in support:
        return frozenset()
    survivor = survivor_of(patient, support, base_url)
    found, new = {patient, survivor}, [survivor]
    while new:
        known = _patient(new.pop(), support)
        others = _linked(known, REPLACES, base_url) if known is not None else set()
        merged = {one for one in others - found if survivor_of(one, support, base_url) == survivor}
        found |= merged
        new += merged
    return frozenset(found)


def people_behind(kind: str, raw: bytes, known: Collection[Key], base_url: str) -> set[Key]:
    """Patients of whom more must be known than of these, to tell whose a resource is.

    Of nearly all resources the bytes tell that there are none.
    """
    if kind == "Patient":
        if _SIGN not in raw:
            return set()
    elif all(("Patient", name.decode()) in known for name in _NAMED.findall(raw)):
        return set()
    resource = decode_supporting(kind, raw)
    if isinstance(resource, Patient):
        named = _linked(resource, REPLACED_BY, base_url) | _linked(resource, REPLACES, base_url)
    elif isinstance(resource, Account):
        named = _keys([one.reference for one in resource.subject], base_url)
    elif isinstance(resource, Encounter | Condition | MedicationRequest | ChargeItem):
        named = _keys([resource.subject.reference] if resource.subject else [], base_url)
    else:
        named = set()
    return {key for key in named if key not in known}


def _step(patient: Key, support: Support, base_url: str) -> Key | None:
    """The one whom a patient and that one both say that they go on as."""
    known = _patient(patient, support)
    if known is None or known.active is not False:
        return None
    onward = _linked(known, REPLACED_BY, base_url)
    if len(onward) != 1:  # of two nobody can say which
        return None
    (other,) = onward
    theirs = _patient(other, support)
    if theirs is None or patient not in _linked(theirs, REPLACES, base_url):
        return None
    return other


def _patient(key: Key, support: Support) -> Patient | None:
    """A patient's record that was read without a fault: one with a modifier is not believed."""
    found = support.get(key)
    if found is None or found.faults or not isinstance(found.resource, Patient):
        return None
    return found.resource


def _linked(patient: Patient, how: str, base_url: str) -> set[Key]:
    named = [link.other.reference for link in patient.link if link.type == how and link.other]
    return _keys(named, base_url)


def _keys(texts: Iterable[str | None], base_url: str) -> set[Key]:
    """What pointers mean; none of what is contained, elsewhere, or no patient."""
    keys = {Findings(()).reference(text, "", "Patient", base_url) for text in texts}
    return {key for key in keys if key is not None and not key[1].startswith("#")}
