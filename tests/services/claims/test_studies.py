"""People as a study is told of them: who, how exactly, and what is on record.

What rests on SQL of its own is asked on both databases.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import insert, select

from lipei.claims.v1 import claims_pb2, policy_pb2
from lipei.claims.v1 import study_pb2 as pb
from lipei.type.v1 import access_pb2
from services.claims.storage import studies, tables
from services.claims.storage.tables import person
from services.common.access.caller import Caller
from services.common.access.studies import PURPOSE, study_names
from services.common.access.study_tokens import StudySeal
from services.common.access.tenant import Kind, Tenant
from services.common.evidence.access_read import AccessRead
from services.common.refusals import RpcFault, error_of
from tests.callers import Reads, pseudonym
from tests.schemas import with_tables
from tests.services.claims.given import bill, id_number, imported, policy, publish, submission
from tests.services.claims.serving import STUDY_KEY, Served, served, token
from tests.tenants import of_hospital, of_insurer

STUDY, BEFORE = "0" * 31 + "1", "2026-07-01"
CHIEF = frozenset({access_pb2.ROLE_CHIEF_ACTUARY})
PEOPLE = 6
INSURER = Tenant(Kind.INSURER, "insurer")


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Desk:
    """Who calls, and when."""

    who: Caller
    at_us: int


@pytest.fixture
def desk() -> Desk:
    return Desk(of_insurer(), at("2026-06-10"))


@pytest.fixture
def log() -> Reads:
    return Reads()


@pytest.fixture
def service(sqlite_database: str, desk: Desk, log: Reads) -> Iterator[Served]:
    with office(sqlite_database, desk, log) as running:
        yield running


@pytest.fixture
def both(database_url: str, desk: Desk, log: Reads) -> Iterator[Served]:
    with office(database_url, desk, log) as running:
        yield running


@contextmanager
def office(url: str, desk: Desk, log: Reads, batch: int = 4) -> Iterator[Served]:
    """Six of a family, born in one month; the second one has diabetes."""
    how: dict[str, Any] = {"append": log.append, "caller": lambda: desk.who, "batch": batch}
    how["clock"] = lambda: desk.at_us
    with served(url, **how) as running:
        publish(running)
        family = policy(1, people=PEOPLE)
        for index, member in enumerate(family.members):
            member.birth_date = f"1980-03-{index + 10}"
        disclosed = policy_pb2.DisclosedCondition(
            code_prefix="E11", terms=policy_pb2.PRE_EXISTING_TERMS_COVERED
        )
        family.members[1].disclosed_conditions.append(disclosed)
        imported(running, family)
        yield running


def chief(insurer: str = "insurer", purpose: str = PURPOSE) -> Caller:
    return replace(of_insurer(insurer), roles=CHIEF, purpose=purpose)


def exported(
    service: Served, desk: Desk, who: Caller | None = None, **more: Any
) -> list[pb.ExportPeopleResponse]:
    """At the end of the valuation day."""
    before = desk.who, desk.at_us
    desk.who, desk.at_us = who or chief(), at(f"{BEFORE}T23:59:59")
    request = pb.ExportPeopleRequest(**{"study": STUDY, "before_date": BEFORE, **more})
    try:
        return list(service.studies.ExportPeople(request, timeout=60))
    finally:
        desk.who, desk.at_us = before


def refused(*args: Any, **more: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        exported(*args, **more)
    return error_of(caught.value)


def people(answers: list[pb.ExportPeopleResponse]) -> list[pb.StudyPerson]:
    return [one for answer in answers for one in answer.people]


def left_out(answers: list[pb.ExportPeopleResponse], what: str) -> int:
    return sum(getattr(answer.left_out, what) for answer in answers)


def test_it_tells_months_conditions_policy_years_and_settled_claims(
    both: Served, desk: Desk
) -> None:
    both.claims.SubmitClaim(submission(bill("b1", person=101)))
    told = people(exported(both, desk))
    assert len(told) == PEOPLE
    assert {(one.birth_date, one.sex) for one in told} == {("1980-03-01", "F")}
    (ill,) = (one for one in told if one.conditions != "none")
    assert ill.conditions == "type2_diabetes"
    (year,) = ill.policies
    assert (year.first_day, year.after_day) == ("2026-01-01", "2027-01-01")
    (claim,) = ill.claims  # person 101 is the family's second
    assert (claim.policy, claim.cause, claim.event_day) == (year.policy, "inpatient", "2026-05-04")
    assert 0 < claim.amount_minor < claim.ground_up_minor == 3_000_000


def test_nothing_that_leads_back_is_told_and_each_person_is_a_leaf(
    service: Served, desk: Desk, log: Reads
) -> None:
    service.claims.SubmitClaim(submission(bill("b1", person=101)))
    before = len(log.kept)
    answers = exported(service, desk)
    written = b"".join(one.SerializeToString() for one in answers)
    told = people(answers)
    names = [one.person for one in told] + [year.policy for one in told for year in one.policies]
    names += [name for one in told for claim in one.claims for name in (claim.claim, claim.policy)]
    # Ids this short are found in sealed bytes by chance: a name must not be one.
    assert not {"p1", "m1", "b1"} & set(names)
    with service.database.reading() as connection:
        ids = list(connection.execute(select(person.c.id)).scalars())
    tokens = [token("CN-ID", id_number(100 + index)) for index in range(PEOPLE)]
    forbidden = [*ids, *tokens, *(one[3:] for one in tokens), "H99000100001"]
    forbidden += [id_number(101), "1980-03-11", "J18.9"]
    assert not [one for one in forbidden if one.encode() in written]
    assert b"1980-03-01" in written  # what is told is found by the same search
    leaves = log.kept[before:]
    assert sorted(one.record for one in leaves) == sorted(
        f"members/{pseudonym(one)}/studies/{STUDY}" for one in tokens
    )
    assert {(one.role, one.purpose, one.owner) for one in leaves} == {
        ("chief_actuary", PURPOSE, "insurer/insurer")
    }


def test_a_leaf_s_place_does_not_tell_which_name_is_whose(
    service: Served, desk: Desk, log: Reads
) -> None:
    tokens = {pseudonym(one): one for one in (token("CN-ID", id_number(100 + n)) for n in range(6))}
    matched = 0
    for number in range(8):
        study = f"{number:032x}"
        before = len(log.kept)
        told = [one.person for one in people(exported(service, desk, study=study))]
        leaves = [tokens[one.record.split("/")[1]] for one in log.kept[before:]]
        name = study_names(STUDY_KEY, INSURER, study, date.fromisoformat(BEFORE))
        assert sorted(name("person", one) for one in leaves) == sorted(told)
        matched += [name("person", one) for one in leaves] == told
    assert matched <= 2  # by chance one study in 48; eight, were both in one order


def test_two_studies_tell_of_people_in_two_orders(service: Served, desk: Desk) -> None:
    tokens = [token("CN-ID", id_number(100 + index)) for index in range(PEOPLE)]
    orders = []
    for number in range(8):
        study = f"{number:032x}"
        name = study_names(STUDY_KEY, INSURER, study, date.fromisoformat(BEFORE))
        whose = {name("person", one): one for one in tokens}
        orders.append([whose[one.person] for one in people(exported(service, desk, study=study))])
    assert all(sorted(one) == sorted(tokens) for one in orders)
    assert len({tuple(one) for one in orders}) > 4  # one, were it the database's own


def test_batches_go_on_after_a_token(both: Served, desk: Desk) -> None:
    whole = exported(both, desk)
    assert [len(one.people) for one in whole] == [4, 2]
    assert [(one.done, one.total) for one in whole] == [(4, PEOPLE), (PEOPLE, PEOPLE)]
    assert not whole[-1].next_page_token
    rest = exported(both, desk, page_token=whole[0].next_page_token)
    assert people(rest) == list(whole[1].people)
    other = refused(both, desk, page_token=whole[0].next_page_token, study="2" * 32)
    assert [one.reason for one in other.violations] == ["FOREIGN_PAGE_TOKEN"]


def test_a_place_in_another_order_of_the_same_people_is_foreign(
    service: Served, desk: Desk
) -> None:
    """It is of an older version, where people stood by their ids; today's (the control) goes on."""
    first, second = exported(service, desk)
    seal = StudySeal(STUDY_KEY)
    study = f"{INSURER.key} {STUDY} {BEFORE}"
    place = seal.position(f"{study} people in their places", first.next_page_token)
    selection = place.rpartition("/")[0]
    for before in ("0" * 31 + "f", "4"):
        old = seal.page_token(study, f"{selection}/{before}")
        fault = refused(service, desk, page_token=old)
        assert [one.reason for one in fault.violations] == ["FOREIGN_PAGE_TOKEN"]
    assert people(exported(service, desk, page_token=first.next_page_token)) == list(second.people)


