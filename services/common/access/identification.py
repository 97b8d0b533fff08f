"""Who calls: certificate, token and client assertion of an rpc together. Decides no permission.

The certificate is looked at with every call, since a channel outlives it: TLS asks only when a
connection is made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller
from services.common.access.tokens import (
    INSTALLATION,
    AssertionReader,
    Keys,
    Person,
    TokenReader,
    audience_of,
)
from services.common.refusals import Refused
from services.common.settings import token_issuer, token_keys_file
from services.common.transport.certificates import Identity, Peer, TlsRefused, read_peer
from services.common.transport.names import Kind, Name
from services.common.transport.revocation import RevocationList

if TYPE_CHECKING:  # a witness has no database, and starts without its libraries
    from services.common.access.assertions import UsedAssertions

Context = grpc.aio.ServicerContext[Any, Any]

_BEARER = "bearer "
_TEXTS = {
    "CERTIFICATE_MISSING": "no client certificate; connect with mutual TLS",
    "CERTIFICATE_EXPIRED": "the client certificate is not valid now; renew it and connect anew",
    "CERTIFICATE_FOREIGN": "the client certificate does not name a part of this trust domain",
    "TOKEN_MISSING": "a person's token is missing; the certificate of a desk alone is not enough",
    "TOKEN_INVALID": "the token cannot be accepted with this certificate",
    "ASSERTION_USED": "the client assertion was used before; sign a new one for each call",
}


class Identification:
    """Finds out who calls one service."""

    def __init__(
        self,
        *,
        trust_domain: str,
        revocation: RevocationList,
        tokens: TokenReader,
        assertions: AssertionReader | None = None,
        used: UsedAssertions | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._trust_domain = trust_domain
        self._revocation = revocation
        self._tokens = tokens
        self._assertions = assertions
        self._used = used
        self._now_s = now_s

    def certificate(self, context: Context) -> tuple[Peer, Name]:
        """The caller's certificate, if it is good now: enough for health and reflection.

        Raises: Refused (UNAUTHENTICATED): CERTIFICATE_MISSING, CERTIFICATE_EXPIRED,
        CERTIFICATE_REVOKED, CERTIFICATE_FOREIGN, REVOCATION_LIST_STALE.
        """
        presented: Mapping[str, Any] = context.auth_context()
        pem = presented.get("x509_pem_cert")
        if not pem:
            _refuse("CERTIFICATE_MISSING")
        peer = read_peer(pem[0], self._trust_domain)
        if peer is None or peer.name is None:
            _refuse("CERTIFICATE_FOREIGN")
        try:
            if not peer.not_before_s <= self._now_s() < peer.not_after_s:
                _refuse("CERTIFICATE_EXPIRED")
            self._revocation.check(peer.issuer, peer.serial)
        except Refused as refused:
            refused.uri = peer.name.uri  # for the log
            raise
        return peer, peer.name

    async def of(self, context: Context) -> Caller:
        """The caller of the rpc. A token or an assertion that is present and bad is refused.

        Raises: Refused (UNAUTHENTICATED) with one of the certificate's reasons, or TOKEN_MISSING,
        TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_AUDIENCE, TOKEN_NOT_BOUND, ASSERTION_USED.
        """
        return await self._known(context, opens=True)

    async def again(self, context: Context) -> Caller:
        """The caller within a stream: the same, but that its assertion was used to open it.

        Raises: as `of`.
        """
        return await self._known(context, opens=False)

    async def _known(self, context: Context, *, opens: bool) -> Caller:
        peer, name = self.certificate(context)
        try:
            return await self._caller(context, peer, name, opens=opens)
        except Refused as refused:
            refused.uri = name.uri
            raise

    async def _caller(self, context: Context, peer: Peer, name: Name, *, opens: bool) -> Caller:
        said = _metadata(context)
        token, assertion = said.get("authorization"), said.get("lipei-client-assertion")
        purpose = said.get("lipei-purpose", "")
        if name.kind is Kind.DESK:
            if assertion is not None:
                _refuse("TOKEN_INVALID")  # assertions are of workloads
            if token is None:
                _refuse("TOKEN_MISSING")
            return self._person(name, self._read(token, peer), purpose)
        if token is not None:
            _refuse("TOKEN_INVALID")  # tokens are of people, and a machine is none
        if assertion is not None and opens:
            await self._use(assertion, name)
        return Caller(
            uri=name.uri,
            roles=name.roles,
            subject=name.uri,
            purpose=purpose,
            hospital=name.hospital,
        )

    def _read(self, authorization: str, peer: Peer) -> Person:
        if not authorization.lower().startswith(_BEARER):
            _refuse("TOKEN_INVALID")
        return self._tokens.read(
            authorization[len(_BEARER) :],
            certificate_sha256=peer.sha256,
            now_s=self._now_s(),
        )

    async def _use(self, text: str, name: Name) -> None:
        if self._assertions is None or self._used is None:
            _refuse("TOKEN_INVALID")  # nobody could tell whether it was used before
        now_s = self._now_s()
        assertion = self._assertions.read(text, uri=name.uri, now_s=now_s)
        if not await self._used.use(assertion, now_s):
            _refuse("ASSERTION_USED")

    def _person(self, desk: Name, person: Person, purpose: str) -> Caller:
        if not _sits_at(desk, person):
            _refuse("TOKEN_INVALID")
        tenant = {} if person.tenant == INSTALLATION else {person.tenant: person.tenant_name}
        return Caller(
            uri=desk.uri,
            roles=person.roles,
            subject=person.subject,
            purpose=purpose,
            **tenant,
        )


def identification_for(
    service: str, identity: Identity, state: Path, used: UsedAssertions | None
) -> Identification:
    """The identification of one service's callers, as the settings say.

    Raises: UnknownSetting when the keys that it needs cannot be read; TlsRefused without a list of
    revoked certificates that is current.
    """
    revocation = RevocationList(identity.files.revocation, identity.files.authority)
    if faults := revocation.faults():
        raise TlsRefused(identity.process, faults)
    # Where no person calls there may be no issuer; then every token is refused.
    keys = Keys(token_keys_file(state), may_be_missing="LIPEI_TOKEN_KEYS_FILE" not in os.environ)
    keys.current()
    audience, assertions = audience_of(service), None
    if named := os.environ.get("LIPEI_CLIENT_KEYS_FILE"):
        workloads = Keys(Path(named))
        workloads.current()
        assertions = AssertionReader(workloads, audience=audience)
    return Identification(
        trust_domain=identity.trust_domain,
        revocation=revocation,
        tokens=TokenReader(keys, issuer=token_issuer(), audience=audience),
        assertions=assertions,
        used=used,
    )


def _sits_at(desk: Name, person: Person) -> bool:
    """Whether a person of that tenant may sit at that desk.

    A token without a tenant is good at a desk of the installation only, and there with that desk's
    one role: a tenant that an issuer forgot to name opens nothing.
    """
    if person.tenant == INSTALLATION:
        role = f"ROLE_{(desk.office or '').upper()}"
        return desk.office is not None and person.roles == {access_pb2.Role.Value(role)}
    if person.tenant == "member":
        return desk.is_member
    owners = {"insurer": desk.insurer, "hospital": desk.hospital, "partner": desk.partner}
    return owners[person.tenant] == person.tenant_name


def _metadata(context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if key in {"authorization", "lipei-client-assertion", "lipei-purpose"}:
            if key in found or not isinstance(value, str):
                _refuse("TOKEN_INVALID")  # of two, a reader before us may have judged the other
            found[key] = value
    return found


def _refuse(reason: str) -> NoReturn:
    raise Refused(grpc.StatusCode.UNAUTHENTICATED, reason, _TEXTS[reason])
