"""A hospital's values lower a premium: FHIR server, bridge, Temporal and pricing, all real."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from services.common.temporal import names
from services.common.temporal.connection import connect, converter_of
from services.common.temporal.schedules import ensure_pull_schedule, trigger_pull
from services.common.transport.channels import channel as reach
from tests.identities import acting, everybody
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import TOKEN, Resource, observation, patient, write_profile
from tests.services.his_bridge.running import CALL_S, Bridge, running_bridge
from tests.services.pricing.at_hand import DEMO
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import part, recording, weeks
from workflows.worker import hospital_worker

HOSPITAL = "demo-hospital"
CAP = {"LIPEI_PRICING_CREDIT_CAP": "0.20", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a regulation"}
FACTS = {"age": "52", "sex": "F", "condition": "type2_diabetes"}


def laboratory(key: str, day: str, value: float, **more: Any) -> Resource:
    return {
        **observation(key),
        "effectiveDateTime": f"{day}T09:30:00+08:00",
        "issued": f"{day}T16:00:00+08:00",
        "valueQuantity": {"value": value, "unit": "%", "code": "%"},
        **more,
    }


class Pulls:
    """Runs of the hospital's schedule, one after the other, by a worker of this process."""

    def __init__(self, state: Path, pricing: str) -> None:
        self.bridge = ""
        self._state = state
        self._pricing = pricing
        self._seen: set[str] = set()

    def run(self) -> tuple[work_pb2.PullReadingsWork, work_pb2.RecordReleasedReadingsResult]:
        """Trigger the schedule, wait for the run; what its recording was asked and answered."""
        return asyncio.run(asyncio.wait_for(self._run(), 60))

    async def _run(self) -> tuple[Any, Any]:
        client = await connect(self._state)
        machine = acting("integration", "")
        async with (
            reach(self.bridge, machine, "his_bridge") as bridge,
            reach("127.0.0.1:1", machine, "claims") as claims,
            reach(self._pricing, machine, "pricing") as pricing,
            hospital_worker(client, HOSPITAL, bridge=bridge, claims=claims, pricing=pricing),
        ):
            await ensure_pull_schedule(client, HOSPITAL, timedelta(days=300), "readings")
            await trigger_pull(self._state, HOSPITAL, "readings")
            run_id, workflow_id = await self._started(client)
            handle = client.get_workflow_handle(
                workflow_id, run_id=run_id, result_type=work_pb2.PullReadingsResult
            )
            result = await handle.result()
            asked, answered = await _recorded(client, workflow_id, run_id)
            assert answered.resume_token == result.resume_token
            return asked, answered

    async def _started(self, client: Client) -> tuple[str, str]:
        schedule = client.get_schedule_handle(names.pull_schedule_id(HOSPITAL, "readings"))
        while True:
            for action in (await schedule.describe()).info.recent_actions:
                started: Any = action.action
                if started.first_execution_run_id not in self._seen:
                    self._seen.add(started.first_execution_run_id)
                    return started.first_execution_run_id, started.workflow_id
            await asyncio.sleep(0.05)


async def _recorded(client: Client, workflow_id: str, run_id: str) -> tuple[Any, Any]:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    converter = converter_of(client, handle.id)
    asked: Any = None
    answered: Any = None
    async for event in handle.fetch_history_events():
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == "RecordReleasedReadings":
            asked = (await converter.decode(scheduled.input.payloads))[0]
        if event.HasField("activity_task_completed_event_attributes"):
            done = event.activity_task_completed_event_attributes.result.payloads
            answered = (await converter.decode(done))[0]
    return asked, answered


def released(bridge: Bridge) -> dict[str, str]:
    """Names of the released readings by the day of their measurement."""
    request = his_bridge_pb2.ListReadingsRequest(parent=f"members/{TOKEN}")
    page = bridge.stub.ListReadings(request, timeout=CALL_S)
    assert "SN0815" not in str(page)
    devices = [reading.device for reading in page.readings]
    assert len({*devices}) == 2, "one has a device, under a pseudonym; the others have none"
    return {r.effective_time.ToDatetime().date().isoformat(): r.name for r in page.readings}


def quoted(stub: PricingServiceStub, request_id: str) -> pb.Quote:
    request = pb.QuotePremiumRequest(
        request_id=request_id,
        parent="policies/p-1",
        tariff=DEMO,
        start_date="2026-01-01",
        features=FACTS,
        participation=part(TOKEN, expiring_start_date="2025-01-01"),
    )
    return stub.QuotePremium(request, timeout=CALL_S).quote


