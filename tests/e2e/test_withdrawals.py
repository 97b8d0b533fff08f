"""A withdrawn consent reaches claims and pricing: bridge, Temporal, claims, pricing, all real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from lipei.claims.v1 import claims_pb2, study_pb2
from lipei.his_bridge.v1 import consent_pb2, his_bridge_pb2, work_pb2
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from services.common.access.caller import Caller
from services.common.access.studies import PURPOSE
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.schedules import (
    ensure_pull_schedule,
    trigger_pull,
)
from services.common.transport.channels import channel as reach
from services.common.transport.channels import sync_channel
from tests.e2e.test_readings import laboratory
from tests.identities import acting
from tests.services.claims.given import imported, policy, publish
from tests.services.claims.serving import Served, Stuck, served
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import NUMBER, TOKEN, around, claim, write_profile
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import part
from tests.tenants import of_hospital, of_insurer
from workflows.worker import hospital_worker

ID = HOSPITAL.removeprefix("hospitals/")
BILLS = 3


@dataclass(frozen=True)
class Parts:
    """A hospital's side and an insurer's side."""

    state: Path
    bridge: Bridge
    claims: Served
    pricing: str
    his: FhirServer
    source_goes_away: Callable[[], None]
    callers: list[Caller]  # the last one is who calls claims

    @property
    def register(self) -> ConsentServiceStub:
        return ConsentServiceStub(self.bridge.channel)

    def run(self, workflow: str, work: Any) -> None:
        """One run of a workflow on the hospital's queue, by a worker of this process."""
        asyncio.run(asyncio.wait_for(self._run(workflow, work), 60))

    async def _run(self, workflow: str, work: Any) -> None:
        client = await connect(self.state)
        async with self._working(client):
            queue = names.hospital_queue(ID)
            await client.execute_workflow(workflow, work, id=workflow, task_queue=queue)

    def pull_bills(self) -> None:
        self.run(names.PULL_BILLS, work_pb2.PullBillsWork(hospital=HOSPITAL))

    def relay(self) -> None:
        """What `lipei consent withdraw` asks for: the schedule's run, now."""
        asyncio.run(asyncio.wait_for(self._relay(), 60))

    async def _relay(self) -> None:
        client = await connect(self.state)
        async with self._working(client):
            await ensure_pull_schedule(client, ID, timedelta(days=300), "withdrawals")
            schedule = client.get_schedule_handle(names.pull_schedule_id(ID, "withdrawals"))
            before = (await schedule.describe()).info.num_actions
            await trigger_pull(self.state, ID, "withdrawals")
            while True:
                info = (await schedule.describe()).info
                if info.num_actions > before and not info.running_actions:
                    return
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _working(self, client: Client) -> AsyncIterator[None]:
        machine = acting("integration", "")
        async with (
            reach(self.bridge.address, machine, "his_bridge") as bridge,
            reach(self.claims.address, machine, "claims") as claims,
            reach(self.pricing, machine, "pricing") as pricing,
            hospital_worker(client, ID, bridge=bridge, claims=claims, pricing=pricing),
        ):
            yield

    def withdraw(self, purpose: consent_pb2.ConsentPurpose.ValueType) -> consent_pb2.Consent:
        (found,) = (one for one in self.consents() if one.purpose == purpose)
        request = consent_pb2.WithdrawConsentRequest(name=found.name, request_id=f"w{purpose}")
        return self.register.WithdrawConsent(request, timeout=CALL_S).consent

    def consents(self) -> list[consent_pb2.Consent]:
        request = consent_pb2.ListConsentsRequest(parent=HOSPITAL)
        return list(self.register.ListConsents(request, timeout=CALL_S).consents)

    def states(self) -> list[str]:
        request = claims_pb2.ListClaimsRequest(parent="policies/-")
        found = self.claims.claims.ListClaims(request).claims
        return [claims_pb2.ClaimState.Name(one.state)[12:].lower() for one in found]

    def withdrawn_from_studies(self) -> int:
        """Of the one person whom claims knows."""
        request = study_pb2.ExportPeopleRequest(study="0" * 32, before_date="2026-01-01")
        self.callers.append(replace(of_insurer(), purpose=PURPOSE))
        (answer,) = self.claims.studies.ExportPeople(request, timeout=CALL_S)
        self.callers.pop()
        return int(answer.left_out.consent_count)

    def months_on_target(self) -> int:
        request = pricing_pb2.AssessMemberRequest(
            participation=part(TOKEN), renewal_date="2026-01-01"
        )
        # As the person reads it, who needs to be nobody's customer for that.
        person = acting("desk-member", "member", TOKEN)
        with sync_channel(self.pricing, person, "pricing") as channel:
            stub = PricingServiceStub(channel)
            return int(stub.AssessMember(request, timeout=CALL_S).incentive.run_months)


