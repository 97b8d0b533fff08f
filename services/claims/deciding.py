"""Claims decided, and the effect of their decisions: use, debts, moves. Reads by `at_hand`."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from lipei.type.v1 import bill_pb2
from services.claims.at_hand import AtHand, Question
from services.claims.core import canonical, clocks
from services.claims.core.decision import Decision, Disposition, UsageChange
from services.claims.core.facts import AppealFacts, Review
from services.claims.core.ledger import Transfer
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.desk import Desk
from services.claims.owing import debt, to_provider
from services.claims.storage import claims as store
from services.claims.storage import decisions
from services.claims.storage.ledger import post_transfers
from services.claims.storage.rows import ClaimRow
from services.claims.storage.usage import Used

EVENTS = {
    Disposition.AUTO_APPROVED: Event.AUTO_APPROVE,
    Disposition.APPROVED: Event.APPROVE,
    Disposition.DENIED: Event.DENY,
    Disposition.PENDED_INFO: Event.ASK_FOR_PAPERS,
    Disposition.PENDED_REVIEW: Event.REFER_TO_REVIEW,
    Disposition.PENDED_FRAUD: Event.SUSPECT_FRAUD,
}
_RELEASED = (Disposition.AUTO_APPROVED, Disposition.APPROVED)


def decide(
    desk: Desk,
    row: ClaimRow,
    *,
    bill: bill_pb2.Bill | None = None,
    review: Review | None = None,
    appeal: AppealFacts | None = None,
) -> tuple[canonical.Inputs, Decision]:
    """What the plan pays for the claim by what is known now, its own earlier decision left out.

    Writes nothing. `bill` takes the place of the claim's.

    Raises: Refused while an earlier policy's claim pends; UnacceptableBill, NoTermsInForce, Erased.
    """
    asked = Question(row=row, bill=bill, review=review, appeal=appeal)
    return AtHand(desk, [asked]).decide(row)


def take_effect(
    desk: Desk,
    row: ClaimRow,
    inputs: canonical.Inputs,
    decided: Decision,
    before: tuple[Event, ...],
    actor: str,
    *,
    event: Event | None = None,
) -> ClaimState:
    """Put a decision in the place of the one before it; see `Effects.add`."""
    effects = Effects(desk, Used(desk.connection, [(row.policy_id, row.member_id)]), [row])
    own = decisions.own_use(desk.connection, desk.sealer, row)
    state, _ = effects.add(row, inputs, decided, before, actor, event=event, own_use=own)
    effects.write()
    return state


class Effects:
    """What decisions change: gathered claim by claim, then written at once, table by table."""

    def __init__(self, desk: Desk, used: Used, rows: list[ClaimRow]) -> None:
        """For these claims, whose accumulators `used` holds."""
        self._desk = desk
        self._decisions = decisions.Decisions(desk.connection, desk.sealer, used, rows)
        self._moving = store.Moving(desk.at_us)
        self._debts: list[Transfer] = []

    def add(
        self,
        row: ClaimRow,
        inputs: canonical.Inputs,
        decided: Decision,
        before: tuple[Event, ...],
        actor: str,
        *,
        event: Event | None = None,
        own_use: tuple[UsageChange, ...] = (),
    ) -> tuple[ClaimState, dict[str, Any]]:
        """Put a decision in the place of the one before it, whose use it takes over; pay its debt.

        `before` are the moves that lead up to it; `event` is where it leads, as it says itself when
        absent. `own_use` is what the decision in force has used. The state after, and the
        decision's row.
        """
        at_us = self._desk.at_us
        stored = self._decisions.seal(row, inputs, decided, at_us)
        moves = [*before, event or EVENTS[decided.disposition]]
        columns: dict[str, Any] = {}
        owed: Transfer | None = None
        if event is None and decided.disposition in _RELEASED:
            leads_to, owed = debt(row, stored["id"], decided.benefit)
            moves.append(leads_to)
            columns["owed"] = decided.benefit
            columns["owed_provider"] = to_provider(decided)
        if moves[-1] is Event.ASK_FOR_PAPERS:
            columns["papers_asked"] = row.papers_asked + 1
            columns["papers_due_us"] = _papers_due_us(row, inputs, at_us)
        state = self._moving.add(
            row.id,
            ClaimState(row.state),
            moves,
            actor,
            asked_before=row.papers_asked,
            decision_id=stored["id"],
            benefit=decided.benefit,
            decided_us=at_us,
            released_us=None,
            adjusted=row.adjustments,
            **columns,
        )
        # From here on nothing can go wrong: what is gathered of a claim is whole, or not there.
        self._decisions.add(row, stored, decided, own_use)
        if owed is not None:
            self._debts.append(owed)
        return state, stored

    def move(self, row: ClaimRow, moves: list[Event], actor: str) -> ClaimState:
        """Move a claim without a decision; the state after."""
        return self._moving.add(row.id, ClaimState(row.state), moves, actor)

    def write(self) -> None:
        """Write everything.

        Raises: IllegalMove, LedgerRefused, and what the database refuses.
        """
        self._decisions.write()
        if self._debts:
            post_transfers(self._desk.connection, self._debts, at_us=self._desk.at_us)
        self._moving.write(self._desk.connection)


def _papers_due_us(row: ClaimRow, inputs: canonical.Inputs, at_us: int) -> int:
    zone = ZoneInfo(row.time_zone)
    due = clocks.papers_due(inputs.bill.end_date, store.day_of(at_us, zone))
    return int(datetime.combine(due, time(), zone).astimezone(UTC).timestamp()) * 1_000_000
