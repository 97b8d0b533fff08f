"""A hospital takes a whole bill back (冲红): every claim that rests on it ends, exactly undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from sqlalchemy import Connection, Row

from lipei.type.v1 import bill_pb2
from services.claims import owing
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.storage import claims as store
from services.claims.storage import coordination, decisions
from services.common.access.tenant import Tenant
from services.common.refusals import Refused
from services.common.sealing import Erased, Sealer

ACTOR = "hospital"
# A hospital's worker hands its other bills over after this one.
BANK_RETRY_S = 5.0
_S, _E = ClaimState, Event
# What leads out of each state; nothing where the money never moved and nothing is owed.
_MOVES: dict[ClaimState, tuple[Event, ...]] = {
    **dict.fromkeys(
        (*store.UNDECIDED, *store.PENDED, _S.AUTO_APPROVED, _S.APPROVED, _S.PAYABLE), (_E.WITHDRAW,)
    ),
    **dict.fromkeys((_S.PAYMENT_FAILED, _S.RETURNED), (_E.RETRY_PAYMENT, _E.WITHDRAW)),
    _S.PAID: (_E.REVERSE, _E.OPEN_RECOVERY),
    **dict.fromkeys((_S.DENIED, _S.CLOSED_ZERO, _S.UPHELD), ()),
}
# Closed by a reversal, a withdrawal or for want of papers: nothing is left to undo.
_OVER = (
    *(_S.REVERSED, _S.RECOVERY_OPEN, _S.RECOVERED, _S.WRITTEN_OFF),
    *(_S.WITHDRAWN, _S.CLOSED_INCOMPLETE),
)
# After a correction, what is not to come back is owed still.
_PARTLY = (_S.RECOVERY_OPEN, _S.RECOVERED, _S.WRITTEN_OFF)


def take_back(
    connection: Connection, sealer: Sealer, tenant: Tenant, bill: bill_pb2.Bill, at_us: int
) -> Sequence[tuple[str, str]]:
    """End all claims of the tenant that rest on the bill; their names. All or none.

    What is not paid is withdrawn, what is paid is to be recovered; a decision that paid nothing is
    no longer in force. Repeating it changes nothing.

    Raises: Refused when no claim rests on it, the bank has its payment, or it is appealed.
    """
    rows = _claims(connection, sealer, tenant, bill)
    if store.lock(connection, (row.policy_id for row in rows), (row.person_id for row in rows)):
        rows = _claims(connection, sealer, tenant, bill)
    if not rows:
        text = "no claim rests on this bill; there is nothing to take back"
        raise Refused(grpc.StatusCode.NOT_FOUND, "BILL_UNKNOWN", text)
    try:
        for row in rows:
            _undo(connection, sealer, row, at_us)
    except Erased:
        text = "the person's data was erased; stop"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "ERASED", text) from None
    return [(row.policy_id, row.id) for row in rows]


def _claims(
    connection: Connection, sealer: Sealer, tenant: Tenant, bill: bill_pb2.Bill
) -> Sequence[Row[Any]]:
    rows = coordination.claims_of_bill(
        connection, sealer, bill.provider_id, bill.bill_number, tenant.insurer
    )
    if tenant.hospital is not None and any(row.hospital != tenant.hospital for row in rows):
        return []
    return rows


def _undo_the_rest(connection: Connection, sealer: Sealer, row: Row[Any], at_us: int) -> None:
    """A corrected claim's decision is in force though a part of its money is to come back."""
    if ClaimState(row.state) is not ClaimState.RECOVERY_OPEN:
        text = "the claim is closed for good; people must settle what is left of it"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "CLAIM_CLOSED", text)
    decisions.release(connection, sealer, row)
    owing.claim_back(connection, row, row.owed, at_us)
    back = row.recoverable + row.owed
    store.stay(connection, row.id, released_us=at_us, owed=0, recoverable=back)


def _undo(connection: Connection, sealer: Sealer, row: Row[Any], at_us: int) -> None:
    state = ClaimState(row.state)
    if state in _PARTLY and row.owed:
        _undo_the_rest(connection, sealer, row, at_us)
        return
    if state in _OVER or (not _MOVES.get(state, (state,)) and row.released_us is not None):
        return
    about_to_be_paid = state is ClaimState.PAYABLE and row.blocked_until_us is None
    if state is ClaimState.PAYMENT_SENT or (about_to_be_paid and row.paid):
        raise Refused(
            grpc.StatusCode.ABORTED,
            "PAYMENT_UNDER_WAY",
            "the bank has the payment; wait for its word and repeat",
            retry_after_s=BANK_RETRY_S,
        )
    moves = _MOVES.get(state)
    if moves and moves[-1] is Event.WITHDRAW and row.paid:
        text = (
            "a part of it was paid, and no move leads from here to its recovery; people must end it"
        )
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "PARTLY_PAID", text)
    if not moves and moves is not None and row.owed:
        text = "an appeal has closed the claim after it was paid; people must settle what was paid"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "CLAIM_CLOSED", text)
    if moves is None:
        text = "the claim is appealed; its appeal is decided first"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "APPEAL_OPEN", text)
    decisions.release(connection, sealer, row)
    if not moves:
        decisions.void_decision(connection, row.id, at_us)
        return
    columns: dict[str, Any] = {"released_us": at_us, "owed": 0}
    if moves[-1] is Event.OPEN_RECOVERY:
        owing.claim_back(connection, row, row.owed, at_us)
        columns["recoverable"] = row.recoverable + row.owed
    else:
        owing.take_debt_back(connection, row, at_us)
    store.move_on(connection, row.id, state, moves, ACTOR, at_us, **columns)