@pytest.fixture
def parts(tmp_path: Path, temporal_state: Path) -> Iterator[Parts]:
    """Three bills taken in and two readings recorded."""
    insured = policy(1)
    insured.members[0].document.number = NUMBER
    with ExitStack() as held, ExitStack() as source:
        pricing = held.enter_context(serving(tmp_path / "pricing"))
        url = f"sqlite:///{tmp_path / 'claims.db'}"
        callers = [of_insurer()]
        starting = served(url, workflows=Stuck(), caller=lambda: callers[-1])
        claims = held.enter_context(starting)
        publish(claims)
        imported(claims, insured)
        callers.append(of_hospital(ID))
        his = source.enter_context(fhir_server(tmp_path / "his"))
        his.put([*around(), *(claim(f"b{n}") for n in range(BILLS))])
        his.put([laboratory("o1", "2025-03-20", 6.8), laboratory("o2", "2025-06-20", 6.7)])
        write_profile(tmp_path / "profiles", his.base_url)
        bridge = held.enter_context(running_bridge(tmp_path / "bridge", tmp_path / "profiles"))
        bridge.consented([TOKEN])
        where = temporal_state, bridge, claims, pricing.address, his
        found = Parts(*where, source.close, callers)
        found.pull_bills()
        found.run(names.PULL_READINGS, work_pb2.PullReadingsWork(hospital=HOSPITAL))
        yield found


def test_a_withdrawal_reaches_claims_and_pricing_though_the_source_is_away(parts: Parts) -> None:
    assert parts.states() == ["registered"] * BILLS
    assert parts.withdrawn_from_studies() == 0
    parts.withdraw(consent_pb2.CONSENT_PURPOSE_DEIDENTIFIED_STUDY)
    parts.relay()
    assert parts.withdrawn_from_studies() == 1
    assert parts.states() == ["registered"] * BILLS  # the other consents stand
    assert parts.months_on_target() == 6
    parts.source_goes_away()
    taken = [one.bill.consent for one in parts.bridge.bills()]

    gone = parts.withdraw(consent_pb2.CONSENT_PURPOSE_CLAIM_SETTLEMENT)
    assert set(taken) == {gone.name}
    assert not gone.HasField("relay_time")
    parts.relay()
    assert parts.states() == ["withdrawn"] * BILLS
    assert parts.months_on_target() == 6  # the other consent stands
    settled, programme, _study = sorted(parts.consents(), key=lambda one: one.purpose)
    assert settled.HasField("relay_time")

    parts.withdraw(consent_pb2.CONSENT_PURPOSE_HEALTH_PROGRAMME)
    parts.relay()
    assert parts.months_on_target() == 0
    asked = consent_pb2.GetConsentRequest(name=programme.name)
    found = parts.register.GetConsent(asked, timeout=CALL_S).consent
    assert found.HasField("relay_time")
    # Repeated, nothing is told twice.
    parts.relay()
    assert parts.states() == ["withdrawn"] * BILLS


def test_a_bill_whose_consent_only_claims_know_to_be_withdrawn_is_refused(parts: Parts) -> None:
    """Such as a bridge restored from a backup; it ends, and holds up no other bill."""
    (consent,) = {one.bill.consent for one in parts.bridge.bills()}
    request = claims_pb2.WithdrawClaimsRequest(request_id="w", consents=[consent])
    parts.claims.claims.WithdrawClaims(request)
    parts.his.put([claim("late")])
    parts.pull_bills()
    assert parts.states() == ["withdrawn"] * BILLS
    refused = parts.bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_REFUSED)
    assert [list(one.delivery.refusal_reasons) for one in refused] == [["CONSENT_WITHDRAWN"]]


@pytest.mark.fault
def test_a_bill_that_is_withheld_is_not_handed_over_and_is_when_a_new_consent_comes(
    parts: Parts,
) -> None:
    parts.his.put([claim("late")])
    parts.bridge.pull_all()  # released, not yet handed over
    parts.withdraw(consent_pb2.CONSENT_PURPOSE_CLAIM_SETTLEMENT)
    parts.pull_bills()
    parts.relay()
    assert parts.states() == ["withdrawn"] * BILLS
    parts.bridge.consented([TOKEN])
    parts.pull_bills()
    assert parts.states() == ["withdrawn"] * BILLS + ["registered"]
