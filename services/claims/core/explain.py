"""A decision in sentences that a member understands, in Chinese and English, to the fen.

Every cut is named with its clause, and each line's parts add up to what was billed. It only
retells what the decision says; it decides nothing and asks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.claims.core.decision import Bearer, Decision, DecisionLine, Disposition, Pend
from services.claims.core.plan import Plan, clause_text
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import WORDS, Reason
from services.common.money import format_minor

_NO_TEXTS: Mapping[int, str] = {}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The same sentences in Chinese and English: claim, lines, what it waits for, clauses."""

    zh: tuple[str, ...]
    en: tuple[str, ...]


def explain(
    plan: Plan,
    decision: Decision,
    line_texts: Mapping[int, str] = _NO_TEXTS,
    *,
    withdrawn: bool = False,
) -> Explanation:
    """The decision in words: one paragraph for the claim, one a line, one for each clause named.

    `line_texts` are public texts of the services by line number; without one a line shows its code.
    Of a `withdrawn` claim it says so, and that nothing is paid; what it waited for is over.

    Raises: KeyError when the decision names a clause that the plan has not: it is another plan's.
    """
    zh, en = _Words("zh", decision.currency), _Words("en", decision.currency)
    clauses = {clause: clause_text(plan, clause) for clause in _clauses(decision)}
    stands = _WITHDRAWN if withdrawn else _DISPOSITIONS[decision.disposition]
    if withdrawn:
        decision = msgspec.structs.replace(decision, pends=())
    sections = {section.id: section.name for section in plan.sections}
    asked = plan.edits.papers if plan.edits is not None else ()
    papers = {f"paper.{paper.id}": paper.name for paper in asked}
    return Explanation(
        zh=_paragraphs(zh, stands, decision, sections, clauses, line_texts, papers),
        en=_paragraphs(en, stands, decision, sections, clauses, line_texts, papers),
    )


_DISPOSITIONS = {
    Disposition.AUTO_APPROVED: Text(zh="已自动核定。", en="Decided."),
    Disposition.APPROVED: Text(zh="已经人工审核核定。", en="Decided after review."),
    Disposition.DENIED: Text(zh="不予赔付。", en="Denied."),
    Disposition.PENDED_INFO: Text(
        zh="待补充资料，此前不支付。目前：",
        en="Waiting for papers; nothing is paid before. As it stands:",
    ),
    Disposition.PENDED_REVIEW: Text(
        zh="待人工审核，此前不支付。拟定：",
        en="Waiting for review; nothing is paid before. As proposed:",
    ),
    Disposition.PENDED_FRAUD: Text(
        zh="待调查，此前不支付。目前：",
        en="Waiting for investigation; nothing is paid before. As it stands:",
    ),
}
_WITHDRAWN = Text(
    zh="已撤回，不予支付。撤回前：",
    en="Withdrawn; nothing is paid. As it stood before:",
)
# What waits for a fact is nobody's yet, whoever holds it in the books meanwhile.
_UNDECIDED = Text(zh="尚未决定", en="not decided yet")
_WAITING = (Reason.FACT_MISSING, Reason.SUSPECTED_DUPLICATE)
_BEARERS = {
    Bearer.INSURER: Text(zh="保险公司", en="the insurer"),
    Bearer.PRIOR_PAYER: Text(zh="医保或其他保险", en="social insurance or another insurer"),
    Bearer.PATIENT: Text(zh="您", en="you"),
    Bearer.PROVIDER: Text(zh="医疗机构", en="the provider"),
}
_AWAITED = {
    "social_insurance.used": Text(
        zh="是否经医保结算", en="whether social insurance settled the bill"
    ),
    "member.social_insurance": Text(
        zh="被保险人是否参加医保", en="whether the member has social insurance"
    ),
    "provider.tier": Text(zh="医疗机构等级", en="the provider's tier"),
    "bill.care_type": Text(zh="就诊类型", en="how the care was given"),
    "line.diagnosis": Text(zh="诊断", en="the diagnosis"),
    "member.sex": Text(zh="被保险人性别", en="the member's sex"),
    "provider.licences": Text(zh="医疗机构执业资质", en="what the provider is licensed as"),
    "line.prescription_time": Text(zh="处方时间", en="when it was prescribed"),
    "bill.liability": Text(
        zh="是否涉及工伤或第三方责任", en="whether work-injury insurance or a third party is liable"
    ),
    "bill.received_date": Text(zh="收到申请的日期", en="when the bill arrived"),
    "history.days_supply": Text(
        zh="上次配药可用天数", en="how many days the earlier supply was for"
    ),
    "review.suspected_duplicate": Text(
        zh="人工核对（与另一票据相似）", en="a person, as it resembles a service of another bill"
    ),
    "review.auto_pay_ceiling": Text(
        zh="人工审核（金额超过自动赔付上限）",
        en="a person, as the amount is above automatic payment",
    ),
}
_CURRENCIES = {"CNY": "元", "USD": "美元", "HKD": "港元", "EUR": "欧元", "JPY": "日元"}


