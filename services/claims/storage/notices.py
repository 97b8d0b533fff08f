"""When the notices of refusals went out: each record is kept for ever. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, FromClause, and_, exists, func, insert, select

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


def denials(connection: Connection, rows: Sequence[ClaimRow]) -> dict[str, int]:
    """By claim when it came to be denied, of those whose refusal has not fallen since."""
    refused = [row.id for row in rows if ClaimState(row.state) in REFUSED]
    if not refused:
        return {}
    found = select(claim_move.c.claim_id, claim_move.c.at_us).where(
        claim_move.c.claim_id.in_(refused), _denies(claim_move)
    )
    return {move.claim_id: move.at_us for move in connection.execute(found)}


def newest(connection: Connection, denied: Mapping[str, int]) -> dict[str, NoticeRow]:
    """By claim the notice that was recorded last; none of a denial before that of `denials`."""
    if not denied:
        return {}
    found = select(refusal_notice).where(refusal_notice.c.claim_id.in_(denied))
    return {
        notice.claim_id: notice
        for notice in connection.execute(found.order_by(refusal_notice.c.seq))
        if notice.at_us >= denied[notice.claim_id]
    }


def unsent() -> ColumnElement[bool]:
    """Whether a claim's refusal stands and no notice is recorded since, in SQL.

    An objection does not end the duty to tell the refusal: it must not take the claim off the list.
    """
    move = claim_move.alias()
    sent = exists().where(
        refusal_notice.c.claim_id == move.c.claim_id, refusal_notice.c.at_us >= move.c.at_us
    )
    return and_(
        claim.c.state.in_([state.value for state in REFUSED]),
        exists().where(move.c.claim_id == claim.c.id, _denies(move), ~sent),
    )


def _denies(move: FromClause) -> ColumnElement[bool]:
    """Whether a move is the one by which a claim came to be denied, and is denied still."""
    later = claim_move.alias()
    fell = exists().where(
        later.c.claim_id == move.c.claim_id,
        later.c.seq > move.c.seq,
        later.c.to_state.not_in([state.value for state in REFUSED]),
    )
    return and_(move.c.to_state == ClaimState.DENIED.value, ~fell)
