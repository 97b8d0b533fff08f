"""Reads the terms of a plan file that move money; whether they fit is checked later."""

from __future__ import annotations

from typing import TypeVar

from services.claims.core.facts import (
    Scope,
)
from services.claims.core.plan import (
    AutoPayCeiling,
    Ceiling,
    Copay,
    CountLimit,
    Deductible,
    FixedLimit,
    OutOfPocketMaximum,
    PatientCost,
    Period,
    Share,
    UnitLimit,
)
from services.claims.plans.benefit_terms import read_family_step, read_term_ages
from services.claims.plans.context import (
    Context,
    choices,
    each,
    expect_unit,
    read_covers,
    read_scope,
    read_when,
)
from services.claims.plans.reader import Mapping, Value
from services.claims.plans.required_keys import WRITE

T = TypeVar("T")


def read_fixed_limits(top: Mapping, context: Context) -> tuple[FixedLimit, ...]:
    """The most that is allowed for one unit."""
    return each(
        top,
        "fixed_limits",
        lambda term: FixedLimit(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=context.money(term),
            codes=context.sets(term, "codes"),
            sections=context.of_sections(term),
            ages=read_term_ages(term),
        ),
    )


def read_unit_limits(top: Mapping, context: Context) -> tuple[UnitLimit, ...]:
    """The most units in a period."""

    def read(term: Mapping) -> UnitLimit:
        expect_unit(term, "units")
        scope, period = read_scope(term)
        return UnitLimit(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(Value.whole, context.first_day),
            scope=scope,
            period=period,
            codes=context.sets(term, "codes"),
            sections=context.of_sections(term),
            ages=read_term_ages(term),
        )

    return each(top, "unit_limits", read)


def read_deductibles(top: Mapping, context: Context) -> tuple[Deductible, ...]:
    """What the patient bears first."""

    def read(term: Mapping) -> Deductible:
        scope, period = read_scope(term)
        counts = term.maybe("social_insurance_counts")
        return Deductible(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=context.money(term),
            scope=scope,
            covers=read_covers(term, context),
            period=period,
            social_insurance_counts=False if counts is None else counts.boolean(),
            embedded_in="" if (family := term.maybe("embedded_in")) is None else family.ident(),
            family_step=read_family_step(term, context, scope),
        )

    return each(top, "deductibles", read)


def read_copays(top: Mapping, context: Context) -> tuple[Copay, ...]:
    """What the patient bears per visit."""
    return each(
        top,
        "copays",
        lambda term: Copay(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=context.money(term),
            when=read_when(term, context),
        ),
    )


def read_shares(top: Mapping, context: Context) -> tuple[Share, ...]:
    """The insurer's shares, the first whose conditions hold."""

    def read(term: Mapping) -> Share:
        expect_unit(term, "share")
        return Share(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(Value.share, context.first_day),
            when=read_when(term, context),
        )

    top.get("shares", WRITE["shares"])
    return each(top, "shares", read)


def read_out_of_pocket(top: Mapping, context: Context) -> tuple[OutOfPocketMaximum, ...]:
    """What the patient bears at most."""

    def read(term: Mapping) -> OutOfPocketMaximum:
        scope, period = read_scope(term)
        term.get("counts")
        counts = choices(term, "counts", PatientCost)
        if counts and PatientCost.COINSURANCE not in counts:
            # A deductible that reaches it alone would end a share that a lower one leaves.
            text = "name coinsurance, else a higher deductible could raise what is paid"
            term.fault("COINSURANCE_NOT_COUNTED", text, "counts")
        return OutOfPocketMaximum(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=context.money(term),
            scope=scope,
            period=period,
            counts=counts,
            covers=read_covers(term, context),
            family_step=read_family_step(term, context, scope),
        )

    return each(top, "out_of_pocket", read)


def read_ceilings(top: Mapping, context: Context) -> tuple[Ceiling, ...]:
    """What the insurer pays at most."""

    def read(term: Mapping) -> Ceiling:
        scope, period = read_scope(term)
        return Ceiling(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=context.money(term),
            scope=scope,
            covers=read_covers(term, context),
            period=period,
            family_step=read_family_step(term, context, scope),
        )

    return each(top, "ceilings", read)


def read_count_limits(top: Mapping, context: Context) -> tuple[CountLimit, ...]:
    """How many claims are paid at most."""

    def read(term: Mapping) -> CountLimit:
        expect_unit(term, "claims")
        scope, period = read_scope(term)
        if scope is Scope.TREATMENT:
            term.fault("COUNTS_NOTHING", "a count of one treatment is always one", "scope")
        return CountLimit(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(Value.whole, context.first_day),
            scope=scope,
            period=period or Period.POLICY_YEAR,
            covers=read_covers(term, context),
        )

    return each(top, "count_limits", read)


def read_auto_pay_ceiling(top: Mapping, context: Context) -> AutoPayCeiling | None:
    """Above which benefit a person must look."""
    found = top.maybe("auto_pay_ceiling")
    if found is None:
        return None
    term = found.mapping()
    ceiling = AutoPayCeiling(clause=context.clause(term), values=context.money(term))
    term.done()
    return ceiling
