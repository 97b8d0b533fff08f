"""A decision in sentences that a member understands, in Chinese and English, to the fen.

Every cut is named with its clause, and each line's parts add up to what was billed. With the steps
that led to it, it also tells the share in force, what a duplicate repeats, and the balances. It
only retells what the decision says; it decides nothing and asks nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from services.claims.core.balances import BalanceChange, Unit
from services.claims.core.decision import (
    Bearer,
    BearerShare,
    Decision,
    DecisionLine,
    Disposition,
    Pend,
)
from services.claims.core.explanation import (
    Explained,
    ExplainedLine,
    ExplainedPart,
    named_clauses,
)
from services.claims.core.facts import UNIT_SCALE, plain_decimal
from services.claims.core.plan import Plan, clause_text
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import WORDS, Reason
from services.common.money import format_minor

_NO_TEXTS: Mapping[int, str] = {}


class Ended(enum.Enum):
    """How a claim ended whose decision is in force no more."""

    WITHDRAWN = enum.auto()
    REVERSED = enum.auto()
    INCOMPLETE = enum.auto()


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
    ended: Ended | None = None,
    told: Explained | None = None,
    paid: bool = False,
) -> Explanation:
    """The decision in words: one paragraph for the claim, one a line, one for each clause named.

    `line_texts` are public texts of the services by line number; without one a line shows its code.
    Of a claim whose decision holds no more it says how it `ended`; what it waited for is over.
    `told` adds shares, earlier bills and a paragraph for each balance; `paid` says that money was
    paid on it already, as on a claim that waits again after an appeal.

    Raises: KeyError when the decision names a clause that the plan has not: it is another plan's.
    """
    zh, en = Words("zh", decision.currency), Words("en", decision.currency)
    clauses = {clause: clause_text(plan, clause) for clause in named_clauses(decision)}
    said = standing(decision, ended, paid=paid)
    lead = _BEFORE.get(said) or _LEADS.get(decision.disposition)
    stands = said if lead is None else Text(zh=said.zh + lead.zh, en=f"{said.en} {lead.en}")
    if ended is not None:
        decision = msgspec.structs.replace(decision, pends=())
    sections = {section.id: section.name for section in plan.sections}
    return Explanation(
        zh=_paragraphs(zh, plan, stands, decision, sections, clauses, line_texts, told),
        en=_paragraphs(en, plan, stands, decision, sections, clauses, line_texts, told),
    )


def standing(decision: Decision, ended: Ended | None = None, *, paid: bool = False) -> Text:
    """Where the claim stands with this decision, in a sentence; `paid` is whether any of it was."""
    if ended is not None:
        return _ENDINGS[ended]
    said = _DISPOSITIONS[decision.disposition]
    if not decision.disposition.waits:
        return said
    before = _PAID_BEFORE if paid else _PAYS_FIRST if decision.pays_now else _NOTHING_BEFORE
    return Text(
        zh=f"{said.zh}，{before.zh}。{_PROVISIONAL.zh}",
        en=f"{said.en}; {before.en}. {_PROVISIONAL.en}",
    )


def awaited(plan: Plan, pend: Pend) -> Text:
    """What a claim waits for, in words; a paper that the plan does not name by its id."""
    for paper in plan.edits.papers if plan.edits is not None else ():
        if pend.awaits == f"paper.{paper.id}":
            return paper.name
    return awaited_fact(pend.awaits)


def awaited_fact(awaits: str) -> Text:
    """What a stable name of a fact says, for who has no plan at hand; papers keep their ids.

    >>> awaited_fact("provider.tier").en, awaited_fact("paper.invoice").en
    ("the provider's tier", 'the paper invoice')
    """
    paper = awaits.removeprefix("paper.")
    if paper != awaits:
        return Text(zh=f"资料 {paper}", en=f"the paper {paper}")
    return _AWAITED.get(awaits) or Text(zh=awaits, en=awaits)


def bearer_words(bearer: Bearer, *, waits: bool = False) -> Text:
    """Who bears an amount, as the member is told; nobody yet, where a fact is awaited."""
    return _UNDECIDED if waits else _BEARERS[bearer]


_DISPOSITIONS = {
    Disposition.AUTO_APPROVED: Text(zh="已自动核定。", en="Decided."),
    Disposition.APPROVED: Text(zh="已经人工审核核定。", en="Decided after review."),
    Disposition.DENIED: Text(zh="不予赔付。", en="Denied."),
    Disposition.PENDED_INFO: Text(zh="待补充资料", en="Waiting for papers"),
    Disposition.PENDED_REVIEW: Text(zh="待人工审核", en="Waiting for review"),
    Disposition.PENDED_FRAUD: Text(zh="待调查", en="Waiting for investigation"),
}
# What is reserved for a claim that waits is the worst case: its reasons may change.
_PROVISIONAL = Text(
    zh="在核定之前，尚未支付的金额及由谁承担均为暂定。",
    en="Until it is decided, all that is not paid yet, and who bears it, is provisional.",
)
# Without it the balances of a waiting claim contradict its lines.
_RESERVED = Text(
    zh="本赔案尚未决定：以下“本次后”为按最高可能赔付的预留，待决部分尚未计入免赔额。",
    en='The claim waits: "after" below holds what it reserves, the most that it could pay, with no'
    " deductible taken yet.",
)
# What becomes of the money of a claim that waits.
_NOTHING_BEFORE = Text(zh="此前不支付", en="nothing is paid before")
_PAID_BEFORE = Text(
    zh="此前已支付的不变，不再另行支付",
    en="what was paid stays until then, and nothing more is paid before",
)
_PAYS_FIRST = Text(zh="无争议的部分先行支付", en="what waits for nothing is paid first")
_WITHDRAWN = Text(zh="已撤回，不予支付。", en="Withdrawn; nothing is paid.")
_REVERSED = Text(
    zh="已撤销，原结论不再有效。", en="Reversed; what had been decided holds no longer."
)
_INCOMPLETE = Text(
    zh="资料未在期限内补齐，已结案，不予支付。", en="Closed without its papers; nothing is paid."
)
_ENDINGS = {
    Ended.WITHDRAWN: _WITHDRAWN,
    Ended.REVERSED: _REVERSED,
    Ended.INCOMPLETE: _INCOMPLETE,
}
# What leads over from where a claim stands to its amounts.
_NOW, _PROPOSED = Text(zh="目前：", en="As it stands:"), Text(zh="拟定：", en="As proposed:")
_LEADS = {
    Disposition.PENDED_INFO: _NOW,
    Disposition.PENDED_REVIEW: _PROPOSED,
    Disposition.PENDED_FRAUD: _NOW,
}
_BEFORE = {
    _WITHDRAWN: Text(zh="撤回前：", en="As it stood before:"),
    _REVERSED: Text(zh="撤销前：", en="As it stood before:"),
    _INCOMPLETE: Text(zh="结案前：", en="As it stood before:"),
}
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
    "bill.referral": Text(zh="是否经转诊", en="whether the patient was referred"),
    "member.family_doctor": Text(
        zh="是否签约家庭医生", en="whether the member has a family doctor's contract"
    ),
    "policy.family_size": Text(zh="家庭参保人数", en="how many of the family are insured"),
    "member.sex": Text(zh="被保险人性别", en="the member's sex"),
    "provider.licences": Text(zh="医疗机构执业资质", en="what the provider is licensed as"),
    "line.prescription_time": Text(zh="处方时间", en="when it was prescribed"),
    "bill.liability": Text(
        zh="是否涉及工伤或第三方责任", en="whether work-injury insurance or a third party is liable"
    ),
    "bill.admission_time": Text(zh="入院时间", en="at what time the patient was admitted"),
    "line.service_time": Text(zh="诊疗时间", en="at what time the service was given"),
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
    "review.sampling": Text(zh="人工审核（随机抽查）", en="a person, as the claim was drawn"),
}
_CURRENCIES = {"CNY": "元", "USD": "美元", "HKD": "港元", "EUR": "欧元", "JPY": "日元"}


class Words:
    """One language: amounts and the fixed parts of sentences."""

    def __init__(self, language: str, currency: str) -> None:
        self.zh = language == "zh"
        self._currency = currency

    def of(self, text: Text) -> str:
        """The text in this language."""
        return text.zh if self.zh else text.en

    def money(self, amount: int) -> str:
        """An amount of minor units with its currency."""
        plain = format_minor(amount, self._currency)
        if self.zh:
            return f"{plain} {_CURRENCIES.get(self._currency, self._currency)}"
        return f"{self._currency} {plain}"

    def pick(self, zh: str, en: str) -> str:
        """One of two texts."""
        return zh if self.zh else en

    def share(self, share: Decimal) -> str:
        """A share as people write it.

        >>> Words("en", "CNY").share(Decimal("0.725"))
        '72.5%'
        """
        return f"{plain_decimal(share * 100)}%"

    def sentence(self, part: BearerShare | ExplainedPart) -> str:
        """Why an amount is borne by whom, under which clause."""
        return _sentence(self, part.reason, part.clause, part.amount, part.bearer)

    def quantity(self, amount: int, unit: Unit) -> str:
        """What an accumulator adds up, with its unit."""
        match unit:
            case Unit.MONEY:
                return self.money(amount)
            case Unit.COUNT:
                return self.pick(f"{amount} 次", str(amount))
            case Unit.UNITS:
                return str(plain_decimal(Decimal(amount) / UNIT_SCALE))


def _paragraphs(
    words: Words,
    plan: Plan,
    stands: Text,
    decision: Decision,
    sections: Mapping[str, Text],
    clauses: Mapping[str, Text],
    line_texts: Mapping[int, str],
    told: Explained | None,
) -> tuple[str, ...]:
    known = {line.number: line for line in told.lines} if told else {}
    balances = told.balances if told else ()
    return (
        _claim(words, stands, decision),
        *(
            _line(words, line, sections, line_texts) + _more(words, told, known.get(line.number))
            for line in decision.lines
        ),
        *(_pend(words, plan, pend) for pend in decision.pends),
        *((words.of(_RESERVED),) if balances and decision.pends else ()),
        *(balance_sentence(words, one) for one in balances),
        *(
            f"{words.pick('条款', 'Clause')} {clause}{words.pick('：', ': ')}{words.of(text)}"
            for clause, text in clauses.items()
        ),
    )


def _claim(words: Words, stands: Text, decision: Decision) -> str:
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
    words: Words,
    line: DecisionLine,
    sections: Mapping[str, Text],
    line_texts: Mapping[int, str],
) -> str:
    what = line_texts.get(line.number, line.code.code)
    if line.section:
        section = words.of(sections[line.section])
        what = words.pick(f"{what}（{section}）", f"{what} ({section})")
    sentences = [words.sentence(share) for share in line.shares]
    if not sentences and line.reason is not None:
        sentences = [_sentence(words, line.reason, line.clause, 0, Bearer.PATIENT)]
    billed = words.money(line.billed)
    if words.zh:
        told = "；".join(sentences) or "未收费"
        return f"第 {line.number} 行 {what}：账单 {billed} = {told}。"
    told = "; ".join(sentences) or "nothing was charged"
    return f"Line {line.number} {what}: billed {billed} = {told}."


def _more(words: Words, told: Explained | None, line: ExplainedLine | None) -> str:
    """What the steps add to a line: the share in force, and what a duplicate repeats."""
    if told is None or line is None:
        return ""
    said = ""
    if line.share is not None:
        share, clause = words.share(line.share), line.share_clause
        said = words.pick(
            f"赔付比例 {share}（条款 {clause}）。",
            f" The insurer's share is {share} (clause {clause}).",
        )
    return said + earlier_sentence(words, told, line)


def earlier_sentence(words: Words, told: Explained, line: ExplainedLine) -> str:
    """Which bill and claim a duplicate repeats; empty for a line that repeats none."""
    if line.earlier is None:
        return ""
    bill, provider = line.earlier.bill_number, line.earlier.provider_id
    day = line.earlier.service_date.isoformat()
    claims = told.claims_of.get((provider, bill), ())
    return words.pick(
        f"已见于医疗机构 {provider} 的票据 {bill}（{day}）"
        + (f"，赔案 {'、'.join(claims)}。" if claims else "。"),
        f" It stands on bill {bill} of {provider} ({day})"
        + (f", claim {', '.join(claims)}." if claims else "."),
    )


def balance_sentence(words: Words, balance: BalanceChange) -> str:
    """One accumulator before and after the claim, and what is left of it."""
    name = words.of(balance.name)
    before, after = (words.quantity(one, balance.unit) for one in (balance.before, balance.after))
    if balance.limit is None or balance.left is None:
        return words.pick(
            f"{name}：此前已用 {before}，本次后 {after}。",
            f"{name}: {before} before, {after} after.",
        )
    limit = words.quantity(balance.limit, balance.unit)
    left = words.quantity(balance.left, balance.unit)
    # An authorisation is the member's own and has no clause.
    zh, en = (
        (f"（条款 {balance.clause}）", f" (clause {balance.clause})")
        if balance.clause
        else ("", "")
    )
    return words.pick(
        f"{name}{zh}：限额 {limit}，此前已用 {before}，本次后 {after}，剩余 {left}。",
        f"{name}{en}: limit {limit}, {before} used before, {after} after, {left} left.",
    )


def _sentence(words: Words, reason: Reason, clause: str, amount: int, bearer: Bearer) -> str:
    template = WORDS[reason].zh if words.zh else WORDS[reason].en
    return template.format(
        amount=words.money(amount), clause=clause, bearer=words.of(_BEARERS[bearer])
    )


def _pend(words: Words, plan: Plan, pend: Pend) -> str:
    what = words.of(awaited(plan, pend))
    if pend.line is None:
        return words.pick(
            f"等待：{what}（条款 {pend.clause}）。",
            f"Waits for {what} (clause {pend.clause}).",
        )
    return words.pick(
        f"第 {pend.line} 行等待：{what}（条款 {pend.clause}）。",
        f"Line {pend.line} waits for {what} (clause {pend.clause}).",
    )
