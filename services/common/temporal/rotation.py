"""What a rotation of the codec's keys asks of Temporal: new payloads for schedules, old runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.converter import PayloadCodec
from temporalio.service import RPCError, RPCStatusCode

from services.common.temporal.connection import connect, converter_of


async def renew_schedules(state: Path) -> frozenset[str]:
    """Encrypt every schedule's payload with the current key; the ids of the keys it had before.

    A schedule gives its payload, as it lies there, to each run that it starts. Temporal's list
    lags: a schedule made a moment ago may not be on it, one deleted a moment ago may; who retires
    a key renews once more.
    """
    client = await connect(state)
    before: set[str] = set()
    async for listed in await client.list_schedules():
        handle = client.get_schedule_handle(listed.id)

        async def renewed(found: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule = found.description.schedule
            if isinstance(schedule.action, ScheduleActionStartWorkflow):
                await _renew(client, schedule.action, before)
            return ScheduleUpdate(schedule=schedule)

        try:
            await handle.update(renewed)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
    return frozenset(before)


async def _renew(client: Client, action: ScheduleActionStartWorkflow, before: set[str]) -> None:
    codec = converter_of(client, action.id).payload_codec
    if not isinstance(codec, PayloadCodec):
        raise TypeError("our clients have a codec")
    payloads = [entry for entry in action.args if isinstance(entry, Payload)]
    before |= {entry.metadata.get("key-id", b"").decode("ascii", "replace") for entry in payloads}
    action.args = await codec.encode(await codec.decode(payloads))


async def runs_since_before(state: Path, moment: datetime) -> int:
    """How many runs that began before this moment Temporal still holds, open or closed.

    What began later holds no payload of a key that was superseded then. Closed runs go with the
    namespace's retention.
    """
    client = await connect(state)
    written = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (await client.count_workflows(f"StartTime <= '{written}'")).count