def test_two_studies_share_no_name(service: Served, desk: Desk) -> None:
    one, two = exported(service, desk), exported(service, desk, study="2" * 32)
    assert not {p.person for p in people(one)} & {p.person for p in people(two)}
    assert people(one) == people(exported(service, desk))


@pytest.mark.both_databases
def test_who_is_insured_meanwhile_changes_nothing(both: Served, desk: Desk) -> None:
    first, second = exported(both, desk)
    other = policy(3)
    other.members[0].birth_date = "1980-05-05"  # makes the month of the others too exact
    imported(both, other)
    assert people(exported(both, desk, page_token=first.next_page_token)) == list(second.people)
    (confirmed,) = exported(both, desk, page_token=second.confirm_token)
    assert not confirmed.people
    assert len(confirmed.grants) == 1
    assert {one.birth_date for one in people(exported(both, desk))} == {"1980-07-01"}


@pytest.mark.both_databases
def test_who_withdraws_meanwhile_ends_the_study(both: Served, desk: Desk) -> None:
    first, second = exported(both, desk)
    assert exported(both, desk, page_token=second.confirm_token)[0].grants
    leave_out(both, desk, f"members/{token('CN-ID', id_number(101))}")
    for old in (first.next_page_token, second.confirm_token):
        fault = refused(both, desk, page_token=old)
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "POPULATION_CHANGED",
        )


