"""A period under another plan: what it would pay, on both databases; nothing of it is stored."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
import msgspec
import pytest
from sqlalchemy import MetaData, select, text

from lipei.claims.v1 import claims_pb2, reason_pb2, review_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from lipei.type.v1 import access_pb2, bill_pb2
from services.claims.core.canonical import decision_bytes, decision_from, output_hash
from services.claims.core.decision import ENGINE_VERSION
from services.claims.storage.tables import metadata
from services.common.access.caller import Caller
from services.common.refusals import RpcFault, error_of
from tests.callers import Reads, caller
from tests.services.claims.given import (
    DRUG,
    PLAN,
    PLANS,
    SCAN,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
)
from tests.services.claims.serving import Served, served, token
from tests.services.claims.stock import Stock
from tests.services.claims.test_replays import in_clear, rewritten, unlocked
from tests.services.claims.test_what_if_stops import soon, that_never_answer
from tests.tenants import of_insurer

CT = "002103000010000"
TEXT = (PLANS / f"{PLAN}.yaml").read_text("utf-8")
DEDUCTIBLE = '    unit: CNY\n    values: {2024-01-01: "10000.00"}\n\nshares:'
UP, DOWN, SAME = (
    pb.WHAT_IF_CHANGE_UP,
    pb.WHAT_IF_CHANGE_DOWN,
    pb.WHAT_IF_CHANGE_SAME,
)


class Clock:
    """The service's time, in days of 2026 as they are in Shanghai at noon."""

    def __init__(self) -> None:
        self.day = "2026-06-10"

    def __call__(self) -> int:
        noon = datetime.fromisoformat(f"{self.day}T04:00:00").replace(tzinfo=UTC)
        return int(noon.timestamp()) * 1_000_000


class Desk:
    """Who calls."""

    def __init__(self) -> None:
        self.who: Caller = of_insurer()


@pytest.fixture
def stock() -> Stock:
    return _AT_NOON


def _filled(url: str) -> None:
    with served(url, clock=Clock()) as service:
        publish(service)
        imported(service, policy(1, people=2))


_AT_NOON = Stock("insured_2_at_noon", _filled)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def log() -> Reads:
    return Reads()


@pytest.fixture
def both(stocked_url: str, clock: Clock, desk: Desk, log: Reads) -> Iterator[Served]:
    how: dict[str, Any] = {"clock": clock, "append": log.append, "caller": lambda: desk.who}
    with served(stocked_url, **how) as running:
        yield running


def with_terms(*changes: tuple[str, str]) -> bytes:
    """The plan's next version."""
    new = TEXT
    for old, changed in changes:
        assert new.count(old) == 1
        new = new.replace(old, changed)
    return new.encode()


def deductible(yuan: str) -> tuple[str, str]:
    return DEDUCTIBLE, DEDUCTIBLE.replace("10000.00", yuan)


def decided(service: Served, number: str, *lines: bill_pb2.BillLine, **more: Any) -> str:
    (claim,) = service.claims.SubmitClaim(submission(bill(number, *lines, **more))).claims
    return str(claim.name)


def what_if(
    service: Served, plan: bytes, first: str = "2026-01-01", last: str = "2026-12-31", **more: Any
) -> Sequence[pb.DecideWhatIfResponse]:
    request = pb.DecideWhatIfRequest(yaml=plan, first_date=first, last_date=last, **more)
    return list(service.recompute.DecideWhatIf(request))


def summary(*args: Any, **more: Any) -> pb.WhatIfSummary:
    *_, last = what_if(*args, **more)
    return last.summary


