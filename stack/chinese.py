"""Chinese words for the enum values of a decision, as tables show them."""

from __future__ import annotations

from collections.abc import Mapping

from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from services.claims.core.explain import awaited_fact
from stack.commands.options import Language
from stack.commands.printing import word

BEARERS: Mapping[int, str] = {
    decision_pb2.BEARER_INSURER: "保险人",
    decision_pb2.BEARER_PRIOR_PAYER: "先行赔付方",
    decision_pb2.BEARER_PATIENT: "患者",
    decision_pb2.BEARER_PROVIDER: "医疗机构",
}
_OUTCOMES: Mapping[int, str] = {
    decision_pb2.LINE_OUTCOME_ALLOWED: "全额赔付",
    decision_pb2.LINE_OUTCOME_CUT: "部分赔付",
    decision_pb2.LINE_OUTCOME_DENIED: "不予赔付",
    decision_pb2.LINE_OUTCOME_PENDED: "待定",
}
_REASONS: Mapping[int, str] = {
    reason_pb2.REASON_IMPOSSIBLE_DATES: "不可能的日期",
    reason_pb2.REASON_NOT_COVERED_ON_DATE: "当日无保障",
    reason_pb2.REASON_DEPENDANT_NOT_ELIGIBLE: "家属不符合条件",
    reason_pb2.REASON_DUPLICATE: "重复",
    reason_pb2.REASON_LATE_FILING: "逾期申报",
    reason_pb2.REASON_OTHER_LIABILITY: "他方责任",
    reason_pb2.REASON_BENEFIT_EXCLUDED: "不在责任范围",
    reason_pb2.REASON_DIAGNOSIS_EXCLUDED: "疾病除外",
    reason_pb2.REASON_PRE_EXISTING: "既往症",
    reason_pb2.REASON_WAITING_PERIOD: "等待期",
    reason_pb2.REASON_AUTHORISATION: "未获授权",
    reason_pb2.REASON_PROVIDER_NOT_LISTED: "医疗机构不符",
    reason_pb2.REASON_NOT_IN_PRICE_LIST: "不在价目表",
    reason_pb2.REASON_CLINICAL_MISMATCH: "与诊断不符",
    reason_pb2.REASON_DUPLICATE_EXAMINATION: "重复检查",
    reason_pb2.REASON_BUNDLED: "已含于其他项目",
    reason_pb2.REASON_UNITS_EXCEEDED: "超出数量",
    reason_pb2.REASON_FREQUENCY: "超出频次",
    reason_pb2.REASON_PRICE_ABOVE_CONTRACT: "高于协议价",
    reason_pb2.REASON_UNIT_LIMIT: "单位限额",
    reason_pb2.REASON_SOCIAL_INSURANCE_PAID: "医保已付",
    reason_pb2.REASON_DEDUCTIBLE: "免赔额",
    reason_pb2.REASON_COPAY: "定额自付",
    reason_pb2.REASON_COINSURANCE: "比例自付",
    reason_pb2.REASON_SECTION_CEILING: "分项限额",
    reason_pb2.REASON_CEILING: "年度限额",
    reason_pb2.REASON_PRIOR_PAYER_PAID: "先行赔付已付",
    reason_pb2.REASON_ZERO_BENEFIT: "赔付为零",
    reason_pb2.REASON_BENEFIT: "赔付",
    reason_pb2.REASON_FACT_MISSING: "缺少资料",
    reason_pb2.REASON_REVIEW_NEEDED: "需人工审核",
}


