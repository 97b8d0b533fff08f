"""Chinese words for the enum values of a decision, as tables show them."""

from __future__ import annotations

from collections.abc import Mapping

from lipei.claims.v1 import decision_pb2, reason_pb2
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


def bearer(value: int, lang: Language) -> str:
    """Who bears a share."""
    return _in(lang, word(decision_pb2.Bearer, value), BEARERS.get(value))


def outcome(value: decision_pb2.LineOutcome.ValueType, lang: Language) -> str:
    """What became of a line."""
    return _in(lang, word(decision_pb2.LineOutcome, value), _OUTCOMES.get(value))


def reason(value: reason_pb2.Reason.ValueType, lang: Language) -> str:
    """Why a share is borne."""
    return _in(lang, word(reason_pb2.Reason, value), _REASONS.get(value))


def _in(lang: Language, english: str, chinese: str | None) -> str:
    if lang is Language.EN or chinese is None:
        return english
    return chinese if lang is Language.ZH else f"{english} {chinese}"
