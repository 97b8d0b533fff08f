"""The life of a tariff is the table's and nobody else's; an approver is another person."""

from __future__ import annotations

import itertools

import pytest

from lipei.pricing.v1 import registry_pb2 as pb
from services.pricing.core.life_cycle import (
    TABLE,
    Event,
    NotAllowed,
    SamePerson,
    State,
    after,
    check_approver,
    check_proposer,
)


def test_the_table_of_states_names_every_state_and_refuses_the_rest() -> None:
    assert set(TABLE.values()) == set(State)
    assert {event for _, event in TABLE} == set(Event)
    for state, event in itertools.product((None, *State), Event):
        if (state, event) in TABLE:
            assert after(state, event) is TABLE[state, event]
        else:
            with pytest.raises(NotAllowed):
                after(state, event)
    assert not [event for state, event in TABLE if state in (State.RETIRED, State.REJECTED)]


def test_a_refusal_says_what_may_happen_instead() -> None:
    with pytest.raises(NotAllowed, match="it is approved; what may happen to it: reject, activate"):
        after(State.APPROVED, Event.APPROVE)
    with pytest.raises(NotAllowed, match="it is retired; what may happen to it: nothing"):
        after(State.RETIRED, Event.ACTIVATE)


def test_an_approver_has_neither_proposed_nor_approved() -> None:
    history = [(Event.PROPOSE, "li"), (Event.APPROVE, "wang"), (Event.REJECT, "zhao")]
    check_approver("chen", history)
    check_approver("zhao", history)
    with pytest.raises(SamePerson, match="who has proposed"):
        check_approver("li", history)
    with pytest.raises(SamePerson, match="who has approved"):
        check_approver("wang", history)


def test_a_proposer_has_not_approved() -> None:
    history = [(Event.PROPOSE, "li"), (Event.APPROVE, "wang"), (Event.REJECT, "zhao")]
    for person in ("li", "zhao", "chen"):
        check_proposer(person, history)
    with pytest.raises(SamePerson, match="who has approved a tariff does not propose it"):
        check_proposer("wang", history)
    with pytest.raises(SamePerson):
        check_proposer("wang", history[1:2])
    check_proposer("wang", [])


def test_states_and_events_are_those_of_the_wire() -> None:
    assert {f"TARIFF_STATE_{one.name}" for one in State} | {"TARIFF_STATE_UNSPECIFIED"} == set(
        pb.TariffState.keys()
    )
    assert {f"TARIFF_EVENT_{one.name}" for one in Event} | {"TARIFF_EVENT_UNSPECIFIED"} == set(
        pb.TariffEvent.keys()
    )
