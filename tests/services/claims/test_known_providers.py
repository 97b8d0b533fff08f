"""Whom an insurer knows: bills of anybody else open no claim, and what is known goes on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import event

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import provider_pb2 as providers
from lipei.type.v1 import bill_pb2
from services.claims.storage.known_providers import list_register
from services.common.database import Database
from services.common.refusals import RpcFault
from tests.services.claims.given import (
    DRUG,
    HOSPITAL,
    bill,
    imported,
    line,
    policy,
    publish,
    submission,
)
from tests.services.claims.serving import Served, served
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_benefits import published
from tests.services.claims.test_providers import (
    LIST,
    SPLIT,
    Desk,
    from_the_hospital,
    person,
    priced,
    proposed,
    word,
)
from tests.services.claims.test_reviews import refused
from tests.tenants import of_hospital, of_insurer

ELSEWHERE = "H99000199999"
STRANGER = 4711


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_url: str, desk: Desk) -> Iterator[Served]:
    with served(stocked_url, caller=lambda: desk.who) as running:
        yield running


def days(provider: str, first: str, last: str = "") -> providers.KnownProvider:
    return providers.KnownProvider(provider_id=provider, first_day=first, last_day=last)


def asked(
    *told: providers.KnownProvider, dry_run: bool = False
) -> providers.RegisterProvidersRequest:
    return providers.RegisterProvidersRequest(
        request_id=uuid.uuid4().hex, providers=told, dry_run=dry_run
    )


def registered(service: Served, *told: providers.KnownProvider) -> bool:
    """Whether they are the insurer's first."""
    return bool(service.providers.RegisterProviders(asked(*told)).first)


def taken(service: Served, given: bill_pb2.Bill) -> list[str]:
    return [one.name for one in service.claims.SubmitClaim(submission(given)).claims]


def unknown(service: Served, given: bill_pb2.Bill) -> RpcFault:
    fault = refused(service.claims.SubmitClaim, submission(given))
    assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROVIDER")
    return fault


def claims(service: Served) -> int:
    request = pb.ListClaimsRequest(parent="policies/-", page_size=500)
    return len(service.claims.ListClaims(request).claims)


def register_of(service: Served, provider: str = "") -> list[tuple[str, str, str]]:
    found = service.providers.ListProviders(providers.ListProvidersRequest(provider_id=provider))
    return [(one.provider_id, one.first_day, one.last_day) for one in found.providers]


@pytest.mark.on_postgresql
def test_a_provider_is_known_on_its_days_and_from_the_first_registered_on(service: Served) -> None:
    assert taken(service, bill("B0"))  # nobody is registered, so everybody is known
    trial = service.providers.RegisterProviders(asked(days(ELSEWHERE, "2026-01-01"), dry_run=True))
    assert (trial.provider_count, trial.first) == (1, True)
    assert taken(service, bill("B1"))
    assert registered(service, days(ELSEWHERE, "2026-01-01"))
    before = claims(service)
    fault = unknown(service, bill("B2"))
    assert f"{HOSPITAL} is not known on 2026-05-08" in fault.text
    assert claims(service) == before
    # Of a stay the day of discharge counts, the first and the last day included.
    assert not registered(service, days(HOSPITAL, "2026-05-08", "2026-05-08"))
    unknown(service, bill("B3", days=("2026-05-04", "2026-05-07")))
    unknown(service, bill("B4", days=("2026-05-08", "2026-05-09")))
    assert taken(service, bill("B2"))  # refused before, so its number was free
    # What is said of a provider takes the place of what was said before, twice a stay or not.
    left = days(HOSPITAL, "2026-01-01", "2026-02-28")
    registered(service, days(HOSPITAL, "2026-05-09"), left)
    unknown(service, bill("B5"))
    assert taken(service, bill("B6", days=("2026-02-27", "2026-02-28")))
    assert taken(service, bill("B7", days=("2026-05-08", "2026-05-09")))
    assert sorted(register_of(service, HOSPITAL)) == [
        (HOSPITAL, "2026-01-01", "2026-02-28"),
        (HOSPITAL, "2026-05-09", ""),
    ]
    assert len(register_of(service)) == 3


