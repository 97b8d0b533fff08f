"""Reading what the bank answers: each file is kept as it came, then does what it says, once.

Only ACSC pays and only RJCT fails. A rejection as duplicate says that the bank has the payment
already: it is no outcome, and the bank is asked for a fresh report. A word that contradicts what is
known changes nothing and is named as a fault for a person. Knows no gRPC, and no clock.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import msgspec
from sqlalchemy import Connection

from services.claims.core.ledger import Kind
from services.claims.core.life_cycle import Event, IllegalMove
from services.claims.payouts import iso20022
from services.claims.payouts.bank import Bank
from services.claims.payouts.iso20022 import PaymentStatus, StatusReport
from services.claims.storage import payouts as stored
from services.claims.storage.ledger import resolve
from services.claims.storage.payout_tables import PayoutState
from services.claims.storage.payouts import Payout, StoredAnswer
from services.claims.storage.sealed import paying_subject
from services.common.database import Database
from services.common.money import format_minor
from services.common.sealing import CannotOpen, SubjectKeys

# Payments in one transaction: some 0.2 s of SQLite's only writer.
_PAYMENTS_A_TRANSACTION = 100
_ANSWERS_AT_ONCE = 20
# On the way. ACCC, settled on the payee's account, follows an ACSC: paid is ACSC.
_ON_THE_WAY = frozenset(
    {"RCVD", "PDNG", "ACTC", "ACCP", "ACSP", "ACWC", "ACWP", "ACFC", "ACCC", "PATC"}
)

# Moves the payout's claim in the same transaction; raises IllegalMove when its state forbids it.
MoveClaim = Callable[[Connection, Payout, Event, int], None]


class AnswersRead(msgspec.Struct, frozen=True, kw_only=True):
    """What the bank's answers did: payouts paid and failed now, and how many are still open.

    Faults name codes and ids, never people; each needs a person's look.
    """

    paid: int
    failed: int
    open: int
    faults: tuple[str, ...]


async def read_answers(
    database: Database,
    bank: Bank,
    keys: SubjectKeys,
    paying_account: str,
    *,
    move_claim: MoveClaim,
    at_us: int,
) -> AnswersRead:
    """Take the bank's new files in, then let each do what it says: once, whoever repeats it.

    Claims move in the transaction that posts or voids their transfer. A file that cannot be read
    waits with its bytes, and the others go on.

    Raises: BankUnreachable; what was taken in before stays and is read next time.
    """
    reader = _Reader(database, keys, move_claim, at_us)
    while True:
        after = await database.run(_cursor, database, paying_account)
        files = [(answer.id, answer.data) for answer in await bank.answers(after)]
        if not files:
            break
        await database.run(reader.take_in, paying_account, files)
    await database.run(reader.read_all)
    for message_id in await database.run(_in_doubt, database, paying_account):
        report = [("", await bank.report(message_id))]
        await database.run(reader.take_in, paying_account, report)
    await database.run(reader.read_all)
    still_open = await database.run(_open, database, paying_account)
    return AnswersRead(
        paid=reader.paid, failed=reader.failed, open=still_open, faults=tuple(reader.faults)
    )


class _Reader:
    """Takes files in and reads them; tells what they did, and what could not be used of them."""

    def __init__(
        self, database: Database, keys: SubjectKeys, move_claim: MoveClaim, at_us: int
    ) -> None:
        self._database = database
        self._keys = keys
        self._move_claim = move_claim
        self._at_us = at_us
        self.paid = self.failed = 0
        self.faults: list[str] = []

    def take_in(self, paying_account: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Keep files and move the cursor in one transaction, before anybody looks into them.

        A file that was asked for has no place in the stream (an empty id) and moves no cursor.
        """
        with self._database.writing() as connection:
            sealer = self._keys.sealer(connection)
            for answer_id, data in files:
                sha256 = hashlib.sha256(data).hexdigest()
                stored.store_answer(
                    connection,
                    sha256=sha256,
                    paying_account=paying_account,
                    answer_id=answer_id,
                    sealed=sealer.seal(data, **_place(sha256, paying_account)),
                    at_us=self._at_us,
                )
            if files[-1][0]:
                stored.move_cursor(connection, paying_account, files[-1][0])

    def read_all(self) -> None:
        """Let every file that nobody has read do what it says."""
        while True:
            with self._database.reading() as connection:
                waiting = stored.unread_answers(connection, _ANSWERS_AT_ONCE)
            for answer in waiting:
                self._read(answer)
            if not waiting:
                return

    def _read(self, answer: StoredAnswer) -> None:
        try:
            with self._database.reading() as connection:
                place = _place(answer.sha256, answer.paying_account)
                data = self._keys.sealer(connection).open(answer.sealed, **place)
            report = iso20022.read_report(data)
        except CannotOpen:
            faults = [f"CANNOT_OPEN answer {answer.seq}"]
        except iso20022.InvalidDocument as error:
            faults = [f"{each.reason} answer {answer.seq}: {each.path}" for each in error.faults]
        else:
            faults = self._apply_all(report)
        with self._database.writing() as connection:
            stored.finish_answer(connection, answer.seq, faults, self._at_us)
        self.faults += faults

    def _apply_all(self, report: StatusReport) -> list[str]:
        """Let the report do what it says; what could not be used of it."""
        with self._database.reading() as connection:
            on_file = stored.payouts_of_file(connection, report.order_id)
        faults = [] if on_file else [f"UNKNOWN_ORDER {_printable(report.order_id)}"]
        said = list(_every_payment(report, on_file))
        for start in range(0, len(said), _PAYMENTS_A_TRANSACTION):
            part = said[start : start + _PAYMENTS_A_TRANSACTION]
            with self._database.writing() as connection:
                ids = [status.end_to_end_id for status in part]
                known = stored.payouts_by_end_to_end(connection, ids)
                for status in part:
                    payout = known.get(status.end_to_end_id)
                    fault = _mismatch(payout, status, report)
                    if payout is None or fault:
                        faults.append(f"{fault} {_printable(status.end_to_end_id)}")
                    elif fault := self._apply(connection, payout, status):
                        faults.append(f"{fault} {payout.end_to_end_id}")
        if on_file:
            with self._database.writing() as connection:
                stored.note_answered(connection, report.order_id, self._at_us)
        return faults

    def _apply(self, connection: Connection, payout: Payout, status: PaymentStatus) -> str:
        """Let one word about a payout take effect; what of it a person must look at, or ""."""
        duplicate = [reason for reason in status.reasons if reason in iso20022.DUPLICATE_REASONS]
        rejected = status.status == iso20022.REJECTED
        reason = ",".join(status.reasons)[:80]
        if status.status in _ON_THE_WAY or (rejected and duplicate):
            reason = duplicate[0] if duplicate else reason
            stored.note_status(connection, payout.id, status.status, reason)
            return ""
        if status.status == iso20022.SETTLED:
            outcome, kind, event = PayoutState.PAID, Kind.POST, Event.CONFIRM_PAYMENT
        elif rejected:
            outcome, kind, event = PayoutState.FAILED, Kind.VOID, Event.REFUSE_PAYMENT
        else:
            # A cancellation, a hold or a code from later years.
            stored.note_status(connection, payout.id, status.status, reason)
            return f"UNKNOWN_STATUS {_printable(status.status)}"
        if not stored.close_payout(
            connection, payout.id, outcome, status.status, reason, self._at_us
        ):
            contradicts = payout.state is not outcome
            return f"CONTRADICTION {payout.state} {status.status}" if contradicts else ""
        resolve(
            connection,
            payout.pending_transfer_id,
            kind,
            transfer_id=uuid.uuid4().hex,
            at_us=self._at_us,
        )
        self.paid += outcome is PayoutState.PAID
        self.failed += outcome is PayoutState.FAILED
        try:
            # The books follow the bank even where the claim cannot: the money has moved.
            with connection.begin_nested():
                self._move_claim(connection, payout, event, self._at_us)
        except IllegalMove as error:
            return f"ILLEGAL_MOVE {error.state} {error.event}"
        return ""


