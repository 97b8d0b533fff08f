"""Tables of payouts, payment files and the bank's answers. Knows no XML and no bank.

A payout is one pending transfer and one end-to-end id. A file's bytes are sealed (they hold account
numbers) and never change: what may be sent again is what was sent before. Answers are kept as they
came, before anybody reads them.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from services.claims.storage.tables import metadata
from services.common.database import SERIAL, append_only_ddl


class FileState(StrEnum):
    """What we know of a file's way to the bank."""

    PREPARED = "prepared"  # never left
    SENDING = "sending"  # may be leaving, or may have left when its sender died
    UNKNOWN = "unknown"  # left without an answer
    SENT = "sent"  # the bank has it
    ANSWERED = "answered"  # the bank has reported on it


class PayoutState(StrEnum):
    """What we know of a payout's money."""

    OPEN = "open"
    PAID = "paid"
    FAILED = "failed"


UNSENT = (FileState.PREPARED, FileState.SENDING, FileState.UNKNOWN)

payment_file = Table(
    "payment_file",
    metadata,
    Column("message_id", String(35), primary_key=True),
    Column("paying_account", String(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("payouts", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("prepared_us", BigInteger, nullable=False),
    Column("attempted_us", BigInteger),
    Column("sent_us", BigInteger),
    Column("answered_us", BigInteger),
    CheckConstraint(
        "state IN ('prepared', 'sending', 'unknown', 'sent', 'answered')", name="state"
    ),
    Index("ix_payment_file_paying_account_state", "paying_account", "state"),
)

payout = Table(
    "payout",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("claim_id", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    # Whose account it goes to, "member" or "provider".
    Column("payee", String(8), nullable=False, server_default="member"),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("end_to_end_id", String(35), nullable=False, unique=True),
    Column(
        "pending_transfer_id",
        String(64),
        ForeignKey("ledger_transfer.id"),
        nullable=False,
        unique=True,
    ),
    Column(
        "message_id",
        String(35),
        ForeignKey("payment_file.message_id"),
        nullable=False,
        index=True,
    ),
    Column("state", String(8), nullable=False),
    Column("bank_status", String(4), nullable=False, server_default=""),
    Column("reason", String(80), nullable=False, server_default=""),
    Column("opened_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
    UniqueConstraint("claim_id", "attempt"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("state IN ('open', 'paid', 'failed')", name="state"),
    CheckConstraint("(state = 'open') = (closed_us IS NULL)", name="closed"),
    # Two gatherers that read the same payable claim cannot both pay it.
    Index(
        "uq_payout_one_open_per_claim",
        "claim_id",
        "payee",
        unique=True,
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index("ix_payout_state", "state"),
)

bank_answer = Table(
    "bank_answer",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("paying_account", String(32), nullable=False),
    Column("answer_id", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("received_us", BigInteger, nullable=False),
)

# An answer without an outcome waits to be read; one with faults waits for a person.
bank_answer_outcome = Table(
    "bank_answer_outcome",
    metadata,
    Column("seq", BigInteger, ForeignKey("bank_answer.seq"), primary_key=True, autoincrement=False),
    Column("faults", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

bank_cursor = Table(
    "bank_cursor",
    metadata,
    Column("paying_account", String(32), primary_key=True),
    Column("after", String(64), nullable=False),
)

# As the first migration has it; a later one adds a payout's `payee`.
_FROZEN = {
    "payment_file": ("message_id", "paying_account", "sealed", "sha256", "payouts", "prepared_us"),
    "payout": (
        "id",
        "claim_id",
        "attempt",
        "amount",
        "currency",
        "end_to_end_id",
        "pending_transfer_id",
        "message_id",
        "opened_us",
    ),
}


def payouts_ddl(dialect: str) -> list[str]:
    """Triggers of these tables for "sqlite" or "postgresql", to run after they are created.

    Answers are append-only; what a file or payout is about never changes, only what is known of it.
    """
    statements = []
    for table in ("bank_answer", "bank_answer_outcome"):
        statements += append_only_ddl(table, dialect)
    for table, columns in _FROZEN.items():
        moments = (("update", f"UPDATE OF {', '.join(columns)}"), ("delete", "DELETE"))
        if dialect == "sqlite":
            statements += [
                f"CREATE TRIGGER {table}_frozen_{name} BEFORE {moment} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} keeps what it is about'); END"
                for name, moment in moments
            ]
            continue
        statements.append(
            f"CREATE FUNCTION {table}_frozen() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} keeps what it is about'; END $$"
        )
        statements += [
            f"CREATE TRIGGER {table}_frozen_{name} BEFORE {moment} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_frozen()"
            for name, moment in moments
        ]
    return statements
