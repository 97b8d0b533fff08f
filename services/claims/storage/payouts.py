"""What happens to payouts, payment files and the bank's answers, in the caller's transaction.

Knows no XML and no bank, and moves no claim.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from services.claims.core.decision import Payee
from services.claims.core.ledger import Kind
from services.claims.storage.ledger import ledger_transfer
from services.claims.storage.payout_tables import (
    UNSENT,
    FileState,
    PayoutState,
    bank_answer,
    bank_answer_outcome,
    bank_cursor,
    payment_file,
    payout,
)


class PaymentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the sender needs it; its bytes are still sealed."""

    message_id: str
    paying_account: str
    sealed: bytes
    sha256: str
    state: FileState
    attempts: int
    attempted_us: int | None


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """One payment to one payee for one claim."""

    id: str
    claim_id: str
    attempt: int
    amount: int
    currency: str
    end_to_end_id: str
    pending_transfer_id: str
    message_id: str
    state: PayoutState
    payee: Payee = Payee.MEMBER
    bank_status: str = ""
    reason: str = ""


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A file from the bank, as it came, sealed."""

    seq: int
    sha256: str
    paying_account: str
    sealed: bytes


def next_attempts(connection: Connection, claim_ids: Sequence[str]) -> dict[str, int]:
    """Claim → number of its next payout, from 1."""
    rows = connection.execute(
        select(payout.c.claim_id, func.max(payout.c.attempt))
        .where(payout.c.claim_id.in_(claim_ids))
        .group_by(payout.c.claim_id)
    )
    latest = {claim_id: int(attempt) for claim_id, attempt in rows}
    return {claim_id: latest.get(claim_id, 0) + 1 for claim_id in claim_ids}


def store_file(
    connection: Connection,
    *,
    message_id: str,
    paying_account: str,
    sealed: bytes,
    sha256: str,
    payouts: Sequence[Payout],
    at_us: int,
) -> None:
    """Keep a prepared file and its open payouts. Their pending transfers must be booked already."""
    connection.execute(
        insert(payment_file).values(
            message_id=message_id,
            paying_account=paying_account,
            sealed=sealed,
            sha256=sha256,
            payouts=len(payouts),
            state=FileState.PREPARED.value,
            prepared_us=at_us,
        )
    )
    rows = [
        {**msgspec.structs.asdict(each), "state": PayoutState.OPEN.value, "opened_us": at_us}
        for each in payouts
    ]
    connection.execute(insert(payout), rows)


def find_file(connection: Connection, message_id: str) -> PaymentFile | None:
    """The file, its row locked on PostgreSQL until the transaction ends; None without one."""
    table = payment_file.c
    row = (
        connection.execute(
            select(
                table.message_id,
                table.paying_account,
                table.sealed,
                table.sha256,
                table.state,
                table.attempts,
                table.attempted_us,
            )
            .where(table.message_id == message_id)
            .with_for_update()
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    return PaymentFile(**{**row, "state": FileState(row["state"])})


def begin_attempt(connection: Connection, file: PaymentFile, at_us: int) -> int:
    """The file's bytes are about to leave; the attempt's number. Commit before they do."""
    attempt = file.attempts + 1
    connection.execute(
        update(payment_file)
        .where(payment_file.c.message_id == file.message_id)
        .values(state=FileState.SENDING.value, attempts=attempt, attempted_us=at_us)
    )
    return attempt


def note_sent(connection: Connection, message_id: str, at_us: int) -> None:
    """The bank has the file."""
    connection.execute(
        update(payment_file)
        .where(payment_file.c.message_id == message_id, payment_file.c.state.in_(UNSENT))
        .values(state=FileState.SENT.value, sent_us=at_us)
    )


def note_attempt_over(
    connection: Connection, message_id: str, attempt: int, state: FileState
) -> None:
    """Note how an attempt ended that did not hand the file over for certain.

    Changes nothing when another attempt has begun or the bank is known to have the file.
    """
    connection.execute(
        update(payment_file)
        .where(
            payment_file.c.message_id == message_id,
            payment_file.c.attempts == attempt,
            payment_file.c.state == FileState.SENDING.value,
        )
        .values(state=state.value)
    )


def note_answered(connection: Connection, message_id: str, at_us: int) -> None:
    """The bank has reported on the file, which proves that it has it."""
    connection.execute(
        update(payment_file)
        .where(
            payment_file.c.message_id == message_id,
            payment_file.c.state != FileState.ANSWERED.value,
        )
        .values(
            state=FileState.ANSWERED.value,
            sent_us=func.coalesce(payment_file.c.sent_us, at_us),
            answered_us=at_us,
        )
    )


def unsent_files(connection: Connection, paying_account: str) -> list[str]:
    """Message ids of files that are not known to be with the bank, oldest first."""
    return list(
        connection.execute(
            select(payment_file.c.message_id)
            .where(
                payment_file.c.paying_account == paying_account, payment_file.c.state.in_(UNSENT)
            )
            .order_by(payment_file.c.prepared_us, payment_file.c.message_id)
        ).scalars()
    )


def accounts_paid_from(connection: Connection) -> list[str]:
    """The paying accounts that payment files name, whichever is configured now."""
    return list(connection.execute(select(payment_file.c.paying_account).distinct()).scalars())


def open_payouts(connection: Connection, paying_account: str) -> int:
    """How many payouts of the account have no outcome yet."""
    return connection.execute(
        select(func.count())
        .select_from(payout.join(payment_file))
        .where(
            payment_file.c.paying_account == paying_account,
            payout.c.state == PayoutState.OPEN.value,
        )
    ).scalar_one()


def payouts_by_end_to_end(connection: Connection, ids: Sequence[str]) -> dict[str, Payout]:
    """End-to-end id → payout, for those that exist."""
    found: dict[str, Payout] = {}
    for start in range(0, len(ids), 500):
        wanted = payout.c.end_to_end_id.in_(ids[start : start + 500])
        rows = connection.execute(select(payout).where(wanted)).mappings()
        found |= {row["end_to_end_id"]: _payout(row) for row in rows}
    return found


def payouts_of_file(connection: Connection, message_id: str) -> list[Payout]:
    """The payouts on a file."""
    rows = connection.execute(
        select(payout).where(payout.c.message_id == message_id).order_by(payout.c.end_to_end_id)
    ).mappings()
    return [_payout(row) for row in rows]


def files_in_doubt(
    connection: Connection, paying_account: str, reasons: Sequence[str]
) -> list[str]:
    """Message ids of files with open payouts that the bank last answered with such a reason."""
    return list(
        connection.execute(
            select(payout.c.message_id)
            .distinct()
            .select_from(payout.join(payment_file))
            .where(
                payment_file.c.paying_account == paying_account,
                payout.c.state == PayoutState.OPEN.value,
                payout.c.reason.in_(reasons),
            )
            .order_by(payout.c.message_id)
        ).scalars()
    )


def payouts_of_claim(connection: Connection, claim_id: str) -> list[Payout]:
    """Every payout of a claim, oldest first."""
    rows = connection.execute(
        select(payout).where(payout.c.claim_id == claim_id).order_by(payout.c.attempt)
    ).mappings()
    return [_payout(row) for row in rows]


def refusals(connection: Connection, claim_ids: Sequence[str]) -> dict[str, str]:
    """By claim the bank's reasons for refusing the payout that failed last."""
    if not claim_ids:
        return {}
    found = select(payout.c.claim_id, payout.c.reason).where(
        payout.c.claim_id.in_(claim_ids), payout.c.state == PayoutState.FAILED.value
    )
    rows = connection.execute(found.order_by(payout.c.attempt)).all()
    return {row.claim_id: row.reason for row in rows}


