"""How decisions came about: steps, shares and balances hold to the fen for everything decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from lipei.claims.v1 import explanation_pb2
from services.claims.core import canonical, explanation
from services.claims.core.balances import Kind, Unit
from services.claims.core.codes import code_key
from services.claims.core.decision import Bearer, Decision, LineOutcome
from services.claims.core.explain import Ended, explain
from services.claims.core.explanation import DecisionAltered, Step, explained
from services.claims.core.facts import CareType, EarlierService, Scope, usage_snapshot
from services.claims.core.reasons import Reason
from tests.services.claims.core.bills import DAY, bill, line, plan_named
from tests.services.claims.explained.telling import Decided, decided, decided_in_cases

PLAN = plan_named("every-term")


def test_every_decision_of_the_cases_is_explained_to_the_fen() -> None:
    everything = decided_in_cases()
    assert len(everything) > 200
    for one in everything:
        told = one.explained()
        assert told.recomputed
        assert sum(amount for _, amount in told.bearers) == one.decision.billed
        assert sum(amount for _, amount in told.reasons) == one.decision.billed
        for said in told.lines:
            assert sum(part.amount for part in said.parts) == said.billed
            left = [part.left for part in said.parts]
            assert left == sorted(left, reverse=True)
            assert (left[-1] if left else 0) == said.benefit


def test_steps_stand_in_their_order_and_an_edit_before_all() -> None:
    for one in decided_in_cases():
        for said in one.explained().lines:
            steps = [part.step for part in said.parts]
            edits = steps.count(Step.EDIT)
            assert steps[:edits] == [Step.EDIT] * edits
            assert steps[edits:] == sorted(steps[edits:])


def test_the_balances_move_by_what_the_decision_uses_up() -> None:
    for one in decided_in_cases():
        moved = {
            (b.accumulator, b.scope, b.period_start): b.after - b.before
            for b in one.explained().balances
        }
        for change in one.decision.usage_changes:
            key = (change.accumulator, change.scope, change.period_start)
            assert moved.pop(key) in (change.amount, change.count)
        assert set(moved.values()) <= {0}


def test_each_line_starts_from_the_balance_that_the_line_before_left() -> None:
    # 200 and 800 of the member's 1,000 a policy year; then the family's 300 a calendar year.
    one = decided(PLAN, bill(line(1, "D1", "200.00"), line(2, "D1", "2000.00"), provider="GOLD"))
    first, second = one.explained().lines
    (before,) = (b for b in first.balances if b.kind is Kind.DEDUCTIBLE)
    family, after = (b for b in second.balances if b.kind is Kind.DEDUCTIBLE)
    assert (before.before, before.after, before.left) == (0, 20_000, 80_000)
    assert (after.before, after.after, after.limit, after.left) == (20_000, 100_000, 100_000, 0)
    assert before.name.zh == "个人保单年度免赔额（住院、牙科）"
    assert family.name.en == "deductible per family and calendar year (dentist)"
    assert (family.scope, family.period_start) == (Scope.FAMILY, date(2025, 1, 1))


def test_the_share_in_force_is_named_with_its_clause() -> None:
    (said,) = decided(PLAN, bill(line(1))).explained().lines
    assert (said.share, said.share_clause) == (Decimal("0.6"), "4.3")
    share = next(part for part in said.parts if part.step is Step.SHARE)
    assert (share.amount, share.left) == (3_200, 4_800)
    (denied,) = decided(PLAN, bill(line(1, "X1"))).explained().lines
    assert (denied.share, denied.share_clause) == (None, "")


def _service(bill_number: str, provider: str = "CLINIC", day: date = DAY) -> EarlierService:
    charge = line(1)
    return EarlierService(
        bill_number=bill_number,
        provider_id=provider,
        code=charge.code,
        service_date=day,
        quantity=charge.quantity,
        unit_price=charge.unit_price,
        claim=f"policies/p-1/claims/{bill_number.lower()}",
    )


def test_a_duplicate_names_the_bill_that_it_repeats_one_for_one() -> None:
    usage = usage_snapshot((), [_service("B0"), _service("A9")])
    charges = bill(line(1), line(2), line(3))
    told = decided(PLAN, charges, usage).explained()
    earlier = [one.earlier.bill_number if one.earlier else "" for one in told.lines]
    assert earlier == ["A9", "B0", ""]
    text = explain(PLAN, told.decision, told=told)
    assert "已见于医疗机构 CLINIC 的票据 A9（2025-03-10）。" in text.zh[1]
    assert "It stands on bill B0 of CLINIC (2025-03-10)." in text.en[2]
    assert "B0" not in text.en[3]


def test_a_repeated_examination_names_where_it_was_done() -> None:
    repeats = [
        (one.plan.id, said)
        for one in decided_in_cases()
        for said in one.explained().lines
        if said.reason is Reason.DUPLICATE_EXAMINATION
    ]
    assert repeats
    for plan, said in repeats:
        assert said.earlier is not None
        # There the claim that comes later is the repetition, whenever it was done.
        assert said.earlier.service_date <= said.service_date or plan == "conventions-options"
        assert code_key(said.earlier.code) == code_key(said.code)


def test_the_sentences_tell_shares_and_balances() -> None:
    one = decided(PLAN, bill(line(1, "D1", "2000.00"), provider="GOLD"))
    text = explain(PLAN, one.decision, {1: "洁牙"}, told=one.explained())
    assert "赔付比例" in text.zh[1]
    assert "The insurer's share is" in text.en[1]
    assert (
        "家庭自然年度免赔额（牙科）（条款 3.3）：限额 300.00 元，此前已用 0.00 元，"
        "本次后 300.00 元，剩余 0.00 元。"
    ) in text.zh
    assert (
        "deductible per family and calendar year (dentist) (clause 3.3): limit CNY 300.00,"
        " CNY 0.00 used before, CNY 300.00 after, CNY 0.00 left."
    ) in text.en


def test_the_sentences_of_a_waiting_claim_say_that_its_balances_are_reserved() -> None:
    waits, decides = (
        next(
            one
            for one in decided_in_cases()
            if one.explained().balances and bool(one.decision.pends) is pends
        )
        for pends in (True, False)
    )
    text = explain(waits.plan, waits.decision, told=waits.explained())
    (zh,) = [n for n, said in enumerate(text.zh) if "按最高可能赔付的预留" in said]
    (en,) = [n for n, said in enumerate(text.en) if "the most that it could pay" in said]
    assert "本次后" in text.zh[zh + 1]
    assert " after" in text.en[en + 1]
    for over in (
        explain(decides.plan, decides.decision, told=decides.explained()),
        explain(waits.plan, waits.decision, told=waits.explained(), ended=Ended.WITHDRAWN),
        explain(waits.plan, waits.decision),
    ):
        assert not any("the most that it could pay" in said for said in over.en)


def _altered(decision: Decision) -> Decision:
    first = decision.lines[0]
    cut, *others = first.shares
    more = (msgspec.structs.replace(cut, amount=cut.amount + 1), *others)
    lines = (msgspec.structs.replace(first, shares=more), *decision.lines[1:])
    return msgspec.structs.replace(decision, lines=lines)


def test_a_decision_that_its_inputs_do_not_give_is_not_explained() -> None:
    one = decided(PLAN, bill())
    shifted = msgspec.structs.replace(one.decision, category="stay")
    other = msgspec.structs.replace(shifted, output_hash=canonical.output_hash(shifted))
    with pytest.raises(DecisionAltered, match="not what its inputs give"):
        Decided(PLAN, one.inputs, other).explained()
    told = explained(PLAN, one.inputs, other, same_engine=False)
    assert not told.recomputed
    assert [(said.share, said.balances) for said in told.lines] == [(None, ())]


def test_a_decision_whose_hash_or_sums_fail_is_explained_by_no_engine() -> None:
    one = decided(PLAN, bill())
    altered = _altered(one.decision)
    with pytest.raises(DecisionAltered, match="not what its hash says"):
        explained(PLAN, one.inputs, altered, same_engine=False)
    hashed = msgspec.structs.replace(altered, output_hash=canonical.output_hash(altered))
    with pytest.raises(DecisionAltered, match="its parts are not what was billed"):
        explained(PLAN, one.inputs, hashed, same_engine=False)


def test_a_reason_without_a_step_of_its_own_is_an_edit() -> None:
    one = decided(PLAN, bill())
    share = msgspec.structs.replace(
        one.decision.lines[0].shares[0], reason=Reason.UNITS_EXCEEDED, bearer=Bearer.PATIENT
    )
    assert explanation._step(share, refused=False) is Step.EDIT


def test_a_waiting_claim_tells_what_it_reserves() -> None:
    one = decided(plan_named("million-medical"), bill(care=None))
    told = one.explained()
    assert told.lines[0].outcome is LineOutcome.PENDED
    assert told.lines[0].balances == ()
    assert {(b.accumulator, b.after - b.before) for b in told.balances if b.after} == {
        (change.accumulator, change.amount) for change in one.decision.usage_changes
    }


def test_steps_and_units_are_the_wires() -> None:
    steps = {name: number for name, number in explanation_pb2.Step.items() if number}
    assert steps == {f"STEP_{one.name}": one.value for one in Step}
    units = {name for name, number in explanation_pb2.BalanceUnit.items() if number}
    assert units == {f"BALANCE_UNIT_{one.name}" for one in Unit}
    assert set(explanation.STEP_WORDS) == set(Step)


def test_explaining_changes_no_decision() -> None:
    facts = bill(line(1), care=CareType.INPATIENT)
    watched, unwatched = decided(PLAN, facts), decided(PLAN, facts)
    watched.explained()
    assert watched.decision == unwatched.decision


def test_an_explanation_names_services_sections_category_and_the_policys_days() -> None:
    charges = bill(line(1), line(2, "R1", "50.00"), line(3, "H1", "10.00"))
    one = decided(PLAN, charges)
    told = explained(PLAN, one.inputs, one.decision, {1: "挂号费", 2: ""})
    assert [said.name for said in told.lines] == ["挂号费", "R1", "H1"]
    sections = [said.section.en if said.section else None for said in told.lines]
    assert sections == ["outpatient", "rehabilitation", None]
    assert told.category is not None
    assert told.category.en == "visit"
    assert told.policy_days == (date(2025, 1, 1), date(2025, 12, 31))


def test_every_sum_that_does_not_hold_is_named() -> None:
    told = decided(PLAN, bill()).explained()
    assert explanation.sums_that_fail(told) == ()
    (said,) = told.lines
    part, *others = said.parts
    paid = [one for one in said.parts if one.bearer is Bearer.INSURER]
    less = tuple(one for one in said.parts if one.bearer is not Bearer.INSURER)
    for altered, fault in (
        (
            replace(told, lines=(replace(said, parts=(replace(part, amount=1), *others)),)),
            "line 1: its parts are not what was billed",
        ),
        (
            replace(
                told,
                lines=(replace(said, parts=(*less, replace(paid[0], bearer=Bearer.PROVIDER))),),
            ),
            "line 1: the insurer's parts are not the benefit",
        ),
        (
            replace(told, bearers=((Bearer.INSURER, 4_800),)),
            "claim: the bearers do not bear what was billed",
        ),
        (replace(told, reasons=()), "claim: the reasons do not add up to what was billed"),
        (
            replace(told, bearers=((Bearer.INSURER, 4_799), (Bearer.PATIENT, 5_201))),
            "claim: the insurer does not bear the benefit",
        ),
    ):
        assert explanation.sums_that_fail(altered) == (fault,)


def _of_a_claim(
    bill_number: str, provider: str, day: date, price: str, units: str
) -> EarlierService:
    charge = line(1, "V1", price, units)
    return EarlierService(
        bill_number=bill_number,
        provider_id=provider,
        code=charge.code,
        service_date=day,
        quantity=charge.quantity,
        unit_price=charge.unit_price,
        claim="claims/1",
    )


def test_of_a_claims_services_the_one_that_is_most_alike_is_named() -> None:
    before, after = DAY - timedelta(days=1), DAY + timedelta(days=1)
    services = [
        _of_a_claim("E", "OTHER", before, "100.00", "1"),
        _of_a_claim("D", "OTHER", before, "100.00", "2"),
        _of_a_claim("C", "CLINIC", before, "100.00", "1"),
        _of_a_claim("H", "CLINIC", DAY, "100.00", "2"),
        _of_a_claim("G", "CLINIC", DAY, "99.00", "1"),
        _of_a_claim("A", "CLINIC", DAY, "100.00", "1"),
        _of_a_claim("B", "CLINIC", DAY, "100.00", "1"),
        _of_a_claim("F", "CLINIC", after, "100.00", "1"),
    ]
    one = decided(PLAN, bill(number="B1"), usage_snapshot((), services))
    (said,), (facts,) = one.decision.lines, one.inputs.bill.lines

    def named(**changes: Any) -> str:
        found = explanation._earlier(one.inputs, msgspec.structs.replace(said, **changes), facts)
        return "" if found is None else found.bill_number

    claim = {"earlier_claim": "claims/1"}
    assert named(**claim, reason=Reason.DUPLICATE) == "B"
    assert named(**claim, reason=Reason.DUPLICATE_EXAMINATION) == "E"
    assert named(**claim, reason=Reason.SUSPECTED_DUPLICATE) == "E"
    assert named(earlier_claim="", reason=Reason.COPAY) == ""
    nameless = [msgspec.structs.replace(each, claim="") for each in services[:1]]
    two = decided(PLAN, bill(number="B1"), usage_snapshot((), nameless))
    line_of_two = msgspec.structs.replace(
        two.decision.lines[0], earlier_claim="", reason=Reason.DUPLICATE_EXAMINATION
    )
    assert explanation._earlier(two.inputs, line_of_two, facts) == nameless[0]
    other = msgspec.structs.replace(line_of_two, reason=Reason.COPAY)
    assert explanation._earlier(two.inputs, other, facts) is None


def test_of_a_refused_line_the_patients_part_is_the_edit_and_a_payers_is_its_own() -> None:
    one = decided(PLAN, bill(line(1, "X1", "70.00", fund_paid=3_000), paid=3_000))
    (said,) = one.explained().lines
    assert [(part.step, part.amount) for part in said.parts] == [
        (Step.EDIT, 4_000),
        (Step.SOCIAL_INSURANCE, 3_000),
    ]
