"""Keeps a set of child processes running: starts them in order, restarts, stops. Knows no service.

One thread, one loop. The kernel ends the children when this process is killed (`stack.leash`), so
they must be started from the main thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.common.state import UP_LOCK
from stack.child import Child, Launch, exit_words, tail
from stack.forkserver import ForkServer
from stack.pulse import signals_to, wait

READY_FILE = "ready"
PROCESSES_FILE = "processes.json"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# One wish to stop may come as several signals: a terminal that closes, make and a shell together.
_SAME_WISH_S = 1.0


class AlreadyRunning(RuntimeError):
    """Another supervisor holds this state directory."""


class CannotStart(RuntimeError):
    """A child did not become ready; the text says which, why, and the end of its log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildSpec:
    """What the supervisor must know of a child."""

    name: str
    stage: int  # started when every child of the stages below is ready; stopped before them
    prepare: Callable[[], Launch]  # asked before every start
    ready: Callable[[int], bool]  # asked with the process id until true; must return in about 1 s
    start_within_s: float = 40.0
    grace_s: float = 10.0
    # Asked once a second while it is not needed; from the first yes on it runs like the others.
    wanted: Callable[[], bool] = lambda: True


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often and how fast a child that ends by itself is started again.

    Once all was up it is started again for ever: what it needs may be away for hours (a database,
    a Temporal cluster, room on the disk), and nobody stands by to start it when that is back.
    """

    first_tries: int = 3  # before the stack was up once; then starting fails as a whole
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0
    settled_s: float = 30.0  # having run so long, its next end counts as the first

    def pause_s(self, failures: int, draw: Callable[[], float]) -> float:
        """Doubles with each failure up to the longest, times a draw between 0.5 and 1.

        Children that fell together do not come back together.
        """
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(failures - 1, 20))
        return longest * (0.5 + 0.5 * draw())


class ChildState(StrEnum):
    """Where a child stands."""

    WAITING = "waiting"
    IDLE = "not needed"  # nobody has asked for it; counts as ready, and is not told of
    STARTING = "starting"
    READY = "ready"
    PAUSING = "pausing"  # ended by itself; starts again after a pause
    GIVEN_UP = "given up"
    STOPPED = "stopped"


_SETTLED = (ChildState.READY, ChildState.IDLE)


class _Watched:
    """A child through its restarts."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.state = ChildState.WAITING
        self.child: Child | None = None
        self.failures = 0  # in a row
        self.restarts = 0
        self.since = 0.0  # monotonic time of entering STARTING or READY, or of the end of a pause
        self.last_word = ""

    def account(self) -> dict[str, str | int]:
        """What `processes.json` says about it."""
        pid = self.child.pid if self.child is not None else 0
        return {
            "state": self.state.value,
            "pid": pid,
            "restarts": self.restarts,
            "log": str(self.log),
            "last_word": self.last_word,
        }


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state directory until the block ends, or this process does, however it does.

    Raises: AlreadyRunning when another process holds it.
    """
    handle = os.open(state / UP_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
            raise AlreadyRunning(f"lipei is already up on {state} (process {holder})") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


class Supervisor:
    """Runs children until a signal to stop.

    `on_change` hears (name, state) of every move; it must not block. While every child is ready
    the file `ready` stands in the state directory; `processes.json` says more. Children that are
    modules of ours are forked by `forks`, if there is one.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        state: Path,
        *,
        patience: Patience | None = None,
        on_change: Callable[[str, ChildState], None] = lambda _name, _state: None,
        draw: Callable[[], float] = random.random,
        forks: ForkServer | None = None,
    ) -> None:
        self._all = [_Watched(spec, state / "logs" / f"{spec.name}.log") for spec in specs]
        self._stages = sorted({spec.stage for spec in specs})
        self._state = state
        self._patience = patience or Patience()
        self._on_change = on_change
        self._draw = draw
        self._forks = forks
        self._stop_asked_at: float | None = None
        self._in_haste = False
        self._was_up = False

    def run(self, when_up: Callable[[], None] = lambda: None) -> None:
        """Start everything in order, call `when_up` once, and watch until a signal to stop.

        Returns with every child stopped, also when it raises.

        Raises: CannotStart when a child fails too often before everything was ready once.
        """
        (self._state / READY_FILE).unlink(missing_ok=True)
        with signals_to(self._hear, _STOP_SIGNALS) as pulse:
            try:
                self._watch(pulse, when_up)
            finally:
                (self._state / READY_FILE).unlink(missing_ok=True)
                self._stop_all(pulse)
                (self._state / PROCESSES_FILE).unlink(missing_ok=True)

    def processes(self) -> Mapping[str, Mapping[str, str | int]]:
        """Name → state, process id, restarts, log, last word."""
        told = [watched for watched in self._all if watched.state is not ChildState.IDLE]
        return {watched.spec.name: watched.account() for watched in told}

    # ------------------------------------------------------------------------------------ running

    def _hear(self, number: int) -> None:
        if number not in _STOP_SIGNALS:
            return
        now = time.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
        elif now - self._stop_asked_at > _SAME_WISH_S:
            self._in_haste = True

    def _watch(self, pulse: int, when_up: Callable[[], None]) -> None:
        while self._stop_asked_at is None:
            now = time.monotonic()
            for watched in self._all:
                self._step(watched, now)
            if all(watched.state in _SETTLED for watched in self._all):
                if not self._was_up:
                    self._was_up = True
                    self._say_ready(True)
                    when_up()
                self._say_ready(True)
                wait(pulse, 1.0)
            else:
                self._say_ready(False)
                wait(pulse, 0.1)

    def _step(self, watched: _Watched, now: float) -> None:
        if watched.state in (ChildState.WAITING, ChildState.IDLE):
            if not watched.spec.wanted():
                if watched.state is ChildState.WAITING:
                    self._move(watched, ChildState.IDLE)
            elif self._below_are_ready(watched.spec.stage):
                self._start(watched, now)
        elif watched.state is ChildState.PAUSING:
            if now >= watched.since:
                self._start(watched, now)
        elif watched.child is not None and watched.child.ended():
            code = watched.child.exit_code
            self._fell(watched, exit_words(code if code is not None else 0), now)
        elif watched.state is ChildState.STARTING:
            self._look_whether_ready(watched, now)
        elif watched.state is ChildState.READY and now - watched.since > self._patience.settled_s:
            watched.failures = 0

    def _below_are_ready(self, stage: int) -> bool:
        return all(w.state in _SETTLED for w in self._all if w.spec.stage < stage)

    def _start(self, watched: _Watched, now: float) -> None:
        try:
            watched.child = Child(watched.spec.prepare(), watched.log, self._forks)
        except OSError as error:
            # No process, memory, descriptor or room for one now: the others must not fall with it.
            self._fell(watched, f"could not be started: {error.strerror}", now)
            return
        watched.since = now
        self._move(watched, ChildState.STARTING)

    def _look_whether_ready(self, watched: _Watched, now: float) -> None:
        if watched.child is None:
            return
        ready = False
        with contextlib.suppress(OSError):  # its address cannot be written down; not ready yet
            ready = watched.spec.ready(watched.child.pid)
        if ready:
            watched.since = now
            self._move(watched, ChildState.READY)
        elif now - watched.since > watched.spec.start_within_s:
            watched.child.kill()
            self._fell(watched, f"not ready within {watched.spec.start_within_s:.0f} s", now)

    def _fell(self, watched: _Watched, last_word: str, now: float) -> None:
        watched.child = None
        watched.failures += 1
        watched.last_word = last_word
        if not self._was_up and watched.failures >= self._patience.first_tries:
            self._move(watched, ChildState.GIVEN_UP)
            raise CannotStart(_epitaph(watched))
        watched.restarts += 1
        watched.since = now + self._patience.pause_s(watched.failures, self._draw)
        self._move(watched, ChildState.PAUSING)

    # ----------------------------------------------------------------------------------- stopping

    def _stop_all(self, pulse: int) -> None:
        for stage in reversed(self._stages):
            mine = [w for w in self._all if w.spec.stage == stage and w.child is not None]
            for watched in mine:
                if watched.child is not None:
                    watched.child.ask_to_stop()
            self._wait_for_end(mine, pulse)
            for watched in mine:
                if watched.child is not None:
                    watched.child.kill()
                watched.child = None
                self._move(watched, ChildState.STOPPED)

    def _wait_for_end(self, mine: Sequence[_Watched], pulse: int) -> None:
        patient_until = time.monotonic() + max((w.spec.grace_s for w in mine), default=0.0)
        while any(w.child is not None and not w.child.ended() for w in mine):
            # A person who asks again does not want to wait.
            if time.monotonic() > patient_until or self._in_haste:
                return
            wait(pulse, 0.1)

    # ------------------------------------------------------------------------------------ telling

    def _move(self, watched: _Watched, state: ChildState) -> None:
        watched.state = state
        fresh = self._state / f"{PROCESSES_FILE}.new"
        with contextlib.suppress(OSError):  # a full disk is no reason to stop what runs
            fresh.write_text(json.dumps(self.processes(), indent=1) + "\n")
            fresh.replace(self._state / PROCESSES_FILE)
        self._on_change(watched.spec.name, state)

    def _say_ready(self, ready: bool) -> None:
        file = self._state / READY_FILE
        if not ready:
            file.unlink(missing_ok=True)
        elif not file.exists():
            try:
                file.write_text(f"{os.getpid()}\n")
            except OSError:  # as above; what was begun says nothing, and is tried again
                file.unlink(missing_ok=True)


def _epitaph(watched: _Watched) -> str:
    end = tail(watched.log)
    said = f"The end of {watched.log}:\n{end}" if end else f"It wrote nothing to {watched.log}."
    return f"{watched.spec.name} did not start: {watched.last_word}.\n{said}"
