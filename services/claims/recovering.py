"""A paid claim taken back: what it had used up is free again, and the money is to come back."""

from __future__ import annotations

import re
from datetime import date, timedelta

import grpc

from lipei.claims.v1 import review_pb2 as pb
from services.claims import owing
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.findings import Doing, two_must_agree_on
from services.claims.policy_intake import POSSIBLE_DAYS, possible_day
from services.claims.storage import claims as store
from services.claims.storage import decisions, recoveries
from services.claims.storage.acts import ActKind, Incoming, Told, actors_of, propose
from services.claims.storage.ledger import recovered_of
from services.claims.storage.payouts import accounts_paid_from
from services.common.access.tenant import current_tenant
from services.common.refusals import Refused, Violation, invalid

# Where a claim may stand that was paid; after an appeal that changed nothing, as paid no more.
REVERSED = (ClaimState.PAID, ClaimState.CLOSED_ZERO, ClaimState.UPHELD)
# Of a bank's statement, as ISO 20022 bounds it (Max35Text).
_REFERENCE = re.compile(r"[A-Z0-9][A-Z0-9/.-]{0,34}", re.ASCII)


def reverse(doing: Doing, request: pb.ReverseClaimRequest) -> None:
    """What was paid -> reversed -> to be recovered; above the plan's threshold only propose it.

    Raises: Refused when nothing was paid.
    """
    if not doing.row.paid:
        text = "nothing of the claim was paid, so there is nothing to take back"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_PAID", text)
    act_id = doing.write(ActKind.REVERSE, Told(note=request.note, amount=doing.row.owed))
    if two_must_agree_on(doing, doing.row.owed):
        propose(doing.desk.connection, doing.row, act_id)
        return
    reversed_(doing)


def reversed_(doing: Doing) -> None:
    """The claim is taken back; whoever had to has agreed."""
    desk, row = doing.desk, doing.row
    decisions.release(desk.connection, desk.sealer, row)
    owing.claim_back(desk.connection, row, row.owed, desk.at_us)
    doing.move(
        Event.REVERSE,
        Event.OPEN_RECOVERY,
        released_us=desk.at_us,
        owed=0,
        owed_provider=0,
        recoverable=row.recoverable + row.owed,
    )


def faults_of(request: pb.RecordRecoveryRequest) -> list[Violation]:
    """Everything wrong with the bank's entry in a request, as far as no claim is needed to see."""
    faults = []
    if not _REFERENCE.fullmatch(_reference(request)):
        text = 'must be the bank\'s reference: at most 35 letters, digits and "/.-"'
        faults.append(Violation("bank_reference", "MALFORMED", text))
    if possible_day(request.value_date) is None:
        faults.append(Violation("value_date", "IMPOSSIBLE_DATE", POSSIBLE_DAYS))
    return faults


def _reference(request: pb.RecordRecoveryRequest) -> str:
    """As it is compared: statements print one reference with spaces, and in either case.

    What is not ASCII stays as it is: "ß" in capitals would be two letters of a reference.
    """
    text = "".join(request.bank_reference.split())
    return text.upper() if text.isascii() else text


def record(doing: Doing, request: pb.RecordRecoveryRequest, *, account: str) -> None:
    """So much came back: all of it makes the claim recovered, a part leaves the rest open.

    It comes to `account`, or to another one that the insurer has paid from before. Where all that
    has come back, with this, is above the plan's threshold it is only proposed: parts add up.

    Raises: Refused for another account, for nothing, for more than is to be recovered, for a day
    to come or before anything was paid, and for a transfer that is in the books.
    """
    desk, row, faults = doing.desk, doing.row, []
    amount = request.amount.minor_units
    if request.amount.currency_code != row.currency or not 0 < amount <= row.recoverable:
        text = "must be above 0 and at most what is to be recovered (Claim.recoverable)"
        faults.append(Violation("amount", "OTHER_AMOUNT", text))
    known = sorted({account, *accounts_paid_from(desk.connection)})
    if request.paying_account not in known:
        text = f"is no account of the insurer's; the accounts: {', '.join(known)}"
        faults.append(Violation("paying_account", "UNKNOWN_ACCOUNT", text))
    if why := _out_of_range(doing, date.fromisoformat(request.value_date)):
        faults.append(Violation("value_date", "OUT_OF_RANGE", why))
    if faults:
        raise invalid(faults)
    reference = _reference(request)
    if recoveries.is_used(desk.connection, current_tenant().required_insurer(), reference):
        raise _used()
    incoming = Incoming(
        account=request.paying_account, reference=reference, value_date=request.value_date
    )
    told = Told(amount=amount, incoming=incoming)
    act_id = doing.write(ActKind.RECOVER, told)
    before = recovered_of(desk.connection, [row.id]).get(row.id, 0)
    if two_must_agree_on(doing, before + amount):
        propose(desk.connection, row, act_id)
        return
    came_back(doing, told)


def _out_of_range(doing: Doing, value_date: date) -> str:
    """Why a value date cannot be one of money that came back; empty when it can."""
    today = store.today(doing.row, doing.desk.at_us)
    if value_date > today:
        return f"must not be after {today}, today"
    # A day of grace: the bank's midnight may be another than the hospital's.
    paid = store.first_paid(doing.desk.connection, doing.row)
    if paid is not None and value_date < paid - timedelta(days=1):
        return f"must not be before {paid}, when the claim was paid; look at the statement's year"
    return ""


def came_back(doing: Doing, told: Told) -> None:
    """What a transfer brought is booked; whoever had to has agreed.

    Raises: Refused when the transfer is in the books meanwhile.
    """
    desk, row = doing.desk, doing.row
    if told.incoming is None or told.amount is None:
        raise ValueError("what came back was told without its transfer")
    booked = owing.recovered(desk.connection, row, told.incoming.account, told.amount, desk.at_us)
    insurer = current_tenant().required_insurer()
    if not recoveries.keep(desk.connection, insurer, row.id, told.incoming, booked):
        raise _used()
    left = row.recoverable - told.amount
    if left:
        store.stay(desk.connection, row.id, recoverable=left)
    else:
        doing.move(Event.RECOVER, recoverable=0)


def _used() -> Refused:
    text = "this transfer is in the books already, of this claim or another; look at the statement"
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "RECOVERY_REFERENCE_USED", text)


def write_off(doing: Doing, request: pb.WriteOffRecoveryRequest) -> None:
    """To be recovered -> written off; above the plan's threshold only propose it."""
    at_stake = _at_stake(doing)
    act_id = doing.write(ActKind.WRITE_OFF, Told(note=request.note, amount=doing.row.recoverable))
    if two_must_agree_on(doing, at_stake):
        propose(doing.desk.connection, doing.row, act_id)
        return
    given_up(doing)


def _at_stake(doing: Doing) -> int:
    """What one person's word would end: the rest, or all where they recorded a part as well.

    Else who records a part brings the rest under the threshold, and gives up alone what takes two.
    """
    row = doing.row
    recorded = actors_of(doing.desk.connection, row.id, (ActKind.RECOVER,))
    return max(row.recoverable, row.paid - row.owed if doing.person in recorded else 0)


def given_up(doing: Doing) -> None:
    """What is to be recovered is given up; whoever had to has agreed."""
    owing.given_up(doing.desk.connection, doing.row, doing.desk.at_us)
    doing.move(Event.WRITE_OFF, recoverable=0)
