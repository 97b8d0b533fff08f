"""A paid claim taken back: what it had used up is free again, and the money is to come back."""

from __future__ import annotations

from lipei.claims.v1 import review_pb2 as pb
from services.claims import owing
from services.claims.core.ledger import InvalidTransfers
from services.claims.core.life_cycle import Event
from services.claims.findings import Doing
from services.claims.storage import decisions
from services.claims.storage.acts import ActKind, Told
from services.common.refusals import Violation, invalid


def reverse(doing: Doing, request: pb.ReverseClaimRequest) -> None:
    """Paid -> reversed -> to be recovered."""
    desk, row = doing.desk, doing.row
    doing.write(ActKind.REVERSE, Told(note=request.note))
    decisions.release(desk.connection, desk.sealer, row)
    owing.claim_back(desk.connection, row, row.owed, desk.at_us)
    doing.move(
        Event.REVERSE,
        Event.OPEN_RECOVERY,
        released_us=desk.at_us,
        owed=0,
        recoverable=row.recoverable + row.owed,
    )


def record(doing: Doing, request: pb.RecordRecoveryRequest) -> None:
    """To be recovered -> recovered. Only all of it closes the claim.

    Raises: Refused when another amount came, or to no account.
    """
    row, faults = doing.row, []
    whole = (row.recoverable, row.currency)
    if (request.amount.minor_units, request.amount.currency_code) != whole:
        text = "must be all that is to be recovered (Claim.recoverable)"
        faults.append(Violation("amount", "OTHER_AMOUNT", text))
    try:
        owing.recovered(doing.desk.connection, row, request.paying_account, doing.desk.at_us)
    except InvalidTransfers:
        text = 'name the account that the money came to, for example "main"'
        faults.append(Violation("paying_account", "MALFORMED", text))
    if faults:
        raise invalid(faults)
    doing.write(ActKind.RECOVER, Told())
    doing.move(Event.RECOVER, recoverable=0)


def write_off(doing: Doing, request: pb.WriteOffRecoveryRequest) -> None:
    """To be recovered -> written off."""
    doing.write(ActKind.WRITE_OFF, Told(note=request.note))
    owing.given_up(doing.desk.connection, doing.row, doing.desk.at_us)
    doing.move(Event.WRITE_OFF, recoverable=0)
