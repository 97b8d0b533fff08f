"""A claim decided anew after a correction, or by facts that came late: the difference is moved.

The new decision leaves its own claim's earlier one out, counts all others in force, and releases
exactly what the earlier one had used up. No other claim is decided anew.
"""

from __future__ import annotations

from typing import Any

from services.claims import owing
from services.claims.core.canonical import Inputs
from services.claims.core.decision import Decision, Disposition
from services.claims.core.intake import UnacceptableBill
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.deciding import decide, take_effect
from services.claims.desk import Desk
from services.claims.storage import claims as store
from services.claims.storage import corrections, decisions, sealed
from services.claims.storage.rows import ClaimRow
from services.common.dated import NoTermsInForce
from services.common.log import logger
from services.common.sealing import Erased

ACTOR = "correction"
_S, _E = ClaimState, Event
# A decision that owes nothing is opened again as an appeal is, by whoever brings the new facts.
_OPENED_AGAIN = (_E.APPEAL, _E.OVERTURN, _E.DECIDE_ANEW)


def adjust(desk: Desk, row: ClaimRow) -> None:
    """Let the newest version of a claim's bill take effect; or leave it to a person.

    A person is asked where money that was paid hangs on a decision that waits for facts or for a
    look, or that the engine cannot make; and where a person has cut or denied lines, which no word
    of the hospital undoes. What is owed and on no payment file yet is owed no more: the new
    decision's money is paid instead. A claim that stands where nothing can take effect, such as at
    the bank, stays as it is: the sweeper comes back once it has moved.

    Raises: Refused (ABORTED) while the same bill waits under an earlier policy.
    """
    if corrections.awaits_first_payment(row):
        row = store.hold(desk.connection, [row.id])[row.id]  # a payout run may be taking it
    if not corrections.is_adjustable(row):
        return
    try:
        inputs, decided = decide(desk, row)
    except (UnacceptableBill, NoTermsInForce, Erased) as fault:
        logger().error("undecidable", claim=row.id, fault=type(fault).__name__)
        if corrections.awaits_first_payment(row):
            row = _not_sent(desk, row, _E.REFER_TO_REVIEW)
        corrections.hold(desk.connection, row)
        return
    if corrections.awaits_first_payment(row):
        leads_to = _E.REFER_TO_REVIEW if _rests_on_a_finding(desk, row) else None
        row = _not_sent(desk, row)
        take_effect(desk, row, inputs, decided, (), ACTOR, event=leads_to)
        return
    money_hangs_on_it = row.paid and (
        decided.disposition.waits
        or not _payable_from(row, decided)
        or owing.takes_from_one_for_another(row, decided)
    )
    if money_hangs_on_it or _rests_on_a_finding(desk, row):
        corrections.hold(desk.connection, row)
    else:
        redecide(desk, row, inputs, decided, ACTOR)


def _not_sent(desk: Desk, row: ClaimRow, *then: Event) -> ClaimRow:
    """What was about to be paid is owed no more, and the claim is decided anew; as it stands then.

    Nothing of it has reached a payment file: what the new decision owes is paid instead, once.
    """
    owing.take_debt_back(desk.connection, row, desk.at_us)
    owed: dict[str, Any] = {"owed": 0, "owed_provider": 0, "blocked_until_us": None}
    moves = (_E.DECIDE_ANEW, *then)
    store.move_on(desk.connection, row.id, _S.PAYABLE, moves, ACTOR, desk.at_us, **owed)
    return store.by_id(desk.connection, row.id)


def redecide(
    desk: Desk, row: ClaimRow, inputs: Inputs, decided: Decision, actor: str
) -> ClaimState:
    """Put a decision in the place of the one in force, wherever its claim stands; the state after.

    Of a paid claim more is paid, or the difference is to be recovered. A claim that waits for a
    person goes on waiting for them; one that waits for papers goes where the decision sends it.
    """
    state = ClaimState(row.state)
    if state is _S.PENDED_INFO:
        return take_effect(desk, row, inputs, decided, (_E.RECEIVE_PAPERS,), actor)
    if state is _S.PAID and decided.benefit != row.paid:
        return _difference(desk, row, inputs, decided, actor)
    denied = decided.disposition is Disposition.DENIED
    stays = denied is (state is _S.DENIED) and decided.benefit == row.paid
    if state in (_S.DENIED, _S.CLOSED_ZERO) and (decided.disposition.waits or not stays):
        before: tuple[Event, ...] = _OPENED_AGAIN
        if inputs.review is not None and not decided.disposition.waits:
            before = (*before, _E.REFER_TO_REVIEW)
        return take_effect(desk, row, inputs, decided, before, actor)
    _in_place(desk, row, inputs, decided)
    return state


def _rests_on_a_finding(desk: Desk, row: ClaimRow) -> bool:
    """Whether a person's word on lines is in force; one who has a claim before them decides."""
    if row.decision_id is None or ClaimState(row.state) in store.PENDED:
        return False
    stored = decisions.in_force(desk.connection, row)
    review = sealed.open_inputs(desk.sealer, stored).review
    return review is not None and bool(review.lines)


def _payable_from(row: ClaimRow, decided: Decision) -> bool:
    """Whether the table of moves leads from here to the decision's money.

    A claim that an appeal has closed owes more, and nothing back.
    """
    return ClaimState(row.state) is _S.PAID or decided.benefit >= row.paid


def _difference(
    desk: Desk, row: ClaimRow, inputs: Inputs, decided: Decision, actor: str
) -> ClaimState:
    connection, at_us = desk.connection, desk.at_us
    decision_id = decisions.store_decision(connection, desk.sealer, row, inputs, decided, at_us)
    columns: dict[str, Any] = {
        "owed": decided.benefit,
        "owed_provider": owing.to_provider(decided),
    }
    if decided.benefit > row.paid:
        event = owing.owe(connection, row, decision_id, decided.benefit, at_us)
    else:
        event = _E.OPEN_RECOVERY
        too_much = row.owed - decided.benefit
        owing.claim_back(connection, row, too_much, at_us)
        columns["recoverable"] = row.recoverable + too_much
    return store.move_on(
        connection,
        row.id,
        ClaimState(row.state),
        [_E.ADJUST, event],
        actor,
        at_us,
        **_of_decision(desk, row, decision_id, decided),
        **columns,
    )


def _in_place(desk: Desk, row: ClaimRow, inputs: Inputs, decided: Decision) -> None:
    connection = desk.connection
    decision_id = decisions.store_decision(
        connection, desk.sealer, row, inputs, decided, desk.at_us
    )
    store.stay(connection, row.id, **_of_decision(desk, row, decision_id, decided))


def _of_decision(desk: Desk, row: ClaimRow, decision_id: str, decided: Decision) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "benefit": decided.benefit,
        "decided_us": desk.at_us,
        "released_us": None,
        "adjusted": row.adjustments,
    }
