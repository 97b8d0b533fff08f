"""Many claims settled at once: in the statements of one, as one by one, and none for another."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import Any

import grpc
import msgspec
import pytest
from sqlalchemy import func, insert, select, text, update
from structlog.testing import capture_logs

from bench.statements import counted
from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import recompute_pb2 as recompute
from lipei.claims.v1 import settlement_pb2 as pb
from lipei.claims.v1.review_pb2 import ReviewClaimRequest
from lipei.type.v1 import bill_pb2
from services.claims.core import canonical
from services.claims.storage import sealed, sweeping
from services.claims.storage.tables import claim, decision, decision_line, decision_share
from services.common.process import now_us
from tests.services.claims.ceilings import (
    CEILING,
    FAMILY,
    MEMBER,
    Shared,
    bills_of,
    in_turn,
    publish_with,
)
from tests.services.claims.given import (
    DRUG,
    SCAN,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
)
from tests.services.claims.serving import Served, Stuck, served
from tests.services.claims.stock import Stock
from tests.services.claims.test_erasure import is_sound
from tests.services.claims.test_reviews import asked

PEOPLE = 16
REGISTERED = claims_pb2.CLAIM_STATE_REGISTERED
PENDED_REVIEW = claims_pb2.CLAIM_STATE_PENDED_REVIEW
PAYABLE = claims_pb2.CLAIM_STATE_PAYABLE


def _filled(url: str) -> None:
    with served(url) as running:
        publish(running)
        imported(running, *(policy(number) for number in range(1, PEOPLE + 1)))


_A_POLICY_EACH = Stock("a_policy_each", _filled)


@pytest.fixture
def stock() -> Stock:
    return _A_POLICY_EACH


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    """Claims whose workflows never come; each of the first people has a policy alone."""
    with served(stocked_url, workflows=Stuck(), most_in_flight=500) as running:
        yield running


def received(service: Served, number: int, *, person: int, lines: int = 1) -> str:
    """A bill above the deductible of 10,000 yuan, of so many lines."""
    charges = [
        line(n, f"XC03000000000{n:02}", f"{20_000 // lines + number}.00")
        for n in range(1, lines + 1)
    ]
    given = bill(f"B{number}", *charges, person=person * 100)
    (made,) = service.claims.SubmitClaim(submission(given, wait_s=0)).claims
    return str(made.name)


def settled(service: Served, names: Sequence[str]) -> list[pb.SettledClaim]:
    return list(service.settlement.SettleClaims(pb.SettleClaimsRequest(names=names)).claims)


def statements(service: Served, names: Sequence[str]) -> int:
    with counted(service.database.engine) as asked:
        assert {one.state for one in settled(service, names)} == {PAYABLE}
    assert asked.commits == 1
    return asked.statements


def test_a_batch_asks_as_many_statements_as_two_claims_whatever_their_lines(
    service: Served,
) -> None:
    people = iter(range(1, PEOPLE + 1))

    def batch(claims: int, lines: int) -> list[str]:
        some = islice(people, claims)
        return [received(service, number, person=number, lines=lines) for number in some]

    statements(service, batch(1, 1))  # the plan is read once
    two = statements(service, batch(2, 5))
    assert statements(service, batch(2, 40)) == two
    assert statements(service, batch(8, 40)) == two
    assert two <= 22
    # The control: one by one, the count grows with the claims.
    names = batch(2, 5)
    with counted(service.database.engine) as asked:
        for name in names:
            service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name))
    assert asked.statements > 1.5 * two


def test_a_claim_alone_asks_no_more_for_forty_lines_than_for_five(service: Served) -> None:
    found = []
    for number, lines in enumerate((1, 5, 40), start=1):
        name = received(service, number, person=number, lines=lines)
        with counted(service.database.engine) as asked:
            service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name))
        found.append(asked.statements)
    assert found[1] == found[2] <= 18


# --- as one by one ---

BILLS = 30
Decided = dict[tuple[str, int], tuple[str, bytes, bytes]]


def given(seed: int) -> list[bill_pb2.Bill]:
    """Bills of three people, some with services of earlier ones, some that wait for a person."""
    pick = random.Random(seed)
    found: list[bill_pb2.Bill] = []
    for number in range(BILLS):
        price = pick.choice(["700.00", "6000.00", f"{pick.randrange(1_000, 30_000)}.00"])
        charges = [line(1, DRUG, price), line(2, SCAN, f"{pick.randrange(200, 900)}.00")]
        day = f"2026-05-{pick.randrange(1, 28):02}"
        made = bill(f"B{number}", *charges, person=pick.choice([100, 200, 300]), days=(day, day))
        if number % 9 == 4:
            made.ClearField("social_insurance")  # waits for papers
        if number % 9 == 7:
            made.lines[0].CopyFrom(line(1, DRUG, "600000.00"))  # above what is paid by itself
        if number % 6 == 5:  # charged again
            made.CopyFrom(found[-3])
            made.bill_number = f"B{number}"
        made.total.minor_units = sum(charge.billed.minor_units for charge in made.lines)
        found.append(made)
    return found


def _submitted(service: Served, seed: int) -> list[str]:
    second = policy(90)
    second.members[0].document.number = id_number(100)  # policy 1's person, coordinated
    imported(service, second)
    names = []
    for one in given(seed):
        names += [
            str(made.name) for made in service.claims.SubmitClaim(submission(one, wait_s=0)).claims
        ]
    return names


def _decisions(service: Served) -> Decided:
    """By policy and order: state, inputs and decision, each claim's id told by its place."""
    with service.database.reading() as connection:
        sealer = service.keys.sealer(connection)
        rows = connection.execute(select(claim).order_by(claim.c.seq)).all()
        names = {row.id.encode(): f"claim-{place}".encode() for place, row in enumerate(rows)}

        def told(content: bytes) -> bytes:
            for claim_id, name in names.items():
                content = content.replace(claim_id, name)
            return content

        found = {}
        for place, row in enumerate(rows):
            inputs = decided = b""
            stored = connection.execute(select(decision).where(decision.c.id == row.decision_id))
            for one in stored:
                inputs = told(sealed.open_inputs_bytes(sealer, one))
                # Hashes hold the claims' ids.
                plain = msgspec.structs.replace(
                    sealed.open_output(sealer, one), input_hash="", output_hash=""
                )
                decided = told(canonical.decision_bytes(plain))
            found[row.policy_id, place] = (row.state, inputs, decided)
    return found


