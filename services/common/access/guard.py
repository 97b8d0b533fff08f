"""The guard in front of every handler: who calls, may they, what may they see, and proof of it.

It refuses what has no label, and lets no sensitive answer leave before its reads are recorded. It
knows neither certificates nor the evidence log: both are given.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from services.common.access.caller import Caller, Noted, UnderWay, calling_as, noting, under_way
from services.common.access.labels import Rpc, clearance_of, role_name, rpc_of
from services.common.access.masking import mask
from services.common.access.purposes import MEANINGS, may_read_for, purposes_of, usual_purpose
from services.common.access.records import shown
from services.common.access.tenant import Kind, tenant_of
from services.common.access.withheld import withheld_entry
from services.common.evidence.access_read import AccessRead
from services.common.log import logger
from services.common.refusals import Refused

Context = grpc.aio.ServicerContext[Any, Any]
# Commits the reads to the evidence log, all or none.
Append = Callable[[Sequence[AccessRead]], Awaitable[None]]

# Not ours, and without labels: open to everybody with a good certificate.
OPEN_SERVICES = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
_NOT_LABELLED = "this rpc is open to nobody; report it to the service's operator"
_OF_INSTALLATION = (
    "this is the whole installation's, and a tenant's people may not call it; its own operators "
    "and auditors may, whose tokens name no tenant"
)
# Names below a hospital's say whose they are.
_OF_HOSPITAL = re.compile(r"hospitals/([a-z0-9][a-z0-9_-]{0,62})/", re.ASCII)
# What follows "members/" in a name, and a token anywhere else.
_MEMBER = re.compile(r"(?<=\bmembers/)(?!-(?:/|$))[^/]+|\b[a-z0-9]{1,16}\.[0-9a-f]{64}\b", re.ASCII)


class Identifies(Protocol):
    """Who calls. All raise Refused (UNAUTHENTICATED) with a stable reason."""

    def certificate(self, context: Context) -> object:
        """See that the caller has a certificate that is good now, and no more."""

    async def of(self, context: Context) -> Caller:
        """The caller, as certificate and token say together."""

    async def again(self, context: Context) -> Caller:
        """The same within a stream that is open: what is good once only was used to open it."""


class NamelessRead(RuntimeError):
    """A sensitive answer names no record, so that its read could not be proved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One admitted call. It rests on those of the caller's roles that may call for its purpose."""

    caller: Caller
    rpc: Rpc
    roles: frozenset[int]
    withheld: dict[str, None] = field(default_factory=dict)  # paths, each once, as first met
    _noted: Noted = field(default_factory=Noted)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Run the block as this call's handler."""
        with (
            calling_as(self.caller),
            under_way(UnderWay(rpc=self.rpc.path, clearance=self.clearance)),
            noting(self._noted),
        ):
            yield

    @property
    def clearance(self) -> int:
        """The highest level that its answer may show."""
        return clearance_for(self.roles)

    def consent_for(self, record: str) -> str:
        """The consent that the handler noted for a record; empty without one."""
        return self._noted.consents.get(record, "")

    def named(self, record: str) -> str:
        """The name of a record in evidence: the one that the handler noted, else the answer's."""
        return self._noted.names.get(record, record)

    @property
    def renames(self) -> bool:
        """Whether the answer shows records under names that lead nobody to them."""
        return bool(self._noted.names)

    def owner_of(self, record: str) -> str:
        """The key of the tenant whose record it is; empty where nobody said."""
        named = _OF_HOSPITAL.match(record)
        return self._noted.owners.get(record) or (f"hospital/{named[1]}" if named else "")


