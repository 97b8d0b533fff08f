"""Benefit terms over the wire: facts come with policies and bills, usage is kept and replayed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from lipei.claims.v1 import claims_pb2, decision_pb2, policy_pb2, reason_pb2
from lipei.claims.v1 import settlement_pb2 as pb
from lipei.type.v1 import bill_pb2, coding_pb2
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.storage import claims as store
from services.claims.storage.tables import claim as claim_table
from services.claims.storage.tables import usage_balance
from services.common.grpc_edge import error_of
from tests.services.claims.core.bills import CASES
from tests.services.claims.given import (
    YIBAO,
    bill,
    imported,
    line,
    policy,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, served

PLAN = (CASES / "plans" / "every-benefit.yaml").read_text("utf-8")
# What payments can carry out, and nothing drawn.
PAYABLE = (
    PLAN.replace("provider, 2026-01-01: member", "member")
    .replace("{2025-01-01: 0, 2026-01-01: 1}", "{2025-01-01: 0}")
    .partition("undisputed_first:")[0]
)


def published(service: Served, yaml: str) -> str:
    request = claims_pb2.PublishPlanRequest(request_id=uuid.uuid4().hex, yaml=yaml.encode())
    return str(service.claims.PublishPlan(request).plan_version)


@pytest.fixture
def service(database_url: str) -> Iterator[Served]:
    with served(database_url) as running:
        published(running, PAYABLE)
        yield running


def insured(number: int = 1, *, people: int = 1) -> policy_pb2.Policy:
    """A policy of 2026 whose members need no authorisation for a stay."""
    made = policy(number, people=people, plan="every-benefit")
    for member in made.members:
        member.authorisations.add(
            authorisation_id=f"S-{member.member_id}",
            care_types=[bill_pb2.CARE_TYPE_INPATIENT],
            start_date="2026-01-01",
            last_date="2026-12-31",
        )
        member.family_doctor.SetInParent()
    return made


def decided(service: Served, given: bill_pb2.Bill) -> claims_pb2.Claim:
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    service.claims.ReplayClaim(claims_pb2.ReplayClaimRequest(name=claim.name))
    return claim


def reasons(claim: claims_pb2.Claim) -> dict[int, int]:
    """Minor units by reason."""
    found: dict[int, int] = {}
    for each in claim.decision.lines:
        for share in each.shares:
            found[share.reason] = found.get(share.reason, 0) + share.amount.minor_units
    return found


def used(service: Served) -> dict[tuple[str, str], int]:
    with service.database.reading() as connection:
        rows = connection.execute(select(usage_balance)).all()
    return {(row.subject, row.accumulator): row.amount for row in rows if row.amount}


def test_a_plan_that_payments_cannot_carry_out_is_refused_with_every_reason(
    service: Served,
) -> None:
    others = 'redecision: {clause: "8.8", others: {2025-01-01: stand, 2026-01-01: again}}'
    with pytest.raises(grpc.RpcError) as caught:
        published(service, f"{PLAN}\n{others}\n")
    error = error_of(caught.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {one.reason for one in error.violations} == {
        "PART_NOT_PAYABLE",
        "OTHERS_NOT_DECIDED_AGAIN",
    }


def test_an_authorisation_is_counted_across_claims_and_named_by_the_bill(service: Served) -> None:
    given = insured()
    coding = coding_pb2.Coding(system=YIBAO, code="Q1")
    genes = coding_pb2.Coding(system=YIBAO, code="G1")
    for number, code, units in (("Q-1", coding, "10"), ("G-1", genes, "")):
        given.members[0].authorisations.add(
            authorisation_id=number,
            codes=[code],
            start_date="2026-05-01",
            last_date="2026-05-31",
            units=units,
        )
    imported(service, given)
    pharmacy = bill_pb2.CARE_TYPE_PHARMACY
    first = decided(service, bill("B1", line(1, "Q1", "100.00", "7"), care_type=pharmacy))
    # (700 - 400) x 0.60
    assert first.decision.benefit == yuan("180.00")
    second = bill("B2", line(1, "Q1", "90.00", "4"), care_type=pharmacy)
    second.authorisation = "Q-1"
    # 3 of 4 units: 270 x 0.60
    assert decided(service, second).decision.benefit == yuan("162.00")
    assert used(service)["m0", "authorisation Q-1 units"] == 100_000
    third = bill("B3", line(1, "Q1", "80.00"), care_type=pharmacy)
    assert list(reasons(decided(service, third))) == [number_of("REASON_AUTHORISATION_EXCEEDED")]
    another = bill("B4", line(1, "Q1", "70.00"), care_type=pharmacy)
    another.lines[0].authorisation = "Q-2"
    assert list(reasons(decided(service, another))) == [number_of("REASON_AUTHORISATION_INVALID")]


def number_of(name: str) -> int:
    return int(reason_pb2.Reason.Value(name))


@pytest.mark.on_postgresql
def test_the_family_is_as_large_as_its_revision_says(service: Served) -> None:
    imported(service, insured(1, people=3))
    with service.database.writing() as connection:
        row = {
            "policy_id": "p1",
            "subject": "",
            "accumulator": "family-deductible",
            "scope": "family",
            "period_start": "2026-01-01",
            "amount": 100_000,
            "uses": 0,
        }
        connection.execute(usage_balance.insert().values(row))
    claim = decided(service, bill("B1", line(1, "H1", "700.00")))
    # 800 + 300 for the third: 100 are left; 600 x 0.60
    assert claim.decision.benefit == yuan("360.00")
    fourth = insured(1, people=4)
    fourth.revision, fourth.effective_date = 2, "2026-06-01"
    imported(service, fourth)
    later = bill("B2", line(1, "H2", "700.00"), days=("2026-06-01", "2026-06-02"))
    # one more: 300 are left; 400 x 0.60
    assert decided(service, later).decision.benefit == yuan("240.00")


def test_a_tier_of_before_holds_until_the_year_is_over(service: Served) -> None:
    given = insured()
    member = given.members[0]
    member.outcome_tier.tier, member.outcome_tier.certified_date = "silver", "2026-03-01"
    member.earlier_outcome_tiers.add(tier="gold", certified_date="2025-12-01")
    imported(service, given)
    # (1500 - 500) x 0.85
    claim = decided(service, bill("B1", line(1, "H1", "1500.00")))
    assert claim.decision.benefit == yuan("850.00")


def test_a_referral_and_a_family_doctor_come_over_the_wire(service: Served) -> None:
    given = insured()
    given.members[0].family_doctor.contracts.add(
        provider_id="H1", start_date="2026-05-01", last_date="2026-05-31"
    )
    imported(service, given)
    outpatient = bill_pb2.CARE_TYPE_OUTPATIENT
    day = ("2026-05-04", "2026-05-04")
    waits = decided(service, bill("B1", line(1, "V1", "110.00"), care_type=outpatient, days=day))
    assert waits.state == claims_pb2.CLAIM_STATE_PENDED_INFO
    # Reserved: 100 x 0.80.
    assert used(service)["m0", "member-ceiling"] == 8_000
    referred = bill("B2", line(1, "V1", "110.00"), care_type=outpatient, days=day)
    referred.lines[0].unit_price, referred.lines[0].billed.minor_units = "120.00", 12_000
    referred.total.minor_units, referred.referral = 12_000, True
    assert decided(service, referred).decision.benefit == yuan("88.00")
    at_the_doctors = bill("B3", line(1, "V2", "110.00"), care_type=outpatient, days=day)
    at_the_doctors.provider_id = "H1"
    assert decided(service, at_the_doctors).decision.benefit == yuan("90.00")


def test_a_claim_that_is_drawn_is_replayed_as_drawn_and_says_four_eyes(database_url: str) -> None:
    drawn = PAYABLE.replace(
        "share, values: {2025-01-01: 0}}\nf", 'share, values: {2025-01-01: "0.5"}}\nf'
    )
    drawn = drawn.replace('{2025-01-01: "6000.00"}', "{2025-01-01: 10}")
    assert drawn != PAYABLE
    with served(database_url) as service:
        published(service, drawn)
        imported(service, insured())
        states = set()
        for number in range(40):
            claim = decided(service, bill(f"B{number}", line(1, "N1", f"{100 + number}.00")))
            assert claim.decision.four_eyes
            assert claim.decision.lines[0].payee == decision_pb2.PAYEE_MEMBER
            states.add(claim.state == claims_pb2.CLAIM_STATE_PENDED_REVIEW)
            if len(states) == 2:
                break
        assert states == {True, False}


def test_a_decision_that_takes_anothers_place_releases_it_exactly(service: Served) -> None:
    imported(service, insured())
    outpatient = bill_pb2.CARE_TYPE_OUTPATIENT
    day = ("2026-05-04", "2026-05-04")
    waits = decided(service, bill("B1", line(1, "V1", "110.00"), care_type=outpatient, days=day))
    stay = decided(service, bill("B2", line(1, "H1", "600.00")))
    before = used(service)
    name, claim_id = waits.name, waits.name.rsplit("/", 1)[1]
    with service.database.writing() as connection:
        # What papers will do once there is an rpc for them; the facts are the same as before.
        store.move_claim(connection, claim_id, Event.RECEIVE_PAPERS, "test", 1)
    service.settlement.AdjudicateClaim(pb.AdjudicateClaimRequest(name=name))
    assert used(service) == before
    with service.database.reading() as connection:
        state = connection.execute(
            select(claim_table.c.state).where(claim_table.c.id == claim_id)
        ).scalar_one()
    assert ClaimState(state) is ClaimState.PENDED_INFO
    service.claims.ReplayClaim(claims_pb2.ReplayClaimRequest(name=name))
    assert stay.decision.benefit == yuan("60.00")


def _faulty() -> policy_pb2.Policy:
    given = insured()
    member: Any = given.members[0]
    member.outcome_tier.tier, member.outcome_tier.certified_date = "gold", "2025-12-01"
    member.earlier_outcome_tiers.add(tier="gold", certified_date="2025-12-01")
    member.earlier_outcome_tiers.add(tier="not a tier", certified_date="2026-01-01")
    member.family_doctor.contracts.add(
        provider_id="", start_date="2026-02-01", last_date="2026-01-31"
    )
    member.family_doctor.contracts.add(
        provider_id="C", start_date="2026-03-01", last_date="2026-03-31"
    )
    member.family_doctor.contracts.add(
        provider_id="D", start_date="2026-03-31", last_date="2026-04-30"
    )
    member.authorisations.add(
        authorisation_id="a b", start_date="2026-01-01", last_date="2026-01-31"
    )
    again = member.authorisations.add(
        authorisation_id="S-m0",
        sections=["inpatient"],
        start_date="2026-02-30",
        last_date="2026-01-31",
        units="-1",
    )
    again.amount.currency_code, again.amount.minor_units = "USD", -1
    return given


def test_every_fault_of_an_imported_member_is_named_at_once(service: Served) -> None:
    answer = imported(service, _faulty(), dry_run=True)
    at = "policies[0].members[0]."
    assert {(fault.field.removeprefix(at), fault.reason) for fault in answer.faults} == {
        ("earlier_outcome_tiers[0].certified_date", "DUPLICATE_DAY"),
        ("earlier_outcome_tiers[1].tier", "MALFORMED_ID"),
        ("earlier_outcome_tiers[1].certified_date", "DATES_OUT_OF_ORDER"),
        ("family_doctor.contracts[0].provider_id", "MALFORMED"),
        ("family_doctor.contracts[0].last_date", "ENDS_BEFORE_START"),
        ("family_doctor.contracts", "OVERLAPPING_CONTRACTS"),
        ("authorisations[1].authorisation_id", "MALFORMED_ID"),
        ("authorisations[1]", "AUTHORISES_EVERYTHING"),
        ("authorisations[2].authorisation_id", "DUPLICATE_ID"),
        ("authorisations[2].start_date", "IMPOSSIBLE_DATE"),
        ("authorisations[2].units", "OUT_OF_RANGE"),
        ("authorisations[2].amount.currency_code", "OTHER_CURRENCY"),
        ("authorisations[2].amount.minor_units", "OUT_OF_RANGE"),
    }
    assert answer.created == 0


def test_a_bills_malformed_authorisation_is_refused_at_its_field(service: Served) -> None:
    imported(service, insured())
    given = bill("B1", line(1, "Q1", "10.00"))
    given.authorisation, given.lines[0].authorisation = "no number", "x" * 49
    with pytest.raises(grpc.RpcError) as caught:
        service.claims.SubmitClaim(submission(given))
    assert {one.field for one in error_of(caught.value).violations} == {
        "bill.authorisation",
        "bill.lines[0].authorisation",
    }