class LogThenLeaves(Reads):
    """Keeps leaves; once the first is kept, somebody already told of is in no study any more."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving: list[Callable[[], None]] = []

    async def append(self, reads: Sequence[AccessRead]) -> None:
        await super().append(reads)
        if self.leaving and reads:
            self.leaving.pop()()


@pytest.mark.parametrize(("place", "batch"), [(0, 4), (PEOPLE - 1, 4), (0, 3), (2, 2)])
def test_who_withdraws_within_the_stream_ends_it(
    sqlite_database: str, desk: Desk, place: int, batch: int
) -> None:
    log = LogThenLeaves()
    with office(sqlite_database, desk, log, batch) as service:
        name = study_names(STUDY_KEY, INSURER, STUDY, date.fromisoformat(BEFORE))
        tokens = [token("CN-ID", id_number(100 + index)) for index in range(PEOPLE)]
        whose = {name("person", one): one for one in tokens}
        # Of the first batch, or of the last.
        gone = whose[people(exported(service, desk))[place].person]

        def leave() -> None:
            with service.database.writing() as connection:
                studies.leave_out(connection, service.keys.sealer(connection), [gone], 1)

        log.leaving.append(leave)
        before = len(log.kept)
        assert refused(service, desk).reason == "POPULATION_CHANGED"
        assert not log.leaving
        if place:  # of a batch to come, none of which leaves, nor any after it
            assert len(log.kept) == before + batch
        assert len(people(exported(service, desk))) == PEOPLE - 1


def test_who_withdraws_ends_the_stream_too_when_nobody_is_told_of_last(
    sqlite_database: str, desk: Desk
) -> None:
    log = LogThenLeaves()
    with office(sqlite_database, desk, log, batch=1) as service:
        other = policy(2)
        other.members[0].birth_date = "1950-01-01"  # stands out
        imported(service, other)
        tokens = [token("CN-ID", id_number(100 + index)) for index in range(PEOPLE)]
        study, order = _with_last(token("CN-ID", id_number(200)), tokens)

        def leave() -> None:
            with service.database.writing() as connection:
                studies.leave_out(connection, service.keys.sealer(connection), order[:1], 1)

        answers = exported(service, desk, study=study)
        assert [len(one.people) for one in answers] == [1] * PEOPLE + [0]
        log.leaving.append(leave)
        assert refused(service, desk, study=study).reason == "POPULATION_CHANGED"


def _with_last(last: str, others: list[str]) -> tuple[str, list[str]]:
    """A study that looks at one person after the others, and the others in its order."""
    for number in range(1000):
        study = f"{number:032x}"
        name = study_names(STUDY_KEY, INSURER, study, date.fromisoformat(BEFORE))
        order = sorted([*others, last], key=lambda one: name("place", one))
        if order[-1] == last:
            return study, order[:-1]
    raise AssertionError("of a thousand studies one in seven does")


def test_a_page_token_tells_no_id_and_cannot_be_made(service: Served, desk: Desk) -> None:
    first, _ = exported(service, desk)
    opened = base64.urlsafe_b64decode(first.next_page_token)
    with service.database.reading() as connection:
        ids = connection.execute(select(person.c.id)).scalars().all()
    assert not [one for one in ids if one.encode() in opened]
    plain = base64.urlsafe_b64encode(f"study insurer/insurer {STUDY} {BEFORE}\0/".encode())
    forged = base64.urlsafe_b64encode(opened[:-1] + bytes([opened[-1] ^ 1]))
    for other in (plain, forged):
        fault = refused(service, desk, page_token=other.decode())
        assert [one.reason for one in fault.violations] == ["FOREIGN_PAGE_TOKEN"]


def test_who_stands_out_or_has_no_sex_is_left_out_and_counted(service: Served, desk: Desk) -> None:
    other = policy(2, people=2)
    other.members[0].birth_date = "1950-01-01"
    other.members[1].sex = policy_pb2.SEX_UNSPECIFIED
    imported(service, other)
    answers = exported(service, desk)
    assert len(people(answers)) == PEOPLE
    assert left_out(answers, "standing_out_count") == 1
    assert left_out(answers, "sex_unknown_count") == 1


def test_another_insurer_gets_nothing(service: Served, desk: Desk, log: Reads) -> None:
    before = len(log.kept)
    (answer,) = exported(service, desk, chief("another"))
    assert not answer.people
    assert answer.total == 0
    assert len(log.kept) == before


def test_the_erased_are_absent(service: Served, desk: Desk) -> None:
    old = policy(4)
    old.members[0].birth_date = "1980-03-30"
    imported(service, old)
    assert len(people(exported(service, desk))) == PEOPLE + 1
    service.claims.EraseMember(
        claims_pb2.EraseMemberRequest(
            request_id="e1",
            member=f"members/{token('CN-ID', id_number(400))}",
            ground=claims_pb2.ERASURE_GROUND_ORDERED,
            order_reference="court-2026-1",
        )
    )
    answers = exported(service, desk)
    assert len(people(answers)) == answers[-1].total == PEOPLE


def leave_out(service: Served, desk: Desk, *members: str) -> None:
    desk.who, before = of_hospital(), desk.who
    try:
        request = pb.LeaveOutMembersRequest(request_id=uuid.uuid4().hex, members=members)
        service.studies.LeaveOutMembers(request, timeout=60)
    finally:
        desk.who = before


def test_who_withdrew_from_studies_is_in_none(both: Served, desk: Desk) -> None:
    left = token("CN-ID", id_number(101))
    for _ in range(2):
        leave_out(both, desk, f"members/{left}", f"members/{token('CN-ID', id_number(500))}")
    answers = exported(both, desk)
    assert len(people(answers)) == PEOPLE - 1
    assert left_out(answers, "consent_count") == 1
    late = policy(5)  # whom nobody knew when they withdrew
    late.members[0].birth_date = "1980-03-30"
    imported(both, late)
    assert left_out(exported(both, desk), "consent_count") == 2


def test_who_withdrew_the_consent_of_a_bill_is_in_none(service: Served, desk: Desk) -> None:
    consent = "hospitals/general/consents/c1"
    given = bill("b1", person=101)
    given.name, given.consent = "hospitals/general/bills/b1", consent
    service.hospital.SubmitClaim(submission(given))
    assert len(people(exported(service, desk))) == PEOPLE
    desk.who, before = of_hospital(), desk.who
    service.claims.WithdrawClaims(
        claims_pb2.WithdrawClaimsRequest(request_id="w1", consents=[consent])
    )
    desk.who = before
    answers = exported(service, desk)
    assert len(people(answers)) == PEOPLE - 1
    assert left_out(answers, "consent_count") == 1


def test_every_fault_of_a_request_is_told(service: Served, desk: Desk) -> None:
    fault = refused(service, desk, study="X", before_date="2026-02-30")
    assert [(one.field, one.reason) for one in fault.violations] == [
        ("study", "MALFORMED"),
        ("before_date", "MALFORMED"),
    ]
    with pytest.raises(grpc.RpcError) as caught:
        leave_out(service, desk, "members/x")
    assert [one.field for one in error_of(caught.value).violations] == ["members[0]"]


@pytest.mark.parametrize("purpose", ["", "pricing"])
def test_it_is_told_for_studies_alone(service: Served, desk: Desk, purpose: str) -> None:
    fault = refused(service, desk, chief(purpose=purpose))
    assert fault.reason == "PURPOSE_NOT_ALLOWED"


def test_an_actuary_is_told_of_nobody(service: Served, desk: Desk) -> None:
    actuary = replace(chief(), roles=frozenset({access_pb2.ROLE_ACTUARY}), purpose="")
    assert refused(service, desk, actuary).reason == "ROLE_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("day", "reasons"),
    [
        ("2026-07-01", []),
        ("2026-06-30", ["NOT_A_QUARTER"]),
        ("2026-08-01", ["NOT_A_QUARTER", "TO_COME"]),
        ("2026-10-01", ["TO_COME"]),
    ],
)
def test_a_study_looks_before_a_quarter_that_has_come(
    service: Served, desk: Desk, log: Reads, day: str, reasons: list[str]
) -> None:
    if not reasons:
        assert people(exported(service, desk, before_date=day))
        return
    before = len(log.kept)
    fault = refused(service, desk, before_date=day)
    assert [one.reason for one in fault.violations] == reasons
    assert len(log.kept) == before


def test_one_id_with_two_days_is_two_studies(service: Served, desk: Desk) -> None:
    now = {one.person for one in people(exported(service, desk))}
    before = {one.person for one in people(exported(service, desk, before_date="2026-04-01"))}
    assert len(now) == len(before) == PEOPLE
    assert not now & before
    first, _ = exported(service, desk)
    fault = refused(service, desk, before_date="2026-04-01", page_token=first.next_page_token)
    assert [one.reason for one in fault.violations] == ["FOREIGN_PAGE_TOKEN"]


def test_what_a_batch_costs_does_not_grow_with_the_insurer(tmp_path: Path) -> None:
    """By the steps of SQLite's machine: five people among fifty, and among a thousand."""
    few, many = (_steps(f"sqlite:///{tmp_path / str(size)}", size) for size in (50, 1_000))
    for small, large in zip(few, many, strict=True):
        assert small > 0
        assert large < 2 * small  # seventeen times, were all listed each time


def _steps(url: str, size: int) -> tuple[int, int]:
    """What the next five people cost, and five by their ids."""
    database = with_tables(url, "services.claims")
    ids = [f"{number:032x}" for number in range(size)]
    with database.writing() as connection:
        connection.execute(
            insert(person), [{"id": one, "token_index": one, "token": b"x"} for one in ids]
        )
        policies = [
            {"id": one, "insurer": "insurer", "seq": number, "revision": 1}
            for number, one in enumerate(ids)
        ]
        connection.execute(insert(tables.policy), policies)
        members = [{"policy_id": one, "member_id": "m", "person_id": one} for one in ids]
        connection.execute(insert(tables.insured), members)
    steps = [0]

    def step() -> None:
        steps[0] += 1

    with database.reading() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(step, 1)
        assert len(studies.people_after(connection, "insurer", size, ids[size // 2], 5)) == 5
        after = steps[0]
        assert len(studies.people_of(connection, "insurer", size, ids[size // 2 :][:5])) == 5
        driver.set_progress_handler(None, 1)
    database.close()
    return after, steps[0] - after
