"""Which claims are whose: the condition that every look-up, list and sum of claims carries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, false, select, true

from services.claims.storage import policies
from services.claims.storage.tables import claim
from services.common.access.tenant import Kind, Tenant
from services.common.sealing import Sealer

_OWNERS = {
    Kind.INSURER: claim.c.insurer,
    Kind.HOSPITAL: claim.c.hospital,
    Kind.MEMBER: claim.c.person_id,
}


def owned(kind: Kind) -> ColumnElement[bool]:
    """A claim is the tenant's, whose `owner` is bound; every claim is the installation's.

    None is of a kind of tenant that has no claims.
    """
    if kind is Kind.INSTALLATION:
        return true()
    return _OWNERS[kind] == bindparam("owner") if kind in _OWNERS else false()


def owner(connection: Connection, sealer: Sealer, tenant: Tenant) -> dict[str, Any]:
    """What `owned` binds. A member is the person of the token; nobody's claims if there is none."""
    if tenant.kind not in _OWNERS:
        return {}
    if tenant.member is not None:
        return {"owner": policies.find_person(connection, sealer, tenant.member) or ""}
    return {"owner": tenant.id}


def claims_of(connection: Connection, sealer: Sealer, tenant: Tenant) -> Select[tuple[str]] | None:
    """The ids of the tenant's claims, for sums over other tables; None when all are meant."""
    if tenant.kind is Kind.INSTALLATION:
        return None
    return select(claim.c.id).where(owned(tenant.kind)).params(owner(connection, sealer, tenant))
