"""Quotes and what priced them, on SQLite or PostgreSQL; written once, never changed.

What is about a person's health (features, the cells they fell into, months and the names of the
readings behind them) is sealed and bound to its row: under the key of what the insurer holds about
the member who takes part in a programme, else, where nobody is named, under the policy's.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Table, false, func, insert, select, true

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys
from services.pricing.core.incentive import Incentive
from services.pricing.core.quote import Asked, Quote, QuotedStep, Shadow
from services.pricing.core.routing import Arm
from services.pricing.core.sum_insured import Raised
from services.pricing.storage import tenancy
from services.pricing.storage.tables import (
    available,
    insert_unless_there,
    programme,
    quote,
    shadow_quote,
    tariff,
)


class _Sealed(msgspec.Struct, frozen=True):
    asked: Asked
    values: tuple[int | None, ...]
    steps: tuple[QuotedStep, ...]
    uncredited_minor: int
    incentive: Incentive | None
    arm: Arm | None = None
    raised: Raised | None = None


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(_Sealed)


class QuoteStore:
    """Reads and adds quotes. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def keep_tariff(self, version: str, content: bytes, at_us: int) -> None:
        """Keep a tariff's canonical bytes under its name; does nothing when they are there."""
        self._keep(tariff, version, content, at_us)

    def keep_programme(self, version: str, content: bytes, at_us: int) -> None:
        """Keep a programme's canonical bytes under its name; does nothing when they are there."""
        self._keep(programme, version, content, at_us)

    def tariff_content(self, version: str) -> bytes | None:
        """The canonical bytes of a tariff that once served; None when it never did."""
        with available(), self._database.reading() as connection:
            return connection.execute(
                select(tariff.c.content).where(tariff.c.version == version)
            ).scalar_one_or_none()

    def by_request(self, request_id: str) -> Quote | None:
        """The quote that answered this request_id; None when none did.

        Raises: Erased, CannotOpen.
        """
        with available(), self._database.reading() as connection:
            row = connection.execute(
                select(quote).where(quote.c.request_id == request_id)
            ).one_or_none()
            return None if row is None else _opened(self._keys.sealer(connection), row)

    def by_id(self, tenant: Tenant, policy_id: str, quote_id: str) -> Quote | None:
        """The quote of this policy; None when the policy has no such quote, or another insurer's.

        Raises: Erased, CannotOpen.
        """
        with available(), self._database.reading() as connection:
            row = connection.execute(
                select(quote).where(
                    quote.c.id == quote_id, quote.c.policy_id == policy_id, _mine(tenant)
                )
            ).one_or_none()
            return None if row is None else _opened(self._keys.sealer(connection), row)

    def add(self, insurer: str, made: Quote, shadow: Shadow | None = None) -> Quote:
        """Keep the insurer's quote, or answer with the one that the same request_id made first.

        What a challenger would have charged is kept beside it. Two calls that race with one
        request_id get one quote; whether the contents agree is the caller's to judge.
        """
        with available(), self._database.writing() as connection:
            sealer = self._keys.sealer(connection)
            row = _row(connection, sealer, insurer, made)
            connection.execute(insert_unless_there(self._database, quote, "request_id"), row)
            first = connection.execute(
                select(quote).where(quote.c.request_id == made.request_id)
            ).one()
            if first.id != made.id:  # a count of rows is not known on every database
                return _opened(sealer, first)
            if shadow is not None:
                connection.execute(insert(shadow_quote), _beside(insurer, made, shadow))
            return made

    def _keep(self, table: Table, version: str, content: bytes, at_us: int) -> None:
        with available(), self._database.writing() as connection:
            connection.execute(
                insert_unless_there(self._database, table, "version"),
                {"version": version, "content": content, "at_us": at_us},
            )


def _mine(tenant: Tenant) -> ColumnElement[bool]:
    if tenant.kind is Kind.INSTALLATION:
        return true()
    return false() if tenant.insurer is None else quote.c.insurer == tenant.insurer


def _beside(insurer: str, made: Quote, shadow: Shadow) -> dict[str, Any]:
    return {
        "quote": made.id,
        "insurer": insurer,
        "tariff_id": shadow.tariff_id,
        "version": shadow.tariff_version,
        "premium_minor": shadow.premium_minor,
        "at_us": made.created_us,
    }


def policy_subject(insurer: str, policy_id: str) -> str:
    """The subject of an insurer's quotes that name no member; another's same id is another."""
    return f"policy:{hashlib.sha256(f'{insurer}/{policy_id}'.encode()).hexdigest()}"


def count(connection: Connection, subject: str) -> int:
    """How many quotes are sealed under a subject's key."""
    mine = select(func.count()).where(quote.c.subject == subject)
    return int(connection.execute(mine).scalar_one())


def _row(connection: Connection, sealer: Sealer, insurer: str, made: Quote) -> dict[str, Any]:
    whole = _Sealed(
        asked=made.asked,
        values=made.values,
        steps=made.steps,
        uncredited_minor=made.uncredited_minor,
        incentive=made.incentive,
        arm=made.arm,
        raised=made.raised,
    )
    subject = _subject(connection, sealer, insurer, made)
    return {
        "id": made.id,
        "insurer": insurer,
        "request_id": made.request_id,
        "policy_id": made.asked.policy_id,
        "subject": subject,
        "tariff_version": made.tariff_version,
        "currency": made.currency,
        "premium_minor": made.premium_minor,
        "sealed": sealer.seal(_encoder.encode(whole), **_place(made.id, subject)),
        "at_us": made.created_us,
    }


def _subject(connection: Connection, sealer: Sealer, insurer: str, made: Quote) -> str:
    part = made.asked.participation
    if part is None:
        return policy_subject(insurer, made.asked.policy_id)
    token = part.member.removeprefix("members/")
    member = tenancy.locked_members(connection, sealer, [token], made.created_us)[token]
    held = tenancy.hold(connection, Tenant(Kind.INSURER, insurer), [member], made.created_us)
    return tenancy.subject_of(held[member])


def _opened(sealer: Sealer, row: Row[Any]) -> Quote:
    body = _decoder.decode(sealer.open(row.sealed, **_place(row.id, row.subject)))
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
        uncredited_minor=body.uncredited_minor,
        incentive=body.incentive,
        arm=body.arm,
        raised=body.raised,
    )


def _place(quote_id: str, subject: str) -> dict[str, str]:
    return {"table": "quote", "column": "sealed", "row": quote_id, "subject": subject}
