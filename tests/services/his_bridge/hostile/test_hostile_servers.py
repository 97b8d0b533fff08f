"""Whatever a FHIR server answers, the pull says why it failed, and memory is bounded."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.services.his_bridge.hostile.attacked import MIB, Attacked, attacked
from tests.services.his_bridge.hostile.test_hostile_files import gzip_bomb
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.sources.bulk_server import BulkServer, Reply, bulk_server
from tests.services.his_bridge.sources.odd_server import OddServer

AROUND, CLAIMS, _ = good(60)
# What stands in the place of an honest answer, byte for byte.
Attack = Callable[[BufferedIOBase], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nConnection: close\r\n"


class Hostile:
    """A FHIR server that answers honestly until it is given an attack."""

    def __init__(self) -> None:
        self.odd = OddServer()
        self.attack: Attack | None = None
        self.base_url = ""
        for one in AROUND:
            self.odd.put(one)

    def write(self, number: int) -> None:
        content = {key: value for key, value in CLAIMS[number].items() if key != "id"}
        self.odd.now = self.odd.now.replace(minute=number)
        self.odd.write(CLAIMS[number]["id"], **content)


@contextmanager
def hostile_server() -> Iterator[Hostile]:
    server = Hostile()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if server.attack is not None:
                self.close_connection = True
                server.attack(self.wfile)
                return
            parts = urlsplit(self.path)
            path, query = parts.path.removeprefix("/fhir/"), dict(parse_qsl(parts.query))
            status, _, body = server.odd.answer(path, query)
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is what an attacker has to expect."""

    listener = Listener(("127.0.0.1", 0), Handler)
    server.base_url = f"http://127.0.0.1:{listener.server_port}/fhir"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def body(content: bytes, *headers: bytes) -> Attack:
    lines = b"".join(line + b"\r\n" for line in headers)

    def attack(out: BufferedIOBase) -> None:
        out.write(HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(content))
        out.write(content)

    return attack


def late(make: Callable[[], Attack]) -> Attack:
    """What takes long to make is made by its test."""

    def attack(out: BufferedIOBase) -> None:
        make()(out)

    return attack


def sent(content: bytes) -> Attack:
    def attack(out: BufferedIOBase) -> None:
        out.write(content)

    return attack


def status(line: bytes, *headers: bytes) -> Attack:
    lines = b"".join(header + b"\r\n" for header in headers)
    return sent(b"HTTP/1.1 " + line + b"\r\n" + lines + b"\r\n")


def endless(first: bytes, piece: bytes, pause_s: float = 0.0) -> Attack:
    """Never ends by itself: the other side hangs up, or the pieces come to a GiB."""

    def attack(out: BufferedIOBase) -> None:
        out.write(first)
        for _ in range((1 << 30) // len(piece)):
            out.write(piece)
            out.flush()
            if pause_s:
                time.sleep(pause_s)

    return attack


def bundle(*resources: bytes) -> bytes:
    entries = b",".join(b'{"resource":' + one + b"}" for one in resources)
    return b'{"resourceType":"Bundle","type":"searchset","entry":[' + entries + b"]}"


def hostile_claim(name: str, value: bytes, minute: int) -> bytes:
    meta = {"versionId": "1", "lastUpdated": f"2026-03-01T08:{minute}:30.000Z"}
    text = json.dumps({**CLAIMS[-1], "id": name, "meta": meta, "extension": "HERE"})
    return text.encode().replace(b'"HERE"', value)


CHUNK = b"10000\r\n" + b" " * (1 << 16) + b"\r\n"
REST: dict[str, tuple[Attack, str, str]] = {
    "a body without end": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
        "SOURCE_TOO_LARGE",
        "",
    ),
    "a length of a TiB": (
        endless(HEAD + b"Content-Length: 1099511627776\r\n\r\n", b" " * (1 << 16)),
        "SOURCE_TOO_LARGE",
        "",
    ),
    "headers without end": (endless(HEAD, b"X: " + b"x" * 1000 + b"\r\n"), "SOURCE_AWAY", ""),
    "a header of 10 MiB": (
        sent(HEAD + b"X: " + b"x" * (10 * MIB)),
        "SOURCE_AWAY",
        "",
    ),
    "a gzip bomb that nobody asked for": (
        late(lambda: body(gzip_bomb(256), b"Content-Encoding: gzip")),
        "SOURCE_COMPRESSES",
        "",
    ),
    "a page": (body(b"<!DOCTYPE html><html>log in</html>"), "SOURCE_NOT_FHIR", ""),
    "a way elsewhere": (
        status(b"302 Found", b"Location: http://169.254.169.254/", b"Content-Length: 0"),
        "SOURCE_UNEXPECTED",
        "",
    ),
    "deep JSON": (body(b"[" * (10 * MIB)), "SOURCE_TOO_LARGE", ""),
    "JSON as deep as a page may be": (body(b"[" * MIB), "SOURCE_NOT_FHIR", ""),
    "entries of nothing": (
        body(bundle(b"{}")[:-2] + b",{}" * (4 * MIB) + b"]}"),
        "SOURCE_TOO_LARGE",
        "",
    ),
    "numbers that are none": (
        body(b'{"resourceType":"Bundle","total":1e400,"entry":[]}'),
        "SOURCE_NOT_FHIR",
        "",
    ),
    "a resource of 10 MiB": (
        body(bundle(hostile_claim("larger", b'"' + b"x" * (10 * MIB) + b'"', 11))),
        "SOURCE_TOO_LARGE",
        "",
    ),
    "a resource as large as a page may be": (
        body(bundle(hostile_claim("large", b'"' + b"x" * (5 * MIB - 9_000) + b'"', 12))),
        "",
        "RECORD_TOO_LARGE",
    ),
    "a deep resource": (
        body(bundle(hostile_claim("deep", b"[" * 9_000 + b"]" * 9_000, 13))),
        "",
        "TOO_DEEP",
    ),
    "a resource with NaN": (
        body(bundle(hostile_claim("nan", b"NaN", 14))),
        "",
        "NOT_A_NUMBER",
    ),
}


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attacked, Hostile]]:
    with hostile_server() as server:
        text = PROFILE.replace(BASE_URL, server.base_url)
        text = text.replace("page_size: 50", "page_size: 50, attempts: 1, timeout_s: 60")
        with attacked(tmp_path_factory.mktemp("rest"), text) as bridge:
            server.write(0)
            bridge.good()
            yield bridge, server