STATES: Mapping[int, str] = {
    claims_pb2.CLAIM_STATE_RECEIVED: "已收到",
    claims_pb2.CLAIM_STATE_REGISTERED: "已立案",
    claims_pb2.CLAIM_STATE_ADJUDICATING: "理算中",
    claims_pb2.CLAIM_STATE_AUTO_APPROVED: "自动核赔通过",
    claims_pb2.CLAIM_STATE_PENDED_INFO: "待补充资料",
    claims_pb2.CLAIM_STATE_PENDED_REVIEW: "待人工审核",
    claims_pb2.CLAIM_STATE_PENDED_FRAUD: "待调查",
    claims_pb2.CLAIM_STATE_DENIED: "拒赔",
    claims_pb2.CLAIM_STATE_CLOSED_INCOMPLETE: "资料不全结案",
    claims_pb2.CLAIM_STATE_APPROVED: "核赔通过",
    claims_pb2.CLAIM_STATE_PAYABLE: "待支付",
    claims_pb2.CLAIM_STATE_CLOSED_ZERO: "零赔付结案",
    claims_pb2.CLAIM_STATE_PAYMENT_SENT: "支付中",
    claims_pb2.CLAIM_STATE_PAID: "已支付",
    claims_pb2.CLAIM_STATE_PAYMENT_FAILED: "支付失败",
    claims_pb2.CLAIM_STATE_RETURNED: "已退汇",
    claims_pb2.CLAIM_STATE_ADJUSTED: "已调整",
    claims_pb2.CLAIM_STATE_REVERSED: "已冲正",
    claims_pb2.CLAIM_STATE_RECOVERY_OPEN: "追回中",
    claims_pb2.CLAIM_STATE_RECOVERED: "已追回",
    claims_pb2.CLAIM_STATE_WRITTEN_OFF: "已核销",
    claims_pb2.CLAIM_STATE_APPEALED: "申诉中",
    claims_pb2.CLAIM_STATE_UPHELD: "维持原决定",
    claims_pb2.CLAIM_STATE_OVERTURNED: "撤销原决定",
    claims_pb2.CLAIM_STATE_WITHDRAWN: "已撤回",
}
# What headings, labels and sentences of tables say, by their English.
WORDS: Mapping[str, str] = {
    "claim": "赔案",
    "bill": "账单",
    "state": "状态",
    "billed": "账单金额",
    "benefit": "赔付金额",
    "paid": "已付金额",
    "came back": "已追回金额",
    "net paid": "净付金额",
    "taken in (UTC)": "收案时间 (UTC)",
    "(erased)": "（已清除）",
    "unreadable": "无法读取",
    "line": "明细行",
    "lines": "明细行",
    "service": "项目",
    "section": "责任分项",
    "outcome": "结论",
    "allowed": "合理金额",
    "amount": "金额",
    "borne by": "承担方",
    "because of": "理由",
    "clause": "条款",
    "reason": "理由",
    "X12 group": "X12 组别",
    "plan": "保险方案",
    "output": "结果哈希",
    "commitment": "承诺值",
    "amounts in": "金额单位",
    "not decided yet": "尚未决定",
    "the person's data was erased; amounts and states are all that is left": (
        "此人的资料已清除，仅余金额与状态"
    ),
    "somebody else must confirm": "须由另一人确认",
    "a review": "审核",
    "a new decision": "重新理算",
    "that the claim is taken back": "撤销赔案并追回已付款",
    "that the rest is given up": "放弃追回余款",
    "something proposed": "一项提议",
    "proposed by": "提议人",
    "the money waits for a payee's account that a bank can pay": "待支付：收款人尚无可付账户",
    "the bank refused the payment; it is paid again once the account is mended": (
        "银行拒付，更正账户后重付"
    ),
    "it comes to": "所涉金额",
    "that money came back": "款项已退回",
    "by the transfer": "入账流水",
    "nothing came of what was proposed": "提议未生效",
    "rejected": "被否决",
    "withdrawn": "已撤回",
    "units": "数量",
    "price": "单价",
    "denied": "不予赔付",
    "every line as the engine has it": "各行均按系统理算结果",
    "why": "说明",
    "the hospital has corrected the bill; what is shown knows nothing of it yet": (
        "医院已更正账单，此处所示尚未计入更正"
    ),
    "a senior adjuster has to decide it anew": "须由高级理赔员重新理算",
    "waits for": "等待",
    "papers are awaited until": "等待资料至",
    "days are left by law or contract": "天（法定或约定期限）剩余",
    "days until the undisputed minimum is due": "天后应先予支付可以确定的数额",
    "the notice of the refusal is due by": "拒赔通知书最迟发出日期",
    "days over": "天已逾期",
    "the notice went out on": "拒赔通知书发出日期",
    "too late": "已逾期",
    "by post or courier": "邮寄或快递",
    "by a message": "电子方式",
    "handed over": "当面送达",
    "sent": "已发出",
    "recorded by": "登记人",
    "denied (UTC)": "拒赔时间 (UTC)",
    "notice due by": "通知书最迟发出日期",
    "revision": "版本",
    "are to be recovered": "应予追回",
    "waits": "状态",
    "since (UTC)": "起始时间 (UTC)",
    "for": "等待事项",
    "days left": "剩余天数",
    "minimum due in": "先予支付剩余天数",
    "to be confirmed": "待另一人确认",
    "to be adjusted": "待重新理算",
    "a person, as the decision was overturned": "人工审核（原决定已撤销）",
    "up to": "至多",
    "owed": "应付金额",
    "last try (UTC)": "最近一次处理时间 (UTC)",
    "tries": "次数",
    "fault": "故障",
    "payout": "付款编号",
    "no word from the bank": "银行未回复",
    "stopped": "停计",
    "the clock stands still until the papers come": "补齐材料前停止计算期限",
    "when (UTC)": "时间 (UTC)",
    "from": "之前",
    "to": "之后",
    "actor": "操作者",
    "cause": "缘由",
    "clock": "计时",
    "step": "步骤",
    "cell": "取值",
    "factor": "系数",
    "difference": "差额",
    "premium": "保费",
    "meaning": "含义",
    "start": "起",
    "steps": "步骤",
    "premium without credit": "优惠前保费",
    "expiring premium without credit, rerated": "到期优惠前保费（按新保障重新计算）",
    "technical premium": "技术保费",
    "collar": "涨跌幅限制",
    "off-balance factor": "平衡因子",
    "none given": "未给出",
    "outcome tier": "健康管理等级",
    "sum of the differences": "差额之和",
    "longest run": "最长连续达标月数",
    "earns": "应得",
    "credit": "保费优惠",
    "legal cap": "法定上限",
    "no credit: the operator has set no legal cap": "无优惠：尚未设定法定上限",
    "none": "无",
    "month": "月份",
    "result": "结果",
    "decided by": "依据",
    "slots": "测量时段",
    "means and targets": "均值与达标标准",
    "readings": "检测值",
    "on target": "达标",
    "off target": "未达标",
    "not enough": "不足",
    "doctor": "医生设定",
    "months": "月份",
    "flag": "待核查",
    "held until cleared": "核查前不计入",
    "cleared": "已核查",
    "noted": "仅提示",
    "days covered by drugs": "用药覆盖天数比例",
    "not measured": "未计算",
    "sum insured": "保额",
}