def test_laboratory_values_come_to_pricing_and_lower_the_premium(
    tmp_path: Path, temporal_state: Path
) -> None:
    with (
        fhir_server(tmp_path / "his") as his,
        serving(tmp_path / "pricing", CAP) as pricing,
    ):
        write_profile(tmp_path / "profiles", his.base_url)
        his.put(
            [
                patient(),
                laboratory("o1", "2025-03-20", 6.8, device={"reference": "Device/SN0815"}),
                laboratory("o2", "2025-06-20", 6.7),
                laboratory("o3", "2025-09-20", 8.2),
                # No living person's: pricing refuses it, and it holds up none of the others.
                laboratory("o4", "2025-10-20", 55),
            ]
        )
        pulls = Pulls(temporal_state, pricing.address)
        with everybody(pricing.address, "pricing") as channel:
            stub = PricingServiceStub(channel)
            with running_bridge(tmp_path / "bridge", tmp_path / "profiles") as bridge:
                bridge.consented([TOKEN])
                pulls.bridge = bridge.address
                _first_year(pulls, stub, bridge)
                _correction(pulls, stub, his)
            # Another database: the token that was kept means nothing there, and nothing is missed.
            with running_bridge(tmp_path / "anew", tmp_path / "profiles") as bridge:
                bridge.consented([TOKEN])
                pulls.bridge = bridge.address
                asked, done = pulls.run()
                assert asked.resume_token
                assert (done.recorded, done.refused) == (2, 1)
                before, after = (quoted(stub, request_id).incentive for request_id in ("q4", "q5"))
                assert (before.run_first_month, before.run_last_month) == (
                    after.run_first_month,
                    after.run_last_month,
                )


def _first_year(pulls: Pulls, stub: PricingServiceStub, bridge: Bridge) -> None:
    asked, done = pulls.run()
    assert asked.resume_token == ""
    assert (done.recorded, done.known, done.refused) == (3, 0, 1)
    assert dict(done.refusal_reasons) == {"OUT_OF_BOUNDS": 1}

    named = released(bridge)
    quote = quoted(stub, "q1")
    found = quote.incentive
    # March's value decides January to March, June's April to June.
    assert (found.run_first_month, found.run_last_month) == ("2025-01", "2025-06")
    credit = next(step for step in quote.steps if step.step == "incentive")
    assert list(credit.evidence) == [named["2025-03-20"], named["2025-06-20"]]
    # 3706.80 less 10 %.
    assert quote.premium_without_credit.minor_units == 370_680
    assert quote.premium.minor_units == 333_612
    assert sum(step.difference_e4 for step in quote.steps) == 333_612 * 10_000

    home = weeks(TOKEN, "2024-12", "6.1")
    stub.RecordReadings(recording("home-1", home), timeout=CALL_S)
    found = quoted(stub, "q2").incentive
    assert (found.run_first_month, found.run_months) == ("2024-12", 7)
    assert list(found.months[1].evidence) == [entry.name for entry in home]


def _correction(pulls: Pulls, stub: PricingServiceStub, his: FhirServer) -> None:
    # The next run asks for what was released since the last one, and finds nothing.
    asked, done = pulls.run()
    assert asked.resume_token
    assert (done.recorded, done.known, done.refused) == (0, 0, 0)
    first = quoted(stub, "q2")
    his.put([laboratory("o2", "2025-06-20", 7.9, status="corrected")])
    asked, done = pulls.run()
    assert (done.recorded, done.known) == (1, 0)
    assert quoted(stub, "q2") == first
    found = quoted(stub, "q3").incentive
    assert (found.run_first_month, found.run_last_month) == ("2024-12", "2025-03")
    # Back to what the hospital said at first, and forth again: each time the last word counts.
    for value, status, last in ((6.7, "final", "2025-06"), (7.9, "corrected", "2025-03")):
        his.put([laboratory("o2", "2025-06-20", value, status=status)])
        assert pulls.run()[1].recorded == 1
        assert quoted(stub, f"q-{value}").incentive.run_last_month == last
    his.put([laboratory("o1", "2025-03-20", 6.8, status="entered-in-error")])
    assert pulls.run()[1].recorded == 1
    found = quoted(stub, "q4").incentive
    assert (found.run_first_month, found.run_last_month) == ("2024-12", "2024-12")
