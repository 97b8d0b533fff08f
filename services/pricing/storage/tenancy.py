"""What each tenant holds about a member, and for whom a member exists besides themselves.

Everything about a person is somebody's: readings are their recorder's, a target is whose doctor set
it, a quote is its insurer's (decision 006). A *holding* is what one of them keeps about one member;
its key seals that and nothing else, so that whoever erases destroys what is theirs.

A hospital records readings and reads nothing back. An insurer finds a member once it has quoted for
their part in a programme, a partner once it has recorded something for them. A member token is a
keyed pseudonym of an identity document: who has it was given the document and the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Connection, false, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from services.common.access.tenant import Kind, Tenant
from services.common.sealing import Sealer, members
from services.pricing.storage.tables import holding, metadata

_MEMBER = metadata.tables["member"]
_FINDS_MEMBERS = (Kind.INSURER, Kind.PARTNER)
# A member's own, who is known by the row's member: a hash of the token would outlive an erasure.
_OWN = str(Kind.MEMBER)


def holder_of(tenant: Tenant) -> str:
    """Names the tenant in a holding; tells no token and no hash of one.

    >>> holder_of(Tenant(Kind.HOSPITAL, "general")), holder_of(Tenant(Kind.MEMBER, "k1.ab"))
    ('hospital/general', 'member')
    """
    return _OWN if tenant.kind is Kind.MEMBER else tenant.key


def subject_of(holding_id: str) -> str:
    """The subject whose key seals what a holding holds."""
    return f"holding:{holding_id}"


def locked_members(
    connection: Connection, sealer: Sealer, tokens: Iterable[str], now_us: int
) -> dict[str, str]:
    """Token → member's id, new ones added; nobody else records for or erases them until the end."""
    wanted = set(tokens)
    while True:
        found = members.find_or_add(connection, sealer, wanted, now_us)
        _lock(connection, found.values())
        # Who was erased while we waited for the lock is another member from now on.
        if connection.dialect.name == "sqlite" or found == members.find_all(
            connection, sealer, wanted
        ):
            return found


def locked_member(connection: Connection, sealer: Sealer, token: str) -> str | None:
    """The member's id, locked as by `locked_members`; None when there is none."""
    found = members.find(connection, sealer, token)
    if found is not None:
        _lock(connection, [found])
    return members.find(connection, sealer, token)


def _lock(connection: Connection, member_ids: Iterable[str]) -> None:
    if connection.dialect.name == "postgresql":
        rows = select(_MEMBER.c.id).where(_MEMBER.c.id.in_(list(member_ids)))
        connection.execute(rows.order_by(_MEMBER.c.id).with_for_update())


def hold(
    connection: Connection, tenant: Tenant, member_ids: Iterable[str], now_us: int
) -> dict[str, str]:
    """Member → the tenant's holding about them, made where there was none."""
    wanted = sorted(set(member_ids))
    found = _held(connection, tenant, wanted)
    rows = [
        {"id": uuid.uuid4().hex, "tenant": holder_of(tenant), "member": member, "at_us": now_us}
        for member in wanted
        if member not in found
    ]
    if not rows:
        return found
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(holding).on_conflict_do_nothing(), rows)
    return _held(connection, tenant, wanted)


def held(connection: Connection, tenant: Tenant, member: str) -> str | None:
    """The tenant's holding about a member; None without one."""
    return _held(connection, tenant, [member]).get(member)


def _held(connection: Connection, tenant: Tenant, member_ids: Iterable[str]) -> dict[str, str]:
    rows = connection.execute(
        select(holding.c.member, holding.c.id).where(
            holding.c.tenant == holder_of(tenant), holding.c.member.in_(list(member_ids))
        )
    )
    return {row.member: row.id for row in rows}


def holders(connection: Connection, member_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Member → holding → who holds it (`holder_of`), of all who hold something."""
    found: dict[str, dict[str, str]] = {member: {} for member in member_ids}
    rows = connection.execute(
        select(holding.c.member, holding.c.id, holding.c.tenant).where(
            holding.c.member.in_(list(found))
        )
    )
    for row in rows:
        found[row.member][row.id] = row.tenant
    return found


def erasable(held_by: Mapping[str, str], tenant: Tenant) -> list[str]:
    """Of a member's holdings those that a tenant may erase: its own; for the member everybody's.

    But an insurer's quotes are records of its business, which it keeps as long as the law wants
    (Insurance Law, article 87): they go when the insurer erases them.
    """
    if tenant.kind is Kind.MEMBER:
        insurers = f"{Kind.INSURER}/"
        return sorted(one for one, by in held_by.items() if not by.startswith(insurers))
    return sorted(one for one, by in held_by.items() if by == holder_of(tenant))


def let_go(connection: Connection, holding_ids: Iterable[str], now_us: int) -> None:
    """Cut holdings off their member; their keys are to be destroyed in the same transaction."""
    connection.execute(
        update(holding)
        .where(holding.c.id.in_(list(holding_ids)))
        .values(member=None, erased_us=now_us)
    )


def find(connection: Connection, sealer: Sealer, tenant: Tenant, token: str) -> str | None:
    """The member's id; None for a member that is unknown, or does not exist for the tenant."""
    found = members.find(connection, sealer, token)
    if found is None or tenant.kind is Kind.INSTALLATION or tenant.member == token:
        return found
    if tenant.kind not in _FINDS_MEMBERS or held(connection, tenant, found) is None:
        return None
    return found


def mine(
    connection: Connection, sealer: Sealer, tenant: Tenant, column: ColumnElement[str]
) -> ColumnElement[bool]:
    """The column's holding is about one of the tenant's members, or was the tenant's own."""
    if tenant.kind is Kind.INSTALLATION:
        return true()
    if tenant.member is not None:
        member = members.find(connection, sealer, tenant.member)
        if member is None:  # it would be compared with those who were erased
            return false()
        return column.in_(select(holding.c.id).where(holding.c.member == member))
    if tenant.kind not in _FINDS_MEMBERS:
        return false()
    own = holding.c.tenant == holder_of(tenant)
    with_us = select(holding.c.member).where(own, holding.c.member.is_not(None))
    return column.in_(select(holding.c.id).where(or_(own, holding.c.member.in_(with_us))))
