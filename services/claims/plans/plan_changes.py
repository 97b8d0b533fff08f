"""A change of a plan inside a case: a new dated line below the old ones, which stay.

It makes another plan, and so another version; the plan itself is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from services.claims.core.plan import Plan
from services.claims.plans.reader import Mapping, Value
from services.common.dated import Dated

# The lists of a plan whose terms a case may change, the field that is dated, and what it holds.
_MONEY = ("deductibles", "out_of_pocket", "ceilings", "fixed_limits", "copays")
_WHOLE = ("unit_limits", "count_limits", "waiting_periods", "mutual_recognition")
_IN_FORCE = ("sections", "exclusions", "authorisations")


def changed_plan(plan: Plan, told: Mapping) -> Plan:
    """The plan with new values by the ids of its terms, each by the day from which it holds.

    Faults: a term that the plan has not, a value of another kind. `null` ends a value.
    """
    for name in told.names():
        for key, field, parse in _kinds(plan):
            terms = getattr(plan, key)
            ids = [one.id for one in terms]
            if name in ids:
                at = ids.index(name)
                new = _with(terms[at], field, told.get(name), parse)
                changed = (*terms[:at], new, *terms[at + 1 :])
                plan = msgspec.structs.replace(plan, **{key: changed})
                break
        else:
            told.get(name).fault("UNKNOWN_REFERENCE", f"the plan has no term {name!r} to change")
    return plan


def _kinds(plan: Plan) -> tuple[tuple[str, str, Callable[[Value], object]], ...]:
    return (
        *((key, "values", lambda value: value.money(plan.currency)) for key in _MONEY),
        *((key, "values", Value.whole) for key in _WHOLE),
        ("shares", "values", Value.share),
        *((key, "in_force", Value.boolean) for key in _IN_FORCE),
    )


def _with(term: Any, field: str, told: Value, parse: Callable[[Value], object]) -> Any:
    values: dict[date, object] = dict(getattr(term, field).values)
    values.update(told.dated(parse, date.max).values)
    dated = Dated(values=tuple(sorted(values.items(), key=lambda one: one[0])))
    return msgspec.structs.replace(term, **{field: dated})
