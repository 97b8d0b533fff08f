"""Review, correction, withdrawal and reversal at once: one order, exact use; both databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import review_pb2, settlement_pb2
from lipei.type.v1 import bill_pb2
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.storage import claims as store
from services.common.database import Database
from services.common.process import now_us
from tests.services.claims.given import DRUG, imported, line, policy, submission
from tests.services.claims.serving import Served, Stuck, served
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_reviews import asked, books, got
from tests.services.claims.test_withdrawals import CONSENT, sent, used, withdraw

pytestmark = pytest.mark.both_databases

# Which act begins in each round: the review, the withdrawal, the reversal.
BEGINS = (0, 2, 4)
ROUNDS = len(BEGINS)
BIG = "200000.00"
# What of a claim's use and money is in force in the states that these acts lead to.
STANDS = (pb.CLAIM_STATE_PENDED_REVIEW, pb.CLAIM_STATE_PAYABLE)
OVER = pb.CLAIM_STATE_WITHDRAWN


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    with served(stocked_url, workflows=Stuck(), most_in_flight=500) as running:
        imported(running, *(policy(number) for number in range(2, ROUNDS + 1)))
        yield running


def of_kind(number: str, person: int, kind: bill_pb2.BillKind.ValueType, price: str) -> Any:
    made = sent(number, line(1, DRUG, price), person=person, consent=_consent(person))
    made.kind = kind
    return made


def _consent(person: int) -> str:
    return f"{CONSENT}{person}"


def test_whoever_comes_first_use_and_money_are_those_of_the_decision_in_force(
    service: Served,
) -> None:
    ends = set()
    for number in range(1, ROUNDS + 1):
        person, bill_number = number * 100, f"B{number}"
        given = of_kind(bill_number, person, bill_pb2.BILL_KIND_FINAL, BIG)
        (taken,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
        name = taken.name
        service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))
        claim = got(service, name)
        assert claim.state == pb.CLAIM_STATE_PENDED_REVIEW
        review = asked(review_pb2.ReviewClaimRequest, claim)
        corrected = of_kind(bill_number, person, bill_pb2.BILL_KIND_CORRECTION, "150000.00")
        back = of_kind(bill_number, person, bill_pb2.BILL_KIND_REVERSAL, BIG)
        apply = settlement_pb2.ApplyCorrectionRequest(name=name, number=1)
        acts: list[Callable[[], object]] = [
            partial(service.claims.SubmitClaim, submission(corrected, wait_s=0)),
            partial(service.settlement.ApplyCorrection, apply),
            partial(withdraw, service, _consent(person)),
        ]
        if number % 2:  # in the other round the withdrawal always ends it
            acts.insert(0, partial(service.review.ReviewClaim, review))
            acts.append(partial(service.claims.SubmitClaim, submission(back, wait_s=0)))
        start = BEGINS[number - 1] % len(acts)
        with ThreadPoolExecutor(len(acts)) as pool:
            for done in [pool.submit(_quietly, act) for act in acts[start:] + acts[:start]]:
                done.result()
        after = got(service, name)
        ends.add(after.state)
        mine = {key: value for key, value in used(service).items() if key[0] == f"p{number}"}
        if after.state == OVER:
            assert mine == {}
        else:
            assert after.state in STANDS
            assert max(amount for amount, _ in mine.values()) > 0
    owed = sum(
        claim.decision.benefit.minor_units
        for claim in service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims
        if claim.state == pb.CLAIM_STATE_PAYABLE
    )
    assert books(service).get("claims:incurred", 0) == owed
    assert ends <= {*STANDS, OVER}


def _quietly(act: Callable[[], object]) -> None:
    """Somebody else may have been faster: that is said, and is no failure of the service."""
    refused = None
    try:
        act()
    except grpc.RpcError as error:
        refused = error.code()
    assert refused in (
        None,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    )


def _hold_up(database: Database) -> None:
    """Until somebody waits for this transaction's locks; in SQLite nobody can be seen to."""
    waits = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND pg_stat_activity.datname = current_database()"
    )
    end = time.monotonic() + 60
    while not database.is_sqlite and time.monotonic() < end:
        with database.reading() as connection:
            if connection.execute(waits).scalar_one():
                return
        time.sleep(0.01)


@pytest.mark.parametrize("act", ["reversal", "withdrawal"])
def test_who_waited_for_a_claim_moves_it_at_a_later_time_than_who_was_waited_for(
    stocked_url: str, act: str
) -> None:
    ahead_us = 0
    with (
        served(stocked_url, workflows=Stuck(), clock=lambda: now_us() + ahead_us) as service,
        ThreadPoolExecutor() as pool,
    ):
        given = of_kind("B1", 100, bill_pb2.BILL_KIND_FINAL, BIG)
        (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
        taken = of_kind("B1", 100, bill_pb2.BILL_KIND_REVERSAL, BIG)
        with service.database.writing() as connection:
            row = store.by_id(connection, claim.name.rpartition("/")[2])
            store.lock(connection, [row.policy_id], [row.person_id])
            acts: dict[str, Callable[[], Any]] = {
                "reversal": lambda: service.hospital.SubmitClaim(submission(taken, wait_s=0)),
                "withdrawal": lambda: withdraw(service, _consent(100)),
            }
            later = pool.submit(acts[act])
            _hold_up(service.database)
            ahead_us = 60_000_000
            moves, at_us = [Event.BEGIN_ADJUDICATION], now_us() + ahead_us
            store.move_on(connection, row.id, ClaimState(row.state), moves, "engine", at_us)
        later.result(60)
        told = got(service, claim.name).moves
    assert [move.to_state for move in told][-1] == OVER
    times = [move.time.ToNanoseconds() for move in told]
    assert times == sorted(times)
