"""The pricing service as a process of its own, on a real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.state import read_addresses
from tests.identities import equip

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Pricing:
    """A running service: its process and where it listens."""

    process: subprocess.Popen[str]
    address: str

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def start(state: Path, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The process, whether it comes up or not."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LIPEI_")}
    environ |= {"LIPEI_STATE": str(equip(state)), "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    environ |= settings or {}
    return subprocess.Popen(
        [sys.executable, "-m", "services.pricing.main"],
        env=environ,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(state: Path, settings: Mapping[str, str] | None = None) -> Iterator[Pricing]:
    """The service once it has written its address; stopped at the end, whatever happens."""
    process = start(state, settings)
    try:
        yield Pricing(process, _address(process, state))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        assert process.stderr is not None
        process.stderr.close()


def _address(process: subprocess.Popen[str], state: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = read_addresses(state).get("pricing")
        if found:
            return found
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(f"pricing did not start: {process.stderr.read()}")
        time.sleep(0.05)
    raise AssertionError("pricing wrote no address")
