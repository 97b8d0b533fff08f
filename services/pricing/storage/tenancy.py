"""For whom a member exists, besides themselves; the condition in every look-up and list of members.

A hospital records readings and reads nothing back. An insurer finds a member once it has quoted for
their part in a programme, a partner once it has recorded something for them. A member token is a
keyed pseudonym of an identity document: who has it was given the document and the key.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, false, select, true
from sqlalchemy.dialects import postgresql, sqlite

from services.common.access.tenant import Kind, Tenant
from services.common.sealing import Sealer, members
from services.pricing.storage.tables import metadata, participant

_MEMBER = metadata.tables["member"]
_TAKE_PART_WITH = (Kind.INSURER, Kind.PARTNER)


def find(connection: Connection, sealer: Sealer, tenant: Tenant, token: str) -> str | None:
    """The member's id; None for a member that is unknown, or does not exist for the tenant."""
    found = select(_MEMBER.c.id).where(
        _MEMBER.c.token_index == members.index_of(sealer, token),
        mine(connection, sealer, tenant, _MEMBER.c.id),
    )
    return connection.execute(found).scalar_one_or_none()


def mine(
    connection: Connection, sealer: Sealer, tenant: Tenant, column: ColumnElement[str]
) -> ColumnElement[bool]:
    """The column's member is one of the tenant's."""
    if tenant.kind is Kind.INSTALLATION:
        return true()
    if tenant.member is not None:
        return column == members.find(connection, sealer, tenant.member)
    if tenant.kind not in _TAKE_PART_WITH:
        return false()
    with_us = select(participant.c.member).where(participant.c.tenant == tenant.key)
    return column.in_(with_us)


def take_part(
    connection: Connection, tenant: Tenant, member_ids: Iterable[str], now_us: int
) -> None:
    """Members take part with an insurer or partner from now on; nothing for any other tenant."""
    rows = [{"tenant": tenant.key, "member": member, "at_us": now_us} for member in set(member_ids)]
    if rows and tenant.kind in _TAKE_PART_WITH:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        # In order: two transactions never wait for each other in a circle.
        rows.sort(key=lambda row: str(row["member"]))
        connection.execute(dialect.insert(participant).on_conflict_do_nothing(), rows)
