"""The sandbox bank as a process of its own, over real sockets, with its own book."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from services.common.state import read_addresses
from tests.forked import Forked
from tests.plain_http import NO_TLS

_LONGEST_S = 60.0  # only so that a broken bank fails instead of hanging


class SandboxBank:
    """A running bank. `kill` and `start` may follow one another: the book and the port stay."""

    def __init__(self, state: Path, *flags: str) -> None:
        self.state = state
        self._flags = flags
        self._process: Forked | None = None

    @property
    def url(self) -> str:
        """Where it was last reached."""
        return self._url

    def start(self) -> None:
        """Start it and wait until it says where it is."""
        words = ["--state", str(self.state), *self._flags]
        nowhere = Path(os.devnull)
        self._process = Forked(
            "stack.sandbox_bank", *words, environ=os.environ, out=nowhere, err=nowhere
        )
        deadline = time.monotonic() + _LONGEST_S
        while "bank" not in read_addresses(self.state):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox bank did not start: {self._process.returncode}")
            time.sleep(0.02)
        self._url = read_addresses(self.state)["bank"]

    def kill(self) -> None:
        """End it without a word."""
        self._end(signal.SIGKILL)
        (self.state / "run.json").unlink()

    def stop(self) -> int:
        """End it as a supervisor does; the exit code."""
        return self._end(signal.SIGTERM)

    def paid(self) -> list[dict[str, Any]]:
        """What it has executed."""
        answer = httpx.get(f"{self.url}/book", trust_env=False, verify=NO_TLS, timeout=_LONGEST_S)
        found = answer.raise_for_status().json()
        payments: list[dict[str, Any]] = found["payments"]
        return payments

    def misbehave(
        self, *, commit_then_timeout: int = 0, drop_before_commit: int = 0, hang_s: float = 0.0
    ) -> None:
        """Decide the fate of its next files."""
        faults = {
            "commit_then_timeout": commit_then_timeout,
            "drop_before_commit": drop_before_commit,
            "hang_s": hang_s,
        }
        url = f"{self.url}/faults"
        httpx.post(
            url, json=faults, trust_env=False, verify=NO_TLS, timeout=_LONGEST_S
        ).raise_for_status()

    def _end(self, number: signal.Signals) -> int:
        if self._process is None or self._process.poll() is not None:
            return 0
        self._process.send_signal(number)
        return self._process.wait(_LONGEST_S)


@contextmanager
def sandbox_bank(state: Path, *flags: str) -> Iterator[SandboxBank]:
    """A bank that settles at once and lets its faults be set; gone at the end."""
    bank = SandboxBank(state, "--settle-after-ms", "0", "--control", *flags)
    bank.start()
    try:
        yield bank
    finally:
        bank.stop()
