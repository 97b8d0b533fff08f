"""Answers to writes, kept for ever: a repeated request gets the same, another body is refused."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from services.claims.storage import sealed
from services.claims.storage.tables import request_log
from services.common.access.tenant import Tenant
from services.common.database import take_turns
from services.common.sealing import Sealer


@dataclass(frozen=True, slots=True)
class RequestKey:
    """By what a repeated write is known: its method, its request_id and the hash of its content."""

    method: str
    request_id: str
    content_hash: str


class OtherContent(ValueError):
    """A request_id or bill number was used before with other content."""


def answered(
    connection: Connection, sealer: Sealer, tenant: Tenant, key: RequestKey
) -> bytes | None:
    """The stored answer of a repeated request of this tenant; None for a new request_id.

    Repeats at the same moment take turns until the first one's transaction ends.

    Raises: OtherContent when the request_id was used with another body.
    """
    request_id = tenant.own(key.request_id)
    take_turns(connection, f"{key.method}/{request_id}")
    found = select(request_log.c.request_hash, request_log.c.response).where(
        request_log.c.method == key.method, request_log.c.request_id == request_id
    )
    row = connection.execute(found).first()
    if row is None:
        return None
    if row.request_hash != _request_hash(sealer, key.content_hash):
        raise OtherContent(key.request_id)
    return bytes(row.response)


def remember_answer(
    connection: Connection,
    sealer: Sealer,
    tenant: Tenant,
    key: RequestKey,
    response: bytes,
    at_us: int,
) -> None:
    """Keep the answer of a request for ever: names and counts, nothing about a person."""
    row = {
        "method": key.method,
        "request_id": tenant.own(key.request_id),
        "request_hash": _request_hash(sealer, key.content_hash),
        "response": response,
        "at_us": at_us,
    }
    connection.execute(insert(request_log), row)


def _request_hash(sealer: Sealer, digest: str) -> str:
    return sealed.keyed(sealer, digest, table="request_log", column="request_hash")