class _Words:
    """One language: amounts and the fixed parts of sentences."""

    def __init__(self, language: str, currency: str) -> None:
        self.zh = language == "zh"
        self._currency = currency

    def of(self, text: Text) -> str:
        return text.zh if self.zh else text.en

    def money(self, amount: int) -> str:
        plain = format_minor(amount, self._currency)
        if self.zh:
            return f"{plain} {_CURRENCIES.get(self._currency, self._currency)}"
        return f"{self._currency} {plain}"

    def pick(self, zh: str, en: str) -> str:
        return zh if self.zh else en


def _paragraphs(
    words: _Words,
    stands: Text,
    decision: Decision,
    sections: Mapping[str, Text],
    clauses: Mapping[str, Text],
    line_texts: Mapping[int, str],
    papers: Mapping[str, Text],
) -> tuple[str, ...]:
    return (
        _claim(words, stands, decision),
        *(_line(words, line, sections, line_texts) for line in decision.lines),
        *(_pend(words, pend, papers) for pend in decision.pends),
        *(
            f"{words.pick('条款', 'Clause')} {clause}{words.pick('：', ': ')}{words.of(text)}"
            for clause, text in clauses.items()
        ),
    )


def _claim(words: _Words, stands: Text, decision: Decision) -> str:
    borne = {_BEARERS[Bearer.INSURER]: 0}
    for line in decision.lines:
        for share in line.shares:
            waits = share.reason in _WAITING
            bearer = _UNDECIDED if waits else _BEARERS[share.bearer]
            borne[bearer] = borne.get(bearer, 0) + share.amount
    order = [*_BEARERS.values(), _UNDECIDED]
    parts = [
        f"{words.of(bearer)} {words.money(borne[bearer])}" for bearer in order if bearer in borne
    ]
    said, billed = words.of(stands), words.money(decision.billed)
    return words.pick(
        f"{said}账单合计 {billed} = {' + '.join(parts)}。",
        f"{said} Billed {billed} = {' + '.join(parts)}.",
    )


def _line(
    words: _Words,
    line: DecisionLine,
    sections: Mapping[str, Text],
    line_texts: Mapping[int, str],
) -> str:
    what = line_texts.get(line.number, line.code.code)
    if line.section:
        section = words.of(sections[line.section])
        what = words.pick(f"{what}（{section}）", f"{what} ({section})")
    sentences = [
        _sentence(words, share.reason, share.clause, share.amount, share.bearer)
        for share in line.shares
    ]
    if not sentences and line.reason is not None:
        sentences = [_sentence(words, line.reason, line.clause, 0, Bearer.PATIENT)]
    billed = words.money(line.billed)
    if words.zh:
        told = "；".join(sentences) or "未收费"
        return f"第 {line.number} 行 {what}：账单 {billed} = {told}。"
    told = "; ".join(sentences) or "nothing was charged"
    return f"Line {line.number} {what}: billed {billed} = {told}."


def _sentence(words: _Words, reason: Reason, clause: str, amount: int, bearer: Bearer) -> str:
    template = WORDS[reason].zh if words.zh else WORDS[reason].en
    return template.format(
        amount=words.money(amount), clause=clause, bearer=words.of(_BEARERS[bearer])
    )


def _pend(words: _Words, pend: Pend, papers: Mapping[str, Text]) -> str:
    awaited = words.of(papers.get(pend.awaits) or _AWAITED[pend.awaits])
    if pend.line is None:
        return words.pick(
            f"等待：{awaited}（条款 {pend.clause}）。",
            f"Waits for {awaited} (clause {pend.clause}).",
        )
    return words.pick(
        f"第 {pend.line} 行等待：{awaited}（条款 {pend.clause}）。",
        f"Line {pend.line} waits for {awaited} (clause {pend.clause}).",
    )


def _clauses(decision: Decision) -> tuple[str, ...]:
    """Every clause that the decision names, in the order of its lines."""
    named: dict[str, None] = {}
    for line in decision.lines:
        for share in line.shares:
            named[share.clause] = None
        if line.clause:
            named[line.clause] = None
    for pend in decision.pends:
        named[pend.clause] = None
    return tuple(named)
