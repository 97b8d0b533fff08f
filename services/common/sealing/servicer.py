"""KeysService over gRPC, the same in every service: keys in use, rotation, renewal, erasures."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from sqlalchemy import Row

from lipei.keys.v1 import keys_pb2 as pb
from lipei.keys.v1 import keys_pb2_grpc
from services.common.access.tenant import current_tenant
from services.common.database import Database
from services.common.grpc_edge import (
    Serving,
    Violation,
    invalid,
)
from services.common.log import logger
from services.common.moments import microseconds
from services.common.page_tokens import foreign_token, page_token, parse_page_token
from services.common.sealing import erasures, rotation
from services.common.sealing.master import KeyState
from services.common.sealing.subject_keys import SubjectKeys

FULL_NAME = "lipei.keys.v1.KeysService"
USUAL, MOST = 500, 2_000
USUAL_PAGE, MOST_ON_PAGE = 100, 500
_PLACE = re.compile(r"([0-9]{1,18}) ([0-9A-Za-z._-]{1,64})", re.ASCII)
Context = grpc.aio.ServicerContext[Any, Any]
_STATES = {s: pb.MasterKeyState.Value(f"MASTER_KEY_STATE_{s.name}") for s in KeyState}


class KeysServicer(keys_pb2_grpc.KeysServiceServicer):
    """Answers for one service's database. Shows no key."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    async def DescribeKeys(
        self, request: pb.DescribeKeysRequest, context: Context
    ) -> pb.DescribeKeysResponse:
        """Master keys and how many subjects' keys each wraps."""
        uses = await self._database.run(rotation.master_uses, self._database, self._keys)
        return pb.DescribeKeysResponse(
            master_keys=[
                pb.MasterKeyUse(
                    key_id=use.key_id, state=_STATES[use.state], subject_keys=use.subject_keys
                )
                for use in uses
            ]
        )

    async def RewrapKeys(
        self, request: pb.RewrapKeysRequest, context: Context
    ) -> pb.RewrapKeysResponse:
        """One step of a master key's rotation."""
        faults: list[Violation] = []
        most = _most(request.most, faults)
        if faults:
            raise invalid(faults)
        done = await self._database.run(rotation.rewrap, self._database, self._keys, most)
        return pb.RewrapKeysResponse(rewrapped_count=done.rewrapped, left_count=done.left)

    async def RenewKeys(
        self, request: pb.RenewKeysRequest, context: Context
    ) -> pb.RenewKeysResponse:
        """One step of giving subjects their next key."""
        faults: list[Violation] = []
        most = _most(request.most, faults)
        before_us = microseconds("before_time", request.before_time, faults)
        if not request.HasField("before_time"):
            faults.append(Violation("before_time", "MISSING", "say how old a key may be"))
        if faults:
            raise invalid(faults)
        done = await self._database.run(
            lambda: rotation.renew(self._database, self._keys, before_us=before_us, most=most)
        )
        return pb.RenewKeysResponse(renewed_count=done.rewrapped, left_count=done.left)

    async def ListErasures(
        self, request: pb.ListErasuresRequest, context: Context
    ) -> pb.ListErasuresResponse:
        """Erasures that were done here, oldest first."""
        if request.page_size < 0:
            raise invalid([Violation("page_size", "OUT_OF_RANGE", "must not be negative")])
        tenant = current_tenant()
        kind = f"erasures {tenant.key}"
        most = min(request.page_size or USUAL_PAGE, MOST_ON_PAGE)
        place = _place(parse_page_token(request.page_token, kind))

        def work() -> pb.ListErasuresResponse:
            with self._database.reading() as connection:
                rows = erasures.after(connection, tenant, place, most)
            answer = pb.ListErasuresResponse(erasures=map(_erasure, rows))
            if rows.more:
                last = rows[-1]
                answer.next_page_token = page_token(kind, f"{last.at_us} {last.request_id}")
            return answer

        return await self._database.run(work)


def serving(database: Database, keys: SubjectKeys) -> Serving:
    """The service as a process offers it."""
    add = keys_pb2_grpc.add_KeysServiceServicer_to_server
    return Serving(add, KeysServicer(database, keys), FULL_NAME)


def readiness(database: Database, keys: SubjectKeys) -> Callable[[], Coroutine[Any, Any, bool]]:
    """Asks whether every master key that the database needs is at hand, and is the right one.

    A line in the log says which is not.
    """

    def ready() -> bool:
        missing = rotation.unusable(database, keys)
        for use in missing:
            logger().error(
                "master_key_missing",
                master_key=use.key_id,
                state=use.state.value,
                count=use.subject_keys,
            )
        return not missing and rotation.proves(database, keys)

    async def check() -> bool:
        return await database.run(ready)

    return check


def _erasure(row: Row[Any]) -> pb.Erasure:
    found = pb.Erasure(
        member=f"members/{row.member}" if row.member else "", ground=row.ground, role=row.role
    )
    found.erase_time.FromMicroseconds(row.at_us)
    return found


def _place(position: str | None) -> tuple[int, str]:
    """The time and request id after which a page begins."""
    if position is None:
        return 0, ""
    found = _PLACE.fullmatch(position)
    if found is None:
        raise foreign_token()
    return int(found[1]), found[2]


def _most(asked: int, faults: list[Violation]) -> int:
    if asked < 0:
        faults.append(Violation("most", "OUT_OF_RANGE", "must not be negative"))
    return min(asked or USUAL, MOST)