def test_a_price_list_that_holds_or_a_confirmed_account_makes_known_and_the_register_goes_before(
    service: Served, desk: Desk
) -> None:
    registered(service, days(ELSEWHERE, "2026-01-01"))
    unknown(service, bill("B1"))
    priced(service, LIST.replace("first_day:", "last_day: 2026-05-07\nfirst_day:"))
    given = line(1, DRUG, "100.00")
    unknown(service, bill("B1", given))
    assert taken(service, bill("B2", given, days=("2026-05-04", "2026-05-07")))
    desk.who = person("anna")
    name = proposed(service).name
    unknown(service, bill("B1", given))  # one person alone makes nobody known
    desk.who = person("bert")
    service.providers.ConfirmProviderAccount(word(name, reject=True, note="closed"))
    unknown(service, bill("B1", given))
    name = proposed(service).name
    desk.who = person("anna")
    service.providers.ConfirmProviderAccount(word(name))
    assert taken(service, bill("B1", given))
    registered(service, days(HOSPITAL, "2026-01-01", "2026-03-31"))
    unknown(service, bill("B3", given))


def test_a_provider_that_the_plan_lists_is_known(service: Served) -> None:
    registered(service, days(ELSEWHERE, "2026-01-01"))
    list_of_one = f"providers:\n  list: [{{id: {HOSPITAL}, listed: {{2024-01-01: true}}}}]\n"
    listed = SPLIT.replace("providers:\n", list_of_one, 1)
    version = published(service, listed)
    imported(service, policy(7, plan=version))
    assert taken(service, bill("B1", person=700))
    unknown(service, bill("B2"))  # the same provider, under a plan that does not name it


def test_the_members_family_doctor_is_known_and_nobody_elses(service: Served) -> None:
    registered(service, days(ELSEWHERE, "2026-01-01"))
    theirs = policy(7, people=2)
    contract = theirs.members[0].family_doctor.contracts.add(provider_id=HOSPITAL)
    contract.start_date, contract.last_date = "2026-01-01", "2026-12-31"
    imported(service, theirs)
    assert taken(service, bill("B1", person=700))
    unknown(service, bill("B2", person=701))


def test_what_is_known_of_a_bill_already_is_not_refused(service: Served) -> None:
    (name,) = taken(service, bill("B1", line(1, DRUG, "30000.00")))
    (other,) = taken(service, bill("B2", line(1, DRUG, "31000.00")))
    registered(service, days(ELSEWHERE, "2026-01-01"))
    assert taken(service, bill("B1", line(1, DRUG, "30000.00"))) == [name]
    corrected = bill("B1", line(1, DRUG, "20000.00"))
    corrected.kind = bill_pb2.BILL_KIND_CORRECTION
    assert taken(service, corrected) == [name]
    reversal = bill("B2", line(1, DRUG, "31000.00"))
    reversal.kind = bill_pb2.BILL_KIND_REVERSAL
    assert taken(service, reversal) == [other]
    anew = bill("B2", line(1, DRUG, "32000.00"))
    assert taken(service, anew) != [other]
    # Negative control: a correction of a bill that was never taken in opens a claim, so no.
    never = bill("B3", line(1, DRUG, "20000.00"))
    never.kind = bill_pb2.BILL_KIND_CORRECTION
    unknown(service, never)


def test_a_hospital_is_refused_alike_whoever_the_member_is(service: Served, desk: Desk) -> None:
    def told(number: str, who: int) -> tuple[str, str]:
        desk.who = of_hospital("general")
        given = from_the_hospital(bill(number, person=who))
        fault = refused(service.claims.SubmitClaim, submission(given))
        desk.who = of_insurer()
        return fault.reason, fault.text

    registered(service, days(ELSEWHERE, "2026-01-01"))
    nobody = told("B1", STRANGER)
    assert nobody == told("B1", 100)
    assert nobody[0] == "UNKNOWN_PROVIDER"
    # Another insurer keeps no register, so whether it knows the provider would tell of the member.
    desk.who = of_insurer("other")
    publish(service)
    imported(service, policy(2))
    nobody = told("B1", STRANGER)
    assert nobody == told("B1", 100)
    assert nobody[0] == "UNKNOWN_MEMBER"
    desk.who = of_hospital("general")
    assert taken(service, from_the_hospital(bill("B2", person=200)))
    # Negative control: an insurer is told which.
    desk.who = of_insurer()
    unknown(service, bill("B3"))
    stranger = submission(bill("B3", person=STRANGER))
    assert refused(service.claims.SubmitClaim, stranger).reason == "UNKNOWN_MEMBER"


