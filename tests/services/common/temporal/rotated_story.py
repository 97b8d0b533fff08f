"""A workflow that takes three steps, each when it is told to; for tests of keys under way."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SECRET = "policies/zhangsan/claims/4401"
STEPS = 3
LONGEST = timedelta(seconds=60)  # only so that a broken step fails instead of hanging


@activity.defn(name="NoteStep")
async def note_step(told: str) -> str:
    """What was told, noted; refused when it tells so."""
    if told.startswith("refuse"):
        raise ApplicationError(f"cannot note {SECRET}", SECRET, type="CannotNote")
    return f"noted {told}"


@workflow.defn(name="TakeSteps")
class TakeSteps:
    """Notes what it is told, three times."""

    def __init__(self) -> None:
        self._told: list[str] = []

    @workflow.run
    async def run(self, first: str) -> list[str]:
        """Everything that was noted."""
        noted = []
        for number in range(STEPS):
            await workflow.wait_condition(functools.partial(self._was_told, number))
            noted.append(
                await workflow.execute_local_activity(
                    note_step,
                    f"{first} {self._told[number]}",
                    start_to_close_timeout=LONGEST,
                )
            )
        return noted

    def _was_told(self, number: int) -> bool:
        return len(self._told) > number

    @workflow.signal(name="Tell")
    def tell(self, word: str) -> None:
        """One word more."""
        self._told.append(word)


@workflow.defn(name="Fail")
class Fail:
    """Fails with what its step says, and its cause."""

    @workflow.run
    async def run(self, told: str) -> None:
        """Never returns."""
        await workflow.execute_activity(
            note_step,
            told,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=LONGEST,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


class BeatOnce:
    """Tells the server what it was told, fails, and finds it again at its second attempt.

    That one ends when somebody has looked.
    """

    def __init__(self) -> None:
        self.looked = asyncio.Event()

    @activity.defn(name="BeatOnce")
    async def beat_once(self, told: str) -> str:
        """What the first attempt left."""
        before = activity.info().heartbeat_details
        if not before:
            activity.heartbeat(told)
            raise ApplicationError("once more")
        await self.looked.wait()
        return f"went on at {before[0]}"


@workflow.defn(name="Beat")
class Beat:
    """Goes on where its first attempt was."""

    @workflow.run
    async def run(self, told: str) -> str:
        """What the second attempt found."""
        found: str = await workflow.execute_activity(
            "BeatOnce",
            told,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=LONGEST,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.1)),
        )
        return found
