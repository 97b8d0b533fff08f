"""The Temporal schedules that empty a hospital's bridge: never two runs of one at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from lipei.his_bridge.v1.work_pb2 import PullBillsWork, PullReadingsWork, RelayWithdrawalsWork
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.recovery import TASK_TIMEOUT

_Work = type[PullBillsWork | PullReadingsWork | RelayWithdrawalsWork]
_WORKFLOWS: dict[names.Channel, tuple[str, _Work]] = {
    "bills": (names.PULL_BILLS, PullBillsWork),
    "readings": (names.PULL_READINGS, PullReadingsWork),
    "withdrawals": (names.RELAY_WITHDRAWALS, RelayWithdrawalsWork),
}


async def ensure_pull_schedule(
    client: Client, hospital: str, every: timedelta, channel: names.Channel = "bills"
) -> None:
    """Make the hospital's schedule, or set its interval if it exists. Starts no run now."""
    workflow, work = _WORKFLOWS[channel]
    schedule_id = names.pull_schedule_id(hospital, channel)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            workflow,
            work(hospital=f"hospitals/{hospital}"),
            id=schedule_id,
            task_queue=names.hospital_queue(hospital),
            task_timeout=TASK_TIMEOUT,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        # A pull that is still running pulls what the next one would.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )

    async def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = found.description.schedule.state  # a pause by the operator stays
        return ScheduleUpdate(schedule=schedule)

    try:
        await client.create_schedule(schedule_id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(updated)


async def trigger_pull(state: Path, hospital: str, channel: names.Channel = "bills") -> None:
    """Pull the hospital's bills or readings now, unless a pull of them is running.

    Raises: temporalio.service.RPCError when the hospital has no schedule: its worker never ran.
    """
    client = await connect(state)
    await client.get_schedule_handle(names.pull_schedule_id(hospital, channel)).trigger()


async def pull_has_ended(state: Path, hospital: str, channel: names.Channel = "bills") -> bool:
    """Whether the hospital's schedule has started a pull before and none runs now.

    Raises: temporalio.service.RPCError when the hospital has no schedule: its worker never ran.
    """
    client = await connect(state)
    handle = client.get_schedule_handle(names.pull_schedule_id(hospital, channel))
    found = (await handle.describe()).info
    return found.num_actions > 0 and not found.running_actions
