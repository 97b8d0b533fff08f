"""One child process in a group of its own, tied to our life. Knows nothing of what it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack import leash
from stack.forkserver import ForkServer

_PYTHON = (sys.executable, "-P", "-m")
_LOG_KEPT_BYTES = 16 << 20
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A command line and what it gets on top of our own environment."""

    command: Sequence[str]
    environ: Mapping[str, str]

    @property
    def module(self) -> str:
        """The module that is run by our own Python and nothing else; "" for other programs."""
        return self.command[3] if tuple(self.command[:3]) == _PYTHON else ""


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a module of ours."""
    return [*_PYTHON, module, *arguments]


class Child:
    """A running process whose output goes straight to its log: we can neither block nor lose it.

    It leads its own session: Ctrl-C at the terminal reaches the supervisor alone, which stops its
    children in order.
    """

    def __init__(self, launch: Launch, log: Path, forks: ForkServer | None = None) -> None:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_KEPT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        environ = {**os.environ, **launch.environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        if forks is not None and launch.module:
            arguments = launch.command[4:]
            self._pid = forks.fork(launch.module, arguments, environ=environ, log=log)
        if not self._pid:
            self._process = _executed(launch.command, environ, log)
            self._pid = self._process.pid
        self.exit_code: int | None = None

    @property
    def pid(self) -> int:
        """Process id, which is the id of its group too."""
        return self._pid

    def ended(self) -> bool:
        """Whether the process has ended. If so, whatever it left in its group is killed."""
        if self.exit_code is not None:
            return True
        # WNOWAIT leaves the corpse: its group id can't be given to a stranger before we kill.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._bury()
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the group."""
        if not self.ended():
            self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group and wait for the process."""
        if not self.ended():
            self._bury()

    def _bury(self) -> None:
        self._signal_group(signal.SIGKILL)
        if self._process is not None:
            self.exit_code = self._process.wait()
        else:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        # What it had started is ours by now, if we adopt orphans.
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-self.pid, 0)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


def _executed(
    command: Sequence[str], environ: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    tied = [sys.executable, "-I", "-S", str(leash.__file__), str(os.getpid())]
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 -- our own command line, no shell
            [*tied, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            umask=0o077,  # what a child writes is its owner's alone
        )


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def exit_words(code: int) -> str:
    """An exit code in words.

    >>> exit_words(-9)
    'killed by SIGKILL'
    >>> exit_words(1)
    'exit code 1'
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
