"""Tokens of people and client assertions of workloads: read, and refused for one stable reason.

A token (RFC 9068) is bound to the client certificate of the desk (RFC 8705): a copied one is of no
use elsewhere. Algorithms are ours to choose and not the token's: a key serves the one algorithm of
its kind. Nothing of a token ever stands in an answer or a log.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey

from lipei.type.v1 import access_pb2
from services.common.refusals import Refused
from services.common.settings import UnknownSetting

TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type (RFC 9068)
ASSERTION_TYPE = "client-authentication+jwt"
LEEWAY_S = 30
LONGEST_TOKEN_S = 3600
LONGEST_ASSERTION_S = 300
_LONGEST_BYTES = 8 << 10
_REMEMBERED = 1024
_ALGORITHMS = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "Ed25519"}
_REGISTRY = jws.JWSRegistry(algorithms=[*_ALGORITHMS.values()])
_SUBJECT = re.compile(r"[A-Za-z0-9._:/|@+~-]{1,200}", re.ASCII)
_JTI = re.compile(r"[A-Za-z0-9._~-]{16,128}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
TENANTS = ("insurer", "hospital", "member", "partner")
# In place of a tenant: the person works for the installation itself, at a desk of its own.
INSTALLATION = "installation"
_TEXTS = {
    "TOKEN_INVALID": "the token cannot be accepted; get another one from its issuer",
    "TOKEN_EXPIRED": "the token is past its time; get another one from its issuer",
    "TOKEN_AUDIENCE": "the token is for another service",
    "TOKEN_NOT_BOUND": "the token is not bound to the certificate of this connection",
}


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


# Roles that a person of each tenant may have; services and machines get theirs by certificate.
ROLES_OF: Mapping[str, frozenset[str]] = {
    "insurer": _of(
        *("insurer_intake", "adjuster", "senior_adjuster", "payments", "actuary"),
        *("chief_actuary", "auditor", "operator"),
    ),
    "hospital": _of("hospital_records", "auditor", "operator"),
    "member": _of("member"),
    "partner": _of("partner"),
    INSTALLATION: _of("auditor", "operator"),
}


def audience_of(service: str) -> str:
    """What a token says when it is meant for a service."""
    return f"lipei/{service}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """What a token says of the person: opaque subject, roles as numbers, the tenant or none."""

    subject: str
    roles: frozenset[int]
    tenant: str  # one of TENANTS, or INSTALLATION
    tenant_name: str  # "" of the installation
    not_before_s: float
    expires_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Assertion:
    """A client assertion that holds; whether it was used before, its reader must find out."""

    issuer: str
    jti: str
    expires_s: float


class Keys:
    """Public keys in a JWKS file by key id, read again when the file changes."""

    def __init__(self, file: Path, *, may_be_missing: bool = False) -> None:
        self._file = file
        self._may_be_missing = may_be_missing
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._keys: dict[str, dict[str, Key]] = {}
        self.generation = 0  # counts readings: what was verified with earlier keys counts no more

    def current(self) -> dict[str, dict[str, Key]]:
        """Owner → key id → key; the owner of an issuer's keys is "".

        Raises: UnknownSetting, naming every fault, for a file that holds anything else.
        """
        try:
            found = self._file.stat()
        except OSError:
            if self._may_be_missing:
                return {}
            raise UnknownSetting(f"the file of public keys {self._file} is missing") from None
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            with self._lock:
                self._keys = {}  # a file that cannot be read leaves no key behind
                self._keys = _read_keys(self._file)
                self._seen = seen
                self.generation += 1
        return self._keys


def _read_keys(file: Path) -> dict[str, dict[str, Key]]:
    try:
        found = json.loads(file.read_bytes(), object_pairs_hook=_strict)
    except (OSError, ValueError):
        raise UnknownSetting(f"{file} is not JSON without repeated names") from None
    sets = {"": found} if isinstance(found, dict) and "keys" in found else found
    if not isinstance(sets, dict) or not all(isinstance(one, dict) for one in sets.values()):
        raise UnknownSetting(f"{file} must hold a JWKS, or an object of names with a JWKS each")
    faults: list[str] = []
    keys = {
        owner: _key_set(one.get("keys"), f"{file}: {owner}".rstrip(": "), faults)
        for owner, one in sets.items()
    }
    if faults:
        raise UnknownSetting("\n".join(faults))
    return keys


def _key_set(found: object, where: str, faults: list[str]) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for place, one in enumerate(found if isinstance(found, list) else []):
        here = f"{where}: keys[{place}]"
        kind = (one.get("kty"), one.get("crv")) if isinstance(one, dict) else None
        if kind not in _ALGORITHMS:
            faults.append(f"{here} must be an EC key on P-256 or an OKP key on Ed25519")
        elif "d" in one:
            faults.append(f"{here} is a private key; only public ones belong here")
        elif not isinstance(one.get("kid"), str) or not one["kid"] or one["kid"] in keys:
            faults.append(f"{here} needs a kid of its own")
        elif one.get("alg", _ALGORITHMS[kind]) != _ALGORITHMS[kind]:
            faults.append(f"{here} must be for {_ALGORITHMS[kind]}")
        else:
            try:
                kept = {name: one[name] for name in ("kty", "crv", "x", "y", "kid") if name in one}
                key = ECKey if kind[0] == "EC" else OKPKey
                keys[one["kid"]] = key.import_key(kept)
            except (JoseError, ValueError, TypeError):
                faults.append(f"{here} is no point on its curve")
    if not keys and not faults:
        faults.append(f"{where} holds no key")
    return keys


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated name")
    return found


class TokenReader:
    """Reads people's tokens for one service. Signatures are verified once, the clock each time."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._known: OrderedDict[tuple[int, str, bytes], Person] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, token: str, *, certificate_sha256: bytes, now_s: float) -> Person:
        """The person behind a token that is good here, now, over this certificate.

        Raises: Refused (UNAUTHENTICATED): TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_AUDIENCE,
        TOKEN_NOT_BOUND.
        """
        try:
            keys = self._keys.current().get("", {})
        except UnknownSetting:
            keys = {}
        place = (self._keys.generation, token, certificate_sha256)
        with self._lock:
            person = self._known.get(place)
        if person is None:
            claims = _verified(token, keys, TOKEN_TYPE)
            person = self._person(claims, certificate_sha256)
            _in_time(person.not_before_s, person.expires_s, now_s)
            with self._lock:
                self._known[place] = person
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        else:
            _in_time(person.not_before_s, person.expires_s, now_s)
        return person

    def _person(self, claims: dict[str, Any], certificate_sha256: bytes) -> Person:
        begin_s, end_s = _times(claims, LONGEST_TOKEN_S)
        if claims.get("iss") != self._issuer:
            _refuse("TOKEN_INVALID")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            _refuse("TOKEN_AUDIENCE")
        binding = claims.get("cnf")
        wanted = base64.urlsafe_b64encode(certificate_sha256).rstrip(b"=").decode()
        if not isinstance(binding, dict) or binding.get("x5t#S256") != wanted:
            _refuse("TOKEN_NOT_BOUND")
        subject = claims.get("sub")
        tenants = [name for name in TENANTS if name in claims]
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or len(tenants) > 1:
            _refuse("TOKEN_INVALID")
        tenant, tenant_name = (tenants[0], claims[tenants[0]]) if tenants else (INSTALLATION, "")
        roles = claims.get("roles")
        if tenants and not (isinstance(tenant_name, str) and _TENANT.fullmatch(tenant_name)):
            _refuse("TOKEN_INVALID")
        if not isinstance(roles, list) or not roles:
            _refuse("TOKEN_INVALID")
        if not all(isinstance(role, str) and role in ROLES_OF[tenant] for role in roles):
            _refuse("TOKEN_INVALID")
        return Person(
            subject=subject,
            roles=frozenset(access_pb2.Role.Value(f"ROLE_{role.upper()}") for role in roles),
            tenant=tenant,
            tenant_name=tenant_name,
            not_before_s=begin_s,
            expires_s=end_s,
        )


