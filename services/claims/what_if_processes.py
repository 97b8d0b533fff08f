"""Processes that decide households side by side: Python decides one at a time in each.

They are programs of their own, not forks, because gRPC's threads do not survive a fork. What they
are given goes through pipes, never through arguments or the environment, and they get no key.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import Any

from services.claims.core.canonical import plan_bytes
from services.claims.core.plan import Plan
from services.claims.what_if_worker import decided, read_frame, write_frame

# One that is about to answer waits this long for its next task, and no longer for its end.
_ENDS_WITHIN_S = 5.0
_WAITING_EACH = 2
_LOOKS_EVERY_S = 0.2


class WorkerDied(RuntimeError):
    """A process ended before it had answered."""


class Here:
    """Decides in the caller's own thread, for so few claims that a process would only cost time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def answers(self, tasks: Iterable[bytes]) -> Iterator[bytes]:
        """The answer to each task, in their order."""
        return (decided(self._plan, task) for task in tasks)


class Processes:
    """Several deciding processes, and a thread for each that talks to it."""

    def __init__(self, plan: Plan, count: int, watch: Callable[[], None]) -> None:
        self._watch = watch
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="what-if")
        content = plan_bytes(plan)
        for _ in range(count):
            made = _started()
            self._all.append(made)
            write_frame(_pipe(made.stdin), content)
            self._idle.put(made)

    def answers(self, tasks: Iterable[bytes]) -> Iterator[bytes]:
        """The answer to each task, in their order; only so many tasks are taken as are needed.

        Raises: WorkerDied; what `watch` raises, also while a task takes long.
        """
        waiting: deque[Future[bytes]] = deque()
        for task in tasks:
            waiting.append(self._threads.submit(self._ask, task))
            if len(waiting) > _WAITING_EACH * self._count:
                yield self._answer(waiting.popleft())
        while waiting:
            yield self._answer(waiting.popleft())

    def _answer(self, waiting: Future[bytes]) -> bytes:
        while True:
            self._watch()
            try:
                return waiting.result(_LOOKS_EVERY_S)
            except NotYet:
                continue

    def _ask(self, task: bytes) -> bytes:
        process = self._idle.get()
        try:
            write_frame(_pipe(process.stdin), task)
            answer = read_frame(_pipe(process.stdout))
        except OSError:
            answer = None
        finally:
            self._idle.put(process)
        if answer is None:
            raise WorkerDied
        return answer

    def close(self) -> None:
        """End every process, also one in the middle of a task."""
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._all:
            process.wait(_ENDS_WITHIN_S)
            _pipe(process.stdout).close()
            try:
                _pipe(process.stdin).close()
            except OSError:  # what it had not read any more
                continue


@contextmanager
def processes(plan: Plan, count: int, watch: Callable[[], None]) -> Iterator[Processes]:
    """So many processes until the block ends, however it ends.

    `watch` is asked again and again while answers are waited for, and raises to stop.
    """
    made = Processes(plan, count, watch)
    try:
        yield made
    finally:
        made.close()


def cores() -> int:
    """How many processes can run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.claims.what_if_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Nothing of our settings, which say where keys are; only where our code is.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C at a terminal is ours to act on
    )


def _pipe(end: Any) -> Any:
    assert end is not None  # noqa: S101 - both ends were asked for
    return end
