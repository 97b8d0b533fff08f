"""The code systems that plan and case files may name, by a short word. Knows no codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodeSystem:
    """A code system; in a hierarchical one a code stands for itself and all codes below it."""

    uri: str
    hierarchical: bool = False


CODE_SYSTEMS: dict[str, CodeSystem] = {
    "icd-10": CodeSystem("http://hl7.org/fhir/sid/icd-10", hierarchical=True),
    "icd-10-cm": CodeSystem("http://hl7.org/fhir/sid/icd-10-cm", hierarchical=True),
    "icd-9-cm": CodeSystem("http://hl7.org/fhir/sid/icd-9-cm", hierarchical=True),
    "snomed": CodeSystem("http://snomed.info/sct"),
    "rxnorm": CodeSystem("http://www.nlm.nih.gov/research/umls/rxnorm"),
    "cvx": CodeSystem("http://hl7.org/fhir/sid/cvx"),
    "loinc": CodeSystem("http://loinc.org"),
    # National codes of services, drugs and consumables in their form, of the demo's own making.
    "demo-yibao": CodeSystem("urn:lipei:demo:yibao-code"),
}
