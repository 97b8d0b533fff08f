"""Erasures that were done: the same request answers the same, and an auditor sees that it was."""

from __future__ import annotations

from sqlalchemy import Connection, MetaData, insert, select

from services.common.sealing.subject_keys import Sealer
from services.common.sealing.tables import ERASURE, erasure_table

erasure = erasure_table(MetaData())


class OtherErasure(ValueError):
    """The request id was used before for somebody else; nothing was erased."""


def answered(
    connection: Connection, sealer: Sealer, request_id: str, content: bytes
) -> bytes | None:
    """The stored answer of a repeated request; None for a new request id.

    Raises: OtherErasure when the request id was used with another content.
    """
    row = connection.execute(select(erasure).where(erasure.c.request_id == request_id)).first()
    if row is None:
        return None
    if row.fingerprint != _fingerprint(sealer, content):
        raise OtherErasure(request_id)
    return bytes(row.answer)


def remember(
    connection: Connection,
    sealer: Sealer,
    request_id: str,
    content: bytes,
    *,
    member: str,
    answer: bytes,
    now_us: int,
    ground: str = "",
) -> None:
    """Keep that a member, by the opaque id that is left, was erased, and what was answered."""
    row = {
        "request_id": request_id,
        "fingerprint": _fingerprint(sealer, content),
        "member": member,
        "ground": ground,
        "answer": answer,
        "at_us": now_us,
    }
    connection.execute(insert(erasure), row)


def _fingerprint(sealer: Sealer, content: bytes) -> str:
    return sealer.fingerprint(content, table=ERASURE, column="fingerprint")
