"""One hospital's withdrawn consents: the insurer is told, and what rests on them ends there."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.his_bridge.v1 import work_pb2
    from services.common.temporal import names
    from services.common.temporal.recovery import HEARTBEAT_TIMEOUT
    from workflows.hospital_steps import HospitalSteps
    from workflows.pull_bills import HAND_OVER_TIMEOUT, RETRY


@workflow.defn(name=names.RELAY_WITHDRAWALS)
class RelayWithdrawals:
    """Started by the hospital's schedule on the hospital's own queue; only dials out.

    A workflow of its own: a withdrawal must not wait for a source that does not answer.
    """

    @workflow.run
    async def run(self, work: work_pb2.RelayWithdrawalsWork) -> None:
        """Tell claims and pricing of every withdrawal that they were not told of."""
        await workflow.execute_activity_method(
            HospitalSteps.relay_withdrawals,
            work,
            start_to_close_timeout=HAND_OVER_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY,
        )
