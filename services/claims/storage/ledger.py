"""The ledger's table: one row is one transfer, so that imbalance cannot be written.

UPDATE and DELETE are refused by triggers, a post or void that does not mirror its pending as well.
Idempotency keys never expire. All functions run inside the caller's write transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    and_,
    case,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from services.claims.core.ledger import (
    RECOVERABLE,
    RESOLVING,
    WRITTEN_OFF,
    Kind,
    LedgerRefused,
    Transfer,
    check,
    request_hash,
    resolution,
    resolution_faults,
)
from services.claims.storage.tables import metadata
from services.common.database import SERIAL, append_only_ddl
from services.common.money import MAX_MINOR_UNITS

ledger_transfer = Table(
    "ledger_transfer",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False),
    Column("idempotency_key", String(120), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("group_id", String(64), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("debit", String(40), nullable=False),
    Column("credit", String(40), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("resolves", String(64), ForeignKey("ledger_transfer.id")),
    Column("at_us", BigInteger, nullable=False),
    UniqueConstraint("id"),
    UniqueConstraint("idempotency_key"),
    UniqueConstraint("resolves"),
    CheckConstraint(f"amount > 0 AND amount <= {MAX_MINOR_UNITS}", name="amount"),
    CheckConstraint("debit <> credit", name="two_accounts"),
    CheckConstraint("kind IN ('posted', 'pending', 'post', 'void')", name="kind"),
    CheckConstraint(
        "(kind IN ('post', 'void')) = (resolves IS NOT NULL)", name="resolving_names_pending"
    ),
)
# SQLite allows 32,766 values a statement; PostgreSQL 65,535.
_ROWS_A_STATEMENT = 500
# Built once: SQLAlchemy compiles a statement that carries its rows anew every time.
_NEW = {
    dialect: write(ledger_transfer)
    .on_conflict_do_nothing(index_elements=["idempotency_key"])
    .returning(ledger_transfer.c.idempotency_key)
    for dialect, write in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


class KeyReused(LedgerRefused):
    """The idempotency key is in the books for another request. Stop: two callers differ."""


class TransferIdTaken(LedgerRefused):
    """The transfer id is in the books under another key. Make another id."""


class UnknownPending(LedgerRefused):
    """No such transfer to resolve."""


class AlreadyResolved(LedgerRefused):
    """The pending was posted or voided before, the other way. Nothing is changed."""


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Debits minus credits of one account in one currency, in minor units."""

    account: str
    currency: str
    posted: int
    pending: int


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """All balances. `off` is how far the books are from balancing; anything but 0 is a fault.

    It adds the absolute sums of every currency, posted and pending, and every amount by which a
    post or void is not its pending's: faults never cancel out.
    """

    accounts: tuple[AccountBalance, ...]
    off: int


def ledger_ddl(dialect: str) -> list[str]:
    """Triggers of the table for "sqlite" or "postgresql", to run after it is created."""
    mirrors = (
        "EXISTS (SELECT 1 FROM ledger_transfer p WHERE p.id = NEW.resolves AND p.kind = 'pending'"
        " AND p.debit = NEW.debit AND p.credit = NEW.credit AND p.amount = NEW.amount"
        " AND p.currency = NEW.currency)"
    )
    broken = f"NEW.resolves IS NOT NULL AND NOT {mirrors}"
    refusal = "a post or void must mirror its pending"
    if dialect == "sqlite":
        guard = [
            (
                f"CREATE TRIGGER ledger_transfer_mirrors BEFORE INSERT ON ledger_transfer "
                f"WHEN {broken} BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
            )
        ]
    else:
        guard = [
            (
                f"CREATE FUNCTION ledger_transfer_mirrors() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN IF {broken} THEN RAISE EXCEPTION '{refusal}'; END IF; RETURN NEW; END $$"
            ),
            (
                "CREATE TRIGGER ledger_transfer_mirrors BEFORE INSERT ON ledger_transfer "
                "FOR EACH ROW EXECUTE FUNCTION ledger_transfer_mirrors()"
            ),
        ]
    return [*append_only_ddl("ledger_transfer", dialect), *guard]


