"""The life of a proposed tariff as one table: state × event → next state.

An event that is not in the table raises and changes nothing. Two people approve, neither of whom
has proposed it. It knows no storage and no clock.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence


class State(enum.StrEnum):
    """Where a tariff stands; the names of lipei.pricing.v1.TariffState."""

    PROPOSED = "proposed"
    ENDORSED = "endorsed"  # one of the two has approved
    APPROVED = "approved"
    ACTIVE = "active"
    RETIRED = "retired"
    REJECTED = "rejected"


class Event(enum.StrEnum):
    """What somebody does to a tariff; the names of lipei.pricing.v1.TariffEvent."""

    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    ACTIVATE = "activate"
    SUPERSEDE = "supersede"  # a later version of its id begins; this one ends the day before
    RETIRE = "retire"


TABLE: dict[tuple[State | None, Event], State] = {
    (None, Event.PROPOSE): State.PROPOSED,
    (State.PROPOSED, Event.APPROVE): State.ENDORSED,
    (State.ENDORSED, Event.APPROVE): State.APPROVED,
    (State.PROPOSED, Event.REJECT): State.REJECTED,
    (State.ENDORSED, Event.REJECT): State.REJECTED,
    (State.APPROVED, Event.REJECT): State.REJECTED,
    (State.APPROVED, Event.ACTIVATE): State.ACTIVE,
    (State.ACTIVE, Event.SUPERSEDE): State.ACTIVE,
    (State.ACTIVE, Event.RETIRE): State.RETIRED,
}


class NotAllowed(ValueError):
    """The table has no such event in this state; says which there are."""


class SamePerson(ValueError):
    """Somebody approves what they have proposed or approved, or proposes what they approved."""


def after(state: State | None, event: Event) -> State:
    """The next state.

    >>> after(State.PROPOSED, Event.APPROVE)
    <State.ENDORSED: 'endorsed'>

    Raises: NotAllowed.
    """
    found = TABLE.get((state, event))
    if found is None:
        known = ", ".join(one.value for at, one in TABLE if at is state) or "nothing"
        raise NotAllowed(f"it is {state}; what may happen to it: {known}")
    return found


def check_approver(person: str, history: Sequence[tuple[Event, str]]) -> None:
    """An approver has neither proposed the tariff nor approved it; `history` is (event, person).

    Raises: SamePerson.
    """
    for event, earlier in history:
        if earlier == person and event in (Event.PROPOSE, Event.APPROVE):
            done = "proposed" if event is Event.PROPOSE else "approved"
            raise SamePerson(f"who has {done} a tariff is not the other person who approves it")


def check_proposer(person: str, history: Sequence[tuple[Event, str]]) -> None:
    """Whose approval counts for a tariff does not propose it too; `history` is (event, person).

    Raises: SamePerson.
    """
    if any(earlier == person and event is Event.APPROVE for event, earlier in history):
        raise SamePerson("who has approved a tariff does not propose it: they would be both")
