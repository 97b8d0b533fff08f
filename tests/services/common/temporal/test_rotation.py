"""Keys that change under running workflows, against a real Temporal server: nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from temporalio.api.common.v1 import Payloads, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.common.settings import temporal_codec_key_file
from services.common.state import record_address
from services.common.temporal import codec_keys, names
from services.common.temporal.codec_keys import CodecKey, KeyFile
from services.common.temporal.connection import connect, converter_of
from services.common.temporal.rotation import renew_schedules, runs_since_before
from services.common.temporal.schedules import ensure_pull_schedule, trigger_pull
from stack.commands import codec_keys as codec_keys_command
from stack.probes import free_ports
from tests.histories.clear_text import telling
from tests.services.common.temporal.rotated_story import (
    SECRET,
    Beat,
    BeatOnce,
    Fail,
    TakeSteps,
    note_step,
)
from tests.stack.typed import Typed, lipei, run_module_forked
from tests.temporal import temporal

T = TypeVar("T")
QUEUE = "claims"
LONGEST_S = 60.0  # only so that a broken codec fails instead of hanging
WORKFLOW = "claims/" + "0a" * 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this module's own."""
    with temporal(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def state(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state with a key file of its own."""
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    record_address(tmp_path, "temporal", server)
    return tmp_path


@pytest.fixture
def imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks Temporal is forked, where another test executes the same."""
    monkeypatch.setattr(codec_keys_command, "run_module", run_module_forked)


def keys_of(state: Path) -> tuple[CodecKey, ...]:
    return codec_keys.load(temporal_codec_key_file(state))


def rotate(state: Path) -> str:
    """The id of the new current key."""
    now = datetime.now(UTC)

    def changed(old: Sequence[CodecKey]) -> tuple[CodecKey, ...]:
        wider = codec_keys.with_fresh_key(old, now)
        return codec_keys.with_current(wider, wider[-1].id, now)

    return codec_keys.change(temporal_codec_key_file(state), changed)[-1].id


@asynccontextmanager
async def working(client: Client) -> AsyncIterator[BeatOnce]:
    """A worker that remembers no workflow, and so reads each history anew for each task."""
    beating = BeatOnce()
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[TakeSteps, Fail, Beat],
        activities=[note_step, beating.beat_once],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    )
    async with worker:
        yield beating


async def begun(client: Client, workflow_id: str = WORKFLOW) -> WorkflowHandle[Any, Any]:
    # A task that failed comes again after its time-out, which is 10 s when nothing is said.
    again = timedelta(seconds=1)
    return await client.start_workflow(
        "TakeSteps", SECRET, id=workflow_id, task_queue=QUEUE, task_timeout=again
    )


async def history_of(handle: WorkflowHandle[Any, Any]) -> list[dict[str, Any]]:
    history = await handle.fetch_history()
    events: list[dict[str, Any]] = json.loads(history.to_json())["events"]
    return events


async def eventually(ask: Callable[[], Awaitable[T]]) -> T:
    """The first answer that is not empty."""
    async with asyncio.timeout(LONGEST_S):
        while True:
            found = await ask()
            if found:
                return found
            await asyncio.sleep(0.1)


async def until(handle: WorkflowHandle[Any, Any], kind: str, count: int = 1) -> None:
    """Wait until the history holds so many events of a kind."""

    async def there() -> bool:
        events = await history_of(handle)
        return len([event for event in events if event["eventType"] == kind]) >= count

    await eventually(there)


def test_a_workflow_goes_through_a_rotation(state: Path) -> None:
    async def story() -> tuple[list[str], set[bytes]]:
        client = await connect(state)
        async with working(client):
            handle = await begun(client)
            await handle.signal("Tell", "a")
            await until(handle, "EVENT_TYPE_MARKER_RECORDED")
            rotate(state)
            await handle.signal("Tell", "b")
            await until(handle, "EVENT_TYPE_MARKER_RECORDED", 2)
            rotate(state)
            await handle.signal("Tell", "c")
            noted = await asyncio.wait_for(handle.result(), LONGEST_S)
        stored = (await handle.fetch_history()).events
        wire = b"".join(event.SerializeToString() for event in stored)
        assert SECRET.encode() not in wire
        assert telling(await history_of(handle)) == []
        return noted, {key.id.encode() for key in keys_of(state) if key.id.encode() in wire}

    noted, used = asyncio.run(story())
    assert noted == [f"noted {SECRET} {word}" for word in "abc"]
    assert used == {key.id.encode() for key in keys_of(state)}
    assert len(used) == 3


@pytest.mark.parametrize("loss", ["missing", "retired"])
def test_without_its_key_a_workflow_waits_and_with_it_goes_on(state: Path, loss: str) -> None:
    file = temporal_codec_key_file(state)

    def lose(keys: Sequence[CodecKey]) -> tuple[CodecKey, ...]:
        if loss == "missing":
            return tuple(keys[1:])
        return codec_keys.without(keys, keys[0].id, datetime.now(UTC))

    async def story() -> tuple[list[str], list[str]]:
        client = await connect(state)
        async with working(client):
            handle = await begun(client)
            await handle.signal("Tell", "a")
            await until(handle, "EVENT_TYPE_MARKER_RECORDED")
            rotate(state)
            whole = file.read_text()
            codec_keys.change(file, lose)
            await handle.signal("Tell", "b")
            await until(handle, "EVENT_TYPE_WORKFLOW_TASK_FAILED")
            status = (await handle.describe()).status
            assert status == WorkflowExecutionStatus.RUNNING
            file.write_text(whole)
            await handle.signal("Tell", "c")
            noted = await asyncio.wait_for(handle.result(), LONGEST_S)
        assert telling(await history_of(handle)) == []
        return noted, [text async for text in failures_of(client, handle)]

    noted, failures = asyncio.run(story())
    assert noted == [f"noted {SECRET} {word}" for word in "abc"]
    assert failures
    assert all(f"CODEC_KEY_{loss.upper()}" in text for text in failures)


async def failures_of(client: Client, handle: WorkflowHandle[Any, Any]) -> AsyncIterator[str]:
    """What the failures of workflow tasks say to whoever has the keys."""
    for event in (await handle.fetch_history()).events:
        if event.HasField("workflow_task_failed_event_attributes"):
            failure = event.workflow_task_failed_event_attributes.failure
            yield str(await converter_of(client, handle.id).decode_failure(failure))


def test_a_failed_workflows_history_tells_nothing(state: Path) -> None:
    async def story() -> tuple[bytes, list[str], str]:
        client = await connect(state)
        async with working(client):
            handle = await client.start_workflow(
                "Fail", f"refuse {SECRET}", id="claims/" + "0b" * 16, task_queue=QUEUE
            )
            with pytest.raises(WorkflowFailureError) as failed:
                await asyncio.wait_for(handle.result(), LONGEST_S)
        stored = (await handle.fetch_history()).events
        wire = b"".join(event.SerializeToString() for event in stored)
        return wire, telling(await history_of(handle)), str(failed.value.cause.__cause__)

    wire, clear, told = asyncio.run(story())
    assert SECRET in told
    assert clear == []
    for part in (b"zhangsan", b"claims/4401", b"cannot note", b"rotated_story.py"):
        assert part not in wire
    assert b"CannotNote" in wire  # retry policies need the type


def test_what_an_activity_tells_of_its_way_cannot_be_read(state: Path) -> None:
    async def story() -> tuple[str, bytes]:
        client = await connect(state)
        async with working(client) as beating:
            handle = await client.start_workflow(
                "Beat", SECRET, id="claims/" + "1a" * 16, task_queue=QUEUE
            )

            async def told() -> bytes:
                described = await handle.describe()
                waiting = described.raw_description.pending_activities
                if not waiting or not waiting[0].HasField("heartbeat_details"):
                    return b""
                return described.raw_description.SerializeToString()

            described = await eventually(told)
            beating.looked.set()
            return await asyncio.wait_for(handle.result(), LONGEST_S), described

    result, described = asyncio.run(story())
    assert result == f"went on at {SECRET}"
    assert b"binary/lipei-aes-gcm-2" in described
    assert SECRET.encode() not in described
    assert b"once more" not in described


def test_a_payload_moved_into_another_workflow_fails_its_task(state: Path) -> None:
    async def story() -> list[str]:
        client = await connect(state)
        theirs = await begun(client, "claims/" + "0c" * 16)
        first = (await theirs.fetch_history()).events[0]
        stolen = first.workflow_execution_started_event_attributes.input.payloads[0]
        ours = client.get_workflow_handle("claims/" + "0d" * 16)
        # Past the SDK, as one who writes into Temporal would: it would encrypt the payload anew.
        await client.workflow_service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace=client.namespace,
                workflow_id=ours.id,
                workflow_type=WorkflowType(name="TakeSteps"),
                task_queue=TaskQueue(name=QUEUE),
                input=Payloads(payloads=[stolen]),
                request_id="r1",
            )
        )
        async with working(client):
            await until(ours, "EVENT_TYPE_WORKFLOW_TASK_FAILED")
            await theirs.terminate()
        failures = [text async for text in failures_of(client, ours)]
        await ours.terminate()
        return failures

    failures = asyncio.run(story())
    assert failures
    assert all("PAYLOAD_ALTERED" in text for text in failures)


