"""Terms together that no example plan has together: ties, and what counts toward what."""

from __future__ import annotations

from typing import Any

import msgspec

from services.claims.core.accumulators import opened
from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Decision
from services.claims.core.facts import BillFacts, CareType, Scope, UsageSnapshot
from services.claims.core.plan import PatientCost, Plan
from services.claims.core.reasons import Reason
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, bill, line, plan_named, policy

replace = msgspec.structs.replace


def _decided(plan: Plan, facts: BillFacts) -> Decision:
    return adjudicate(plan, policy(), UsageSnapshot(), facts)


def _amounts(decision: Decision) -> dict[tuple[Reason, str], int]:
    return {(s.reason, s.clause): s.amount for one in decision.lines for s in one.shares}


def _twice(plan: Plan, name: str, which: str, clause: str) -> Plan:
    """The plan with a second term that is like one of its own but stands in another clause."""
    terms: tuple[Any, ...] = getattr(plan, name)
    like = next(one for one in terms if one.id == which)
    return replace(plan, **{name: (*terms, replace(like, id=f"{which}-2", clause=clause))})


def test_of_limits_that_are_equally_tight_the_first_is_named() -> None:
    plan = plan_named("every-term")
    for name, which, clause in (
        ("fixed_limits", "bed", "8.5"),
        ("unit_limits", "rehabilitation-units", "8.5"),
        ("ceilings", "stay-ceiling", "8.5"),
        ("out_of_pocket", "out-of-pocket", "8.5"),
    ):
        plan = _twice(plan, name, which, clause)
    decided = [
        _decided(plan, bill(line(1, code, price, units), provider="GOLD", care=care))
        for code, price, units, care in (
            ("B1", "9000.00", "1", CareType.INPATIENT),
            ("H1", "21000.00", "1", CareType.INPATIENT),
            ("R1", "10.00", "11", CareType.OUTPATIENT),
        )
    ]
    beds, stay, exercises = (_amounts(one) for one in decided)
    assert beds[Reason.UNIT_LIMIT, "5.7"] == 870_000
    # (21000 - 1200) x 0.10 = 1980, of which 3000 - 1200 = 1800 are the patient's
    assert stay[Reason.BENEFIT, "3.5"] == 18_000
    assert exercises[Reason.FREQUENCY, "5.8"] == 1_000
    assert "8.5" not in {clause for one in (beds, stay, exercises) for _, clause in one}


def test_what_social_insurance_paid_counts_for_the_member_and_the_family_alike() -> None:
    plan = plan_named("every-benefit")
    counting = tuple(replace(one, social_insurance_counts=True) for one in plan.deductibles)
    facts = bill(line(1, "H1", "900.00", fund_paid=30_000), care=CareType.INPATIENT, paid=30_000)
    decision = adjudicate(
        replace(plan, deductibles=counting),
        replace(policy(), family_size=1),
        UsageSnapshot(),
        facts,
    )
    used = {one.accumulator: one.amount for one in decision.usage_changes}
    assert (used["member-deductible"], used["family-deductible"]) == (50_000, 50_000)
    assert _amounts(decision)[Reason.DEDUCTIBLE, "3.1"] == 20_000


def test_a_maximum_that_counts_coinsurance_alone_counts_no_deductible() -> None:
    plan = plan_named("every-term")
    only = tuple(replace(one, counts=(PatientCost.COINSURANCE,)) for one in plan.out_of_pocket)
    facts = bill(line(1, "H1", "11200.00"), provider="GOLD", care=CareType.INPATIENT)
    decision = _decided(replace(plan, out_of_pocket=only), facts)
    # (11200 - 200 - 1000) x 0.10 = 1000
    assert _amounts(decision)[Reason.COINSURANCE, "4.1"] == 100_000
    used = {one.accumulator: one.amount for one in decision.usage_changes}
    assert used["out-of-pocket"] == 100_000
    # (26200 - 200 - 1000) x 0.10 = 2500, which with the deductibles would be above 3000
    more = bill(line(1, "H1", "26200.00"), provider="GOLD", care=CareType.INPATIENT)
    decision = _decided(replace(plan, out_of_pocket=only), more)
    assert _amounts(decision)[Reason.COINSURANCE, "4.1"] == 250_000


def test_two_ceilings_of_one_room_name_the_first() -> None:
    plan = plan_named("every-term")
    for which, value in (("family-ceiling", 1_000), ("policy-ceiling", 1_000)):
        plan = replace(
            plan,
            ceilings=tuple(
                replace(one, values=Dated(((plan.first_day, value),))) if one.id == which else one
                for one in plan.ceilings
            ),
        )
    assert _amounts(_decided(plan, bill()))[Reason.CEILING, "5.3"] == 3_800


def test_what_a_claim_adds_is_told_in_the_order_of_accumulators() -> None:
    tally = opened(policy(), UsageSnapshot(), DAY)
    for name in ("b", "c", "a"):
        tally.add(name, Scope.MEMBER, None, amount=1)
    assert [one.accumulator for one in tally.changes()] == ["a", "b", "c"]
