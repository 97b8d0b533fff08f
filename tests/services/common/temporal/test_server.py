"""Against a real Temporal server: what it stores of us, and what can be asked of it twice."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from services.common.state import read_addresses, record_address
from services.common.temporal import connection, names
from services.common.temporal.connection import connect
from services.common.temporal.schedules import (
    ensure_pull_schedule,
    pull_has_ended,
    trigger_pull,
)
from services.common.temporal.settling import ClaimWorkflows
from stack.probes import free_ports
from tests.temporal import temporal

LONGEST_S = 60.0  # only so that a broken server fails instead of hanging
SECRET = "policies/zhangsan/claims/4401"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state whose run.json names a server of this module's own."""
    state = tmp_path_factory.mktemp("state")
    with temporal(state):
        yield state


@pytest.fixture(autouse=True)
def no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)


async def stored(client: Client, workflow_id: str) -> bytes:
    """The workflow's history as the server holds it."""
    events = [
        event async for event in client.get_workflow_handle(workflow_id).fetch_history_events()
    ]
    return b"".join(event.SerializeToString() for event in events)


def test_a_claims_workflow_is_started_once_and_tells_the_server_nothing(state: Path) -> None:
    async def start() -> tuple[bytes, int]:
        client = await connect(state)
        workflows = ClaimWorkflows(client)
        await workflows.start(SECRET, "c1")
        await workflows.start(SECRET, "c1")
        await workflows.run_payouts("main")
        await workflows.run_payouts("main")
        runs = [run async for run in client.list_workflows("WorkflowId = 'claims/c1'")]
        return await stored(client, names.settle_claim_id("c1")), len(runs)

    history, runs = asyncio.run(start())
    assert runs <= 1  # the list may lag behind
    assert b"binary/lipei-aes-gcm" in history
    assert SECRET.encode() not in history


def test_a_client_without_our_codec_stores_everything_in_clear(state: Path) -> None:
    # The control for the test above.
    async def start() -> bytes:
        ours = await connect(state)
        client = await Client.connect(ours.service_client.config.target_host)
        await client.start_workflow(names.SETTLE_CLAIM, SECRET, id="clear", task_queue="nobody")
        return await stored(client, "clear")

    assert SECRET.encode() in asyncio.run(start())


def test_nobody_waits_for_a_claims_workflow_that_has_ended(state: Path) -> None:
    async def wait() -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: left_over.append(told))
        client = await connect(state)
        workflows = ClaimWorkflows(client)
        await workflows.start("policies/p/claims/c2", "c2")
        handle = client.get_workflow_handle(names.settle_claim_id("c2"))
        first = (await handle.describe()).run_id
        await handle.terminate()
        await workflows.decided("policies/p/claims/c2", "c2", "r1")  # returns: it has ended
        gc.collect()  # a future whose exception nobody took is told when it goes
        return (await handle.describe()).run_id == first

    left_over: list[Any] = []
    assert asyncio.run(wait())
    assert left_over == []


def test_the_sweeper_starts_a_running_claim_no_second_time_and_a_failed_one_again(
    state: Path,
) -> None:
    async def start() -> list[str]:
        client = await connect(state)
        workflows = ClaimWorkflows(client)
        handle = client.get_workflow_handle(names.settle_claim_id("c4"))
        runs = []
        for ends in (False, True, False):
            await workflows.start("policies/p/claims/c4", "c4")
            runs.append((await handle.describe()).run_id)
            if ends:
                await handle.terminate()
        return runs

    first, same, again = asyncio.run(start())
    assert first == same != again


def test_waiting_for_a_decision_can_be_cancelled(state: Path) -> None:
    async def wait_in_vain() -> bool:
        workflows = ClaimWorkflows(await connect(state))
        waiting = asyncio.ensure_future(workflows.decided("policies/p/claims/c3", "c3", "r1"))
        done, _ = await asyncio.wait([waiting], timeout=0.5)  # no worker: it waits
        waiting.cancel()
        await asyncio.wait([waiting])
        return not done and waiting.cancelled()

    assert asyncio.run(wait_in_vain())


@asynccontextmanager
async def schedule(
    client: Client, hospital: str, channel: names.Channel = "bills"
) -> AsyncIterator[Any]:
    handle = client.get_schedule_handle(names.pull_schedule_id(hospital, channel))
    try:
        yield handle
    finally:
        await handle.delete()


def test_a_hospitals_schedule_is_made_once_and_stays_paused(state: Path) -> None:
    async def make() -> tuple[Any, Any]:
        client = await connect(state)
        await ensure_pull_schedule(client, "general", timedelta(hours=9))
        async with schedule(client, "general") as handle:
            before = (await handle.describe()).schedule
            await handle.pause(note="the HIS is being repaired")
            await ensure_pull_schedule(client, "general", timedelta(hours=5))
            return before, (await handle.describe()).schedule

    before, after = asyncio.run(make())
    assert [i.every for i in before.spec.intervals] == [timedelta(hours=9)]
    assert not before.state.paused
    assert [i.every for i in after.spec.intervals] == [timedelta(hours=5)]
    assert after.state.paused
    assert after.state.note == "the HIS is being repaired"
    assert after.action.task_queue == names.hospital_queue("general")


def test_a_pull_can_be_asked_for_where_a_worker_has_been(state: Path) -> None:
    async def pull() -> int:
        client = await connect(state)
        await ensure_pull_schedule(client, "east", timedelta(hours=9))
        async with schedule(client, "east") as handle:
            await trigger_pull(state, "east")
            async with asyncio.timeout(LONGEST_S):
                while True:
                    await trigger_pull(state, "east")  # while the first one waits for its worker
                    await asyncio.sleep(0.2)
                    info = (await handle.describe()).info
                    # What is skipped may be told before what it is skipped for.
                    if info.num_actions and info.num_actions_skipped_overlap:
                        return int(info.num_actions)

    assert asyncio.run(pull()) == 1
    with pytest.raises(RPCError, match="not found"):
        asyncio.run(trigger_pull(state, "west"))


def test_a_pull_has_ended_when_it_was_asked_for_and_nothing_runs(state: Path) -> None:
    async def watch() -> list[bool]:
        client = await connect(state)
        await ensure_pull_schedule(client, "south", timedelta(hours=9), "readings")
        async with schedule(client, "south", "readings") as handle:
            found = [await pull_has_ended(state, "south", "readings")]
            await trigger_pull(state, "south", "readings")
            async with asyncio.timeout(LONGEST_S):
                while not (running := (await handle.describe()).info.running_actions):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.1)
                found.append(await pull_has_ended(state, "south", "readings"))
                # No worker is there to end it.
                await client.get_workflow_handle(running[0].workflow_id).terminate()
                while not await pull_has_ended(state, "south", "readings"):  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.1)
            return [*found, True]

    assert asyncio.run(watch()) == [False, False, True]


def test_a_server_that_is_starting_is_waited_for(state: Path, tmp_path: Path) -> None:
    async def wait() -> bool:
        record_address(tmp_path, "temporal", f"127.0.0.1:{free_ports(1)[0]}")
        connecting = asyncio.ensure_future(connect(tmp_path))
        await asyncio.sleep(0.5)
        in_vain = not connecting.done()
        record_address(tmp_path, "temporal", read_addresses(state)["temporal"])
        await connecting
        return in_vain

    assert asyncio.run(wait())


def test_nobody_there_is_told_after_some_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_TRIES", 1)
    record_address(tmp_path, "temporal", f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(RuntimeError):
        asyncio.run(connect(tmp_path))
