"""One Temporal server for all these tests of a run, with a namespace for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common.state import record_address
from tests.temporal import temporal_server


@dataclass(frozen=True)
class Server:
    """A server that serves, and its namespaces that nobody has used."""

    address: str
    unused: list[str]


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Starting one costs a second of CPU, most of a test's own."""
    asking = [one for one in request.session.items if "temporal_state" in one.fixturenames]  # type: ignore[attr-defined]  # functions have them
    names = [f"e2e-{number}" for number, _ in enumerate(asking)]
    with temporal_server(*names) as address:
        yield Server(address, names)


@pytest.fixture
def temporal_state(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state whose Temporal has run nothing yet: neither workflow nor schedule of another test."""
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", server.unused.pop())
    record_address(tmp_path / "state", "temporal", server.address)
    return tmp_path / "state"
