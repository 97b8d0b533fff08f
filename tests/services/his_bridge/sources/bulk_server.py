"""A server of FHIR bulk exports on 127.0.0.1 that can break every promise of the specification."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NOW = "2026-03-01T08:00:00.000Z"
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class BulkServer:
    """One export at a time. `files` are NDJSON by name; `twist` may change any reply."""

    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)  # by name; Claim by default
    counts: dict[str, int | None] = field(default_factory=dict)  # by name; the true one by default
    deleted: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    pending: int = 1  # looks at the status before the export is ready
    retry_after: str = "0"
    packs: bool = False
    ranges: bool = True
    needs_token: bool = False
    transaction_time: str = NOW
    per_page: int = 0  # files on one page of the manifest; 0: no pages
    later_pages: str = ""  # where the next pages are, if not beside the status
    twist: Callable[[str, Reply], Reply] = lambda path, reply: reply
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    exports: int = 0
    base_url: str = ""
    _looks: int = 0
    _known: set[str] = field(default_factory=set)

    def put(self, name: str, resources: list[dict[str, Any]]) -> None:
        lines = (json.dumps(one, ensure_ascii=False).encode() for one in resources)
        self.files[name] = b"".join(line + b"\n" for line in lines)

    def asked(self, what: str) -> list[tuple[str, str, dict[str, str]]]:
        return [one for one in self.requests if what in f"{one[0]} {one[1]}"]

    def answer(self, method: str, path: str, query: dict[str, str], at: int) -> Reply:
        if path.endswith("$export"):
            self.exports += 1
            self._looks = 0
            job = f"job{self.exports}"
            self._known.add(job)
            return 202, {"Content-Location": f"{self.base_url}/status/{job}"}, b""
        _, _, job = path.rpartition("/")
        if path.startswith("status/"):
            if job not in self._known:
                return 404, {}, b"{}"
            if method == "DELETE":
                self._known.discard(job)
                return 202, {}, b""
            self._looks += 1
            if self._looks <= self.pending:
                return 202, {"Retry-After": self.retry_after}, b""
            return 200, {}, json.dumps(self._page(job, int(query.get("page", "0")))).encode()
        return self._file(job, at)

    def _file(self, name: str, at: int) -> Reply:
        content = self.files.get(name)
        if content is None:
            return 404, {}, b"{}"
        if self.ranges and at:
            rest = {"Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}"}
            return (206, rest, content[at:]) if at < len(content) else (416, {}, b"")
        if self.packs:
            return 200, {"Content-Encoding": "gzip"}, gzip.compress(content)
        return 200, {}, content

    def _page(self, job: str, number: int) -> dict[str, Any]:
        whole = self._manifest()
        if not self.per_page:
            return whole
        begin, end = number * self.per_page, (number + 1) * self.per_page
        page = {**whole, "output": whole["output"][begin:end]}
        if end < len(whole["output"]):
            base = self.later_pages or f"{self.base_url}/status"
            page["link"] = [{"relation": "next", "url": f"{base}/{job}?page={number + 1}"}]
        return page

    def _manifest(self) -> dict[str, Any]:
        special = {*self.deleted, *self.errors}
        return {
            "transactionTime": self.transaction_time,
            "request": self.base_url,
            "requiresAccessToken": self.needs_token,
            "output": [self._entry(name) for name in self.files if name not in special],
            "deleted": [self._entry(name) for name in self.deleted],
            "error": [self._entry(name) for name in self.errors],
        }

    def _entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "type": self.types.get(name, "Claim"),
            "url": f"{self.base_url}/files/{name}",
        }
        count = self.counts.get(name, self.files[name].count(b"\n"))
        return entry if count is None else {**entry, "count": count}


@contextmanager
def bulk_server(**settings: Any) -> Iterator[BulkServer]:
    """A running server; it ends with the test."""
    server = BulkServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _reply(self) -> None:
            parts = urlsplit(self.path)
            path, query = parts.path.removeprefix("/fhir/"), dict(parse_qsl(parts.query))
            server.requests.append((self.command, path, query))
            server.headers.append(dict(self.headers.items()))
            asked = self.headers.get("Range", "bytes=0-")
            at = int(asked.removeprefix("bytes=").partition("-")[0])
            reply = server.answer(self.command, path, query, at)
            status, headers, body = server.twist(path, reply)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.close_connection = True
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = _reply  # noqa: N815 the standard library's names

        def log_message(self, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up, as ours does in the middle of a file, is no error."""

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
