"""Rules about whether a service fits: the person, the disease, the place, the provider, the time.

A rule answers with the clause that refuses the line, with the fact that it misses, or with None.
"""

from __future__ import annotations

from services.claims.core.claim import Claim, Finding, Line, Missing
from services.claims.core.conditions import age_within, in_sections
from services.claims.core.edit_terms import ClinicalTerm
from services.claims.core.facts import Coding
from services.claims.core.providers import licensed

_NONE: tuple[ClinicalTerm, ...] = ()


def age_contradicts(claim: Claim, line: Line) -> Finding:
    """The member's completed years on the service date are outside the service's ages."""
    for one in _clinical(line):
        if one.value.ages is not None and not age_within(one.value.ages, claim, line):
            return one.clause
    return None


def sex_contradicts(claim: Claim, line: Line) -> Finding:
    """The service is for the other sex."""
    for one in _clinical(line):
        if one.value.sex is None:
            continue
        if claim.policy.member.sex is None:
            return Missing("member.sex")
        if claim.policy.member.sex is not one.value.sex:
            return one.clause
    return None


def diagnosis_contradicts(_claim: Claim, line: Line) -> Finding:
    """The line's diagnosis is one with which the service is not done."""
    for one in _clinical(line):
        if one.not_with is None:
            continue
        if line.diagnosis is None:
            return Missing("line.diagnosis")
        if one.not_with.has(line.diagnosis):
            return one.clause
    return None


def place_contradicts(claim: Claim, line: Line) -> Finding:
    """The service is not given in this kind of care."""
    for one in _clinical(line):
        if not one.value.care_types:
            continue
        if claim.bill.care_type is None:
            return Missing("bill.care_type")
        if claim.bill.care_type not in one.value.care_types:
            return one.clause
    return None


def provider_type_contradicts(claim: Claim, line: Line) -> Finding:
    """No provider of this kind gives the service."""
    for one in _clinical(line):
        found = licensed(claim, one.value.licences)
        if isinstance(found, Missing):
            return found
        if not found:
            return one.clause
    return None


def unsupported_by_diagnosis(claim: Claim, line: Line) -> Finding:
    """None of the line's diagnoses, else not the principal one, supports the service."""
    for one in line.edits.necessity if line.edits is not None else ():
        diagnoses = _diagnoses(claim, line)
        if not diagnoses:
            return Missing("line.diagnosis")
        supporting = one.diagnoses
        if supporting is not None and not any(supporting.has(code) for code in diagnoses):
            return one.term.clause
    return None


def dispensed_before_prescribed(_claim: Claim, line: Line) -> Finding:
    """What needs a prescription was dispensed before it; at its very time passes.

    Where the bill says no time of dispensing, the day of the service is compared.
    """
    for one in line.edits.prescriptions if line.edits is not None else ():
        if one.term.sections and not in_sections(one.term.sections, line):
            continue
        prescribed, dispensed = line.facts.prescription_time, line.facts.service_time
        if prescribed is None:
            return Missing("line.prescription_time")
        if dispensed is not None and dispensed < prescribed:
            return one.term.clause
        if dispensed is None and line.service_date < prescribed.date():
            return one.term.clause
    return None


def _clinical(line: Line) -> tuple[ClinicalTerm, ...]:
    return line.edits.clinical if line.edits is not None else _NONE


def _diagnoses(claim: Claim, line: Line) -> list[Coding]:
    numbers = line.facts.diagnosis_numbers
    if not numbers:
        return [] if line.diagnosis is None else [line.diagnosis]
    return [one.code for one in claim.bill.diagnoses if one.number in numbers]
