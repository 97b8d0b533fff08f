"""Finds two terms of one kind that are about the same on the same day.

It reads a whole plan and changes nothing; each fault stands at the line of the later term.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from services.claims.core.plan import (
    Ceiling,
    CountLimit,
    Covers,
    Deductible,
    OutOfPocketMaximum,
    PayeeTerm,
    Plan,
    Share,
    When,
)
from services.claims.plans.reader import Mapping
from services.common.dated import Dated


def check_conflicts(plan: Plan, top: Mapping) -> None:
    """Note every two terms of one kind that are about the same on the same day."""
    accumulators: dict[str, Sequence[Deductible | OutOfPocketMaximum | Ceiling | CountLimit]] = {
        "deductibles": plan.deductibles,
        "out_of_pocket": plan.out_of_pocket,
        "ceilings": plan.ceilings,
        "count_limits": plan.count_limits,
    }
    for key, terms in accumulators.items():
        alike = [
            (one.id, (covered(one.covers), one.scope, one.period), one.values) for one in terms
        ]
        _same(top, key, alike)
    _same(
        top,
        "unit_limits",
        [
            (
                one.id,
                (*_about(one.codes, one.sections), one.ages, one.scope, one.period),
                one.values,
            )
            for one in plan.unit_limits
        ],
    )
    _same(
        top,
        "fixed_limits",
        [
            (one.id, (*_about(one.codes, one.sections), one.ages), one.values)
            for one in plan.fixed_limits
        ],
    )
    _same(
        top,
        "copays",
        [(one.id, one.when, one.values) for one in plan.copays],
    )
    # Two without conditions have a fault of their own.
    conditional: dict[str, Sequence[Share | PayeeTerm]] = {
        "shares": plan.shares,
        "payees": plan.payees,
    }
    for key, ranked in conditional.items():
        # One without conditions keeps its place, so that a fault finds its line.
        whens = [(one.id, one.when if one.when != When() else one.id, one.values) for one in ranked]
        _same(top, key, whens)
    _same(
        top,
        "authorisations",
        [
            (one.id, (*_about(one.codes, one.sections), frozenset(one.care_types)), one.in_force)
            for one in plan.authorisations
        ],
    )
    _same(
        top,
        "mutual_recognition",
        [(one.id, frozenset(one.codes), one.values) for one in plan.mutual_recognition],
    )


def covered(covers: Covers) -> object:
    """What two accumulators share that are about the same lines."""
    return (frozenset(covers.sections), frozenset(covers.categories), covers.ages)


def _about(codes: Iterable[str], sections: Iterable[str]) -> tuple[object, ...]:
    return (frozenset(codes), frozenset(sections))


def _same(top: Mapping, key: str, terms: Sequence[tuple[str, object, Dated[Any]]]) -> None:
    for index, (name, about, values) in enumerate(terms):
        for other, others, before in terms[:index]:
            if name == other or about != others:
                continue
            day = _both_in_force(values, before)
            if day is not None:
                text = (
                    f"{other!r} and {name!r} are about the same and both in force from"
                    f" {day.isoformat()}: end one with null, or say what sets them apart"
                )
                at(top, key, index, "CONFLICTING_TERMS", text)
                break


def _both_in_force(one: Dated[Any], other: Dated[Any]) -> date | None:
    days = sorted({day for each in (one, other) for day, _ in each.values})
    return next((day for day in days if holds(one, day) and holds(other, day)), None)


def holds(values: Dated[Any], day: date) -> bool:
    """Whether there is a value on the day; null and false are none, zero is one."""
    value = values.on(day) if values.values[0][0] <= day else None
    return value is not None and value is not False


def at(top: Mapping, key: str, index: int, reason: str, text: str) -> None:
    """Note a fault at one item of a list of the file."""
    items = top.items(key)
    if index < len(items):
        items[index].fault(reason, text)
    else:
        top.fault(reason, text, key)
