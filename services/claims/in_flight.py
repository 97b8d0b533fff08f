"""Claims being decided at once: a bound that refuses early and never queues without one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc

from services.common.grpc_edge import Refused
from services.common.log import logger

RETRY_AFTER_S = 0.05
# People who wait for an answer may stand in line, this many at most.
MOST_WAITING = 256
# A claim that waits longer than this (for a pended one of an earlier policy, or for a worker that
# is down) gives its place back, so that it holds up nobody; its workflow goes on by itself.
LONGEST_HOLD_S = 5.0
# After this nobody can be waiting for the answer any more.
LONGEST_WATCH_S = 60.0


class InFlight:
    """Permits of one server process. Holds no transaction, lock or thread while anyone waits."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(self, *, patience_s: float) -> None:
        """Take a place; with no patience, or with too many in line, refuse at once.

        Raises: Refused (RESOURCE_EXHAUSTED) with the time after which to repeat.
        """
        if self._free.locked() and (patience_s <= 0 or self._waiting >= MOST_WAITING):
            raise _overloaded()
        self._waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), timeout=max(patience_s, RETRY_AFTER_S))
        except TimeoutError:
            raise _overloaded() from None
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give a place back."""
        self._free.release()

    def hold(self, deciding: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what decides a claim and give the place back when it has ended."""
        task = asyncio.create_task(self._held(deciding))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _held(self, deciding: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._watched(deciding))
        try:
            await asyncio.wait({task}, timeout=LONGEST_HOLD_S)
        finally:
            self.leave()
        await task

    async def _watched(self, deciding: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(LONGEST_WATCH_S):
                await deciding
        except TimeoutError:
            logger().warning("decision_outlasts_its_caller")
        except Exception as fault:  # noqa: BLE001 - the sweeper starts the claim again
            logger().warning("start_failed", fault=type(fault).__name__)


def _overloaded() -> Refused:
    return Refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_IN_FLIGHT",
        "too many claims are being decided; repeat after the given time",
        retry_after_s=RETRY_AFTER_S,
    )