def test_schedules_get_the_new_key_and_their_runs_read_it(state: Path) -> None:
    async def story() -> tuple[frozenset[str], frozenset[str], bytes]:
        client = await connect(state)
        await ensure_pull_schedule(client, "north", timedelta(hours=9))
        handle = client.get_schedule_handle(names.pull_schedule_id("north"))
        try:

            async def listed() -> list[str]:
                # The list lags behind what was made.
                return [entry.id async for entry in await client.list_schedules()]

            assert await eventually(listed) == [handle.id]
            new = rotate(state)
            before = await renew_schedules(state)
            after = await renew_schedules(state)
            await trigger_pull(state, "north")

            async def running() -> list[Any]:
                return list((await handle.describe()).info.running_actions)

            run = client.get_workflow_handle((await eventually(running))[0].workflow_id)
            first = (await run.fetch_history()).events[0]
            payload = first.workflow_execution_started_event_attributes.input.payloads[0]
            (work,) = await converter_of(client, run.id).decode([payload])
            assert work.hospital == "hospitals/north"
            await run.terminate()
            assert payload.metadata["key-id"] == new.encode()
            return before, after, payload.metadata["key-id"]
        finally:
            await handle.delete()

    before, after, used = asyncio.run(story())
    assert before == {keys_of(state)[0].id}
    assert after == {used.decode()}


