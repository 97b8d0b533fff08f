"""One hospital's new bills: pulled into the bridge, released, handed to the insurer.

Sees counts only: bills go from the bridge to claims within a step.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
    from services.common.temporal import names
    from services.common.temporal.recovery import HEARTBEAT_TIMEOUT
    from workflows.hospital_steps import HospitalSteps

# Records of one pull: a few pages, so that progress is seen and a killed worker repeats little.
RECORDS_PER_PULL = 500
PULL_TIMEOUT = timedelta(seconds=60)
# Handing over is as long as the insurer needs to take the bills in.
HAND_OVER_TIMEOUT = timedelta(minutes=30)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))


@workflow.defn(name=names.PULL_BILLS)
class PullBills:
    """Started by the hospital's schedule on the hospital's own queue; only dials out."""

    @workflow.run
    async def run(self, work: work_pb2.PullBillsWork) -> None:
        """Pull and hand over until the source has no more."""
        more = True
        while more:
            request = his_bridge_pb2.PullBillsRequest(
                hospital=work.hospital,
                max_records=RECORDS_PER_PULL,
                request_id=str(workflow.uuid4()),
            )
            pulled, fault = await pull(HospitalSteps.pull_bills, request)
            await workflow.execute_activity_method(
                HospitalSteps.submit_released_bills,
                work,
                start_to_close_timeout=HAND_OVER_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            more = await has_more(pulled, fault)
            if more and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(work)


async def pull(step: Any, request: Any) -> tuple[Any, ActivityError | None]:
    """What a pull brought, or why the source could not be read.

    A source that is away holds up nothing that was released before it went: bills that are offered
    again, that a consent or a table of codes let out.
    """
    try:
        pulled = await workflow.execute_activity_method(
            step,
            request,
            start_to_close_timeout=PULL_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY,
        )
    except ActivityError as fault:
        if is_cancelled_exception(fault):
            raise
        return None, fault
    return pulled, None


async def has_more(pulled: Any, fault: ActivityError | None) -> bool:
    """Whether to pull again; of a source that is away once the pause is over.

    Raises: the fault, where waiting does not help.
    """
    if fault is None:
        return bool(pulled.more)
    pause = fault.cause.next_retry_delay if isinstance(fault.cause, ApplicationError) else None
    if pause is None:
        raise fault
    await workflow.sleep(pause)
    return True