def test_insurers_know_each_their_own(service: Served, desk: Desk) -> None:
    desk.who = of_insurer("other")
    publish(service)
    both = policy(2)
    both.members[0].document.CopyFrom(policy(1).members[0].document)
    imported(service, both)
    registered(service, days(ELSEWHERE, "2026-01-01"))
    assert register_of(service) == [(ELSEWHERE, "2026-01-01", "")]
    desk.who = of_hospital("general")
    (one,) = taken(service, from_the_hospital(bill("B1")))
    assert one.startswith("policies/p1/")
    desk.who = of_insurer()
    assert register_of(service) == []
    desk.who = of_insurer("other")
    registered(service, days(HOSPITAL, "2026-01-01"))
    desk.who = of_hospital("general")
    assert len(taken(service, from_the_hospital(bill("B1")))) == 2
    desk.who = of_insurer()
    registered(service, days(ELSEWHERE, "2026-03-01"))
    desk.who = of_insurer("other")
    registered(service, days(ELSEWHERE, "2026-02-01"))
    assert register_of(service, ELSEWHERE) == [(ELSEWHERE, "2026-02-01", "")]
    desk.who = of_insurer()
    assert register_of(service) == [(ELSEWHERE, "2026-03-01", "")]


def test_every_fault_of_a_register_is_named_and_nothing_is_stored(service: Served) -> None:
    faulty = asked(
        days("", "2026-01-01"),
        days(HOSPITAL, "2026-02-30"),
        days(HOSPITAL, "2026-03-02", "2026-03-01"),
        days(ELSEWHERE, "2026-01-01", "2026-01-31"),
        days(ELSEWHERE, "2026-01-31"),
        days(HOSPITAL, "2026-01-01", "soon"),
    )
    fault = refused(service.providers.RegisterProviders, faulty)
    assert [(one.field, one.reason) for one in fault.violations] == [
        ("providers[0].provider_id", "MALFORMED"),
        ("providers[1].first_day", "IMPOSSIBLE_DATE"),
        ("providers[2].last_day", "ENDS_BEFORE_START"),
        ("providers[5].last_day", "IMPOSSIBLE_DATE"),
        ("providers[4].first_day", "OVERLAPPING_DAYS"),
    ]
    fault = refused(service.providers.RegisterProviders, asked())
    assert [one.reason for one in fault.violations] == ["BAD_COUNT"]
    assert register_of(service) == []


def test_a_list_of_no_provider_is_refused_with_every_fault(service: Served) -> None:
    told: dict[str, Any] = {"provider_id": "H\0", "page_size": -1}
    for call, request in (
        (service.providers.ListProviders, providers.ListProvidersRequest(**told)),
        (service.providers.ListProviderAccounts, providers.ListProviderAccountsRequest(**told)),
    ):
        fault = refused(call, request)
        assert [(one.field, one.reason) for one in fault.violations] == [
            ("provider_id", "MALFORMED"),
            ("page_size", "NEGATIVE"),
        ]


def test_the_same_request_registers_once_and_pages_hold_everybody_once(service: Served) -> None:
    request = asked(*(days(f"P{n}", "2026-01-01") for n in range(5)))
    first = service.providers.RegisterProviders(request)
    registered(service, days("P1", "2026-02-01"))
    assert service.providers.RegisterProviders(request) == first  # and P1 stays as it is
    found: list[tuple[str, str]] = []
    page = providers.ListProvidersRequest(page_size=2)
    while True:
        answer = service.providers.ListProviders(page)
        found += [(one.provider_id, one.first_day) for one in answer.providers]
        if not answer.next_page_token:
            break
        page.page_token = answer.next_page_token
    assert found[0] == ("P1", "2026-02-01")
    assert sorted(who for who, _ in found) == ["P0", "P1", "P2", "P3", "P4"]


def test_a_page_is_found_by_its_key_and_not_by_the_whole_register(sqlite_database: str) -> None:
    """SQLite's plan: no scan of the table, no sort, and nothing built for the statement alone."""
    database = Database(sqlite_database)
    asked_for: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, values: Any, _x: Any, _many: bool) -> None:
        asked_for.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", keep)
    with database.reading() as connection:
        list_register(connection, "anxin", "", before=1 << 62, most=500)
        (statement, values) = next(one for one in asked_for if one[0].startswith("SELECT"))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = [str(row[3]) for row in plan]
    assert steps[0].startswith("SEARCH known_provider USING INDEX ix_known_provider_insurer_seq")
    assert not [one for one in steps if "SCAN" in one or "TEMP B-TREE" in one or "MATERI" in one]
    database.close()
