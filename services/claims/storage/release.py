"""Giving back what a decision in force has used up, exactly. Works in the caller's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from services.claims.core.decision import UsageChange
from services.claims.storage.claims import decision_of
from services.claims.storage.sealed import open_output
from services.claims.storage.usage import use
from services.common.sealing import Sealer


def own_use(connection: Connection, sealer: Sealer, row: Row[Any]) -> tuple[UsageChange, ...]:
    """What the claim's decision in force has used up; nothing once it was given back.

    Raises: Erased, CannotOpen.
    """
    if row.decision_id is None or row.released_us is not None:
        return ()
    return open_output(sealer, decision_of(connection, row.decision_id)).usage_changes


def give_back(connection: Connection, sealer: Sealer, row: Row[Any]) -> None:
    """Release it. The caller writes down that it was, or what takes its place.

    Raises: Erased, CannotOpen.
    """
    changes = own_use(connection, sealer, row)
    use(connection, row.policy_id, row.member_id, changes, sign=-1)
