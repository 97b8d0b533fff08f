"""A FHIR server on 127.0.0.1 that does on purpose what real ones do by accident."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
Parameters = dict[str, str]


@dataclass
class Stored:
    """A record, its own time, and when a search can first see it (a late commit)."""

    resource: dict[str, Any]
    updated: datetime
    visible: datetime


@dataclass
class OddServer:
    """Its clock moves by `tick` with every request; `before` runs first, `script` answers first."""

    records: dict[str, Stored] = field(default_factory=dict)
    others: dict[tuple[str, str], Stored] = field(default_factory=dict)
    now: datetime = START
    tick: timedelta = timedelta(0)
    cap: int = 1000
    ignores: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    tells_total: bool = False
    before: Callable[[OddServer], None] = lambda server: None
    script: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)  # Authorization of each request
    base_url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(
        self,
        record_id: str,
        *,
        updated: datetime | None = None,
        delay: timedelta = timedelta(0),
        **more: Any,
    ) -> None:
        resource = {"resourceType": "Claim", "id": record_id, **more}
        self.records[record_id] = self._stored(resource, updated, delay)

    def put(self, resource: dict[str, Any]) -> None:
        """Anything else than the Claims that `write` makes; searched under its own type."""
        self.others[resource["resourceType"], resource["id"]] = self._stored(resource)

    def _stored(
        self,
        resource: dict[str, Any],
        updated: datetime | None = None,
        delay: timedelta = timedelta(0),
    ) -> Stored:
        moment = updated or self.now
        earlier = self.records.get(resource["id"])
        version = int(earlier.resource["meta"]["versionId"]) + 1 if earlier else 1
        meta = {"versionId": str(version), "lastUpdated": instant(moment)}
        return Stored({**resource, "meta": meta}, moment, moment + delay)

    def ids(self) -> set[str]:
        return set(self.records)

    def answer(self, path: str, query: Parameters) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.requests.append(f"{path}?{query}")
            self.now += self.tick
            self.before(self)
            if self.script:
                return self.script.pop(0)
            if self.refuses & set(query):
                return 400, {}, b"{}"
            return 200, {}, json.dumps(self._search(path, query)).encode()

    def _search(self, path: str, query: Parameters) -> dict[str, Any]:
        others = [one for (kind, _), one in self.others.items() if kind == path]
        stored = list(self.records.values()) if path == "Claim" else others
        found = [r for r in stored if r.visible <= self.now]
        if not self.ignores & {"_lastUpdated"}:
            found = [r for r in found if _matches(r, query.get("_lastUpdated", ""))]
        if "_id" in query:
            found = [r for r in found if r.resource["id"] in query["_id"].split(",")]
        if "_id:not" in query and "_id:not" not in self.ignores:
            found = [r for r in found if r.resource["id"] not in query["_id:not"].split(",")]
        down = query.get("_sort", "").startswith("-")
        if "_sort" not in self.ignores:
            found.sort(key=lambda r: (r.updated, r.resource["id"]), reverse=down)
        offset = int(query.get("_offset", "0"))
        count = min(self.cap, int(query.get("_count", "20")))
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
        if self.tells_total:
            bundle["total"] = len(found)
        bundle["entry"] = [{"resource": r.resource} for r in found[offset : offset + count]]
        return bundle


def instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _matches(record: Stored, condition: str) -> bool:
    if not condition:
        return True
    limit = datetime.fromisoformat(condition[2:])
    if condition[:2] == "le":
        return record.updated <= limit
    return record.updated > limit if condition[:2] == "gt" else record.updated >= limit


@contextmanager
def odd_server(**settings: Any) -> Iterator[OddServer]:
    """A running server; it ends with the test."""
    server = OddServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _reply(self, query: Parameters) -> None:
            path = urlsplit(self.path).path.removeprefix("/fhir/")
            server.tokens.append(self.headers.get("Authorization", ""))
            status, headers, body = server.answer(path, query)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._reply(dict(parse_qsl(urlsplit(self.path).query)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._reply(dict(parse_qsl(body)))

        def log_message(self, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up, as ours does when an answer is too large, is no error."""

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
