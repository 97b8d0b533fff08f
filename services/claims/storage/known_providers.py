"""The register of providers: whom an insurer knows, and on which days.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    exists,
    func,
    insert,
    select,
)

from services.claims.storage.tables import (
    known_provider,
    policy,
    provider_account,
    provider_account_word,
)

# The first day, and the day after the last; None is without end.
Period = tuple[date, date | None]

_later = known_provider.alias()
# Asked of each row by the index: a page costs as much however long the register is.
_STANDS = ~exists().where(
    _later.c.insurer == known_provider.c.insurer,
    _later.c.provider_id == known_provider.c.provider_id,
    _later.c.revision > known_provider.c.revision,
)
_REGISTER = select(known_provider).where(_STANDS)


def keeps_register(connection: Connection, insurer: str) -> bool:
    """Whether an insurer has registered any provider."""
    return connection.execute(_ANY, {"insurer": insurer}).first() is not None


_ANY = select(known_provider.c.seq).where(known_provider.c.insurer == bindparam("insurer")).limit(1)


def periods_of(connection: Connection, insurer: str, provider_id: str) -> list[Period]:
    """The days on which an insurer knows a provider; none when it is not on the register."""
    rows = connection.execute(_OF_ONE, {"insurer": insurer, "provider_id": provider_id}).all()
    newest = max((row.revision for row in rows), default=0)
    return sorted(
        (
            date.fromisoformat(row.start_day),
            date.fromisoformat(row.end_day) if row.end_day else None,
        )
        for row in rows
        if row.revision == newest
    )


_OF_ONE = select(
    known_provider.c.revision, known_provider.c.start_day, known_provider.c.end_day
).where(
    known_provider.c.insurer == bindparam("insurer"),
    known_provider.c.provider_id == bindparam("provider_id"),
)


def register(
    connection: Connection, insurer: str, told: Mapping[str, Collection[Period]], at_us: int
) -> None:
    """Append each provider's days in the place of those before."""
    revision = func.max(known_provider.c.revision).label("last")
    wanted = known_provider.c.provider_id.in_(told)
    before = (
        select(known_provider.c.provider_id, revision)
        .where(known_provider.c.insurer == insurer, wanted)
        .group_by(known_provider.c.provider_id)
    )
    last = {row.provider_id: row.last for row in connection.execute(before)}
    rows = [
        {
            "insurer": insurer,
            "provider_id": provider_id,
            "revision": last.get(provider_id, 0) + 1,
            "start_day": start.isoformat(),
            "end_day": None if end is None else end.isoformat(),
            "at_us": at_us,
        }
        for provider_id, periods in told.items()
        for start, end in periods
    ]
    connection.execute(insert(known_provider), rows)


def list_register(
    connection: Connection, insurer: str | None, provider_id: str, *, before: int, most: int
) -> Sequence[Row[Any]]:
    """The register below a position, newest first: of one insurer or all, one provider or all."""
    found = _REGISTER.where(known_provider.c.seq < before)
    if insurer is not None:
        found = found.where(known_provider.c.insurer == insurer)
    if provider_id:
        found = found.where(known_provider.c.provider_id == provider_id)
    return connection.execute(found.order_by(known_provider.c.seq.desc()).limit(most)).all()


def has_confirmed_account(connection: Connection, insurer: str, provider_id: str) -> bool:
    """Whether two people have set an account of the provider, whatever its first day."""
    word = provider_account_word
    found = (
        select(provider_account.c.seq)
        .join(word, word.c.account_id == provider_account.c.id)
        .where(
            provider_account.c.insurer == insurer,
            provider_account.c.provider_id == provider_id,
            word.c.confirmed == 1,
        )
        .limit(1)
    )
    return connection.execute(found).first() is not None


def insurers(connection: Connection) -> Sequence[str]:
    """Every insurer that has a policy."""
    return connection.execute(select(policy.c.insurer).distinct()).scalars().all()
