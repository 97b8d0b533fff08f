"""Reads the terms of a plan file that refuse or let through; whether they fit is checked later."""

from __future__ import annotations

from typing import TypeVar

from services.claims.core.facts import (
    CareType,
    HospitalTier,
    PreExistingTerms,
    Relationship,
)
from services.claims.core.plan import (
    Eligibility,
    EmergencyException,
    Exclusion,
    MutualRecognition,
    PlanProvider,
    PreExistingValue,
    ProviderRule,
    Providers,
    Qualification,
    Repeated,
    WaitingPeriod,
    WaitingUnit,
)
from services.claims.core.plan_parts import Ages
from services.claims.plans.context import (
    Context,
    choices,
    dated_word,
    each,
    expect_unit,
    read_ages,
    read_text,
    read_words,
    references,
)
from services.claims.plans.contract_prices import read_price_list
from services.claims.plans.reader import Mapping, Value

T = TypeVar("T")

# A hundred years; no waiting period is longer.
_LONGEST_WAIT = {WaitingUnit.MONTHS: 1_200, WaitingUnit.DAYS: 36_500}
# Ten years; results are recognised for days or months, and all of it is looked up for a claim.
_LONGEST_RECOGNITION_DAYS = 3_650
# A year; whoever is still there is no emergency.
_LONGEST_EMERGENCY_HOURS = 8_784


def read_eligibility(top: Mapping, context: Context) -> tuple[Eligibility, ...]:
    """Who may be insured, at which ages."""

    def read(term: Mapping) -> Eligibility:
        expect_unit(term, "years")
        return Eligibility(
            id=term.get("id").ident(),
            clause=context.clause(term),
            relationship=term.get("relationship").choice(Relationship),
            values=term.get("values").dated(read_ages, context.first_day),
        )

    return each(top, "eligibility", read)


def read_exclusions(top: Mapping, context: Context) -> tuple[Exclusion, ...]:
    """What the plan does not cover."""

    def read(term: Mapping) -> Exclusion:
        exclusion = Exclusion(
            id=term.get("id").ident(),
            clause=context.clause(term),
            in_force=context.in_force(term),
            codes=context.sets(term, "codes"),
            diagnoses=context.sets(term, "diagnoses"),
            sections=context.of_sections(term),
        )
        if not (exclusion.codes or exclusion.diagnoses or exclusion.sections):
            term.fault("EXCLUDES_EVERYTHING", "say which codes, diagnoses or sections it excludes")
        return exclusion

    return each(top, "exclusions", read)


def read_pre_existing_value(value: Value) -> PreExistingValue:
    """covered, excluded, or the insurer's share."""
    words = (PreExistingTerms.COVERED.value, PreExistingTerms.EXCLUDED.value)
    found = value.share_or(words)
    if isinstance(found, str):
        return PreExistingValue(terms=PreExistingTerms(found))
    return PreExistingValue(terms=PreExistingTerms.AT_SHARE, share=found)


def read_waiting_periods(top: Mapping, context: Context) -> tuple[WaitingPeriod, ...]:
    """Times from the first day of cover in which nothing is paid."""

    def read(term: Mapping) -> WaitingPeriod:
        ages, unit = term.maybe("ages"), term.get("unit").choice(WaitingUnit)
        exempt = term.maybe("exempt")
        exempt_diagnoses: tuple[str, ...] = ()
        exempt_care_types: tuple[CareType, ...] = ()
        if exempt is not None:
            exempted = exempt.mapping()
            exempt_diagnoses = context.sets(exempted, "diagnoses")
            exempt_care_types = choices(exempted, "care_types", CareType)
            exempted.done()
        return WaitingPeriod(
            id=term.get("id").ident(),
            clause=context.clause(term),
            unit=unit,
            values=term.get("values").dated(
                lambda value: value.whole(most=_LONGEST_WAIT[unit]), context.first_day
            ),
            ages=Ages() if ages is None else read_ages(ages),
            sections=context.of_sections(term),
            diagnoses=context.sets(term, "diagnoses"),
            exempt_diagnoses=exempt_diagnoses,
            exempt_care_types=exempt_care_types,
        )

    return each(top, "waiting_periods", read)


def read_mutual_recognition(top: Mapping, context: Context) -> tuple[MutualRecognition, ...]:
    """Examinations that another provider's result stands in for, and for how many days."""

    def read(term: Mapping) -> MutualRecognition:
        expect_unit(term, "days")
        term.get("codes")
        overrides, denies = term.maybe("overrides"), term.maybe("denies")
        return MutualRecognition(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(
                lambda value: value.whole(most=_LONGEST_RECOGNITION_DAYS), context.first_day
            ),
            codes=context.sets(term, "codes"),
            overrides=None if overrides is None else overrides.dated(read_words, context.first_day),
            denies=None if denies is None else dated_word(denies, Repeated, context),
        )

    return each(top, "mutual_recognition", read)


def read_providers(top: Mapping, context: Context) -> Providers:
    """The provider list, and who qualifies for which care."""
    found = top.maybe("providers")
    if found is None:
        return Providers()
    block = found.mapping()
    listing = each(block, "list", lambda term: _provider(term, context))
    context.networks = tuple(
        dict.fromkeys(
            network
            for one in listing
            if one.network is not None
            for _, network in one.network.values
            if network is not None
        )
    )
    exception = block.maybe("emergency_exception")
    providers = Providers(
        rules=each(block, "rules", lambda term: _provider_rule(term, context)),
        emergency_exception=None if exception is None else _emergency(exception, context),
        listing=listing,
    )
    block.done()
    return providers


def _emergency(value: Value, context: Context) -> EmergencyException:
    term = value.mapping()
    hours = term.maybe("hours")
    found = EmergencyException(
        clause=context.clause(term),
        in_force=context.in_force(term),
        hours=None
        if hours is None
        else hours.dated(lambda one: one.whole(most=_LONGEST_EMERGENCY_HOURS), context.first_day),
    )
    term.done()
    return found


def _provider(term: Mapping, context: Context) -> PlanProvider:
    name, tier, network = term.maybe("name"), term.maybe("tier"), term.maybe("network")
    return PlanProvider(
        id=term.get("id").text(),
        listed=term.get("listed").dated(Value.boolean, context.first_day),
        name=None if name is None else read_text(name),
        tier=None
        if tier is None
        else tier.dated(lambda v: v.choice(HospitalTier), context.first_day),
        network=None if network is None else network.dated(Value.ident, context.first_day),
        prices=read_price_list(term, context) if term.has("prices") else None,
    )


def _provider_rule(term: Mapping, context: Context) -> ProviderRule:
    def qualification(value: Value) -> Qualification:
        wanted = value.mapping()
        listed = wanted.maybe("listed")
        found = Qualification(
            tiers=choices(wanted, "tiers", HospitalTier),
            networks=references(wanted, "networks", context.networks, "network"),
            listed=False if listed is None else listed.boolean(),
        )
        wanted.done()
        return found

    return ProviderRule(
        id=term.get("id").ident(),
        clause=context.clause(term),
        values=term.get("values").dated(qualification, context.first_day),
        sections=context.of_sections(term),
        care_types=choices(term, "care_types", CareType),
    )