class Guard:
    """Admits calls and dismisses answers. Holds no state of its own."""

    def __init__(
        self,
        *,
        identification: Identifies,
        append: Append,
        pseudonym: Callable[[str], str],
        now_us: Callable[[], int],
    ) -> None:
        """`pseudonym` gives a member token's stand-in in evidence, by a key; 1 to 64 characters."""
        self._identification = identification
        self._append = append
        self._pseudonym = pseudonym
        self._now_us = now_us

    async def admit(self, path: str, context: Context) -> Call | None:
        """The call, when its caller is known and one of its roles may make it for its purpose.

        None for health and reflection, which ask for a certificate only and show nothing of ours.

        Raises: Refused, UNAUTHENTICATED, PERMISSION_DENIED or, for a purpose that there is not,
        INVALID_ARGUMENT; each is a line of the log.
        """
        uri = ""
        try:
            if is_open(path):
                self._identification.certificate(context)
                return None
            caller = await self._identification.of(context)
            uri = caller.uri
            return _allowed(path, caller)
        except Refused as refused:
            uri = uri or refused.uri
            logger().warning("call_refused", reason=refused.reason, rpc=path, uri=uri)
            raise

    async def readmit(self, call: Call, context: Context) -> None:
        """See that who opened a stream may still send into it.

        Raises: Refused, UNAUTHENTICATED or PERMISSION_DENIED; a line of the log.
        """
        try:
            caller = await self._identification.again(context)
            if caller != call.caller:
                text = "the stream's caller is no longer who opened it; open another"
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, "CALLER_CHANGED", text)
        except Refused as refused:
            path, uri = call.rpc.path, call.caller.uri
            logger().warning("call_refused", reason=refused.reason, rpc=path, uri=uri)
            raise

    async def dismiss(self, call: Call, request: Message, answer: Any, context: Context) -> Message:
        """The answer as the caller may see it, once what it shows is on record.

        Its trailing metadata names what is withheld, of a stream from all its messages so far.

        Raises: TypeError for what is no message; NamelessRead; whatever `append` raises. Then
        nothing may leave.
        """
        if not isinstance(answer, Message):
            raise TypeError("a handler must answer with a message")
        withheld = mask(answer, call.clearance)
        call.withheld.update(dict.fromkeys(withheld))
        reads = self._reads(call, request, answer)
        if reads:
            await self._append(reads)
        if call.withheld:
            context.set_trailing_metadata((withheld_entry(tuple(call.withheld)),))
        return answer

    def _reads(self, call: Call, request: Message, answer: Message) -> list[AccessRead]:
        rpc = call.rpc
        found = shown(answer, call.clearance)
        records = found.records
        if found.nameless:
            name = _value_at(request, rpc.record)
            if not name:
                raise NamelessRead(f"{rpc.path} shows level {found.nameless} of no record")
            records = {**records, name: max(found.nameless, records.get(name, 0))}
        if not records:
            return []
        caller, at_us = call.caller, self._now_us()
        resting = {level: _resting_on(call.roles, level) for level in {*records.values()}}
        reads = [
            AccessRead(
                who=caller.subject,
                uri=caller.uri,
                role=role_name(resting[level]),
                purpose=caller.purpose or usual_purpose(resting[level]),
                consent=call.consent_for(record),
                rpc=rpc.path,
                record=_MEMBER.sub(lambda found: self._pseudonym(found[0]), call.named(record)),
                level=level,
                at_us=at_us,
                owner=call.owner_of(record),
            )
            for record, level in records.items()
        ]
        # Who may see both must not tell whom a name stands for by the place in the answer.
        return sorted(reads, key=lambda one: one.record) if call.renames else reads


@cache
def is_open(path: str) -> bool:
    """Whether everybody with a good certificate may call it."""
    return path.removeprefix("/").rpartition("/")[0] in OPEN_SERVICES


@cache
def clearance_for(roles: frozenset[int]) -> int:
    """The highest level that a call may read which rests on these roles.

    What another role of the same person may read elsewhere, or for another purpose, gives nothing.
    """
    return max((clearance_of(role) for role in roles), default=0)


@cache
def _resting_on(roles: frozenset[int], level: int) -> int:
    enough = (role for role in roles if clearance_of(role) >= level)
    return min(enough, key=lambda role: (clearance_of(role), role))


def _allowed(path: str, caller: Caller) -> Call:
    denied = grpc.StatusCode.PERMISSION_DENIED
    rpc = rpc_of(path)
    if rpc is None:
        raise Refused(denied, "RPC_NOT_LABELLED", _NOT_LABELLED)
    if not rpc.roles & caller.roles:
        names = ", ".join(map(role_name, sorted(rpc.roles)))
        text = f"no role of yours may call this; who may: {names}; act as one of these, or stop"
        raise Refused(denied, "ROLE_NOT_ALLOWED", text)
    if rpc.of_installation and tenant_of(caller).kind is not Kind.INSTALLATION:
        raise Refused(denied, "TENANT_NOT_ALLOWED", _OF_INSTALLATION)
    roles = may_read_for(caller.purpose, rpc.roles & caller.roles)
    if not roles:
        allowed = ", ".join(purposes_of(rpc.roles & caller.roles))
        if caller.purpose not in MEANINGS:
            text = f"lipei-purpose is none that there is; here yours are: {allowed}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "PURPOSE_UNKNOWN", text)
        text = f"your role may not call this for that purpose; here yours are: {allowed}"
        raise Refused(denied, "PURPOSE_NOT_ALLOWED", text)
    return Call(caller=caller, rpc=rpc, roles=roles)


def _value_at(request: Message, path: Sequence[str]) -> str:
    value: Any = request
    for name in path:
        value = getattr(value, name)
    return value if isinstance(value, str) else ""
