"""Words of a page or PDF in Chinese and English: headings, states, outcomes, and printed amounts.

Who bears what and why is said by core.reasons and core.explain. Knows no document.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from decimal import Decimal

from services.claims.core.decision import LineOutcome
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan_parts import Text
from services.common.money import currency_exponent


class Language(enum.StrEnum):
    """A language of documents."""

    ZH = "zh"
    EN = "en"


# The Chinese is the glossary's.
STATES: Mapping[ClaimState, Text] = {
    ClaimState.RECEIVED: Text(zh="已收单", en="received"),
    ClaimState.REGISTERED: Text(zh="已立案", en="registered"),
    ClaimState.ADJUDICATING: Text(zh="核赔中", en="being decided"),
    ClaimState.AUTO_APPROVED: Text(zh="自动通过", en="decided"),
    ClaimState.PENDED_INFO: Text(zh="待补资料", en="waits for papers"),
    ClaimState.PENDED_REVIEW: Text(zh="待人工审核", en="waits for review"),
    ClaimState.PENDED_FRAUD: Text(zh="待反欺诈调查", en="waits for investigation"),
    ClaimState.DENIED: Text(zh="拒赔", en="denied"),
    ClaimState.CLOSED_INCOMPLETE: Text(zh="资料不全结案", en="closed, papers never came"),
    ClaimState.APPROVED: Text(zh="审核通过", en="approved"),
    ClaimState.PAYABLE: Text(zh="待付款", en="to be paid"),
    ClaimState.CLOSED_ZERO: Text(zh="零赔结案", en="closed, nothing owed"),
    ClaimState.PAYMENT_SENT: Text(zh="已送付款", en="sent to the bank"),
    ClaimState.PAID: Text(zh="已付款", en="paid"),
    ClaimState.PAYMENT_FAILED: Text(zh="付款失败", en="refused by the bank"),
    ClaimState.RETURNED: Text(zh="退汇", en="money came back"),
    ClaimState.ADJUSTED: Text(zh="已调整", en="adjusted"),
    ClaimState.REVERSED: Text(zh="已撤销", en="reversed"),
    ClaimState.RECOVERY_OPEN: Text(zh="追回中", en="money to be got back"),
    ClaimState.RECOVERED: Text(zh="已追回", en="money got back"),
    ClaimState.WRITTEN_OFF: Text(zh="已核销", en="money given up"),
    ClaimState.APPEALED: Text(zh="申诉中", en="under appeal"),
    ClaimState.UPHELD: Text(zh="维持原结论", en="decision upheld"),
    ClaimState.OVERTURNED: Text(zh="推翻原结论", en="decision overturned"),
    ClaimState.WITHDRAWN: Text(zh="已撤回", en="withdrawn"),
}
OUTCOMES: Mapping[LineOutcome, Text] = {
    LineOutcome.ALLOWED: Text(zh="全额赔付", en="paid in full"),
    LineOutcome.CUT: Text(zh="部分赔付", en="paid in part"),
    LineOutcome.DENIED: Text(zh="不予赔付", en="denied"),
    LineOutcome.PENDED: Text(zh="待定", en="waits"),
}
LABELS: Mapping[str, Text] = {
    "title": Text(zh="理赔说明书", en="Explanation of benefits"),
    "claim": Text(zh="赔案", en="Claim"),
    "bill": Text(zh="票据号", en="Bill"),
    "provider": Text(zh="医疗机构", en="Provider"),
    "days": Text(zh="就诊日期", en="Days of care"),
    "category": Text(zh="赔案类别", en="Kind of claim"),
    "decided": Text(zh="核定时间", en="Decided"),
    "state": Text(zh="状态", en="Where it stands"),
    "paid": Text(zh="已付款", en="Paid"),
    "recovered": Text(zh="已追回", en="Came back"),
    "net": Text(zh="净付款", en="Paid, net"),
    "to_return": Text(zh="尚需退回", en="Still to be paid back"),
    "insurer": Text(zh="保险人", en="Insurer"),
    "policy": Text(zh="保单", en="Policy"),
    "who": Text(zh="谁承担多少", en="Who bears what"),
    "who_before": Text(zh="原结论：谁承担多少", en="As it stood before: who bore what"),
    "billed": Text(zh="账单金额", en="Billed"),
    "allowed": Text(zh="合理金额", en="Allowed"),
    "benefit": Text(zh="赔付金额", en="Benefit"),
    "share": Text(zh="赔付比例", en="Insurer's share"),
    "clause": Text(zh="条款", en="Clause"),
    "lines": Text(zh="逐项说明", en="Line by line"),
    "step": Text(zh="步骤与理由", en="Step and reason"),
    "amount": Text(zh="金额", en="Amount"),
    "left": Text(zh="剩余", en="Left"),
    "total": Text(zh="合计", en="Total"),
    "balances": Text(zh="限额与免赔额余额", en="Balances of limits and deductibles"),
    "balance": Text(zh="名称", en="Balance"),
    "limit": Text(zh="限额", en="Limit"),
    "before": Text(zh="此前已用", en="Used before"),
    "after": Text(zh="本次后已用", en="Used after"),
    "reserved": Text(
        zh="本赔案尚未决定，“本次后”含按最高可能赔付的预留。",
        en='The claim waits: "used after" holds what it reserves, the most that it could pay.',
    ),
    "moved": Text(zh="本行后余额", en="Balances after this line"),
    "awaited": Text(zh="尚待", en="What it waits for"),
    "coordinated": Text(zh="同一票据的其他保险", en="Other insurance for the same bill"),
    "another": Text(zh="其他保险人的保单", en="another insurer's policy"),
    "reasons": Text(zh="按理由汇总", en="By reason"),
    "reason": Text(zh="理由", en="Reason"),
    "code": Text(zh="X12 代码", en="X12 code"),
    "clauses": Text(zh="条款原文摘要", en="Clauses named above"),
    "proof": Text(zh="核对", en="It adds up"),
    "version": Text(
        zh="本决定可由存档数据随时重算：条款版本、引擎版本、结果哈希如下。",
        en="The decision can be recomputed from stored inputs: plan version, engine, output hash.",
    ),
    "unknown": Text(
        zh="由较早的引擎版本核定，未列出当时的比例与余额。",
        en="Decided by an earlier engine version; shares and balances of then are not shown.",
    ),
}


def grouped(amount: int, currency: str) -> str:
    """An amount in major units with thousands apart.

    >>> grouped(123456789, "CNY")
    '1,234,567.89'
    """
    places = currency_exponent(currency)
    return f"{Decimal(amount).scaleb(-places):,.{places}f}"
