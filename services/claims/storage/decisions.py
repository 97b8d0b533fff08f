"""Decisions in the claims database, and what they use up and give back. Decides nothing.

Every function works in the caller's transaction; what belongs together is written together.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    func,
    insert,
    select,
)

from services.claims.core import canonical
from services.claims.core.decision import Decision, UsageChange
from services.claims.storage import sealed
from services.claims.storage.claims import ClaimRow, stay
from services.claims.storage.tables import (
    decision,
    decision_line,
    decision_share,
)
from services.claims.storage.usage import use
from services.common.sealing import Sealer


def void_decision(connection: Connection, claim_id: str, at_us: int) -> None:
    """A decision that paid nothing is no longer in force; the claim stays closed as it is."""
    stay(connection, claim_id, released_us=at_us)


def store_decision(
    connection: Connection,
    sealer: Sealer,
    row: ClaimRow,
    inputs: canonical.Inputs,
    decided: Decision,
    at_us: int,
) -> str:
    """Write lines and shares, seal them with the decision, and move the accumulators; its id.

    One that takes the place of the claim's decision in force releases exactly what that one used.
    The database itself refuses a decision that does not add up to the fen.
    """
    if row.decision_id is not None:
        release(connection, sealer, row)
    decision_id = uuid.uuid4().hex
    connection.execute(insert(decision_line), _line_rows(decision_id, decided))
    shares = [
        {
            "decision_id": decision_id,
            "number": line.number,
            "position": position,
            "bearer": share.bearer.value,
            "amount": share.amount,
        }
        for line in decided.lines
        for position, share in enumerate(line.shares)
    ]
    if shares:
        connection.execute(insert(decision_share), shares)
    position = connection.execute(
        select(func.count()).where(decision.c.claim_id == row.id)
    ).scalar_one()
    connection.execute(
        insert(decision),
        {
            "id": decision_id,
            "claim_id": row.id,
            "position": position,
            "plan_version": decided.plan_version,
            "engine_version": decided.engine_version,
            **sealed.sealed_decision(sealer, decision_id, row, inputs, decided),
            "currency": decided.currency,
            "billed": decided.billed,
            "allowed": decided.allowed,
            "benefit": decided.benefit,
            "lines": len(decided.lines),
            "at_us": at_us,
        },
    )
    use(connection, row.policy_id, row.member_id, decided.usage_changes)
    return decision_id


def release(connection: Connection, sealer: Sealer, row: ClaimRow) -> None:
    """Give back exactly what the claim's decision in force has used up or reserved, once.

    The caller writes down that it was (`released_us`), or what takes its place.

    Raises: Erased, CannotOpen.
    """
    use(connection, row.policy_id, row.member_id, own_use(connection, sealer, row), sign=-1)


def own_use(connection: Connection, sealer: Sealer, row: ClaimRow) -> tuple[UsageChange, ...]:
    """What the claim's decision in force has used up; nothing once it was given back.

    Raises: Erased, CannotOpen.
    """
    if row.decision_id is None or row.released_us is not None:
        return ()
    return sealed.open_output(sealer, decision_of(connection, row.decision_id)).usage_changes


def _line_rows(decision_id: str, decided: Decision) -> list[dict[str, Any]]:
    return [
        {
            "decision_id": decision_id,
            "number": line.number,
            "billed": line.billed,
            "allowed": line.allowed,
            "benefit": line.benefit,
        }
        for line in decided.lines
    ]


def decision_of(connection: Connection, decision_id: str) -> Row[Any]:
    """The stored decision; inputs and output are sealed."""
    return connection.execute(select(decision).where(decision.c.id == decision_id)).one()


def decisions_of(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Stored decisions by id, without what they were made from."""
    columns = [column for column in decision.c if column.name not in ("salt", "inputs", "services")]
    found = select(*columns).where(decision.c.id.in_(ids))
    return {row.id: row for row in connection.execute(found)}
