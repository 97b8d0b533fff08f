"""What a plan's accumulators are called, whose use they add up, and what they add up."""

from __future__ import annotations

from dataclasses import dataclass

from services.claims.core.facts import Scope
from services.claims.core.plan import Period, Plan


@dataclass(frozen=True, slots=True)
class Accumulator:
    """One deductible, ceiling, count, unit limit or out-of-pocket maximum of a plan.

    It adds up claims when it `counts`, units when it is of `units`, else money.
    """

    id: str
    scope: Scope
    period: Period | None
    counts: bool = False
    units: bool = False

    @classmethod
    def nothing(cls) -> Accumulator:
        """A stand-in for one that the plan has not."""
        return cls(id="?", scope=Scope.MEMBER, period=None)


def accumulators(plan: Plan) -> dict[str, Accumulator]:
    """The plan's accumulators by id."""
    found = [
        *(Accumulator(one.id, one.scope, one.period) for one in plan.deductibles),
        *(Accumulator(one.id, one.scope, one.period) for one in plan.out_of_pocket),
        *(Accumulator(one.id, one.scope, one.period) for one in plan.ceilings),
        *(Accumulator(one.id, one.scope, one.period, counts=True) for one in plan.count_limits),
        *(Accumulator(one.id, one.scope, one.period, units=True) for one in plan.unit_limits),
    ]
    return {one.id: one for one in found}


def authorisation_accumulator(name: object) -> Accumulator | None:
    """The accumulator of an authorisation, "authorisation A1 units" or "authorisation A1 amount".

    None for any other name.
    """
    if not isinstance(name, str) or not name.startswith("authorisation "):
        return None
    what = name.rpartition(" ")[2]
    if what not in ("units", "amount"):
        return None
    return Accumulator(name, Scope.MEMBER, None, units=what == "units")