def _every_payment(report: StatusReport, on_file: Sequence[Payout]) -> Iterator[PaymentStatus]:
    """What the report says of each payment: its own word, else its batch's, else the order's."""
    yield from report.payments
    named = {status.end_to_end_id for status in report.payments}
    batches = {batch.batch_id: batch for batch in report.batches if batch.status}
    for payout in on_file:
        if payout.end_to_end_id in named:
            continue
        name = iso20022.batch_id(report.order_id, payout.currency)
        batch = batches.get(name)
        status = batch.status if batch else report.order_status
        reasons = batch.reasons if batch else report.order_reasons
        # PART of a batch or order says nothing of a payment that is not named.
        if status not in ("", "PART"):
            yield PaymentStatus(
                end_to_end_id=payout.end_to_end_id, status=status, reasons=reasons, batch_id=name
            )


def _mismatch(payout: Payout | None, status: PaymentStatus, report: StatusReport) -> str:
    """Why the word cannot be about this payout; empty when it can."""
    if payout is None:
        return "UNKNOWN_PAYMENT"
    if payout.message_id != report.order_id:
        return "OTHER_ORDER"
    if status.amount is not None:
        amount = Decimal(format_minor(payout.amount, payout.currency))
        if (status.amount, status.currency) != (amount, payout.currency):
            return "OTHER_AMOUNT"
    return ""


def _cursor(database: Database, paying_account: str) -> str:
    with database.reading() as connection:
        return stored.cursor_of(connection, paying_account)


def _in_doubt(database: Database, paying_account: str) -> list[str]:
    reasons = sorted(iso20022.DUPLICATE_REASONS)
    with database.reading() as connection:
        return stored.files_in_doubt(connection, paying_account, reasons)


def _open(database: Database, paying_account: str) -> int:
    with database.reading() as connection:
        return stored.open_payouts(connection, paying_account)


def _place(sha256: str, paying_account: str) -> dict[str, str]:
    subject = paying_subject(paying_account)
    return {"table": "bank_answer", "column": "sealed", "row": sha256, "subject": subject}


def _printable(text: str) -> str:
    # Chosen by the sender, and on its way into a log.
    return re.sub(r"[^A-Za-z0-9-]", "?", text)[:35]
