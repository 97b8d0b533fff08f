"""Lists of claims: which are meant, a page at a time, oldest first. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, or_, select

from services.claims.core.life_cycle import ClaimState
from services.claims.storage import acts, corrections, notices
from services.claims.storage.claims import PENDED
from services.claims.storage.rows import ClaimRow
from services.claims.storage.tables import claim
from services.claims.storage.tenancy import owned, owner
from services.common.access.tenant import Tenant
from services.common.sealing import Sealer

# Money is owed, and the bank has not said that the payee has it.
_UNPAID = (
    ClaimState.PAYABLE,
    ClaimState.PAYMENT_SENT,
    ClaimState.PAYMENT_FAILED,
    ClaimState.RETURNED,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Of a policy, in a state, waiting, without notice, unpaid: all that is said must hold."""

    policy_id: str | None
    state: ClaimState | None
    pended: bool
    notice_unsent: bool = False
    unpaid: bool = False


def list_claims(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    wanted: Wanted,
    *,
    after: int,
    most: int,
) -> Sequence[ClaimRow]:
    """The tenant's claims that are wanted, at most so many after a position in their order."""
    found = select(claim).where(claim.c.seq > after, owned(tenant.kind))
    if wanted.policy_id is not None:
        found = found.where(claim.c.policy_id == wanted.policy_id)
    if wanted.state is not None:
        found = found.where(claim.c.state == wanted.state.value)
    if wanted.pended:
        found = found.where(_waits())
    if wanted.notice_unsent:
        found = found.where(notices.unsent())
    if wanted.unpaid:
        found = found.where(claim.c.state.in_([state.value for state in _UNPAID]))
    found = found.order_by(claim.c.seq).limit(most)
    return connection.execute(found, owner(connection, sealer, tenant)).all()


def _waits() -> ColumnElement[bool]:
    """Whether a claim waits for papers, a person, or a second one, wherever it stands."""
    pended = claim.c.state.in_([state.value for state in PENDED])
    return or_(pended, corrections.held(), acts.proposed())
