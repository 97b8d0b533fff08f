"""A hospital restates a bill: HIS, bridge, Temporal and claims, all real, to what is owed then."""

from __future__ import annotations

import asyncio

import pytest

from lipei.claims.v1 import claims_pb2, settlement_pb2
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.settling import ClaimWorkflows
from services.common.transport.channels import channel as reach
from tests.e2e.test_withdrawals import Parts, parts
from tests.identities import acting
from tests.services.his_bridge.records import Resource, claim, money
from tests.tenants import of_installation, of_insurer
from workflows.worker import claims_worker

__all__ = ["parts"]  # a fixture


def dearer(key: str) -> Resource:
    """The bill with an examination for 30,000 yuan, of which social insurance paid 40."""
    made = claim(key)
    made["item"][0] |= {"unitPrice": money(30000), "net": money(30000)}
    return {**made, "total": money(30010.01)}


async def _adjusted(parts: Parts, name: str) -> None:
    """What claims' sweeper starts, and the claims worker that does it."""
    client = await connect(parts.state)
    machine = acting("claims", "")
    async with (
        reach(parts.claims.address, machine, "claims") as claims,
        claims_worker(client, claims),
    ):
        claim_id = name.rpartition("/")[2]
        for _ in range(2):  # started twice it takes effect once
            await ClaimWorkflows(client).adjust(name, claim_id, 1)
            handle = client.get_workflow_handle(names.adjust_claim_id(claim_id, 1))
            await handle.result()


def test_a_bill_restated_at_the_hospital_owes_the_difference(parts: Parts) -> None:
    listing = claims_pb2.ListClaimsRequest(parent="policies/-")
    parts.callers.append(of_insurer())
    found = {one.bill_number: one for one in parts.claims.claims.ListClaims(listing).claims}
    parts.callers.append(of_installation())
    for one in found.values():
        request = settlement_pb2.AdjudicateClaimRequest(name=one.name)
        parts.claims.settlement.AdjudicateClaim(request)
    parts.callers[-2:] = []
    before = parts.states()
    assert "payable" not in before

    parts.his.put([dearer("b0")])
    parts.pull_bills()
    assert not [one for one in parts.bridge.bills() if one.delivery.refusal_reasons]
    parts.callers.append(of_installation())
    name = found["NO-b0"].name
    asked = claims_pb2.GetClaimRequest(name=name)
    assert parts.claims.claims.GetClaim(asked).claim.corrected
    asyncio.run(asyncio.wait_for(_adjusted(parts, name), 60))
    after = parts.claims.claims.GetClaim(asked).claim
    assert (after.corrected, after.state) == (False, claims_pb2.CLAIM_STATE_PAYABLE), before
    # (30,010.01 - 40 of social insurance - 10,000 deductible) × 90 % in a secondary hospital.
    assert after.decision.benefit.minor_units == 1_797_301
    assert [move.cause for move in after.moves].count("release_payment") == 1
    assert sorted(parts.states()) == sorted([*before[1:], "payable"])


@pytest.mark.fault
def test_a_bill_that_gets_another_number_settles_under_that_one_alone(parts: Parts) -> None:
    renumbered = claim("b0")
    renumbered["identifier"][0]["value"] = "NO-new"
    parts.his.put([renumbered])
    parts.pull_bills()
    listing = claims_pb2.ListClaimsRequest(parent="policies/-")
    parts.callers.append(of_insurer())
    found = {one.bill_number: one.state for one in parts.claims.claims.ListClaims(listing).claims}
    assert found["NO-b0"] == claims_pb2.CLAIM_STATE_WITHDRAWN
    assert found["NO-new"] == found["NO-b1"] == claims_pb2.CLAIM_STATE_REGISTERED
    assert not [one for one in parts.bridge.bills() if one.delivery.refusal_reasons]
