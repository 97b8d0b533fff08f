"""Callers and guards as tests need them: anybody, with any roles, and a list in place of a log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller
from services.common.access.guard import Append, Context, Guard
from services.common.evidence.access_read import AccessRead

AT_US = 1_700_000_000_000_000
EVERY_ROLE = frozenset(access_pb2.Role.values()) - {access_pb2.ROLE_UNSPECIFIED}


def caller(
    *roles: int, insurer: str | None = None, hospital: str | None = None, member: str | None = None
) -> Caller:
    """Somebody with these roles; every role when none is named."""
    return Caller(
        uri="spiffe://lipei.local/insurer/i1/desk/7",
        roles=frozenset(roles) or EVERY_ROLE,
        subject="person-7",
        purpose="",
        insurer=insurer,
        hospital=hospital,
        member=member,
    )


def pseudonym(token: str) -> str:
    """A stand-in for a member token."""
    return "p-" + hashlib.sha256(token.encode()).hexdigest()[:12]


class Reads:
    """The reads that a guard has recorded, in place of the log."""

    def __init__(self) -> None:
        self.kept: list[AccessRead] = []

    async def append(self, reads: Sequence[AccessRead]) -> None:
        """Keep them."""
        self.kept.extend(reads)


class Known:
    """Identification that believes what `who` says."""

    def __init__(self, who: Callable[[Context], Caller]) -> None:
        self._who = who

    def certificate(self, context: Context) -> object:
        """Whoever is known has one."""
        return self._who(context)

    async def of(self, context: Context) -> Caller:
        """The caller."""
        return self._who(context)

    async def again(self, context: Context) -> Caller:
        """The caller, asked anew."""
        return self._who(context)


def guard_for(
    who: Caller | Callable[[Context], Caller] | None = None,
    append: Append | None = None,
) -> Guard:
    """A guard that knows everybody as `who`; without one, as a caller with every role."""
    known = who or caller()
    return Guard(
        identification=Known((lambda _: known) if isinstance(known, Caller) else known),
        append=append or Reads().append,
        pseudonym=pseudonym,
        now_us=lambda: AT_US,
    )
