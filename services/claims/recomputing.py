"""RecomputeService: stored claims decided again, to prove them or to try another plan on them.

It writes nothing; the guard in front of it puts reads on record.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import TimeoutError as NotYet

import grpc

from lipei.claims.v1 import recompute_pb2 as pb
from lipei.claims.v1 import recompute_pb2_grpc
from services.claims import what_if_messages as messages
from services.claims.households import Period
from services.claims.plans.loader import load_plan
from services.claims.plans.reader import ID
from services.claims.policy_intake import POSSIBLE_DAYS, possible_day
from services.claims.replaying import replay_page
from services.claims.serving import ClaimsParts, Context, note_reads
from services.claims.what_if import Step, Wanted, compare
from services.common.access.tenant import current_tenant
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
)
from services.common.page_tokens import number_in, page_token
from services.common.strict_yaml import StrictYamlError

_RETRY_S = 30.0
# So few claims are decided before a process has started.
FEW = 400
# Answers that wait for a slow caller; the work waits behind them.
_WAITING = 4
_LOOKS_EVERY_S = 0.2
DEFAULT_PAGE, LARGEST_PAGE = 200, 500


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


class RecomputeServicer(recompute_pb2_grpc.RecomputeServiceServicer):
    """One what-if at a time: it keeps every core busy."""

    def __init__(self, parts: ClaimsParts, *, few: int = FEW) -> None:
        """More than `few` claims are decided in processes of their own."""
        self._parts = parts
        self._few = few
        self._busy = False

    async def DecideWhatIf(
        self, request: pb.DecideWhatIfRequest, context: Context
    ) -> AsyncIterator[pb.DecideWhatIfResponse]:
        """Progress, every claim when asked for, and at last the summary."""
        wanted = await self._parts.database.run(_wanted, request)
        if self._busy:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "WHAT_IF_UNDER_WAY",
                "another what-if is being worked out; repeat after the given time",
                retry_after_s=_RETRY_S,
            )
        self._busy = True
        telling = _Telling(asyncio.get_running_loop())
        work = asyncio.ensure_future(
            self._parts.database.run(self._compare, wanted, request.every_claim, telling)
        )
        work.add_done_callback(self._done)
        try:
            while (one := await telling.told()) is not None:
                yield one
            await work
        finally:
            telling.stop()

    def _done(self, work: asyncio.Future[None]) -> None:
        self._busy = False
        if not work.cancelled():
            work.exception()  # whoever still waits has it raised; else nobody asks for it

    def _compare(self, wanted: Wanted, every_claim: bool, telling: _Telling) -> None:
        try:
            with self._parts.database.reading() as connection:

                def tell(step: Step) -> None:
                    if every_claim:
                        note_reads(connection, [row for row, _ in step.new])
                        for some in messages.claims(step.new, wanted.plan.currency):
                            telling.tell(some)
                    telling.tell(messages.progress(step))

                keys, plans = self._parts.keys, self._parts.plans
                found = compare(connection, keys, plans, wanted, tell, self._few, telling.check)
                note_reads(connection, found.told_of())
            telling.tell(messages.summary(found, wanted.plan))
        except _Stopped:
            return
        finally:
            telling.end()

    async def ReplayClaims(
        self, request: pb.ReplayClaimsRequest, context: Context
    ) -> pb.ReplayClaimsResponse:
        """The decisions of the next claims, recomputed and compared."""
        if request.page_size < 0:
            raise invalid([Violation("page_size", "NEGATIVE", "must not be negative")])
        kind = f"replays {current_tenant().key}"
        after = number_in(request.page_token, kind)
        most = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        answer, last = await self._parts.database.run(self._replay, after, most)
        if last is not None:
            answer.next_page_token = page_token(kind, str(last))
        return answer

    def _replay(self, after: int, most: int) -> tuple[pb.ReplayClaimsResponse, int | None]:
        with self._parts.reading() as desk:
            return replay_page(desk, current_tenant(), after, most)


class _Telling:
    """Hands messages from the working thread to the waiting call, a few ahead at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[pb.DecideWhatIfResponse | None] = asyncio.Queue(_WAITING)
        self._stopped = threading.Event()

    def tell(self, one: pb.DecideWhatIfResponse | None) -> None:
        """Hand one on, from the thread.

        Raises: _Stopped when nobody waits any more.
        """
        self.check()
        handed = asyncio.run_coroutine_threadsafe(self._queue.put(one), self._loop)
        while True:
            try:
                self.check()
                return handed.result(_LOOKS_EVERY_S)
            except NotYet:
                continue
            except _Stopped:
                handed.cancel()
                raise

    def check(self) -> None:
        """Raises: _Stopped when nobody waits any more."""
        if self._stopped.is_set():
            raise _Stopped

    def end(self) -> None:
        """Say that there is no more, from the thread."""
        with contextlib.suppress(_Stopped):
            self.tell(None)

    async def told(self) -> pb.DecideWhatIfResponse | None:
        """The next one; None at the end."""
        return await self._queue.get()

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped.set()


def _wanted(request: pb.DecideWhatIfRequest) -> Wanted:
    """What was asked for.

    Raises: Refused (INVALID_ARGUMENT) with every fault of the plan file and of the days.
    """
    faults: list[Violation] = []
    if request.instead_of and not ID.fullmatch(request.instead_of):
        faults.append(Violation("instead_of", "MALFORMED", "must be a plan's id, or empty"))
    days = {field: possible_day(getattr(request, field)) for field in ("first_date", "last_date")}
    for field, day in days.items():
        if day is None:
            faults.append(Violation(field, "MALFORMED", POSSIBLE_DAYS))
    first, last = days.values()
    if first is not None and last is not None and last < first:
        faults.append(Violation("last_date", "BEFORE_FIRST", "must not be before first_date"))
    plan = None
    try:
        plan = load_plan(request.yaml, "yaml")
    except StrictYamlError as error:
        faults += [Violation(f"yaml:{f.line} {f.path}", f.reason, f.text) for f in error.faults]
    if faults or plan is None or first is None or last is None:
        raise invalid(faults)
    return Wanted(
        plan=plan,
        instead_of=request.instead_of or plan.id,
        period=Period(first, last),
        insurer=current_tenant().required_insurer(),
    )
