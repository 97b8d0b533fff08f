"""Requests to a hospital are patient within limits, and go nowhere but to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.his_bridge.profiles.loader import PullLimits
from services.his_bridge.profiles.source_kinds.mllp import TlsFiles
from services.his_bridge.sources import wire
from services.his_bridge.sources.http import HospitalHttp, Missing, Refused, TooLarge
from services.his_bridge.sources.port import SourceFault
from tests.services.his_bridge.receiving.test_mllp_tls import mint
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server

LIMITS = PullLimits(attempts=3, max_wait_s=5, max_body_mib=1, timeout_s=60, requests_per_s=1000)
Answer = tuple[int, dict[str, str], bytes]
GOOD: Answer = (200, {}, b"{}")


class Waits(list[float]):
    """Every wait that was asked for, without waiting."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def ask(server: OddServer, waits: Waits, limits: PullLimits = LIMITS) -> bytes:
    return asyncio.run(get(server.base_url, waits, limits))


async def get(base_url: str, waits: Waits, limits: PullLimits = LIMITS) -> bytes:
    http = HospitalHttp(base_url, limits, sleep=waits)
    try:
        return await http.get("Claim", [("_count", "1")])
    finally:
        await http.close()


class Sought(list[str]):
    """Every module that is looked for in folders; as the first of the finders."""

    def find_spec(self, name: str, *_more: object) -> None:
        self.append(name)


def test_no_request_looks_for_modules_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sought = Sought()
    with odd_server(script=[GOOD] * 3) as server:
        ask(server, Waits())  # what is imported at the first request
        monkeypatch.setattr("sys.meta_path", [sought, *sys.meta_path])
        ask(server, Waits())
        assert sought == []
        # The control: httpcore asks each time.
        monkeypatch.delitem(sys.modules, "sniffio")
        ask(server, Waits())
        assert "sniffio" in sought


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_waited_for(status: int) -> None:
    with odd_server(script=[(status, {"Retry-After": "2"}, b""), GOOD]) as server:
        waits = Waits()
        assert ask(server, waits) == b"{}"
        assert 2 in waits


def test_a_wait_until_a_date_is_taken_by_the_servers_own_clock() -> None:
    headers = {
        "Date": "Wed, 01 Jan 2020 00:00:00 GMT",
        "Retry-After": "Wed, 01 Jan 2020 00:00:03 GMT",
    }
    with odd_server(script=[(503, headers, b""), GOOD]) as server:
        waits = Waits()
        ask(server, waits)
        assert 3.0 in waits


def test_a_wait_until_a_date_of_a_server_that_tells_no_time_is_taken_by_our_clock() -> None:
    asked = httpx.Headers({"Retry-After": "Wed, 01 Jan 2020 00:00:03 GMT"})
    assert wire.retry_after_s(asked, lambda: 1_577_836_800.0) == 3.0
    assert wire.retry_after_s(asked, lambda: 1_577_836_900.0) == 0.0


def test_a_wait_beyond_the_limit_is_handed_to_the_caller() -> None:
    with odd_server(script=[(429, {"Retry-After": "60"}, b""), GOOD]) as server:
        with pytest.raises(SourceFault) as caught:
            ask(server, Waits())
        assert (caught.value.reason, caught.value.retry_after_s) == ("SOURCE_BUSY", 60)
        assert len(server.requests) == 1


@pytest.mark.parametrize("header", ["-1", "nan", "1e9", "٣", "soon", ""])
def test_a_senseless_wait_is_replaced_by_our_own(header: str) -> None:
    with odd_server(
        script=[(503, {"Retry-After": header.encode().decode("latin-1")}, b""), GOOD]
    ) as server:
        waits = Waits()
        assert ask(server, waits) == b"{}"
        assert all(0 <= wait <= 5 for wait in waits)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_stumbling_server_is_asked_again_with_growing_jitter_and_then_left(status: int) -> None:
    with odd_server(script=[(status, {}, b"")] * 3) as server:
        with pytest.raises(SourceFault) as caught:
            ask(server, Waits())
        assert caught.value.reason == "SOURCE_AWAY"
        assert caught.value.retry_after_s is not None
        assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_away() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/fhir"
        with pytest.raises(SourceFault) as caught:
            asyncio.run(get(url, Waits()))
    assert caught.value.reason == "SOURCE_AWAY"


