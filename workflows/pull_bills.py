"""One hospital's new bills: pulled into the bridge, released, handed to the insurer.

Sees counts only: bills go from the bridge to claims within a step.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

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
            pulled = await workflow.execute_activity_method(
                HospitalSteps.pull_bills,
                his_bridge_pb2.PullBillsRequest(
                    hospital=work.hospital,
                    max_records=RECORDS_PER_PULL,
                    request_id=str(workflow.uuid4()),
                ),
                start_to_close_timeout=PULL_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            more = pulled.more
            await workflow.execute_activity_method(
                HospitalSteps.submit_released_bills,
                work,
                start_to_close_timeout=HAND_OVER_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            if more and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(work)
