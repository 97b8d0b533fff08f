"""Decisions in the claims database, and what they use up and give back. Decides nothing.

Every function works in the caller's transaction; what belongs together is written together.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    select,
)

from services.claims.core import canonical
from services.claims.core.decision import Decision, UsageChange
from services.claims.storage import sealed
from services.claims.storage.rows import ClaimRow, DecidedRow, DecisionRow
from services.claims.storage.tables import (
    decision,
    decision_line,
    decision_share,
)
from services.claims.storage.usage import Used
from services.common.bulk import insert_rows
from services.common.sealing import Sealer


class Decisions:
    """Decisions that a transaction makes, and what they use up: gathered, then written at once."""

    def __init__(
        self, connection: Connection, sealer: Sealer, used: Used, rows: Sequence[ClaimRow]
    ) -> None:
        """For these claims, whose accumulators `used` holds."""
        self._connection = connection
        self._sealer = sealer
        self._used = used
        self._position = _positions(connection, rows)
        self._lines: list[dict[str, Any]] = []
        self._shares: list[dict[str, Any]] = []
        self._decisions: list[dict[str, Any]] = []

    def seal(
        self, row: ClaimRow, inputs: canonical.Inputs, decided: Decision, at_us: int
    ) -> dict[str, Any]:
        """The decision's row, the claim's next one; nothing is gathered yet.

        Raises: Erased.
        """
        decision_id = uuid.uuid4().hex
        return {
            "id": decision_id,
            "claim_id": row.id,
            "position": self._position[row.id],
            "plan_version": decided.plan_version,
            "engine_version": decided.engine_version,
            **sealed.sealed_decision(self._sealer, decision_id, row, inputs, decided),
            "currency": decided.currency,
            "billed": decided.billed,
            "allowed": decided.allowed,
            "benefit": decided.benefit,
            "lines": len(decided.lines),
            "at_us": at_us,
        }

    def add(
        self,
        row: ClaimRow,
        made: dict[str, Any],
        decided: Decision,
        own_use: Sequence[UsageChange] = (),
    ) -> None:
        """Gather a sealed decision with its lines and shares, and move the accumulators.

        One that takes the place of the claim's decision in force releases `own_use`, which is
        exactly what that one used.
        """
        self._decisions.append(made)
        self._lines += _line_rows(made["id"], decided)
        self._shares += _share_rows(made["id"], decided)
        self._used.add(row.policy_id, row.member_id, own_use, sign=-1)
        self._used.add(row.policy_id, row.member_id, decided.usage_changes)

    def write(self) -> None:
        """Lines and shares first: their decision's row seals them.

        The database itself refuses a decision that does not add up to the fen.
        """
        insert_rows(self._connection, decision_line, self._lines)
        insert_rows(self._connection, decision_share, self._shares)
        insert_rows(self._connection, decision, self._decisions)
        self._used.write()


def _positions(connection: Connection, rows: Sequence[ClaimRow]) -> dict[str, int]:
    """How many decisions each claim has had."""
    found = dict.fromkeys((row.id for row in rows), 0)
    decided = [row.id for row in rows if row.decision_id is not None]
    if decided:
        made = connection.execute(_MADE, {"ids": decided})
        found.update((claim_id, int(count)) for claim_id, count in made)
    return found


_MADE = (
    select(decision.c.claim_id, func.count())
    .where(decision.c.claim_id.in_(bindparam("ids", expanding=True)))
    .group_by(decision.c.claim_id)
)


def store_decision(
    connection: Connection,
    sealer: Sealer,
    row: ClaimRow,
    inputs: canonical.Inputs,
    decided: Decision,
    at_us: int,
) -> str:
    """Write one decision in the place of the claim's decision in force, if any; its id."""
    used = Used(connection, [(row.policy_id, row.member_id)])
    making = Decisions(connection, sealer, used, [row])
    made = making.seal(row, inputs, decided, at_us)
    making.add(row, made, decided, own_use(connection, sealer, row))
    making.write()
    return str(made["id"])


def release(connection: Connection, sealer: Sealer, row: ClaimRow) -> None:
    """Give back exactly what the claim's decision in force has used up or reserved, once.

    The caller writes down that it was (`released_us`), or what takes its place.

    Raises: Erased, CannotOpen.
    """
    used = Used(connection, [(row.policy_id, row.member_id)])
    used.add(row.policy_id, row.member_id, own_use(connection, sealer, row), sign=-1)
    used.write()


def own_use(connection: Connection, sealer: Sealer, row: ClaimRow) -> tuple[UsageChange, ...]:
    """What the claim's decision in force has used up; nothing once it was given back.

    Raises: Erased, CannotOpen.
    """
    if row.decision_id is None or row.released_us is not None:
        return ()
    return sealed.open_output(sealer, in_force(connection, row)).usage_changes


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


def _share_rows(decision_id: str, decided: Decision) -> list[dict[str, Any]]:
    return [
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


def in_force(connection: Connection, row: ClaimRow) -> DecisionRow:
    """The decision in force of a claim that has one; inputs and output are sealed."""
    return connection.execute(select(decision).where(decision.c.id == row.decision_id)).one()


def decisions_of(connection: Connection, ids: Sequence[str]) -> dict[str, DecidedRow]:
    """Stored decisions by id, without what they were made from."""
    if not ids:
        return {}
    return {row.id: row for row in connection.execute(_STORED, {"ids": ids})}


_STORED = select(
    *(one for one in decision.c if one.name not in ("salt", "inputs", "services"))
).where(decision.c.id.in_(bindparam("ids", expanding=True)))