def close_payout(
    connection: Connection, payout_id: str, state: PayoutState, status: str, reason: str, at_us: int
) -> bool:
    """Close an open payout; False when it is closed already, and then nothing is changed."""
    closed = connection.execute(
        update(payout)
        .where(payout.c.id == payout_id, payout.c.state == PayoutState.OPEN.value)
        .values(state=state.value, bank_status=status, reason=reason, closed_us=at_us)
    )
    return closed.rowcount == 1


def note_status(connection: Connection, payout_id: str, status: str, reason: str) -> None:
    """Keep the bank's latest word on a payout that stays open."""
    connection.execute(
        update(payout)
        .where(payout.c.id == payout_id, payout.c.state == PayoutState.OPEN.value)
        .values(bank_status=status, reason=reason)
    )


def cursor_of(connection: Connection, paying_account: str) -> str:
    """Id of the last answer taken in; empty before the first."""
    found = connection.execute(
        select(bank_cursor.c.after).where(bank_cursor.c.paying_account == paying_account)
    ).scalar()
    return found or ""


def store_answer(
    connection: Connection,
    *,
    sha256: str,
    paying_account: str,
    answer_id: str,
    sealed: bytes,
    at_us: int,
) -> None:
    """Keep an answer as it came; the same bytes are kept once."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(
        dialect.insert(bank_answer)
        .values(
            sha256=sha256,
            paying_account=paying_account,
            answer_id=answer_id,
            sealed=sealed,
            received_us=at_us,
        )
        .on_conflict_do_nothing(index_elements=["sha256"])
    )


def move_cursor(connection: Connection, paying_account: str, after: str) -> None:
    """Remember the last answer taken in, in the transaction that stores it."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(
        dialect.insert(bank_cursor)
        .values(paying_account=paying_account, after=after)
        .on_conflict_do_update(index_elements=["paying_account"], set_={"after": after})
    )