def _served(url: str, seed: int, *, at_once: bool) -> Decided:
    with served(url, workflows=Stuck(), most_in_flight=500) as service:
        publish(service)
        imported(service, *(policy(number) for number in (1, 2, 3)))
        names = _submitted(service, seed)
        if at_once:
            shuffled = random.Random(seed).sample(names, len(names))
            assert [one.name for one in settled(service, shuffled)] == shuffled
        else:
            for name in names:
                _alone(service, name)
        replayed = service.recompute.ReplayClaims(recompute.ReplayClaimsRequest())
        assert (len(replayed.differences), replayed.same_count > BILLS // 2) == (0, True)
        assert is_sound(service)
        return _decisions(service)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Decided]:
    """What is decided of the bills of a seed one by one, asked once for both databases."""

    @cache
    def of(seed: int) -> Decided:
        url = f"sqlite:///{tmp_path_factory.mktemp('one')}/one.db"
        return _served(url, seed, at_once=False)

    return of


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(one, marks=pytest.mark.fault) for one in (2, 3))]
)
def test_a_batch_decides_as_one_by_one(
    database_url: str, one_by_one: Callable[[int], Decided], seed: int
) -> None:
    by_one = one_by_one(seed)
    assert _served(database_url, seed, at_once=True) == by_one
    states = {state for state, _, _ in by_one.values()}
    assert {"payable", "pended_info", "pended_review", "registered"} <= states
    assert b'"earlier_claim":"policies/' in b"".join(out for _, _, out in by_one.values())
    assert b'"payments":[{' in b"".join(inputs for _, inputs, _ in by_one.values())


def _alone(service: Served, name: str) -> None:
    try:
        service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:
            raise


# --- one claim's fault ---


def _database_refuses(service: Served, claim_id: str) -> None:
    """Somebody has written a decision of nothing in the place of the claim's first one."""
    columns: dict[str, Any] = {
        column.name: b"" if column.name in _SEALED else 0 for column in decision.c
    }
    texts = ("plan_version", "engine_version", "commitment", "currency")
    with service.database.writing() as connection:
        row = connection.execute(select(claim).where(claim.c.id == claim_id)).one()
        columns |= dict.fromkeys(texts, "")
        columns |= {"id": f"of-{claim_id[:20]}", "claim_id": claim_id, "person_id": row.person_id}
        connection.execute(insert(decision), columns)


def _bill_is_no_bill(service: Served, claim_id: str) -> None:
    with service.database.writing() as connection:
        mine = update(claim).where(claim.c.id == claim_id)
        connection.execute(mine.values(bill=b"\x02\x00\x01" + bytes(40)))


_SEALED = ("salt", "inputs", "output", "services")


