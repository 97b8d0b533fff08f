"""Whether a plan could ever pay anything; one that could not is a slip and not a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from services.claims.core.plan import Ceiling, CountLimit, Covers, Plan, PreExistingRule
from services.claims.plans.conflicts import holds
from services.claims.plans.reader import Mapping
from services.common.dated import Dated


def check_that_it_pays(plan: Plan, top: Mapping) -> None:
    """Note a fault unless some day has a section, a share above 0 and no limit of 0 on all."""
    parts = ("sections", "shares", "ceilings", "count_limits", "pre_existing")
    if not (plan.sections and plan.shares) or top.faults.found_in(*parts):
        return  # what stands in for a value at fault says nothing
    days = sorted({plan.first_day, *_days(plan)})
    checks: tuple[tuple[str, str, Callable[[date], bool]], ...] = (
        ("sections", "no section is ever in force", lambda day: _any_section(plan, day)),
        ("shares", "every share is 0 or has ended", lambda day: _any_share(plan, day)),
        ("ceilings", "a limit on everything is always 0", lambda day: not _nothing(plan, day)),
    )
    if any(all(found(day) for _, _, found in checks) for day in days):
        return
    blamed = [
        (key, what) for key, what, found in checks if not any(found(day) for day in days)
    ] or [("shares", "no section is in force on a day on which a share is above 0")]
    for key, what in blamed:
        text = f"the plan can never pay: {what}; write what it pays, or do not publish it"
        top.fault("NEVER_PAYS", text, key if top.has(key) else "")


def _days(plan: Plan) -> Iterator[date]:
    dated: list[Dated[Any]] = [
        *(one.in_force for one in plan.sections),
        *(one.values for one in plan.shares),
        *(one.values for one in plan.ceilings),
        *(one.values for one in plan.count_limits),
        *(one.values for one in plan.pre_existing.rules),
        plan.pre_existing.otherwise,
    ]
    for one in dated:
        yield from (day for day, _ in one.values if day >= plan.first_day)


def _any_section(plan: Plan, day: date) -> bool:
    return any(holds(one.in_force, day) for one in plan.sections)


def _any_share(plan: Plan, day: date) -> bool:
    shares = any(holds(one.values, day) and one.values.on(day) for one in plan.shares)
    return shares or any(holds(one, day) and _pays(one, day) for one in _pre_existing(plan))


def _pre_existing(plan: Plan) -> Iterator[Dated[Any]]:
    rules: Sequence[PreExistingRule] = plan.pre_existing.rules
    yield from (one.values for one in rules)
    yield plan.pre_existing.otherwise


def _pays(values: Dated[Any], day: date) -> bool:
    return bool(getattr(values.on(day), "share", None))


def _nothing(plan: Plan, day: date) -> bool:
    limits: list[Ceiling | CountLimit] = [*plan.ceilings, *plan.count_limits]
    return any(
        one.covers == Covers() and holds(one.values, day) and one.values.on(day) == 0
        for one in limits
    )
