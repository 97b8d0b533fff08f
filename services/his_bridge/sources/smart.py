"""SMART backend services: a signed statement of who we are against a token for a few minutes.

client_credentials with private_key_jwt (SMART App Launch 2.2, backend services). The token lives in
memory only; nothing that a server says in words is passed on, for it may quote anything.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import stat
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from services.his_bridge.dialects.strict_json import has_each_key_once
from services.his_bridge.profiles.source_kinds.smart import SmartClient
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.wire import Answer, Parameters, TooLarge, Wire, is_address

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# A server takes at most five minutes; so a clock may be two minutes fast or three slow.
ASSERTION_S = 180
LARGEST_SKEW_S = 120
# A token is renewed so long before its end, or after three quarters of its life.
RENEW_BEFORE_S = 30.0
SHORTEST_LIFE_S = 5.0
_UNSTATED_LIFE_S = 300.0
_MOST_BYTES = 64 << 10
_OK, _NOT_FOUND = 200, 404
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}", re.ASCII)
_UNKNOWN = re.compile(
    r"(unknown|unregistered|no such).{0,20}client|client.{0,30}not ", re.IGNORECASE
)
_SCOPE = re.compile(r"(\w+)/(\*|\w+)\.(\S+)", re.ASCII)


class _Configuration(msgspec.Struct):
    token_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    token_endpoint_auth_signing_alg_values_supported: list[str] | None = None


class _Granted(msgspec.Struct):
    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the kind of token, not one
    expires_in: float | None = None
    scope: str | None = None


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


class SmartAccess:
    """The token for one server: fetched when it is first needed, renewed before it ends."""

    def __init__(
        self,
        base_url: str,
        client: SmartClient,
        wire: Wire,
        *,
        now_s: Callable[[], float],
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url
        self._client = client
        self._wire = wire
        self._now_s = now_s
        # Setting the machine's time makes no token live longer.
        self._steady_s = steady_s
        self._token_url = client.token_url
        self._header = ""
        self._renew_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def header(self) -> str:
        """What stands in Authorization. Raises: SourceFault."""
        async with self._one_at_a_time:
            if not self._header or self._steady_s() >= self._renew_at:
                self._header = await self._fetch()
            return self._header

    def forget(self, header: str) -> None:
        """This one was refused; another that came meanwhile stays."""
        if self._header == header:
            self._header = ""

    async def _fetch(self) -> str:
        url = self._token_url or await self._discover()

        def form() -> Parameters:
            # Signed anew for every try: a server takes a `jti` once, also one that then stumbled.
            return [
                ("grant_type", "client_credentials"),
                ("scope", " ".join(self._client.scopes)),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", self._assertion(url)),
            ]

        asked_at = self._steady_s()
        answer = await self._ask("POST", url, form)
        if answer.status != _OK:
            self._token_url = self._client.token_url
            raise self._refusal(answer)
        try:
            granted = msgspec.json.decode(answer.body, type=_Granted, strict=False)
            if not has_each_key_once(answer.body):
                raise _malformed()
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise _malformed() from None
        if granted.token_type.lower() != "bearer" or not _TOKEN.fullmatch(granted.access_token):
            raise _malformed()
        if granted.scope is not None and not _covers(granted.scope, self._client.scopes):
            text = "the source grants less than the profile's scopes; records would be left out"
            raise SourceFault("SOURCE_SCOPE_NARROWED", text)
        self._token_url = url
        life = _UNSTATED_LIFE_S if granted.expires_in is None else granted.expires_in
        life = max(life, SHORTEST_LIFE_S)
        self._renew_at = asked_at + life - min(RENEW_BEFORE_S, life / 4)
        return f"Bearer {granted.access_token}"

    async def _discover(self) -> str:
        answer = await self._ask("GET", f"{self._base_url}/.well-known/smart-configuration", None)
        try:
            if answer.status != _OK:
                raise ValueError
            found = msgspec.json.decode(answer.body, type=_Configuration)
            unsure = not has_each_key_once(answer.body)  # of two endpoints nobody knows which
            if unsure or found.token_endpoint is None or not is_address(found.token_endpoint):
                raise ValueError
        except (ValueError, RecursionError):  # msgspec's errors included
            text = "the source tells no token endpoint; give the profile's token_url"
            raise SourceFault("SOURCE_NO_SMART", text) from None
        methods = found.token_endpoint_auth_methods_supported
        if methods is not None and "private_key_jwt" not in methods:
            raise SourceFault("SOURCE_NO_SMART", "the source takes no signed assertion")
        algorithms = found.token_endpoint_auth_signing_alg_values_supported
        if algorithms is not None and self._client.algorithm not in algorithms:
            text = "the source does not take the profile's algorithm"
            raise SourceFault("SOURCE_ALGORITHM_REFUSED", text)
        ours, theirs = urlsplit(self._base_url), urlsplit(found.token_endpoint)
        if (ours.scheme, ours.hostname) != (theirs.scheme, theirs.hostname) or theirs.username:
            text = "the token endpoint is on another host; if it should, name it as token_url"
            raise SourceFault("SOURCE_TOKEN_ELSEWHERE", text)
        return found.token_endpoint

    async def _ask(self, method: str, url: str, form: Callable[[], Parameters] | None) -> Answer:
        headers = {"Accept": "application/json"}
        try:
            return await self._wire.exchange(
                method, url, form=form, headers=headers, most=_MOST_BYTES
            )
        except TooLarge:
            raise _malformed() from None

    def _assertion(self, audience: str) -> str:
        client, now = self._client, int(self._now_s())
        header = {"alg": client.algorithm, "typ": "JWT"}
        if client.key_id is not None:
            header["kid"] = client.key_id
        claims = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_S,
            "jti": secrets.token_urlsafe(24),
        }
        key = _key(client)
        return jwt.encode(header, claims, key, algorithms=[client.algorithm])

    def _refusal(self, answer: Answer) -> SourceFault:
        """Why no token came, in our own words."""
        try:
            said = msgspec.json.decode(answer.body, type=_Refusal)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            said = _Refusal()
        skew = self._skew_s(answer)
        if said.error == "invalid_scope":
            text = "the source does not grant the profile's scopes"
            return SourceFault("SOURCE_SCOPE_REFUSED", text)
        if said.error == "unauthorized_client":
            text = "this client may not use backend services; have it allowed at the source"
            return SourceFault("SOURCE_CLIENT_UNAUTHORISED", text)
        if (
            said.error in ("invalid_client", "invalid_grant", "invalid_request")
            and skew is not None
        ):
            text = f"our clock and the source's differ by {skew} s; set the one that is wrong"
            return SourceFault("SOURCE_CLOCK", text)
        if said.error == "invalid_client" and _UNKNOWN.search(said.error_description):
            text = "the source does not know the profile's client_id; register it there"
            return SourceFault("SOURCE_CLIENT_UNKNOWN", text)
        if said.error == "invalid_client":
            text = "the source does not accept our key; register its public half for this client"
            return SourceFault("SOURCE_KEY_REFUSED", text)
        if answer.status == _NOT_FOUND:
            return SourceFault("SOURCE_NO_SMART", "there is no token endpoint any more")
        text = f"the token endpoint answered {answer.status}; check our registration"
        return SourceFault("SOURCE_REFUSES", text)

    def _skew_s(self, answer: Answer) -> int | None:
        """By how much the clocks differ, when that is more than an assertion survives."""
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (TypeError, ValueError, OverflowError):
            return None
        skew = round(self._now_s() - theirs)
        return abs(skew) if abs(skew) >= LARGEST_SKEW_S else None


def _key(client: SmartClient) -> RSAKey | ECKey:
    """The private key from its file, PEM or JWK. Raises: SourceFault, without its content."""
    kind = RSAKey if client.algorithm.startswith("RS") else ECKey
    found: RSAKey | ECKey | None = None
    try:
        if stat.S_IMODE(client.key_file.stat().st_mode) & 0o077:
            text = "others may read the key file; take their rights away (chmod 600)"
            raise SourceFault("SOURCE_KEY_UNUSABLE", text)
        raw = client.key_file.read_bytes()
        jwk = raw.lstrip().startswith(b"{")
        found = kind.import_key(msgspec.json.decode(raw, type=dict[str, Any]) if jwk else raw)
        fits = client.algorithm != "ES384" or found.as_dict(private=False).get("crv") == "P-384"
    except (OSError, ValueError, TypeError, JoseError):
        fits = False
    if found is None or not fits or not found.is_private:
        text = f"the key file must hold a private key for {client.algorithm} (PEM or JWK)"
        raise SourceFault("SOURCE_KEY_UNUSABLE", text)
    return found


def _covers(granted: str, wanted: tuple[str, ...]) -> bool:
    """Whether every kind of record that was asked for is granted; how it is spelt may differ."""
    kinds = {found[:2] for found in _SCOPE.findall(granted)}
    return all(
        (match[0], match[1]) in kinds or (match[0], "*") in kinds
        for scope in wanted
        for match in _SCOPE.findall(scope)
    )


def _malformed() -> SourceFault:
    return SourceFault("SOURCE_TOKEN_MALFORMED", "the token endpoint's answer is no bearer token")
