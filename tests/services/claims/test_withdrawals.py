"""When a consent is withdrawn, what is undecided ends, as if it had never been; both databases.

Over a real socket.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from sqlalchemy import select, update

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import settlement_pb2
from lipei.type.v1 import bill_pb2
from services.claims.core.life_cycle import ClaimState
from services.claims.storage.tables import claim as claim_table
from services.claims.storage.tables import usage_balance
from services.common.grpc_edge import RpcFault, error_of
from tests.callers import Reads
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
from tests.services.claims.test_reviews import paid

ALL = CONSENT, OTHER, THIRD = [f"hospitals/general/consents/{one}" for one in ("c1", "c2", "c3")]
CT, OTHER_HOSPITAL = "002103000010000", "H99000100002"
# Above the ceiling for payment without a look: 100,000 yuan.
BIG = "200000.00"


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    """Claims whose workflows never come, so that a test takes the steps itself."""
    with served(stocked_url, workflows=Stuck(), most_in_flight=500) as running:
        imported(running, policy(2))
        yield running


def sent(number: str, *lines: bill_pb2.BillLine, consent: str = CONSENT, **more: Any) -> Any:
    """A bill as it leaves a hospital."""
    given = bill(number, *lines, **more)
    given.name = f"hospitals/general/bills/{number}"
    given.consent = consent
    return given


def taken(service: Served, given: Any) -> str:
    (claim,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    return str(claim.name)


def decide(service: Served, name: str) -> Any:
    return service.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=name))


def withdraw(service: Served, *consents: str, request_id: str = "") -> pb.WithdrawClaimsResponse:
    request = pb.WithdrawClaimsRequest(
        request_id=request_id or uuid.uuid4().hex, consents=consents or [CONSENT]
    )
    answer: pb.WithdrawClaimsResponse = service.hospital.WithdrawClaims(request)
    return answer


def got(service: Served, name: str) -> pb.Claim:
    claim: pb.Claim = service.claims.GetClaim(pb.GetClaimRequest(name=name)).claim
    return claim


def refused(call: Any, request: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return error_of(caught.value)


def used(service: Served) -> dict[tuple[str, ...], tuple[int, int]]:
    """Accumulators that are not empty."""
    with service.database.reading() as connection:
        rows = connection.execute(select(usage_balance)).all()
    return {
        (row.policy_id, row.subject, row.accumulator, row.scope, row.period_start): (
            row.amount,
            row.uses,
        )
        for row in rows
        if row.amount or row.uses
    }


def test_a_claim_that_is_not_decided_ends(service: Served) -> None:
    name, later = taken(service, sent("B1")), taken(service, sent("B2", consent=OTHER))
    answer = withdraw(service)
    assert (list(answer.withdrawn_claims), answer.kept_count) == ([name], 0)
    claim = got(service, name)
    assert (claim.state, claim.consent) == (pb.CLAIM_STATE_WITHDRAWN, CONSENT)
    last = claim.moves[-1]
    assert (last.cause, last.actor, last.clock) == ("withdraw", "consent", "end")
    # Its workflow ends with its next step, and the member's next claim need not wait.
    ended = decide(service, name)
    assert (ended.state, ended.output_hash) == (pb.CLAIM_STATE_WITHDRAWN, "")
    assert decide(service, later).state == pb.CLAIM_STATE_PAYABLE


def test_a_pended_claim_ends_and_gives_back_exactly_what_it_used(service: Served) -> None:
    first = taken(service, sent("B1", consent=OTHER))
    decide(service, first)
    before = used(service)
    pended = taken(service, sent("B2", line(1, DRUG, BIG), line(2, CT, "600.00")))
    assert decide(service, pended).state == pb.CLAIM_STATE_PENDED_REVIEW
    assert used(service) != before
    assert list(withdraw(service).withdrawn_claims) == [pended]
    assert used(service) == before
    # What comes next is decided as if it had never been: the same scan elsewhere, soon after.
    again = sent("B3", line(1, CT, "600.00"), consent=OTHER, days=("2026-05-12",) * 2)
    again.provider_id = OTHER_HOSPITAL
    decided = decide(service, taken(service, again))
    assert decided.benefit == yuan("600")
    books = service.claims.CheckBooks(pb.CheckBooksRequest())
    assert (books.ledger_sum_minor_units, books.conservation_violations) == (0, 0)


def test_the_control_without_a_withdrawal_the_scan_is_a_repetition(service: Served) -> None:
    decide(service, taken(service, sent("B1", consent=OTHER)))
    pended = taken(service, sent("B2", line(1, DRUG, BIG), line(2, CT, "600.00")))
    decide(service, pended)
    again = sent("B3", line(1, CT, "600.00"), consent=OTHER, days=("2026-05-12",) * 2)
    again.provider_id = OTHER_HOSPITAL
    assert decide(service, taken(service, again)).benefit == yuan("0")


def test_what_is_decided_stays(service: Served) -> None:
    small = sent("B1", line(1, DRUG, "8000.00"))  # within the deductible
    late = sent("B3", days=("2026-01-05", "2026-01-08"))  # within the waiting period
    names = [taken(service, one) for one in (small, sent("B2"), late)]
    states = [decide(service, name).state for name in names]
    assert states == [
        pb.CLAIM_STATE_CLOSED_ZERO,
        pb.CLAIM_STATE_PAYABLE,
        pb.CLAIM_STATE_DENIED,
    ]
    before = used(service)
    answer = withdraw(service)
    assert (list(answer.withdrawn_claims), answer.kept_count) == ([], 3)
    assert [got(service, name).state for name in names] == states
    assert used(service) == before


def test_what_was_paid_and_is_looked_at_again_stays_and_holds_what_it_used(
    service: Served,
) -> None:
    name = taken(service, sent("B1", line(1, DRUG, "30000.00")))
    decide(service, name)
    claim = paid(service, got(service, name))
    with service.database.writing() as connection:
        # As an appeal that was overturned leaves it.
        again = update(claim_table).where(claim_table.c.id == name.rpartition("/")[2])
        connection.execute(again.values(state=ClaimState.PENDED_REVIEW.value))
    before = used(service)
    answer = withdraw(service)
    assert (list(answer.withdrawn_claims), answer.kept_count) == ([], 1)
    # Were it ended, its ceiling would be free to be paid a second time.
    assert used(service) == before
    after = got(service, name)
    assert (after.state, after.paid) == (pb.CLAIM_STATE_PENDED_REVIEW, claim.decision.benefit)


def test_a_bill_that_arrives_after_the_withdrawal_opens_nothing(service: Served) -> None:
    withdraw(service)
    fault = refused(service.claims.SubmitClaim, submission(sent("B1"), wait_s=0))
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CONSENT_WITHDRAWN",
    )
    assert not service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims
    # Under another consent it does.
    assert got(service, taken(service, sent("B1", consent=OTHER))).consent == OTHER


def test_a_bill_that_was_taken_before_is_answered_with_its_withdrawn_claim(
    service: Served,
) -> None:
    """The hospital did not hear the first answer, and repeats its request."""
    request = submission(sent("B1"), wait_s=0)
    (first,) = service.claims.SubmitClaim(request).claims
    withdraw(service)
    (again,) = service.claims.SubmitClaim(request).claims
    assert (again.name, again.state) == (first.name, pb.CLAIM_STATE_WITHDRAWN)
    # A new consent does not open it anew.
    (later,) = service.claims.SubmitClaim(submission(sent("B1", consent=OTHER), wait_s=0)).claims
    assert (later.name, later.state) == (first.name, pb.CLAIM_STATE_WITHDRAWN)


def test_one_bill_under_two_policies_ends_twice(service: Served) -> None:
    second_policy = policy(3)
    second_policy.members[0].document.number = id_number(100)
    imported(service, second_policy)
    answer = service.claims.SubmitClaim(submission(sent("B1", line(1, DRUG, BIG)), wait_s=0))
    first, second = (claim.name for claim in answer.claims)
    assert decide(service, first).state == pb.CLAIM_STATE_PENDED_REVIEW
    assert list(withdraw(service).withdrawn_claims) == [first, second]
    assert decide(service, second).state == pb.CLAIM_STATE_WITHDRAWN


def test_repeating_the_call_changes_nothing(service: Served) -> None:
    name = taken(service, sent("B1"))
    first = withdraw(service, CONSENT, OTHER, request_id="once")
    assert withdraw(service, CONSENT, OTHER, request_id="once") == first
    assert list(withdraw(service).withdrawn_claims) == [name]
    assert [move.cause for move in got(service, name).moves].count("withdraw") == 1
    request = pb.WithdrawClaimsRequest(request_id="once", consents=[CONSENT])
    fault = refused(service.hospital.WithdrawClaims, request)
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_a_bad_request_is_told_everything_at_once(service: Served) -> None:
    request = pb.WithdrawClaimsRequest(request_id="", consents=["hospitals/general", CONSENT])
    fault = refused(service.hospital.WithdrawClaims, request)
    assert {v.field for v in fault.violations} == {"request_id", "consents[0]"}
    none = pb.WithdrawClaimsRequest(request_id="r")
    assert [v.field for v in refused(service.hospital.WithdrawClaims, none).violations] == [
        "consents"
    ]


@pytest.mark.parametrize(
    ("name", "consent", "reason"),
    [
        ("hospitals/general/bills/1", "", "MISSING"),
        ("hospitals/general/bills/1", "hospitals/other/consents/c1", "CONTRADICTS"),
        ("", "consents/c1", "NOT_A_NAME"),
    ],
)
def test_a_hospitals_bill_names_its_own_consent(
    service: Served, name: str, consent: str, reason: str
) -> None:
    given = bill("B1")
    given.name, given.consent = name, consent
    fault = refused(service.claims.SubmitClaim, submission(given, wait_s=0))
    assert [(v.field, v.reason) for v in fault.violations] == [("bill.consent", reason)]


@pytest.mark.both_databases
def test_bills_and_a_withdrawal_at_once_leave_nothing_undecided(service: Served) -> None:
    """Whoever comes first: each bill is refused, or its claim is withdrawn."""
    for round_ in range(6):
        consent = f"hospitals/general/consents/r{round_}"
        numbers = [f"R{round_}-{n}" for n in range(6)]

        def hand_in(number: str, consent: str = consent) -> str:
            given = sent(number, consent=consent, person=100 + int(number[-1]) % 2)
            try:
                return taken(service, given)
            except grpc.RpcError as error:
                return error_of(error).reason

        with ThreadPoolExecutor(7) as pool:
            answers = [pool.submit(hand_in, number) for number in numbers[:3]]
            ended = pool.submit(withdraw, service, consent)
            answers += [pool.submit(hand_in, number) for number in numbers[3:]]
            told = [answer.result() for answer in answers]
            withdrawn = set(ended.result().withdrawn_claims)
        opened = {one for one in told if one != "CONSENT_WITHDRAWN"}
        assert opened == withdrawn
        with service.database.reading() as connection:
            states = connection.execute(
                select(claim_table.c.state).where(claim_table.c.consent == consent)
            ).scalars()
            assert set(states) <= {"withdrawn"}


@pytest.mark.both_databases
def test_a_decision_and_a_withdrawal_at_once_take_turns(service: Served) -> None:
    """Decided to pend first or not at all: either way the claim ends and uses nothing up."""
    for round_ in range(8):
        consent = f"hospitals/general/consents/d{round_}"
        before = used(service)
        name = taken(service, sent(f"D{round_}", line(1, DRUG, BIG), consent=consent))
        with ThreadPoolExecutor(2) as pool:
            deciding = pool.submit(decide, service, name)
            ending = pool.submit(withdraw, service, consent)
            deciding.result()
            ending.result()
        assert got(service, name).state == pb.CLAIM_STATE_WITHDRAWN
        assert used(service) == before


@pytest.mark.on_postgresql
def test_a_read_after_the_withdrawal_does_not_rest_on_it(database_url: str) -> None:
    reads = Reads()
    with served(database_url, workflows=Stuck(), append=reads.append) as service:
        publish(service)
        imported(service, policy(1, people=2))
        names = [taken(service, sent(f"B{n}", consent=one)) for n, one in enumerate(ALL)]

        def grounds() -> list[str]:
            """The consent in the leaf of each claim's read: listed, shown, explained."""
            found = []
            for look in (
                lambda: service.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")),
                lambda: [got(service, name) for name in names],
            ):
                del reads.kept[:]
                look()
                found.append({read.record: read.consent for read in reads.kept})
            assert found[0] == found[1]
            return [found[0][name] for name in names]

        for name in names:
            decide(service, name)
        assert grounds() == ALL
        withdraw(service, CONSENT)
        assert grounds() == ["", OTHER, THIRD]
        request = pb.WithdrawClaimsRequest(request_id="replaced", replaced_consents=[OTHER])
        answer = service.hospital.WithdrawClaims(request)
        assert (list(answer.withdrawn_claims), answer.kept_count) == ([], 0)
        assert grounds() == ["", "", THIRD]
        assert got(service, names[1]).state != pb.CLAIM_STATE_WITHDRAWN
        assert got(service, names[1]).consent == OTHER  # what the bill left under is history
        fault = refused(service.claims.SubmitClaim, submission(sent("B9", consent=OTHER), wait_s=0))
        assert fault.reason == "CONSENT_WITHDRAWN"
