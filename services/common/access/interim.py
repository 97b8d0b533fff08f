"""Stands in for identification and evidence until both are wired; every main calls it once.

Everybody has every role, and no read is recorded: labels and masks hold, nothing else does yet.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller
from services.common.access.guard import Context, Guard
from services.common.evidence.access_read import AccessRead


class _Everybody:
    """In place of identification."""

    def certificate(self, _context: Context) -> None:
        """Nobody shows one yet."""

    async def of(self, _context: Context) -> Caller:
        """Everybody, with every role."""
        return Caller(
            uri="", roles=frozenset(access_pb2.Role.values()), subject="", purpose="interim"
        )


def interim_guard() -> Guard:
    """A guard that refuses nobody and records nothing."""

    async def append(_reads: Sequence[AccessRead]) -> None:
        return None

    return Guard(
        identification=_Everybody(),
        append=append,
        pseudonym=lambda token: hashlib.sha256(token.encode()).hexdigest(),
        now_us=lambda: time.time_ns() // 1_000,
    )
