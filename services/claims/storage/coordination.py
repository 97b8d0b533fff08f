"""Claims of one bill: who handed it in, and which policies come before which.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    or_,
    select,
    tuple_,
    update,
)

from services.claims.core.life_cycle import (
    ClaimState,
)
from services.claims.storage import sealed
from services.claims.storage.claims import PENDED, UNDECIDED
from services.claims.storage.rows import ClaimRow
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


def give_way(connection: Connection, claim_ids: Sequence[str]) -> None:
    """Claims whose bill was taken back are found by its number no more: it is stated anew.

    Their own ids stand in for the number, so that the new statement's claims have it alone.
    """
    ended = claim.c.id.in_(claim_ids), claim.c.reversed_us.is_not(None)
    connection.execute(update(claim).where(*ended).values(bill_index=claim.c.id))


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


@dataclass(slots=True)
class Standing:
    """A claim as far as the order of others asks for it, and as it stands by now."""

    id: str
    policy_id: str
    person_id: str
    person_seq: int
    bill: tuple[str, str]  # provider and number, blind
    state: ClaimState
    decision_id: str | None
    benefit: int | None
    released_us: int | None
    adjustments: int
    adjusted: int
    adjust_held: int


class Around:
    """What stands around some claims: their people's undecided ones, and those of the same bills.

    Read once, while nobody else can move a claim of these people, and kept true by `moved`.
    """

    def __init__(self, connection: Connection, rows: Sequence[ClaimRow]) -> None:
        """Look them up; nothing sealed is read."""
        told = {"people": sorted({row.person_id for row in rows}), "ids": [row.id for row in rows]}
        self._known: dict[str, Standing] = {}
        self._of: dict[str, list[Standing]] = {}
        for row in connection.execute(_AROUND, told):
            found = Standing(
                id=row.id,
                policy_id=row.policy_id,
                person_id=row.person_id,
                person_seq=row.person_seq,
                bill=(row.provider_id, row.bill_index),
                state=ClaimState(row.state),
                decision_id=row.decision_id,
                benefit=row.benefit,
                released_us=row.released_us,
                adjustments=row.adjustments,
                adjusted=row.adjusted,
                adjust_held=row.adjust_held,
            )
            self._known[found.id] = found
            self._of.setdefault(found.person_id, []).append(found)

    def waits_for_earlier(self, row: ClaimRow) -> bool:
        """Whether an earlier claim of the member is not decided yet.

        One that itself waits for a pended claim of the same bill under an earlier policy may wait
        for weeks, and holds nobody up.
        """
        return any(
            one.state in UNDECIDED and one.person_seq < row.person_seq and not self._held_up(one)
            for one in self._of[row.person_id]
        )

    def earlier_policies(self, row: ClaimRow) -> list[Standing]:
        """Claims of the same bill under policies that come first in coordination."""
        return self._earlier(self._known[row.id])

    def moved(self, row: ClaimRow, state: ClaimState, decision_id: str, benefit: int) -> None:
        """A decision about the newest version of the claim's bill has taken effect."""
        here = self._known[row.id]
        here.state, here.decision_id, here.benefit = state, decision_id, benefit
        here.released_us, here.adjusted = None, here.adjustments

    def referred(self, row: ClaimRow) -> None:
        """The claim went to a person, undecided."""
        self._known[row.id].state = ClaimState.PENDED_REVIEW

    def _held_up(self, claim_: Standing) -> bool:
        return any(one.state in PENDED for one in self._earlier(claim_))

    def _earlier(self, of: Standing) -> list[Standing]:
        return [
            one
            for one in self._of[of.person_id]
            if one.bill == of.bill and one.person_seq < of.person_seq
        ]


def _around() -> Select[Any]:
    people: BindParameter[Any] = bindparam("people", expanding=True)
    mine = claim.alias("mine")
    undecided = [state.value for state in UNDECIDED]
    bills = select(mine.c.provider_id, mine.c.bill_index).where(
        mine.c.person_id.in_(people),
        or_(mine.c.state.in_(undecided), mine.c.id.in_(bindparam("ids", expanding=True))),
    )
    names = (
        *("id", "policy_id", "person_id", "person_seq", "provider_id", "bill_index", "state"),
        *("decision_id", "benefit", "released_us", "adjustments", "adjusted", "adjust_held"),
    )
    # An undecided claim's bill is among these bills, and so is a claim's at hand.
    found = select(*(claim.c[name] for name in names)).where(
        claim.c.person_id.in_(people), tuple_(claim.c.provider_id, claim.c.bill_index).in_(bills)
    )
    return found.order_by(claim.c.person_seq)


# Built once: it costs more than the database's answer.
_AROUND = _around()


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