def post_transfers(
    connection: Connection, transfers: Sequence[Transfer], at_us: int
) -> list[Transfer]:
    """Book transfers, all or none, and answer with what the books hold under their keys.

    A key that was booked before with the same request books nothing and answers with the stored
    transfer, for ever. Linked legs (one group) must be booked in one call.

    Raises: InvalidTransfers, KeyReused, TransferIdTaken, UnknownPending or AlreadyResolved; the
    caller's transaction must be rolled back then.
    """
    check(transfers)
    _check_resolutions(connection, transfers)
    new = _insert(connection, transfers, at_us)
    old = [transfer.key for transfer in transfers if transfer.key not in new]
    stored = {transfer.key: transfer for transfer in _by(connection, "idempotency_key", old)}
    booked = []
    for transfer in transfers:
        known = transfer if transfer.key in new else stored[transfer.key]
        if request_hash(known) != request_hash(transfer):
            raise KeyReused(f"the key {transfer.key!r} was used for another request")
        booked.append(known)
    torn = {t.group for t in transfers if t.key in new} & {
        t.group for t in transfers if t.key not in new
    }
    if torn:
        raise KeyReused(f"of the group {min(torn)!r} some legs were booked before and some not")
    return booked


def recovered_of(connection: Connection, claim_ids: Sequence[str]) -> dict[str, int]:
    """Claim id → what came back of what was paid, in minor units; claims of which nothing did lack.

    What was given up did not come back.
    """
    table = ledger_transfer.c
    found: dict[str, int] = {}
    for start in range(0, len(claim_ids), _ROWS_A_STATEMENT):
        rows = connection.execute(
            select(table.group_id, func.sum(table.amount))
            .where(
                table.group_id.in_(claim_ids[start : start + _ROWS_A_STATEMENT]),
                table.credit == RECOVERABLE,
                table.debit != WRITTEN_OFF,
            )
            .group_by(table.group_id)
        )
        found |= {claim_id: int(amount) for claim_id, amount in rows}
    return found


def resolve(
    connection: Connection, pending_id: str, kind: Kind, *, transfer_id: str, at_us: int
) -> Transfer:
    """Post or void a pending, once. Repeating it the same way answers with the stored transfer.

    Raises: UnknownPending, AlreadyResolved, InvalidTransfers when the transfer is not pending.
    """
    found = _by(connection, "id", [pending_id])
    if not found:
        raise UnknownPending(f"there is no transfer {pending_id}")
    made = resolution(found[0], kind, transfer_id=transfer_id)
    return post_transfers(connection, [made], at_us)[0]


def trial_balance(connection: Connection, only: ColumnElement[bool] | None = None) -> TrialBalance:
    """Balances by account and currency from all transfers, and how far they are from zero.

    `only` says which transfers of `ledger_transfer` count; None means all.
    """
    counting = true() if only is None else only
    table = ledger_transfer.c
    posted = case((table.kind.in_((Kind.POSTED, Kind.POST)), table.amount), else_=0)
    pending = case(
        (table.kind == Kind.PENDING, table.amount),
        (table.kind.in_(RESOLVING), -table.amount),
        else_=0,
    )
    legs = union_all(
        *(
            select(
                side.label("account"),
                table.currency,
                (posted * literal(sign)).label("posted"),
                (pending * literal(sign)).label("pending"),
            ).where(counting)
            for side, sign in ((table.debit, 1), (table.credit, -1))
        )
    ).subquery()
    rows = connection.execute(
        select(legs.c.account, legs.c.currency, func.sum(legs.c.posted), func.sum(legs.c.pending))
        .group_by(legs.c.account, legs.c.currency)
        .order_by(legs.c.account, legs.c.currency)
    )
    accounts = tuple(
        AccountBalance(account=name, currency=currency, posted=int(done), pending=int(open_))
        for name, currency, done, open_ in rows
    )
    off = _off_pending(connection, only)
    for currency in {account.currency for account in accounts}:
        held = [account for account in accounts if account.currency == currency]
        off += abs(sum(each.posted for each in held)) + abs(sum(each.pending for each in held))
    return TrialBalance(accounts=accounts, off=off)


