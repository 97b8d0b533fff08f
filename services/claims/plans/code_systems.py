"""The code systems that plan and case files may name, by a short word. Knows no codes.

A plan file names further ones of its own under `systems`.
"""

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
    # China's lists for settlement by social insurance, each under one URI of this project's own:
    # the National Healthcare Security Administration publishes the lists, and no URI or OID of
    # them. A source that uses another URI is translated in its profile, or named in `systems`.
    "cn-yibao-drug": CodeSystem("urn:lipei:cn:nhsa:drug"),  # 国家医保药品代码
    "cn-yibao-consumable": CodeSystem("urn:lipei:cn:nhsa:consumable"),  # 医保医用耗材代码
    "cn-yibao-service": CodeSystem("urn:lipei:cn:nhsa:service"),  # 医疗服务项目代码
    # 医疗保障疾病诊断分类与代码 2.0 and 手术操作分类与代码 2.0, both hierarchical as the ICD is.
    "icd-10-yibao": CodeSystem("urn:lipei:cn:nhsa:icd-10:2.0", hierarchical=True),
    "icd-9-cm-3-yibao": CodeSystem("urn:lipei:cn:nhsa:icd-9-cm-3:2.0", hierarchical=True),
    # National codes of services, drugs and consumables in their form, of the demo's own making.
    "demo-yibao": CodeSystem("urn:lipei:demo:yibao-code"),
}
