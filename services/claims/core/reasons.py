"""Why an amount is borne by whom: one list in order of precedence, with its codes and sentences.

Numbers and names are those of lipei.claims.v1.Reason. CARC, RARC and group codes are X12's, the
categories FHIR's and CARIN's. It knows no plan: the clause is the decision's to name.
"""

from __future__ import annotations

import enum

import msgspec

# http://terminology.hl7.org/CodeSystem/adjudication
FHIR_ADJUDICATION = "http://terminology.hl7.org/CodeSystem/adjudication"
# What HL7's base list lacks; the list is "not copyrighted" by its own statement.
C4BB_ADJUDICATION = "http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication"


class Reason(enum.IntEnum):
    """Why; where two refuse the same line, the smaller number wins."""

    IMPOSSIBLE_DATES = 1
    NOT_COVERED_ON_DATE = 2
    DEPENDANT_NOT_ELIGIBLE = 3
    DUPLICATE = 4
    LATE_FILING = 5
    OTHER_LIABILITY = 6
    BENEFIT_EXCLUDED = 7
    DIAGNOSIS_EXCLUDED = 8
    PRE_EXISTING = 9
    WAITING_PERIOD = 10
    AUTHORISATION = 11
    PROVIDER_NOT_LISTED = 12
    NOT_IN_PRICE_LIST = 13
    CLINICAL_MISMATCH = 14
    DUPLICATE_EXAMINATION = 15
    BUNDLED = 16
    UNITS_EXCEEDED = 17
    FREQUENCY = 18
    PRICE_ABOVE_CONTRACT = 19
    UNIT_LIMIT = 20
    SOCIAL_INSURANCE_PAID = 21
    DEDUCTIBLE = 22
    COPAY = 23
    COINSURANCE = 24
    SECTION_CEILING = 25
    CEILING = 26
    PRIOR_PAYER_PAID = 27
    ZERO_BENEFIT = 28
    BENEFIT = 29
    FACT_MISSING = 30
    REVIEW_NEEDED = 31
    MEDICAL_NECESSITY = 48
    PAPERS_MISSING = 51


# Reasons that no term of today's plan language can reach, and the issue that brings the term.
NOT_YET_EMITTED: dict[Reason, int] = {
    Reason.LATE_FILING: 5,
    Reason.OTHER_LIABILITY: 5,
    Reason.AUTHORISATION: 5,
    Reason.CLINICAL_MISMATCH: 5,
    Reason.BUNDLED: 5,
    Reason.UNITS_EXCEEDED: 5,
}


class ReasonWords(msgspec.Struct, frozen=True, kw_only=True):
    """What a reason is called by others, and the sentence for the member.

    `carc` is empty for what is paid as promised; `carc_also` are narrower codes of the same
    reason. The group code is the usual bearer's; a provider's amount goes out under CO. In the
    sentences {amount} is the money, {clause} the plan's clause and {bearer} who bears it.
    """

    carc: str
    group_code: str
    fhir_system: str
    fhir_code: str
    zh: str
    en: str
    rarc: str = ""
    carc_also: tuple[str, ...] = ()


def _patient(
    carc: str, zh: str, en: str, *, rarc: str = "", carc_also: tuple[str, ...] = ()
) -> ReasonWords:
    """A refusal: the patient bears it, FHIR calls it not covered."""
    return ReasonWords(
        carc=carc,
        group_code="PR",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="noncovered",
        zh=zh,
        en=en,
        rarc=rarc,
        carc_also=carc_also,
    )


_NON_COVERED_REMARK = "N130"  # consult the plan's benefit documents; CARC 96 and 204 need a remark

