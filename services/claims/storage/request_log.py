"""Answers to writes, kept for ever: a repeated request gets the same, another body is refused."""

from __future__ import annotations

from sqlalchemy import (
    Connection,
    insert,
    select,
)

from services.claims.storage import sealed
from services.claims.storage.tables import (
    request_log,
)
from services.common.access.tenant import Tenant
from services.common.database import take_turns
from services.common.sealing import Sealer


class OtherContent(ValueError):
    """A request_id or bill number was used before with other content."""


def answered(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    method: str,
    request_id: str,
    request_hash: str,
) -> bytes | None:
    """The stored answer of a repeated request of this tenant; None for a new request_id.

    Repeats at the same moment take turns until the first one's transaction ends.

    Raises: OtherContent when the request_id was used with another body.
    """
    take_turns(connection, f"{method}/{tenant.own(request_id)}")
    found = select(request_log.c.request_hash, request_log.c.response).where(
        request_log.c.method == method, request_log.c.request_id == tenant.own(request_id)
    )
    row = connection.execute(found).first()
    if row is None:
        return None
    if row.request_hash != _request_hash(sealer, request_hash):
        raise OtherContent(request_id)
    return bytes(row.response)


def remember_answer(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    method: str,
    request_id: str,
    request_hash: str,
    response: bytes,
    at_us: int,
) -> None:
    """Keep the answer of a request for ever: names and counts, nothing about a person."""
    row = {
        "method": method,
        "request_id": tenant.own(request_id),
        "request_hash": _request_hash(sealer, request_hash),
        "response": response,
        "at_us": at_us,
    }
    connection.execute(insert(request_log), row)


def _request_hash(sealer: Sealer, digest: str) -> str:
    return sealed.keyed(sealer, digest, table="request_log", column="request_hash")