def _off_pending(connection: Connection, only: ColumnElement[bool] | None) -> int:
    """Amounts of posts and voids that mirror no pending. The trigger lets none in."""
    done, pending = ledger_transfer.alias("done"), ledger_transfer.alias("pending")
    mirrors = and_(
        pending.c.id == done.c.resolves,
        pending.c.kind == Kind.PENDING.value,
        *(pending.c[name] == done.c[name] for name in ("debit", "credit", "amount", "currency")),
    )
    astray = (
        select(func.coalesce(func.sum(done.c.amount), 0))
        .select_from(done.outerjoin(pending, mirrors))
        .where(done.c.kind.in_(RESOLVING), pending.c.id.is_(None))
    )
    if only is not None:
        astray = astray.where(done.c.seq.in_(select(ledger_transfer.c.seq).where(only)))
    return int(connection.execute(astray).scalar_one())


def _check_resolutions(connection: Connection, transfers: Sequence[Transfer]) -> None:
    resolving = {t.resolves: t for t in transfers if t.resolves is not None}
    if not resolving:
        return
    names = list(resolving)
    pendings = {transfer.id: transfer for transfer in _by(connection, "id", names)}
    before = {transfer.resolves: transfer for transfer in _by(connection, "resolves", names)}
    for name, transfer in resolving.items():
        if name not in pendings:
            raise UnknownPending(f"there is no transfer {name}")
        faults = resolution_faults(pendings[name], transfer, resolved_by=before.get(name))
        if faults and name in before:
            raise AlreadyResolved(faults[-1])
        if faults:
            raise LedgerRefused("; ".join(faults))


def _insert(connection: Connection, transfers: Sequence[Transfer], at_us: int) -> set[str]:
    """Insert what is new; the keys that were. Sorted, so that two writers cannot deadlock."""
    rows = [_row(transfer, at_us) for transfer in sorted(transfers, key=lambda t: t.key)]
    try:
        return set(connection.execute(_NEW[connection.dialect.name], rows).scalars())
    except IntegrityError as error:
        raise _refusal(error) or error from None


def _refusal(error: IntegrityError) -> LedgerRefused | None:
    # A race that the looks before did not see; PostgreSQL names the constraint, SQLite the column.
    text = str(error.orig)
    if "uq_ledger_transfer_resolves" in text or "ledger_transfer.resolves" in text:
        return AlreadyResolved("a pending was resolved at the same time")
    if "uq_ledger_transfer_id" in text.split('"') or "ledger_transfer.id" in text.split():
        return TransferIdTaken("a transfer id is taken")
    return None


def _row(transfer: Transfer, at_us: int) -> dict[str, object]:
    return {
        "id": transfer.id,
        "idempotency_key": transfer.key,
        "request_hash": request_hash(transfer),
        "group_id": transfer.group,
        "kind": transfer.kind.value,
        "debit": transfer.debit,
        "credit": transfer.credit,
        "amount": transfer.amount,
        "currency": transfer.currency,
        "resolves": transfer.resolves,
        "at_us": at_us,
    }


def _by(connection: Connection, column: str, values: Sequence[str]) -> list[Transfer]:
    found: list[Transfer] = []
    for start in range(0, len(values), _ROWS_A_STATEMENT):
        wanted = values[start : start + _ROWS_A_STATEMENT]
        rows = connection.execute(
            select(ledger_transfer).where(ledger_transfer.c[column].in_(wanted))
        ).mappings()
        found += [_transfer(row) for row in rows]
    return found


def _transfer(row: RowMapping) -> Transfer:
    return Transfer(
        id=row["id"],
        key=row["idempotency_key"],
        group=row["group_id"],
        kind=Kind(row["kind"]),
        debit=row["debit"],
        credit=row["credit"],
        amount=row["amount"],
        currency=row["currency"],
        resolves=row["resolves"],
    )
