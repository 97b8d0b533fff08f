"""PID as a person: the document that names them, and what of it must not leave. Makes no token."""

from __future__ import annotations

import re

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Identity, Person
from services.his_bridge.core.telling import in_plain, telling_names, telling_numbers, whole_names
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.hl7v2.message import Segment
from services.his_bridge.dialects.hl7v2.values import Findings, path_of

_IDS, _NAMES = 3, (5, 9)
# Where older sources keep one document each, named like this in the profile's `identities`.
_FIELDS = re.compile(r"PID-(2|4|19|20)")
_OTHER_IDS = (2, 4, 19, 20)
_CONTACTS = (13, 14, 40)
_ADDRESS = 11


def read_person(pid: Segment, findings: Findings, terms: SourceTerms) -> Person:
    """Who the patient is, by the first kind of document in the profile's order that is there."""
    faults: list[Fault] = []
    identity: Identity | None = None
    for rule in terms.identities:
        numbers = _numbers(pid, rule.system, findings)
        if len(numbers) > 1:
            faults.append(Fault(reason=Reason.IDENTITY_AMBIGUOUS, path=path_of(pid, _IDS)))
            break
        if numbers:
            identity = Identity(kind=rule.kind, number=numbers.pop())
            break
    else:
        faults.append(Fault(reason=Reason.IDENTITY_MISSING, path=path_of(pid, _IDS)))
    names, parts = _names(pid, findings)
    return Person(
        identity=identity,
        telling=in_plain(names | _telling(pid, findings)),
        name_parts=in_plain(parts),
        faults=tuple(faults),
    )


def patient_id(segment: Segment, field: int, kind: str, findings: Findings) -> str:
    """The hospital's own number of a patient in a list of identifiers; without the kind the first.

    Empty when there is none.
    """
    first = ""
    for written in segment.repetitions(field):
        parts = segment.parts(written)
        number = findings.plain(segment, parts[0], field)
        if number and len(parts) > 4 and findings.plain(segment, parts[4], field) == kind:
            return number
        first = first or number
    return first


def _numbers(pid: Segment, system: str, findings: Findings) -> set[str]:
    """Numbers of documents of a system: a field, or an identifier type, or that of an authority."""
    field = _FIELDS.fullmatch(system)
    if field is not None:
        return {findings.text(pid, int(field.group(1))).strip()} - {""}
    kind, _, authority = system.partition("@")
    found = set()
    for written in pid.repetitions(_IDS):
        parts = [*pid.parts(written), "", "", "", ""]
        if findings.plain(pid, parts[4], _IDS) != kind:
            continue
        if authority and findings.plain(pid, parts[3], _IDS) != authority:
            continue
        found.add(findings.plain(pid, parts[0], _IDS).strip())
    return found - {""}


def _names(pid: Segment, findings: Findings) -> tuple[set[str], set[str]]:
    whole: set[str] = set()
    parts: set[str] = set()
    for field in _NAMES:
        for written in pid.repetitions(field):
            # Without PID's other components: degrees and kinds of names tell nobody.
            family, *given = (findings.plain(pid, part, field) for part in pid.parts(written)[:3])
            given = [one for one in given if one]
            whole |= {family, *whole_names(family, given)}
            parts |= {family, "".join(given), *given, *family.split()}
    return telling_names(whole), telling_names(parts)


def _telling(pid: Segment, findings: Findings) -> set[str]:
    """Identifiers, telephone numbers and addresses; not PID-18, which is the bill's own number."""
    found: list[str] = []
    for field in (_IDS, *_OTHER_IDS):
        each = pid.repetitions(field)
        found += (findings.plain(pid, pid.parts(written)[0], field) for written in each)
    for field in _CONTACTS:
        for written in pid.repetitions(field):
            found += (findings.plain(pid, part, field) for part in pid.parts(written))
    for written in pid.repetitions(_ADDRESS):
        found += (findings.plain(pid, part, _ADDRESS) for part in pid.parts(written)[:2])
    return telling_numbers(found)
