"""The pricing service as a process of its own, on a real socket."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.state import read_addresses
from tests.forked import Forked
from tests.identities import equip

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Pricing:
    """A running service: its process and where it listens."""

    process: Forked
    address: str

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def environ_for(state: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the process is told."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LIPEI_")}
    environ |= {"LIPEI_STATE": str(equip(state)), "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    return environ | dict(settings or {})


@contextmanager
def serving(state: Path, settings: Mapping[str, str] | None = None) -> Iterator[Pricing]:
    """The service once it has written its address; stopped at the end, whatever happens."""
    environ = environ_for(state, settings)
    said = state / "pricing.said"
    process = Forked("services.pricing.main", environ=environ, out=said, err=said)
    try:
        yield Pricing(process, _address(process, state))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


def _address(process: Forked, state: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = read_addresses(state).get("pricing")
        if found:
            return found
        if process.poll() is not None:
            said = (state / "pricing.said").read_text("utf-8")
            raise AssertionError(f"pricing did not start: {said}")
        time.sleep(0.05)
    raise AssertionError("pricing wrote no address")
