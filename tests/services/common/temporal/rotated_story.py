"""A workflow that takes three steps, each when it is told to; for tests of keys under way."""

from __future__ import annotations

import functools
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SECRET = "policies/zhangsan/claims/4401"
STEPS = 3


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
                    start_to_close_timeout=timedelta(seconds=5),
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
            start_to_close_timeout=timedelta(seconds=5),
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@activity.defn(name="BeatOnce")
async def beat_once(told: str) -> str:
    """Tells the server what it was told, fails, and finds it again at its second attempt."""
    before = activity.info().heartbeat_details
    if before:
        return f"went on at {before[0]}"
    activity.heartbeat(told)
    raise ApplicationError("once more")


@workflow.defn(name="Beat")
class Beat:
    """Goes on where its first attempt was."""

    @workflow.run
    async def run(self, told: str) -> str:
        """What the second attempt found."""
        found: str = await workflow.execute_activity(
            beat_once,
            told,
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=2)),
        )
        return found
