"""The bank's port says only what is certain: a canned bank answers in every odd way."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest

from services.claims.payouts import bank as port
from services.claims.payouts.bank import Answer, Bank, BankKnowledge, BankUnreachable, SendOutcome

T = TypeVar("T")
KNOWN = {"message_id": "M1", "state": "known"}
NEVER = {"message_id": "M1", "state": "never_received"}


class Canned(ThreadingHTTPServer):
    """Answers every request with one status and body; None closes the line without a word."""

    daemon_threads = True
    status = 200
    body: bytes | None = b""
    slow_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CannedHandler)
        self.requests: list[str] = []
        self.released = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller who hangs up is what these tests are about."""


class CannedHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Canned)
        server.requests.append(f"{self.command} {self.path}")
        server.released.wait(server.slow_s)
        if server.body is None:
            return
        self.send_response(server.status)
        self.send_header("content-length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def at(server: Canned, timeout_s: float = 60.0) -> Bank:
    return Bank(f"http://127.0.0.1:{server.server_port}", timeout_s=timeout_s)


def says(server: Canned, status: int, content: object) -> Bank:
    server.status, server.body = status, json.dumps(content).encode()
    return at(server)


def test_a_receipt_for_this_message_is_acceptance(canned: Canned) -> None:
    assert run(says(canned, 202, KNOWN).send(b"<x/>", "M1")) is SendOutcome.ACCEPTED
    assert canned.requests == ["POST /payments"]


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (202, {**KNOWN, "message_id": "M2"}),
        (202, {}),
        (202, []),
        (200, KNOWN),
        (302, KNOWN),
        (400, {"error": "refused"}),
        (404, KNOWN),
        (409, KNOWN),
        (429, {}),
        (500, {}),
        (502, {}),
    ],
)
def test_anything_else_after_the_bytes_left_is_unknown(
    canned: Canned, status: int, content: object
) -> None:
    assert run(says(canned, status, content).send(b"<x/>", "M1")) is SendOutcome.UNKNOWN
    assert len(canned.requests) == 1


def test_a_line_that_drops_is_unknown(canned: Canned) -> None:
    canned.body = None
    assert run(at(canned).send(b"<x/>", "M1")) is SendOutcome.UNKNOWN


def test_silence_is_unknown(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    canned.slow_s = 60

    async def unanswered() -> SendOutcome:
        loop = asyncio.get_running_loop()
        clock, began = loop.time, loop.time()
        # No time passes before the bytes have arrived.
        monkeypatch.setattr(loop, "time", lambda: clock() if canned.requests else began)
        return await at(canned, timeout_s=0.2).send(b"<x/>", "M1")

    assert run(unanswered()) is SendOutcome.UNKNOWN
    assert canned.requests == ["POST /payments"]  # the bytes had left


def test_a_refused_connection_is_the_only_certain_failure() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bank = Bank(f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert run(bank.send(b"<x/>", "M1")) is SendOutcome.NOT_SENT
        with pytest.raises(BankUnreachable):
            run(bank.ask("M1"))


def test_the_bank_s_word_about_this_message_is_knowledge(canned: Canned) -> None:
    assert run(says(canned, 200, KNOWN).ask("M1")) is BankKnowledge.KNOWN
    assert run(says(canned, 404, NEVER).ask("M1")) is BankKnowledge.NEVER_RECEIVED
    assert canned.requests == ["GET /payments/M1"] * 2


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (404, "<html>not found</html>"),  # a proxy that knows no such place
        (404, {}),
        (404, KNOWN),
        (404, {**NEVER, "message_id": "M2"}),
        (200, NEVER),
        (200, {**KNOWN, "message_id": "M2"}),
        (500, NEVER),
        (503, NEVER),
    ],
)
def test_a_stray_answer_is_no_knowledge(canned: Canned, status: int, content: object) -> None:
    """Were a stray 404 taken for "never received", a paid file would leave again."""
    with pytest.raises(BankUnreachable):
        run(says(canned, status, content).ask("M1"))


def test_answers_come_with_their_cursor(canned: Canned) -> None:
    data = base64.b64encode(b"<x/>").decode()
    bank = says(canned, 200, {"answers": [{"id": 7, "data": data}]})
    assert run(bank.answers("5")) == [Answer("7", b"<x/>")]
    assert run(says(canned, 200, {"answers": []}).answers("")) == []
    assert canned.requests == ["GET /answers?after=5", "GET /answers?after=0"]


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, {"answers": []}),
        (200, {}),
        (200, {"answers": [{"id": "x", "data": ""}]}),
        (200, {"answers": [{"id": 1, "data": "%%"}]}),
    ],
)
def test_answers_that_cannot_be_read_are_no_answers(
    canned: Canned, status: int, content: object
) -> None:
    with pytest.raises(BankUnreachable):
        run(says(canned, status, content).answers(""))


def test_an_endless_answer_is_cut_off(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "MAX_ANSWER_BYTES", 1_000)
    canned.body = b"x" * 1_001
    with pytest.raises(BankUnreachable):
        run(at(canned).report("M1"))
    canned.body = b"x" * 1_000
    assert run(at(canned).report("M1")) == canned.body


def test_nothing_follows_a_redirect(canned: Canned) -> None:
    with pytest.raises(BankUnreachable):
        run(says(canned, 302, KNOWN).ask("M1"))
    assert len(canned.requests) == 1
