"""lipei's own FHIR extensions for what social insurance (医保) paid. Adds nothing up."""

from __future__ import annotations

from decimal import Decimal

from services.his_bridge.core.parsed import ParsedSocialInsurance
from services.his_bridge.core.terms import SocialInsuranceSource, SourceTerms
from services.his_bridge.dialects.fhir_r4.findings import Findings
from services.his_bridge.dialects.fhir_r4.structs import Extension

SOCIAL_INSURANCE_EXTENSION = "urn:lipei:fhir:social-insurance"
FUND_PAID_EXTENSION = "urn:lipei:fhir:fund-paid"
_PLACES = 6


def read_social_insurance(
    extensions: list[Extension], findings: Findings, terms: SourceTerms
) -> ParsedSocialInsurance | None:
    """What the bill's extension says; None when it has none, or the profile looks elsewhere."""
    if terms.social_insurance is not SocialInsuranceSource.EXTENSION:
        return None
    for index, extension in enumerate(extensions):
        if extension.url != SOCIAL_INSURANCE_EXTENSION:
            continue
        used: bool | None = None
        paid: dict[str, Decimal | None] = {}
        for inner, part in enumerate(extension.extension):
            path = f"extension[{index}].extension[{inner}].valueMoney"
            if part.url == "used":
                used = part.value_boolean
            elif part.url in ("fundPaid", "accountPaid"):
                money = findings.money(part.value_money, path, terms.currency, places=_PLACES)
                paid[part.url] = money
        return ParsedSocialInsurance(
            used=used, fund_paid=paid.get("fundPaid"), account_paid=paid.get("accountPaid")
        )
    return None


def read_fund_paid(
    extensions: list[Extension], path: str, findings: Findings, terms: SourceTerms
) -> Decimal | None:
    """What the funds paid for one line; None when the line does not say."""
    if terms.social_insurance is not SocialInsuranceSource.EXTENSION:
        return None
    for index, extension in enumerate(extensions):
        if extension.url == FUND_PAID_EXTENSION:
            where = f"{path}.extension[{index}].valueMoney"
            return findings.money(extension.value_money, where, terms.currency, places=_PLACES)
    return None
