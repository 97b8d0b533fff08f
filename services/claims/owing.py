"""Booking what a claim costs, as its decisions change: owed, taken back, to be recovered."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from services.claims.core import ledger
from services.claims.core.decision import Decision, Payee
from services.claims.core.ledger import INCURRED, PAYABLE, RECOVERABLE, WRITTEN_OFF
from services.claims.core.life_cycle import Event
from services.claims.storage.ledger import post_transfers
from services.claims.storage.rows import ClaimRow


def to_provider(decided: Decision) -> int:
    """What of the benefit the plan pays to the provider, in minor units; the rest is the member's.

    >>> from services.claims.core.decision import Decision, Disposition
    >>> to_provider(
    ...     Decision(
    ...         plan_version="",
    ...         engine_version="",
    ...         input_hash="",
    ...         output_hash="",
    ...         disposition=Disposition.DENIED,
    ...         currency="CNY",
    ...         billed=0,
    ...         allowed=0,
    ...         benefit=0,
    ...         lines=(),
    ...     )
    ... )
    0
    """
    return sum(line.benefit for line in decided.lines if line.payee is Payee.PROVIDER)


def dues(row: ClaimRow) -> dict[Payee, int]:
    """What each of a claim's payees has still to get; below 0 what they have too much."""
    return _dues(row, row.owed, row.owed_provider)


def takes_from_one_for_another(row: ClaimRow, decided: Decision) -> bool:
    """Whether a decision leaves one payee with too much of what was paid and owes another more.

    One account's money does not pay another's debt, and no move leads both ways.
    """
    found = _dues(row, decided.benefit, to_provider(decided)).values()
    return min(found) < 0 < max(found)


def _dues(row: ClaimRow, owed: int, owed_provider: int) -> dict[Payee, int]:
    return {
        Payee.MEMBER: owed - owed_provider - (row.paid - row.paid_provider),
        Payee.PROVIDER: owed_provider - row.paid_provider,
    }


def owe(connection: Connection, row: ClaimRow, decision_id: str, benefit: int, at_us: int) -> Event:
    """Book what a decision owes above what is booked already; the move that follows from it."""
    event, owed = debt(row, decision_id, benefit)
    if owed is not None:
        post_transfers(connection, [owed], at_us=at_us)
    return event


def debt(row: ClaimRow, decision_id: str, benefit: int) -> tuple[Event, ledger.Transfer | None]:
    """The move that follows from what a decision owes, and what is to be booked of it."""
    if benefit <= row.paid:
        return Event.CLOSE_WITHOUT_PAYMENT, None
    more = benefit - row.owed
    if not more:  # booked, and not paid
        return Event.RELEASE_PAYMENT, None
    owed = ledger.owe(
        transfer_id=uuid.uuid4().hex,
        claim_id=row.id,
        decision_id=decision_id,
        amount=more,
        currency=row.currency,
    )
    return Event.RELEASE_PAYMENT, owed


def take_debt_back(connection: Connection, row: ClaimRow, at_us: int) -> None:
    """What is owed and not paid is owed no more."""
    if row.owed > row.paid:
        _book(connection, row, "cancel", PAYABLE, INCURRED, row.owed - row.paid, at_us)


def claim_back(connection: Connection, row: ClaimRow, amount: int, at_us: int) -> None:
    """So much of what was paid under the decision in force is no cost any more, and comes back."""
    _book(connection, row, "reverse", RECOVERABLE, INCURRED, amount, at_us)


def recovered(
    connection: Connection, row: ClaimRow, paying_account: str, amount: int, at_us: int
) -> str:
    """So much of what was to come back has come, each time booked by itself; the booking's id."""
    bank = ledger.bank_account(paying_account)
    return _book(connection, row, "recover", bank, RECOVERABLE, amount, at_us)


def given_up(connection: Connection, row: ClaimRow, at_us: int) -> None:
    """What has not come back never will."""
    _book(connection, row, "write-off", WRITTEN_OFF, RECOVERABLE, row.recoverable, at_us)


def _book(
    connection: Connection,
    row: ClaimRow,
    what: str,
    debit: str,
    credit: str,
    amount: int,
    at_us: int,
) -> str:
    # One decision may be given up, or come back, more than once: a correction's part, and the rest
    # with the bill. Whatever is booked moves the claim's revision on, so a key is never used twice.
    made = ledger.posted(
        f"{what}/{row.revision}/{row.decision_id}",
        debit=debit,
        credit=credit,
        transfer_id=uuid.uuid4().hex,
        claim_id=row.id,
        amount=amount,
        currency=row.currency,
    )
    post_transfers(connection, [made], at_us=at_us)
    return made.id