def test_runs_from_before_a_moment_are_counted(state: Path) -> None:
    async def story() -> tuple[int, int]:
        client = await connect(state)
        handle = await begun(client, "claims/" + "0e" * 16)
        await handle.terminate()
        now = datetime.now(UTC)
        # The list lags behind.
        later = await eventually(lambda: runs_since_before(state, now + timedelta(hours=1)))
        return await runs_since_before(state, now - timedelta(days=1)), later

    earlier, later = asyncio.run(story())
    assert earlier == 0
    assert later >= 1


# The command.


def test_the_command_rotates_and_a_reader_follows(state: Path) -> None:
    codec_keys.load_or_make(temporal_codec_key_file(state), datetime.now(UTC))
    reader = KeyFile(temporal_codec_key_file(state))
    first = reader.current().id
    done = lipei("keys", "rotate-codec", "--state", str(state), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["keys"]
    assert [(key["key"], key["state"]) for key in told] == [
        (first, "decrypt-only"),
        (reader.current().id, "current"),
    ]
    secret = keys_of(state)[1].key
    assert secret not in done.out + done.err


@pytest.mark.usefixtures("imported_once")
def test_a_key_is_handed_out_first_and_used_later(state: Path) -> None:
    (first,) = codec_keys.load_or_make(temporal_codec_key_file(state), datetime.now(UTC))
    assert lipei("keys", "rotate-codec", "--state", str(state), "--add-only").code == 0
    assert [key.state for key in keys_of(state)] == ["current", "decrypt-only"]
    added = keys_of(state)[1].id
    assert lipei("keys", "rotate-codec", "--state", str(state), "--use", added).code == 0
    assert [key.state for key in keys_of(state)] == ["decrypt-only", "current"]
    assert keys_of(state)[0].id == first.id


def superseded_at(state: Path, moment: datetime) -> str:
    """Rotate as of some time ago; the id of the old key."""
    codec_keys.load_or_make(temporal_codec_key_file(state), moment)
    rotate(state)
    return age_of(state, datetime.now(UTC) - moment)


def age_of(state: Path, age: timedelta) -> str:
    """Have the oldest key be superseded so long ago; its id."""
    moment = datetime.now(UTC) - age

    def aged(old: Sequence[CodecKey]) -> tuple[CodecKey, ...]:
        return (msgspec.structs.replace(old[0], superseded=moment), *old[1:])

    return codec_keys.change(temporal_codec_key_file(state), aged)[0].id


def retire(state: Path, key_id: str, *words: str) -> Typed:
    return lipei("keys", "rotate-codec", "--state", str(state), "--retire", key_id, *words)


@pytest.mark.usefixtures("imported_once")
def test_a_key_that_runs_may_need_is_not_retired_unless_forced(state: Path) -> None:
    async def started() -> None:
        client = await connect(state)
        await (await begun(client, "claims/" + "0f" * 16)).terminate()
        await eventually(lambda: runs_since_before(state, datetime.now(UTC) - timedelta(seconds=1)))

    old = superseded_at(state, datetime.now(UTC))
    assert "less than a minute ago" in retire(state, old).err
    asyncio.run(started())
    age_of(state, timedelta(seconds=61))  # what began up to a minute later counts
    refused = retire(state, old)
    assert refused.code == 1
    assert "runs that Temporal still holds" in refused.err
    assert keys_of(state)[0].state == "decrypt-only"
    done = retire(state, old, "--force")
    assert done.code == 0, done.err
    assert keys_of(state)[0].state == "retired"


def test_a_key_that_temporal_has_forgotten_is_retired(state: Path) -> None:
    old = superseded_at(state, datetime.now(UTC) - timedelta(days=9))
    done = retire(state, old)
    assert done.code == 0, done.err
    assert (keys_of(state)[0].state, keys_of(state)[0].key) == ("retired", "")


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--retire", "k9"], 1, "no key k9"),
        (["--use", "k9"], 1, "no key k9"),
        (["--add-only", "--use", "k9"], 2, "give one of"),
        (["--force"], 2, "give one of"),
    ],
)
def test_what_cannot_be_done_is_said(
    state: Path, words: list[str], exit_code: int, said: str
) -> None:
    codec_keys.load_or_make(temporal_codec_key_file(state), datetime.now(UTC))
    before = keys_of(state)
    done = lipei("keys", "rotate-codec", "--state", str(state), *words)
    assert done.code == exit_code
    assert said in done.err
    assert keys_of(state) == before


@pytest.mark.usefixtures("imported_once")
def test_a_rotation_while_temporal_is_away_says_what_is_left(state: Path) -> None:
    codec_keys.load_or_make(temporal_codec_key_file(state), datetime.now(UTC))
    record_address(state, "temporal", f"127.0.0.1:{free_ports(1)[0]}")
    done = lipei("keys", "rotate-codec", "--state", str(state))
    assert done.code == 1
    assert f"run this again with --use {keys_of(state)[1].id}" in done.err
    assert [key.state for key in keys_of(state)] == ["decrypt-only", "current"]
