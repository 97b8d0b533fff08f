"""What insurers have agreed with providers: price lists, and sealed accounts that two people set.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select

from services.claims.storage.sealed import provider_subject
from services.claims.storage.tables import (
    price_list,
    provider_account,
    provider_account_word,
)
from services.common.sealing import Sealer

_KEY = ("insurer", "provider_id", "currency")


def store_price_list(
    connection: Connection,
    *,
    insurer: str,
    provider_id: str,
    currency: str,
    digest: str,
    content: bytes,
    at_us: int,
) -> None:
    """Append an insurer's price list; one with the same content as the newest is no news."""
    newest = newest_price_list(connection, insurer, provider_id, currency)
    if newest is not None and newest.digest == digest:
        return
    row = {
        "insurer": insurer,
        "provider_id": provider_id,
        "currency": currency,
        "digest": digest,
        "content": content,
        "at_us": at_us,
    }
    connection.execute(insert(price_list), row)


def newest_price_list(
    connection: Connection, insurer: str, provider_id: str, currency: str
) -> Row[int, str] | None:
    """Number and hash of an insurer's list for a provider; None without one."""
    told = dict(zip(_KEY, (insurer, provider_id, currency), strict=True))
    return connection.execute(_NEWEST, told).first()


_NEWEST = (
    select(price_list.c.seq, price_list.c.digest)
    .where(*(price_list.c[name] == bindparam(name) for name in _KEY))
    .order_by(price_list.c.seq.desc())
    .limit(1)
)


def newest_price_lists(
    connection: Connection, wanted: Collection[tuple[str, str, str]]
) -> dict[tuple[str, str, str], int]:
    """Numbers of the newest lists by insurer, provider and currency; those without one lack."""
    told = {name: sorted({one[at] for one in wanted}) for at, name in enumerate(_KEY)}
    rows = connection.execute(_NEWEST_OF, told)
    found = {(row.insurer, row.provider_id, row.currency): int(row.seq) for row in rows}
    return {one: found[one] for one in wanted if one in found}


_NEWEST_OF = (
    select(*(price_list.c[name] for name in _KEY), func.max(price_list.c.seq).label("seq"))
    .where(*(price_list.c[name].in_(bindparam(name, expanding=True)) for name in _KEY))
    .group_by(*(price_list.c[name] for name in _KEY))
)


def price_list_content(connection: Connection, seq: int) -> bytes:
    """The content of a stored list."""
    found = select(price_list.c.content).where(price_list.c.seq == seq)
    return bytes(connection.execute(found).scalar_one())


def propose_account(
    connection: Connection,
    sealer: Sealer,
    *,
    insurer: str,
    provider_id: str,
    valid_from: date,
    plain: bytes,
    actor: str,
    at_us: int,
) -> str:
    """Append an account that a second person has to confirm; its id."""
    account_id = uuid.uuid4().hex
    place = _place(account_id, insurer, provider_id)
    row = {
        "id": account_id,
        "insurer": insurer,
        "provider_id": provider_id,
        "valid_from": valid_from.isoformat(),
        "sealed": sealer.seal(plain, **place),
        "actor": actor,
        "at_us": at_us,
    }
    connection.execute(insert(provider_account), row)
    return account_id


def say_of_account(
    connection: Connection, account_id: str, *, confirmed: bool, actor: str, note: str, at_us: int
) -> None:
    """Append the word on an account, which its proposer's own withdraws; there is one only."""
    row = {
        "account_id": account_id,
        "confirmed": int(confirmed),
        "actor": actor,
        "note": note,
        "at_us": at_us,
    }
    connection.execute(insert(provider_account_word), row)


def find_account(connection: Connection, insurer: str, account_id: str) -> Row[Any] | None:
    """An insurer's account with what was said of it."""
    found = _accounts().where(
        provider_account.c.insurer == insurer, provider_account.c.id == account_id
    )
    return connection.execute(found).first()


def opened(sealer: Sealer, row: Row[Any], insurer: str) -> bytes:
    """An account as it was proposed, unsealed.

    Raises: CannotOpen when the row was swapped or altered.
    """
    return sealer.open(row.sealed, **_place(row.id, insurer, row.provider_id))


def list_accounts(
    connection: Connection, insurer: str | None, provider_id: str, *, before: int, most: int
) -> Sequence[Row[Any]]:
    """Accounts below a position, newest first: of one insurer or all, of one provider or all."""
    found = _accounts().where(provider_account.c.seq < before)
    if insurer is not None:
        found = found.where(provider_account.c.insurer == insurer)
    if provider_id:
        found = found.where(provider_account.c.provider_id == provider_id)
    return connection.execute(found.order_by(provider_account.c.seq.desc()).limit(most)).all()


def account_on(
    connection: Connection, sealer: Sealer, insurer: str, provider_id: str, day: date
) -> bytes | None:
    """The account that an insurer pays a provider to on a day: of those confirmed, the last one.

    The one of the latest first day, and of several of that day the one proposed last.

    Raises: CannotOpen when the row was swapped or altered.
    """
    found = _accounts().where(
        provider_account.c.insurer == insurer,
        provider_account.c.provider_id == provider_id,
        provider_account.c.valid_from <= day.isoformat(),
        provider_account_word.c.confirmed == 1,
    )
    newest = found.order_by(
        provider_account.c.valid_from.desc(), provider_account.c.seq.desc()
    ).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else opened(sealer, row, insurer)


def _accounts() -> Any:
    word = provider_account_word
    said = word.c.confirmed, word.c.actor.label("decider"), word.c.note
    return select(provider_account, *said).select_from(
        provider_account.outerjoin(word, and_(word.c.account_id == provider_account.c.id))
    )


def _place(account_id: str, insurer: str, provider_id: str) -> dict[str, str]:
    return {
        "table": "provider_account",
        "column": "sealed",
        "row": account_id,
        "subject": provider_subject(insurer, provider_id),
    }
