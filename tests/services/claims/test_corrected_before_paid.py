"""A bill is corrected after its claim is owed and before the bank has the money: paid once.

On both databases, the corrections and the payout run in either order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import settlement_pb2
from services.claims import adjusting
from services.claims.core.ledger import PAYABLE
from services.claims.desk import Desk
from services.claims.paying import Payments
from services.claims.payout_steps import PayingAccount
from services.claims.payouts.bank import Bank
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import claims as store
from services.claims.storage.payout_tables import payout
from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import claim as claim_table
from services.common.access.caller import Caller
from services.common.process import now_us
from tests.services.claims.given import DRUG, imported, line, policy, publish, submission, yuan
from tests.services.claims.serving import INSURER, Served, Stuck, served
from tests.services.claims.test_corrections import BIG, CUT, apply, corrected
from tests.services.claims.test_reviews import books, decided, got, paid, reviewed, used
from tests.tenants import of_insurer

# Of 30,000 the deductible takes 10,000.
OWED = 2_000_000


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    caller: Callable[[], Caller] = of_insurer
    running = served(stocked_url, workflows=Stuck(), most_in_flight=500, caller=caller)
    with running as made:
        yield made


def corrects(service: Served, price: str) -> None:
    """The hospital's corrected bill is taken in; nothing has looked at it yet."""
    given = corrected("B1", line(1, DRUG, price))
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    assert claim.corrected


def gather(service: Served) -> int:
    """How many payouts a payout run puts on a file."""
    request = settlement_pb2.GatherPayoutsRequest(paying_account="main")
    found: settlement_pb2.GatherPayoutsResponse = service.settlement.GatherPayouts(request)
    return found.payouts


def payouts(service: Served) -> list[int]:
    with service.database.reading() as connection:
        return list(connection.execute(select(payout.c.amount)).scalars())


@pytest.mark.parametrize(
    ("price", "state", "benefit"),
    [
        ("40000.00", pb.CLAIM_STATE_PAYABLE, 3_000_000),
        ("12000.00", pb.CLAIM_STATE_PAYABLE, 200_000),
        ("30000.01", pb.CLAIM_STATE_PAYABLE, 2_000_001),
        ("9000.00", pb.CLAIM_STATE_CLOSED_ZERO, 0),
        (BIG, pb.CLAIM_STATE_PENDED_REVIEW, 19_000_000),
    ],
)
def test_only_what_the_corrected_bill_comes_to_is_owed_and_paid(
    service: Served, price: str, state: pb.ClaimState.ValueType, benefit: int
) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    assert books(service)[PAYABLE] == -OWED
    corrects(service, price)
    assert gather(service) == 0  # it waits for the new decision
    answer = apply(service, claim.name)
    assert (answer.state, answer.held) == (state, False)
    owed = benefit if state == pb.CLAIM_STATE_PAYABLE else 0
    assert books(service).get(PAYABLE, 0) == -owed
    assert books(service).get("claims:incurred", 0) == owed
    assert gather(service) == bool(owed)
    assert payouts(service) == ([owed] if owed else [])
    after = got(service, claim.name)
    assert after.decision.benefit.minor_units == benefit
    assert not after.HasField("recoverable")
    causes = [move.cause for move in after.moves]
    assert causes[causes.index("decide_anew") - 1] == "release_payment"
    if owed:  # of the deductible and the ceilings exactly what this decision uses
        assert {amount for amount, _ in used(service).values()} == {1_000_000, benefit}
    service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    assert apply(service, claim.name).benefit.minor_units == benefit  # repeated, nothing happens


def test_the_control_what_nobody_corrects_is_gathered_at_once(service: Served) -> None:
    decided(service, "B1", line(1, DRUG, "30000.00"))
    assert gather(service) == 1
    assert payouts(service) == [OWED]


def test_a_claim_whose_lines_a_person_cut_goes_back_to_a_person_unpaid(service: Served) -> None:
    cut = reviewed(service, decided(service, "B1", line(1, DRUG, BIG)), CUT)
    assert cut.state == pb.CLAIM_STATE_PAYABLE
    corrects(service, "90000.00")
    assert apply(service, cut.name).state == pb.CLAIM_STATE_PENDED_REVIEW
    assert (books(service), gather(service)) == ({}, 0)
    after = reviewed(service, got(service, cut.name))
    assert (after.state, after.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("80000"))
    assert gather(service) == 1


def test_what_the_engine_cannot_decide_any_more_is_a_persons_and_is_not_paid(
    service: Served,
) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    corrects(service, "40000.00")
    with service.database.writing() as connection:
        row = row_of(connection, claim)
        service.keys.sealer(connection).destroy(person_subject(row.person_id))
    answer = apply(service, claim.name)
    assert (answer.state, answer.held) == (pb.CLAIM_STATE_PENDED_REVIEW, True)
    assert (books(service), gather(service)) == ({}, 0)


