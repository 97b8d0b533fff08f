"""Sixteen bills at once against one ceiling pay exactly the ceiling, on both databases."""

from __future__ import annotations

import pytest

from lipei.claims.v1 import settlement_pb2
from tests.services.claims.ceilings import (
    CEILING,
    FAMILY,
    MEMBER,
    Shared,
    decided_without_turns,
    in_turn,
    publish_with,
    submitted_at_once,
)
from tests.services.claims.given import bill, imported, line, policy, submission
from tests.services.claims.serving import Stuck, served

pytestmark = pytest.mark.both_databases

ROUNDS = 1  # fifty in `make fault`


@pytest.mark.parametrize("shared", [MEMBER, FAMILY], ids=lambda shared: shared.scope)
def test_many_bills_at_once_pay_exactly_the_ceiling(database_url: str, shared: Shared) -> None:
    pay_exactly(database_url, shared, ROUNDS)


def pay_exactly(database_url: str, shared: Shared, rounds: int) -> None:
    with served(database_url, most_in_flight=500) as service:
        publish_with(service, shared)
        for number in range(1, rounds + 1):
            paid = submitted_at_once(service, number, shared)
            assert sum(paid) == CEILING, paid
            assert shared is FAMILY or in_turn(paid), paid


@pytest.mark.parametrize("shared", [MEMBER, FAMILY], ids=lambda shared: shared.scope)
def test_without_turns_they_pay_more(database_url: str, shared: Shared) -> None:
    """The control: what the row locks, or BEGIN IMMEDIATE, are for."""
    with served(database_url, workflows=Stuck(), most_in_flight=500) as service:
        publish_with(service, shared)
        imported(service, policy(1, people=shared.people))
        # Most of the ceiling is used up before, so that its balance stands.
        first = bill("P1-first", line(1, "XC0300000000001", "90000.00"))
        (claim,) = service.claims.SubmitClaim(submission(first, wait_s=0)).claims
        service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=claim.name))
        assert 80_000 + decided_without_turns(service, 1, shared) > CEILING
