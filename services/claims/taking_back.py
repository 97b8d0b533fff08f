"""A hospital takes a whole bill back (冲红): every claim that rests on it ends, exactly undone."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from sqlalchemy import Connection

from lipei.type.v1 import bill_pb2
from services.claims import owing
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.desk import Desk
from services.claims.storage import claims as store
from services.claims.storage import coordination, decisions
from services.claims.storage.rows import ClaimRow
from services.common.access.tenant import Tenant
from services.common.refusals import Refused
from services.common.sealing import Erased, Sealer

ACTOR = "hospital"
# A hospital's worker hands its other bills over after this one.
BANK_RETRY_S = 5.0
_S, _E = ClaimState, Event
_UNPAID_ENDS = (_S.DENIED, _S.CLOSED_ZERO, _S.UPHELD, _S.APPEALED, _S.OVERTURNED)
# What leads out of each state while nothing was paid: the claim is over.
_UNPAID: dict[ClaimState, tuple[Event, ...]] = {
    **dict.fromkeys(
        (*store.UNDECIDED, *store.PENDED, _S.AUTO_APPROVED, _S.APPROVED, _S.PAYABLE), (_E.WITHDRAW,)
    ),
    **dict.fromkeys((_S.PAYMENT_FAILED, _S.RETURNED), (_E.RETRY_PAYMENT, _E.WITHDRAW)),
    **dict.fromkeys(_UNPAID_ENDS, (_E.WITHDRAW,)),
}
# And once money was paid, which is to come back.
_BACK = (_E.REVERSE, _E.OPEN_RECOVERY)
_PAID: dict[ClaimState, tuple[Event, ...]] = {
    **dict.fromkeys((*store.PENDED, _S.PAYABLE, _S.PAYMENT_FAILED, _S.PAID), _BACK),
    **dict.fromkeys((_S.CLOSED_INCOMPLETE, _S.CLOSED_ZERO, _S.UPHELD), _BACK),
    **dict.fromkeys((_S.RECOVERED, _S.WRITTEN_OFF), _BACK),
    **dict.fromkeys((_S.AUTO_APPROVED, _S.APPROVED), (_E.RELEASE_PAYMENT, *_BACK)),
    _S.RECOVERY_OPEN: (),  # a part is to come back already, and the rest with it
}


def take_back(desk: Desk, tenant: Tenant, bill: bill_pb2.Bill) -> Sequence[tuple[str, str]]:
    """End all claims of the tenant that rest on the bill; their names. All or none.

    What is not paid is withdrawn, what is paid is to be recovered. Repeating it changes nothing.

    Raises: Refused when no claim rests on it, the bank has its payment, or one that was paid is
    appealed.
    """
    connection, sealer = desk.connection, desk.sealer
    rows = _claims(connection, sealer, tenant, bill)
    if store.lock(connection, (row.policy_id for row in rows), (row.person_id for row in rows)):
        rows = _claims(connection, sealer, tenant, bill)
        held = store.hold(connection, (row.id for row in rows))  # from payout runs
        rows = [held[row.id] for row in rows]
    if not rows:
        text = "no claim rests on this bill; there is nothing to take back"
        raise Refused(grpc.StatusCode.NOT_FOUND, "BILL_UNKNOWN", text)
    try:
        for row in rows:
            _undo(connection, sealer, row, desk.at_us)
    except Erased:
        text = "the person's data was erased; stop"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "ERASED", text) from None
    return [(row.policy_id, row.id) for row in rows]


def _claims(
    connection: Connection, sealer: Sealer, tenant: Tenant, bill: bill_pb2.Bill
) -> Sequence[ClaimRow]:
    rows = coordination.claims_of_bill(
        connection, sealer, bill.provider_id, bill.bill_number, tenant.insurer
    )
    if tenant.hospital is not None and any(row.hospital != tenant.hospital for row in rows):
        return []
    return rows


def _undo(connection: Connection, sealer: Sealer, row: ClaimRow, at_us: int) -> None:
    """End one claim; one that ended before, or was reversed by a person, has no money to undo.

    Its decision may be in force all the same, where a person adjusted away all that was paid.
    """
    if row.reversed_us is not None:
        return
    state = ClaimState(row.state)
    if state is _S.PAYMENT_SENT:
        raise Refused(
            grpc.StatusCode.ABORTED,
            "PAYMENT_UNDER_WAY",
            "the bank has the payment; wait for its word and repeat",
            retry_after_s=BANK_RETRY_S,
        )
    if state is _S.APPEALED and (row.paid or row.recoverable):
        text = "money was paid on the claim and it is appealed; its appeal is decided first"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "APPEAL_OPEN", text)
    back = min(row.owed, row.paid)
    moves = _PAID[state] if back else _UNPAID.get(state, ())
    decisions.release(connection, sealer, row)
    if not moves and not back:
        released_us = at_us if row.released_us is None else row.released_us
        store.stay(connection, row.id, released_us=released_us, reversed_us=at_us)
        return
    owing.take_debt_back(connection, row, at_us)
    columns = {"released_us": at_us, "reversed_us": at_us, "owed": 0, "owed_provider": 0}
    if back:
        owing.claim_back(connection, row, back, at_us)
        columns["recoverable"] = row.recoverable + back
    if moves:
        store.move_on(connection, row.id, state, moves, ACTOR, at_us, **columns)
    else:
        store.stay(connection, row.id, **columns)
