"""A real FHIR R4 server (sekmet-fhir) on 127.0.0.1 for one test session, and how to fill it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from stack.probes import free_ports
from tests.forked import Forked
from tests.plain_http import NO_TLS

Resource = Mapping[str, Any]
BUNDLE = 200
OURS = "what-fills-the-server"  # a static token; the bridge has none
# What the server imports only when it starts, in each process anew: longer than all else of it.
_IMPORTED_LATE = (
    *("sekmet.auth.server", "sekmet.bulk.server", "sekmet.fhir.router", "sekmet.ui.routes"),
    *("sekmet.messaging.messenger", "sekmet.scenarios.runner", "sekmet.subscriptions.engine"),
    *(f"sekmet.workflows.{of}" for of in ("adt", "billing", "clinical", "orders", "scheduling")),
    *("sekmet.workflows.catalog", "sekmet.workflows.simulator"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto"),
    "uvicorn.protocols.websockets.auto",
)


class FhirServer:
    """A running server; `put` answers when everything is stored."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self.base_url = base_url
        self._headers = headers

    def put(self, resources: Iterable[Resource]) -> None:
        everything = list(resources)
        for start in range(0, len(everything), BUNDLE):
            entries = [
                {
                    "resource": resource,
                    "request": {
                        "method": "PUT",
                        "url": f"{resource['resourceType']}/{resource['id']}",
                    },
                }
                for resource in everything[start : start + BUNDLE]
            ]
            bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
            answer = httpx.post(
                self.base_url,
                content=json.dumps(bundle),
                headers={
                    "Content-Type": "application/fhir+json",
                    "Prefer": "return=minimal",
                    **self._headers,
                },
                timeout=60,
                verify=NO_TLS,
            )
            answer.raise_for_status()
            statuses = [entry["response"]["status"][:1] for entry in answer.json()["entry"]]
            assert set(statuses) <= {"2"}, statuses

    def delete(self, kind: str, ids: Sequence[str]) -> None:
        for record_id in ids:
            url = f"{self.base_url}/{kind}/{record_id}"
            httpx.delete(url, timeout=60, headers=self._headers, verify=NO_TLS).raise_for_status()


@contextmanager
def fhir_server(
    folder: Path,
    clients: Sequence[Mapping[str, Any]] = (),
    token_lifetime_s: int = 3600,
) -> Iterator[FhirServer]:
    """With `clients` every request needs a SMART token of one of them; `put` has its own."""
    (port,) = free_ports(1)
    base_url = f"http://127.0.0.1:{port}/fhir"
    settings = {
        "base_url": base_url,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "keys" / "private.pem"),
        "validation": {"inbound": "off"},
        "simulator": {"enabled": False},
        "log_inbound": False,
    }
    if clients:
        settings["server_auth"] = {
            "types": ["smart", "bearer"],
            "tokens": [OURS],
            "smart_clients": list(clients),
            "token_lifetime": token_lifetime_s,
        }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.yaml"
    path.write_text(json.dumps(settings), "utf-8")
    log = folder / "server.log"
    process = Forked(
        *("sekmet.cli", "serve", "-c", str(path)),
        environ=os.environ,
        out=log,
        err=log,
        cwd=folder,
        imported=("sekmet.cli", "sekmet.main", *_IMPORTED_LATE),
    )
    try:
        _wait_for(f"{base_url}/metadata", process)
        yield FhirServer(base_url, {"Authorization": f"Bearer {OURS}"} if clients else {})
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: Forked) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the FHIR server did not start")
        try:
            if httpx.get(url, timeout=5, verify=NO_TLS).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the FHIR server does not answer")