class AssertionReader:
    """Reads workloads' client assertions (RFC 7523) for one service."""

    def __init__(self, keys: Keys, *, audience: str) -> None:
        self._keys = keys
        self._audience = audience

    def read(self, assertion: str, *, uri: str, now_s: float) -> Assertion:
        """The assertion, if the workload of that name signed it for this service and now.

        Raises: Refused (UNAUTHENTICATED): TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_AUDIENCE.
        """
        try:
            keys = self._keys.current().get(uri, {})
        except UnknownSetting:
            keys = {}
        claims = _verified(assertion, keys, ASSERTION_TYPE)
        begin_s, end_s = _times(claims, LONGEST_ASSERTION_S)
        if claims.get("iss") != uri or claims.get("sub") != uri:
            _refuse("TOKEN_INVALID")
        if claims.get("aud") not in (self._audience, [self._audience]):
            _refuse("TOKEN_AUDIENCE")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not _JTI.fullmatch(jti):
            _refuse("TOKEN_INVALID")
        _in_time(begin_s, end_s, now_s)
        return Assertion(issuer=uri, jti=jti, expires_s=end_s)


def _verified(token: str, keys: Mapping[str, Key], kind: str) -> dict[str, Any]:
    if not token.isascii() or len(token) > _LONGEST_BYTES:
        _refuse("TOKEN_INVALID")
    try:
        signed = jws.extract_compact(token.encode(), registry=_REGISTRY)
        header = signed.headers()
        # Nothing else may stand there: no `crit`, no `b64`, no key that the token brings itself.
        if set(header) != {"alg", "kid", "typ"} or header["typ"] != kind:
            _refuse("TOKEN_INVALID")
        key = keys.get(header["kid"])
        if key is None or header["alg"] != _ALGORITHMS[str(key["kty"]), str(key["crv"])]:
            _refuse("TOKEN_INVALID")
        if not jws.validate_compact(signed, key, registry=_REGISTRY):
            _refuse("TOKEN_INVALID")
        claims = json.loads(signed.payload, object_pairs_hook=_strict)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        _refuse("TOKEN_INVALID")
    if not isinstance(claims, dict):
        _refuse("TOKEN_INVALID")
    return claims


def _times(claims: Mapping[str, Any], longest_s: int) -> tuple[float, float]:
    times = [claims.get(name) for name in ("iat", "exp", "nbf")]
    if times[2] is None:
        times[2] = times[0]
    if not all(isinstance(at, int) and not isinstance(at, bool) for at in times):
        _refuse("TOKEN_INVALID")
    issued, expires, begin = (int(at) for at in times)  # type: ignore[arg-type]  # checked above
    if not 0 < expires - issued <= longest_s or not 0 <= issued < 1 << 40:
        _refuse("TOKEN_INVALID")
    return max(issued, begin) - LEEWAY_S, expires + LEEWAY_S


def _in_time(begin_s: float, end_s: float, now_s: float) -> None:
    if now_s < begin_s:
        _refuse("TOKEN_INVALID")
    if now_s >= end_s:
        _refuse("TOKEN_EXPIRED")


def _refuse(reason: str) -> NoReturn:
    raise Refused(grpc.StatusCode.UNAUTHENTICATED, reason, _TEXTS[reason])
