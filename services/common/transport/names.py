"""The names in certificates: `spiffe://{trust domain}/...`, read strictly. Knows no certificate.

A name tells what kind of caller it is. Workloads get their role from it; a desk gets none: the
person at it brings a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lipei.type.v1 import access_pb2

SERVICES = ("claims", "his_bridge", "pricing", "settlement")
OFFICES = ("operator", "auditor")  # of the installation itself; also the only role at such a desk
WITNESSES = ("insurer", "hospital")  # of one installation; a witness serves as "witness:{label}"
_CALLING_SERVICE = "settlement"
_SCHEME = "spiffe://"
_PART = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


class ForeignName(ValueError):
    """Not a name of this trust domain; the text says why, without the name."""


class Kind(StrEnum):
    """What a name stands for."""

    SERVICE = "service"
    INTEGRATION = "integration"  # a hospital's machine
    WITNESS = "witness"
    DESK = "desk"  # where a person sits, or a person's device


_ROLES: dict[Kind, frozenset[int]] = {
    Kind.SERVICE: frozenset({access_pb2.ROLE_SERVICE}),
    Kind.INTEGRATION: frozenset({access_pb2.ROLE_HOSPITAL_INTEGRATION}),
    Kind.WITNESS: frozenset({access_pb2.ROLE_WITNESS}),
    Kind.DESK: frozenset(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """A name with what it says. Of a member's desk the token says which member it is.

    A desk of an office stands in no tenant: who sits there works for the whole installation, in
    that office's role and no other, so that nobody audits what they operate.
    """

    uri: str
    kind: Kind
    label: str  # the last part, for example "claims" or "desk-1"; of an integration the hospital
    insurer: str | None = None
    hospital: str | None = None
    partner: str | None = None
    is_member: bool = False
    office: str | None = None  # one of OFFICES

    @property
    def roles(self) -> frozenset[int]:
        """Roles that the certificate alone gives, as numbers of lipei.type.v1.Role.

        Of the services only the settlement worker calls others; the certificate of the bridge,
        which stands in a hospital, must not settle an insurer's claims.
        """
        if self.kind is Kind.SERVICE and self.label != _CALLING_SERVICE:
            return frozenset()
        return _ROLES[self.kind]


def parse_name(uri: str, trust_domain: str) -> Name:
    """The name, if it is one of this trust domain, in exactly its one spelling.

    Raises: ForeignName.
    """
    prefix = f"{_SCHEME}{trust_domain}/"
    if not uri.startswith(prefix):
        raise ForeignName("it is not a name of this trust domain")
    match uri.removeprefix(prefix).split("/"):
        case ["service", label] if label in SERVICES:
            name = Name(uri=uri, kind=Kind.SERVICE, label=label)
        case ["witness", label]:
            name = Name(uri=uri, kind=Kind.WITNESS, label=label)
        case ["hospital", hospital, "integration"]:
            name = Name(uri=uri, kind=Kind.INTEGRATION, label=hospital, hospital=hospital)
        case ["insurer", insurer, "desk", label]:
            name = Name(uri=uri, kind=Kind.DESK, label=label, insurer=insurer)
        case ["hospital", hospital, "desk", label]:
            name = Name(uri=uri, kind=Kind.DESK, label=label, hospital=hospital)
        case ["partner", partner, "desk", label]:
            name = Name(uri=uri, kind=Kind.DESK, label=label, partner=partner)
        case [office, "desk", label] if office in OFFICES:
            name = Name(uri=uri, kind=Kind.DESK, label=label, office=office)
        case ["member", "desk", label]:
            name = Name(uri=uri, kind=Kind.DESK, label=label, is_member=True)
        case _:
            raise ForeignName("its path is none that lipei knows")
    parts = (name.label, name.insurer, name.hospital, name.partner)
    if not all(_PART.fullmatch(part) for part in parts if part is not None):
        raise ForeignName("a part of its path is not 1 to 63 of a-z 0-9 _ -")
    return name


def service_uri(trust_domain: str, service: str) -> str:
    """The name of a service, for example spiffe://lipei.local/service/claims."""
    return _formed(trust_domain, "service", service)


def integration_uri(trust_domain: str, hospital: str) -> str:
    """The name of a hospital's machine."""
    return _formed(trust_domain, "hospital", hospital, "integration")


def desk_uri(trust_domain: str, *owner: str, label: str) -> str:
    """The name of a desk: of "insurer", i; "hospital", h; "partner", p; "member"; or an office."""
    return _formed(trust_domain, *owner, "desk", label)


def witness_uri(trust_domain: str, label: str) -> str:
    """The name of a witness of the evidence logs."""
    return _formed(trust_domain, "witness", label)


def _formed(trust_domain: str, *parts: str) -> str:
    uri = f"{_SCHEME}{trust_domain}/{'/'.join(parts)}"
    return parse_name(uri, trust_domain).uri


def server_name(trust_domain: str, service: str) -> str:
    """The DNS name in the certificate of a service or a witness, which its callers demand.

    >>> server_name("lipei.local", "his_bridge"), server_name("lipei.local", "witness:insurer")
    ('his-bridge.service.lipei.local', 'insurer.witness.lipei.local')
    """
    kind, _, label = service.rpartition(":")
    return f"{label.replace('_', '-')}.{kind or 'service'}.{trust_domain}"
