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
    identity, faults = identity_of(pid, _IDS, findings, terms)
    if identity is None and not faults:
        faults = (Fault(reason=Reason.IDENTITY_MISSING, path=path_of(pid, _IDS)),)
    names, parts = _names(pid, findings)
    return Person(
        identity=identity,
        telling=in_plain(names | _telling(pid, findings)),
        name_parts=in_plain(parts),
        faults=faults,
    )


def identity_of(
    segment: Segment, field: int, findings: Findings, terms: SourceTerms
) -> tuple[Identity | None, tuple[Fault, ...]]:
    """The first kind of document, in the profile's order, that a list of identifiers has.

    None without any; None with a fault when there are two numbers of that kind.
    """
    for rule in terms.identities:
        numbers = _numbers(segment, field, rule.system, findings)
        if len(numbers) > 1:
            path = path_of(segment, field)
            return None, (Fault(reason=Reason.IDENTITY_AMBIGUOUS, path=path),)
        if numbers:
            return Identity(kind=rule.kind, number=numbers.pop()), ()
    return None, ()


def _numbers(segment: Segment, field: int, system: str, findings: Findings) -> set[str]:
    """Numbers of documents of a system: a field, or an identifier type, or that of an authority."""
    alone = _FIELDS.fullmatch(system)
    if alone is not None:
        if segment.name != "PID":
            return set()
        return {findings.text(segment, int(alone.group(1))).strip()} - {""}
    kind, _, authority = system.partition("@")
    found = set()
    for written in segment.repetitions(field):
        parts = [*segment.parts(written), "", "", "", ""]
        if findings.plain(segment, parts[4], field) != kind:
            continue
        if authority and findings.plain(segment, parts[3], field) != authority:
            continue
        found.add(findings.plain(segment, parts[0], field).strip())
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
