"""Members of a service's database under opaque ids, found by a blind index of their token."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, MetaData, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.common.bulk import one_of
from services.common.sealing.subject_keys import Sealer
from services.common.sealing.tables import MEMBER, member_table

member = member_table(MetaData())


def subject_of(member_id: str) -> str:
    """The subject whose key seals what is about a member."""
    return f"member:{member_id}"


def index_of(sealer: Sealer, token: str) -> str:
    """Blind index of a member token."""
    return sealer.index(token, table=MEMBER, column="token_index")


def find(connection: Connection, sealer: Sealer, token: str) -> str | None:
    """The member's id; None for a token that was never seen, or was erased."""
    return find_all(connection, sealer, [token]).get(token)


def find_all(connection: Connection, sealer: Sealer, tokens: Iterable[str]) -> dict[str, str]:
    """Token → member's id, for those that are known."""
    by_index = {index_of(sealer, token): token for token in set(tokens)}
    rows = connection.execute(
        select(member.c.token_index, member.c.id).where(
            one_of(connection, member.c.token_index, by_index)
        )
    )
    return {by_index[row.token_index]: row.id for row in rows}


def find_or_add(
    connection: Connection, sealer: Sealer, tokens: Iterable[str], now_us: int
) -> dict[str, str]:
    """Token → member's id; a token that is new gets an id of its own, also after an erasure."""
    wanted = set(tokens)
    found = find_all(connection, sealer, wanted)
    new = sorted(wanted - found.keys())
    if not new:
        return found
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    rows: list[dict[str, Any]] = [
        {"id": uuid.uuid4().hex, "token_index": index_of(sealer, token), "created_us": now_us}
        for token in new
    ]
    # In the order of their indexes: two transactions never wait for each other in a circle.
    rows.sort(key=lambda row: str(row["token_index"]))
    connection.execute(
        dialect.insert(member).on_conflict_do_nothing(index_elements=["token_index"]), rows
    )
    return find_all(connection, sealer, wanted)


def forget_member(connection: Connection, member_id: str, now_us: int) -> None:
    """The same for one whose token nobody has told."""
    connection.execute(
        update(member).where(member.c.id == member_id).values(token_index=None, erased_us=now_us)
    )


def forget(connection: Connection, sealer: Sealer, token: str, now_us: int) -> None:
    """Let nothing lead from the token to its member any more; the opaque id stays in rows.

    The member's key is to be destroyed in the same transaction.
    """
    connection.execute(
        update(member)
        .where(member.c.token_index == index_of(sealer, token))
        .values(token_index=None, erased_us=now_us)
    )
