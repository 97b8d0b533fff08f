"""Which of the records here are about a member: for the list of who read them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from services.claims.storage import policies
from services.claims.storage.tables import claim
from services.common.sealing import Sealer


def records_about(connection: Connection, sealer: Sealer, token: str) -> list[str]:
    """Names of the claims of the person with this member token; none once they were erased."""
    person_id = policies.find_person(connection, sealer, token)
    if person_id is None:
        return []
    found = select(claim.c.policy_id, claim.c.id).where(claim.c.person_id == person_id)
    return [f"policies/{row.policy_id}/claims/{row.id}" for row in connection.execute(found)]
