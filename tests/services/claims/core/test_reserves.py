"""What a claim reserves while facts are missing, under terms that no example plan has together."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Decision
from services.claims.core.facts import (
    Authorisation,
    BillFacts,
    CareType,
    Coding,
    DisclosedCondition,
    FamilyDoctor,
    HospitalTier,
    PolicySnapshot,
    PreExistingTerms,
    UsageSnapshot,
)
from services.claims.core.plan import Plan, PreExistingRule, PreExistingValue
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, YIBAO, bill, line, plan_named, policy

replace = msgspec.structs.replace
TERMS = plan_named("every-term")
HIGH = PreExistingValue(terms=PreExistingTerms.AT_SHARE, share=Decimal("0.97"))


def _decided(plan: Plan, facts: BillFacts, *conditions: DisclosedCondition) -> Decision:
    return adjudicate(plan, policy(disclosed=conditions), UsageSnapshot(), facts)


def _reserved(decision: Decision, accumulator: str = "family-ceiling") -> int:
    used = {one.accumulator: one.amount for one in decision.usage_changes}
    return used.get(accumulator, 0)


def test_a_stay_that_is_not_known_to_be_one_reserves_at_the_share_of_stays() -> None:
    plan = replace(TERMS, out_of_pocket=())
    facts = bill(line(1, "H1", "100.00"), care=None, tier=HospitalTier.TERTIARY, provider="OTHER")
    assert _reserved(_decided(plan, facts)) == 8_000


def test_a_visit_that_is_not_known_to_be_one_reserves_what_it_could_get_as_a_visit() -> None:
    shares = tuple(one for one in TERMS.shares if one.id != "settled")
    facts = bill(care=None)
    tumour = replace(facts.diagnoses[0], code=replace(facts.diagnoses[0].code, code="C34.9"))
    plan = replace(TERMS, out_of_pocket=(), shares=shares)
    decision = _decided(plan, replace(facts, diagnoses=(tumour,)))
    # (100 - 20) x 0.95 as a visit, 100 x 0.60 as a stay
    assert _reserved(decision) >= 7_600


def test_without_a_diagnosis_what_a_disclosed_condition_could_have_is_reserved() -> None:
    facts = replace(bill(line(1, "R1", "100.00"), tier=HospitalTier.SECONDARY), diagnoses=())
    condition = DisclosedCondition(code_prefix="I10")
    terms = TERMS.pre_existing
    by_rule = replace(
        terms,
        rules=(
            PreExistingRule(
                id="high",
                clause="6.6",
                diagnoses=("hypertension",),
                values=Dated(((TERMS.first_day, HIGH),)),
            ),
        ),
    )
    otherwise = replace(terms, rules=(), otherwise=Dated(((TERMS.first_day, HIGH),)))
    for pre_existing, reserved in ((by_rule, 9_700), (otherwise, 9_700), (terms, 7_500)):
        decision = _decided(replace(TERMS, pre_existing=pre_existing), facts, condition)
        assert [one.awaits for one in decision.pends] == ["line.diagnosis"]
        assert _reserved(decision) == reserved


def test_a_share_that_reads_the_diagnosis_waits_for_it_by_itself() -> None:
    plan = replace(TERMS, exclusions=(), waiting_periods=())
    decision = _decided(plan, replace(bill(), diagnoses=()))
    assert [one.awaits for one in decision.pends] == ["line.diagnosis"]


def test_a_share_that_reads_whether_there_is_a_family_doctor_waits_for_it_by_itself() -> None:
    plan = plan_named("every-benefit")
    plan = replace(plan, shares=tuple(one for one in plan.shares if one.id != "contracted"))
    facts = bill(line(1, "V1", "110.00"), care=CareType.OUTPATIENT, tier=HospitalTier.PRIMARY)
    decision = adjudicate(plan, replace(policy(), family_size=1), UsageSnapshot(), facts)
    assert [one.awaits for one in decision.pends] == ["member.family_doctor"]


def test_the_principal_diagnosis_is_the_one_that_says_so_wherever_it_stands() -> None:
    facts = bill()
    (cold,) = facts.diagnoses
    infertility = replace(cold, number=2, code=replace(cold.code, code="N97.1"))
    both = replace(facts, diagnoses=(replace(cold, principal=False), infertility))
    assert _decided(TERMS, both).lines[0].clause == "6.4"


def test_units_that_a_stay_could_use_are_reserved_while_the_kind_of_care_is_unknown() -> None:
    (units,) = TERMS.unit_limits
    plan = replace(TERMS, unit_limits=(replace(units, sections=("inpatient",)),))
    decision = _decided(plan, bill(line(1, "H1", "100.00", "2"), care=None, provider="GOLD"))
    assert _reserved(decision, "rehabilitation-units") == 20_000


def test_what_cannot_hold_for_the_person_does_not_wait_for_the_tier() -> None:
    plan = plan_named("every-benefit")
    plan = replace(plan, shares=tuple(one for one in plan.shares if one.id in ("signed", "other")))
    person = policy()
    member = replace(person.member, family_doctor=FamilyDoctor())
    facts = bill(line(1, "V1", "110.00"), tier=None)
    decision = adjudicate(
        plan, replace(person, family_size=1, member=member), UsageSnapshot(), facts
    )
    assert (decision.pends, decision.benefit) == ((), 6_000)


def _authorised(*codes: str) -> PolicySnapshot:
    person = policy()
    held = tuple(
        Authorisation(
            id=f"A-{code}",
            start=DAY,
            end=DAY + timedelta(days=1),
            codes=(Coding(system=YIBAO, code=code),),
        )
        for code in codes
    )
    member = replace(person.member, authorisations=held)
    return replace(person, family_size=1, member=member)


def test_what_an_authorisation_requires_may_itself_require_another() -> None:
    plan = plan_named("every-benefit")
    drugs, genes, *others = plan.authorisations
    gone = replace(genes, id="gone", in_force=Dated(((plan.first_day, None),)))
    visits = replace(genes, id="visits", clause="6.6", codes=("beds",), requires=())
    chain = (
        replace(drugs, requires=("gone", "genes")),
        replace(genes, requires=("visits",)),
        replace(visits, requires=("visits",)),
        gone,
        *others,
    )
    plan = replace(plan, authorisations=chain)
    facts = bill(line(1, "Q1", "500.00"), care=CareType.PHARMACY)
    for codes, clause in ((("Q1",), "6.5"), (("Q1", "G1"), "6.6"), (("Q1", "G1", "B1"), "")):
        decision = adjudicate(plan, _authorised(*codes), UsageSnapshot(), facts)
        assert decision.lines[0].clause == clause


def test_one_line_that_could_be_of_a_category_leaves_the_category_open() -> None:
    plan = plan_named("every-benefit")
    plan = replace(plan, categories=plan.categories[1:])
    facts = bill(line(1, "R1", "100.00"), line(2, "V1", "50.00"), care=None)
    assert _decided(plan, facts).category == ""
    assert _decided(plan, bill(line(1, "R1", "100.00"), care=None)).category == "other"


def test_a_share_that_may_fail_does_not_end_the_search_for_a_higher_one() -> None:
    shares = tuple(
        replace(one, values=Dated(((TERMS.first_day, Decimal("0.50")),)))
        if one.id == "settled"
        else one
        for one in TERMS.shares
    )
    plan = replace(TERMS, out_of_pocket=(), shares=shares)
    facts = bill(line(1, "H1", "100.00"), care=None, provider="OTHER", used=None)
    assert _reserved(_decided(plan, facts)) == 6_000


def test_a_share_of_a_category_is_reserved_while_the_category_is_open() -> None:
    facts = bill(line(1, "R1", "100.00"), care=None, tier=HospitalTier.TERTIARY, provider="OTHER")
    tumour = replace(facts.diagnoses[0], code=replace(facts.diagnoses[0].code, code="C34.9"))
    facts = replace(facts, diagnoses=(tumour,))
    agreed = DisclosedCondition(
        code_prefix="C34", terms=PreExistingTerms.AT_SHARE, share=Decimal("0.97")
    )
    for value, conditions, reserved in (
        ("0.95", (), 9_500),
        ("0.50", (), 7_500),
        ("0.95", (agreed,), 9_700),
    ):
        (first, tumours, *others) = TERMS.shares
        tumours = replace(
            tumours,
            values=Dated(((TERMS.first_day, Decimal(value)),)),
            when=replace(tumours.when, sections=("rehabilitation",)),
        )
        plan = replace(TERMS, shares=(first, tumours, *others))
        assert _reserved(_decided(plan, facts, *conditions)) == reserved


def test_who_watches_sees_each_line_once_also_where_lines_are_settled_in_turn() -> None:
    facts = bill(line(1, "F1", "100.00"), line(2, "U1", "25.00"), line(3, "V1", "26.00", "2"))
    seen: list[tuple[int, int, int]] = []
    decision = adjudicate(
        plan_named("conventions-lines"),
        policy(),
        UsageSnapshot(),
        facts,
        watch=lambda _, one, added: seen.append(
            (one.line.facts.number, one.benefit, sum(each.count == 0 for each in added))
        ),
    )
    assert [one.benefit for one in decision.lines] == [10_000, 0, 5_200]
    # One after the other: two ceilings after the first line, the units beside them after the third.
    assert seen == [(1, 10_000, 2), (2, 0, 2), (3, 5_200, 3)]
