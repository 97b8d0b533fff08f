"""The life cycle: exactly the moves of docs/conventions.md A, walked, and drawn in the docs."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.claims.core.clocks import ClockMove, days_left
from services.claims.core.life_cycle import (
    TABLE,
    ClaimState,
    Clock,
    Event,
    IllegalMove,
    advance,
    diagram,
    events_in,
)
from tests.services.claims.core.bills import ROOT

# docs/conventions.md A "Life cycle", typed off by hand; withdrawal stands below.
PROMISED = """
received: registered
registered: adjudicating
adjudicating: auto_approved pended_info pended_review pended_fraud denied
pended_info: adjudicating closed_incomplete
pended_fraud: pended_review
pended_review: approved denied
auto_approved: payable closed_zero
approved: payable closed_zero
payable: payment_sent
payment_sent: paid payment_failed
payment_failed: payable
paid: returned adjusted reversed appealed
returned: payable
adjusted: payable recovery_open
reversed: recovery_open
recovery_open: recovered written_off
denied: appealed
closed_zero: appealed
appealed: upheld overturned
overturned: adjudicating
"""
# And what they do not say; docs/decisions/012-moves-of-bills-that-change.md argues each.
BESIDE = """
payable: adjudicating reversed
pended_info: reversed
pended_review: reversed
pended_fraud: reversed
payment_failed: reversed
closed_incomplete: reversed
closed_zero: reversed withdrawn
upheld: reversed withdrawn
denied: withdrawn
appealed: withdrawn
overturned: withdrawn
recovered: reversed
written_off: reversed
"""
BEFORE_PAYMENT = {
    *("received", "registered", "adjudicating", "auto_approved", "approved", "payable"),
    *("pended_info", "pended_review", "pended_fraud"),
}
ENDS = {"withdrawn"}
OVER = {"withdrawn", "reversed"}
# What happens to a bill afterwards may lead out of these; as a rule nothing does.
RESTS = {"recovered", "written_off", "closed_incomplete", "upheld"}


def test_the_table_has_exactly_the_promised_moves() -> None:
    promised = {
        (state, to)
        for row in (PROMISED + BESIDE.lstrip()).strip().splitlines()
        for state, targets in [row.split(": ")]
        for to in targets.split()
    }
    promised |= {(state, "withdrawn") for state in BEFORE_PAYMENT}
    assert {(state.value, move.state.value) for (state, _), move in TABLE.items()} == promised
    assert len(TABLE) == len(promised)  # no two events lead from one state to the same state


# The same moves with what makes them happen, typed off once more: event: from, from ... > to.
MOVES = """
register: received > registered
begin_adjudication: registered > adjudicating
auto_approve: adjudicating > auto_approved
ask_for_papers: adjudicating > pended_info
refer_to_review: adjudicating > pended_review
suspect_fraud: adjudicating > pended_fraud
deny: adjudicating pended_review > denied
receive_papers: pended_info > adjudicating
give_up_waiting: pended_info > closed_incomplete
clear_suspicion: pended_fraud > pended_review
approve: pended_review > approved
release_payment: auto_approved approved adjusted > payable
close_without_payment: auto_approved approved > closed_zero
send_payment: payable > payment_sent
confirm_payment: payment_sent > paid
refuse_payment: payment_sent > payment_failed
retry_payment: payment_failed returned > payable
return_money: paid > returned
adjust: paid > adjusted
reverse: paid closed_zero upheld pended_info pended_review pended_fraud payable > reversed
reverse: payment_failed closed_incomplete recovered written_off > reversed
open_recovery: adjusted reversed > recovery_open
recover: recovery_open > recovered
write_off: recovery_open > written_off
appeal: denied paid closed_zero > appealed
uphold: appealed > upheld
overturn: appealed > overturned
decide_anew: overturned payable > adjudicating
withdraw: received registered adjudicating auto_approved approved payable pended_info > withdrawn
withdraw: pended_review pended_fraud denied closed_zero upheld appealed overturned > withdrawn
"""
STEPS = 10_000


def test_ten_thousand_steps_go_where_the_conventions_say_or_nowhere() -> None:
    """Any event in any state: the model's next state, or an error and the claim where it was."""
    model = {
        (state, event): target
        for row in MOVES.strip().splitlines()
        for event, moves in [row.split(": ")]
        for states, target in [moves.split(" > ")]
        for state in states.split()
    }
    table, chance = dict(TABLE), random.Random(2026)
    state = ClaimState.RECEIVED
    walked: Counter[tuple[str, str]] = Counter()
    refused: set[tuple[str, str]] = set()
    for _ in range(STEPS):
        possible = [event for at, event in model if at == state.value]
        # Many steps are possible ones, and few of them end the claim, or no walk would come far.
        goes_on = [one for one in possible if model[state.value, one] not in OVER]
        likely = goes_on if goes_on and chance.random() < 0.8 else possible
        anything = chance.choice(tuple(Event)).value
        event = chance.choice(likely) if likely and chance.random() < 0.5 else anything
        expected = model.get((state.value, event))
        if expected is None:
            with pytest.raises(IllegalMove):
                advance(state, Event(event))
            refused.add((state.value, event))
        else:
            state = advance(state, Event(event)).state
            assert state.value == expected
            walked[expected, event] += 1
        assert table == TABLE, "nothing that happens changes what can happen"
        rests = state.value in RESTS and chance.random() < 0.5
        if not possible or rests:
            state = ClaimState.RECEIVED  # the claim has ended; another one comes in
    assert {(target, event) for (_, event), target in model.items()} == set(walked)
    assert {state for state, _ in refused} == {state.value for state in ClaimState}


