"""The renewal of a book, shard by shard: deal, price, balance, write, finish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from lipei.pricing.v1 import renewal_work_pb2 as pb
    from services.common.temporal import names
    from services.common.temporal.recovery import HEARTBEAT_TIMEOUT
    from workflows.renewal_steps import RenewalSteps

# Shards asked for at once, by whatever workers there are; a pause takes effect behind them.
AT_ONCE = 8
# A history holds so many shards, and goes on in another: 1,024 shards would fill one otherwise.
SHARDS_PER_RUN = 256
# A step is one shard, or the whole book once: minutes at ten million rows, and it is heard of.
STEP_TIMEOUT = timedelta(hours=2)
# About ten minutes of a full disk or a folder that is away. Then the renewal ends as failed, and
# starting it again goes on where it was.
STEP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=20,
)
_STEPS = {
    pb.RENEWAL_PHASE_DEAL: "deal",
    pb.RENEWAL_PHASE_PRICE: "price",
    pb.RENEWAL_PHASE_BALANCE: "balance",
    pb.RENEWAL_PHASE_WRITE: "write",
    pb.RENEWAL_PHASE_FINISH: "finish",
}
_OF_SHARDS = (pb.RENEWAL_PHASE_PRICE, pb.RENEWAL_PHASE_WRITE)


@workflow.defn(name=names.RENEW_BOOK)
class RenewBook:
    """One renewal; what it makes lies in files, and its history says how far it has come."""

    @workflow.init
    def __init__(self, work: pb.RenewBookWork) -> None:
        self._work = work
        self._work.phase = work.phase or pb.RENEWAL_PHASE_DEAL
        self._last = pb.RenewalStepResponse()
        self._shards_here = 0

    @workflow.run
    async def run(self, work: pb.RenewBookWork) -> pb.RenewBookProgress:
        """Every phase in order, until the result lies there or the book is refused."""
        try:
            while self._work.phase in _STEPS:
                if self._work.phase in _OF_SHARDS:
                    await self._shards()
                else:
                    self._last.MergeFrom(await self._step(_STEPS[self._work.phase]))
                self._next_phase()
        except BaseException as stopped:
            # A step that is at work is not waited for: what it still writes is whole and right.
            if is_cancelled_exception(stopped):
                await self._asked("let_go")
            raise
        return self.progress()

    @workflow.query(name=names.RENEWAL_PROGRESS)
    def progress(self) -> pb.RenewBookProgress:
        """How far it has come."""
        by_shard = self._work.phase in _OF_SHARDS
        return pb.RenewBookProgress(
            phase=self._work.phase,
            done=self._work.next_shard if by_shard else 0,
            of=self._work.shards if by_shard else 1,
            paused=self._work.paused,
            last=self._last,
        )

    @workflow.signal(name=names.PAUSE_RENEWAL)
    def pause(self) -> None:
        """Rest behind the steps that are at work; another word to that effect changes nothing."""
        self._work.paused = True

    @workflow.signal(name=names.RESUME_RENEWAL)
    def resume(self) -> None:
        """Go on."""
        self._work.paused = False

    async def _shards(self) -> None:
        step = _STEPS[self._work.phase]
        while self._work.next_shard < self._work.shards:
            if self._shards_here >= SHARDS_PER_RUN:
                workflow.continue_as_new(self._work)
            first = self._work.next_shard
            numbers = range(first, min(first + AT_ONCE, self._work.shards))
            done = await self._several(step, numbers)
            self._work.faults += sum(one.faults for one in done)
            self._last.refused.extend(line for one in done for line in one.refused)
            if self._last.refused:
                return
            self._work.next_shard = numbers.stop
            self._shards_here += len(numbers)
        if self._work.faults:
            self._last.MergeFrom(await self._step("faults"))

    async def _several(self, step: str, numbers: range) -> Sequence[pb.RenewalStepResponse]:
        await self._may_go_on()
        return await asyncio.gather(*(self._asked(step, number) for number in numbers))

    async def _step(self, step: str) -> pb.RenewalStepResponse:
        await self._may_go_on()
        return await self._asked(step)

    async def _may_go_on(self) -> None:
        await workflow.wait_condition(lambda: not self._work.paused)

    async def _asked(self, step: str, number: int = 0) -> pb.RenewalStepResponse:
        return await workflow.execute_activity_method(
            RenewalSteps.renew_step,
            pb.RenewalStepRequest(plan=self._work.plan, step=step, number=number),
            start_to_close_timeout=STEP_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=STEP_RETRY,
        )

    def _next_phase(self) -> None:
        if self._last.refused:
            self._work.phase = pb.RENEWAL_PHASE_REFUSED
        else:
            self._work.phase = pb.RenewalPhase.ValueType(self._work.phase + 1)
        self._work.next_shard = 0