CHANNELS: Mapping[int, str] = {
    claims_pb2.NOTICE_CHANNEL_LETTER: "by post or courier",
    claims_pb2.NOTICE_CHANNEL_MESSAGE: "by a message",
    claims_pb2.NOTICE_CHANNEL_HANDED_OVER: "handed over",
}


PAYOUT_WAITS: Mapping[str, str] = {
    "NO_PAYEE_ACCOUNT": "the money waits for a payee's account that a bank can pay",
    "REFUSED": "the bank refused the payment; it is paid again once the account is mended",
    "BANK_SILENT": "no word from the bank",
}


PROPOSED: Mapping[str, str] = {
    "review": "a review",
    "adjust": "a new decision",
    "reverse": "that the claim is taken back",
    "recover": "that money came back",
    "write_off": "that the rest is given up",
}


def said(english: str, lang: Language) -> str:
    """A label or sentence of a table in a language; both of them with the Chinese first."""
    chinese = WORDS.get(english)
    if lang is Language.EN or chinese is None:
        return english
    return chinese if lang is Language.ZH else f"{chinese} {english}"


def heading(english: str, lang: Language) -> str:
    """A column's heading; both languages on two lines."""
    chinese = WORDS.get(english)
    if lang is Language.EN or chinese is None:
        return english
    return chinese if lang is Language.ZH else f"{chinese}\n{english}"


def state(value: claims_pb2.ClaimState.ValueType, lang: Language) -> str:
    """Where a claim stands."""
    return _in(lang, word(claims_pb2.ClaimState, value), STATES.get(value))


def bearer(value: int, lang: Language) -> str:
    """Who bears a share."""
    return _in(lang, word(decision_pb2.Bearer, value), BEARERS.get(value))


def outcome(value: decision_pb2.LineOutcome.ValueType, lang: Language) -> str:
    """What became of a line."""
    return _in(lang, word(decision_pb2.LineOutcome, value), _OUTCOMES.get(value))


def reason(value: reason_pb2.Reason.ValueType, lang: Language) -> str:
    """Why a share is borne."""
    return _in(lang, word(reason_pb2.Reason, value), _REASONS.get(value))


def awaited(awaits: str, lang: Language) -> str:
    """What a claim waits for, by the stable name of the fact."""
    text = awaited_fact(awaits)
    return _in(lang, text.en, text.zh)


def _in(lang: Language, english: str, chinese: str | None) -> str:
    if lang is Language.EN or chinese is None:
        return english
    return chinese if lang is Language.ZH else f"{english} {chinese}"
