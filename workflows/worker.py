"""A worker process: `python -m workflows.worker --queue claims`, `renewals` or `hospital-{h}`.

The claims worker needs claims only; a hospital's worker stands inside the hospital, talks to its
bridge and dials out to claims, pricing and Temporal. That of renewals talks to Temporal alone.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import grpc
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.common import log
from services.common.grpc_edge import until_stopped
from services.common.process import start
from services.common.process_settings import LipeiSettings
from services.common.settings import UnknownSetting, trust_domain
from services.common.state import read_addresses, record_address, state_dir
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.recovery import HEARTBEAT_EVERY, STICKY_TIMEOUT
from services.common.temporal.schedules import ensure_pull_schedule
from services.common.transport.certificates import load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import CertificateRenewed, until_renewed
from services.common.transport.names import integration_uri, service_uri
from services.common.transport.standing import Standing
from workflows.activities import SettlementSteps
from workflows.adjust_claim import AdjustClaim
from workflows.await_papers import AwaitPapers
from workflows.hospital_steps import HospitalSteps
from workflows.pull_bills import PullBills
from workflows.pull_readings import PullReadings
from workflows.relay_withdrawals import RelayWithdrawals
from workflows.renew_book import RenewBook
from workflows.renewal_steps import RenewalSteps
from workflows.run_payouts import RunPayouts
from workflows.settle_claim import SettleClaim

# More at once only adds latency: the Temporal server is the limit, from about 10 on.
AT_ONCE = 16
GRACE = timedelta(seconds=5)
# What a history says of whoever took a task. Left to itself the SDK reads and hashes every module
# that was imported: half a second of each start, and another name for the same code beside others.
BUILD = f"lipei {version('lipei')}"
# Where a service is when it does not run on this machine.
TARGETS = {"claims": "LIPEI_CLAIMS_TARGET", "pricing": "LIPEI_PRICING_TARGET"}
CHANNELS: tuple[names.Channel, ...] = ("bills", "readings", "withdrawals")


class WorkerSettings(LipeiSettings):
    """What a worker reads besides the common settings."""

    pull_interval_s: int = 30


def claims_worker(client: Client, claims: grpc.aio.Channel) -> Worker:
    """The worker of the claims' own workflows, with a channel to claims."""
    return Worker(
        client,
        task_queue=names.CLAIMS_QUEUE,
        workflows=[SettleClaim, RunPayouts, AwaitPapers, AdjustClaim],
        activities=SettlementSteps(claims).all(),
        # Costs 1.36 times less than the sandbox; tests replay recorded histories in it instead.
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id=BUILD,
        max_concurrent_workflow_tasks=AT_ONCE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=GRACE,
    )


def hospital_worker(
    client: Client,
    hospital: str,
    *,
    bridge: grpc.aio.Channel,
    claims: grpc.aio.Channel,
    pricing: grpc.aio.Channel,
) -> Worker:
    """The worker of one hospital's pulls, with channels to the services."""
    return Worker(
        client,
        task_queue=names.hospital_queue(hospital),
        workflows=[PullBills, PullReadings, RelayWithdrawals],
        activities=HospitalSteps(bridge, claims, pricing).all(),
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id=BUILD,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_heartbeat_throttle_interval=HEARTBEAT_EVERY,
        graceful_shutdown_timeout=GRACE,
    )


def renewals_worker(client: Client, steps: RenewalSteps, at_once: int) -> Worker:
    """The worker of renewals of books, which makes so many steps at once."""
    return Worker(
        client,
        task_queue=names.RENEWALS_QUEUE,
        workflows=[RenewBook],
        activities=[steps.renew_step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id=BUILD,
        max_concurrent_activities=at_once,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_heartbeat_throttle_interval=HEARTBEAT_EVERY,
        graceful_shutdown_timeout=GRACE,
    )


def target_of(service: str, environ: Mapping[str, str], known: Mapping[str, str]) -> str:
    """Where a service is: as its setting in TARGETS says, else as run.json does.

    Raises: UnknownSetting when neither says it.
    """
    variable = TARGETS[service]
    found = environ.get(variable) or known.get(service)
    if not found:
        raise UnknownSetting(f"{service} does not run here; set {variable} to its host:port")
    return found


async def _run(queue: str, settings: WorkerSettings) -> None:
    state = state_dir(settings.state)
    client = await connect(state)
    if queue == names.RENEWALS_QUEUE:
        async with _renewing(client) as worker:
            await _work(worker, queue, state, [])
        return
    while True:
        try:
            await _poll(queue, settings, state, client)
        except CertificateRenewed:
            # A channel keeps the certificate that it was made with.
            log.logger().info("certificate_renewed", queue=queue)
        else:
            return


async def _poll(queue: str, settings: WorkerSettings, state: Path, client: Client) -> None:
    known, domain = read_addresses(state), trust_domain()
    hospital = queue.removeprefix(names.hospital_queue(""))
    if queue == names.CLAIMS_QUEUE:
        identity = load_identity(state, "settlement", uri=service_uri(domain, "settlement"))
    else:
        identity = load_identity(state, queue, uri=integration_uri(domain, hospital))
    own = Standing(identity.files, queue)
    async with AsyncExitStack() as open_channels:

        async def reach(service: str, target: str) -> grpc.aio.Channel:
            hearing = [own.hearing(service)]
            opened = channel(target, identity, service, hearing)
            return await open_channels.enter_async_context(opened)

        claims = await reach("claims", target_of("claims", os.environ, known))
        if queue == names.CLAIMS_QUEUE:
            worker = claims_worker(client, claims)
        else:
            worker = hospital_worker(
                client,
                hospital,
                bridge=await reach("his_bridge", known["his_bridge"]),
                claims=claims,
                pricing=await reach("pricing", target_of("pricing", os.environ, known)),
            )
            every = timedelta(seconds=settings.pull_interval_s)
            for pulled in CHANNELS:
                await ensure_pull_schedule(client, hospital, every, pulled)
        await _work(worker, queue, state, [functools.partial(until_renewed, identity), own.watch])


async def _work(
    worker: Worker, queue: str, state: Path, background: Sequence[Callable[[], Awaitable[None]]]
) -> None:
    async with worker:
        record_address(state, f"worker:{queue}", str(os.getpid()))
        log.logger().info("polling", queue=queue)
        try:
            await until_stopped(background)
        finally:
            record_address(state, f"worker:{queue}", None)


@asynccontextmanager
async def _renewing(client: Client) -> AsyncIterator[Worker]:
    steps = RenewalSteps()
    try:
        yield renewals_worker(client, steps, os.cpu_count() or 1)
    finally:
        await steps.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", required=True, help="claims, renewals, or hospital-{h}")
    queue = parser.parse_args().queue
    start(f"worker:{queue}", WorkerSettings, functools.partial(_run, queue))


if __name__ == "__main__":
    main()
