"""What the sandbox bank knows: every payment once by its end-to-end id, on disk before it is said.

It settles after a delay, rejects closed accounts (numbers that end in 0000, AC04), and answers an
end-to-end id that it has seen before with AM05, unless it is dumb: then it pays whatever comes.
Knows no socket and no clock.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.claims.payouts import iso20022
from services.claims.payouts.iso20022 import CreditTransfer, PaymentStatus, StatusReport
from services.common.money import format_minor

_ON_THE_WAY, _SETTLED, _REJECTED = "ACSP", iso20022.SETTLED, iso20022.REJECTED
_CLOSED_ACCOUNT, _DUPLICATE = "AC04", "AM05"
_ANSWERS_A_PAGE = 50
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, received_us INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, message_id TEXT NOT NULL, batch_id TEXT NOT NULL,
    end_to_end_id TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    account TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, due_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entry_end_to_end ON entry (end_to_end_id);
CREATE INDEX IF NOT EXISTS entry_message ON entry (message_id);
CREATE INDEX IF NOT EXISTS entry_due ON entry (status, due_us);
CREATE TABLE IF NOT EXISTS answer (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL);
"""


class Book:
    """The bank's memory; a kill loses nothing that was answered. Safe among threads."""

    def __init__(self, path: Path, *, settle_after_s: float, dumb: bool) -> None:
        self._settle_after_us = int(settle_after_s * 1_000_000)
        self._dumb = dumb
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_SCHEMA)

    def take(self, order: iso20022.PaymentOrder, now_us: int) -> None:
        """Execute an order, payment by payment, and put a first report out."""
        with self._writing() as book:
            book.execute("INSERT OR IGNORE INTO message VALUES (?, ?)", (order.message_id, now_us))
            said = [self._execute(book, order, transfer, now_us) for transfer in order.transfers]
            rejected = sum(status.status == _REJECTED for status in said)
            whole = "PART" if rejected else _ON_THE_WAY
            whole = _REJECTED if rejected == len(said) else whole
            _put_out(book, _report(order.message_id, said, now_us, order_status=whole))

    def knows(self, message_id: str) -> bool:
        """Whether the message was ever taken in."""
        return bool(self._read("SELECT 1 FROM message WHERE id = ?", (message_id,)))

    def report(self, message_id: str, now_us: int) -> bytes | None:
        """A fresh report on the message's payments; None when it has none of its own."""
        rows = self._read("SELECT * FROM entry WHERE message_id = ? ORDER BY seq", (message_id,))
        said = [_status(row, row["status"], row["reason"]) for row in rows]
        return _report(message_id, said, now_us) if said else None

    def settle(self, now_us: int) -> None:
        """Settle what is due, and put out one report a message."""
        due = (_ON_THE_WAY, now_us)
        if not self._read("SELECT 1 FROM entry WHERE status = ? AND due_us <= ? LIMIT 1", due):
            return
        with self._writing() as book:
            rows = book.execute(
                "SELECT * FROM entry WHERE status = ? AND due_us <= ? ORDER BY message_id, seq", due
            ).fetchall()
            settled = [(_SETTLED, row["seq"]) for row in rows]
            book.executemany("UPDATE entry SET status = ? WHERE seq = ?", settled)
            by_message: dict[str, list[PaymentStatus]] = {}
            for row in rows:
                by_message.setdefault(row["message_id"], []).append(_status(row, _SETTLED))
            for message_id, said in by_message.items():
                _put_out(book, _report(message_id, said, now_us))

    def answers(self, after: int) -> list[tuple[int, bytes]]:
        """Reports after a number, oldest first."""
        rows = self._read(
            "SELECT id, data FROM answer WHERE id > ? ORDER BY id LIMIT ?",
            (after, _ANSWERS_A_PAGE),
        )
        return [(row["id"], row["data"]) for row in rows]

    def paid(self) -> list[dict[str, Any]]:
        """Everything executed, in order: ids, minor units, currency and status; no payee."""
        rows = self._read(
            "SELECT message_id, end_to_end_id, amount, currency, status FROM entry "
            "WHERE status <> ? ORDER BY seq",
            (_REJECTED,),
        )
        return [dict(row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _execute(
        self,
        book: sqlite3.Connection,
        order: iso20022.PaymentOrder,
        transfer: CreditTransfer,
        now_us: int,
    ) -> PaymentStatus:
        closed = transfer.creditor.account_number.endswith("0000")
        entry = {
            "message_id": order.message_id,
            "batch_id": transfer.batch_id,
            "end_to_end_id": transfer.end_to_end_id,
            "amount": transfer.amount,
            "currency": transfer.currency,
            "account": transfer.creditor.account_number,
            "status": _REJECTED if closed else _ON_THE_WAY,
            "reason": _CLOSED_ACCOUNT if closed else "",
            "due_us": now_us + self._settle_after_us,
        }
        seen = book.execute(
            "SELECT 1 FROM entry WHERE end_to_end_id = ?", (transfer.end_to_end_id,)
        ).fetchone()
        if seen and not self._dumb:
            return _status(entry, _REJECTED, _DUPLICATE)
        book.execute(
            "INSERT INTO entry VALUES (NULL, :message_id, :batch_id, :end_to_end_id, :amount,"
            " :currency, :account, :status, :reason, :due_us)",
            entry,
        )
        return _status(entry, str(entry["status"]), str(entry["reason"]))

    def _read(self, statement: str, values: Iterable[object]) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(statement, tuple(values)).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _put_out(book: sqlite3.Connection, report: bytes) -> None:
    book.execute("INSERT INTO answer VALUES (NULL, ?)", (report,))


def _status(entry: Any, status: str, reason: str = "") -> PaymentStatus:
    return PaymentStatus(
        end_to_end_id=entry["end_to_end_id"],
        status=status,
        reasons=(reason,) if reason else (),
        batch_id=entry["batch_id"],
        amount=Decimal(format_minor(entry["amount"], entry["currency"])),
        currency=entry["currency"],
    )


def _report(
    message_id: str, said: Sequence[PaymentStatus], now_us: int, *, order_status: str = ""
) -> bytes:
    return iso20022.write_report(
        StatusReport(
            message_id=f"R{uuid.uuid4().hex}",
            created=datetime.fromtimestamp(now_us // 1_000_000, UTC),
            order_id=message_id,
            order_status=order_status,
            payments=tuple(said),
        )
    )
