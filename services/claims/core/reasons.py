"""Why an amount is borne by whom: the reasons, their precedence, their codes and sentences.

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
    """Why. Numbers are the wire's and stay; which of two wins is PRECEDENCE's to say."""

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
    AUTHORISATION_INVALID = 41
    AUTHORISATION_EXCEEDED = 42
    MEDICAL_NECESSITY = 43
    APPEAL_LATE = 50
    WORK_INJURY = 51
    SUSPECTED_DUPLICATE = 52
    PROVIDER_NOT_QUALIFIED = 53
    AGE_MISMATCH = 54
    SEX_MISMATCH = 55
    PLACE_MISMATCH = 56
    PROVIDER_TYPE_MISMATCH = 57
    UNSUPPORTED_BY_DIAGNOSIS = 58
    DISPENSED_BEFORE_PRESCRIBED = 59
    PACKAGE_MISMATCH = 60
    PAPERS_MISSING = 61


# Where two refuse the same line the earlier one wins; parts of a line are told in this order.
PRECEDENCE: tuple[Reason, ...] = (
    Reason.IMPOSSIBLE_DATES,
    Reason.NOT_COVERED_ON_DATE,
    Reason.DEPENDANT_NOT_ELIGIBLE,
    Reason.DUPLICATE,
    Reason.LATE_FILING,
    Reason.APPEAL_LATE,
    Reason.WORK_INJURY,
    Reason.OTHER_LIABILITY,
    Reason.BENEFIT_EXCLUDED,
    Reason.DIAGNOSIS_EXCLUDED,
    Reason.PRE_EXISTING,
    Reason.WAITING_PERIOD,
    Reason.AUTHORISATION,
    Reason.AUTHORISATION_INVALID,
    Reason.AUTHORISATION_EXCEEDED,
    Reason.PROVIDER_NOT_LISTED,
    Reason.PROVIDER_NOT_QUALIFIED,
    Reason.NOT_IN_PRICE_LIST,
    Reason.AGE_MISMATCH,
    Reason.SEX_MISMATCH,
    Reason.CLINICAL_MISMATCH,
    Reason.PLACE_MISMATCH,
    Reason.PROVIDER_TYPE_MISMATCH,
    Reason.UNSUPPORTED_BY_DIAGNOSIS,
    Reason.DISPENSED_BEFORE_PRESCRIBED,
    Reason.DUPLICATE_EXAMINATION,
    Reason.MEDICAL_NECESSITY,
    Reason.PACKAGE_MISMATCH,
    Reason.BUNDLED,
    Reason.UNITS_EXCEEDED,
    Reason.FREQUENCY,
    Reason.PRICE_ABOVE_CONTRACT,
    Reason.UNIT_LIMIT,
    Reason.SOCIAL_INSURANCE_PAID,
    Reason.DEDUCTIBLE,
    Reason.COPAY,
    Reason.COINSURANCE,
    Reason.SECTION_CEILING,
    Reason.CEILING,
    Reason.PRIOR_PAYER_PAID,
    Reason.ZERO_BENEFIT,
    Reason.BENEFIT,
    Reason.SUSPECTED_DUPLICATE,
    Reason.FACT_MISSING,
    Reason.PAPERS_MISSING,
    Reason.REVIEW_NEEDED,
)
RANK: dict[Reason, int] = {reason: rank for rank, reason in enumerate(PRECEDENCE)}


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
        "{amount} 应由负有责任的第三方承担（条款 {clause}）",
        "{amount} is for a liable third party to bear (clause {clause})",
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
        "{amount} is yours: it was not authorised beforehand (clause {clause})",
    ),
    Reason.PROVIDER_NOT_LISTED: _patient(
        "242",
        "{amount} 该医疗机构不符合约定（条款 {clause}），由您承担",
        "{amount} is yours: the plan does not cover this provider (clause {clause})",
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
        "{amount} 诊断与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: the diagnosis contradicts the service (clause {clause})",
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
    Reason.AUTHORISATION_INVALID: _patient(
        "15",
        "{amount} 事先授权的号码、人员、项目、医疗机构或日期不符（条款 {clause}），由您承担",
        "{amount} is yours: the authorisation is for another person, service, provider or time"
        " (clause {clause})",
    ),
    Reason.AUTHORISATION_EXCEEDED: _patient(
        "198",
        "{amount} 超过事先授权的数量或金额（条款 {clause}），由您承担",
        "{amount} is yours: it is above what was authorised (clause {clause})",
    ),
    Reason.MEDICAL_NECESSITY: _patient(
        "50",
        "{amount} 经人工审核不属于必要医疗（条款 {clause}），由您承担",
        "{amount} is yours: a reviewer found it not to be necessary (clause {clause})",
    ),
    Reason.APPEAL_LATE: _patient(
        "138",
        "{amount} 超过申诉时限（条款 {clause}），由您承担",
        "{amount} is yours: the appeal came after the time limit (clause {clause})",
    ),
    Reason.WORK_INJURY: _patient(
        "19",
        "{amount} 应由工伤保险承担（条款 {clause}）",
        "{amount} is for work-injury insurance to bear (clause {clause})",
    ),
    Reason.SUSPECTED_DUPLICATE: ReasonWords(
        carc="18",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="noncovered",
        zh="{amount} 与另一票据的服务相似，待人工核对是否重复（条款 {clause}）",
        en="{amount} resembles a service of another bill; a person looks whether it is the same"
        " (clause {clause})",
    ),
    Reason.PROVIDER_NOT_QUALIFIED: _patient(
        "185",
        "{amount} 该医疗机构不具备提供此项服务的资质（条款 {clause}），由您承担",
        "{amount} is yours: the provider is not licensed for this care (clause {clause})",
    ),
    Reason.AGE_MISMATCH: _patient(
        "6",
        "{amount} 年龄与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: the service is not for this age (clause {clause})",
    ),
    Reason.SEX_MISMATCH: _patient(
        "7",
        "{amount} 性别与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: the service is not for this sex (clause {clause})",
    ),
    Reason.PLACE_MISMATCH: _patient(
        "5",
        "{amount} 就诊类型与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: the service is not given in this kind of care (clause {clause})",
    ),
    Reason.PROVIDER_TYPE_MISMATCH: _patient(
        "8",
        "{amount} 医疗机构类型与项目不符（条款 {clause}），由您承担",
        "{amount} is yours: this kind of provider does not give the service (clause {clause})",
    ),
    Reason.UNSUPPORTED_BY_DIAGNOSIS: _patient(
        "50",
        "{amount} 诊断不支持该项目的医学必要性（条款 {clause}），由您承担",
        "{amount} is yours: no diagnosis shows that the service was necessary (clause {clause})",
    ),
    Reason.DISPENSED_BEFORE_PRESCRIBED: _patient(
        "16",
        "{amount} 先发药后开方（条款 {clause}），由您承担",
        "{amount} is yours: it was dispensed before it was prescribed (clause {clause})",
        rarc="N57",  # missing, incomplete or invalid prescribing date
    ),
    Reason.PACKAGE_MISMATCH: _patient(
        "16",
        "{amount} 套餐内容与其定义不符（条款 {clause}），由您承担",
        "{amount} is yours: the package's parts are not those of its definition (clause {clause})",
        rarc="N657",  # to be billed with the appropriate code
        carc_also=("97",),
    ),
    Reason.PAPERS_MISSING: ReasonWords(
        carc="252",
        group_code="OA",
        fhir_system=C4BB_ADJUDICATION,
        fhir_code="noncovered",
        zh="{amount} 缺少方案要求的理赔资料（条款 {clause}）",
        en="{amount} lacks papers that the plan asks for (clause {clause})",
        rarc="N706",
        carc_also=("16", "226"),
    ),
}
