"""Quotes and the tariffs that priced them, on SQLite or PostgreSQL; written once, never changed.

What is about a person's health (features and the cells they fell into) is sealed per policy and
bound to its row. A request is compared by its whole content inside the seal: a hash in clear of so
few facts could be guessed back into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    LargeBinary,
    Row,
    String,
    Table,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from services.common.database import Database, named_metadata
from services.common.sealing import Sealer
from services.pricing.core.quote import Asked, Quote, QuotedStep

metadata = named_metadata()

# The canonical bytes of every tariff that ever served, so that any quote can be priced again.
tariff = Table(
    "tariff",
    metadata,
    Column("version", String(160), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

quote = Table(
    "quote",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("policy_id", String(64), nullable=False, index=True),
    Column("tariff_version", String(160), ForeignKey("tariff.version"), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("premium_minor", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

APPEND_ONLY = ("tariff", "quote")


class StorageUnavailable(Exception):
    """The database did not answer now; the same call may succeed later. Nothing is half done."""


class _Sealed(msgspec.Struct, frozen=True):
    asked: Asked
    values: tuple[int | None, ...]
    steps: tuple[QuotedStep, ...]


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(_Sealed)


class QuoteStore:
    """Reads and adds quotes. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def keep_tariff(self, version: str, content: bytes, at_us: int) -> None:
        """Keep a tariff's canonical bytes under its name; does nothing when they are there."""
        with self._available(), self._database.writing() as connection:
            connection.execute(
                self._insert(tariff, "version"),
                {"version": version, "content": content, "at_us": at_us},
            )

    def tariff_content(self, version: str) -> bytes | None:
        """The canonical bytes of a tariff that once served; None when it never did."""
        with self._available(), self._database.reading() as connection:
            return connection.execute(
                select(tariff.c.content).where(tariff.c.version == version)
            ).scalar_one_or_none()

    def by_request(self, request_id: str) -> Quote | None:
        """The quote that answered this request_id; None when none did."""
        with self._available(), self._database.reading() as connection:
            row = connection.execute(
                select(quote).where(quote.c.request_id == request_id)
            ).one_or_none()
        return None if row is None else self._opened(row)

    def by_id(self, policy_id: str, quote_id: str) -> Quote | None:
        """The quote of this policy; None when the policy has no such quote."""
        with self._available(), self._database.reading() as connection:
            row = connection.execute(
                select(quote).where(quote.c.id == quote_id, quote.c.policy_id == policy_id)
            ).one_or_none()
        return None if row is None else self._opened(row)

    def add(self, made: Quote) -> Quote:
        """Keep the quote, or answer with the one that the same request_id made first.

        Two calls that race with one request_id get one quote; whether the contents agree is the
        caller's to judge.
        """
        with self._available(), self._database.writing() as connection:
            added = connection.execute(self._insert(quote, "request_id"), self._row(made))
            if added.rowcount == 1:
                return made
            row = connection.execute(
                select(quote).where(quote.c.request_id == made.request_id)
            ).one()
        return self._opened(row)

    def _insert(self, table: Table, unique: str) -> Any:
        dialect = sqlite if self._database.is_sqlite else postgresql
        return dialect.insert(table).on_conflict_do_nothing(index_elements=[unique])

    def _row(self, made: Quote) -> dict[str, Any]:
        body = _encoder.encode(_Sealed(made.asked, made.values, made.steps))
        sealed = self._sealer.seal(body, **_place(made.id, made.asked.policy_id))
        return {
            "id": made.id,
            "request_id": made.request_id,
            "policy_id": made.asked.policy_id,
            "tariff_version": made.tariff_version,
            "currency": made.currency,
            "premium_minor": made.premium_minor,
            "sealed": sealed,
            "at_us": made.created_us,
        }

    def _opened(self, row: Row[Any]) -> Quote:
        body = _decoder.decode(self._sealer.open(row.sealed, **_place(row.id, row.policy_id)))
        return Quote(
            id=row.id,
            request_id=row.request_id,
            asked=body.asked,
            tariff_version=row.tariff_version,
            currency=row.currency,
            premium_minor=row.premium_minor,
            created_us=row.at_us,
            values=body.values,
            steps=body.steps,
        )

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except OperationalError:
            raise StorageUnavailable("the pricing database does not answer") from None


def _place(quote_id: str, policy_id: str) -> dict[str, str]:
    return {"table": "quote", "column": "sealed", "row": quote_id, "subject": policy_id}
