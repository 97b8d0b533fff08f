"""What a person had before is found, whichever policy decided it and however its code was typed.

Over a real socket, on both databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import decision_pb2, reason_pb2
from lipei.type.v1 import bill_pb2
from services.claims.core.facts import Coding
from services.claims.core.repeats import Reach
from services.claims.storage import claims as store
from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import metadata
from services.claims.storage.usage import EarlierServices
from services.common.access.tenant import INSTALLATION
from tests.services.claims.given import (
    DRUG,
    HOSPITAL,
    YIBAO,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, served
from tests.services.claims.stock import Stock, insured

CT, OTHER_HOSPITAL = "002103000010000", "H99000100002"
REPEATED, DUPLICATE = reason_pb2.REASON_DUPLICATE_EXAMINATION, reason_pb2.REASON_DUPLICATE


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    with served(stocked_url) as running:
        yield running


def decided(
    service: Served, given: bill_pb2.Bill, *, provider: str = HOSPITAL, policies: int = 1
) -> list[pb.Claim]:
    """The claims of the bill, decided."""
    given.provider_id = provider
    claims = list(service.claims.SubmitClaim(submission(given)).claims)
    assert len(claims) == policies
    return claims


def refusals(claim: pb.Claim) -> dict[int, int]:
    """Line number -> reason of the lines that were denied."""
    return {
        one.number: one.shares[0].reason
        for one in claim.decision.lines
        if one.outcome == decision_pb2.LINE_OUTCOME_DENIED
    }


@pytest.mark.parametrize(
    ("provider", "day", "denied", "benefit"),
    [
        pytest.param(
            *(OTHER_HOSPITAL, "2026-05-22", {1: REPEATED}, "1000"),
            marks=pytest.mark.both_databases,
        ),
        (OTHER_HOSPITAL, "2026-05-23", {}, "1600"),
        (HOSPITAL, "2026-05-22", {}, "1600"),
    ],
    ids=["within 14 days elsewhere", "after 15 days elsewhere", "control: the same hospital"],
)
def test_a_scan_repeated_at_another_hospital_is_not_paid(
    service: Served, provider: str, day: str, denied: dict[int, int], benefit: str
) -> None:
    (first,) = decided(service, bill("B1", line(1, CT, "12000.00")))  # ends on 2026-05-08
    assert first.decision.benefit == yuan("2000")
    again = bill("B2", line(1, CT, "600.00"), line(2, DRUG, "1000.00"), days=(day, day))
    (claim,) = decided(service, again, provider=provider)
    assert refusals(claim) == denied
    assert claim.decision.benefit == yuan(benefit)
    replayed = service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
    assert replayed.output_hash == claim.decision.output_hash
    told = service.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))
    assert ("5.7" in str(told)) is bool(denied)


def test_another_person_of_the_policy_repeats_nobodys_scan(service: Served) -> None:
    imported(service, policy(5, people=2))
    decided(service, bill("B1", line(1, CT, "12000.00"), person=500))
    other = bill("B2", line(1, CT, "12000.00"), person=501)
    (claim,) = decided(service, other, provider=OTHER_HOSPITAL)
    assert refusals(claim) == {}


def test_a_scan_that_was_denied_opens_no_window(service: Served) -> None:
    waiting = bill("B1", line(1, CT, "600.00"), days=("2026-01-25",) * 2)
    (claim,) = decided(service, waiting)
    assert refusals(claim) == {1: reason_pb2.REASON_WAITING_PERIOD}
    after = bill("B2", line(1, CT, "600.00"), days=("2026-02-03",) * 2)
    (claim,) = decided(service, after, provider=OTHER_HOSPITAL)
    assert refusals(claim) == {}


@pytest.fixture
def next_year(database_url: str) -> Iterator[Served]:
    """The service in the year after the policy's."""
    now_us = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
    with served(database_url, clock=lambda: now_us) as running:
        publish(running)
        imported(running, policy(1))
        yield running


