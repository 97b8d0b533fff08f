"""Claims of one bill: who handed it in, and which policies come before which.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    select,
    update,
)

from services.claims.core.life_cycle import (
    ClaimState,
)
from services.claims.storage import sealed
from services.claims.storage.claims import PENDED, UNDECIDED, ClaimRow
from services.claims.storage.tables import (
    claim,
)
from services.common.sealing import Sealer


def claims_of_bill(
    connection: Connection,
    sealer: Sealer,
    provider_id: str,
    bill_number: str,
    insurer: str | None,
) -> Sequence[ClaimRow]:
    """Claims that this bill opened, of one insurer or of all, in coordination order.

    Also those of a person erased since.
    """
    found = select(claim).where(
        claim.c.provider_id == provider_id,
        claim.c.bill_index == sealed.bill_index(sealer, bill_number),
    )
    if insurer is not None:
        found = found.where(claim.c.insurer == insurer)
    return connection.execute(found.order_by(claim.c.seq)).all()


def claims_named_by_bill(
    connection: Connection, sealer: Sealer, row: ClaimRow, provider_id: str, bill_number: str
) -> Sequence[tuple[str, str]]:
    """Policy and id of the claims that a bill opened for the person and insurer of `row`.

    In the order of their intake, without those withdrawn. Opens nothing.
    """
    found = (
        select(claim.c.policy_id, claim.c.id)
        .where(
            claim.c.provider_id == provider_id,
            claim.c.bill_index == sealed.bill_index(sealer, bill_number),
            claim.c.person_id == row.person_id,
            claim.c.insurer == row.insurer,
            claim.c.state != ClaimState.WITHDRAWN.value,
        )
        .order_by(claim.c.seq)
    )
    return [(one.policy_id, one.id) for one in connection.execute(found)]


def hospitals_of(connection: Connection, provider_id: str) -> set[str]:
    """The hospitals that have handed bills of this provider in, under their own names for them."""
    found = select(claim.c.hospital).where(
        claim.c.provider_id == provider_id, claim.c.hospital.is_not(None)
    )
    return set(connection.execute(found.distinct()).scalars())


def adopt(connection: Connection, claim_ids: Sequence[str], hospital: str) -> None:
    """Claims of a bill that came without its hospital's name are the hospital's from now on."""
    nobodys = claim.c.id.in_(claim_ids), claim.c.hospital.is_(None)
    connection.execute(update(claim).where(*nobodys).values(hospital=hospital))


def waits_for_earlier(connection: Connection, row: ClaimRow) -> bool:
    """Whether an earlier claim of the member is not decided yet.

    One that itself waits for a pended claim of the same bill under an earlier policy may wait for
    weeks, and holds nobody up.
    """
    told = {"person_id": row.person_id, "person_seq": row.person_seq}
    return connection.execute(_WAITS_FOR, told).first() is not None


def _waits_for() -> Select[tuple[str]]:
    earlier = select(claim.c.id).where(
        claim.c.person_id == bindparam("person_id"),
        claim.c.person_seq < bindparam("person_seq"),
        claim.c.state.in_([state.value for state in UNDECIDED]),
        ~_earlier_policy_stands(PENDED),
    )
    return earlier.limit(1)


def _earlier_policy_stands(states: Sequence[ClaimState]) -> ColumnElement[bool]:
    """Whether a claim's bill has a claim under an earlier policy, in one of these states."""
    first = claim.alias("first")
    return (
        select(first.c.id)
        .where(
            first.c.provider_id == claim.c.provider_id,
            first.c.bill_index == claim.c.bill_index,
            first.c.person_id == claim.c.person_id,
            first.c.person_seq < claim.c.person_seq,
            first.c.state.in_([state.value for state in states]),
        )
        .exists()
    )


# Built once: it costs more than the database's answer.
_WAITS_FOR = _waits_for()


def earlier_policies(connection: Connection, row: ClaimRow) -> Sequence[ClaimRow]:
    """Claims of the same bill under policies that come first in coordination."""
    names = ("provider_id", "bill_index", "person_id", "person_seq")
    told = {name: getattr(row, name) for name in names}
    return connection.execute(_EARLIER_POLICIES, told).all()


_EARLIER_POLICIES = (
    select(claim)
    .where(
        claim.c.provider_id == bindparam("provider_id"),
        claim.c.bill_index == bindparam("bill_index"),
        claim.c.person_id == bindparam("person_id"),
        claim.c.person_seq < bindparam("person_seq"),
    )
    .order_by(claim.c.seq)
)


def freed(connection: Connection, *, since_us: int, most: int) -> Sequence[ClaimRow]:
    """Undecided claims, taken in before a moment, whose bill pends under no earlier policy now.

    Whoever has decided the earlier claim, and for whichever insurer.
    """
    told = {"since_us": since_us, "most": most}
    return connection.execute(_FREED, told).all()


_FREED = (
    select(claim)
    .where(
        claim.c.state.in_([state.value for state in UNDECIDED]),
        claim.c.created_us <= bindparam("since_us"),
        _earlier_policy_stands([state for state in ClaimState if state not in UNDECIDED]),
        ~_earlier_policy_stands((*PENDED, *UNDECIDED)),
    )
    .order_by(claim.c.seq)
    .limit(bindparam("most"))
)
