"""Reads authorisations, family steps, payees and how a claim goes on; whether they fit, later."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from services.claims.core.decision import Payee
from services.claims.core.facts import CareType, Scope
from services.claims.core.plan import (
    AuthorisationTerm,
    ClockTerms,
    FamilyStep,
    FourEyes,
    Others,
    OutcomeTierDay,
    PayeeTerm,
    Redecision,
    Sampling,
    TierDay,
    UndisputedFirst,
)
from services.claims.core.plan_parts import Ages
from services.claims.plans.context import (
    Context,
    choices,
    dated_word,
    each,
    expect_unit,
    read_ages,
    read_when,
)
from services.claims.plans.legal_days import LAW
from services.claims.plans.reader import Mapping, Value
from services.common.dated import Dated

T = TypeVar("T")

_MOST_MEMBERS = 1_000
# Ten years, as for the days of other terms.
_LONGEST_CLOCK = 3_650


def read_term_ages(term: Mapping) -> Ages | None:
    """The ages that a term is for; None is every age."""
    found = term.maybe("ages")
    return None if found is None else read_ages(found)


def read_family_step(term: Mapping, context: Context, scope: Scope) -> FamilyStep | None:
    """How a family's limit grows with its members."""
    found = term.maybe("family_step")
    if found is None:
        return None
    if scope is not Scope.FAMILY:
        found.fault("NOT_A_FAMILYS", "only a limit of scope family grows by member; leave it out")
    step = found.mapping()
    most = step.maybe("most")
    read = FamilyStep(
        add=_money(step.get("add"), context),
        members=step.get("members").whole(least=1, most=_MOST_MEMBERS),
        most=None if most is None else _money(most, context),
    )
    step.done()
    return read


def _money(value: Value, context: Context) -> Dated[int]:
    return value.dated(lambda one: one.money(context.currency), context.first_day)


def read_authorisations(top: Mapping, context: Context) -> tuple[AuthorisationTerm, ...]:
    """Care that needs an authorisation beforehand."""

    def read(term: Mapping) -> AuthorisationTerm:
        requires = term.maybe("requires")
        found = AuthorisationTerm(
            id=term.get("id").ident(),
            clause=context.clause(term),
            in_force=context.in_force(term),
            codes=context.sets(term, "codes"),
            sections=context.of_sections(term),
            care_types=choices(term, "care_types", CareType),
            requires=() if requires is None else tuple(one.ident() for one in requires.items()),
        )
        if not (found.codes or found.sections or found.care_types):
            text = "say which codes, sections or care types need an authorisation"
            term.fault("NEEDS_FOR_EVERYTHING", text)
        return found

    return each(top, "authorisations", read)


def read_payees(top: Mapping, context: Context) -> tuple[PayeeTerm, ...]:
    """Who gets the benefit, the first whose conditions hold."""
    return each(
        top,
        "payees",
        lambda term: PayeeTerm(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(lambda v: v.choice(Payee), context.first_day),
            when=read_when(term, context),
        ),
    )


def read_sampling(top: Mapping, context: Context) -> Sampling | None:
    """The share of claims that a person looks at."""
    found = top.maybe("sampling")
    if found is None:
        return None
    term = found.mapping()
    expect_unit(term, "share")
    sampling = Sampling(
        clause=context.clause(term),
        values=term.get("values").dated(_rate, context.first_day),
    )
    term.done()
    return sampling


def _rate(value: Value) -> Decimal:
    return value.share("a sampling rate is a share of the claims")


def read_four_eyes(top: Mapping, context: Context) -> FourEyes | None:
    """Above which benefit two people must review."""
    found = top.maybe("four_eyes")
    if found is None:
        return None
    term = found.mapping()
    four_eyes = FourEyes(clause=context.clause(term), values=context.money(term))
    term.done()
    return four_eyes


def read_undisputed_first(top: Mapping, context: Context) -> UndisputedFirst | None:
    """Whether what waits for nothing is paid first."""
    found = top.maybe("undisputed_first")
    if found is None:
        return None
    term = found.mapping()
    first = UndisputedFirst(clause=context.clause(term), in_force=context.in_force(term))
    term.done()
    return first


def read_outcome_tier_day(top: Mapping, context: Context) -> OutcomeTierDay | None:
    """By which day a tier must be certified to count."""
    found = top.maybe("outcome_tier_day")
    if found is None:
        return None
    term = found.mapping()
    values = dated_word(term.get("values"), TierDay, context)
    day = OutcomeTierDay(clause=context.clause(term), values=values)
    term.done()
    return day


def read_redecision(top: Mapping, context: Context) -> Redecision | None:
    """Whether a re-decision lets other claims stand."""
    found = top.maybe("redecision")
    if found is None:
        return None
    term = found.mapping()
    others = dated_word(term.get("others"), Others, context)
    redecision = Redecision(clause=context.clause(term), others=others)
    term.done()
    return redecision


def read_clocks(top: Mapping, context: Context) -> ClockTerms | None:
    """How many days the contract gives where the law gives days."""
    found = top.maybe("clocks")
    if found is None:
        return None
    term = found.mapping()
    expect_unit(term, "days")

    def given(key: str) -> Dated[int] | None:
        value = term.maybe(key)
        return None if value is None else value.dated(_days, context.first_day)

    clocks = ClockTerms(
        clause=context.clause(term),
        decision_days=given("decision_days"),
        payment_days=given("payment_days"),
        minimum_days=given("minimum_days"),
        notice_days=given("notice_days"),
    )
    if not any(term.has(key) for key in LAW):
        found.fault("MISSING_KEY", f"write at least one of {', '.join(LAW)}, or no clocks")
    term.done()
    return clocks


def _days(value: Value) -> int:
    return value.whole(least=1, most=_LONGEST_CLOCK)
