"""Explanations add up to the fen and name the clause of every cut, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings

from services.claims.core.adjudicate import adjudicate
from services.claims.core.balances import BalanceChange, Unit
from services.claims.core.decision import Bearer, Decision, Pend
from services.claims.core.explain import (
    Ended,
    Words,
    awaited,
    balance_sentence,
    bearer_words,
    earlier_sentence,
    explain,
)
from services.claims.core.facts import (
    BillFacts,
    EarlierService,
    LineFacts,
    PriorPayments,
    Scope,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import Plan
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import Reason
from tests.services.claims.core.bills import DAY, bill, bills, line, plan_named, policy
from tests.services.claims.explained.telling import decided

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
        "待补充资料，此前不支付。在核定之前，尚未支付的金额及由谁承担均为暂定。"
        "目前：账单合计 100.00 元 = 保险公司 0.00 元 + 尚未决定 100.00 元。"
    )
    assert told.en[0].endswith("the insurer CNY 0.00 + not decided yet CNY 100.00.")
    assert "yours" not in told.en[1]
    assert "第 1 行等待：就诊类型（条款 8.4）。" in told.zh
    assert "Line 1 waits for how the care was given (clause 8.4)." in told.en


def test_a_waiting_claim_says_what_becomes_of_its_money() -> None:
    facts = msgspec.structs.replace(bill(), care_type=None)
    waits = adjudicate(PLAN, policy(), UsageSnapshot(), facts)
    once_more = explain(PLAN, waits, paid=True)
    assert once_more.zh[0].startswith(
        "待补充资料，此前已支付的不变，不再另行支付。在核定之前，尚未支付的金额及由谁承担均为暂定。目前："
    )
    assert once_more.en[0].startswith(
        "Waiting for papers; what was paid stays until then, and nothing more is paid before. "
    )
    partly = explain(PLAN, msgspec.structs.replace(waits, pays_now=100))
    assert partly.en[0].startswith("Waiting for papers; what waits for nothing is paid first. ")
    # A decided or withdrawn claim says nothing of that.
    assert explain(PLAN, _decide(), paid=True).en[0] == explain(PLAN, _decide()).en[0]
    withdrawn = [
        explain(PLAN, waits, ended=Ended.WITHDRAWN, paid=one).en[0] for one in (True, False)
    ]
    assert withdrawn[0] == withdrawn[1]


def test_another_plans_decision_is_not_explained() -> None:
    decision = _decide()
    with pytest.raises(KeyError):
        explain(plan_named("synthea-usd"), decision)


def test_a_reversed_claim_says_that_its_decision_holds_no_longer() -> None:
    told = explain(PLAN, _decide(), ended=Ended.REVERSED)
    assert told.en[0].startswith("Reversed; what had been decided holds no longer. As it stood")
    assert told.zh[0].startswith("已撤销，原结论不再有效。撤销前：")


def test_a_paper_is_awaited_by_its_name() -> None:
    plan = plan_named("every-edit")
    summary = Pend(
        reason=Reason.PAPERS_MISSING, clause="4.3", awaits="paper.discharge-summary", line=None
    )
    assert awaited(plan, summary).en == "the discharge summary"
    itemised = msgspec.structs.replace(summary, awaits="paper.itemised-bill")
    assert awaited(plan, itemised).en == "the itemised bill"
    unnamed = awaited(PLAN, summary)
    assert (unnamed.zh, unnamed.en) == ("资料 discharge-summary", "the paper discharge-summary")


def test_what_waits_is_nobodys_yet() -> None:
    assert bearer_words(Bearer.PATIENT).en == "you"
    assert bearer_words(Bearer.PATIENT, waits=True).en == "not decided yet"


def test_shares_and_quantities_are_written_as_people_write_them() -> None:
    en, zh = Words("en", "CNY"), Words("zh", "CNY")
    assert en.share(Decimal("0.725")) == "72.5%"
    assert en.quantity(25_000, Unit.UNITS) == "2.5"
    assert (zh.quantity(3, Unit.COUNT), en.quantity(3, Unit.COUNT)) == ("3 次", "3")
    assert zh.quantity(250, Unit.MONEY) == "2.50 元"


def test_a_line_of_nothing_says_why_or_that_nothing_was_charged() -> None:
    told = explain(PLAN, _decide(line(1), line(2, "X1", "0"), line(3, "V2", "0")))
    assert "CNY 0.00 is yours: the plan does not cover this service (clause 6.3)" in told.en[2]
    assert told.en[3].endswith("billed CNY 0.00 = nothing was charged.")


def test_a_duplicate_names_the_claims_where_they_are_known() -> None:
    earlier = EarlierService(
        bill_number="B0",
        provider_id="CLINIC",
        code=line().code,
        service_date=DAY,
        quantity=line().quantity,
        unit_price=line().unit_price,
    )
    told = decided(PLAN, bill(), usage_snapshot((), [earlier])).explained()
    (said,) = told.lines
    words = Words("en", "CNY")
    assert earlier_sentence(words, told, said).endswith(" of CLINIC (2025-03-10).")
    known = replace(told, claims_of={("CLINIC", "B0"): ("claims/1", "claims/2")})
    assert earlier_sentence(words, known, said).endswith(", claim claims/1, claims/2.")
    assert earlier_sentence(Words("zh", "CNY"), known, said).endswith("，赔案 claims/1、claims/2。")
    assert earlier_sentence(Words("zh", "CNY"), told, said).endswith("（2025-03-10）。")


def test_a_balance_without_a_limit_has_nothing_left_to_tell() -> None:
    balance = BalanceChange(
        accumulator="old",
        name=Text(zh="旧限额", en="an old limit"),
        clause="",
        kind=None,
        unit=Unit.MONEY,
        scope=Scope.MEMBER,
        period_start=None,
        before=100,
        after=300,
        limit=None,
    )
    said = balance_sentence(Words("en", "CNY"), balance)
    assert said == "an old limit: CNY 1.00 before, CNY 3.00 after."


def test_what_an_authorisation_has_left_is_told_without_a_clause() -> None:
    balance = BalanceChange(
        accumulator="authorisation A1 amount",
        name=Text(zh="授权 A1 的金额", en="amount of authorisation A1"),
        clause="",
        kind=None,
        unit=Unit.MONEY,
        scope=Scope.MEMBER,
        period_start=None,
        before=100,
        after=300,
        limit=5_000,
    )
    assert balance_sentence(Words("en", "CNY"), balance) == (
        "amount of authorisation A1: limit CNY 50.00, CNY 1.00 used before, CNY 3.00 after,"
        " CNY 47.00 left."
    )
    said = balance_sentence(Words("zh", "CNY"), balance)
    assert said.startswith("授权 A1 的金额：限额 50.00 元，")


def test_each_part_says_what_it_leaves_and_the_insurers_is_what_is_left() -> None:
    told = decided(PLAN, bill(), usage_snapshot((), ())).explained()
    (said,) = told.lines
    # 100 - 20 = 80 after the copay, 80 - 32 = 48 after the share, which is paid.
    assert [(one.amount, one.left) for one in said.parts] == [
        (2_000, 8_000),
        (3_200, 4_800),
        (4_800, 4_800),
    ]
