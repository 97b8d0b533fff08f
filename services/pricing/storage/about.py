"""Which of the records here are about a member: for the list of who read them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from services.common.sealing import Sealer, members
from services.pricing.storage import tenancy
from services.pricing.storage.tables import quote


def records_about(connection: Connection, sealer: Sealer, token: str) -> list[str]:
    """Names of the quotes that rest on the member's part in a programme; none after an erasure.

    Readings and coach's tasks stand below the member's name. A quote on a policy alone names nobody
    whom a token leads to.
    """
    member_id = members.find(connection, sealer, token)
    if member_id is None:
        return []
    holding_ids = tenancy.holders(connection, [member_id])[member_id]
    found = select(quote.c.policy_id, quote.c.id).where(
        quote.c.subject.in_([tenancy.subject_of(holding_id) for holding_id in holding_ids])
    )
    return [f"policies/{row.policy_id}/quotes/{row.id}" for row in connection.execute(found)]
