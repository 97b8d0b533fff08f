"""Explanations add up to the fen and name the clause of every cut, in both languages."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Decision
from services.claims.core.explain import Ended, explain
from services.claims.core.facts import BillFacts, LineFacts, PriorPayments, UsageSnapshot
from services.claims.core.plan import Plan
from tests.services.claims.core.bills import bill, bills, line, plan_named, policy

PLAN = plan_named("every-term")
ZH_MONEY = re.compile(r"(-?\d+\.\d{2}) 元")
EN_MONEY = re.compile(r"CNY (-?\d+\.\d{2})")


def _decide(*lines: LineFacts, plan: Plan = PLAN) -> Decision:
    return adjudicate(plan, policy(), UsageSnapshot(), bill(*lines))


def _adds_up(paragraph: str, money: re.Pattern[str]) -> bool:
    """The first amount of a paragraph is the sum of the others."""
    whole, *parts = (Decimal(amount) for amount in money.findall(paragraph))
    return whole == sum(parts, Decimal(0))


@settings(max_examples=50)
@given(bills())
def test_claim_and_lines_add_up_in_both_languages(
    drawn: tuple[BillFacts, PriorPayments],
) -> None:
    facts, prior = drawn
    decision = adjudicate(PLAN, policy(), UsageSnapshot(), facts, prior)
    told = explain(PLAN, decision)
    for paragraphs, money in ((told.zh, ZH_MONEY), (told.en, EN_MONEY)):
        for paragraph in paragraphs[: 1 + len(facts.lines)]:
            assert _adds_up(paragraph, money), paragraph
    for one, zh, en in zip(decision.lines, told.zh[1:], told.en[1:], strict=False):
        for share in one.shares:
            assert f"条款 {share.clause}" in zh
            assert f"clause {share.clause}" in en


def test_a_withdrawn_claim_waits_for_nothing_and_is_not_paid() -> None:
    facts = msgspec.structs.replace(bill(), care_type=None)
    decision = adjudicate(PLAN, policy(), UsageSnapshot(), facts)
    waiting, told = explain(PLAN, decision), explain(PLAN, decision, ended=Ended.WITHDRAWN)
    assert waiting.en[0].startswith("Waiting")
    assert told.en[0].startswith("Withdrawn; nothing is paid.")
    assert told.zh[0].startswith("已撤回，不予支付。")
    awaited = "Line 1 waits for how the care was given (clause 8.4)."
    assert awaited in waiting.en
    assert awaited not in told.en
    assert _adds_up(told.en[0], EN_MONEY)


def test_an_altered_amount_no_longer_adds_up() -> None:
    decision = _decide()
    first = decision.lines[0]
    cut = msgspec.structs.replace(first.shares[0], amount=first.shares[0].amount + 1)
    altered = msgspec.structs.replace(
        decision, lines=(msgspec.structs.replace(first, shares=(cut, *first.shares[1:])),)
    )
    assert not _adds_up(explain(PLAN, altered).en[1], EN_MONEY)


def test_the_sentences_are_those_of_the_reasons() -> None:
    told = explain(PLAN, _decide(line(1), line(2, "X1", "70.00")), {1: "挂号费"})
    assert told.zh == (
        "已自动核定。账单合计 170.00 元 = 保险公司 48.00 元 + 您 122.00 元。",
        (
            "第 1 行 挂号费（门诊）：账单 100.00 元 = "
            "20.00 元 为每次就诊自付额（条款 3.4），由您承担；"
            "32.00 元 为您的自付比例部分（条款 4.3）；48.00 元 由保险公司赔付（条款 4.3）。"
        ),
        "第 2 行 X1（门诊）：账单 70.00 元 = 70.00 元 该项目不在保障范围内（条款 6.3），由您承担。",
        "条款 3.4：门诊自付额",
        "条款 4.3：其他比例",
        "条款 6.3：除外项目",
    )
    assert told.en[:3] == (
        "Decided. Billed CNY 170.00 = the insurer CNY 48.00 + you CNY 122.00.",
        (
            "Line 1 挂号费 (outpatient): billed CNY 100.00 = CNY 20.00 is yours: the copay of the"
            " visit (clause 3.4); CNY 32.00 is yours: your share (clause 4.3); CNY 48.00 is paid by"
            " the insurer (clause 4.3)."
        ),
        (
            "Line 2 X1 (outpatient): billed CNY 70.00 = CNY 70.00 is yours: the plan does not cover"
            " this service (clause 6.3)."
        ),
    )


def test_who_bears_a_price_above_contract_is_said() -> None:
    facts = msgspec.structs.replace(bill(line(1, "P1")), provider_id="PRICED", direct_billing=True)
    told = explain(PLAN, adjudicate(PLAN, policy(), UsageSnapshot(), facts))
    assert "20.00 元 高于协议价格（条款 7.3），由医疗机构承担" in told.zh[1]
    assert "CNY 20.00 is above the contract price and is for the provider to bear" in told.en[1]


def test_a_waiting_claim_says_what_it_waits_for() -> None:
    facts = msgspec.structs.replace(bill(), care_type=None)
    told = explain(PLAN, adjudicate(PLAN, policy(), UsageSnapshot(), facts))
    assert told.zh[0] == (
        "待补充资料，此前不支付。目前：账单合计 100.00 元 = 保险公司 0.00 元 + 尚未决定 100.00 元。"
    )
    assert told.en[0].endswith("the insurer CNY 0.00 + not decided yet CNY 100.00.")
    assert "yours" not in told.en[1]
    assert "第 1 行等待：就诊类型（条款 8.4）。" in told.zh
    assert "Line 1 waits for how the care was given (clause 8.4)." in told.en


def test_another_plans_decision_is_not_explained() -> None:
    decision = _decide()
    with pytest.raises(KeyError):
        explain(plan_named("synthea-usd"), decision)
