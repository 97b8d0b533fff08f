"""By which incoming transfer money of a claim came back: each transfer is kept once, for ever."""

from __future__ import annotations

from sqlalchemy import Connection, Select, and_, func, select, true
from sqlalchemy.dialects import postgresql, sqlite

from services.claims.core.ledger import RECOVERABLE
from services.claims.storage.acts import Incoming
from services.claims.storage.ledger import ledger_transfer
from services.claims.storage.tables import recovery

_NEW = {
    dialect: write(recovery)
    .on_conflict_do_nothing(index_elements=["insurer", "reference"])
    .returning(recovery.c.seq)
    for dialect, write in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def is_used(connection: Connection, insurer: str, reference: str) -> bool:
    """Whether an insurer's books have this transfer already."""
    found = select(recovery.c.seq).where(
        recovery.c.insurer == insurer, recovery.c.reference == reference
    )
    return connection.execute(found).first() is not None


def keep(
    connection: Connection, insurer: str, claim_id: str, incoming: Incoming, transfer_id: str
) -> bool:
    """Keep which transfer a booking is of; whether the books did not have it before."""
    row = {
        "insurer": insurer,
        "reference": incoming.reference,
        "value_date": incoming.value_date,
        "claim_id": claim_id,
        "transfer_id": transfer_id,
    }
    kept = connection.execute(_NEW[connection.dialect.name].values(row)).first()
    return kept is not None


def recoveries_off_ledger(connection: Connection, mine: Select[tuple[str]] | None) -> int:
    """Kept transfers of which the ledger has no money that came back; anything but 0 is a fault."""
    booked = and_(
        ledger_transfer.c.id == recovery.c.transfer_id,
        ledger_transfer.c.group_id == recovery.c.claim_id,
        ledger_transfer.c.credit == RECOVERABLE,
        ledger_transfer.c.debit.startswith("bank:"),
    )
    rows = recovery.outerjoin(ledger_transfer, booked)
    astray = select(func.count()).select_from(rows).where(ledger_transfer.c.id.is_(None))
    here = true() if mine is None else recovery.c.claim_id.in_(mine)
    return int(connection.execute(astray.where(here)).scalar_one())
