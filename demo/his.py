"""The hospital's information system of the demo: a FHIR server on 127.0.0.1, and how to fill it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from demo.processes import Child, ChildFailed, free_port, program

Resource = Mapping[str, Any]

# The server takes about 0.3 s for so many; more only makes progress jump.
_BUNDLE = 200
# For plain HTTP. Without it each call would read every authority that this machine trusts.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_START_S = 60.0
_BUNDLE_S = 60.0
# Another process may take the free port before the server binds it.
_ATTEMPTS = 3


class LoadRefused(RuntimeError):
    """The server did not take a resource; the text names it and what the server said."""


class His:
    """A running FHIR R4 server."""

    def __init__(self, base_url: str, child: Child) -> None:
        self.base_url = base_url
        self.child = child

    def fill(self, resources: Sequence[Resource], done: Callable[[int], None]) -> None:
        """Put every resource under its own id; `done` hears how many were taken, bundle by bundle.

        Raises: LoadRefused, ChildFailed.
        """
        headers = {"Prefer": "return=minimal"}
        with httpx.Client(timeout=_BUNDLE_S, headers=headers, verify=_NO_TLS) as client:
            for bundle in _bundles(resources):
                self.child.must_run()
                try:
                    answer = client.post(
                        self.base_url,
                        content=json.dumps(_batch(bundle)),
                        headers={"Content-Type": "application/fhir+json"},
                    )
                except httpx.HTTPError as error:
                    raise ChildFailed(
                        f"{self.child.name} did not answer ({type(error).__name__}).\n"
                        f"{self.child.tail()}"
                    ) from error
                _must_be_taken(bundle, answer)
                done(len(bundle))

    def count(self, kind: str) -> int:
        """How many resources of a type the server holds."""
        url = f"{self.base_url}/{kind}"
        answer = httpx.get(url, params={"_summary": "count"}, timeout=_BUNDLE_S, verify=_NO_TLS)
        return int(answer.raise_for_status().json()["total"])


@contextmanager
def running_his(folder: Path) -> Iterator[His]:
    """A fresh FHIR server with its data in `folder`; stopped at the end, whatever happens.

    Raises: ChildFailed when it does not come up.
    """
    for attempt in range(_ATTEMPTS):
        child, base_url = _start(folder, free_port())
        with child:
            try:
                child.wait_until(partial(_answers, base_url), within_s=_START_S)
            except ChildFailed:
                if child.running or attempt == _ATTEMPTS - 1:
                    raise
                continue
            yield His(base_url, child)
            return


def _start(folder: Path, port: int) -> tuple[Child, str]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    base_url = f"http://127.0.0.1:{port}/fhir"
    settings = {
        "base_url": base_url,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "keys" / "private.pem"),
        "facility_name": "lipei demo hospital",
        # The bridge must meet what real systems hold, so this one takes anything.
        "validation": {"inbound": "off"},
        "simulator": {"enabled": False},
        "log_inbound": False,
    }
    path = folder / "settings.yaml"
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    command = [program("sekmet"), "serve", "-c", str(path)]
    child = Child("the hospital's FHIR server", command, log=folder / "his.log", cwd=folder)
    return child, base_url


def _answers(base_url: str) -> bool:
    try:
        answer = httpx.get(f"{base_url}/metadata", timeout=5, verify=_NO_TLS)
        return answer.status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _bundles(resources: Sequence[Resource]) -> Iterator[Sequence[Resource]]:
    for start in range(0, len(resources), _BUNDLE):
        yield resources[start : start + _BUNDLE]


def _batch(resources: Sequence[Resource]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [
            {
                "resource": resource,
                "request": {
                    "method": "PUT",
                    "url": f"{resource['resourceType']}/{resource['id']}",
                },
            }
            for resource in resources
        ],
    }


def _must_be_taken(bundle: Sequence[Resource], answer: httpx.Response) -> None:
    if answer.status_code != httpx.codes.OK:
        raise LoadRefused(f"The FHIR server answered {answer.status_code}: {answer.text[:300]}")
    for resource, entry in zip(bundle, answer.json()["entry"], strict=True):
        status = entry["response"]["status"]
        if not status.startswith("2"):
            outcome = json.dumps(entry["response"].get("outcome"))[:300]
            name = f"{resource['resourceType']}/{resource['id']}"
            raise LoadRefused(f"The FHIR server refused {name} with {status}: {outcome}")
