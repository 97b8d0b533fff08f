"""Bills find their cover over a real socket: several policies, endorsements, lapse, dependants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import policy_pb2, reason_pb2, review_pb2, settlement_pb2
from lipei.type.v1 import bill_pb2
from services.common.access.caller import Caller
from tests.services.claims.given import (
    DRUG,
    HOSPITAL,
    PLAN,
    PLANS,
    bill,
    id_number,
    imported,
    line,
    policy,
    submission,
    yuan,
)
from tests.services.claims.serving import Served, Stuck, served, token
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_benefits import published
from tests.services.claims.test_reviews import asked, got, refused
from tests.tenants import of_hospital, of_installation, of_insurer, of_member

# Above the ceiling for payment without a look.
BIG = line(1, DRUG, "200000.00")


@dataclass
class Desk:
    """Who calls."""

    who: Caller = field(default_factory=of_insurer)


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


@pytest.fixture
def stuck(stocked_url: str, desk: Desk) -> Iterator[Served]:
    """The same, with workflows that never come."""
    with served(stocked_url, workflows=Stuck(), caller=lambda: desk.who) as running:
        yield running


def of_the_same(number: int, **changes: Any) -> policy_pb2.Policy:
    """Another policy of the person whom policy 1 insures."""
    made = policy(number, **changes)
    made.members[0].document.number = id_number(100)
    return made


def claims(service: Served, given: bill_pb2.Bill) -> list[pb.Claim]:
    return list(service.claims.SubmitClaim(submission(given)).claims)


def policies(found: list[pb.Claim]) -> list[str]:
    return [claim.name.split("/")[1] for claim in found]


def denied_for(claim: pb.Claim) -> set[int]:
    assert claim.state == pb.CLAIM_STATE_DENIED
    return {share.reason for one in claim.decision.lines for share in one.shares}


# ------------------------------------------------------------------------------- several policies


def test_without_a_choice_the_oldest_policy_answers_first(service: Served) -> None:
    imported(service, of_the_same(2, start_date="2025-06-01", last_date="2026-12-31"))
    assert policies(claims(service, bill("B1"))) == ["p2", "p1"]


def test_the_members_choice_of_the_order_goes_first(service: Served) -> None:
    third, fourth = of_the_same(3), of_the_same(4)
    third.members[0].coordination_position = 2
    fourth.members[0].coordination_position = 1
    imported(service, third, fourth)
    found = claims(service, bill("B1"))
    assert policies(found) == ["p4", "p3", "p1"]
    assert [claim.decision.benefit for claim in found] == [yuan("20000"), yuan("10000"), yuan(0)]


def test_a_plan_that_pays_last_goes_after_the_members_choice(service: Served) -> None:
    yaml = (PLANS / f"{PLAN}.yaml").read_text("utf-8")
    place = "place: {2024-01-01: last}}"
    old = next(row for row in yaml.splitlines() if row.startswith("coordination:"))
    version = published(service, yaml.replace(old, f"{old[:-1]}, {place}"))
    last = of_the_same(2, start_date="2025-06-01", last_date="2026-12-31")
    last.plan = version
    last.members[0].coordination_position = 1
    imported(service, last)
    assert policies(claims(service, bill("B1"))) == ["p1", "p2"]


def test_a_choice_holds_from_the_endorsement_that_brings_it(service: Served) -> None:
    imported(service, of_the_same(2))
    chosen = of_the_same(2, revision=2, effective_date="2026-05-06")
    chosen.members[0].coordination_position = 1
    imported(service, chosen)
    before = bill("B1", days=("2026-05-02", "2026-05-05"))
    assert policies(claims(service, before)) == ["p1", "p2"]
    assert policies(claims(service, bill("B2", line(1, DRUG, "90.00")))) == ["p2", "p1"]
    wrong = of_the_same(3)
    wrong.members[0].coordination_position = -1
    answer = imported(service, wrong, dry_run=True)
    assert [(f.field, f.reason) for f in answer.faults] == [
        ("policies[0].members[0].coordination_position", "NEGATIVE")
    ]


@pytest.mark.parametrize("first", ["hospital", "member"])
def test_a_bill_settles_once_whoever_brings_it_first(
    service: Served, desk: Desk, first: str
) -> None:
    """The hospital's comes with its name and consent, the member's by the insurer's intake."""
    of_theirs, members = bill("B1"), bill("B1")
    of_theirs.name, of_theirs.consent = "hospitals/general/bills/b1", "hospitals/general/consents/c"
    known = bill("B0", line(1, DRUG, "1.00"))  # so that this hospital is known by its provider id
    known.name, known.consent = "hospitals/general/bills/b0", of_theirs.consent
    desk.who = of_hospital("general")
    claims(service, known)
    order = [(of_hospital("general"), of_theirs), (of_insurer(), members)]
    found = []
    for who, given in order if first == "hospital" else reversed(order):
        desk.who = who
        found += [claim.name for claim in claims(service, given)]
    assert len(found) == 2
    assert len(set(found)) == 1
    desk.who = of_insurer()
    assert got(service, found[0]).decision.benefit == yuan("20001")
    desk.who = of_hospital("general") if first == "member" else of_insurer()
    other = bill("B1", line(1, DRUG, "31000.00"))
    if first == "member":
        other.name, other.consent = of_theirs.name, of_theirs.consent
    fault = refused(service.claims.SubmitClaim, submission(other))
    assert fault.reason == "BILL_CONFLICT"
    other.kind = bill_pb2.BILL_KIND_CORRECTION
    (corrected,) = claims(service, other)
    assert (corrected.name, corrected.corrected) == (found[0], True)