@contextmanager
def over_tls(files: TlsFiles) -> Iterator[tuple[str, list[bytes]]]:
    """A server behind a certificate, and what it was sent: everything that it could decrypt."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return  # the test is over
                try:
                    with plain, context.wrap_socket(plain, server_side=True) as line:
                        sent.append(line.recv(65_536))
                        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                except (ssl.SSLError, OSError):
                    continue  # the other side does not trust us

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/fhir", sent
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("trusted", "change", "said"),
    [
        (True, {}, ""),
        (False, {}, "no authority"),
        (True, {"ends_in": timedelta(minutes=-1)}, "ran out"),
        (True, {"address": "127.0.0.2"}, "another address"),
    ],
    ids=["good", "unknown", "ran-out", "anothers"],
)
def test_a_certificate_that_is_not_believed_is_no_server_that_is_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,
    change: dict[str, Any],
    said: str,
) -> None:
    """Waiting does not mend it, and it says what would; once, for it is no stumble."""
    files = mint(tmp_path, "his", **change)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", files.certificate)
    wire._trust.cache_clear()
    try:
        with over_tls(files) as (url, sent):
            waits = Waits()
            if not said:
                assert asyncio.run(get(url, waits)) == b"{}"
                assert len(sent) == 1
                return
            with pytest.raises(SourceFault, match=said) as caught:
                asyncio.run(get(url, waits))
            assert (caught.value.reason, sent) == ("SOURCE_CERTIFICATE_REFUSED", [])
            assert caught.value.retry_after_s is None
    finally:
        wire._trust.cache_clear()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((302, {"Location": "http://169.254.169.254/latest"}, b""), "SOURCE_UNEXPECTED"),
        ((307, {"Location": "/fhir/Claim"}, b""), "SOURCE_UNEXPECTED"),
        ((401, {}, b""), "SOURCE_REFUSES"),
        ((403, {}, b""), "SOURCE_REFUSES"),
        ((418, {}, b""), "SOURCE_UNEXPECTED"),
        ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "SOURCE_COMPRESSES"),
    ],
    ids=["elsewhere", "redirect", "401", "403", "418", "gzip"],
)
def test_what_waiting_does_not_change_needs_a_person(answer: Answer, reason: str) -> None:
    with odd_server(script=[answer, GOOD]) as server:
        with pytest.raises(SourceFault) as caught:
            ask(server, Waits())
        assert (caught.value.reason, caught.value.retry_after_s) == (reason, None)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "fact"), [(404, Missing), (410, Missing), (400, Refused), (422, Refused)]
)
def test_missing_and_refused_are_facts_for_the_caller(status: int, fact: type[Exception]) -> None:
    with odd_server(script=[(status, {}, b"")]) as server, pytest.raises(fact):
        ask(server, Waits())


def test_an_answer_above_the_limit_is_thrown_away() -> None:
    with odd_server(
        script=[(200, {}, b"x" * (1 << 20)), (200, {}, b"x" * ((1 << 20) + 1))]
    ) as server:
        assert len(ask(server, Waits())) == 1 << 20
        with pytest.raises(TooLarge):
            ask(server, Waits())


def test_requests_keep_the_profiles_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    async def three(base_url: str, waits: Waits) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        monkeypatch.setattr(loop, "time", lambda: began)  # all three come at the same moment
        http = HospitalHttp(base_url, PullLimits(requests_per_s=2), sleep=waits)
        try:
            await asyncio.gather(*(http.get("Claim") for _ in range(3)))
        finally:
            await http.close()

    with odd_server() as server:
        waits = Waits()
        asyncio.run(three(server.base_url, waits))
        assert sorted(waits) == pytest.approx([0.5, 1.0])


@contextmanager
def dripping_server() -> Iterator[str]:
    """Sends one byte now and then, for ever."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
        finally:
            stop.set()
            thread.join()


def test_a_server_that_drips_is_given_up() -> None:
    limits = PullLimits(attempts=1, timeout_s=1)
    with dripping_server() as url, pytest.raises(SourceFault) as caught:
        asyncio.run(get(url, Waits(), limits))
    assert caught.value.reason == "SOURCE_AWAY"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with odd_server() as server:
        assert ask(server, Waits()).startswith(b'{"resourceType": "Bundle"')
