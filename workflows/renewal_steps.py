"""The steps of a renewal, each made by a process below this one that has an actuary's libraries.

The worker itself imports none of them: it starts as fast as any other, costs nothing while no book
is renewed, and outlives a step that takes all memory. What the processes are given goes through
pipes; they get no key and no setting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import Process

from google.protobuf.json_format import ParseDict
from temporalio import activity
from temporalio.exceptions import ApplicationError

from lipei.pricing.v1 import renewal_work_pb2 as pb
from services.common.temporal import names
from services.common.temporal.recovery import HEARTBEAT_EVERY

# Started by name: workflows import no service.
STEPPING = "services.pricing.fitting.renewal.stepping"
STEP_DIED = "STEP_DIED"
_LONGEST_LINE = 1 << 22


class RenewalSteps:
    """Steps of any renewals, several at once; a process makes one after another."""

    def __init__(self) -> None:
        self._idle: list[Process] = []

    @activity.defn(name=names.RENEW_STEP)
    async def renew_step(self, request: pb.RenewalStepRequest) -> pb.RenewalStepResponse:
        """Make one step; one that was made already is not made again.

        Raises: ApplicationError STEP_DIED when its process ended; to be repeated.
        """
        process = self._idle.pop() if self._idle else await _started()
        try:
            answer = await self._answer(process, request)
        except BaseException:  # cancelled too: nobody waits for what it would answer
            await _ended(process)
            raise
        self._idle.append(process)
        return answer

    async def _answer(
        self, process: Process, request: pb.RenewalStepRequest
    ) -> pb.RenewalStepResponse:
        asked = {"plan": request.plan, "step": request.step, "number": request.number}
        reading = asyncio.ensure_future(_exchange(process, json.dumps(asked).encode() + b"\n"))
        try:
            while not (await asyncio.wait({reading}, timeout=HEARTBEAT_EVERY.total_seconds()))[0]:
                activity.heartbeat()
            line = reading.result()
        finally:
            reading.cancel()
        if not line.endswith(b"\n"):
            text = "the process of a step has ended; the log of its worker says more"
            raise ApplicationError(text, type=STEP_DIED)
        return ParseDict(json.loads(line), pb.RenewalStepResponse())

    async def close(self) -> None:
        """End the processes that wait for another step."""
        while self._idle:
            await _ended(self._idle.pop())


async def _exchange(process: Process, line: bytes) -> bytes:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101 - both ends were asked for
    assert stdout is not None  # noqa: S101 - as above
    with contextlib.suppress(ConnectionError):  # then it says nothing either
        stdin.write(line)
        await stdin.drain()
    return await stdout.readline()


async def _started() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        STEPPING,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        # Nothing of our settings, which say where keys are; only where our code is.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C at a terminal is ours to act on
    )


async def _ended(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())