@pytest.mark.parametrize(
    "poison",
    [pytest.param(_database_refuses, marks=pytest.mark.both_databases), _bill_is_no_bill],
)
def test_a_poisoned_claim_is_left_and_costs_only_its_members_later_ones(
    service: Served, poison: Callable[[Served, str], None]
) -> None:
    names = [received(service, number, person=number) for number in range(1, 6)]
    later = received(service, 40, person=3)
    poison(service, names[2].split("/")[3])
    for _ in range(2):  # repeating changes nothing
        with capture_logs() as log:
            found = {one.name: one.state for one in settled(service, [later, *names])}
        assert {one["claim"] for one in log if one["event"] == "unsettled"} == {
            names[2].split("/")[3]
        }
        assert found == {
            **dict.fromkeys(names, PAYABLE),
            **dict.fromkeys((names[2], later), REGISTERED),
        }
    with service.database.reading() as connection:
        for table in (decision_line, decision_share):
            stray = select(func.count()).where(table.c.decision_id.not_in(select(decision.c.id)))
            assert connection.execute(stray).scalar_one() == 0
        held = text("SELECT count(*) FROM usage_balance WHERE policy_id = 'p3'")
        assert connection.execute(held).scalar_one() == 0
        left = sweeping.not_started(
            connection, unstarted_since_us=now_us() + 1, stale_since_us=0, most=50
        )
    # Whoever was left gets a workflow of their own.
    assert {f"policies/{one}/claims/{of}" for one, of in left} == {names[2], later}
    assert is_sound(service)


@pytest.mark.parametrize("poison", [_database_refuses, _bill_is_no_bill])
def test_a_poisoned_follower_costs_neither_the_reviewer_nor_the_next_one(
    service: Served, poison: Callable[[Served, str], None]
) -> None:
    """Claims that wait for an earlier policy's, which a person decides."""
    opened = []
    for number in (1, 2):
        second = policy(number + 40)
        second.members[0].document.number = id_number(number * 100)
        imported(service, second)
        given = bill(f"B{number}", line(1, DRUG, "200000.00"), person=number * 100)
        answer = service.claims.SubmitClaim(submission(given, wait_s=0))
        opened.append([one.name for one in answer.claims])
    firsts, (at_fault, follows) = zip(*opened, strict=True)
    assert [one.state for one in settled(service, firsts)] == [PENDED_REVIEW] * 2
    poison(service, at_fault.split("/")[3])
    for name in firsts:
        found = service.claims.GetClaim(claims_pb2.GetClaimRequest(name=name)).claim
        with capture_logs() as log:
            assert (
                service.review.ReviewClaim(asked(ReviewClaimRequest, found)).claim.state == PAYABLE
            )
        assert [one["claim"] for one in log if one["event"] == "unsettled"] == [
            at_fault.split("/")[3]
        ]
    found = service.claims.GetClaim(claims_pb2.GetClaimRequest(name=follows)).claim
    assert found.decision.lines
    assert is_sound(service)


def test_when_no_claim_can_be_settled_the_fault_is_the_answer(service: Served) -> None:
    name = received(service, 1, person=1)
    _bill_is_no_bill(service, name.split("/")[3])
    with pytest.raises(grpc.RpcError):
        settled(service, [name])


@pytest.mark.on_postgresql
def test_a_claim_that_pends_in_a_batch_gets_its_own_timer(service: Served) -> None:
    lacking = bill("B1", line(1, DRUG, "20000.00"))
    lacking.ClearField("social_insurance")
    (pends,) = service.claims.SubmitClaim(submission(lacking, wait_s=0)).claims
    others = [received(service, number, person=number) for number in (2, 3)]
    found = [one.state for one in settled(service, [pends.name, *others])]
    assert found == [claims_pb2.CLAIM_STATE_PENDED_INFO, PAYABLE, PAYABLE]
    with service.database.reading() as connection:
        (untimed,) = sweeping.papers_untimed(connection, now_us(), 50)
    assert untimed.id == pends.name.split("/")[3]


def test_a_claim_that_waits_for_one_outside_the_batch_is_left(service: Served) -> None:
    first, second = (received(service, number, person=1) for number in (1, 2))
    other = received(service, 3, person=2)
    assert [one.state for one in settled(service, [second, other])] == [REGISTERED, PAYABLE]
    assert [one.state for one in settled(service, [second, first])] == [PAYABLE, PAYABLE]


# --- at once ---


@pytest.mark.both_databases
@pytest.mark.parametrize("shared", [MEMBER, FAMILY], ids=lambda shared: shared.scope)
def test_batches_at_once_pay_exactly_the_ceiling(database_url: str, shared: Shared) -> None:
    with served(database_url, workflows=Stuck(), most_in_flight=500) as service:
        publish_with(service, shared)
        imported(service, policy(1, people=shared.people))
        names = [
            str(service.claims.SubmitClaim(submission(one, wait_s=0)).claims[0].name)
            for one in bills_of(1, shared)
        ]

        def until_settled(some: list[str]) -> None:
            while any(one.state == REGISTERED for one in settled(service, some)):
                continue

        with ThreadPoolExecutor(4) as callers:
            list(callers.map(until_settled, (names[at::4] for at in range(4))))
        paid = [one.benefit.minor_units // 100 for one in settled(service, names)]
        assert sum(paid) == CEILING, paid
        assert shared is FAMILY or in_turn(paid), paid