WORDS: dict[Reason, ReasonWords] = {
    Reason.IMPOSSIBLE_DATES: _patient(
        "110",
        "{amount} 服务日期不可能成立（条款 {clause}），由您承担",
        "{amount} is yours: the service date is impossible (clause {clause})",
        carc_also=("13",),
    ),
    Reason.NOT_COVERED_ON_DATE: _patient(
        "27",
        "{amount} 就诊当日不在保障期内（条款 {clause}），由您承担",
        "{amount} is yours: there was no cover on the day (clause {clause})",
        carc_also=("26",),
    ),
    Reason.DEPENDANT_NOT_ELIGIBLE: _patient(
        "32",
        "{amount} 被保险人不符合投保资格（条款 {clause}），由您承担",
        "{amount} is yours: the person is not eligible under the policy (clause {clause})",
    ),
    Reason.DUPLICATE: _patient(
        "18",
        "{amount} 同一服务已在另一票据中赔付（条款 {clause}），不重复赔付",
        "{amount} is not paid again: the same service was decided under another bill"
        " (clause {clause})",
    ),
    Reason.LATE_FILING: _patient(
        "29",
        "{amount} 超过申请时限（条款 {clause}），由您承担",
        "{amount} is yours: it was filed after the time limit (clause {clause})",
    ),
    Reason.OTHER_LIABILITY: _patient(
        "20",
        "{amount} 应由工伤保险或第三方承担（条款 {clause}）",
        "{amount} is for work-injury insurance or a liable third party (clause {clause})",
        carc_also=("19",),
    ),
    Reason.BENEFIT_EXCLUDED: _patient(
        "204",
        "{amount} 该项目不在保障范围内（条款 {clause}），由您承担",
        "{amount} is yours: the plan does not cover this service (clause {clause})",
        rarc=_NON_COVERED_REMARK,
        carc_also=("96",),
    ),
    Reason.DIAGNOSIS_EXCLUDED: _patient(
        "167",
        "{amount} 该疾病属于责任免除（条款 {clause}），由您承担",
        "{amount} is yours: the plan does not cover this diagnosis (clause {clause})",
        rarc=_NON_COVERED_REMARK,
    ),
    Reason.PRE_EXISTING: _patient(
        "51",
        "{amount} 属于投保前已有疾病（条款 {clause}），由您承担",
        "{amount} is yours: the condition is from before the cover (clause {clause})",
    ),
    Reason.WAITING_PERIOD: _patient(
        "179",
        "{amount} 仍在等待期内（条款 {clause}），由您承担",
        "{amount} is yours: the waiting period was not over (clause {clause})",
    ),
    Reason.AUTHORISATION: _patient(
        "197",
        "{amount} 未取得事先授权（条款 {clause}），由您承担",
        "{amount} is yours: the authorisation is missing, invalid or exceeded (clause {clause})",
        carc_also=("15", "198"),
    ),
    Reason.PROVIDER_NOT_LISTED: _patient(
        "242",
        "{amount} 该医疗机构不符合约定（条款 {clause}），由您承担",
        "{amount} is yours: the plan does not cover this provider (clause {clause})",
        carc_also=("185",),
    ),
    Reason.NOT_IN_PRICE_LIST: _patient(
        "96",
        "{amount} 该项目当日不在医院协议价格目录内（条款 {clause}），由您承担",
        "{amount} is yours: the service was not in the provider's price list that day"
        " (clause {clause})",
        rarc="N448",
    ),
    Reason.CLINICAL_MISMATCH: _patient(
        "11",
        "{amount} 年龄、性别、诊断或地点与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: age, sex, diagnosis or place contradicts the service (clause {clause})",
        carc_also=("5", "6", "7", "8"),
    ),
    Reason.DUPLICATE_EXAMINATION: _patient(
        "18",
        "{amount} 检查结果互认期内的重复检查（条款 {clause}）",
        "{amount} repeats an examination within the mutual-recognition window (clause {clause})",
    ),
    Reason.BUNDLED: _patient(
        "97",
        "{amount} 已包含在其他项目中或与其互斥（条款 {clause}）",
        "{amount} is bundled with, or exclusive to, another service (clause {clause})",
        carc_also=("236",),
    ),
    Reason.UNITS_EXCEEDED: _patient(
        "222",
        "{amount} 数量超过医学合理上限（条款 {clause}）",
        "{amount} is above the medically plausible units (clause {clause})",
        carc_also=("151",),
    ),
    Reason.FREQUENCY: _patient(
        "119",
        "{amount} 次数或数量已达上限（条款 {clause}），由您承担",
        "{amount} is yours: the number that the plan pays for is used up (clause {clause})",
        carc_also=("151",),
    ),
    Reason.PRICE_ABOVE_CONTRACT: ReasonWords(
        carc="45",
        group_code="CO",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="discount",
        zh="{amount} 高于协议价格（条款 {clause}），由{bearer}承担",
        en="{amount} is above the contract price and is for {bearer} to bear (clause {clause})",
    ),
    Reason.UNIT_LIMIT: _patient(
        "119",
        "{amount} 超过每单位限额（条款 {clause}），由您承担",
        "{amount} is yours: it is above the limit per unit (clause {clause})",
    ),
    Reason.SOCIAL_INSURANCE_PAID: ReasonWords(
        carc="23",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="priorpayerpaid",
        zh="{amount} 已由基本医保支付（条款 {clause}）",
        en="{amount} was paid by social insurance (clause {clause})",
        carc_also=("22",),
    ),
    Reason.DEDUCTIBLE: ReasonWords(
        carc="1",
        group_code="PR",
        fhir_system=FHIR_ADJUDICATION,
        fhir_code="deductible",
        zh="{amount} 计入免赔额（条款 {clause}），由您承担",
        en="{amount} is yours: the deductible (clause {clause})",
    ),
    Reason.COPAY: ReasonWords(
        carc="3",
        group_code="PR",
        fhir_system=FHIR_ADJUDICATION,
        fhir_code="copay",
        zh="{amount} 为每次就诊自付额（条款 {clause}），由您承担",
        en="{amount} is yours: the copay of the visit (clause {clause})",
    ),
    Reason.COINSURANCE: ReasonWords(
        carc="2",
        group_code="PR",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="coinsurance",
        zh="{amount} 为您的自付比例部分（条款 {clause}）",
        en="{amount} is yours: your share (clause {clause})",
    ),
    Reason.SECTION_CEILING: _patient(
        "119",
        "{amount} 超过该项责任限额（条款 {clause}），由您承担",
        "{amount} is yours: the section's ceiling is used up (clause {clause})",
        carc_also=("35",),
    ),
    Reason.CEILING: _patient(
        "119",
        "{amount} 超过保险金额（条款 {clause}），由您承担",
        "{amount} is yours: the ceiling is used up (clause {clause})",
        carc_also=("35",),
    ),
    Reason.PRIOR_PAYER_PAID: ReasonWords(
        carc="23",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="priorpayerpaid",
        zh="{amount} 已由其他保险支付（条款 {clause}）",
        en="{amount} was paid by another insurer (clause {clause})",
        carc_also=("22",),
    ),
    Reason.ZERO_BENEFIT: _patient(
        "96",
        "{amount} 该项目赔付比例或限额为零（条款 {clause}），由您承担",
        "{amount} is yours: the plan's share or limit for it is zero (clause {clause})",
        rarc=_NON_COVERED_REMARK,
    ),
    Reason.BENEFIT: ReasonWords(
        carc="",
        group_code="",
        fhir_system=FHIR_ADJUDICATION,
        fhir_code="benefit",
        zh="{amount} 由保险公司赔付（条款 {clause}）",
        en="{amount} is paid by the insurer (clause {clause})",
    ),
    Reason.FACT_MISSING: ReasonWords(
        carc="16",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="noncovered",
        zh="{amount} 待补充资料后决定（条款 {clause}）",
        en="{amount} waits for a missing paper or fact (clause {clause})",
        rarc="N706",
        carc_also=("226", "252"),
    ),
    Reason.REVIEW_NEEDED: ReasonWords(
        carc="133",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="noncovered",
        zh="{amount} 待人工审核（条款 {clause}）",
        en="{amount} waits for a person to look at it (clause {clause})",
    ),
    Reason.MEDICAL_NECESSITY: _patient(
        "50",
        "{amount} 经人工审核不属于必要医疗（条款 {clause}），由您承担",
        "{amount} is yours: a reviewer found it not to be necessary (clause {clause})",
    ),
    Reason.PAPERS_MISSING: _patient(
        "252",
        "{amount} 未补交理赔资料（条款 {clause}），由您承担",
        "{amount} is yours: papers that were asked for did not come (clause {clause})",
        rarc="N706",
        carc_also=("16", "226"),
    ),
}
