"""Which of a person's policies answer for a bill, and in which order they pay.

Knows no storage and no bill: whoever asks says what each policy covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from services.claims.core.plan import Place, Plan

_RANKS = {Place.FIRST: 0, Place.CHOICE: 1, Place.LAST: 2}
_NOT_CHOSEN = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A policy that insures the person.

    `covers` says that cover is there on the day that cover looks at, `renews` that the stay runs
    into it without a gap; `previous` is the policy that it renews, `choice` where the member wants
    it, 0 for not chosen, and `place` what its plan says.
    """

    policy_id: str
    covers: bool
    renews: bool
    previous: str = ""
    choice: int = 0
    place: Place = Place.CHOICE


def place_on(plan: Plan, day: date) -> Place:
    """Where the plan stands among several on a day; the member's choice where it says nothing."""
    place = plan.coordination.place
    if place is None:
        return Place.CHOICE
    return place.on(max(day, place.values[0][0])) or Place.CHOICE


def coordinated(oldest_first: Sequence[Candidate]) -> list[str]:
    """The ids of the policies that answer, in coordination order; without any, the last one's.

    A stay over the turn of a renewal belongs to the policy in force at discharge, not to the one
    that it renews as well. First come plans that pay first and last those that pay last; among
    equals those that the member has put in an order, then the oldest.

    >>> both = [Candidate(policy_id=i, covers=True, renews=False) for i in ("old", "new")]
    >>> coordinated(both)
    ['old', 'new']
    """
    in_force = [one for one in oldest_first if one.covers or one.renews]
    renewed = {one.previous for one in in_force if not one.covers}
    answering = [one for one in in_force if one.policy_id not in renewed]
    answering.sort(key=lambda one: (_RANKS[one.place], one.choice or _NOT_CHOSEN))
    return [one.policy_id for one in answering or oldest_first[-1:]]
