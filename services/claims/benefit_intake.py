"""From an imported member to the facts that benefit terms read, naming every fault at once.

Earlier outcome tiers, family doctors and authorisations. Asks no database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Protocol

from lipei.claims.v1 import policy_pb2 as pb
from services.claims.bill_intake import AUTHORISATION, CARE_TYPES, QUANTITY_PLACES
from services.claims.core.facts import (
    Authorisation,
    Coding,
    FamilyDoctor,
    FamilyDoctorContract,
    OutcomeTier,
)
from services.claims.core.intake import MAX_QUANTITY
from services.common.dated import half_open
from services.common.money import MAX_MINOR_UNITS, parse_decimal

TIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_SECTION = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_PROVIDER = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?", re.ASCII)
_NO_DAY = date.min  # stands in for a faulty day; a member with faults is not taken
MOST = 1_000


class Faults(Protocol):
    """Where faults of the policy go."""

    def add(self, path: str, reason: str, text: str) -> None:
        """Note a fault of a field."""

    def day(self, text: str, path: str) -> date | None:
        """The date that a field holds; None, and a fault, when it holds none."""


@dataclass(frozen=True, slots=True)
class BenefitFacts:
    """What an imported member brings beside cover and conditions."""

    tiers: tuple[OutcomeTier, ...]
    doctor: FamilyDoctor | None
    authorisations: tuple[Authorisation, ...]


def benefit_facts(
    member: pb.InsuredMember, path: str, currency: str, faults: Faults
) -> BenefitFacts:
    """Every such fact of the member; faults are noted at their fields.

    `currency` is the plan's, empty when no plan is known: that is a fault of its own.
    """
    for field in ("earlier_outcome_tiers", "authorisations"):
        if len(getattr(member, field)) > MOST:
            faults.add(f"{path}.{field}", "TOO_MANY", f"at most {MOST}")
    doctor = None
    if member.HasField("family_doctor"):
        doctor = FamilyDoctor(contracts=tuple(_contracts(member.family_doctor, path, faults)))
    return BenefitFacts(
        tiers=tuple(_tiers(member, path, faults)),
        doctor=doctor,
        authorisations=tuple(_authorisations(member, path, currency, faults)),
    )


def _tiers(member: pb.InsuredMember, path: str, faults: Faults) -> Iterator[OutcomeTier]:
    days = [member.outcome_tier.certified_date]
    if member.earlier_outcome_tiers and not member.outcome_tier.tier:
        text = "the one certified last stands in outcome_tier"
        faults.add(f"{path}.outcome_tier", "MISSING", text)
    for i, one in enumerate(member.earlier_outcome_tiers):
        where = f"{path}.earlier_outcome_tiers[{i}]"
        if not TIER.fullmatch(one.tier):
            faults.add(f"{where}.tier", "MALFORMED_ID", "must be the plan's id of the tier")
        certified = faults.day(one.certified_date, f"{where}.certified_date")
        if one.certified_date in days:
            text = "two tiers were certified on one day; which one holds?"
            faults.add(f"{where}.certified_date", "DUPLICATE_DAY", text)
        elif one.certified_date > days[0]:
            text = "the one certified last stands in outcome_tier"
            faults.add(f"{where}.certified_date", "DATES_OUT_OF_ORDER", text)
        days.append(one.certified_date)
        yield OutcomeTier(tier=one.tier, certified=certified or _NO_DAY)


def _days(first: str, last: str, path: str, faults: Faults) -> tuple[date, date]:
    start, end = faults.day(first, f"{path}.start_date"), faults.day(last, f"{path}.last_date")
    if start and end and end < start:
        faults.add(f"{path}.last_date", "ENDS_BEFORE_START", "must not lie before start_date")
    return start or _NO_DAY, half_open(end) if end else _NO_DAY


def _provider(provider_id: str, path: str, faults: Faults) -> None:
    if not _PROVIDER.fullmatch(provider_id):
        text = "must be 1 to 128 visible ASCII characters"
        faults.add(f"{path}.provider_id", "MALFORMED", text)


def _contracts(
    doctor: pb.FamilyDoctor, path: str, faults: Faults
) -> Iterator[FamilyDoctorContract]:
    if len(doctor.contracts) > MOST:
        faults.add(f"{path}.family_doctor.contracts", "TOO_MANY", f"at most {MOST}")
    found = []
    for i, one in enumerate(doctor.contracts):
        where = f"{path}.family_doctor.contracts[{i}]"
        _provider(one.provider_id, where, faults)
        start, end = _days(one.start_date, one.last_date, where, faults)
        found.append(FamilyDoctorContract(provider_id=one.provider_id, start=start, end=end))
    found.sort(key=lambda one: one.start)
    if any(later.start < earlier.end for earlier, later in pairwise(found)):
        text = "two contracts overlap; end the earlier one"
        faults.add(f"{path}.family_doctor.contracts", "OVERLAPPING_CONTRACTS", text)
    yield from found


def _authorisations(
    member: pb.InsuredMember, path: str, currency: str, faults: Faults
) -> Iterator[Authorisation]:
    seen: set[str] = set()
    for i, one in enumerate(member.authorisations):
        where = f"{path}.authorisations[{i}]"
        if not AUTHORISATION.fullmatch(one.authorisation_id):
            text = "must be 1 to 48 letters, digits and hyphens"
            faults.add(f"{where}.authorisation_id", "MALFORMED_ID", text)
        elif one.authorisation_id in seen:
            faults.add(f"{where}.authorisation_id", "DUPLICATE_ID", "stands twice")
        seen.add(one.authorisation_id)
        if not (one.codes or one.sections or one.care_types):
            text = "say which codes, sections or care types it authorises"
            faults.add(where, "AUTHORISES_EVERYTHING", text)
        if any(not (code.system and code.code) for code in one.codes):
            faults.add(f"{where}.codes", "MALFORMED_CODE", "needs a system and a code")
        if not all(_SECTION.fullmatch(section) for section in one.sections):
            faults.add(f"{where}.sections", "MALFORMED_ID", "must be the plan's ids of sections")
        if any(care not in CARE_TYPES for care in one.care_types):
            faults.add(f"{where}.care_types", "UNKNOWN_VALUE", "is not a kind of care")
        if one.provider_id:
            _provider(one.provider_id, where, faults)
        start, end = _days(one.start_date, one.last_date, where, faults)
        yield Authorisation(
            id=one.authorisation_id,
            start=start,
            end=end,
            codes=tuple(Coding(system=code.system, code=code.code) for code in one.codes),
            sections=tuple(one.sections),
            care_types=tuple(CARE_TYPES[care] for care in one.care_types if care in CARE_TYPES),
            provider_id=one.provider_id,
            units=_units(one, where, faults),
            amount=_amount(one, where, currency, faults),
        )


def _units(one: pb.Authorisation, path: str, faults: Faults) -> Decimal | None:
    if not one.units:
        return None
    try:
        units = parse_decimal(one.units, places=QUANTITY_PLACES, what="the units")
    except ValueError as error:
        faults.add(f"{path}.units", "MALFORMED_DECIMAL", str(error))
        return None
    if not 0 <= units <= MAX_QUANTITY:
        faults.add(f"{path}.units", "OUT_OF_RANGE", f"must be from 0 to {MAX_QUANTITY}")
    return units


def _amount(one: pb.Authorisation, path: str, currency: str, faults: Faults) -> int | None:
    if not one.HasField("amount"):
        return None
    if currency and one.amount.currency_code != currency:
        text = f"must be {currency}, in which the plan pays"
        faults.add(f"{path}.amount.currency_code", "OTHER_CURRENCY", text)
    if not 0 <= one.amount.minor_units <= MAX_MINOR_UNITS:
        text = "must not be negative or too large"
        faults.add(f"{path}.amount.minor_units", "OUT_OF_RANGE", text)
    return one.amount.minor_units
