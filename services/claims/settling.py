"""Undecided claims decided and released: one, or many in one transaction.

Many are read at once, decided one after the other in the order received, and written at once. A
claim that cannot be settled is left where it stands, whatever it is that stands in its way, and its
member's later ones wait for it; everybody else's are settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from sqlalchemy.exc import InterfaceError, OperationalError

from services.claims.at_hand import TURN_RETRY_S, AtHand, Question
from services.claims.core.intake import UnacceptableBill
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.deciding import Effects
from services.claims.desk import Desk
from services.claims.storage import claims as store
from services.claims.storage.rows import ClaimRow
from services.common.dated import NoTermsInForce
from services.common.log import logger
from services.common.refusals import Refused
from services.common.sealing import Erased

ENGINE = "engine"
# The moves that lead up to a decision, from wherever an undecided claim stands.
_BEFORE = {
    ClaimState.REGISTERED: (Event.BEGIN_ADJUDICATION,),
    ClaimState.ADJUDICATING: (),
}


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a claim stands after a step; without a decision, nothing is owed by one."""

    state: ClaimState
    benefit: int = 0


def settle(desk: Desk, row: ClaimRow) -> Settled:
    """An undecided claim is decided, and released if it is approved; a decided one stays.

    Raises: Refused (ABORTED) while it has to wait for another claim.
    """
    turn = _Turn(desk, [row])
    settled = turn.settle(row)
    turn.write()
    return settled


def settle_all(desk: Desk, rows: Sequence[ClaimRow]) -> dict[str, Settled]:
    """The same for many, in the order received; where each stands, by its id.

    The fault of one costs the others nothing: whatever it breaks is undone, and the claims are
    settled one at a time, each within a savepoint. Only what is of no claim, such as a lost
    connection or a key that nobody has, is raised.
    """
    in_order = sorted(rows, key=lambda row: int(row.seq))
    try:
        with desk.connection.begin_nested():
            return _together(desk, in_order)
    except (InterfaceError, OperationalError):
        raise
    except Exception as fault:  # noqa: BLE001 - whichever claim's it is, the others are settled
        logger().warning("settled_apart", count=len(in_order), fault=type(fault).__name__)
    return _each(in_order, lambda row: _apart(desk, row))


def _together(desk: Desk, rows: Sequence[ClaimRow]) -> dict[str, Settled]:
    turn = _Turn(desk, rows)
    settled = _each(rows, turn.settle)
    turn.write()
    return settled


def _apart(desk: Desk, row: ClaimRow) -> Settled:
    with desk.connection.begin_nested():
        return settle(desk, row)


def _each(
    rows: Sequence[ClaimRow], settle_one: Callable[[ClaimRow], Settled]
) -> dict[str, Settled]:
    """Where each stands; what waits or cannot be settled is left.

    Raises: the first fault when no claim is without one.
    """
    found: dict[str, Settled] = {}
    faults: list[Exception] = []
    for row in rows:
        found[row.id] = Settled(ClaimState(row.state))
        try:
            found[row.id] = settle_one(row)
        except (InterfaceError, OperationalError):
            raise
        except Exception as fault:  # noqa: BLE001 - of this claim, and the others are settled
            if is_waiting(fault):
                continue
            logger().error("unsettled", claim=row.id, fault=type(fault).__name__)
            faults.append(fault)
    if faults and len(faults) == len(rows):
        raise faults[0]
    return found


def is_waiting(fault: Exception) -> bool:
    """Whether a claim was not settled because it has to wait for another; nothing is amiss then."""
    return isinstance(fault, Refused) and fault.code is grpc.StatusCode.ABORTED


class _Turn:
    """Claims that are settled one after the other, and written at the end."""

    def __init__(self, desk: Desk, rows: Sequence[ClaimRow]) -> None:
        undecided = [row for row in rows if ClaimState(row.state) in store.UNDECIDED]
        self._desk = desk
        self._at_hand = AtHand(desk, [Question(row=row) for row in undecided])
        self._effects = Effects(desk, self._at_hand.used, undecided)

    def settle(self, row: ClaimRow) -> Settled:
        if ClaimState(row.state) in store.UNDECIDED:
            return self._decide(row)
        return Settled(ClaimState(row.state), row.benefit or 0)

    def write(self) -> None:
        self._effects.write()

    def _decide(self, row: ClaimRow) -> Settled:
        """Decide an undecided claim, all its moves at once."""
        at_hand = self._at_hand
        if at_hand.around.waits_for_earlier(row):
            raise Refused(
                grpc.StatusCode.ABORTED,
                "EARLIER_CLAIM_OPEN",
                "an earlier claim of the member is not decided yet; wait",
                retry_after_s=TURN_RETRY_S,
            )
        before = _BEFORE[ClaimState(row.state)]
        try:
            inputs, decided = at_hand.decide(row)
        except (UnacceptableBill, NoTermsInForce, Erased) as fault:
            # Intake and import should have refused it, and no claim that is open is erased; one
            # may be opened again after that. A person must look, and the member's later claims
            # must not wait for it.
            logger().error("undecidable", claim=row.id, fault=type(fault).__name__)
            state = self._effects.move(row, [*before, Event.REFER_TO_REVIEW], ENGINE)
            at_hand.around.referred(row)
            return Settled(state)
        own = at_hand.own_use(row)
        state, stored = self._effects.add(row, inputs, decided, before, ENGINE, own_use=own)
        at_hand.took_effect(row, state, inputs, decided, stored)
        return Settled(state, decided.benefit)
