"""A profile's terms of the dialect fhir_r4."""

from __future__ import annotations

from services.his_bridge.core.fhir_terms import BillsFrom, CoverageRule, FhirTerms, GroupBy
from services.his_bridge.profiles.reader import Section

_URI = r"[!-~]{1,200}"
_CODE = r"[^\s](?:.{0,98}[^\s])?"


def read(section: Section) -> FhirTerms:
    """The terms of the section `fhir_r4`; without it bills are Claims."""
    bills_from = section.choice("bills_from", BillsFrom) or BillsFrom.CLAIM
    if section.has("group_by") and bills_from is not BillsFrom.CHARGE_ITEM:
        section.fault("group_by", "TERMS", "only says something with bills_from: charge_item")
    coverages = []
    for entry in section.sections("coverage_identities"):
        system, payor = entry.text("system", _URI), entry.text("payor", _CODE)
        kind = entry.text("kind", r"[A-Z][A-Z0-9:./_-]{1,63}")
        entry.close()
        if system and payor and kind:
            coverages.append(CoverageRule(system=system, payor=payor, kind=kind))
    return FhirTerms(
        bills_from=bills_from,
        group_by=section.choice("group_by", GroupBy) or GroupBy.ACCOUNT,
        coverages=tuple(coverages),
    )
