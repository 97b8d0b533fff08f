"""The steps of paying: gather payables into a file, then hand it to the bank.

What the bank answers is read in bank_answers. Each step is safe to repeat and to kill at any line.
The rule against double payment: a file is marked as leaving, and that is committed, before its
first byte leaves; whoever finds that mark asks the bank before anything else. What is sent again is
the same file, byte by byte, with the same ids, and only after the bank has said that it never
received it. Knows no gRPC, and no clock.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from services.claims.core.decision import Payee
from services.claims.core.ledger import Transfer, begin_payment
from services.claims.core.life_cycle import Event
from services.claims.payouts import iso20022
from services.claims.payouts.bank import Bank, BankKnowledge, BankUnreachable, SendOutcome
from services.claims.storage import payouts as stored
from services.claims.storage.ledger import post_transfers
from services.claims.storage.payout_tables import UNSENT, FileState, PayoutState
from services.claims.storage.payouts import PaymentFile, Payout
from services.claims.storage.sealed import paying_subject
from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys

# An attempt ends within payouts.bank.TIMEOUT_S. Until then its bytes may still be on their way, and
# the bank's "never received" is not yet true of them.
RESEND_AFTER_S = 30


class UnknownPaymentFile(LookupError):
    """No file has this message id."""


class PayingAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the insurer that pays. `zone` decides on which day payments are asked for."""

    name: str
    debtor: iso20022.Party
    zone: str = "Asia/Shanghai"


class Payable(msgspec.Struct, frozen=True, kw_only=True):
    """What one payee of a claim is owed, and the account that is to have it."""

    claim_id: str
    amount: int
    currency: str
    payee: iso20022.Party
    recipient: Payee = Payee.MEMBER


class Unpayable(msgspec.Struct, frozen=True, kw_only=True):
    """A payable claim that no bank could pay. It stays payable until somebody mends it."""

    claim_id: str
    faults: tuple[iso20022.Fault, ...]


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """What one gathering did. The message id is empty when nothing could be paid."""

    message_id: str = ""
    payouts: int = 0
    unpayable: tuple[Unpayable, ...] = ()


class Sending(StrEnum):
    """Where a file is after a step."""

    WITH_BANK = "with_bank"
    NOT_SENT = "not_sent"  # no connection: the bank has nothing of this attempt; repeat at will
    STILL_UNKNOWN = "still_unknown"  # wait, then repeat: it asks the bank again


# Up to so many payable claims, oldest first, their rows locked on PostgreSQL (SKIP LOCKED).
Payables = Callable[[Connection, int], Sequence[Payable]]
# Moves the payout's claim in the same transaction; raises IllegalMove when its state forbids it.
MoveClaim = Callable[[Connection, Payout, Event, int], None]


def gather(
    connection: Connection,
    paying: PayingAccount,
    sealer: Sealer,
    *,
    payables: Payables,
    move_claim: MoveClaim,
    at_us: int,
    limit: int = iso20022.MAX_TRANSFERS,
) -> Gathered:
    """Put payables on one prepared file, each with its pending transfer and end-to-end id.

    Sends nothing. Claims move to payment_sent here, so that no later step can gather them again.
    """
    chosen: list[tuple[Payable, Payout, iso20022.CreditTransfer]] = []
    unpayable: list[Unpayable] = []
    message_id = f"F{uuid.uuid4().hex[:30]}"
    found = payables(connection, min(limit, iso20022.MAX_TRANSFERS))
    attempts = stored.next_attempts(connection, [payable.claim_id for payable in found])
    for payable in found:
        payout = _payout(payable, attempts[payable.claim_id], message_id)
        attempts[payable.claim_id] += 1
        transfer = iso20022.CreditTransfer(
            end_to_end_id=payout.end_to_end_id,
            amount=payable.amount,
            currency=payable.currency,
            creditor=payable.payee,
        )
        faults = iso20022.transfer_faults(transfer, "payable")
        if faults:
            unpayable.append(Unpayable(claim_id=payable.claim_id, faults=tuple(faults)))
        else:
            chosen.append((payable, payout, transfer))
    # All payees of a claim go on one file, so that it is paid when both are.
    left = {one.claim_id for one in unpayable}
    chosen = [one for one in chosen if one[0].claim_id not in left]
    if not chosen:
        return Gathered(unpayable=tuple(unpayable))
    payouts = [payout for _, payout, _ in chosen]
    data = _order_bytes(paying, message_id, [transfer for _, _, transfer in chosen], at_us)
    post_transfers(connection, [_pending(paying, payout) for payout in payouts], at_us)
    stored.store_file(
        connection,
        message_id=message_id,
        paying_account=paying.name,
        sealed=sealer.seal(data, **_file_place(message_id, paying.name)),
        sha256=hashlib.sha256(data).hexdigest(),
        payouts=payouts,
        at_us=at_us,
    )
    for payout in {payout.claim_id: payout for payout in reversed(payouts)}.values():
        move_claim(connection, payout, Event.SEND_PAYMENT, at_us)
    return Gathered(message_id=message_id, payouts=len(payouts), unpayable=tuple(unpayable))


