"""Whether benefit terms fit together: conflicts, cycles, and plans that can never pay.

It reads a whole plan and changes nothing; each fault stands at the line of the term at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.claims.core.facts import Scope
from services.claims.core.plan import (
    Ceiling,
    Deductible,
    OutOfPocketMaximum,
    Plan,
    When,
)
from services.claims.plans.conflicts import at, check_conflicts, covered
from services.claims.plans.cycles import cycles, told_way
from services.claims.plans.pays_nothing import check_that_it_pays
from services.claims.plans.reader import Mapping


class Term(Protocol):
    """What every term of a plan has."""

    @property
    def id(self) -> str:
        """The plan's id of the term."""


def check_benefits(plan: Plan, top: Mapping) -> None:
    """Note every conflict between benefit terms at the line of the later one."""
    _unique(plan, top)
    check_conflicts(plan, top)
    _embedding(plan, top)
    _requirements(plan, top)
    _payees(plan, top)
    _steps(plan, top)
    _impossible_conditions(plan, top)
    check_that_it_pays(plan, top)


def _unique(plan: Plan, top: Mapping) -> None:
    lists: dict[str, Sequence[Term]] = {
        "authorisations": plan.authorisations,
        "payees": plan.payees,
    }
    for key, terms in lists.items():
        seen: set[str] = set()
        for index, one in enumerate(terms):
            if one.id in seen:
                at(top, key, index, "DUPLICATE_ID", f"two of {key} have the id {one.id!r}")
            seen.add(one.id)


# --- references between terms ---


def _embedding(plan: Plan, top: Mapping) -> None:
    by_id = {one.id: one for one in plan.deductibles}
    for index, one in enumerate(plan.deductibles):
        if not one.embedded_in:
            continue
        family = by_id.get(one.embedded_in)
        fault = _misfit(one, family)
        if fault is not None:
            at(top, "deductibles", index, *fault)


def _misfit(one: Deductible, family: Deductible | None) -> tuple[str, str] | None:
    if family is None:
        text = f"the file defines no deductible {one.embedded_in!r}"
        return "UNKNOWN_REFERENCE", text
    if family.embedded_in:
        text = f"{family.id!r} is itself embedded in another; name that one"
        return "EMBEDDED_TWICE", text
    if (one.scope, family.scope) != (Scope.MEMBER, Scope.FAMILY):
        return "WRONG_SCOPE", "a member's deductible is embedded in a family's"
    alike = (
        one.period == family.period,
        covered(one.covers) == covered(family.covers),
        one.social_insurance_counts == family.social_insurance_counts,
    )
    if not all(alike):
        text = (
            f"{one.id!r} and {family.id!r} must have the same period, covers, ages and"
            " social_insurance_counts: what uses one up uses up the other"
        )
        return "UNLIKE_FAMILY", text
    return None


def _requirements(plan: Plan, top: Mapping) -> None:
    by_id = {one.id: one for one in plan.authorisations}
    for index, one in enumerate(plan.authorisations):
        for name in one.requires:
            if name not in by_id:
                text = f"the file defines no authorisation {name!r}"
                at(top, "authorisations", index, "UNKNOWN_REFERENCE", text)
            elif not by_id[name].codes:
                text = f"{name!r} names no codes, so that no authorisation could be told to be its"
                at(top, "authorisations", index, "REQUIRES_NO_CODES", text)
    places = {one.id: index for index, one in reversed([*enumerate(plan.authorisations)])}
    for way in cycles({one.id: one.requires for one in plan.authorisations}):
        text = f"{told_way(way, ' requires ')}: none could ever be had; leave one out"
        at(top, "authorisations", places[way[0]], "CYCLE", text)


def _payees(plan: Plan, top: Mapping) -> None:
    """The last payee has no conditions, so that every line has one."""
    for index, one in enumerate(plan.payees):
        last = index == len(plan.payees) - 1
        if last and one.when != When():
            text = "the last payee must have no conditions, so that every line finds one"
            at(top, "payees", index, "NO_DEFAULT_PAYEE", text)
        if not last and one.when == When():
            text = f"payees after {one.id!r} are never reached: it has no conditions"
            at(top, "payees", index, "UNREACHABLE_PAYEE", text)


def _steps(plan: Plan, top: Mapping) -> None:
    """A family's cap lies not below what a single member has."""
    lists: dict[str, Sequence[Deductible | OutOfPocketMaximum | Ceiling]] = {
        "deductibles": plan.deductibles,
        "out_of_pocket": plan.out_of_pocket,
        "ceilings": plan.ceilings,
    }
    for key, terms in lists.items():
        for index, one in enumerate(terms):
            step = one.family_step
            if step is None or step.most is None:
                continue
            for day in sorted({day for part in (one.values, step.most) for day, _ in part.values}):
                if day < max(one.values.values[0][0], step.most.values[0][0]):
                    continue
                base, most = one.values.on(day), step.most.on(day)
                if base is not None and most is not None and most < base:
                    text = f"from {day.isoformat()} the cap lies below the value; raise the cap"
                    at(top, key, index, "CAP_BELOW_VALUE", text)
                    break


def _impossible_conditions(plan: Plan, top: Mapping) -> None:
    lists: dict[str, Sequence[When]] = {
        "shares": [one.when for one in plan.shares],
        "copays": [one.when for one in plan.copays],
        "payees": [one.when for one in plan.payees],
    }
    for key, whens in lists.items():
        for index, when in enumerate(whens):
            if when.contracted_provider and when.family_doctor_contract is False:
                text = "nobody is at a contracted provider without a contract; leave one out"
                at(top, key, index, "NEVER_HOLDS", text)
