"""Claims through the whole stack: how soon a decision answers, how many settle in a second.

Ours and the floor take turns on the same Temporal server, so that the machine's noise hits both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from statistics import mean

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from bench import bills
from bench.floor import Floor
from bench.live import Live
from bench.processes import Meter
from bench.rows import Report, Sizes, percentile
from lipei.claims.v1 import claims_pb2, claims_pb2_grpc
from services.common.temporal import names
from services.common.transport.channels import channel

# The local activities of a claim that settles by itself (workflows/settle_claim.py).
STEPS = 1
AT_ONCE, WINDOW = 8, 16
_WAIT_S = 30
_QUIET_S = 60.0
_SAMPLE = 20
_UPDATE = f"a bare update-with-start of a workflow with empty local activities, as many: {STEPS}"
_NO_OP = "workflows that do nothing, started and awaited at the same window"

_ON_ITS_WAY = (claims_pb2.CLAIM_STATE_PAYABLE, claims_pb2.CLAIM_STATE_PAYMENT_SENT)
_DECIDED = (*_ON_ITS_WAY, claims_pb2.CLAIM_STATE_PAID)


class _Ours:
    """Claims as a caller submits them."""

    def __init__(self, live: Live, claims: claims_pb2_grpc.ClaimsServiceAsyncStub) -> None:
        self._live = live
        self._claims = claims
        self.names: list[str] = []

    async def submit(self, number: int) -> None:
        """One claim, from its bill to the answer with the decision.

        Raises: RuntimeError when it is not approved: another path would have been measured.
        """
        request = bills.submission(self._live.token, number, wait_s=_WAIT_S)
        (claim,) = (await self._claims.SubmitClaim(request, timeout=_WAIT_S + 5)).claims
        self.names.append(claim.name)
        while claim.state not in _DECIDED:
            if claim.state != claims_pb2.CLAIM_STATE_AUTO_APPROVED:
                raise RuntimeError(f"a claim is {claims_pb2.ClaimState.Name(claim.state)}")
            claim = (await self._claims.GetClaim(claims_pb2.GetClaimRequest(name=claim.name))).claim

    async def rest(self) -> None:
        """Return when no payout is on its way: the floor's turn is to be the floor's alone.

        Raises: TimeoutError.
        """
        until = time.monotonic() + _QUIET_S
        while time.monotonic() < until:
            pages = [
                await self._claims.ListClaims(
                    claims_pb2.ListClaimsRequest(parent="policies/-", state=state, page_size=1)
                )
                for state in _ON_ITS_WAY
            ]
            if not any(page.claims for page in pages):
                return
            await asyncio.sleep(0.25)
        raise TimeoutError("payouts do not come to an end")


async def decisions(report: Report, sizes: Sizes, live: Live) -> None:
    """Answers with a decision, idle and with callers at once."""
    intake = live.stack.identity("insurer_intake")
    async with channel(live.target("claims"), intake, "claims") as claims:
        ours = _Ours(live, claims_pb2_grpc.ClaimsServiceStub(claims))
        floor = Floor(await Client.connect(live.target("temporal")))
        await _warm(floor)

        async def bare(number: int) -> None:
            await floor.decide(f"d{number}", STEPS)

        spent = Meter(live.processes)
        took: list[float] = []
        bare_took: list[float] = []
        for number in live.take(sizes.idle):
            with spent:
                took += (await _timed(ours.submit, [number], 1))[0]
            bare_took += (await _timed(bare, [number], 1))[0]
        _add_latencies(report, "one at a time", took, bare_took, spent)
        await ours.rest()
        spent, took, bare_took = Meter(live.processes), [], []
        for block in _blocks(live.take(sizes.concurrent), sizes.blocks):
            with spent:
                took += (await _timed(ours.submit, block, AT_ONCE))[0]
            await ours.rest()
            bare_took += (await _timed(bare, block, AT_ONCE))[0]
        _add_latencies(report, f"{AT_ONCE} at once", took, bare_took, spent)


async def settled(report: Report, sizes: Sizes, live: Live) -> None:
    """Claims per second, one workflow each, to payable; events and CPU of each."""
    intake = live.stack.identity("insurer_intake")
    async with channel(live.target("claims"), intake, "claims") as claims:
        ours = _Ours(live, claims_pb2_grpc.ClaimsServiceStub(claims))
        client = await Client.connect(live.target("temporal"))
        floor = Floor(client)
        await _warm(floor)

        async def bare(number: int) -> None:
            await floor.nothing(f"n{number}")

        spent = Meter(live.processes)
        bare_spent = Meter(live.processes | {"worker:floor": live.floor_worker.pid})
        ours_s = bare_s = 0.0
        numbers = live.take(sizes.settled)
        for block in _blocks(numbers, sizes.blocks):
            with spent:
                ours_s += (await _timed(ours.submit, block, WINDOW))[1]
            await ours.rest()
            with bare_spent:
                bare_s += (await _timed(bare, block, WINDOW))[1]
        count = len(numbers)
        report.add(
            f"settle claims, one workflow each, {WINDOW} at once",
            "claims/s",
            count / ours_s,
            count / bare_s,
            cpu_ms=spent.total_ms / count,
            what_floor_is=_NO_OP,
            n=count,
        )
        report.counts |= {f"CPU ms per claim, {name}": ms / count for name, ms in spent.ms.items()}
        report.counts |= {
            f"CPU ms per no-op workflow, {name}": bare_spent.ms[name] / count
            for name in ("temporal", "worker:floor")
        }
        await _count_events(report, client, ours.names[:_SAMPLE])
        report.counts["Temporal events per no-op workflow"] = await floor.events(f"n{numbers[0]}")


async def server_version(target: str) -> str:
    """What the Temporal server says it is."""
    client = await Client.connect(target)
    told = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return told.server_version


async def _count_events(report: Report, client: Client, claims: Sequence[str]) -> None:
    lengths = []
    for claim in claims:
        workflow_id = names.settle_claim_id(claim.rpartition("/")[2])
        lengths.append((await client.get_workflow_handle(workflow_id).describe()).history_length)
    report.counts["Temporal events per claim"] = mean(lengths)


async def _warm(floor: Floor) -> None:
    """The worker of the floor has polled, and both have answered once."""
    await floor.decide(f"warm-{time.monotonic_ns()}", STEPS)


async def _timed(
    call: Callable[[int], Awaitable[None]], numbers: Iterable[int], at_once: int
) -> tuple[list[float], float]:
    """Seconds of each call, so many at once, and of them all."""
    left, took = iter(numbers), []

    async def work() -> None:
        for number in left:
            begun = time.perf_counter()
            await call(number)
            took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return took, time.perf_counter() - begun


def _blocks(numbers: range, count: int) -> list[range]:
    size = -(-len(numbers) // count)
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def _add_latencies(
    report: Report, when: str, ours: Sequence[float], floor: Sequence[float], spent: Meter
) -> None:
    for percent in (50, 99):
        report.add(
            f"decision answer, {when}, p{percent}",
            "ms",
            percentile(ours, percent) * 1e3,
            percentile(floor, percent) * 1e3,
            cpu_ms=spent.total_ms / len(ours),
            what_floor_is=_UPDATE,
            n=len(ours),
        )
