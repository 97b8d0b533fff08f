"""How the care of a FHIR R4 Claim was given, by its encounters. Guesses nothing."""

from __future__ import annotations

from collections.abc import Iterable

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import Claim, Encounter

# HL7 v3 ActCode of Encounter.class; when a bill covers several, the heaviest counts.
_CARE_TYPES = {
    "IMP": CareType.INPATIENT,
    "ACUTE": CareType.INPATIENT,
    "NONAC": CareType.INPATIENT,
    "EMER": CareType.EMERGENCY,
    "AMB": CareType.OUTPATIENT,
    "VR": CareType.ONLINE,
}
_EMERGENCY = "EMER"
_FROM_EMERGENCY = ("http://terminology.hl7.org/CodeSystem/admit-source", "emd")
_WEIGHT = list(dict.fromkeys(_CARE_TYPES.values()))


def care_type_of(
    claim: Claim, encounters: list[Encounter], findings: Findings, terms: SourceTerms
) -> CareType | None:
    """The heaviest kind of care among the encounters that a claim bills.

    An encounter that could not be found has its own fault; only a claim that names none at all
    takes the profile's default.
    """
    kinds = claim.type.coding if claim.type else []
    if any(coding.code == "pharmacy" for coding in kinds):
        return CareType.PHARMACY
    if not any(item.encounter for item in claim.item):
        if terms.care_type_default is None and claim.item:
            findings.add(Reason.CARE_TYPE_UNKNOWN, "item[0].encounter")
        return terms.care_type_default
    return heaviest(encounters, "item[0].encounter[0]", findings, terms)


def heaviest(
    encounters: Iterable[Encounter], path: str, findings: Findings, terms: SourceTerms
) -> CareType | None:
    """The heaviest kind of care among encounters; None with a fault where one does not tell."""
    found = []
    for encounter in encounters:
        care_type = _of_encounter(encounter, terms)
        if care_type is None:
            findings.add(Reason.CARE_TYPE_UNKNOWN, f"{path}->class")
        else:
            found.append(care_type)
    return min(found, key=_rank_of, default=None)


def emergency_of(encounters: Iterable[Encounter]) -> bool | None:
    """Whether the care began as an emergency; None where no encounter tells.

    By Encounter.hospitalization.admitSource, or because the bill covers care of the emergency
    department (Encounter.class EMER) as well.
    """
    told: bool | None = None
    for encounter in encounters:
        stay = encounter.hospitalization
        source = stay.admit_source.coding if stay is not None and stay.admit_source else []
        here = encounter.class_.code if encounter.class_ else None
        if here == _EMERGENCY or any(
            (coding.system, coding.code) == _FROM_EMERGENCY for coding in source
        ):
            return True
        if source:
            told = False
    return told


def _of_encounter(encounter: Encounter, terms: SourceTerms) -> CareType | None:
    for concept in encounter.type if terms.encounter_types else ():
        for coding in concept.coding:
            declared = terms.encounter_types.get((coding.system or "", coding.code or ""))
            if declared is not None:
                return declared
    code = encounter.class_.code if encounter.class_ else None
    return _CARE_TYPES.get(code or "", terms.care_type_default)


def _rank_of(care_type: CareType) -> int:
    return _WEIGHT.index(care_type) if care_type in _WEIGHT else len(_WEIGHT)
