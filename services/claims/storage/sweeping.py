"""Claims that something has to be started for: workflows, timers of papers, payouts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    or_,
    select,
    update,
)

from services.claims.core.life_cycle import (
    ClaimState,
    Event,
)
from services.claims.storage.claims import UNDECIDED, move_claim
from services.claims.storage.rows import ClaimRow
from services.claims.storage.tables import (
    claim,
)


def mark_started(connection: Connection, claim_ids: Sequence[str], at_us: int) -> None:
    """Remember that the claims' workflows were started."""
    connection.execute(update(claim).where(claim.c.id.in_(claim_ids)).values(started_us=at_us))


def not_started(
    connection: Connection, *, unstarted_since_us: int, stale_since_us: int, most: int
) -> list[tuple[str, str]]:
    """(policy, claim) of claims left by their workflow: never started, or long without a step."""
    left = [state.value for state in UNDECIDED]
    found = select(claim.c.policy_id, claim.c.id).where(
        claim.c.state.in_(left),
        or_(
            and_(claim.c.started_us.is_(None), claim.c.created_us < unstarted_since_us),
            claim.c.started_us < stale_since_us,
        ),
    )
    rows = connection.execute(found.order_by(claim.c.seq).limit(most))
    return [(policy_id, claim_id) for policy_id, claim_id in rows]


def papers_untimed(connection: Connection, now_us: int, most: int) -> Sequence[ClaimRow]:
    """Claims for whose papers nothing has a timer; or whose timer should have rung long ago."""
    found = select(claim).where(
        claim.c.state == ClaimState.PENDED_INFO.value,
        or_(
            claim.c.papers_timed < claim.c.papers_asked,
            claim.c.papers_due_us < now_us - _RINGS_WITHIN_US,
        ),
    )
    return connection.execute(found.order_by(claim.c.seq).limit(most)).all()


# A timer that is later than this was lost with Temporal's database.
_RINGS_WITHIN_US = 3_600_000_000


def mark_papers_timed(connection: Connection, claim_id: str, number: int) -> None:
    """Remember that the nth wait for papers has its timer."""
    mine = claim.c.id == claim_id, claim.c.papers_timed < number
    connection.execute(update(claim).where(*mine).values(papers_timed=number))


def payable_claims(connection: Connection, now_us: int, most: int) -> Sequence[ClaimRow]:
    """The oldest payable claims that may be paid now; their rows locked on PostgreSQL."""
    found = select(claim).where(_payable_at(now_us)).with_for_update(skip_locked=True)
    return connection.execute(found.order_by(claim.c.seq).limit(most)).all()


def anything_payable(connection: Connection, now_us: int) -> bool:
    """Whether a claim waits for its payout."""
    found = select(claim.c.id).where(_payable_at(now_us)).limit(1)
    return connection.execute(found).first() is not None


def _payable_at(now_us: int) -> ColumnElement[bool]:
    free = or_(claim.c.blocked_until_us.is_(None), claim.c.blocked_until_us < now_us)
    # What a corrected bill is about to change is not paid before; of a claim that was paid, the
    # rest is, because no move leads from there to both a payout and a recovery.
    settled = or_(claim.c.adjusted >= claim.c.adjustments, claim.c.paid > 0)
    return and_(claim.c.state == ClaimState.PAYABLE.value, free, settled)


def block_payouts(connection: Connection, claim_ids: Sequence[str], until_us: int) -> None:
    """Leave claims that cannot be paid as things stand alone until then."""
    connection.execute(
        update(claim).where(claim.c.id.in_(claim_ids)).values(blocked_until_us=until_us)
    )


def retry_payouts(connection: Connection, policy_id: str, at_us: int) -> None:
    """Pay the policy's blocked and refused claims again: its accounts may have been mended."""
    _retry(connection, claim.c.policy_id == policy_id, "policy_import", at_us)


def retry_provider(connection: Connection, insurer: str, provider_id: str, at_us: int) -> None:
    """Pay the blocked and refused claims of an insurer's provider again: it has an account now."""
    mine = and_(claim.c.insurer == insurer, claim.c.provider_id == provider_id)
    _retry(connection, and_(mine, claim.c.owed_provider > 0), "provider_account", at_us)


def _retry(connection: Connection, mine: ColumnElement[bool], actor: str, at_us: int) -> None:
    blocked = and_(mine, claim.c.blocked_until_us.is_not(None))
    connection.execute(update(claim).where(blocked).values(blocked_until_us=None))
    failed = select(claim.c.id).where(mine, claim.c.state == ClaimState.PAYMENT_FAILED.value)
    for claim_id in connection.execute(failed).scalars().all():
        move_claim(connection, claim_id, Event.RETRY_PAYMENT, actor, at_us)
