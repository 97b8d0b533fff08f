"""A what-if tells what happens: the same bills really handed in under the new plan pay the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lipei.claims.v1 import claims_pb2, review_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from lipei.type.v1 import bill_pb2
from tests.services.claims.given import (
    DRUG,
    PLANS,
    SCAN,
    bill,
    imported,
    line,
    policy,
    submission,
)
from tests.services.claims.serving import Served, served
from tests.services.claims.test_benefits import published
from tests.services.claims.test_corrections import correct
from tests.services.claims.test_reviews import asked, got, paid

PLAN = "family-deductible"
OLD = (PLANS / f"{PLAN}.yaml").read_text("utf-8")
CHANGES = (
    ('"2000.00"', '"1500.00"'),  # a member's deductible
    ('"5000.00"', '"2500.00"'),  # the family's
    ('"0.85"', '"0.90"'),
    ('"12000.00"', '"4000.00"'),  # out of pocket
    ('"300000.00"', '"15000.00"'),  # a member's ceiling
    ('"500000.00"', '"32000.00"'),  # the family's
)
BILLS = 24


def new_plan() -> str:
    made = OLD
    for old, changed in CHANGES:
        assert made.count(old) == 1
        made = made.replace(old, changed)
    return made


def given(seed: int) -> list[bill_pb2.Bill]:
    """Bills of two families, in and out of hospital; every seventh lacks a fact."""
    pick = random.Random(seed)
    found = []
    for number in range(BILLS):
        charges = [line(1, DRUG, f"{pick.randrange(300, 6_000)}.{pick.randrange(100):02}")]
        charges += [line(2, SCAN, "1.01", str(pick.randrange(1, 900)))] * pick.randrange(2)
        care = pick.choice([bill_pb2.CARE_TYPE_INPATIENT, bill_pb2.CARE_TYPE_OUTPATIENT])
        person = pick.choice([100, 101, 102, 200, 201])
        day = f"2026-05-{number + 1:02}"
        made = bill(f"B{number}", *charges, person=person, days=(day, day), care_type=care)
        if number % 7 == 6:
            made.ClearField("social_insurance")
        found.append(made)
    return found


def submitted(service: Served, one: bill_pb2.Bill) -> claims_pb2.Claim:
    (claim,) = service.claims.SubmitClaim(submission(one)).claims
    return got(service, claim.name)


def started(service: Served, plan: str) -> None:
    published(service, plan)
    imported(service, policy(1, people=3, plan=PLAN), policy(2, people=2, plan=PLAN))


def pays(claim: claims_pb2.Claim) -> int:
    waits = claim.state == claims_pb2.CLAIM_STATE_PENDED_INFO
    return 0 if waits else int(claim.decision.benefit.minor_units)


@pytest.mark.parametrize(("seed", "few"), [(1, 0), (2, 1_000)], ids=["in processes", "here"])
def test_what_is_told_is_what_happens(tmp_path: Path, seed: int, few: int) -> None:
    bills = given(seed)
    corrected, reversed_, taken_back = bills[3], bills[8], bills[11]
    with served(f"sqlite:///{tmp_path}/told.db", few=few) as service:
        started(service, OLD)
        names = {}
        for one in bills:
            claim = submitted(service, one)
            names[claim.name] = one.bill_number
            if one is reversed_:
                claim = paid(service, claim)
                service.review.ReverseClaim(asked(review_pb2.ReverseClaimRequest, claim))
            if one is taken_back:
                back = bill_pb2.Bill()
                back.CopyFrom(one)
                back.kind = bill_pb2.BILL_KIND_REVERSAL
                service.claims.SubmitClaim(submission(back))
        for name, number in names.items():
            if number == corrected.bill_number:
                paid(service, got(service, name))
        _restate(corrected)
        correct(service, corrected.bill_number, *corrected.lines, **_about(corrected))
        request = pb.DecideWhatIfRequest(
            yaml=new_plan().encode(),
            first_date="2020-01-01",
            last_date="2199-12-31",
            every_claim=True,
        )
        answers = list(service.recompute.DecideWhatIf(request))
        told = {
            names[one.name]: one.after.minor_units for answer in answers for one in answer.claims
        }
    with served(f"sqlite:///{tmp_path}/happens.db") as service:
        started(service, new_plan())
        stand = [one for one in bills if one not in (reversed_, taken_back)]
        happens = {one.bill_number: pays(submitted(service, one)) for one in stand}
    assert told == happens
    assert len(set(happens.values())) > BILLS // 3  # the ceilings bind some, not all


def _restate(one: bill_pb2.Bill) -> None:
    one.lines[0].quantity = "2"
    one.lines[0].billed.minor_units *= 2
    one.total.minor_units = sum(charge.billed.minor_units for charge in one.lines)


def _about(one: bill_pb2.Bill) -> dict[str, object]:
    day = one.start_time.ToDatetime().date().isoformat()
    number = one.bill_number
    person = next(
        person
        for person in (100, 101, 102, 200, 201)
        if bill(number, person=person).member_token == one.member_token
    )
    return {"person": person, "days": (day, day), "care_type": one.care_type}