@pytest.mark.on_postgresql
def test_a_member_asks_for_their_bill_by_its_number_and_it_settles_once(
    service: Served, desk: Desk
) -> None:
    known = bill("B0", line(1, DRUG, "1.00"))
    known.name, known.consent = "hospitals/general/bills/b0", "hospitals/general/consents/c"
    desk.who = of_hospital("general")
    claims(service, known)

    def asks(number: str, **changes: str) -> pb.SubmitBillResponse:
        told = {"provider_id": HOSPITAL, "bill_number": number, "request_id": "r", **changes}
        answer: pb.SubmitBillResponse = service.claims.SubmitBill(pb.SubmitBillRequest(**told))
        return answer

    desk.who = of_member(token("CN-ID", id_number(100)))
    asked_for = asks("B1")
    assert (asked_for.fetching, list(asked_for.claims)) == (True, [])
    assert service.workflows.fetched == ["general"]
    desk.who = of_hospital("general")
    theirs = bill("B1")
    theirs.name, theirs.consent = "hospitals/general/bills/b1", known.consent
    (opened,) = claims(service, theirs)
    desk.who = of_member(token("CN-ID", id_number(100)))
    found = asks("B1")
    assert ([claim.name for claim in found.claims], found.fetching) == ([opened.name], False)
    assert service.workflows.fetched == ["general"]
    desk.who = of_member(token("CN-ID", id_number(999)))
    anothers = asks("B1")  # as if it did not exist
    assert (anothers.fetching, list(anothers.claims)) == (True, [])
    fault = refused(
        service.claims.SubmitBill,
        pb.SubmitBillRequest(request_id="r", provider_id="nobody", bill_number="B1"),
    )
    assert fault.reason == "HOSPITAL_UNKNOWN"
    fault = refused(service.claims.SubmitBill, pb.SubmitBillRequest())
    assert {v.field for v in fault.violations} == {"request_id", "provider_id", "bill_number"}


def test_a_follower_under_another_insurer_goes_on_as_soon_as_the_first_is_decided(
    stuck: Served, desk: Desk
) -> None:
    desk.who = of_insurer("other")
    published(stuck, (PLANS / f"{PLAN}.yaml").read_text("utf-8"))
    imported(stuck, of_the_same(2))
    given = bill("B1", BIG)
    given.name, given.consent = "hospitals/general/bills/b1", "hospitals/general/consents/c"
    desk.who = of_hospital("general")
    one, two = (c.name for c in stuck.claims.SubmitClaim(submission(given, wait_s=0)).claims)
    desk.who = of_installation()
    settle = stuck.settlement.AdjudicateClaim
    settle(settlement_pb2.AdjudicateClaimRequest(name=one))
    fault = refused(settle, settlement_pb2.AdjudicateClaimRequest(name=two))
    assert fault.reason == "EARLIER_POLICY_PENDED"
    assert stuck.workflows.settlement.settle_freed() == 0  # it pends still
    desk.who = of_insurer()
    first = got(stuck, one)
    stuck.review.ReviewClaim(asked(review_pb2.ReviewClaimRequest, first))
    desk.who = of_insurer("other")
    later = got(stuck, two)
    assert (later.state, later.decision.benefit) == (pb.CLAIM_STATE_PAYABLE, yuan("10000"))


