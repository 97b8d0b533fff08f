"""Who calls, and under whose consent: what is known of the rpc under way. Decides nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_CALLER: ContextVar[Caller | None] = ContextVar("lipei_caller", default=None)
_UNDER_WAY: ContextVar[UnderWay | None] = ContextVar("lipei_under_way", default=None)
_NOTED: ContextVar[Noted | None] = ContextVar("lipei_noted", default=None)


class NobodyCalls(LookupError):
    """Asked outside an rpc: there is no caller whose tenant could limit what is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """An authenticated caller, as certificate and token say together.

    At most one of `insurer`, `hospital`, `member` and `partner` is set: the tenant. A caller with
    none of them is a service, a witness, an operator or an auditor of the installation itself and
    acts for all its tenants.
    """

    uri: str  # SPIFFE-like name in the client certificate
    roles: frozenset[int]  # numbers of lipei.type.v1.Role
    subject: str  # opaque: a person's `sub`, or the uri of a workload
    purpose: str  # why, as the caller says it (purposes.py); "" for what its role usually does
    insurer: str | None = None
    hospital: str | None = None
    member: str | None = None  # a member token
    partner: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """The rpc under way, for what counts beside the evidence of access."""

    rpc: str  # "/lipei.claims.v1.ClaimsService/GetClaim"
    clearance: int  # the highest level that its answer may hold
    call: str = field(default_factory=lambda: uuid.uuid4().hex)
    fetched: set[tuple[str, str]] = field(default_factory=set)  # kinds and ids of sealed records


def rpc_under_way() -> UnderWay | None:
    """The rpc that this task or thread works for; None outside one."""
    return _UNDER_WAY.get()


@contextmanager
def under_way(one: UnderWay) -> Iterator[None]:
    """Run the block as this rpc's work."""
    token = _UNDER_WAY.set(one)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


def current_caller() -> Caller:
    """The caller of the rpc that this task or thread works for.

    Raises: NobodyCalls outside an rpc.
    """
    caller = _CALLER.get()
    if caller is None:
        raise NobodyCalls("no rpc is under way")
    return caller


@contextmanager
def calling_as(caller: Caller) -> Iterator[None]:
    """Run the block as work for this caller."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a handler said of the records that it shows, by their names in the answer."""

    consents: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def note_consent(record: str, consent: str) -> None:
    """Say under which consent the rpc under way shows a record, for the evidence of its read.

    `record` is the name that the answer gives it. Whatever shows no such record notes nothing.

    Raises: NobodyCalls outside an rpc.
    """
    _noted().consents[record] = consent


def note_owner(record: str, tenant: str) -> None:
    """Say whose record the rpc under way shows, for the evidence of its read: a tenant's key.

    Then that tenant's auditors see the read, whoever made it. Only what is one tenant's for good is
    noted; a name that begins with "hospitals/{hospital}/" says it by itself.

    Raises: NobodyCalls outside an rpc.
    """
    _noted().owners[record] = tenant


def note_name(record: str, name: str) -> None:
    """Say which record the rpc under way shows under a name that leads nobody to it.

    The evidence of its read names that record, and the answer does not.

    Raises: NobodyCalls outside an rpc.
    """
    _noted().names[record] = name


def forget_noted() -> None:
    """Forget all that was noted: in a stream, once a message has left, before the next is made.

    Raises: NobodyCalls outside an rpc.
    """
    noted = _noted()
    for kept in (noted.consents, noted.owners, noted.names):
        kept.clear()


def _noted() -> Noted:
    noted = _NOTED.get()
    if noted is None:
        raise NobodyCalls("no rpc is under way")
    return noted


@contextmanager
def noting(noted: Noted | None = None) -> Iterator[Noted]:
    """Collect what the block notes, also in threads that run in a copy of its context."""
    noted = Noted() if noted is None else noted
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)