def unread_answers(connection: Connection, limit: int) -> list[StoredAnswer]:
    """Answers that nobody has read, in the order they came."""
    table = bank_answer.c
    outcome = exists().where(bank_answer_outcome.c.seq == table.seq)
    rows = connection.execute(
        select(table.seq, table.sha256, table.paying_account, table.sealed)
        .where(~outcome)
        .order_by(table.seq)
        .limit(limit)
    ).mappings()
    return [StoredAnswer(**row) for row in rows]


def finish_answer(connection: Connection, seq: int, faults: Sequence[str], at_us: int) -> None:
    """Note that an answer was read, with what could not be used of it. Noting it twice is once."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(
        dialect.insert(bank_answer_outcome)
        .values(seq=seq, faults=msgspec.json.encode(list(faults)), at_us=at_us)
        .on_conflict_do_nothing(index_elements=["seq"])
    )


def transfers_of(claim_ids: Select[tuple[str]]) -> ColumnElement[bool]:
    """Which rows of the ledger belong to these claims: what is owed, and what payouts moved."""
    pending = select(payout.c.pending_transfer_id).where(payout.c.claim_id.in_(claim_ids))
    return or_(
        and_(
            ledger_transfer.c.kind == Kind.POSTED.value,
            ledger_transfer.c.group_id.in_(claim_ids),
        ),
        ledger_transfer.c.id.in_(pending),
        ledger_transfer.c.resolves.in_(pending),
    )


def payouts_off_ledger(connection: Connection, claim_ids: Select[tuple[str]] | None = None) -> int:
    """Payouts whose ledger says something else than they do; anything but 0 is a fault.

    Of these claims, or of all.

    Paid is posted, failed is voided, open is neither, and amount and currency are the pending's.
    """
    pending, done = ledger_transfer.alias("pending"), ledger_transfer.alias("done")
    right = or_(
        and_(payout.c.state == PayoutState.PAID.value, done.c.kind == Kind.POST.value),
        and_(payout.c.state == PayoutState.FAILED.value, done.c.kind == Kind.VOID.value),
        and_(payout.c.state == PayoutState.OPEN.value, done.c.id.is_(None)),
    )
    same = and_(payout.c.amount == pending.c.amount, payout.c.currency == pending.c.currency)
    rows = payout.join(pending, pending.c.id == payout.c.pending_transfer_id).outerjoin(
        done, done.c.resolves == pending.c.id
    )
    mine = true() if claim_ids is None else payout.c.claim_id.in_(claim_ids)
    agreeing = connection.execute(
        select(func.count()).select_from(rows).where(right, same, mine)
    ).scalar_one()
    everything = connection.execute(
        select(func.count()).select_from(payout).where(mine)
    ).scalar_one()
    return int(everything) - int(agreeing)


def _payout(row: RowMapping) -> Payout:
    known = {name: row[name] for name in Payout.__struct_fields__}
    known |= {"state": PayoutState(row["state"]), "payee": Payee(row["payee"])}
    return Payout(**known)
