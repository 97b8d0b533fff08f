"""Erasures that were done: the same request answers the same, and an auditor sees that it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, MetaData, insert, select, tuple_

from services.common.access.caller import current_caller, rpc_under_way
from services.common.access.labels import role_name, rpc_of
from services.common.access.tenant import Kind, Tenant, current_tenant
from services.common.paging import Page
from services.common.sealing.tables import erasure_table

erasure = erasure_table(MetaData())


class OtherErasure(ValueError):
    """The request id was used before for something else; nothing was erased.

    Whose erasure it was is not kept, so it is told by what else there is: another ground, or that
    the request would erase something now, which the one that was done has left nothing of.
    """


@dataclass(frozen=True, slots=True)
class By:
    """Who had somebody erased: the tenant's key, the role that allowed it; and on what ground."""

    tenant: str = ""
    role: str = ""
    ground: str = ""


NOBODY_SAID = By()


def done_by() -> By:
    """Who calls the rpc under way, and which of their roles lets them.

    A member is "member": a hash of their token would tell whose row it is.

    Raises: NobodyCalls outside an rpc.
    """
    under_way, caller = rpc_under_way(), current_caller()
    rpc = rpc_of(under_way.rpc) if under_way else None
    roles = caller.roles & rpc.roles if rpc else frozenset()
    tenant = current_tenant()
    key = str(tenant.kind) if tenant.kind is Kind.MEMBER else tenant.key
    return By(key, role_name(min(roles)) if roles else "")


def answered(connection: Connection, request_id: str, ground: str = "") -> bytes | None:
    """The stored answer of a repeated request; None for a new request id.

    It answers only a request that would erase nothing; one that would is another, and the caller
    raises OtherErasure itself.

    Raises: OtherErasure when the request id was used on another ground.
    """
    row = connection.execute(select(erasure).where(erasure.c.request_id == request_id)).first()
    if row is None:
        return None
    if row.ground != ground:
        raise OtherErasure(request_id)
    return bytes(row.answer)


def remember(
    connection: Connection,
    request_id: str,
    *,
    member: str,
    answer: bytes,
    now_us: int,
    by: By = NOBODY_SAID,
) -> None:
    """Keep that a member, by the opaque id that is left, was erased, and what was answered."""
    row = {
        "request_id": request_id,
        "member": member,
        "ground": by.ground,
        "answer": answer,
        "at_us": now_us,
        "tenant": by.tenant,
        "role": by.role,
    }
    connection.execute(insert(erasure), row)


def after(connection: Connection, tenant: Tenant, place: tuple[int, str], most: int) -> Page[Any]:
    """The tenant's erasures in the order of time, after one's time and request id.

    Of the whole installation, all.
    """
    columns = erasure.c.at_us, erasure.c.request_id
    query = select(*columns, erasure.c.member, erasure.c.ground, erasure.c.role)
    if tenant.kind is not Kind.INSTALLATION:
        query = query.where(erasure.c.tenant == tenant.key)
    later = query.where(tuple_(*columns) > place).order_by(*columns)
    rows = connection.execute(later.limit(most + 1)).all()
    return Page(rows[:most], more=len(rows) > most)
