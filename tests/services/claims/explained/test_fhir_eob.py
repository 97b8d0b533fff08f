"""FHIR R4 accepts what we say of every kind of decision, and every sum in it holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fhirkit
import msgspec
import pytest

from services.claims.core.decision import Bearer, BearerShare, Disposition, LineOutcome
from services.claims.core.explanation import DecisionAltered
from services.claims.core.facts import EarlierService, usage_snapshot
from services.claims.core.life_cycle import ClaimState
from services.claims.core.reasons import WORDS, Reason
from services.claims.explained.fhir_codes import category_of, reason_concept
from services.claims.explained.fhir_eob import (
    claim_response,
    explanation_of_benefit,
    sums_that_fail,
)
from services.claims.explained.told import CoordinatedClaim, ToldClaim
from services.common.money import currency_exponent
from tests.services.claims.core.bills import DAY, bill, line, plan_named
from tests.services.claims.explained.telling import (
    Decided,
    decided,
    decided_in_cases,
    told,
    unlike,
)

PLAN = plan_named("every-term")
Maker = Callable[[ToldClaim], bytes]
MAKERS = pytest.mark.parametrize("make", [explanation_of_benefit, claim_response])


def said(made: bytes) -> Any:
    return json.loads(made, parse_float=Decimal, parse_int=Decimal)


def kinds(one: Decided) -> Iterator[str]:
    """What kinds of decision it is."""
    outcomes = {decided_line.outcome for decided_line in one.decision.lines}
    if one.decision.disposition is Disposition.AUTO_APPROVED:
        yield "approved"
    if one.decision.disposition is Disposition.DENIED:
        yield "denied"
    if LineOutcome.CUT in outcomes:
        yield "cut"
    if one.decision.pends:
        yield one.decision.disposition.value
    if one.inputs.prior.payments:
        yield "coordinated"


def test_the_cases_hold_every_kind_of_decision() -> None:
    found = Counter(kind for one in decided_in_cases() for kind in kinds(one))
    assert set(found) >= {
        *("approved", "denied", "cut", "coordinated", "pended_info", "pended_review")
    }


@MAKERS
@pytest.mark.parametrize("state", [None, ClaimState.REVERSED, ClaimState.WITHDRAWN])
def test_every_kind_of_decision_of_the_cases_is_valid_and_adds_up(
    make: Maker, state: ClaimState | None
) -> None:
    of_a_kind = unlike(decided_in_cases())
    assert len(of_a_kind) > 150
    _are_valid_and_add_up(of_a_kind, make, state)


@pytest.mark.fault
@MAKERS
def test_every_decision_of_the_cases_is_valid_and_adds_up(make: Maker) -> None:
    _are_valid_and_add_up(decided_in_cases(), make, None)


def _are_valid_and_add_up(every: Iterable[Decided], make: Maker, state: ClaimState | None) -> None:
    for one in every:
        made = make(told(one, state=state))
        assert fhirkit.validate(made) == [], one.inputs.bill.bill_number
        resource = said(made)
        assert sums_that_fail(resource) == ()
        submitted = resource["total"][0]["amount"]["value"]
        places = currency_exponent(one.decision.currency)
        assert submitted == Decimal(one.decision.billed).scaleb(-places)
        assert resource["status"] == ("active" if state is None else "cancelled")
        assert resource["use"] == "claim"
        assert resource["outcome"] in {"queued", "complete", "partial"}
        assert ("payment" in resource) == (
            state is None and not one.decision.pends and one.decision.benefit > 0
        )


def test_the_validator_refuses_what_r4_does_not_know() -> None:
    resource = json.loads(explanation_of_benefit(told(decided(PLAN, bill()))))
    for spoilt in ({"outcome": None}, {"created": "yesterday"}, {"colour": "red"}):
        assert fhirkit.validate(json.dumps(resource | spoilt)), spoilt


@MAKERS
def test_a_fen_too_many_is_found(make: Maker) -> None:
    resource = said(make(told(decided(PLAN, bill(line(1), line(2, "X1"))))))
    assert sums_that_fail(resource) == ()
    part = resource["item"][1]["adjudication"][-2]
    part["amount"]["value"] += Decimal("0.01")
    assert sums_that_fail(resource) == (
        "item 2: its adjudications are not what was submitted",
        "the totals are not the sums of the items",
    )
    part["amount"]["value"] -= Decimal("0.01")
    resource["total"][0]["amount"]["value"] += Decimal("0.01")
    assert sums_that_fail(resource) == ("the totals are not the sums of the items",)


@MAKERS
def test_what_does_not_add_up_does_not_leave(make: Maker) -> None:
    claim = told(decided(PLAN, bill()))
    first = claim.told.lines[0]
    parts = (replace(first.parts[0], amount=first.parts[0].amount + 1), *first.parts[1:])
    lines = (replace(first, parts=parts),)
    with pytest.raises(DecisionAltered):
        make(replace(claim, told=replace(claim.told, lines=lines)))


def adjudications(resource: Any, item: int = 0) -> list[tuple[str, Any]]:
    return [
        (
            one["category"]["coding"][0]["code"],
            one.get("amount", {"value": one.get("value")})["value"],
        )
        for one in resource["item"][item]["adjudication"]
    ]


def test_an_item_tells_each_step_with_its_codes() -> None:
    resource = said(explanation_of_benefit(told(decided(PLAN, bill(line(1))))))
    assert adjudications(resource) == [
        ("submitted", 100),
        ("eligible", 100),
        ("eligpercent", 60),
        ("copay", 20),
        ("coinsurance", 32),
        ("benefit", 48),
    ]
    copay = resource["item"][0]["adjudication"][3]["reason"]
    assert [(one["system"].rpartition("/")[2], one["code"]) for one in copay["coding"]] == [
        ("urn:lipei:reason", "COPAY"),
        ("claim-adjustment-group-codes", "PR"),
        ("claim-adjustment-reason-codes", "3"),
    ]
    assert "条款 3.4" in copay["text"]
    assert "clause 3.4" in copay["text"]
    assert resource["item"][0]["net"] == {"value": 100, "currency": "CNY"}


def test_who_bears_a_price_above_contract_stands_in_the_group() -> None:
    for direct, group in ((True, "CO"), (False, "PR")):
        facts = msgspec.structs.replace(
            bill(line(1, "P1"), provider="PRICED"), direct_billing=direct
        )
        resource = said(claim_response(told(decided(PLAN, facts))))
        discount = resource["item"][0]["adjudication"][3]
        assert discount["category"]["coding"][0]["code"] == "discount"
        assert discount["reason"]["coding"][1]["code"] == group


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_category_and_its_codes(reason: Reason) -> None:
    words = WORDS[reason]
    category = category_of(reason)["coding"][0]
    assert category == {"system": words.fhir_system, "code": words.fhir_code}
    share = BearerShare(bearer=Bearer.PATIENT, reason=reason, clause="1", amount=1)
    codes = [one["code"] for one in reason_concept(reason, share.bearer, "x")["coding"]]
    assert codes == [reason.name, "PR", *filter(None, (words.carc, words.rarc))]


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        (bill(), "complete"),
        (bill(line(1, "X1")), "complete"),
        (msgspec.structs.replace(bill(), care_type=None), "queued"),
        (bill(line(1, "V1", "90000.00")), "queued"),
    ],
    ids=["decided", "denied", "waits for a fact", "waits for a person"],
)
def test_what_waits_is_queued_or_partial(facts: Any, outcome: str) -> None:
    one = decided(PLAN, facts)
    resource = said(explanation_of_benefit(told(one)))
    assert (resource["outcome"], "payment" in resource) == (
        outcome,
        outcome == "complete" and one.decision.benefit > 0,
    )


def test_a_payment_has_the_day_of_the_hospital_s_zone() -> None:
    one = decided(PLAN, bill())
    paid = said(explanation_of_benefit(told(one)))["payment"]
    assert (paid["date"], paid["amount"]["value"]) == ("2026-01-06", 48)
    owed = said(explanation_of_benefit(told(one, state=ClaimState.PAYABLE)))["payment"]
    assert "date" not in owed
    assert owed["amount"]["value"] == 48


def test_a_payment_is_what_is_left_of_it_after_what_came_back() -> None:
    whole = told(decided(PLAN, bill()))
    too_much = replace(whole, paid=whole.paid + 1_000, recovered=400)
    part = said(explanation_of_benefit(too_much))["payment"]
    assert (part["amount"]["value"], part["type"]["coding"][0]["code"]) == (54, "partial")
    back = said(explanation_of_benefit(replace(too_much, recovered=1_000)))["payment"]
    assert (back["amount"]["value"], back["type"]["coding"][0]["code"]) == (48, "complete")


def _earlier() -> EarlierService:
    charge = line(1)
    return EarlierService(
        bill_number="B0",
        provider_id="CLINIC",
        code=charge.code,
        service_date=DAY,
        quantity=charge.quantity,
        unit_price=charge.unit_price,
    )


def test_a_claim_of_which_some_lines_wait_is_partial() -> None:
    facts = msgspec.structs.replace(bill(line(1), line(2, "V1", "9.00")), care_type=None)
    one = decided(PLAN, facts, usage_snapshot((), [_earlier()]))
    outcomes = [decided_line.outcome for decided_line in one.decision.lines]
    assert outcomes == [LineOutcome.DENIED, LineOutcome.PENDED]
    assert said(claim_response(told(one)))["outcome"] == "partial"


def test_a_duplicate_is_related_to_the_claim_that_it_repeats() -> None:
    claim = told(decided(PLAN, bill(line(1)), usage_snapshot((), [_earlier()])))
    (unknown,) = said(explanation_of_benefit(claim))["related"]
    assert unknown["reference"]["value"] == "CLINIC/B0"
    known = replace(claim.told, claims_of={("CLINIC", "B0"): ("policies/p-1/claims/aa",)})
    made = explanation_of_benefit(replace(claim, told=known))
    assert fhirkit.validate(made) == []
    (found,) = said(made)["related"]
    assert found["claim"]["identifier"]["value"] == "policies/p-1/claims/aa"
    assert found["relationship"]["coding"][0]["code"] == "prior"


def test_another_insurers_policy_has_no_name() -> None:
    one = next(one for one in decided_in_cases() if len(one.inputs.prior.payments) == 1)
    stranger = explanation_of_benefit(told(one))
    payments = one.inputs.prior.payments
    payer = payments[0].payer
    assert f'"{payer}"'.encode() not in stranger
    assert [i["focal"] for i in said(stranger)["insurance"]] == [True, *(False for _ in payments)]
    own = CoordinatedClaim(amount=1, policy="p-0", claim="policies/p-0/claims/bb")
    made = explanation_of_benefit(told(one, coordinated=(own,)))
    assert said(made)["insurance"][1]["coverage"]["identifier"]["value"] == "p-0"
    assert said(made)["related"][0]["relationship"]["coding"][0]["code"] == "associated"
    assert fhirkit.validate(made) == []


def test_notes_stand_in_both_languages_and_items_point_at_theirs() -> None:
    claim = told(decided(PLAN, bill(line(1), line(2, "X1"))))
    resource = said(explanation_of_benefit(claim))
    notes = {int(one["number"]): one for one in resource["processNote"]}
    assert len(notes) == 2 * len(claim.text.zh)
    for item in resource["item"]:
        zh, en = (notes[int(number)] for number in item["noteNumber"])
        assert zh["text"].startswith(f"第 {item['sequence']} 行")
        assert en["text"].startswith(f"Line {item['sequence']} ")
        assert zh["language"]["coding"][0]["code"] == "zh-CN"


def test_balances_are_told_and_the_person_is_not() -> None:
    made = explanation_of_benefit(
        told(decided(PLAN, bill(line(1, "D1", "2000.00"), provider="GOLD")))
    )
    balances = {
        one["category"]["coding"][0]["code"]: one["financial"][0]
        for one in said(made)["benefitBalance"]
    }
    assert balances["member-deductible"]["allowedMoney"]["value"] == 1000
    assert balances["member-deductible"]["usedMoney"]["value"] == 1000
    assert balances["member-deductible"]["type"]["coding"][0]["code"] == "deductible"
    for personal in (b"1980", b"birth", b"self"):
        assert personal not in made


@MAKERS
def test_the_same_claim_gives_the_same_bytes(make: Maker) -> None:
    one = decided(PLAN, bill())
    assert make(told(one)) == make(told(one))
    assert make(told(one)) != make(told(one, state=ClaimState.PAYABLE))
