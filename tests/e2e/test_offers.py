"""A refused bill is offered again once its policy is there: HIS, bridge, Temporal, claims, bank."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from lipei.claims.v1 import claims_pb2
from lipei.his_bridge.v1 import his_bridge_pb2, work_pb2
from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from services.common.grpc_edge import error_of
from services.common.temporal import names
from services.common.temporal.connection import connect
from tests.e2e.test_corrections import dearer
from tests.e2e.test_withdrawals import ID, Parts
from tests.fault.story import until
from tests.sandbox import SandboxBank, sandbox_bank
from tests.services.claims.given import imported, policy, publish
from tests.services.claims.serving import served
from tests.services.claims.test_providers import run_payouts
from tests.services.his_bridge.fhir_server import fhir_server
from tests.services.his_bridge.records import NUMBER, TOKEN, around, write_profile
from tests.services.his_bridge.running import CALL_S, HOSPITAL, running_bridge
from tests.tenants import of_hospital, of_insurer

# (30,010.01 - 40 of social insurance - 10,000 deductible) × 90 % in a secondary hospital.
OWED = 1_797_301
TAKEN, REFUSED = his_bridge_pb2.DELIVERY_STATE_TAKEN, his_bridge_pb2.DELIVERY_STATE_REFUSED


@dataclass(frozen=True)
class Both:
    """A hospital whose patient an insurer does not know yet, and the bank of that insurer."""

    parts: Parts
    bank: SandboxBank
    state: Path
    profiles: Path

    @property
    def desk(self) -> OperationsServiceStub:
        return OperationsServiceStub(self.parts.bridge.channel)

    def offer(self, request_id: str, **which: Any) -> pb.OfferRefusedBillsResponse:
        request = pb.OfferRefusedBillsRequest(parent=HOSPITAL, request_id=request_id, **which)
        return self.desk.OfferRefusedBills(request, timeout=CALL_S)

    def stand(self) -> list[tuple[int, list[str]]]:
        found = (one.delivery for one in self.parts.bridge.bills())
        return [(one.state, list(one.refusal_reasons)) for one in found]

    def import_the_policy(self) -> None:
        insured = policy(1)
        insured.members[0].document.number = NUMBER
        self.parts.callers.append(of_insurer())
        imported(self.parts.claims, insured)
        self.parts.callers.pop()

    def claims(self) -> list[claims_pb2.Claim]:
        self.parts.callers.append(of_insurer())
        listing = claims_pb2.ListClaimsRequest(parent="policies/-")
        found = list(self.parts.claims.claims.ListClaims(listing).claims)
        self.parts.callers.pop()
        return found

    def paid(self) -> list[int]:
        """What the bank has executed, once all is decided and one more payout run is over."""
        decided = (claims_pb2.CLAIM_STATE_PAYABLE, claims_pb2.CLAIM_STATE_PAID)
        until(lambda: all(one.state in decided for one in self.claims()))
        run_payouts(self.parts.claims)
        return [int(one["amount"]) for one in self.bank.paid()]


@pytest.fixture
def both(tmp_path: Path, temporal_state: Path) -> Iterator[Both]:
    """One bill that was refused, for nobody insures its patient."""
    with ExitStack() as held:
        bank = held.enter_context(sandbox_bank(tmp_path / "bank"))
        callers = [of_insurer()]
        url = f"sqlite:///{tmp_path / 'claims.db'}"
        starting = served(url, caller=lambda: callers[-1], bank_url=bank.url)
        claims = held.enter_context(starting)
        publish(claims)
        callers.append(of_hospital(ID))
        his = held.enter_context(fhir_server(tmp_path / "his"))
        his.put([*around(), dearer("b0")])
        profiles = tmp_path / "profiles"
        write_profile(profiles, his.base_url)
        bridge = held.enter_context(running_bridge(tmp_path / "bridge", profiles))
        bridge.consented([TOKEN])
        where = temporal_state, bridge, claims, claims.address, his
        found = Both(Parts(*where, lambda: None, callers), bank, tmp_path / "bridge", profiles)
        found.parts.pull_bills()
        yield found


def test_a_bill_of_an_unknown_member_is_offered_again_and_paid_once(both: Both) -> None:
    parts = both.parts
    assert both.stand() == [(REFUSED, ["UNKNOWN_MEMBER"])]
    # Offered too early it is refused as before, and the sweep comes to an end all the same.
    assert both.offer("early").offered_count == 1
    parts.pull_bills()
    assert both.stand() == [(REFUSED, ["UNKNOWN_MEMBER"])]
    both.import_the_policy()
    # The control: without an offer the next sweep leaves it where it is.
    parts.pull_bills()
    assert both.stand() == [(REFUSED, ["UNKNOWN_MEMBER"])]
    assert both.claims() == []

    asked = {"reason": "UNKNOWN_MEMBER", "first_day": "2026-03-01"}
    told = both.offer("once", dry_run=True, **asked)
    assert both.stand() == [(REFUSED, ["UNKNOWN_MEMBER"])]
    assert both.offer("once", **asked) == told
    assert [(one.reason, one.bill_count) for one in told.refusals] == [("UNKNOWN_MEMBER", 1)]
    parts.pull_bills()
    assert [state for state, _ in both.stand()] == [TAKEN]
    (claim,) = both.claims()
    assert claim.bill_number == "NO-b0"
    assert both.paid() == [OWED]

    # Asked twice more, by the same request and by another: nothing is offered, nothing is doubled.
    assert both.offer("once", **asked) == told
    assert both.offer("again").offered_count == 0
    (bill,) = parts.bridge.bills()
    with pytest.raises(grpc.RpcError) as refused:
        both.offer("named", bills=[bill.bill.name])
    assert error_of(refused.value).reason == "BILL_NOT_OFFERABLE"
    parts.pull_bills()
    assert [one.name for one in both.claims()] == [claim.name]
    assert both.paid() == [OWED]


async def _handed_over(both: Both, *, ends: bool) -> None:
    """One run against a source that cannot be read, until the bill was handed over all the same."""
    client = await connect(both.parts.state)
    work = work_pb2.PullBillsWork(hospital=HOSPITAL)
    async with both.parts._working(client):
        queue = names.hospital_queue(ID)
        run = await client.start_workflow(names.PULL_BILLS, work, id="away", task_queue=queue)
        await asyncio.to_thread(until, lambda: both.stand() == [(TAKEN, [])])
        if ends:
            with pytest.raises(WorkflowFailureError):
                await run.result()
            return
        assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
        await run.terminate()


@pytest.mark.parametrize(
    "away",
    [pytest.param(True, id="away"), pytest.param(False, id="refuses", marks=pytest.mark.fault)],
)
def test_a_source_that_cannot_be_read_holds_up_no_bill_that_is_here(both: Both, away: bool) -> None:
    both.import_the_policy()
    both.parts.bridge.process.terminate()
    both.parts.bridge.end()
    url = "http://127.0.0.1:1/fhir" if away else f"{both.parts.his.base_url}/nowhere"
    write_profile(both.profiles, url)
    with running_bridge(both.state, both.profiles) as bridge:
        again = replace(both, parts=replace(both.parts, bridge=bridge))
        assert again.offer("once").offered_count == 1
        asyncio.run(asyncio.wait_for(_handed_over(again, ends=not away), 60))
        # The control: its source really cannot be read.
        asked = his_bridge_pb2.GetSourceStatusRequest(hospital=HOSPITAL)
        (channel, *_) = bridge.stub.GetSourceStatus(asked, timeout=CALL_S).channels
        assert channel.last_failure_reason == ("SOURCE_AWAY" if away else "SOURCE_GONE")


def test_whoever_dies_between_offer_and_answer_doubles_nothing(both: Both) -> None:
    """The bridge once it has put the bill back, and the worker once claims has the bill."""
    both.import_the_policy()
    assert both.offer("once").offered_count == 1
    both.parts.bridge.process.kill()
    both.parts.bridge.end()
    with running_bridge(both.state, both.profiles) as bridge:
        again = replace(both, parts=replace(both.parts, bridge=bridge))
        assert again.offer("once").offered_count == 1  # as answered before
        (pending,) = bridge.bills(state=his_bridge_pb2.DELIVERY_STATE_PENDING)
        handed = claims_pb2.SubmitClaimRequest(request_id="killed", bill=pending.bill)
        (first,) = again.parts.claims.claims.SubmitClaim(handed).claims  # and it tells nobody
        again.parts.pull_bills()
        assert [state for state, _ in again.stand()] == [TAKEN]
        assert [one.name for one in again.claims()] == [first.name]
        assert again.paid() == [OWED]

        # The control: handed in under another number the same care opens a second claim, and only
        # the plan keeps it from being paid.
        other = bridge.bills()[0].bill
        other.bill_number, other.name = "NO-other", f"{HOSPITAL}/bills/{'0' * 32}"
        careless = claims_pb2.SubmitClaimRequest(
            request_id="careless", bill=other, wait=Duration(seconds=60)
        )
        again.parts.claims.claims.SubmitClaim(careless)
        states = {one.name: one.state for one in again.claims()}
        assert states.pop(first.name) == claims_pb2.CLAIM_STATE_PAID
        assert list(states.values()) == [claims_pb2.CLAIM_STATE_DENIED]
