"""What of a bill may be known to whoever studies care and not people. Pure.

The law's safe harbour (45 CFR 164.514(b)(2)): no name, number, place or day; of dates the year.
The bridge keeps no age of a patient, so that none can be told.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec

from services.his_bridge.core.bill import Bill, CareType, Coding, Tier
from services.his_bridge.core.safe_harbour import identifies, redacted


class ServiceFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One charge; `billed` in minor units."""

    code: Coding
    quantity: Decimal
    billed: int


class ClinicalFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """A bill of nobody. Amounts are in minor units of `currency`."""

    care_type: CareType
    tier: Tier | None
    care_year: int
    days_of_stay: int
    diagnoses: tuple[Coding, ...]
    services: tuple[ServiceFeature, ...]
    currency: str
    total: int


def clinical_features(bill: Bill, first: date, last: date) -> ClinicalFeatures:
    """The bill's features; `first` and `last` are the days of the care in the hospital's zone.

    The order of diagnoses and services follows the codes, and not the visit; the principal
    diagnosis comes first.
    """
    diagnoses = sorted(bill.diagnoses, key=lambda d: (not d.principal, d.code.system, d.code.code))
    services = sorted(
        (
            ServiceFeature(code=_of_nobody(e.code), quantity=e.quantity, billed=e.billed)
            for e in bill.lines
        ),
        key=lambda e: (e.code.system, e.code.code, e.quantity, e.billed),
    )
    return ClinicalFeatures(
        care_type=bill.care_type,
        tier=bill.tier,
        care_year=first.year,
        days_of_stay=(last - first).days,
        diagnoses=tuple(_of_nobody(entry.code) for entry in diagnoses),
        services=tuple(services),
        currency=bill.currency,
        total=bill.total,
    )


def _of_nobody(coding: Coding) -> Coding:
    code = "" if identifies(coding.code) else coding.code
    return Coding(system=coding.system, code=code, display=redacted(coding.display).text)
