"""A child process that never outlives the demo. Knows nothing of what the child does."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

_PR_SET_PDEATHSIG = 1
_TAIL_WIDTH = 200


class ChildFailed(RuntimeError):
    """A process ended, or was not ready in time; the text says which, and the end of its log."""


class Child:
    """A process in a group of its own: Ctrl-C reaches the demo alone, which stops its children.

    The child is also told to stop when the demo is killed. Its output goes to `log`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        environ: Mapping[str, str] | None = None,
        grace_s: float = 15.0,
    ) -> None:
        self.name = name
        self.log = log
        self._grace_s = grace_s
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 -- our own command line
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 -- it makes one system call
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Return when `ready()` is true.

        Raises: ChildFailed when the process ends before, or the time is over.
        """
        deadline = time.monotonic() + within_s
        while not ready():
            self.must_run()
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"{self.name} was not ready within {within_s:.0f} s.\n{self.tail()}"
                )
            time.sleep(0.05)

    def must_run(self) -> None:
        """Nothing while the process runs.

        Raises: ChildFailed when it has ended.
        """
        code = self._process.poll()
        if code is not None:
            raise ChildFailed(f"{self.name} ended with exit code {code}.\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log, with its path."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        end = text.splitlines()[-lines:]
        return "\n".join([f"The end of {self.log}:", *(f"  {line[:_TAIL_WIDTH]}" for line in end)])

    def stop(self) -> None:
        """Ask the process to end, and end its group by force when it does not within its grace."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(self._grace_s)
            except subprocess.TimeoutExpired:
                self._kill_group()
                self._process.wait(5)
        else:
            self._kill_group()

    def _kill_group(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def program(name: str) -> str:
    """Path of a program that was installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stand_alone() -> None:
    """Keep settings of another installation, and any proxy, from this process and its children."""
    for name in list(os.environ):
        if name.startswith(("LIPEI_", "TEMPORAL_")):
            del os.environ[name]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
