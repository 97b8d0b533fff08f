"""A claims database as the service itself migrates it, and transfers to fill it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.claims.core.ledger import Transfer, owe
from services.common.database import Database
from tests.schemas import with_tables


@contextmanager
def open_books(url: str, *, create: bool = True) -> Iterator[Database]:
    """The database behind the URL, migrated unless it is known to be."""
    database = with_tables(url, "services.claims") if create else Database(url)
    try:
        yield database
    finally:
        database.close()


def owed(number: int, *, amount: int = 1_200, currency: str = "CNY", name: str = "t") -> Transfer:
    """What decision d{number} makes the insurer owe."""
    return owe(
        transfer_id=f"{name}{number}",
        claim_id=f"c{number}",
        decision_id=f"d{number}",
        amount=amount,
        currency=currency,
    )
