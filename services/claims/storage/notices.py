"""When the notices of refusals went out: each record is kept for ever. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, select

from services.claims.core.life_cycle import ClaimState
from services.claims.storage.rows import ClaimRow, NoticeRow
from services.claims.storage.tables import claim, claim_move, refusal_notice

# Where a claim stands that was refused, until the refusal falls; after an objection it may be one
# that was paid.
REFUSED = (ClaimState.DENIED, ClaimState.APPEALED, ClaimState.UPHELD)


class Channel(StrEnum):
    """By which way a notice went out."""

    LETTER = "letter"
    MESSAGE = "message"
    HANDED_OVER = "handed_over"


def record(
    connection: Connection, claim_id: str, sent: date, channel: Channel, actor: str, at_us: int
) -> None:
    """Append that a notice went out."""
    row = {
        "claim_id": claim_id,
        "sent_day": sent.isoformat(),
        "channel": channel.value,
        "actor": actor,
        "at_us": at_us,
    }
    connection.execute(insert(refusal_notice), row)


def denied_us(connection: Connection, claim_id: str) -> int | None:
    """When a claim came to be denied last; None when it never was."""
    found = select(func.max(claim_move.c.at_us)).where(
        claim_move.c.claim_id == claim_id, claim_move.c.to_state == ClaimState.DENIED.value
    )
    at_us: int | None = connection.execute(found).scalar_one()
    return at_us


def newest(connection: Connection, rows: Sequence[ClaimRow]) -> dict[str, NoticeRow]:
    """By claim the notice that was recorded last; of a denied one none of a denial before."""
    refused = {row.id: row for row in rows if ClaimState(row.state) in REFUSED}
    if not refused:
        return {}
    found = select(refusal_notice).where(refusal_notice.c.claim_id.in_(refused))
    told: dict[str, NoticeRow] = {}
    for notice in connection.execute(found.order_by(refusal_notice.c.seq)):
        row = refused[notice.claim_id]
        if ClaimState(row.state) is not ClaimState.DENIED or notice.at_us >= row.moved_us:
            told[row.id] = notice
    return told


def unsent() -> ColumnElement[bool]:
    """Whether a claim is denied and no notice is recorded since, in SQL."""
    sent = exists().where(
        refusal_notice.c.claim_id == claim.c.id, refusal_notice.c.at_us >= claim.c.moved_us
    )
    return and_(claim.c.state == ClaimState.DENIED.value, ~sent)
