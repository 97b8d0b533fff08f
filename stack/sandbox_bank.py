"""A bank to try payouts on: pain.001 files come in over HTTP, pain.002 files lie ready.

It stands in for a real bank, so it knows nothing of claims, ledger or storage; it shares the file
format alone. What it pays and rejects is in sandbox_book. It can be told to fail the way banks do:
to execute a file and then say nothing, to lose one, or (`--dumb`) to execute whatever comes.

    POST /payments              a pain.001.001.09 file; 202 with a receipt
    GET  /payments/{id}         200 known, or 404 never_received, each naming the message id
    GET  /payments/{id}/report  a fresh pain.002 on every payment of the message
    GET  /answers?after=N       pain.002 files after number N, oldest first, base64 in JSON
    GET  /book                  what was paid, for reconciliation
    POST /faults                change the faults while it runs; only with --control
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, cast
from urllib.parse import parse_qs, urlsplit

from services.claims.payouts import iso20022
from services.common.state import record_address, state_dir
from stack.sandbox_book import Book

_MESSAGE = re.compile(r"/payments/([A-Za-z0-9-]{1,35})(/report)?", re.ASCII)
_TICK_S = 0.05


@dataclass(kw_only=True)
class Faults:
    """How many of the next files meet which fate; a hang lasts `hang_s` before the line drops."""

    commit_then_timeout: int = 0
    drop_before_commit: int = 0
    hang_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, name: str) -> bool:
        """Whether this file meets the fate; each counted file is used up."""
        with self._lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left > 0)

    def change(self, commit_then_timeout: int, drop_before_commit: int, hang_s: float) -> None:
        """Set all of them anew."""
        with self._lock:
            self.commit_then_timeout = commit_then_timeout
            self.drop_before_commit = drop_before_commit
            self.hang_s = hang_s


class Server(ThreadingHTTPServer):
    """The bank's counter: one thread a connection, on this machine only."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, book: Book, faults: Faults, *, control: bool) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.book = book
        self.faults = faults
        self.control = control

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller who hangs up is no news; anything else is."""
        fault = sys.exc_info()[0]
        if fault is not None and not issubclass(fault, ConnectionError):
            print(f"a request failed: {fault.__name__}", file=sys.stderr, flush=True)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout: ClassVar[float | None] = 60.0  # an idle line is dropped

    @property
    def _bank(self) -> Server:
        return cast("Server", self.server)

    def do_POST(self) -> None:
        """Take a payment file, or new faults."""
        body = self._body()
        if body is None:
            return
        if self.path == "/payments":
            self._take(body)
        elif self.path == "/faults" and self._bank.control:
            self._bank.faults.change(**json.loads(body))
            self._say(HTTPStatus.OK, {})
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "no such place"})

    def do_GET(self) -> None:
        """Tell what is known."""
        place = urlsplit(self.path)
        if place.path == "/answers":
            after = parse_qs(place.query).get("after", ["0"])[0]
            self._answers(int(after) if after.isascii() and after.isdecimal() else 0)
        elif place.path == "/book":
            self._say(HTTPStatus.OK, {"payments": self._bank.book.paid()})
        elif match := _MESSAGE.fullmatch(place.path):
            self._tell(match[1], with_report=match[2] is not None)
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "no such place"})

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: files and answers are in the book."""

    def _take(self, body: bytes) -> None:
        faults = self._bank.faults
        if faults.take("drop_before_commit"):
            self._drop()
            return
        try:
            order = iso20022.read_order(body)
        except iso20022.InvalidDocument as error:
            found = [{"path": each.path, "reason": each.reason} for each in error.faults]
            self._say(HTTPStatus.BAD_REQUEST, {"error": "the file is refused", "faults": found})
            return
        self._bank.book.take(order, _now_us())
        if faults.take("commit_then_timeout"):
            time.sleep(faults.hang_s)
            self._drop()
            return
        self._say(HTTPStatus.ACCEPTED, {"message_id": order.message_id, "state": "known"})

    def _tell(self, message_id: str, *, with_report: bool) -> None:
        if not self._bank.book.knows(message_id):
            told = {"message_id": message_id, "state": "never_received"}
            self._say(HTTPStatus.NOT_FOUND, told)
        elif with_report:
            report = self._bank.book.report(message_id, _now_us())
            self._send(HTTPStatus.OK if report else HTTPStatus.NOT_FOUND, report or b"", "xml")
        else:
            self._say(HTTPStatus.OK, {"message_id": message_id, "state": "known"})

    def _answers(self, after: int) -> None:
        found = [
            {"id": number, "data": base64.b64encode(data).decode()}
            for number, data in self._bank.book.answers(after)
        ]
        self._say(HTTPStatus.OK, {"answers": found})

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            self._say(HTTPStatus.LENGTH_REQUIRED, {"error": "say the length"})
            return None
        if int(length) > iso20022.MAX_BYTES:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "the file is too large"})
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None  # the sender died: nothing was asked

    def _say(self, status: HTTPStatus, content: Mapping[str, object]) -> None:
        self._send(status, json.dumps(content).encode(), "json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", f"application/{kind}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bank until SIGTERM or SIGINT; its address stands in run.json meanwhile."""
    options = _options(arguments)
    state = state_dir(options.state)
    folder = state / "bank"
    folder.mkdir(mode=0o700, exist_ok=True)
    book = Book(
        folder / "book.sqlite3", settle_after_s=options.settle_after_ms / 1000, dumb=options.dumb
    )
    faults = Faults(
        commit_then_timeout=options.commit_then_timeout,
        drop_before_commit=options.drop_before_commit,
        hang_s=options.hang_s,
    )
    server = _bind(options.port, folder / "port", book, faults, control=options.control)
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    record_address(state, "bank", server.url)
    print(f"sandbox bank at {server.url}", file=sys.stderr, flush=True)
    while not stopping.wait(_TICK_S):
        book.settle(_now_us())
    record_address(state, "bank", None)
    server.shutdown()
    serving.join()
    server.server_close()
    book.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stack.sandbox_bank", allow_abbrev=False)
    state = Path(os.environ.get("LIPEI_STATE", ".lipei"))
    parser.add_argument("--state", type=Path, default=state, help="state directory")
    parser.add_argument("--port", type=int, default=0, help="0: the port of last time, else any")
    parser.add_argument("--settle-after-ms", type=int, default=200, help="from receipt to ACSC")
    parser.add_argument("--dumb", action="store_true", help="execute duplicates too")
    parser.add_argument("--control", action="store_true", help="let POST /faults change faults")
    parser.add_argument("--commit-then-timeout", type=int, default=0, metavar="FILES")
    parser.add_argument("--drop-before-commit", type=int, default=0, metavar="FILES")
    parser.add_argument("--hang-s", type=float, default=0.0, help="silence before a line drops")
    return parser.parse_args(arguments)


def _bind(port: int, remembered: Path, book: Book, faults: Faults, *, control: bool) -> Server:
    """Listen where it listened last time if it can: clients keep the address that they know."""
    last = int(remembered.read_text()) if remembered.exists() else 0
    for candidate in (port,) if port else (last, 0):
        try:
            server = Server(candidate, book, faults, control=control)
        except OSError:
            if candidate == 0 or port:
                raise
            continue
        remembered.write_text(str(server.server_port))
        return server
    raise AssertionError("unreachable: port 0 binds or raises")


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    main()