def refused(*args: Any, **more: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        what_if(*args, **more)
    return error_of(caught.value)


def paid(told: pb.WhatIfSummary) -> tuple[int, int]:
    """Before and after, in fen."""
    return told.before.minor_units, told.after.minor_units


def causes(told: pb.WhatIfSummary) -> list[tuple[int, str, int]]:
    """Why claims are undecidable, what about, and how many."""
    return [(one.cause, one.about, one.claims) for one in told.undecidable]


def by_claim(answers: Sequence[pb.DecideWhatIfResponse]) -> dict[str, tuple[int, int, int]]:
    """Name -> before, after and what became of it."""
    return {
        one.name: (one.before.minor_units, one.after.minor_units, one.change)
        for answer in answers
        for one in answer.claims
    }


def content(service: Served) -> dict[str, list[Any]]:
    """Every row of every table of the database, whatever tables there are."""
    found = MetaData()
    with service.database.reading() as connection:
        found.reflect(connection)
        return {
            name: sorted(map(repr, connection.execute(select(table))))
            for name, table in found.tables.items()
        }


def test_under_the_very_same_plan_nothing_differs(both: Served) -> None:
    decided(both, "B1")
    decided(both, "B2", line(1, DRUG, "3000.00"), line(2, SCAN, "500.00", "2"))
    decided(both, "B3", line(1, DRUG, "9000.00"), person=101)
    decided(both, "B4", line(1, CT, "800.00"), days=("2026-05-20", "2026-05-20"))
    answers = what_if(both, TEXT.encode(), every_claim=True)
    told = answers[-1].summary
    assert (told.claims, told.members) == (4, 2)
    before, after = paid(told)
    assert before == after > 0
    assert {change for _, _, change in by_claim(answers).values()} == {SAME}
    assert not told.claims_that_move
    assert not told.members_that_move
    assert all(share.before == share.after for share in told.shares)
    assert told.plan_version in told.instead_of


def by_engine(service: Served, name: str, engine: str, less: int) -> None:
    """The decision as that engine would have made it, had it paid so much less."""

    def otherwise(content: bytes) -> bytes:
        made = decision_from(content)
        made = msgspec.structs.replace(made, engine_version=engine, benefit=made.benefit - less)
        return decision_bytes(msgspec.structs.replace(made, output_hash=output_hash(made)))

    rewritten(service, name, "output", otherwise)
    in_clear(service, name, engine_version=engine)


def test_what_an_earlier_engine_decided_otherwise_is_not_laid_at_the_plans_door(
    both: Served,
) -> None:
    prices = ("20000.00", "3000.00", "4000.00")
    names = [decided(both, f"B{at}", line(1, DRUG, price)) for at, price in enumerate(prices)]
    before = [
        value[0] for value in by_claim(what_if(both, TEXT.encode(), every_claim=True)).values()
    ]
    unlocked(both)
    by_engine(both, names[0], "1", less=before[0])
    by_engine(both, names[1], "1", less=0)
    by_engine(both, names[2], ENGINE_VERSION, less=100)  # altered, and by no earlier engine
    answers = what_if(both, TEXT.encode(), every_claim=True)
    told = answers[-1].summary
    assert by_claim(answers)[names[0]] == (0, before[0], pb.WHAT_IF_CHANGE_NEWLY_PAID)
    assert by_claim(answers)[names[2]] == (before[2] - 100, before[2], UP)
    assert told.engine_count == 1
    assert (told.engine_before.minor_units, told.engine_after.minor_units) == (0, before[0])
    todays = {
        one.name: one.todays_engine.minor_units
        for one in told.claims_that_move
        if one.HasField("todays_engine")
    }
    assert todays == {names[0]: before[0]}
    # What the plan does beside it is told apart: the claim moves on, the engine's part stays.
    other = summary(both, with_terms(deductible("12000.00")))
    assert other.engine_after == told.engine_after
    assert other.after.minor_units == told.after.minor_units - 200_000


def test_use_runs_through_the_period_under_the_new_plan(both: Served) -> None:
    first = decided(both, "B1")  # 30,000: 10,000 deductible, 20,000 paid
    second = decided(both, "B2", line(1, DRUG, "8000.00"))
    other = decided(both, "B3", line(1, DRUG, "12000.00"), person=101)
    # Of 35,000 the first bill takes 30,000 and the second what is left, 5,000.
    answers = what_if(both, with_terms(deductible("35000.00")), every_claim=True)
    assert by_claim(answers) == {
        first: (2_000_000, 0, DOWN),
        second: (800_000, 300_000, DOWN),
        other: (200_000, 0, DOWN),
    }
    told = answers[-1].summary
    assert paid(told) == (3_000_000, 300_000)
    (change,) = told.changes
    assert (change.change, change.claims) == (DOWN, 3)
    moved = [(one.name, one.before.minor_units) for one in told.claims_that_move]
    assert moved == [(first, 2_000_000), (second, 800_000), (other, 200_000)]
    most = told.members_that_move[0]
    assert (list(most.claims), most.after.minor_units) == ([first, second], 300_000)
    by_reason = {
        share.reason: (share.before.minor_units, share.after.minor_units, share.claims_after)
        for share in told.shares
    }
    assert sum(before for before, _, _ in by_reason.values()) == 5_000_000  # what was billed
    assert sum(after for _, after, _ in by_reason.values()) == 5_000_000
    assert by_reason[reason_pb2.REASON_DEDUCTIBLE] == (2_000_000, 4_700_000, 3)


def test_what_was_in_force_before_the_period_counts_as_stored(both: Served, clock: Clock) -> None:
    decided(both, "B1", line(1, DRUG, "6000.00"))  # uses 6,000 of the deductible
    clock.day = "2026-07-01"
    inside = decided(both, "B2", line(1, DRUG, "9000.00"))  # 4,000 of it, pays 5,000
    clock.day = "2026-08-01"
    decided(both, "B3", line(1, DRUG, "2000.00"))
    new = with_terms(deductible("12000.00"))
    answers = what_if(both, new, "2026-07-01", "2026-07-31", every_claim=True)
    # 6,000 is left: of the later claim nothing counts.
    assert by_claim(answers) == {inside: (500_000, 300_000, DOWN)}
    assert by_claim(what_if(both, new, "2026-07-02", "2026-07-31", every_claim=True)) == {}


def test_the_days_are_those_of_the_hospitals_zone(both: Served, clock: Clock) -> None:
    clock.day = "2026-07-01"
    decided(both, "B1")
    noon = clock()

    def told(first: str, last: str) -> int:
        return summary(both, TEXT.encode(), first, last).claims

    assert (told("2026-07-01", "2026-07-01"), told("2026-06-01", "2026-06-30")) == (1, 0)
    with both.database.writing() as connection:  # 23:30 in London, the next day in Shanghai
        late = noon + 11 * 3_600_000_000 + 1_800_000_000 + 3_600_000_000
        connection.execute(text("UPDATE claim SET created_us = :at"), {"at": late})
    assert (told("2026-07-01", "2026-07-01"), told("2026-07-02", "2026-07-02")) == (0, 1)


def test_an_earlier_service_denies_what_would_repeat_it(both: Served, clock: Clock) -> None:
    # The new plan recognises other hospitals' scans for 60 days, the old one for 14.
    first = bill("B1", line(1, CT, "20000.00"), days=("2026-05-01", "2026-05-02"))
    (claim,) = both.claims.SubmitClaim(submission(first)).claims
    elsewhere = bill("B2", line(1, CT, "700.00"), days=("2026-06-01", "2026-06-02"))
    elsewhere.provider_id = "H99000100002"
    clock.day = "2026-06-20"
    (second,) = both.claims.SubmitClaim(submission(elsewhere)).claims
    window = "unit: days, values: {2024-01-01: 14}"
    longer = with_terms((window, window.replace("14}", "60}")))
    for since in ("2026-06-01", "2026-06-15"):  # the first within the period, and before it
        found = by_claim(what_if(both, longer, since, every_claim=True))
        assert found[second.name] == (70_000, 0, pb.WHAT_IF_CHANGE_DENIED)
        assert (claim.name in found) is (since == "2026-06-01")


def test_more_can_be_paid_and_what_paid_nothing_be_paid(both: Served) -> None:
    more = decided(both, "B1")
    newly = decided(both, "B2", line(1, DRUG, "9000.00"), person=101)
    answers = what_if(both, with_terms(deductible("1000.00")), every_claim=True)
    assert by_claim(answers) == {
        more: (2_000_000, 2_900_000, UP),
        newly: (0, 800_000, pb.WHAT_IF_CHANGE_NEWLY_PAID),
    }


@pytest.mark.on_postgresql
def test_nothing_is_stored_and_what_is_shown_is_on_record(both: Served, log: Reads) -> None:
    name = decided(both, "B1")
    before, leaves = content(both), len(log.kept)
    assert set(before) >= set(metadata.tables)
    told = summary(both, with_terms(deductible("20000.00")))
    assert told.claims_that_move[0].shares
    assert content(both) == before
    (leaf,) = log.kept[leaves:]
    assert (leaf.record, leaf.rpc.rpartition("/")[2], leaf.level) == (name, "DecideWhatIf", 3)
    assert leaf.owner == "insurer/insurer"
    decided(both, "B2")  # the control: a decision is seen
    assert content(both) != before


def test_an_actuary_sees_sums_and_no_persons_reasons(both: Served, desk: Desk, log: Reads) -> None:
    name = decided(both, "B1")
    leaves = len(log.kept)
    desk.who = caller(access_pb2.ROLE_ACTUARY, insurer="insurer")
    answers = what_if(both, with_terms(deductible("20000.00")), every_claim=True)
    assert by_claim(answers) == {name: (2_000_000, 1_000_000, DOWN)}
    told = answers[-1].summary
    assert told.shares
    assert not told.members_that_move
    (moved,) = told.claims_that_move
    assert (moved.name, moved.member, list(moved.shares)) == (name, "", [])
    assert len(log.kept) == leaves


def test_other_insurers_claims_are_none(both: Served, desk: Desk) -> None:
    decided(both, "B1")
    desk.who = of_insurer("another")
    assert refused(both, TEXT.encode()).code is grpc.StatusCode.NOT_FOUND
    publish(both)  # the same content, and still none of the first one's claims
    assert summary(both, TEXT.encode()).claims == 0


def test_claims_that_count_no_more_are_left_out_and_said(both: Served) -> None:
    decided(both, "B1", line(1, DRUG, "800.00"), person=101)  # below the deductible, closed
    decided(both, "B2")
    decided(both, "B3", line(1, DRUG, "5000.00"))
    back = bill("B2")
    back.kind = bill_pb2.BILL_KIND_REVERSAL
    both.claims.SubmitClaim(submission(back))  # frees the deductible that B2 had used
    both.claims.EraseMember(
        claims_pb2.EraseMemberRequest(
            request_id=uuid.uuid4().hex,
            member=f"members/{token('CN-ID', id_number(101))}",
            ground=claims_pb2.ERASURE_GROUND_ORDERED,
            order_reference="court/2026-17",
        )
    )
    told = summary(both, with_terms(deductible("2000.00")))
    assert (told.erased_count, told.taken_back_count, told.undecided_count) == (1, 1, 0)
    # When B3 was decided, B2 had used the deductible up; now 2,000 of it are B3's.
    assert (told.claims, paid(told)) == (1, (500_000, 300_000))


def test_what_waits_pays_nothing_until_it_is_decided(both: Served) -> None:
    big = decided(both, "B1", line(1, DRUG, "200000.00"))  # above what is paid without a look
    small = decided(both, "B2", line(1, DRUG, "50000.00"), person=101)
    ceiling = 'auto_pay_ceiling: {clause: "5.6", unit: CNY, values: {2024-01-01: "%s"}}'
    lower = with_terms((ceiling % "100000.00", ceiling % "1000.00"))
    answers = what_if(both, lower, every_claim=True)
    assert by_claim(answers) == {
        big: (0, 0, SAME),
        small: (4_000_000, 0, pb.WHAT_IF_CHANGE_PENDED),
    }
    told = answers[-1].summary
    assert (told.pended_before_count, told.pended_after_count) == (1, 2)
    higher = with_terms((ceiling % "100000.00", ceiling % "900000.00"))
    assert by_claim(what_if(both, higher, every_claim=True))[big] == (
        0,
        19_000_000,
        pb.WHAT_IF_CHANGE_NEWLY_PAID,
    )


def test_a_review_stands_and_one_that_names_a_lost_clause_cannot_be_decided(both: Served) -> None:
    big = decided(both, "B1", line(1, DRUG, "200000.00"))
    claim = both.claims.GetClaim(claims_pb2.GetClaimRequest(name=big)).claim
    lines = [review_pb2.LineReview(number=1, unit_price="100000.00", clause="5.6")]
    both.review.ReviewClaim(
        review_pb2.ReviewClaimRequest(
            name=big, request_id=uuid.uuid4().hex, revision=claim.revision, lines=lines, note="x"
        )
    )
    found = by_claim(what_if(both, with_terms(deductible("20000.00")), every_claim=True))
    assert found == {big: (9_000_000, 8_000_000, DOWN)}
    renamed = TEXT.replace('"5.6"', '"5.66"').encode()
    answers = what_if(both, renamed, every_claim=True)
    assert by_claim(answers) == {big: (9_000_000, 0, pb.WHAT_IF_CHANGE_UNDECIDABLE)}
    assert causes(answers[-1].summary) == [(pb.WHAT_IF_CAUSE_UNKNOWN_CLAUSE, "5.6", 1)]


def test_what_a_plan_cannot_decide_is_no_saving_and_says_why(both: Served) -> None:
    small = decided(both, "B1", line(1, DRUG, "15000.00"))
    decided(both, "B2", line(1, DRUG, "17000.00"), person=101, days=("2026-02-01", "2026-02-01"))
    late = TEXT.replace("first_day: 2024-01-01", "first_day: 2026-05-01")
    late = late.replace("{2024-01-01: ", "{2026-05-01: ").replace(
        "    2024-01-01:\n", "    2026-05-01:\n"
    )
    late = late.replace(', 2025-01-01: "20000.00"', "")
    answers = what_if(both, late.encode(), every_claim=True)
    told = answers[-1].summary
    # B1 would pay the same; B2 lies before the first day, and is no part of either total.
    assert (told.claims, told.members, paid(told)) == (1, 1, (500_000, 500_000))
    assert (told.undecidable_count, told.undecidable_before.minor_units) == (1, 700_000)
    assert causes(told) == [(pb.WHAT_IF_CAUSE_NO_TERMS, "", 1)]
    assert [(one.change, one.claims) for one in told.changes] == [(SAME, 1)]
    assert not told.claims_that_move
    assert not told.members_that_move
    assert all(share.before == share.after for share in told.shares)
    (apart,) = [one for of in answers for one in of.claims if one.name != small]
    assert not apart.HasField("after")
    other = TEXT.replace("demo-yibao", "snomed").encode()
    told = summary(both, other)
    assert (told.claims, paid(told), told.undecidable_count) == (0, (0, 0), 2)
    system = "urn:lipei:demo:yibao-code"
    assert causes(told) == [(pb.WHAT_IF_CAUSE_UNKNOWN_CODE_SYSTEM, system, 2)]


def test_a_bills_second_policy_sees_what_the_first_would_pay(both: Served) -> None:
    second = policy(2)
    second.members[0].document.number = id_number(100)
    imported(both, second)
    claims = both.claims.SubmitClaim(submission(bill("B1", line(1, DRUG, "30000.00")))).claims
    assert len(claims) == 2
    answers = what_if(both, with_terms(deductible("28000.00")), every_claim=True)
    found = by_claim(answers)
    # Each pays 2,000 above its own deductible; the second one never more than is left.
    assert found[claims[0].name] == (2_000_000, 200_000, DOWN)
    assert found[claims[1].name][1] == 200_000


def test_every_fault_of_plan_and_days_is_named_at_once(both: Served) -> None:
    broken = TEXT.replace("currency: CNY", "currency: XXX").replace("format: 1", "format: 9")
    days = ("2026-13-01", "9999-12-31")  # no day, and one after which there is none
    fault = refused(both, broken.encode(), *days, instead_of="a\0b")
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    fields = {one.field for one in fault.violations}
    assert {"first_date", "last_date", "instead_of"} < fields
    assert sum(field.startswith("yaml:") for field in fields) >= 2
    backwards = refused(both, TEXT.encode(), "2026-02-01", "2026-01-01")
    assert [one.reason for one in backwards.violations] == ["BEFORE_FIRST"]


def test_another_plans_claims_are_named_and_pay_in_the_same_currency(both: Served) -> None:
    decided(both, "B1")
    renamed = TEXT.replace("id: million-medical", "id: two-million-medical").encode()
    assert refused(both, renamed).metadata == {"name": "two-million-medical"}
    assert summary(both, renamed, instead_of=PLAN).claims == 1
    dollars = TEXT.replace("currency: CNY", "currency: USD").replace("unit: CNY", "unit: USD")
    assert refused(both, dollars.encode()).reason == "OTHER_CURRENCY"


@pytest.fixture
def many(tmp_path: Any, clock: Clock) -> Iterator[Served]:
    """Claims whose what-ifs are decided in processes, however few they are."""
    with served(f"sqlite:///{tmp_path}/claims.db", clock=clock, few=0) as running:
        publish(running)
        imported(running, policy(1, people=2))
        for number in range(6):
            price = f"900{number}.00"  # the same one twice would be a duplicate
            decided(running, f"B{number}", line(1, DRUG, price), person=100 + number % 2)
        yield running


def test_processes_decide_as_the_service_itself_does(many: Served, tmp_path: Any) -> None:
    new = with_terms(deductible("20000.00"))
    found = summary(many, new)
    with served(f"sqlite:///{tmp_path}/claims.db") as here:
        assert summary(here, new) == found
    # An earlier engine's claim is told by processes as well.
    claim = by_claim(what_if(many, new, every_claim=True))
    unlocked(many)
    by_engine(many, next(iter(claim)), "1", less=100)
    again = summary(many, new)
    assert again.engine_count == 1
    assert again.engine_after.minor_units == again.engine_before.minor_units + 100
    # 54,015 yuan of two people, less what is left of the deductible of each.
    assert paid(found) == (3_401_500, 1_401_500)


def test_one_at_a_time_and_one_that_is_given_up_makes_room(many: Served) -> None:
    request = pb.DecideWhatIfRequest(
        yaml=TEXT.encode(), first_date="2026-01-01", last_date="2026-12-31"
    )
    with that_never_answer():
        under_way = many.recompute.DecideWhatIf(request)
        next(under_way)
        assert refused(many, TEXT.encode()).reason == "WHAT_IF_UNDER_WAY"
        under_way.cancel()

    def makes_room() -> bool:
        try:
            return summary(many, TEXT.encode()).claims == 6
        except grpc.RpcError:
            return False

    assert soon(makes_room), "a what-if that was given up is never over"


def test_balances_that_hold_too_little_are_an_alarm(both: Served) -> None:
    decided(both, "B1")
    with both.database.writing() as connection:
        connection.execute(text("UPDATE usage_balance SET amount = 1"))
    assert refused(both, TEXT.encode()).reason == "BALANCES_ALTERED"


def test_a_claim_that_is_not_decided_yet_is_counted(both: Served) -> None:
    decided(both, "B1")
    with both.database.writing() as connection:
        connection.execute(
            text("UPDATE claim SET state = 'registered', decision_id = NULL, benefit = NULL")
        )
    told = summary(both, TEXT.encode())
    assert (told.claims, told.undecided_count) == (0, 1)
