"""SettlementService: each step once, in the member's order, a batch in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from sqlalchemy import Connection, select, text

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import settlement_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.core.life_cycle import ClaimState, Event, IllegalMove
from services.claims.storage import claims as store
from services.claims.storage.sealed import open_bill, sealed_bill
from services.claims.storage.tables import claim as claim_table
from services.common.access.tenant import INSTALLATION
from services.common.grpc_edge import error_of
from tests.services.claims.given import (
    DRUG,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    """Claims whose workflows never come, so that a test takes the steps itself."""
    with served(stocked_url, workflows=Stuck(), most_in_flight=500) as running:
        imported(running, policy(2))
        yield running


def received(service: Served, number: int, *, person: int = 100) -> str:
    given = bill(f"B{number}", line(1, DRUG, f"{8000 + number}.00"), person=person)
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    return str(claim.name)


def test_steps_may_be_repeated_and_change_nothing(service: Served) -> None:
    name = received(service, 1)
    steps = service.settlement
    decided = [steps.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name)) for _ in range(2)]
    assert decided[0] == decided[1]
    # 8,001 yuan are within the deductible.
    assert [answer.state for answer in decided] == [claims_pb2.CLAIM_STATE_CLOSED_ZERO] * 2
    assert moves_of(service, name) == WHOLE_WAY


# The moves of a claim that settles by itself and owes nothing, and who makes them.
WHOLE_WAY = [
    ("receive", "intake"),
    ("register", "intake"),
    ("begin_adjudication", "engine"),
    ("auto_approve", "engine"),
    ("close_without_payment", "engine"),
]


def moves_of(service: Served, name: str) -> list[tuple[str, str]]:
    claim = service.claims.GetClaim(claims_pb2.GetClaimRequest(name=name)).claim
    assert len({move.from_state for move in claim.moves}) == len(claim.moves)
    assert [move.from_state for move in claim.moves[1:]] == [
        move.to_state for move in claim.moves[:-1]
    ]
    assert claim.moves[-1].to_state == claim.state
    return [(move.cause, move.actor) for move in claim.moves]


def test_one_step_does_the_whole_way_and_every_move_is_recorded(service: Served) -> None:
    name = received(service, 1)
    decided = service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name))
    assert decided.state == claims_pb2.CLAIM_STATE_CLOSED_ZERO
    assert moves_of(service, name) == WHOLE_WAY


def test_a_later_claim_of_the_member_waits_its_turn_and_others_do_not(service: Served) -> None:
    first, second, other = (
        received(service, 1),
        received(service, 2),
        received(service, 3, person=101),
    )
    with pytest.raises(grpc.RpcError) as caught:
        service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=second))
    fault = error_of(caught.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.ABORTED, "EARLIER_CLAIM_OPEN")
    assert fault.retry_after_s
    service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=other))
    service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=first))
    decided = service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=second))
    assert decided.benefit == yuan("6003")  # 8,001 + 8,002 less 10,000


def test_a_batch_is_settled_in_one_transaction(service: Served) -> None:
    names = [received(service, number) for number in range(1, 21)]
    batch = pb.SettleClaimsRequest(names=names)
    settled = service.settlement.SettleClaims(batch)
    assert [claim.name for claim in settled.claims] == names
    total = sum(8000 + number for number in range(1, 21)) - 10_000
    assert sum(claim.benefit.minor_units for claim in settled.claims) == total * 100
    assert service.settlement.SettleClaims(batch) == settled
    books = service.claims.CheckBooks(claims_pb2.CheckBooksRequest())
    owed = {balance.account: balance.posted.minor_units for balance in books.balances}
    assert owed == {"claims:incurred": total * 100, "claims:payable": -total * 100}


def test_a_batch_with_an_unknown_claim_does_nothing(service: Served) -> None:
    name = received(service, 1)
    with pytest.raises(grpc.RpcError) as caught:
        service.settlement.SettleClaims(
            pb.SettleClaimsRequest(names=[name, "policies/p1/claims/none"])
        )
    assert error_of(caught.value).code is grpc.StatusCode.NOT_FOUND
    claim = service.claims.GetClaim(claims_pb2.GetClaimRequest(name=name)).claim
    assert claim.state == claims_pb2.CLAIM_STATE_REGISTERED


def test_a_batch_across_policies_and_people_adds_up(service: Served) -> None:
    second = policy(3)
    second.members[0].document.number = id_number(100)
    imported(service, second)
    given = bill("B9", line(1, DRUG, "50000.00"))
    claims = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    names = [claim.name for claim in claims]
    assert len(names) == 2
    settled = service.settlement.SettleClaims(pb.SettleClaimsRequest(names=names))
    benefits = {claim.name.split("/")[1]: claim.benefit for claim in settled.claims}
    assert benefits == {"p1": yuan("40000"), "p3": yuan("10000")}


def test_a_bill_pended_under_the_first_policy_holds_up_only_its_second_policy(
    service: Served,
) -> None:
    second = policy(3)
    second.members[0].document.number = id_number(100)
    imported(service, second)
    large = bill("B1", line(1, DRUG, "500000.00"))  # above the auto-pay ceiling: a person looks
    first, held_up = service.claims.SubmitClaim(submission(large, wait_s=0)).claims
    small = bill("B2", line(1, DRUG, "8000.00"))
    later = service.claims.SubmitClaim(submission(small, wait_s=0)).claims
    decided = service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=first.name))
    assert decided.state == claims_pb2.CLAIM_STATE_PENDED_REVIEW
    with pytest.raises(grpc.RpcError) as caught:
        service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=held_up.name))
    assert error_of(caught.value).reason == "EARLIER_POLICY_PENDED"
    for claim in later:
        decided = service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=claim.name))
        assert decided.state == claims_pb2.CLAIM_STATE_CLOSED_ZERO


def test_a_claim_that_the_engine_refuses_goes_to_a_person_and_blocks_nobody(
    service: Served,
) -> None:
    name, later = received(service, 1), received(service, 2)
    with service.database.writing() as connection:  # what intake would never have let in
        sealer = service.keys.sealer(connection)
        row = store.find_claim(connection, sealer, INSTALLATION, *name.split("/")[1::2])
        assert row is not None
        broken = bill_pb2.Bill.FromString(open_bill(sealer, row))
        broken.lines[0].unit_price = "-1"
        content = broken.SerializeToString()
        columns = sealed_bill(sealer, row.id, row.person_id, content, "B1")
        connection.execute(
            text("UPDATE claim SET bill = :bill WHERE id = :id"),
            {"bill": columns["bill"], "id": row.id},
        )
    batch = pb.SettleClaimsRequest(names=[name, later])
    for _ in range(2):
        first, second = service.settlement.SettleClaims(batch).claims
        assert first.state == claims_pb2.CLAIM_STATE_PENDED_REVIEW
        assert second.state == claims_pb2.CLAIM_STATE_CLOSED_ZERO
    with pytest.raises(grpc.RpcError) as caught:
        service.claims.ExplainClaim(claims_pb2.ExplainClaimRequest(name=name))
    assert error_of(caught.value).reason == "NOT_DECIDED"


def _looking_again(connection: Connection, claim_id: str) -> None:
    store.move_claim(connection, claim_id, Event.BEGIN_ADJUDICATION, "test", 0)


def _by_the_old_look(connection: Connection, claim_id: str) -> None:
    moves = [Event.BEGIN_ADJUDICATION, Event.AUTO_APPROVE]
    store.move_on(connection, claim_id, ClaimState.REGISTERED, moves, "test", 0)


@pytest.mark.parametrize("move", [_looking_again, _by_the_old_look])
def test_a_stalled_writer_cannot_take_a_claim_back(
    postgres_database: str, move: Callable[[Connection, str], None]
) -> None:
    with served(postgres_database, workflows=Stuck()) as running:
        publish(running)
        imported(running, policy(1))
        name = received(running, 1)
        claim_id = name.rpartition("/")[2]

        def stall() -> None:
            with running.database.writing() as stalled:
                look = select(claim_table.c.state).where(claim_table.c.id == claim_id)
                assert stalled.execute(look).scalar_one() == "registered"
                with ThreadPoolExecutor(1) as other:  # meanwhile somebody does the whole batch
                    batch = pb.SettleClaimsRequest(names=[name])
                    other.submit(running.settlement.SettleClaims, batch).result(60)
                move(stalled, claim_id)

        with pytest.raises(IllegalMove):
            stall()
        states = running.claims.GetClaim(claims_pb2.GetClaimRequest(name=name)).claim
        assert states.state == claims_pb2.CLAIM_STATE_CLOSED_ZERO