@pytest.mark.parametrize("what", REST)
def test_answers_that_no_good_server_gives(rest: tuple[Attacked, Hostile], what: str) -> None:
    bridge, server = rest
    server.attack, failure, reason = REST[what]
    said, reasons = bridge.attack()
    server.attack = None
    assert (said, reason if reason in reasons else " ".join(reasons)) == (failure, reason)
    server.write(list(REST).index(what) + 1)
    bridge.good()


def test_a_drip_is_given_up(tmp_path: Path) -> None:
    with hostile_server() as server:
        text = PROFILE.replace(BASE_URL, server.base_url)
        text = text.replace("page_size: 50", "page_size: 50, attempts: 1, timeout_s: 2")
        with attacked(tmp_path, text) as bridge:
            server.attack = endless(HEAD + b"Content-Length: 99\r\n\r\n", b" ", 0.2)
            assert bridge.pulled() == "SOURCE_AWAY"
            assert "Traceback" not in bridge.log()


def _only(where: str, change: Callable[[Reply], Reply]) -> Callable[[str, Reply], Reply]:
    return lambda path, reply: change(reply) if where in path and reply[0] == 200 else reply


LONG = b"x" * (10 * MIB)
BULK: dict[str, tuple[Callable[[str, Reply], Reply], str]] = {
    "a manifest of 100 MiB": (
        _only("status/", lambda _: (200, {}, b'{"a":"' + b"x" * (100 * MIB))),
        "SOURCE_TOO_LARGE",
    ),
    "a deep manifest": (
        _only("status/", lambda _: (200, {}, b"[" * (4 * MIB))),
        "SOURCE_EXPORT_MALFORMED",
    ),
    "a line of 100 MiB": (
        _only("files/", lambda _: (200, {}, b"x" * (100 * MIB))),
        "SOURCE_TOO_LARGE",
    ),
    "a bomb": (
        _only(
            "files/",
            lambda _: (
                200,
                {"Content-Encoding": "gzip"},
                gzip.compress((b" " * MIB + b"\n") * 256, compresslevel=1),
            ),
        ),
        "SOURCE_FILE_TRUNCATED",
    ),
    "a file that is elsewhere": (
        _only("files/", lambda _: (302, {"Location": "http://169.254.169.254/"}, b"")),
        "SOURCE_UNEXPECTED",
    ),
}


@pytest.fixture
def bulk(tmp_path: Any) -> Iterator[tuple[Attacked, BulkServer]]:
    with bulk_server(pending=0) as server:
        text = PROFILE.replace(BASE_URL, server.base_url)
        text = text.replace("page_size: 50", "page_size: 50, attempts: 1, timeout_s: 60")
        with attacked(tmp_path, text + "source: {kind: fhir_bulk, every_s: 0}\n") as bridge:
            yield bridge, server


@pytest.mark.parametrize("what", BULK)
def test_exports_that_no_good_server_gives(bulk: tuple[Attacked, BulkServer], what: str) -> None:
    bridge, server = bulk
    bridge.good(bills=0)  # an empty export
    server.twist, reason = BULK[what]
    server.put("a", CLAIMS[:1])
    assert bridge.attack() == (reason, {})
