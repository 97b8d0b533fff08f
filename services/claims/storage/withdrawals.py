"""Consents that were withdrawn, and the end of the undecided claims that rest on them.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Connection, insert, select

from services.claims.core.life_cycle import ClaimState, Event
from services.claims.storage.claims import PENDED, UNDECIDED, lock, move_on
from services.claims.storage.decisions import release
from services.claims.storage.rows import ClaimRow
from services.claims.storage.tables import claim, withdrawn_consent
from services.common.database import take_turns
from services.common.sealing import Sealer

ACTOR = "consent"


def is_withdrawn(connection: Connection, consent: str) -> bool:
    """Whether the consent is withdrawn; it stays as it is until this transaction ends."""
    take_turns(connection, consent, shared=True)
    found = select(withdrawn_consent.c.consent).where(withdrawn_consent.c.consent == consent)
    return connection.execute(found).first() is not None


def withdrawn_among(connection: Connection, consents: Collection[str]) -> set[str]:
    """Those of the consents that are withdrawn: no read that comes after rests on them."""
    if not consents:
        return set()
    known = select(withdrawn_consent.c.consent).where(
        withdrawn_consent.c.consent.in_(set(consents))
    )
    return set(connection.execute(known).scalars())


def withdraw(
    connection: Connection,
    sealer: Sealer,
    consents: Collection[str],
    now_us: Callable[[], int],
    replaced: Collection[str] = (),
) -> Sequence[ClaimRow]:
    """End every claim that rests on these consents and is not decided; all that rest on them.

    A pended claim has used accumulators up; they get back exactly what its decision took. One that
    was paid and is looked at again stays: its money holds what it has used up. From
    here on no bill is taken in under these consents, nor under the `replaced` ones, for which
    another stands in: those end no claim.
    """
    names = sorted(set(consents))
    gone = sorted({*names, *replaced})
    for name in gone:
        take_turns(connection, name)
    before = withdrawn_among(connection, gone)
    new = [{"consent": name, "at_us": now_us()} for name in gone if name not in before]
    if new:
        connection.execute(insert(withdrawn_consent), new)
    resting = select(claim).where(claim.c.consent.in_(names)).order_by(claim.c.seq)
    rows = connection.execute(resting).all()
    if lock(connection, (row.policy_id for row in rows), (row.person_id for row in rows)):
        rows = connection.execute(resting).all()
    at_us = now_us()  # what was waited for has moved these claims before
    for row in rows:
        if ClaimState(row.state) in (*UNDECIDED, *PENDED) and not row.paid:
            _end(connection, sealer, row, at_us)
    return connection.execute(resting).all()


def _end(connection: Connection, sealer: Sealer, row: ClaimRow, at_us: int) -> None:
    release(connection, sealer, row)
    state = ClaimState(row.state)
    move_on(connection, row.id, state, [Event.WITHDRAW], ACTOR, at_us, released_us=at_us)
