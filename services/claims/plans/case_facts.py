"""Reads the facts of a case: members and their policy, providers and their price lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from services.claims.core.facts import (
    Coding,
    CoverInterval,
    DisclosedCondition,
    HospitalTier,
    Licence,
    MemberFacts,
    OutcomeTier,
    PolicySnapshot,
    PreExistingTerms,
    PriceList,
    Relationship,
    Sex,
)
from services.claims.core.intake import MAX_QUANTITY
from services.claims.plans.case_benefits import with_benefit_facts
from services.claims.plans.context import Context, choices, each, system_uri
from services.claims.plans.contract_prices import read_price_list
from services.claims.plans.reader import Mapping, Value
from services.claims.plans.workings import plain, read_working
from services.common.dated import half_open


@dataclass(frozen=True, slots=True)
class CaseProvider:
    """What a case says of a provider; `prices` None leaves it to the plan's list.

    Empty `licences` are unknown.
    """

    tier: HospitalTier | None
    prices: PriceList | None
    licences: tuple[Licence, ...]


@dataclass(frozen=True, slots=True)
class CasePeriod:
    """When a policy holds, half-open, since when without a gap, and how many people it insures."""

    start: date
    end: date
    since: date | None
    family_size: int | None


def read_period(terms: Mapping) -> CasePeriod:
    """The period of a policy; others read on."""
    first, last = terms.get("first_day"), terms.get("last_day")
    since, size = terms.maybe("covered_since"), terms.maybe("family_size")
    period = CasePeriod(
        first.fact_day(),
        half_open(last.fact_day()),
        None if since is None else since.fact_day(),
        None if size is None else size.whole(least=1),
    )
    if period.start >= period.end:
        text = "the policy's last day lies before its first"
        terms.fault("DATES_OUT_OF_ORDER", text)
    return period


def read_insured(
    period: CasePeriod, policy_id: str, name: str, person: Value, codes: str, context: Context
) -> PolicySnapshot:
    """One member of the policy, `name` empty when the case has only one.

    `codes` is the system of the codes that authorisations name.
    """
    start, end, since = period.start, period.end, period.since
    told = person.mapping()
    cover_first, cover_last = told.maybe("cover_first_day"), told.maybe("cover_last_day")
    first = start if cover_first is None else cover_first.fact_day()
    joined_later = first > start
    member = MemberFacts(
        member_id=name or "member",
        birth_date=told.get("born").fact_day(),
        relationship=Relationship.SELF
        if (relationship := told.maybe("relationship")) is None
        else relationship.choice(Relationship),
        cover=(
            CoverInterval(
                start=max(start, first),  # one person's days may reach over several policies
                end=end if cover_last is None else min(end, half_open(cover_last.fact_day())),
                continuous_since=first if since is None or joined_later else since,
            ),
        ),
        sex=None if (sex := told.maybe("sex")) is None else sex.choice(Sex),
        disclosed_conditions=each(told, "disclosed", _condition),
        outcome_tier=_tier(told),
        social_insurance=read_boolean(told.maybe("social_insurance")),
    )
    member = with_benefit_facts(member, told, codes, context)
    told.done()
    if start < end and any(one.start >= one.end for one in member.cover):
        person.fault("DATES_OUT_OF_ORDER", "the cover's last day lies before its first")
    return PolicySnapshot(
        policy_id=policy_id or "policy",
        revision=1,
        start=start,
        end=end,
        member=member,
        family_size=period.family_size,
    )


def read_case_providers(found: Value | None, context: Context) -> dict[str, CaseProvider]:
    """Providers by id, with their price lists in the plan's currency."""
    if found is None:
        return {}
    providers = found.mapping()
    result = {}
    for name in providers.names():
        told = providers.get(name).mapping()
        tier = told.maybe("tier")
        result[name] = CaseProvider(
            tier=None if tier is None else tier.choice(HospitalTier),
            prices=PriceList(prices=read_price_list(told, context)) if told.has("prices") else None,
            licences=choices(told, "licences", Licence),
        )
        told.done()
    return result


def _tier(told: Mapping) -> OutcomeTier | None:
    found = told.maybe("outcome_tier")
    if found is None:
        return None
    tier = found.mapping()
    outcome = OutcomeTier(tier=tier.get("tier").ident(), certified=tier.get("certified").fact_day())
    tier.done()
    return outcome


def read_coding(term: Mapping, system: str, context: Context) -> Coding:
    """A code of the case's usual system, or of one that the term names."""
    own = term.maybe("system")
    uri = system if own is None else system_uri(own, context)
    return Coding(system=uri, code=term.get("code").text())


def _condition(term: Mapping) -> DisclosedCondition:
    terms, share = term.maybe("terms"), term.maybe("share")
    return DisclosedCondition(
        code_prefix=term.get("diagnosis").text(),
        terms=None if terms is None else terms.choice(PreExistingTerms),
        share=None if share is None else share.share(),
    )


def read_boolean(value: Value | None) -> bool | None:
    """True or false; None when nothing is said."""
    return None if value is None else value.boolean()


def read_quantity(value: Value | None) -> Decimal:
    """A number of units; one when nothing is said."""
    return Decimal(1) if value is None else value.decimal(places=4, most=MAX_QUANTITY)


def check_workings(term: Mapping) -> None:
    """Note every line of a case's or an event's arithmetic that cannot be read or is not true."""
    for line in term.items("working"):
        text = line.text()
        if text != line.value:
            continue
        try:
            working = read_working(text)
        except ValueError as error:
            line.fault("NOT_A_WORKING", str(error))
            continue
        if not working.holds:
            wrong = f"it is {plain(working.value)}, not {plain(working.result)}: {text}"
            line.fault("WRONG_WORKING", wrong)
