"""The visits behind charges: how care was given, when, and for which diseases. Guesses nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.parsed import Concept, ParsedDiagnosis
from services.his_bridge.core.terms import Principal, SourceTerms
from services.his_bridge.dialects.fhir_r4.claim_care import heaviest
from services.his_bridge.dialects.fhir_r4.findings import Findings, below
from services.his_bridge.dialects.fhir_r4.structs import ChargeItem, Condition, Encounter, Period
from services.his_bridge.dialects.fhir_r4.support import (
    Key,
    Support,
    onward,
    resolve,
    stands,
    was_taken_back,
)

_FIRST_RANK = b"1"


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """An encounter, and the path by which a record leads to it."""

    path: str
    encounter: Encounter


def visits_of(
    findings: Findings,
    pointers: Iterable[tuple[str, Key | None]],
    support: Support,
) -> list[Visit]:
    """The encounters of these pointers, each once."""
    found: dict[Key, Visit] = {}
    for path, key in pointers:
        if key is None or key in found:
            continue
        encounter = resolve(findings, key, path, Encounter, support)
        if encounter is not None:
            found[key] = Visit(path=path, encounter=encounter)
    return list(found.values())


def care_type_of(
    visits: Sequence[Visit], path: str, findings: Findings, terms: SourceTerms
) -> CareType | None:
    """The heaviest kind of care among the visits; without any, the profile's default."""
    if visits:
        return heaviest((v.encounter for v in visits), visits[0].path, findings, terms)
    if terms.care_type_default is None:
        findings.add(Reason.CARE_TYPE_UNKNOWN, path)
    return terms.care_type_default


def period_of(
    period: Period | None, path: str, findings: Findings, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Begin and end, an end not before its begin; None where nothing is said."""
    if period is None:
        return None, None
    start = findings.moment(period.start, f"{path}.start", zone)
    end = findings.moment(period.end, f"{path}.end", zone, day_ends=True)
    if start is not None and end is not None and end < start:
        findings.add(Reason.END_BEFORE_START, path)
    return start, end


def occurrence_of(
    charge: ChargeItem, path: str, findings: Findings, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """When a charge's service was given."""
    if charge.occurrence_date_time is not None:
        where = below(path, "occurrenceDateTime")
        start = findings.moment(charge.occurrence_date_time, where, zone)
        end = findings.moment(charge.occurrence_date_time, where, zone, day_ends=True)
        return start, end
    return period_of(charge.occurrence_period, below(path, "occurrencePeriod"), findings, zone)


def span_of(
    visits: Sequence[Visit],
    rather: Sequence[tuple[datetime | None, datetime | None]],
    path: str,
    findings: Findings,
    zone: ZoneInfo,
) -> tuple[datetime | None, datetime | None]:
    """From the earliest to the latest moment of the visits; what they leave open, by `rather`.

    A visit that goes on has no end: then the last of the services counts.
    """
    stays = [
        period_of(visit.encounter.period, f"{visit.path}->period", findings, zone)
        for visit in visits
    ]
    starts = [start for start, _ in stays if start is not None]
    ends = [end for _, end in stays if end is not None]
    whole = bool(stays) and len(ends) == len(stays)
    start = min(starts, default=None) or min(filter(None, (s for s, _ in rather)), default=None)
    others = [moment for pair in rather for moment in pair if moment is not None]
    end = max(ends) if whole else max([*ends, *others], default=None)
    if start is None or end is None:
        if not any(findings.broken_at(f"{visit.path}->period") for visit in visits):
            findings.add(Reason.TIME_MISSING, path)
    elif end < start:
        findings.add(Reason.END_BEFORE_START, path)
    return start, end


class Diagnoses:
    """The diseases of a bill, each once, with a number of its own."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], ParsedDiagnosis] = {}

    def add(self, concept: Concept | None, *, principal: bool = False) -> int | None:
        """The number of this disease; None when its code has a fault."""
        if concept is None:
            return None
        key = tuple(f"{c.system}|{c.code}" for c in concept.codings)
        known = self._found.get(key)
        if known is None:
            number = len(self._found) + 1
            known = ParsedDiagnosis(number=number, principal=principal, concept=concept)
        self._found[key] = msgspec.structs.replace(known, principal=known.principal or principal)
        return known.number

    def add_of(
        self,
        visit: Visit,
        findings: Findings,
        support: Support,
        patients: Collection[Key],
        base_url: str,
    ) -> None:
        """The diseases that a visit was for, by reference.

        What was suspected and ruled out is ordinary in a visit, and no disease of the bill; a
        principal one that was is a fault.
        """
        ranked = any(bytes(entry.rank) == _FIRST_RANK for entry in visit.encounter.diagnosis)
        pointers = onward(visit.encounter, base_url, findings, f"{visit.path}->")
        for index, entry in enumerate(visit.encounter.diagnosis):
            inner = f"diagnosis[{index}].condition"
            key = pointers.get(inner)
            path = f"{visit.path}->{inner}"
            condition = resolve(findings, key, path, Condition, support)
            if condition is None:
                continue
            principal = bytes(entry.rank) == _FIRST_RANK
            if was_taken_back(condition) and not principal and (ranked or index > 0):
                continue
            stands(findings, path, condition, patients, base_url)
            concept = findings.concept(condition.code, f"{path}->code")
            self.add(concept, principal=principal)

    def all(self, terms: SourceTerms) -> tuple[ParsedDiagnosis, ...]:
        """In the order in which they came; the first is principal where the profile says so."""
        found = list(self._found.values())
        if found and terms.principal is Principal.FIRST and not any(d.principal for d in found):
            found[0] = msgspec.structs.replace(found[0], principal=True)
        return tuple(found)