def test_a_claim_that_was_paid_before_is_paid_the_rest_and_adjusted_then(service: Served) -> None:
    """No move leads to both a payout and a recovery."""
    claim = paid(service, decided(service, "B1", line(1, DRUG, "30000.00")))
    corrects(service, "31000.00")
    apply(service, claim.name)
    corrects(service, "32000.00")
    assert apply(service, claim.name, 2).state == pb.CLAIM_STATE_PAYABLE
    assert got(service, claim.name).decision.benefit == yuan("21000")
    assert gather(service) == 1
    assert payouts(service) == [100_000]
    with service.database.writing() as connection:
        answered = update(claim_table).values(state="paid", paid=claim_table.c.benefit)
        connection.execute(answered)
    assert apply(service, claim.name, 2).benefit == yuan("22000")


# ----------------------------------------------------------------- a payout run at the same time


def row_of(connection: Connection, claim: pb.Claim) -> Any:
    return store.by_id(connection, claim.name.rpartition("/")[2])


@contextmanager
def unfinished(service: Served, work: Callable[[Connection], object]) -> Iterator[None]:
    """The work is done, and committed when the block ends."""
    done, go_on = threading.Event(), threading.Event()

    def held() -> None:
        with service.database.writing() as connection:
            work(connection)
            done.set()
            assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(held)
        try:
            assert done.wait(60)
            yield
        finally:
            go_on.set()
            holding.result(60)


def begun(pool: ThreadPoolExecutor, call: Callable[[], Any]) -> Future[Any]:
    """The call, with time enough to come as far as it can."""
    future = pool.submit(call)
    time.sleep(0.5)
    return future


def adjusts(service: Served, claim: pb.Claim, connection: Connection) -> None:
    desk = Desk(connection, service.keys.sealer(connection), PlanShelf(), lambda: 1)
    row = row_of(connection, claim)
    store.lock(connection, [row.policy_id], [row.person_id])
    adjusting.adjust(desk, row_of(connection, claim))


def gathers(service: Served, connection: Connection) -> None:
    paying = PayingAccount(name="main", debtor=INSURER)
    bank = Bank("http://127.0.0.1:9")
    payments = Payments(service.database, bank, service.keys, paying, now_us=now_us)
    payments.gathers(connection, 500)


@pytest.mark.on_postgresql
def test_a_run_that_comes_during_the_correction_pays_the_new_amount_only(service: Served) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    corrects(service, "40000.00")
    with ThreadPoolExecutor(1) as pool:
        with unfinished(service, lambda connection: adjusts(service, claim, connection)):
            run = begun(pool, lambda: gather(service))
        found = run.result(60) + gather(service)
    assert (found, payouts(service)) == (1, [3_000_000])
    assert books(service)["claims:incurred"] == 3_000_000


@pytest.mark.on_postgresql
def test_a_correction_that_comes_during_the_run_waits_for_the_bank(service: Served) -> None:
    claim = decided(service, "B1", line(1, DRUG, "30000.00"))
    with ThreadPoolExecutor(1) as pool:
        with unfinished(service, lambda connection: gathers(service, connection)):
            late = begun(pool, lambda: corrects_and_applies(service, claim))
        assert late.result(60) == pb.CLAIM_STATE_PAYMENT_SENT
    assert payouts(service) == [OWED]
    assert books(service)["claims:incurred"] == OWED
    paid(service, claim)
    assert apply(service, claim.name).state == pb.CLAIM_STATE_PAYABLE  # of the difference
    assert books(service)["claims:incurred"] == 3_000_000


def corrects_and_applies(service: Served, claim: pb.Claim) -> pb.ClaimState.ValueType:
    given = corrected("B1", line(1, DRUG, "40000.00"))
    service.claims.SubmitClaim(submission(given, wait_s=0))
    return apply(service, claim.name).state


def test_the_control_who_does_not_look_at_where_it_stands_owes_what_is_not_paid(
    postgres_database: str,
) -> None:
    """What the race would cost: the same order, and a decision written by the claim's id alone.

    SQLite has one writer at a time, and so no such order.
    """
    with served(postgres_database, workflows=Stuck(), caller=of_insurer) as service:
        publish(service)
        imported(service, policy(1))
        claim = decided(service, "B1", line(1, DRUG, "30000.00"))

        def careless() -> None:
            with service.database.writing() as connection:
                row = row_of(connection, claim)
                assert row.state == "payable"
                store.stay(connection, row.id, owed=3_000_000, benefit=3_000_000)

        with ThreadPoolExecutor(1) as pool:
            with unfinished(service, lambda connection: gathers(service, connection)):
                late = begun(pool, careless)
            late.result(60)
        with service.database.reading() as connection:
            row = row_of(connection, claim)
        assert (row.state, row.owed, payouts(service)) == ("payment_sent", 3_000_000, [OWED])
