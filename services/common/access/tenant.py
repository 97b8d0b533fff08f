"""Whose data an rpc may see and change: the tenant, made of the caller in this one place.

Storage carries the tenant into the SQL of every look-up and list, so that what is another's is not
found at all, instead of being found and thrown away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import grpc

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller, current_caller
from services.common.refusals import Refused

# Who works for all tenants, and only while it has no role of a tenant's people.
_FOR_ALL = frozenset(
    {
        access_pb2.ROLE_SERVICE,
        access_pb2.ROLE_AUDITOR,
        access_pb2.ROLE_OPERATOR,
        access_pb2.ROLE_WITNESS,
    }
)


class Kind(StrEnum):
    """What a tenant is."""

    INSTALLATION = "installation"  # no tenant: services, auditors and operators see all
    INSURER = "insurer"
    HOSPITAL = "hospital"
    MEMBER = "member"
    PARTNER = "partner"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant; `id` is the insurer's, hospital's or partner's, or the member's token."""

    kind: Kind
    id: str = ""

    @property
    def key(self) -> str:
        """Names the tenant in columns and page tokens, at most 80 characters; tells no token.

        >>> Tenant(Kind.INSURER, "anxin").key
        'insurer/anxin'
        """
        if self.kind is Kind.MEMBER:
            return f"{self.kind}/{hashlib.sha256(self.id.encode()).hexdigest()[:32]}"
        return f"{self.kind}/{self.id}"

    def own(self, request_id: str) -> str:
        """The request id as this tenant's own, 64 characters: two tenants may use the same."""
        return hashlib.sha256(f"{self.key}\n{request_id}".encode()).hexdigest()

    @property
    def insurer(self) -> str | None:
        """The insurer's id, of an insurer."""
        return self.id if self.kind is Kind.INSURER else None

    @property
    def hospital(self) -> str | None:
        """The hospital's id, of a hospital."""
        return self.id if self.kind is Kind.HOSPITAL else None

    @property
    def member(self) -> str | None:
        """The member's token, of a member."""
        return self.id if self.kind is Kind.MEMBER else None

    def required_insurer(self) -> str:
        """The insurer's id, for what only an insurer can own.

        Raises: Refused when this is no insurer.
        """
        if self.insurer is None:
            raise _unclear("only an insurer does this; call as a person of one")
        return self.insurer


INSTALLATION = Tenant(Kind.INSTALLATION)


def tenant_of(caller: Caller) -> Tenant:
    """The caller's tenant; the whole installation for its own services, auditors and so on.

    Raises: Refused (PERMISSION_DENIED) when there is no tenant, or more than one: nobody sees all
    tenants because something was left out.
    """
    named = [
        Tenant(kind, value)
        for kind, value in (
            (Kind.INSURER, caller.insurer),
            (Kind.HOSPITAL, caller.hospital),
            (Kind.MEMBER, caller.member),
            (Kind.PARTNER, caller.partner),
        )
        if value
    ]
    if len(named) == 1:
        return named[0]
    if not named and caller.roles and caller.roles <= _FOR_ALL:
        return INSTALLATION
    raise _unclear("the caller belongs to no tenant, or to several; have its token made anew")


def current_tenant() -> Tenant:
    """The tenant of the rpc under way.

    Raises: NobodyCalls outside an rpc; Refused as `tenant_of`.
    """
    return tenant_of(current_caller())


def _unclear(text: str) -> Refused:
    return Refused(grpc.StatusCode.PERMISSION_DENIED, "TENANT_UNCLEAR", text)
