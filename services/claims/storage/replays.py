"""A tenant's claims in order, with every decision that was ever made of each. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from services.claims.storage.rows import ReplayRow
from services.claims.storage.tables import claim, decision
from services.claims.storage.tenancy import owned, owner
from services.common.access.tenant import Tenant
from services.common.sealing import Sealer


def claims_after(
    connection: Connection, sealer: Sealer, tenant: Tenant, after: int, most: int
) -> Sequence[Any]:
    """The tenant's next claims, oldest first: their names and decisions in force."""
    found = (
        select(claim.c.seq, claim.c.id, claim.c.policy_id, claim.c.decision_id)
        .where(claim.c.seq > after, owned(tenant.kind))
        .order_by(claim.c.seq)
        .limit(most)
    )
    return connection.execute(found, owner(connection, sealer, tenant)).all()


def decisions_of(connection: Connection, claim_ids: Sequence[str]) -> dict[str, list[ReplayRow]]:
    """By claim, every decision, superseded ones too, in the order made; sealed."""
    columns = [column for column in decision.c if column.name != "services"]
    found = select(*columns).where(decision.c.claim_id.in_(claim_ids))
    made: dict[str, list[ReplayRow]] = {}
    for row in connection.execute(found.order_by(decision.c.position)):
        made.setdefault(row.claim_id, []).append(row)
    return made


def progress(connection: Connection, sealer: Sealer, tenant: Tenant, last: int) -> tuple[int, int]:
    """How many of the tenant's claims come no later than a position, and how many there are."""
    found = select(func.count().filter(claim.c.seq <= last), func.count()).where(owned(tenant.kind))
    done, total = connection.execute(
        found.select_from(claim), owner(connection, sealer, tenant)
    ).one()
    return done, total