async def send_file(
    database: Database, bank: Bank, keys: SubjectKeys, message_id: str, at_us: int
) -> Sending:
    """Hand a prepared file to the bank, at most once as far as the bank is concerned.

    A file whose outcome is unknown is asked for; it leaves again, unchanged, only when the bank
    never received it and the attempt before is over for certain. Holds no transaction and no
    thread while the bank takes its time.

    Raises: UnknownPaymentFile.
    """
    file = await database.run(_begin, database, message_id, at_us, None)
    if file.state in (FileState.SENT, FileState.ANSWERED):
        return Sending.WITH_BANK
    first = file.state is FileState.PREPARED
    if not first:
        knowledge = await _ask(database, bank, message_id, at_us)
        if knowledge is BankKnowledge.KNOWN:
            return Sending.WITH_BANK
        if knowledge is None or _may_be_on_its_way(file, at_us):
            return Sending.STILL_UNKNOWN
        again = await database.run(_begin, database, message_id, at_us, file.attempts)
        if again.attempts != file.attempts or again.state not in UNSENT:
            return Sending.STILL_UNKNOWN  # somebody else sends it, or has heard of it
    data = await database.run(_opened, database, keys, file)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise RuntimeError(f"the bytes of payment file {message_id} are not what was prepared")
    outcome = await bank.send(data, message_id)
    if outcome is SendOutcome.ACCEPTED:
        await database.run(_note_sent, database, message_id, at_us)
        return Sending.WITH_BANK
    # After an earlier doubt a refused connection clears up nothing about the earlier attempt.
    clean = outcome is SendOutcome.NOT_SENT and first
    state = FileState.PREPARED if clean else FileState.UNKNOWN
    await database.run(_note_over, database, message_id, file.attempts + 1, state)
    if outcome is SendOutcome.NOT_SENT:
        return Sending.NOT_SENT
    if await _ask(database, bank, message_id, at_us) is BankKnowledge.KNOWN:
        return Sending.WITH_BANK
    return Sending.STILL_UNKNOWN


def end_to_end_id(claim_id: str, attempt: int) -> str:
    """The id of a claim's payout: the same for whoever computes it, another for another attempt."""
    return "LP" + hashlib.sha256(f"payout/{claim_id}/{attempt}".encode()).hexdigest()[:30]


def _payout(payable: Payable, attempt: int, message_id: str) -> Payout:
    return Payout(
        id=uuid.uuid4().hex,
        claim_id=payable.claim_id,
        attempt=attempt,
        payee=payable.recipient,
        amount=payable.amount,
        currency=payable.currency,
        end_to_end_id=end_to_end_id(payable.claim_id, attempt),
        pending_transfer_id=uuid.uuid4().hex,
        message_id=message_id,
        state=PayoutState.OPEN,
    )


def _pending(paying: PayingAccount, payout: Payout) -> Transfer:
    return begin_payment(
        transfer_id=payout.pending_transfer_id,
        end_to_end_id=payout.end_to_end_id,
        paying_account=paying.name,
        amount=payout.amount,
        currency=payout.currency,
    )


def _order_bytes(
    paying: PayingAccount,
    message_id: str,
    transfers: Sequence[iso20022.CreditTransfer],
    at_us: int,
) -> bytes:
    created = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return iso20022.write_order(
        iso20022.PaymentOrder(
            message_id=message_id,
            created=created,
            execution_date=created.astimezone(ZoneInfo(paying.zone)).date(),
            debtor=paying.debtor,
            transfers=tuple(transfers),
        )
    )


def _file_place(message_id: str, paying_account: str) -> dict[str, str]:
    return {
        "table": "payment_file",
        "column": "sealed",
        "row": message_id,
        "subject": paying_subject(paying_account),
    }


def _opened(database: Database, keys: SubjectKeys, file: PaymentFile) -> bytes:
    with database.reading() as connection:
        place = _file_place(file.message_id, file.paying_account)
        return keys.sealer(connection).open(file.sealed, **place)


def _begin(
    database: Database, message_id: str, at_us: int, expected_attempts: int | None
) -> PaymentFile:
    """Mark the file as leaving if it may leave; the file as it was before.

    It may when it never left, or when nobody has tried since the caller counted the attempts.
    """
    with database.writing() as connection:
        file = stored.find_file(connection, message_id)
        if file is None:
            raise UnknownPaymentFile(message_id)
        if expected_attempts is None:
            may_leave = file.state is FileState.PREPARED
        else:
            may_leave = file.state in UNSENT and file.attempts == expected_attempts
        if may_leave:
            stored.begin_attempt(connection, file, at_us)
        return file


def _may_be_on_its_way(file: PaymentFile, at_us: int) -> bool:
    return file.attempted_us is None or at_us - file.attempted_us < RESEND_AFTER_S * 1_000_000


async def _ask(database: Database, bank: Bank, message_id: str, at_us: int) -> BankKnowledge | None:
    """What the bank knows, noted if it has the file; None when it cannot be asked."""
    try:
        knowledge = await bank.ask(message_id)
    except BankUnreachable:
        return None
    if knowledge is BankKnowledge.KNOWN:
        await database.run(_note_sent, database, message_id, at_us)
    return knowledge


def _note_sent(database: Database, message_id: str, at_us: int) -> None:
    with database.writing() as connection:
        stored.note_sent(connection, message_id, at_us)


def _note_over(database: Database, message_id: str, attempt: int, state: FileState) -> None:
    with database.writing() as connection:
        stored.note_attempt_over(connection, message_id, attempt, state)
