"""One hospital's new readings: pulled into the bridge, released, recorded by pricing."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
    from services.common.temporal import names
    from services.common.temporal.recovery import HEARTBEAT_TIMEOUT
    from workflows.hospital_steps import HospitalSteps
    from workflows.pull_bills import HAND_OVER_TIMEOUT, RECORDS_PER_PULL, RETRY, has_more, pull


@workflow.defn(name=names.PULL_READINGS)
class PullReadings:
    """Started by the hospital's schedule on the hospital's own queue; only dials out."""

    @workflow.run
    async def run(self, work: work_pb2.PullReadingsWork) -> work_pb2.PullReadingsResult:
        """Pull and record until the source has no more; the next run goes on where this ended."""
        token = work.resume_token or _where_the_last_run_ended()
        more = True
        while more:
            request = his_bridge_pb2.PullReadingsRequest(
                hospital=work.hospital,
                max_records=RECORDS_PER_PULL,
                request_id=str(workflow.uuid4()),
            )
            pulled, fault = await pull(HospitalSteps.pull_readings, request)
            recorded = await workflow.execute_activity_method(
                HospitalSteps.record_released_readings,
                work_pb2.PullReadingsWork(hospital=work.hospital, resume_token=token),
                start_to_close_timeout=HAND_OVER_TIMEOUT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            token = recorded.resume_token
            more = await has_more(pulled, fault)
            if more and workflow.info().is_continue_as_new_suggested():
                next_work = work_pb2.PullReadingsWork(hospital=work.hospital, resume_token=token)
                workflow.continue_as_new(next_work)
        return work_pb2.PullReadingsResult(resume_token=token)


def _where_the_last_run_ended() -> str:
    # A lost token costs a second delivery of everything, which pricing knows.
    if not workflow.has_last_completion_result():
        return ""
    last = workflow.get_last_completion_result(work_pb2.PullReadingsResult)
    return "" if last is None else last.resume_token
