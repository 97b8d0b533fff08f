"""The bare floor under our workflows: the same shape with nothing in it, in a worker of its own.

`python -m bench.floor --target HOST:PORT` polls until SIGTERM. Its payloads are the SDK's plain
ones, its activities do nothing, and there is no service behind it; the server is the stack's own.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.common.grpc_edge import until_stopped

QUEUE = "bench-floor"
_UPDATE = "decision"
_TIMEOUT = timedelta(seconds=5)
# The same bound as the claims worker's.
_AT_ONCE = 16


@activity.defn(name="Nothing")
async def nothing() -> None:
    """Do nothing."""


@workflow.defn(name="BareDecision")
class BareDecision:
    """So many empty local activities, and an update that answers after all but the last."""

    def __init__(self) -> None:
        self._decided = False

    @workflow.run
    async def run(self, steps: int) -> None:
        """One empty local activity after the other."""
        for step in range(steps):
            await workflow.execute_local_activity(nothing, start_to_close_timeout=_TIMEOUT)
            self._decided = step >= steps - 2
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update(name=_UPDATE)
    async def decision(self) -> str:
        """Wait as a claim's update waits."""
        await workflow.wait_condition(self._is_decided)
        return "decided"

    def _is_decided(self) -> bool:
        return self._decided


@workflow.defn(name="NoOp")
class NoOp:
    """Starts and ends."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


class Floor:
    """The floor as a client sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def decide(self, name: str, steps: int) -> None:
        """A bare update-with-start, until it answers."""
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            BareDecision.run,
            steps,
            id=f"floor/{name}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        await self._client.execute_update_with_start_workflow(
            _UPDATE, start_workflow_operation=start, result_type=str
        )

    async def nothing(self, name: str) -> None:
        """A workflow that does nothing, from its start to its end."""
        await self._client.execute_workflow(NoOp.run, id=f"floor/{name}", task_queue=QUEUE)

    async def events(self, name: str) -> int:
        """Events in the history of one of them."""
        found = await self._client.get_workflow_handle(f"floor/{name}").describe()
        return found.history_length


async def _run(target: str) -> None:
    worker = Worker(
        await Client.connect(target),
        task_queue=QUEUE,
        workflows=[BareDecision, NoOp],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id="floor",  # as ours: not a hash of all that is imported
        max_concurrent_workflow_tasks=_AT_ONCE,
    )
    async with worker:
        await until_stopped()


def main() -> None:
    """Poll until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the Temporal server")
    asyncio.run(_run(parser.parse_args().target))


if __name__ == "__main__":
    main()