def test_a_follower_goes_on_when_nobody_decides_the_first_but_its_consent_ends(
    stuck: Served, desk: Desk
) -> None:
    """What the sweeper finds, whatever ended the wait."""
    imported(stuck, of_the_same(2))
    answer = stuck.claims.SubmitClaim(submission(bill("B1", BIG), wait_s=0))
    one, two = (claim.name for claim in answer.claims)
    stuck.settlement.AdjudicateClaim(settlement_pb2.AdjudicateClaimRequest(name=one))
    with stuck.database.writing() as connection:
        connection.exec_driver_sql("UPDATE claim SET state = 'withdrawn' WHERE policy_id = 'p1'")
    assert stuck.workflows.settlement.settle_freed(older_than_s=60) == 0  # too young
    assert stuck.workflows.settlement.settle_freed() == 1
    assert got(stuck, two).state == pb.CLAIM_STATE_PENDED_REVIEW


def looks_at_the_end(service: Served) -> str:
    """The plan with one word more: cover looks at the end of the stay."""
    text = (PLANS / f"{PLAN}.yaml").read_text("utf-8").replace(f"id: {PLAN}", "id: at-the-end")
    old = '  missing_facts: "5.4"\n'
    assert old in text
    return published(service, text.replace(old, f"{old}  cover_day: stay_end\n"))


def test_a_bill_finds_its_cover_on_the_day_at_which_the_plan_looks(service: Served) -> None:
    version = looks_at_the_end(service)
    begins = of_the_same(2, plan=version, start_date="2026-05-06", last_date="2027-05-05")
    ends = of_the_same(3, plan=version, start_date="2025-06-01", last_date="2026-05-06")
    imported(service, begins, ends)
    found = claims(service, bill("B1"))  # 4 to 8 May: `ends` covers the admission alone
    assert policies(found) == ["p1", "p2"]
    assert reason_pb2.REASON_WAITING_PERIOD in denied_for(found[1])  # it answers, of that day
    assert policies(claims(service, bill("B2", days=("2026-05-01", "2026-05-05")))) == ["p3", "p1"]


def test_what_a_plan_that_looks_at_the_end_knows_of_a_person_is_of_that_day(
    service: Served,
) -> None:
    version = looks_at_the_end(service)
    imported(service, policy(4, plan=version))
    sick = policy(4, plan=version, revision=2, effective_date="2026-05-06")
    told = sick.members[0].disclosed_conditions.add(code_prefix="J18")
    told.terms = policy_pb2.PRE_EXISTING_TERMS_EXCLUDED
    imported(service, sick)
    (across,) = claims(service, bill("B1", person=400))  # 4 to 8 May
    assert denied_for(across) == {reason_pb2.REASON_PRE_EXISTING}
    (before,) = claims(service, bill("B2", person=400, days=("2026-05-01", "2026-05-05")))
    assert before.decision.benefit == yuan("20000")


# ------------------------------------------------------------------------- endorsements and lapse


def lapsed(last_date: str, **changes: Any) -> policy_pb2.Policy:
    """Policy 1 whose cover ends early, as of that day."""
    told: dict[str, Any] = {"revision": 2, "effective_date": "2026-05-01", **changes}
    made = policy(1, **told)
    made.members[0].cover_last_date = last_date
    return made