def test_an_event_that_is_not_in_the_table_raises() -> None:
    for state, event in product(ClaimState, Event):
        if event in events_in(state):
            assert advance(state, event) == TABLE[state, event]
        else:
            with pytest.raises(IllegalMove, match=f"{state.value} cannot {event.value}"):
                advance(state, event)


def test_a_claim_that_has_ended_stays_where_it_is() -> None:
    assert {state.value for state in ClaimState if not events_in(state)} == ENDS


def test_the_clock_stops_for_papers_once() -> None:
    first = advance(ClaimState.ADJUDICATING, Event.ASK_FOR_PAPERS)
    again = advance(ClaimState.ADJUDICATING, Event.ASK_FOR_PAPERS, papers_asked_before=True)
    answer = advance(ClaimState.PENDED_INFO, Event.RECEIVE_PAPERS, papers_asked_before=True)
    assert first.clock is Clock.STOP
    assert (again.state, again.clock) == (ClaimState.PENDED_INFO, Clock.NONE)
    assert answer.clock is Clock.NONE
    assert advance(ClaimState.PENDED_INFO, Event.RECEIVE_PAPERS).clock is Clock.RESUME


def test_a_move_that_does_not_touch_the_clock_leaves_it_running() -> None:
    began = ClockMove(date(2026, 5, 8), ClaimState.REGISTERED, Clock.START)
    moved = ClockMove(date(2026, 5, 9), ClaimState.ADJUDICATING, Clock.NONE)
    assert days_left([began, moved], date(2026, 5, 10)) == 28


class Walk(RuleBasedStateMachine):
    """Any events in any order: the clock always says something that can happen."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ClaimState.RECEIVED
        self.running = False
        self.stopped = False
        self.asked = False

    @rule(event=st.sampled_from(Event))
    def anything_happens(self, event: Event) -> None:
        before = self.state
        try:
            move = advance(before, event, papers_asked_before=self.asked)
        except IllegalMove:
            assert event not in events_in(before)
            assert self.state is before
            return
        self._follow(move.clock)
        if event is Event.RECEIVE_PAPERS:
            self.asked = True
        self.state = move.state

    @rule(data=st.data())
    def something_possible_happens(self, data: st.DataObject) -> None:
        possible = events_in(self.state)
        if possible:
            self.anything_happens(data.draw(st.sampled_from(possible)))

    def _follow(self, clock: Clock) -> None:
        match clock:
            case Clock.START:
                assert not self.running, "a clock that runs cannot start"
                self.running = True
            case Clock.STOP:
                assert self.running
                assert not self.stopped
                self.stopped = True
            case Clock.RESUME:
                assert self.running
                assert self.stopped
                self.stopped = False
            case Clock.END:
                assert self.running, "only a running clock ends"
                self.running = self.stopped = False
            case Clock.NONE:
                pass

    @invariant()
    def no_clock_runs_once_a_claim_has_ended(self) -> None:
        if not events_in(self.state):
            assert not self.running

    @invariant()
    def papers_are_awaited_while_the_clock_stands(self) -> None:
        if self.stopped:
            assert self.state is ClaimState.PENDED_INFO


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=30, stateful_step_count=30)


def test_the_docs_show_the_table_as_it_is() -> None:
    page = (ROOT / "docs" / "life-cycle.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}```" in page, (
        "docs/life-cycle.md is stale; put there what services.claims.core.life_cycle.diagram() says"
    )
