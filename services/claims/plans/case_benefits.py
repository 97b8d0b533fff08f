"""Reads the facts of a case that benefit terms read: tiers, family doctors, authorisations."""

from __future__ import annotations

from datetime import date

import msgspec

from services.claims.core.facts import (
    Authorisation,
    CareType,
    Coding,
    FamilyDoctor,
    FamilyDoctorContract,
    MemberFacts,
    OutcomeTier,
)
from services.claims.core.intake import MAX_QUANTITY
from services.claims.plans.context import Context, choices, each, system_uri
from services.claims.plans.reader import Mapping
from services.common.dated import half_open


def with_benefit_facts(
    member: MemberFacts, told: Mapping, codes: str, context: Context
) -> MemberFacts:
    """The member with what the case says of tiers, family doctor and authorisations."""
    tiers = each(told, "outcome_tiers", _tier)
    if tiers and member.outcome_tier is not None:
        text = "write outcome_tier or outcome_tiers, not both"
        told.fault("CONTRADICTION", text, "outcome_tiers")
    ordered = sorted(tiers, key=lambda one: one.certified)
    if len({one.certified for one in tiers}) != len(tiers):
        told.fault("DUPLICATE_DAY", "two tiers were certified on one day", "outcome_tiers")
    doctor = None
    if told.has("family_doctor"):
        doctor = FamilyDoctor(contracts=each(told, "family_doctor", _contract))
    held = each(told, "authorisations", lambda term: _authorisation(term, codes, context))
    if len({one.id for one in held}) != len(held):
        told.fault("DUPLICATE_ID", "two authorisations have one number", "authorisations")
    return msgspec.structs.replace(
        member,
        outcome_tier=ordered[-1] if ordered else member.outcome_tier,
        earlier_outcome_tiers=tuple(ordered[:-1]),
        family_doctor=doctor,
        authorisations=held,
    )


def _tier(term: Mapping) -> OutcomeTier:
    return OutcomeTier(tier=term.get("tier").ident(), certified=term.get("certified").fact_day())


def _days(term: Mapping) -> tuple[date, date]:
    start, end = term.get("first_day").fact_day(), half_open(term.get("last_day").fact_day())
    if end <= start:
        text = "the last day lies before the first"
        term.fault("DATES_OUT_OF_ORDER", text, "last_day")
    return start, end


def _contract(term: Mapping) -> FamilyDoctorContract:
    start, end = _days(term)
    return FamilyDoctorContract(provider_id=term.get("provider").text(), start=start, end=end)


def _authorisation(term: Mapping, codes: str, context: Context) -> Authorisation:
    start, end = _days(term)
    units, amount = term.maybe("units"), term.maybe("amount")
    system = term.maybe("system")
    found = Authorisation(
        id=term.get("id").text(),
        start=start,
        end=end,
        codes=tuple(
            Coding(system=codes if system is None else system_uri(system, context), code=one.text())
            for one in term.items("codes")
        ),
        sections=tuple(one.ident() for one in term.items("sections")),
        care_types=choices(term, "care", CareType),
        provider_id=read_optional_text(term, "provider"),
        units=None if units is None else units.decimal(places=4, most=MAX_QUANTITY),
        amount=None if amount is None else amount.money(context.currency),
    )
    if not (found.codes or found.sections or found.care_types):
        term.fault("AUTHORISES_EVERYTHING", "say which codes, sections or care it authorises")
    return found


def read_optional_text(term: Mapping, key: str) -> str:
    """A text that may be left out; then it is empty."""
    found = term.maybe(key)
    return "" if found is None else found.text()
