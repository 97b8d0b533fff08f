"""SMART backend services: against a server that really demands them, and one that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from services.his_bridge.profiles.loader import PullLimits
from services.his_bridge.profiles.source_kinds.smart import SmartClient
from services.his_bridge.sources.http import HospitalHttp
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.smart import SmartAccess
from services.his_bridge.sources.wire import Wire
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import patient
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server

LIMITS = PullLimits(attempts=1, max_wait_s=1, timeout_s=60, requests_per_s=1000)
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-384")
OTHERS = RSAKey.generate_key(2048)


def key_file(folder: Path, key: RSAKey | ECKey, *, jwk: bool = False) -> Path:
    path = folder / f"key-{id(key)}-{jwk}"
    raw = json.dumps(key.as_dict(private=True)).encode() if jwk else key.as_pem(private=True)
    path.touch(0o600)
    path.write_bytes(raw)
    return path


def registered(client_id: str, *keys: RSAKey | ECKey, scopes: str = "system/*.*") -> dict[str, Any]:
    public = [key.as_dict(private=False) for key in keys]
    return {"client_id": client_id, "jwks": {"keys": public}, "scopes": scopes}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    clients = [
        registered("lipei", RSA),
        registered("lipei-ec", EC),
        registered("lipei-patients", RSA, scopes="system/Patient.read"),
    ]
    with fhir_server(tmp_path_factory.mktemp("smart"), clients) as found:
        found.put([patient()])
        yield found


def ask(
    base_url: str,
    client: SmartClient | None,
    *,
    path: str = "Patient",
    times: int = 1,
    now_s: Callable[[], float] = time.time,
) -> list[bytes]:
    async def run() -> list[bytes]:
        http = HospitalHttp(base_url, LIMITS, client, now_s=now_s)
        try:
            return [await http.get(path) for _ in range(times)]
        finally:
            await http.close()

    return asyncio.run(run())


def reason_of(base_url: str, client: SmartClient | None, **more: Any) -> str:
    with pytest.raises(SourceFault) as caught:
        ask(base_url, client, **more)
    return caught.value.reason


def test_without_a_token_the_server_refuses(server: FhirServer) -> None:
    """The control of all that follow: the server really asks."""
    assert reason_of(server.base_url, None) == "SOURCE_REFUSES"


@pytest.mark.parametrize(
    ("key", "algorithm", "jwk"),
    [(RSA, "RS384", False), (EC, "ES384", False), (RSA, "RS384", True), (EC, "ES384", True)],
)
def test_a_signed_statement_opens_the_server(
    server: FhirServer, tmp_path: Path, key: RSAKey | ECKey, algorithm: str, jwk: bool
) -> None:
    client_id = "lipei" if key is RSA else "lipei-ec"
    path = key_file(tmp_path, key, jwk=jwk)
    client = SmartClient(client_id=client_id, key_file=path, algorithm=algorithm)
    assert b'"MRN-p1-77"' in ask(server.base_url, client)[0]


def test_whoever_is_refused_hears_why(server: FhirServer, tmp_path: Path) -> None:
    good, wrong = key_file(tmp_path, RSA), key_file(tmp_path, OTHERS)
    url = server.base_url
    assert reason_of(url, SmartClient(client_id="nobody", key_file=good)) == "SOURCE_CLIENT_UNKNOWN"
    assert reason_of(url, SmartClient(client_id="lipei", key_file=wrong)) == "SOURCE_KEY_REFUSED"
    narrow = SmartClient(
        client_id="lipei-patients", key_file=good, scopes=("system/Observation.read",)
    )
    assert reason_of(url, narrow) == "SOURCE_SCOPE_REFUSED"
    both = ("system/Patient.read", "system/Observation.read")
    half = SmartClient(client_id="lipei-patients", key_file=good, scopes=both)
    assert reason_of(url, half) == "SOURCE_SCOPE_NARROWED"


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_a_wrong_clock_is_told_from_a_wrong_key(
    server: FhirServer, tmp_path: Path, off_s: int
) -> None:
    client = SmartClient(client_id="lipei", key_file=key_file(tmp_path, RSA))
    assert reason_of(server.base_url, client, now_s=lambda: time.time() + off_s) == "SOURCE_CLOCK"


def test_scopes_bound_what_is_read(server: FhirServer, tmp_path: Path) -> None:
    client = SmartClient(
        client_id="lipei-patients",
        key_file=key_file(tmp_path, RSA),
        scopes=("system/Patient.read",),
    )
    assert ask(server.base_url, client)
    assert reason_of(server.base_url, client, path="Observation") == "SOURCE_REFUSES"


def test_a_key_file_that_others_may_read_is_not_used(server: FhirServer, tmp_path: Path) -> None:
    path = key_file(tmp_path, RSA)
    path.chmod(0o640)
    client = SmartClient(client_id="lipei", key_file=path)
    assert reason_of(server.base_url, client) == "SOURCE_KEY_UNUSABLE"


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"{}", RSA.as_pem(private=False), EC.as_pem(private=True)]
)
def test_a_file_without_a_private_key_of_the_kind_is_named(
    server: FhirServer, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    client = SmartClient(client_id="lipei", key_file=path)
    assert reason_of(server.base_url, client) == "SOURCE_KEY_UNUSABLE"
    missing = SmartClient(client_id="lipei", key_file=tmp_path / "none")
    assert reason_of(server.base_url, missing) == "SOURCE_KEY_UNUSABLE"


# A server that misbehaves. Its answers stand in a row.

Answer = tuple[int, dict[str, str], bytes]


def said(status: int, **body: Any) -> Answer:
    return status, {}, json.dumps(body).encode()


def configuration(server: OddServer, **more: Any) -> Answer:
    return said(200, token_endpoint=f"{server.base_url}/token", **more)


def token(value: str = "t1", **more: Any) -> Answer:
    return said(200, access_token=value, token_type="bearer", expires_in=300, **more)


@pytest.fixture
def client(tmp_path: Path) -> SmartClient:
    return SmartClient(client_id="lipei", key_file=key_file(tmp_path, RSA))


def test_one_token_serves_until_it_ends(client: SmartClient) -> None:
    with odd_server() as odd:
        odd.script = [configuration(odd), token(), *[said(200)] * 3]
        ask(odd.base_url, client, times=3)
        assert odd.tokens == ["", "", *["Bearer t1"] * 3]


def test_a_token_is_renewed_before_it_ends(client: SmartClient) -> None:
    with odd_server() as odd:
        odd.script = [configuration(odd), token(), token("t2")]
        clock = [1000.0]

        async def run() -> list[str]:
            wire = Wire(LIMITS)
            access = SmartAccess(
                odd.base_url, client, wire, now_s=time.time, steady_s=lambda: clock[0]
            )
            seen = []
            for later in (0, 269, 2):  # it lives for 300 s and is renewed 30 s before its end
                clock[0] += later
                seen.append(await access.header())
            await wire.close()
            return seen

        assert asyncio.run(run()) == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_refused_token_is_renewed_once_and_never_twice(client: SmartClient) -> None:
    with odd_server() as odd:
        odd.script = [configuration(odd), token(), said(401), token("t2"), said(200)]
        ask(odd.base_url, client)
        assert odd.tokens == ["", "", "Bearer t1", "", "Bearer t2"]
    with odd_server() as odd:
        odd.script = [configuration(odd), token(), said(401), token("t2"), said(401), said(200)]
        assert reason_of(odd.base_url, client) == "SOURCE_REFUSES"
        assert len(odd.tokens) == 5


def test_a_statement_is_never_made_twice(client: SmartClient) -> None:
    """A server that stumbled may have noted its `jti` already, and would refuse it as a replay."""
    patient_limits = PullLimits(attempts=3, max_wait_s=1, timeout_s=60, requests_per_s=1000)
    with odd_server() as odd:
        seen: list[str] = []
        plain = odd.answer

        def answer(path: str, query: dict[str, str]) -> Answer:
            if path == "token":
                claims = query["client_assertion"].split(".")[1]
                seen.append(json.loads(base64.urlsafe_b64decode(claims + "=="))["jti"])
            return plain(path, query)

        odd.answer = answer  # type: ignore[method-assign]  # looks at what is sent, and goes on
        odd.script = [configuration(odd), (500, {}, b""), (503, {}, b""), token(), said(200)]

        async def run() -> bytes:
            http = HospitalHttp(odd.base_url, patient_limits, client)
            try:
                return await http.get("Patient")
            finally:
                await http.close()

        assert asyncio.run(run()) == b"{}"
        assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize(
    "endpoint", ["http://[his/token", "http://127.0.0.1:99999/token", "http://127.0.0.1:x/token"]
)
def test_a_token_endpoint_that_is_no_address_is_none(client: SmartClient, endpoint: str) -> None:
    with odd_server() as odd:
        odd.script = [said(200, token_endpoint=endpoint)]
        assert reason_of(odd.base_url, client) == "SOURCE_NO_SMART"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, "SOURCE_NO_SMART"),
        (
            {"token_endpoint_auth_signing_alg_values_supported": ["ES256"]},
            "SOURCE_ALGORITHM_REFUSED",
        ),
    ],
)
def test_a_server_that_cannot_do_it_is_named(
    client: SmartClient, more: dict[str, Any], reason: str
) -> None:
    with odd_server() as odd:
        odd.script = [configuration(odd, **more)]
        assert reason_of(odd.base_url, client) == reason


@pytest.mark.parametrize(
    "endpoint", ["https://elsewhere.example/token", "http://user@127.0.0.1/token"]
)
def test_our_statement_is_not_led_to_another_host(client: SmartClient, endpoint: str) -> None:
    with odd_server() as odd:
        odd.script = [said(200, token_endpoint=endpoint)]
        assert reason_of(odd.base_url, client) == "SOURCE_TOKEN_ELSEWHERE"


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (200, {}, b"{}"),
        (200, {}, b'{"token_endpoint": "http://127.0.0.1:1/a", "token_endpoint": "http://h/b"}'),
    ],
)
def test_no_configuration_is_a_fault(client: SmartClient, answer: Answer) -> None:
    with odd_server() as odd:
        odd.script = [answer]
        assert reason_of(odd.base_url, client) == "SOURCE_NO_SMART"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(400, error="unauthorized_client"), "SOURCE_CLIENT_UNAUTHORISED"),
        (said(401, error="invalid_client"), "SOURCE_KEY_REFUSED"),
        (said(400, error="invalid_scope"), "SOURCE_SCOPE_REFUSED"),
        (said(400, error="nonsense", error_description="欧阳建国"), "SOURCE_REFUSES"),
        ((404, {}, b""), "SOURCE_NO_SMART"),
        ((503, {"Retry-After": "7"}, b""), "SOURCE_BUSY"),
        ((500, {}, b""), "SOURCE_AWAY"),
        ((200, {}, b"\xff"), "SOURCE_TOKEN_MALFORMED"),
        ((200, {}, b"[" * 10_000), "SOURCE_TOKEN_MALFORMED"),
        ((200, {}, b"x" * 70_000), "SOURCE_TOKEN_MALFORMED"),
        (said(200, access_token="a\r\nX: y", token_type="bearer"), "SOURCE_TOKEN_MALFORMED"),
        (said(200, access_token="a", token_type="mac"), "SOURCE_TOKEN_MALFORMED"),
        (
            (200, {}, b'{"access_token": "a", "access_token": "b"}'),
            "SOURCE_TOKEN_MALFORMED",
        ),
    ],
)
def test_every_refusal_has_its_reason_and_repeats_no_word_of_the_server(
    client: SmartClient, answer: Answer, reason: str
) -> None:
    with odd_server() as odd:
        odd.script = [configuration(odd), answer]
        with pytest.raises(SourceFault) as caught:
            ask(odd.base_url, client)
        assert caught.value.reason == reason
        assert "欧阳" not in str(caught.value)
