"""Strategies that draw plans: the example plans with terms left out and other amounts in them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from services.claims.core.facts import Scope
from services.claims.core.plan import (
    Ceiling,
    Covers,
    Deductible,
    OutOfPocketMaximum,
    PatientCost,
    Period,
    Plan,
    Share,
    When,
)
from services.common.dated import Dated
from tests.services.claims.core.bills import plan_named

BASES = ("every-term", "every-benefit", "every-edit", "million-medical", "chronic-diabetes")
# Terms that hold an amount, a number of units or a count.
LIMITS = (
    *("fixed_limits", "unit_limits", "deductibles", "copays"),
    *("out_of_pocket", "ceilings", "count_limits"),
)
_OTHERS = ("exclusions", "waiting_periods", "mutual_recognition", "payees")
_AMOUNTS = (0, 1, 999, 10_000, 250_000, 3_000_000)
_COUNTS = (0, 1, 3)
_UNITS = (0, 1, 5)
_one_share = st.sampled_from(("0", "0.05", "0.333", "0.6", "1"))

_base = st.sampled_from(BASES)
replace = msgspec.structs.replace


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan with some of an example's terms, at amounts that may be nothing or out of reach."""
    plan = plan_named(draw(_base))
    changed: dict[str, Any] = {}
    for name in LIMITS:
        of = {"unit_limits": _UNITS, "count_limits": _COUNTS}.get(name, _AMOUNTS)
        kept = draw(_some(getattr(plan, name)))
        changed[name] = tuple(draw(_another_value(plan, term, of)) for term in kept)
    known = {one.id for one in changed["deductibles"]}
    changed["deductibles"] = tuple(
        one if one.embedded_in in known else replace(one, embedded_in="")
        for one in changed["deductibles"]
    )
    for name in _OTHERS:
        changed[name] = draw(_some(getattr(plan, name)))
    for name in ("auto_pay_ceiling", "edits", "undisputed_first"):
        changed[name] = draw(st.sampled_from((None, getattr(plan, name))))
    changed["authorisations"] = draw(st.sampled_from(((), plan.authorisations)))
    shares = (*draw(_some(plan.shares[:-1])), plan.shares[-1])
    changed["shares"] = tuple(
        replace(one, values=Dated(((plan.first_day, Decimal(draw(_one_share))),)))
        if draw(st.booleans())
        else one
        for one in shares
    )
    return replace(plan, **changed)


@st.composite
def _some(draw: st.DrawFn, terms: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one for one in terms if draw(st.integers(0, 3)))


@st.composite
def _another_value(draw: st.DrawFn, plan: Plan, term: Any, values: tuple[int, ...]) -> Any:
    if draw(st.booleans()):
        return term
    value = draw(st.sampled_from(values))
    return replace(term, values=Dated(((plan.first_day, value),)))


@st.composite
def plans_of_one_share(draw: st.DrawFn) -> Plan:
    """A plan where one share holds and nothing looks at a line, visit, section or treatment."""
    plan = plan_named("million-medical")

    def dated(value: int) -> Dated[int]:
        return Dated(((plan.first_day, value),))

    scope = draw(st.sampled_from((Scope.MEMBER, Scope.FAMILY, Scope.POLICY)))
    period = draw(st.sampled_from((Period.POLICY_YEAR, Period.CALENDAR_YEAR, Period.LIFETIME)))
    clause = plan.shares[0].clause
    share = Decimal(draw(st.sampled_from(("1", "0.8", "0.6", "0.333", "0.05"))))
    deductible = Deductible(
        id="deductible",
        clause=clause,
        values=dated(draw(st.sampled_from((0, 7, 50_000)))),
        scope=scope,
        covers=Covers(),
        period=period,
    )
    ceiling = Ceiling(
        id="ceiling",
        clause=clause,
        values=dated(draw(st.sampled_from((0, 99_999, 10**9)))),
        scope=scope,
        covers=Covers(),
        period=period,
    )
    maximum = OutOfPocketMaximum(
        id="maximum",
        clause=clause,
        values=dated(draw(st.sampled_from((60_000, 90_000, 10**9)))),
        scope=scope,
        counts=(PatientCost.DEDUCTIBLE, PatientCost.COINSURANCE),
        covers=Covers(),
        period=period,
    )
    only = Share(id="only", clause=clause, values=Dated(((plan.first_day, share),)), when=When())
    return replace(
        plan,
        shares=(only,),
        fixed_limits=(),
        unit_limits=(),
        exclusions=(),
        auto_pay_ceiling=None,
        deductibles=draw(st.sampled_from(((), (deductible,)))),
        ceilings=draw(st.sampled_from(((), (ceiling,)))),
        out_of_pocket=draw(st.sampled_from(((), (maximum,)))),
    )
