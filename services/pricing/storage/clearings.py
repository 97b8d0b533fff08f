"""What people said of flags, on SQLite or PostgreSQL; kept for ever beside who, when and why.

An insurer's word, sealed under what it holds about the member: it counts for that insurer, and in
what the member is shown of themselves.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys
from services.pricing.storage.tables import (
    OtherContent,
    StorageUnavailable,
    available,
    flag_clearing,
)
from services.pricing.storage.tenancy import find, held, holders, subject_of

_ATTEMPTS = 3


class Clearing(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of one flag."""

    flag: str
    reason: str
    evidence: str
    by: str
    take_back: bool


_encode = msgspec.json.Encoder(order="deterministic").encode
_CLEARING = msgspec.json.Decoder(Clearing)


class NotTakingPart(LookupError):
    """The member takes no part with the insurer; nothing is kept."""


class ClearingStore:
    """Records and reads. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def add(
        self, tenant: Tenant, request_id: str, member_token: str, said: Clearing, now_us: int
    ) -> None:
        """Keep what an insurer's person said. Repeating the request changes nothing.

        Raises: NotTakingPart, OtherContent.
        """
        for _ in range(_ATTEMPTS):
            try:
                with available(), self._database.writing() as connection:
                    self._add(connection, tenant, request_id, member_token, said, now_us)
                    return
            except IntegrityError:
                continue
        raise StorageUnavailable("another call keeps using this request_id")

    def is_known(self, request_id: str) -> bool:
        """Whether a request has been kept, whatever it said."""
        with available(), self._database.reading() as connection:
            return _asked(connection, request_id) is not None

    def cleared(self, tenant: Tenant, member_token: str) -> frozenset[str]:
        """Ids of the member's flags that are cleared for this tenant.

        By its own people, or, for the member, by anybody's.
        """
        with available(), self._database.reading() as connection:
            sealer = self._keys.sealer(connection)
            member = find(connection, sealer, tenant, member_token)
            if member is None:
                return frozenset()
            own = held(connection, tenant, member)
            wanted = list(holders(connection, [member])[member])
            if tenant.kind is not Kind.MEMBER:
                wanted = [] if own is None else [own]
            sealer.load(map(subject_of, wanted))
            rows = connection.execute(
                select(flag_clearing)
                .where(flag_clearing.c.holding.in_(wanted))
                .order_by(flag_clearing.c.id)
            ).all()
            opened = [(row.holding, _opened(sealer, row)) for row in rows]
        last = {(held_in, said.flag): said for held_in, said in opened}
        return frozenset(said.flag for said in last.values() if not said.take_back)

    def _add(
        self,
        connection: Connection,
        tenant: Tenant,
        request_id: str,
        member_token: str,
        said: Clearing,
        now_us: int,
    ) -> None:
        sealer = self._keys.sealer(connection)
        member = find(connection, sealer, tenant, member_token)
        held_in = held(connection, tenant, member) if member else None
        known = _asked(connection, request_id)
        if known is not None:
            if known.holding != held_in or _opened(sealer, known) != said:
                raise OtherContent("request_id used before")
            return
        if held_in is None:
            raise NotTakingPart
        row = {
            "request_id": request_id,
            "holding": held_in,
            "sealed": sealer.seal(_encode(said), **_place(request_id, held_in)),
            "at_us": now_us,
        }
        connection.execute(insert(flag_clearing), row)


def _asked(connection: Connection, request_id: str) -> Row[Any] | None:
    wanted = select(flag_clearing).where(flag_clearing.c.request_id == request_id)
    return connection.execute(wanted).one_or_none()


def _opened(sealer: Sealer, row: Row[Any]) -> Clearing:
    return _CLEARING.decode(sealer.open(row.sealed, **_place(row.request_id, row.holding)))


def _place(row: str, held_in: str) -> dict[str, str]:
    subject = subject_of(held_in)
    return {"table": flag_clearing.name, "column": "sealed", "row": row, "subject": subject}
