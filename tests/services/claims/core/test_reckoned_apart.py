"""The engine against a second reckoning that knows no engine, over drawn plans and bills."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Bearer, Decision
from services.claims.core.facts import PriorPayment, PriorPayments, UsageSnapshot
from services.claims.core.plan import Plan
from services.claims.plans.loader import load_plan
from services.common.money import format_minor
from tests.services.claims.core.bills import bill, line, policy
from tests.services.claims.core.reckoning import (
    DEDUCTIBLE,
    MAXIMUM,
    MEMBER,
    SECTION,
    Charge,
    Reckoned,
    Terms,
    reckon,
)

_HEAD = """
format: 1
id: drawn
name: {zh: 抽取, en: Drawn}
currency: CNY
first_day: 2024-01-01
clauses: {"1": {zh: 条款, en: Clause}}
general:
  {not_covered: "1", outside_sections: "1", duplicates: "1", impossible_dates: "1",
   missing_facts: "1"}
code_systems: [demo-yibao, icd-10]
code_sets: {a: {2024-01-01: {demo-yibao: ["A*"]}}, x: {2024-01-01: {demo-yibao: ["X*"]}}}
sections:
  - {id: a, clause: "1", name: {zh: 甲, en: a}, codes: [a], in_force: {2024-01-01: true}}
  - {id: b, clause: "1", name: {zh: 乙, en: b}, in_force: {2024-01-01: true}}