def test_a_renewal_knows_what_the_policy_before_it_paid(next_year: Served) -> None:
    service = next_year
    renewal = policy(2, start_date="2027-01-01", last_date="2027-12-31", previous_policy_id="p1")
    renewal.members[0].document.number = id_number(100)
    imported(service, renewal)
    (first,) = decided(service, bill("B1", line(1, CT, "700.00"), days=("2026-12-30",) * 2))
    assert first.name.split("/")[1] == "p1"
    scan = bill("B2", line(1, CT, "600.00"), days=("2027-01-05",) * 2)
    (claim,) = decided(service, scan, provider=OTHER_HOSPITAL)
    assert (claim.name.split("/")[1], refusals(claim)) == ("p2", {1: REPEATED})
    # The same charge once more, on a stay that belongs to the year of discharge.
    stay = bill(
        "B3", line(1, CT, "700.00"), line(2, CT, "701.00"), days=("2026-12-29", "2027-01-03")
    )
    for charge in stay.lines:
        charge.service_time.FromDatetime(datetime(2026, 12, 30, 4, tzinfo=UTC))
    (claim,) = decided(service, stay)
    assert (claim.name.split("/")[1], refusals(claim)) == ("p2", {1: DUPLICATE})


def test_a_service_that_two_policies_allowed_is_one_service(service: Served) -> None:
    second = policy(3)
    second.members[0].document.number = id_number(100)
    imported(service, second)
    both = decided(service, bill("B1", line(1, DRUG, "6000.00")), policies=2)
    assert [refusals(claim) for claim in both] == [{}, {}]
    again = bill("B2", line(1, DRUG, "6000.00"), line(2, DRUG, "6000.00"))
    claims = decided(service, again, policies=2)
    assert [refusals(claim) for claim in claims] == [{1: DUPLICATE}, {1: DUPLICATE}]


def test_no_spelling_of_a_code_evades_what_was_paid_before(service: Served) -> None:
    wide = CT.translate({ord("0") + n: chr(ord("０") + n) for n in range(10)})
    decided(service, bill("B1", line(1, wide, "700.00"), line(2, DRUG, "800.00")))
    again = bill("B2", line(1, CT, "700.00"), line(2, DRUG.lower(), "800.00"))
    (claim,) = decided(service, again)
    assert refusals(claim) == {1: DUPLICATE, 2: DUPLICATE}
    elsewhere = bill("B3", line(1, CT, "500.00"), line(2, DRUG.lower(), "800.00"))
    (claim,) = decided(service, elsewhere, provider=OTHER_HOSPITAL)
    assert refusals(claim) == {1: REPEATED}


def test_only_the_days_that_matter_are_looked_up_by_an_index(sqlite_database: str) -> None:
    with served(sqlite_database) as running:
        publish(running)
        imported(running, policy(1))
        for number, day in enumerate(("2026-05-04", "2026-05-10", "2026-05-16"), start=1):
            decided(running, bill(f"B{number}", line(1, CT, "700.00"), days=(day, day)))
        (claim,) = decided(running, bill("B9", line(1, CT, "700.00")))
        statements: list[tuple[str, Any]] = []
        with running.database.reading() as connection:
            event.listen(
                connection,
                "before_cursor_execute",
                lambda *call: statements.append((call[2], call[3])),
            )
            policy_id, claim_id = claim.name.split("/")[1::2]
            sealer = running.keys.sealer(connection)
            row = store.find_claim(connection, sealer, INSTALLATION, policy_id, claim_id)
            assert row is not None
            reach = Reach(codes={(YIBAO, CT): (date(2026, 5, 5), date(2026, 5, 16))})
            sealer.load([person_subject(row.person_id)])
            earlier = EarlierServices(
                connection,
                sealer,
                people={row.person_id},
                insurers={row.insurer},
                first_year=2026,
                last_year=2026,
            )
            lookup, values = statements[-1]
            found = earlier.of(row, reach)
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {lookup}", values).all()
        assert [one.bill_number for one in found] == ["B2", "B3"]
        assert {one.code for one in found} == {Coding(system=YIBAO, code=CT)}
        told = " ".join(str(step) for step in steps)
        assert "ix_decision_person_id_last_year" in told
        assert "SCAN" not in told


@pytest.mark.both_databases
def test_the_migrations_make_the_tables_that_the_code_uses(service: Served) -> None:
    with service.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all()