def test_cover_that_ends_during_the_stay_pays_the_whole_stay(service: Served) -> None:
    imported(service, lapsed("2026-05-05", effective_date="2026-05-05"))
    (during,) = claims(service, bill("B1"))  # 4 to 8 May
    assert during.decision.benefit == yuan("20000")
    (after,) = claims(service, bill("B2", days=("2026-05-06", "2026-05-08")))
    assert denied_for(after) == {reason_pb2.REASON_NOT_COVERED_ON_DATE}


def test_a_member_left_out_during_the_stay_is_still_this_policys(service: Served) -> None:
    """Also beside another policy of theirs that is in force on all days."""
    family = policy(5, people=2)
    family.members[1].document.number = id_number(100)
    imported(service, family)
    imported(service, policy(5, people=1, revision=2, effective_date="2026-05-06"))
    found = claims(service, bill("B1"))
    assert policies(found) == ["p1", "p5"]
    assert [claim.decision.benefit for claim in found] == [yuan("20000"), yuan("10000")]
    assert policies(claims(service, bill("B2", days=("2026-05-07", "2026-05-08")))) == ["p1"]


def test_a_plan_changed_in_the_year_is_the_discharges(service: Served) -> None:
    text = (PLANS / f"{PLAN}.yaml").read_text("utf-8").replace(f"id: {PLAN}", "id: no-deductible")
    text = text.replace('{2024-01-01: "10000.00"}', '{2024-01-01: "0.00"}')
    published(service, text)
    imported(service, policy(1, plan="no-deductible", revision=2, effective_date="2026-05-07"))
    of_before = bill("B1", line(1, DRUG, "400.00"), days=("2026-05-02", "2026-05-06"))
    (before,) = claims(service, of_before)
    assert before.decision.plan_version.startswith(PLAN)
    assert before.decision.benefit == yuan(0)
    (across,) = claims(service, bill("B2", line(1, DRUG, "500.00")))  # 4 to 8 May
    assert across.decision.plan_version.startswith("no-deductible")
    assert across.decision.benefit == yuan("500")


def test_reinstated_after_a_gap_the_waiting_period_begins_anew(service: Served) -> None:
    imported(service, lapsed("2026-04-30"))
    back = policy(1, revision=3, effective_date="2026-06-01")
    back.members[0].cover_start_date = "2026-06-01"
    imported(service, back)
    found = {
        day: claims(service, bill(f"B{day}", line(1, DRUG, "50.00"), days=(day, day)))[0]
        for day in ("2026-04-30", "2026-05-15", "2026-06-30", "2026-07-01")
    }
    reasons = [
        {share.reason for share in claim.decision.lines[0].shares} for claim in found.values()
    ]
    assert reasons == [
        {reason_pb2.REASON_DEDUCTIBLE},
        {reason_pb2.REASON_NOT_COVERED_ON_DATE},
        {reason_pb2.REASON_WAITING_PERIOD},
        {reason_pb2.REASON_DEDUCTIBLE},
    ]


def test_reinstated_without_a_gap_the_waiting_period_was_served(service: Served) -> None:
    imported(service, lapsed("2026-04-30"))
    back = policy(1, revision=3, effective_date="2026-05-01")
    back.members[0].cover_start_date = "2026-05-01"
    imported(service, back)
    (claim,) = claims(service, bill("B1"))
    assert claim.decision.benefit == yuan("20000")
    (first,) = claims(service, bill("B2", days=("2026-01-15", "2026-01-16")))
    assert denied_for(first) == {reason_pb2.REASON_WAITING_PERIOD}  # of the cover before


# ------------------------------------------------------------------------------------- dependants


def test_a_child_is_covered_until_an_age(service: Served) -> None:
    family = policy(5, people=2)
    child = family.members[1]
    child.relationship, child.birth_date = policy_pb2.RELATIONSHIP_CHILD, "2000-06-15"
    imported(service, family)
    (before,) = claims(service, bill("B1", person=501, days=("2026-06-10", "2026-06-14")))
    assert before.decision.benefit == yuan("20000")
    (on_the_day,) = claims(service, bill("B2", person=501, days=("2026-06-15", "2026-06-16")))
    assert denied_for(on_the_day) == {reason_pb2.REASON_DEPENDANT_NOT_ELIGIBLE}
    assert claims(service, bill("B3", person=500))[0].decision.benefit == yuan("20000")