categories: {order: [{id: any, name: {zh: 任何, en: any}}], default: any}
exclusions: [{id: x, clause: "1", codes: [x], in_force: {2024-01-01: true}}]
pre_existing: {clause: "1", otherwise: {2024-01-01: covered}}
prices: {clause: "1"}
social_insurance: {clause: "1"}
coordination: {clause: "1"}
"""
_YEAR = 'scope: member, period: policy_year, unit: CNY, clause: "1"'
_HIGH = "99999.00"  # a contract price that cuts nothing: a list names every code
_COUNTS = (("deductible", "copay", "coinsurance"), ("coinsurance",), ("deductible", "coinsurance"))


def _terms(draw: Random) -> Terms:
    return Terms(
        shares={"a": Fraction(draw.choice((0, 50, 67, 100)), 100), "b": Fraction(33, 100)},
        deductible=draw.choice((0, 5_000, 12_345)),
        fund_counts=draw.random() < 0.5,
        copay=draw.choice((0, 3_000)),
        maximum=draw.choice((None, 20_000, 7_777)),
        maximum_counts=frozenset(draw.choice(_COUNTS)),
        section_ceiling=draw.choice((None, 9_000)),
        claim_ceiling=draw.choice((None, 15_000)),
        member_ceiling=draw.choice((None, 30_000, 11_111)),
        price=draw.choice((None, Fraction(3_333))),
        most_a_unit=draw.choice((None, 2_500)),
    )


def _plan(terms: Terms) -> Plan:
    def dated(amount: int) -> str:
        return f'values: {{2024-01-01: "{format_minor(amount, "CNY")}"}}'

    found = [_HEAD, "shares:"]
    for name, when in (("a", " when: {sections: [a]},"), ("b", "")):
        value = f'values: {{2024-01-01: "{float(terms.shares[name]):.2f}"}}'
        found.append(f'  - {{id: {name}, clause: "1",{when} unit: share, {value}}}')
    if terms.price is not None:
        prices = {"A1": f"{float(terms.price) / 100:.2f}", "B1": _HIGH, "X1": _HIGH}
        listed = ", ".join(
            f'{{system: demo-yibao, code: {code}, unit: CNY, values: {{2024-01-01: "{price}"}}}}'
            for code, price in prices.items()
        )
        found += [
            "providers:",
            "  list:",
            f"    - {{id: CLINIC, listed: {{2024-01-01: true}}, prices: [{listed}]}}",
        ]
    if terms.most_a_unit is not None:
        limit = f'id: unit, clause: "1", codes: [a], unit: CNY, {dated(terms.most_a_unit)}'
        found.append(f"fixed_limits: [{{{limit}}}]")
    if terms.deductible:
        counts = f"social_insurance_counts: {str(terms.fund_counts).lower()}"
        found.append(
            f"deductibles: [{{id: {DEDUCTIBLE}, {_YEAR}, {counts}, {dated(terms.deductible)}}}]"
        )
    if terms.copay:
        found.append(f'copays: [{{id: copay, clause: "1", unit: CNY, {dated(terms.copay)}}}]')
    if terms.maximum is not None:
        counts = f"counts: [{', '.join(sorted(terms.maximum_counts))}]"
        found.append(
            f"out_of_pocket: [{{id: {MAXIMUM}, {_YEAR}, {counts}, {dated(terms.maximum)}}}]"
        )
    ceilings = [
        f"{{id: {name}, {scope}, {dated(limit)}}}"
        for name, scope, limit in (
            (SECTION, f"covers: {{sections: [a]}}, {_YEAR}", terms.section_ceiling),
            ("claim-ceiling", 'scope: treatment, unit: CNY, clause: "1"', terms.claim_ceiling),
            (MEMBER, _YEAR, terms.member_ceiling),
        )
        if limit is not None
    ]
    if ceilings:
        found.append(f"ceilings: [{', '.join(ceilings)}]")
    return load_plan("\n".join(found).encode(), "drawn.yaml")


@settings(max_examples=100, deadline=None, derandomize=True)  # 4,000 others agreed
@given(st.randoms(use_true_random=False))
def test_the_engine_pays_what_a_second_reckoning_pays_claim_after_claim(draw: Random) -> None:
    """Four claims, of which one is taken back in between: lines, bearers and what is used up."""
    terms = _terms(draw)
    plan, usage = _plan(terms), UsageSnapshot()
    used: Counter[str] = Counter()
    standing: list[tuple[Decision, Reckoned]] = []
    for number in range(4):
        if number == 2 and standing:
            decision, reckoned = standing.pop(draw.randrange(len(standing)))
            usage = with_changes(usage, decision.usage_changes, release=True)
            used.subtract(reckoned.used)
        made = _claim(draw, plan, terms, usage, used)
        if made is None:
            continue
        standing.append(made)
        usage = with_changes(usage, made[0].usage_changes)
        used.update(made[1].used)
        held = {one.accumulator: one.amount for one in usage.balances}
        assert held == {name: amount for name, amount in used.items() if amount}


def _claim(
    draw: Random, plan: Plan, terms: Terms, usage: UsageSnapshot, used: Counter[str]
) -> tuple[Decision, Reckoned] | None:
    codes = [draw.choice(("A1", "A1", "B1", "B1", "X1")) for _ in range(draw.randint(1, 4))]
    lines = [
        line(
            number,
            code,
            draw.choice(("10", "33.34", "40.005", "200", "0.01", "77.7")),
            draw.choice(("1", "2", "0.5", "3.3333")),
        )
        for number, code in enumerate(codes, start=1)
    ]
    billed = sum(one.billed for one in lines)
    if not billed:
        return None
    fund = draw.choice((0, billed // 3, billed - 1))
    prior = draw.choice((0, (billed - fund) // 2, billed - fund))
    charges = [
        Charge(
            section="a" if one.code.code == "A1" else "b",
            quantity=Fraction(one.quantity),
            unit_price=Fraction(one.unit_price * Decimal(100)),
            denied=one.code.code == "X1",
        )
        for one in lines
    ]
    reckoned = reckon(terms, used, charges, fund, prior)
    facts = msgspec.structs.replace(bill(*lines, paid=fund), direct_billing=True)
    payments = PriorPayments(payments=(PriorPayment(payer="E", amount=prior),))
    decision = adjudicate(plan, policy(), usage, facts, payments)
    assert [one.billed for one in decision.lines] == [one.billed for one in charges]
    assert [one.benefit for one in decision.lines] == [one.benefit for one in charges]
    borne: Counter[Bearer] = Counter()
    for each in decision.lines:
        for share in each.shares:
            borne[share.bearer] += share.amount
    insurer, provider = reckoned.insurer, reckoned.provider
    assert borne[Bearer.INSURER] == insurer
    assert borne[Bearer.PROVIDER] == provider
    assert borne[Bearer.PRIOR_PAYER] == fund + prior
    assert borne[Bearer.PATIENT] == billed - fund - prior - insurer - provider
    return decision, reckoned
