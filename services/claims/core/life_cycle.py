"""The life of a claim as one table: state × event → next state and what it does to the clock.

An event that is not in the table raises and changes nothing. The diagram in docs/life-cycle.md is
drawn from this table. It knows no storage and no time.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class ClaimState(enum.StrEnum):
    """Where a claim stands; the names of lipei.claims.v1.ClaimState."""

    RECEIVED = "received"
    REGISTERED = "registered"
    ADJUDICATING = "adjudicating"
    AUTO_APPROVED = "auto_approved"
    PENDED_INFO = "pended_info"
    PENDED_REVIEW = "pended_review"
    PENDED_FRAUD = "pended_fraud"
    DENIED = "denied"
    CLOSED_INCOMPLETE = "closed_incomplete"
    APPROVED = "approved"
    PAYABLE = "payable"
    CLOSED_ZERO = "closed_zero"
    PAYMENT_SENT = "payment_sent"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    RETURNED = "returned"
    ADJUSTED = "adjusted"
    REVERSED = "reversed"
    RECOVERY_OPEN = "recovery_open"
    RECOVERED = "recovered"
    WRITTEN_OFF = "written_off"
    APPEALED = "appealed"
    UPHELD = "upheld"
    OVERTURNED = "overturned"
    WITHDRAWN = "withdrawn"


# Here the claim's decision is taken back: it pays nothing, and its services repeat nothing.
TAKEN_BACK = (ClaimState.WITHDRAWN, ClaimState.CLOSED_INCOMPLETE, ClaimState.REVERSED)


class Event(enum.StrEnum):
    """What happens to a claim."""

    REGISTER = "register"
    BEGIN_ADJUDICATION = "begin_adjudication"
    AUTO_APPROVE = "auto_approve"
    ASK_FOR_PAPERS = "ask_for_papers"
    REFER_TO_REVIEW = "refer_to_review"
    SUSPECT_FRAUD = "suspect_fraud"
    DENY = "deny"
    RECEIVE_PAPERS = "receive_papers"
    GIVE_UP_WAITING = "give_up_waiting"
    CLEAR_SUSPICION = "clear_suspicion"
    APPROVE = "approve"
    RELEASE_PAYMENT = "release_payment"
    CLOSE_WITHOUT_PAYMENT = "close_without_payment"
    SEND_PAYMENT = "send_payment"
    CONFIRM_PAYMENT = "confirm_payment"
    REFUSE_PAYMENT = "refuse_payment"
    RETRY_PAYMENT = "retry_payment"
    RETURN_MONEY = "return_money"
    ADJUST = "adjust"
    REVERSE = "reverse"
    OPEN_RECOVERY = "open_recovery"
    RECOVER = "recover"
    WRITE_OFF = "write_off"
    APPEAL = "appeal"
    UPHOLD = "uphold"
    OVERTURN = "overturn"
    DECIDE_ANEW = "decide_anew"
    WITHDRAW = "withdraw"


class Clock(enum.StrEnum):
    """What a move does to the legal clock, in calendar days.

    Two run one after the other: the decision's from complete papers (Insurance Law articles 22
    and 23), and the payment's from the decision to pay (article 23).
    """

    NONE = ""
    START = "start"
    STOP = "stop"
    RESUME = "resume"
    END = "end"


class Move(NamedTuple):
    """Where an event leads, and what it does to the clock."""

    state: ClaimState
    clock: Clock


class IllegalMove(ValueError):
    """The event cannot happen in this state; nothing has changed."""

    def __init__(self, state: ClaimState, event: Event) -> None:
        super().__init__(f"a claim that is {state.value} cannot {event.value}")
        self.state = state
        self.event = event


_S, _E, _C = ClaimState, Event, Clock

# Before payment_sent the claim may be taken back; that ends the clock that runs then.
_WITHDRAWABLE = {
    _S.RECEIVED: _C.NONE,
    _S.REGISTERED: _C.END,
    _S.ADJUDICATING: _C.END,
    _S.AUTO_APPROVED: _C.NONE,
    _S.PENDED_INFO: _C.END,
    _S.PENDED_REVIEW: _C.END,
    _S.PENDED_FRAUD: _C.END,
    _S.APPROVED: _C.NONE,
    _S.PAYABLE: _C.END,
    # Nothing was paid: where the hospital takes the bill itself back, nothing is left of the claim.
    _S.DENIED: _C.NONE,
    _S.CLOSED_ZERO: _C.NONE,
    _S.UPHELD: _C.NONE,
    # An objection to a decision that paid nothing has no object any more.
    _S.APPEALED: _C.END,
    _S.OVERTURNED: _C.END,
}
# A claim that was paid may stand here when its bill is taken back; that ends the clock that runs.
_REVERSIBLE = {
    _S.PAID: _C.NONE,
    _S.CLOSED_ZERO: _C.NONE,
    _S.UPHELD: _C.NONE,
    _S.PENDED_INFO: _C.END,
    _S.PENDED_REVIEW: _C.END,
    _S.PENDED_FRAUD: _C.END,
    _S.PAYABLE: _C.END,
    _S.PAYMENT_FAILED: _C.END,
    _S.CLOSED_INCOMPLETE: _C.NONE,
    # After a correction a part came back, or was given up; the rest is to come back as well.
    _S.RECOVERED: _C.NONE,
    _S.WRITTEN_OFF: _C.NONE,
}

TABLE: dict[tuple[ClaimState, Event], Move] = {
    (_S.RECEIVED, _E.REGISTER): Move(_S.REGISTERED, _C.START),
    (_S.REGISTERED, _E.BEGIN_ADJUDICATION): Move(_S.ADJUDICATING, _C.NONE),
    (_S.ADJUDICATING, _E.AUTO_APPROVE): Move(_S.AUTO_APPROVED, _C.END),
    (_S.ADJUDICATING, _E.ASK_FOR_PAPERS): Move(_S.PENDED_INFO, _C.STOP),
    (_S.ADJUDICATING, _E.REFER_TO_REVIEW): Move(_S.PENDED_REVIEW, _C.NONE),
    (_S.ADJUDICATING, _E.SUSPECT_FRAUD): Move(_S.PENDED_FRAUD, _C.NONE),
    (_S.ADJUDICATING, _E.DENY): Move(_S.DENIED, _C.END),
    (_S.PENDED_INFO, _E.RECEIVE_PAPERS): Move(_S.ADJUDICATING, _C.RESUME),
    (_S.PENDED_INFO, _E.GIVE_UP_WAITING): Move(_S.CLOSED_INCOMPLETE, _C.END),
    (_S.PENDED_FRAUD, _E.CLEAR_SUSPICION): Move(_S.PENDED_REVIEW, _C.NONE),
    (_S.PENDED_REVIEW, _E.APPROVE): Move(_S.APPROVED, _C.END),
    (_S.PENDED_REVIEW, _E.DENY): Move(_S.DENIED, _C.END),
    (_S.AUTO_APPROVED, _E.RELEASE_PAYMENT): Move(_S.PAYABLE, _C.START),
    (_S.AUTO_APPROVED, _E.CLOSE_WITHOUT_PAYMENT): Move(_S.CLOSED_ZERO, _C.NONE),
    (_S.APPROVED, _E.RELEASE_PAYMENT): Move(_S.PAYABLE, _C.START),
    (_S.APPROVED, _E.CLOSE_WITHOUT_PAYMENT): Move(_S.CLOSED_ZERO, _C.NONE),
    (_S.PAYABLE, _E.SEND_PAYMENT): Move(_S.PAYMENT_SENT, _C.NONE),
    (_S.PAYMENT_SENT, _E.CONFIRM_PAYMENT): Move(_S.PAID, _C.END),
    (_S.PAYMENT_SENT, _E.REFUSE_PAYMENT): Move(_S.PAYMENT_FAILED, _C.NONE),
    (_S.PAYMENT_FAILED, _E.RETRY_PAYMENT): Move(_S.PAYABLE, _C.NONE),
    (_S.PAID, _E.RETURN_MONEY): Move(_S.RETURNED, _C.START),
    (_S.RETURNED, _E.RETRY_PAYMENT): Move(_S.PAYABLE, _C.NONE),
    (_S.PAID, _E.ADJUST): Move(_S.ADJUSTED, _C.NONE),
    (_S.ADJUSTED, _E.RELEASE_PAYMENT): Move(_S.PAYABLE, _C.START),
    (_S.ADJUSTED, _E.OPEN_RECOVERY): Move(_S.RECOVERY_OPEN, _C.NONE),
    (_S.REVERSED, _E.OPEN_RECOVERY): Move(_S.RECOVERY_OPEN, _C.NONE),
    (_S.RECOVERY_OPEN, _E.RECOVER): Move(_S.RECOVERED, _C.NONE),
    (_S.RECOVERY_OPEN, _E.WRITE_OFF): Move(_S.WRITTEN_OFF, _C.NONE),
    (_S.DENIED, _E.APPEAL): Move(_S.APPEALED, _C.START),
    (_S.PAID, _E.APPEAL): Move(_S.APPEALED, _C.START),
    (_S.CLOSED_ZERO, _E.APPEAL): Move(_S.APPEALED, _C.START),
    (_S.APPEALED, _E.UPHOLD): Move(_S.UPHELD, _C.END),
    (_S.APPEALED, _E.OVERTURN): Move(_S.OVERTURNED, _C.NONE),
    (_S.OVERTURNED, _E.DECIDE_ANEW): Move(_S.ADJUDICATING, _C.NONE),
    # The hospital corrected the bill before the bank had the money: nothing of it is sent.
    (_S.PAYABLE, _E.DECIDE_ANEW): Move(_S.ADJUDICATING, _C.START),
    **{(state, _E.REVERSE): Move(_S.REVERSED, clock) for state, clock in _REVERSIBLE.items()},
    **{(state, _E.WITHDRAW): Move(_S.WITHDRAWN, clock) for state, clock in _WITHDRAWABLE.items()},
}


def advance(state: ClaimState, event: Event, *, papers_asked_before: bool = False) -> Move:
    """Where the event leads.

    The clock stops for papers only once: with `papers_asked_before`, an asking earlier than the
    one at hand, neither this asking nor its answer touches the clock.

    >>> advance(ClaimState.PAYABLE, Event.SEND_PAYMENT).state
    <ClaimState.PAYMENT_SENT: 'payment_sent'>

    Raises: IllegalMove when the table has no such move.
    """
    move = TABLE.get((state, event))
    if move is None:
        raise IllegalMove(state, event)
    if papers_asked_before and move.clock in (Clock.STOP, Clock.RESUME):
        return move._replace(clock=Clock.NONE)
    return move


def events_in(state: ClaimState) -> tuple[Event, ...]:
    """What can happen to a claim in this state, in the table's order; empty at the end."""
    return tuple(event for at, event in TABLE if at is state)


def diagram() -> str:
    """The table as a Mermaid state diagram; withdrawal, possible in many states, is one note."""
    lines = ["stateDiagram-v2", "    [*] --> received"]
    for (state, event), move in TABLE.items():
        if event is not Event.WITHDRAW:
            clock = f" (clock: {move.clock.value})" if move.clock else ""
            lines.append(f"    {state.value} --> {move.state.value}: {event.value}{clock}")
    lines += [f"    {state.value} --> [*]" for state in ClaimState if not events_in(state)]
    lines.append("    note right of withdrawn")
    lines.append(f"        withdraw from {', '.join(s.value for s in _WITHDRAWABLE)}")
    lines.append("    end note")
    return "\n".join(lines) + "\n"
