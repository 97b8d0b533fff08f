"""The Temporal schedule that pulls a hospital's bills: made once, never two runs at a time."""

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

from lipei.his_bridge.v1.work_pb2 import PullBillsWork
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.recovery import TASK_TIMEOUT


async def ensure_pull_schedule(client: Client, hospital: str, every: timedelta) -> None:
    """Make the hospital's schedule, or set its interval if it exists. Starts no run now."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            names.PULL_BILLS,
            PullBillsWork(hospital=f"hospitals/{hospital}"),
            id=names.pull_schedule_id(hospital),
            task_queue=names.hospital_queue(hospital),
            task_timeout=TASK_TIMEOUT,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        # A pull that is still running pulls what the next one would.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    schedule_id = names.pull_schedule_id(hospital)

    async def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = found.description.schedule.state  # a pause by the operator stays
        return ScheduleUpdate(schedule=schedule)

    try:
        await client.create_schedule(schedule_id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(updated)


async def trigger_pull(state: Path, hospital: str) -> None:
    """Pull now, unless a pull of this hospital is running.

    Raises: temporalio.service.RPCError when the hospital has no schedule: its worker never ran.
    """
    client = await connect(state)
    await client.get_schedule_handle(names.pull_schedule_id(hospital)).trigger()
