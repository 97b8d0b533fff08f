"""Bills that hospitals have corrected: each version of one, sealed, and what waits for it.

Version 0 is the claim's first bill, version n its nth correction. Every function works in the
caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select

from services.claims.core.life_cycle import ClaimState
from services.claims.storage import claims as store
from services.claims.storage import sealed
from services.claims.storage.coordination import Standing
from services.claims.storage.rows import ClaimRow
from services.claims.storage.tables import bill_correction, claim
from services.common.sealing import Sealer

_S = ClaimState
# Where the engine puts a decision about a corrected bill in the place of the one before by itself.
_ADJUSTABLE = (*store.PENDED, _S.DENIED, _S.CLOSED_ZERO, _S.PAID)
# Nothing that the hospital says of the bill can change these any more, save that it is taken back.
TOO_LATE = (
    *(_S.REVERSED, _S.RECOVERY_OPEN, _S.RECOVERED, _S.WRITTEN_OFF),
    *(_S.UPHELD, _S.CLOSED_INCOMPLETE, _S.WITHDRAWN),
)


def take(
    connection: Connection, sealer: Sealer, row: ClaimRow, bill: bytes, bill_hash: str, at_us: int
) -> None:
    """Keep a corrected bill beside the claim's earlier ones; a review of those is void."""
    number = row.adjustments + 1
    content = {
        "claim_id": row.id,
        "number": number,
        "person_id": row.person_id,
        "bill_hash": sealed.bill_hash(sealer, bill_hash),
        "bill": sealed.seal_correction(sealer, row, number, bill),
        "at_us": at_us,
    }
    connection.execute(insert(bill_correction), content)
    store.stay(connection, row.id, adjustments=number)


def bill_of(connection: Connection, sealer: Sealer, row: ClaimRow, number: int) -> bytes:
    """One version of the claim's bill.

    Raises: Erased, CannotOpen.
    """
    if not number:
        return sealed.open_bill(sealer, row)
    found = select(bill_correction).where(
        bill_correction.c.claim_id == row.id, bill_correction.c.number == number
    )
    return sealed.open_correction(sealer, connection.execute(found).one())


def says_nothing_new(connection: Connection, sealer: Sealer, row: ClaimRow, bill_hash: str) -> bool:
    """Whether the newest version of the claim's bill has this content."""
    return _hashes(connection, row)[-1] == sealed.bill_hash(sealer, bill_hash)


def is_content(connection: Connection, sealer: Sealer, row: ClaimRow, bill_hash: str) -> bool:
    """Whether any version of the claim's bill has this content."""
    return sealed.bill_hash(sealer, bill_hash) in _hashes(connection, row)


def _hashes(connection: Connection, row: ClaimRow) -> list[str]:
    if not row.adjustments:
        return [row.bill_hash]
    found = select(bill_correction.c.bill_hash).where(bill_correction.c.claim_id == row.id)
    later = connection.execute(found.order_by(bill_correction.c.number)).scalars()
    return [row.bill_hash, *later]


def is_open(row: ClaimRow | Standing) -> bool:
    """Whether the decision in force does not know the newest version of the bill, and may yet."""
    return bool(row.adjusted < row.adjustments) and ClaimState(row.state) not in TOO_LATE


def is_held(row: ClaimRow | Standing) -> bool:
    """Whether the newest version of the bill waits for a person."""
    return is_open(row) and bool(row.adjust_held == row.adjustments)


def held() -> ColumnElement[bool]:
    """The same, in SQL."""
    return and_(
        claim.c.adjusted < claim.c.adjustments,
        claim.c.adjust_held == claim.c.adjustments,
        claim.c.state.not_in([state.value for state in TOO_LATE]),
    )


def is_adjustable(row: ClaimRow) -> bool:
    """Whether the claim stands where a decision about a corrected bill takes effect by itself."""
    return ClaimState(row.state) in _ADJUSTABLE or awaits_first_payment(row)


def awaits_first_payment(row: ClaimRow) -> bool:
    """Whether the claim is owed and nobody has had anything of it: what is owed may change yet."""
    return ClaimState(row.state) is _S.PAYABLE and not row.paid


def hold(connection: Connection, row: ClaimRow) -> None:
    """Leave the newest version of the bill to a person."""
    store.stay(connection, row.id, adjust_held=row.adjustments)


def to_adjust(connection: Connection, most: int) -> Sequence[tuple[str, str, int]]:
    """(policy, claim, version) of claims whose newest bill the engine can decide now."""
    found = select(claim.c.policy_id, claim.c.id, claim.c.adjustments).where(
        claim.c.adjusted < claim.c.adjustments,
        claim.c.adjust_held < claim.c.adjustments,
        or_(
            claim.c.state.in_([state.value for state in _ADJUSTABLE]),
            and_(claim.c.state == _S.PAYABLE.value, claim.c.paid == 0),
        ),
    )
    rows = connection.execute(found.order_by(claim.c.seq).limit(most))
    return [(policy_id, claim_id, number) for policy_id, claim_id, number in rows]
