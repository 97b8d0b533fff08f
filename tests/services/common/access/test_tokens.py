"""Tokens and client assertions: what is accepted, and every way to be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from lipei.type.v1 import access_pb2
from services.common.access.tokens import (
    INSTALLATION,
    LONGEST_ASSERTION_S,
    LONGEST_TOKEN_S,
    AssertionReader,
    Keys,
    TokenReader,
)
from services.common.refusals import Refused
from services.common.settings import UnknownSetting

ISSUER = "https://issuer.example"
URI = "spiffe://lipei.local/hospital/h/integration"
CERTIFICATE = hashlib.sha256(b"a certificate").digest()
NOW = 1_800_000_000


def key_of(kid: str, kind: str = "EC") -> Any:
    if kind == "EC":
        return ECKey.generate_key("P-256", {"kid": kid})
    return OKPKey.generate_key("Ed25519", {"kid": kid})


EC, ED = key_of("ec"), key_of("ed", "OKP")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(claims: Any, header: dict[str, Any], key: Any = EC) -> str:
    """Signed by joserfc with whatever header, without its own advice."""
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact(header, payload, key, registry=registry)


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "ES256", "kid": "ec", "typ": "at+jwt"} | changes


def claims(**changes: Any) -> dict[str, Any]:
    told = {
        "iss": ISSUER,
        "aud": ["lipei/claims", "lipei/pricing"],
        "sub": "person-1",
        "iat": NOW,
        "exp": NOW + 600,
        "roles": ["adjuster", "payments"],
        "insurer": "insurer",
        "cnf": {"x5t#S256": base64.urlsafe_b64encode(CERTIFICATE).rstrip(b"=").decode()},
    } | changes
    return {name: value for name, value in told.items() if value is not None}


def keys_file(folder: Path, *keys: Any) -> Path:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    return file


@pytest.fixture
def reader(tmp_path: Path) -> TokenReader:
    keys = Keys(keys_file(tmp_path, EC, ED))
    return TokenReader(keys, issuer=ISSUER, audience="lipei/claims")


def reason(reader: TokenReader, token: str, now_s: float = NOW + 1) -> str:
    with pytest.raises(Refused) as refused:
        reader.read(token, certificate_sha256=CERTIFICATE, now_s=now_s)
    assert token not in refused.value.text
    return refused.value.reason


def test_a_good_token_says_who_in_which_roles_of_which_tenant(reader: TokenReader) -> None:
    for token in (
        signed(claims(), header()),
        signed(claims(), header(alg="Ed25519", kid="ed"), ED),
    ):
        person = reader.read(token, certificate_sha256=CERTIFICATE, now_s=NOW + 1)
        assert person.subject == "person-1"
        assert person.roles == {access_pb2.ROLE_ADJUSTER, access_pb2.ROLE_PAYMENTS}
        assert (person.tenant, person.tenant_name) == ("insurer", "insurer")


def test_alg_none_is_refused(reader: TokenReader) -> None:
    for kid in ("ec", "ed", "none"):
        for alg in ("none", "None", "NONE"):
            head = encoded({"alg": alg, "kid": kid, "typ": "at+jwt"})
            assert reason(reader, f"{head}.{encoded(claims())}.") == "TOKEN_INVALID"


def test_a_public_key_is_no_secret_for_a_hash(reader: TokenReader) -> None:
    for alg, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for secret in (
            EC.as_pem(private=False),
            EC.as_der(private=False),
            json.dumps(EC.as_dict(private=False)).encode(),
        ):
            said = f"{encoded(header(alg=alg))}.{encoded(claims())}"
            mac = hmac.new(secret, said.encode(), digest).digest()
            forged = f"{said}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
            assert reason(reader, forged) == "TOKEN_INVALID"


def test_a_key_serves_only_its_own_algorithm(reader: TokenReader) -> None:
    good = signed(claims(), header())
    _, body, signature = good.split(".")
    for alg in ("Ed25519", "EdDSA", "ES384", "ES512", "RS256", "PS256", "ES256K"):
        assert reason(reader, f"{encoded(header(alg=alg))}.{body}.{signature}") == "TOKEN_INVALID"
        assert reason(reader, f"{encoded(header(alg=alg, kid='ed'))}.{body}.{signature}") == (
            "TOKEN_INVALID"
        )
    rsa = RSAKey.generate_key(2048, {"kid": "ec"})
    assert reason(reader, signed(claims(), header(alg="RS256"), rsa)) == "TOKEN_INVALID"
    secret = OctKey.generate_key(256, {"kid": "ec"})
    assert reason(reader, signed(claims(), header(alg="HS256"), secret)) == "TOKEN_INVALID"


def test_a_strangers_signature_is_refused(reader: TokenReader) -> None:
    assert reason(reader, signed(claims(), header(), key_of("ec"))) == "TOKEN_INVALID"
    good = signed(claims(), header())
    head, _, signature = good.split(".")
    assert reason(reader, f"{head}.{encoded(claims(sub='boss'))}.{signature}") == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "changed",
    [
        {"kid": None},
        {"kid": "other"},
        {"kid": ["ec"]},
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "client-authentication+jwt"},
        {"jwk": EC.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"crit": ["exp"], "exp": 1},
        {"cty": "JWT"},
    ],
)
def test_a_header_says_the_three_things_and_no_more(
    reader: TokenReader, changed: dict[str, Any]
) -> None:
    head = {name: value for name, value in header(**changed).items() if value is not None}
    said = f"{encoded(head)}.{encoded(claims())}"
    key: Any = EC.private_key
    r, s = utils.decode_dss_signature(key.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    token = f"{said}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
    assert reason(reader, token) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iss": "https://other.example"}, "TOKEN_INVALID"),
        ({"iss": None}, "TOKEN_INVALID"),
        ({"aud": "lipei/pricing"}, "TOKEN_AUDIENCE"),
        ({"aud": ["lipei/pricing"]}, "TOKEN_AUDIENCE"),
        ({"aud": None}, "TOKEN_AUDIENCE"),
        ({"aud": "lipei/claims-and-more"}, "TOKEN_AUDIENCE"),
        ({"cnf": None}, "TOKEN_NOT_BOUND"),
        ({"cnf": {}}, "TOKEN_NOT_BOUND"),
        ({"cnf": "x"}, "TOKEN_NOT_BOUND"),
        ({"cnf": {"x5t#S256": base64.urlsafe_b64encode(b"x" * 32).decode()}}, "TOKEN_NOT_BOUND"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"iat": None}, "TOKEN_INVALID"),
        ({"exp": float(NOW + 600)}, "TOKEN_INVALID"),
        ({"exp": str(NOW + 600)}, "TOKEN_INVALID"),
        ({"exp": True}, "TOKEN_INVALID"),
        ({"exp": NOW + LONGEST_TOKEN_S + 1}, "TOKEN_INVALID"),
        ({"exp": NOW}, "TOKEN_INVALID"),
        ({"iat": NOW - 100_000, "exp": NOW + 1}, "TOKEN_INVALID"),
        ({"iat": NOW - 700, "exp": NOW - 100}, "TOKEN_EXPIRED"),
        ({"nbf": NOW + 100}, "TOKEN_INVALID"),
        ({"iat": NOW + 100, "exp": NOW + 200}, "TOKEN_INVALID"),
        ({"roles": None}, "TOKEN_INVALID"),
        ({"roles": []}, "TOKEN_INVALID"),
        ({"roles": "adjuster"}, "TOKEN_INVALID"),
        ({"roles": ["adjuster", "king"]}, "TOKEN_INVALID"),
        ({"roles": ["ADJUSTER"]}, "TOKEN_INVALID"),
        ({"roles": ["adjuster", 2]}, "TOKEN_INVALID"),
        ({"roles": ["service"]}, "TOKEN_INVALID"),
        ({"insurer": None}, "TOKEN_INVALID"),
        ({"insurer": ""}, "TOKEN_INVALID"),
        ({"insurer": ["insurer"]}, "TOKEN_INVALID"),
        ({"hospital": "h"}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"sub": "张三"}, "TOKEN_INVALID"),
    ],
)
def test_every_claim_is_judged(reader: TokenReader, changed: dict[str, Any], expected: str) -> None:
    assert reason(reader, signed(claims(**changed), header())) == expected


def test_a_token_without_a_tenant_is_of_the_installations_own_roles_only(
    reader: TokenReader,
) -> None:
    def without(*roles: str) -> str:
        said = claims(roles=list(roles))
        del said["insurer"]
        return signed(said, header())

    person = reader.read(without("auditor"), certificate_sha256=CERTIFICATE, now_s=NOW + 1)
    assert (person.tenant, person.tenant_name) == (INSTALLATION, "")
    assert person.roles == {access_pb2.ROLE_AUDITOR}
    for role in ("adjuster", "hospital_records", "member", "partner", "service"):
        assert reason(reader, without(role)) == "TOKEN_INVALID"
        assert reason(reader, without("auditor", role)) == "TOKEN_INVALID"


def test_repeated_names_and_what_is_no_object_are_refused(reader: TokenReader) -> None:
    twice = json.dumps(claims())[:-1] + ', "roles": ["operator"]}'
    for payload in (twice.encode(), b"[]", b"null", b"{", b"\xff", b'{"exp": NaN}'):
        assert reason(reader, signed(payload, header())) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "ä.b.c", "x" * 9000, "{}", "a.b.c.d.e", "." * 2000]
)
def test_what_is_no_token_at_all_is_refused(reader: TokenReader, token: str) -> None:
    with pytest.raises(Refused) as refused:
        reader.read(token, certificate_sha256=CERTIFICATE, now_s=NOW)
    assert refused.value.reason == "TOKEN_INVALID"


def test_random_bytes_never_raise_anything_else(reader: TokenReader) -> None:
    good = signed(claims(), header())
    for place in range(0, len(good), 3):
        broken = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        with pytest.raises(Refused):
            reader.read(broken, certificate_sha256=CERTIFICATE, now_s=NOW)


def test_what_was_verified_is_remembered_and_the_clock_and_certificate_are_not(
    reader: TokenReader,
) -> None:
    token = signed(claims(), header())
    for _ in range(2):
        assert (
            reader.read(token, certificate_sha256=CERTIFICATE, now_s=NOW + 629).subject
            == "person-1"
        )
    assert reason(reader, token, NOW + 630) == "TOKEN_EXPIRED"
    with pytest.raises(Refused) as refused:
        reader.read(token, certificate_sha256=b"x" * 32, now_s=NOW + 1)
    assert refused.value.reason == "TOKEN_NOT_BOUND"


def test_a_key_that_is_taken_out_of_the_file_counts_no_more_at_once(tmp_path: Path) -> None:
    file = keys_file(tmp_path, EC, ED)
    reader = TokenReader(Keys(file), issuer=ISSUER, audience="lipei/claims")
    token = signed(claims(), header())
    assert reader.read(token, certificate_sha256=CERTIFICATE, now_s=NOW + 1).subject == "person-1"
    keys_file(tmp_path, ED)
    assert reason(reader, token) == "TOKEN_INVALID"
    file.write_text("{")
    os.utime(file, (1, 1))
    by_ed = signed(claims(), header(alg="Ed25519", kid="ed"), ED)
    assert reason(reader, by_ed) == "TOKEN_INVALID"
    assert reason(reader, by_ed) == "TOKEN_INVALID"
    keys_file(tmp_path, ED)
    assert reader.read(by_ed, certificate_sha256=CERTIFICATE, now_s=NOW + 1).subject == "person-1"


def public(key: Any, **changes: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **changes}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ('{"keys": [], "keys": []}', "is not JSON without repeated names"),
        ("[]", "must hold a JWKS"),
        ('{"keys": []}', "holds no key"),
        (json.dumps({"keys": [EC.as_dict(private=True)]}), "keys[0] is a private key"),
        (json.dumps({"keys": [public(EC), public(EC)]}), "keys[1] needs a kid of its own"),
        (json.dumps({"keys": [public(EC, kid="")]}), "keys[0] needs a kid of its own"),
        (json.dumps({"keys": [public(EC, alg="HS256")]}), "keys[0] must be for ES256"),
        (json.dumps({"keys": [public(EC, x="AAAA")]}), "keys[0] is no point on its curve"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "o"}]}), "must be an EC key"),
    ],
)
def test_a_file_of_keys_that_cannot_be_trusted_is_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(UnknownSetting) as refused:
        Keys(file).current()
    assert words in str(refused.value)


def test_every_fault_of_a_file_of_keys_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [EC.as_dict(private=True), {"kty": "oct"}]}))
    with pytest.raises(UnknownSetting, match=r"keys\[0\](.|\n)*keys\[1\]"):
        Keys(file).current()


def test_a_missing_file_of_keys_is_a_sentence_or_no_key() -> None:
    with pytest.raises(UnknownSetting, match="is missing"):
        Keys(Path("/nowhere/keys.json")).current()
    assert Keys(Path("/nowhere/keys.json"), may_be_missing=True).current() == {}


# -------------------------------------------------------------------------------------- assertions


def assertion(key: Any = EC, **changes: Any) -> str:
    head = changes.pop("header", {})
    told = {
        "iss": URI,
        "sub": URI,
        "aud": "lipei/claims",
        "jti": "0123456789abcdef",
        "iat": NOW,
        "exp": NOW + 60,
    } | changes
    kept = {name: value for name, value in told.items() if value is not None}
    return signed(kept, header(**{"typ": "client-authentication+jwt"} | head), key)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Any]:
    file = tmp_path / "clients.json"
    other = {"keys": [public(key_of("ec"))]}
    file.write_text(json.dumps({URI: {"keys": [public(EC)]}, "spiffe://other": other}))
    reader = AssertionReader(Keys(file), audience="lipei/claims")
    return lambda text: reader.read(text, uri=URI, now_s=NOW + 1)


def test_a_good_assertion_says_which_one_it_is(read: Callable[[str], Any]) -> None:
    found = read(assertion())
    assert (found.issuer, found.jti) == (URI, "0123456789abcdef")
    assert found.expires_s > NOW + 60


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"exp": NOW + LONGEST_ASSERTION_S + 1}, "TOKEN_INVALID"),
        ({"iss": "spiffe://other"}, "TOKEN_INVALID"),
        ({"sub": "spiffe://other"}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"aud": "lipei/pricing"}, "TOKEN_AUDIENCE"),
        ({"aud": ["lipei/claims", "lipei/pricing"]}, "TOKEN_AUDIENCE"),
        ({"jti": None}, "TOKEN_INVALID"),
        ({"jti": "short"}, "TOKEN_INVALID"),
        ({"jti": "x" * 129}, "TOKEN_INVALID"),
        ({"iat": NOW - 200, "exp": NOW - 100}, "TOKEN_EXPIRED"),
        ({"iat": NOW + 100, "exp": NOW + 160}, "TOKEN_INVALID"),
        ({"header": {"typ": "at+jwt"}}, "TOKEN_INVALID"),
        ({"header": {"kid": "ed"}}, "TOKEN_INVALID"),
        ({"key": key_of("ec")}, "TOKEN_INVALID"),
    ],
)
def test_every_claim_of_an_assertion_is_judged(
    read: Callable[[str], Any], changed: dict[str, Any], expected: str
) -> None:
    with pytest.raises(Refused) as refused:
        read(assertion(**changed))
    assert refused.value.reason == expected


def test_a_person_s_token_is_no_assertion(read: Callable[[str], Any]) -> None:
    with pytest.raises(Refused):
        read(signed(claims(), header()))
