"""The words of edits: what was coded, by whom and when, and the papers and days that it needs."""

from __future__ import annotations

from services.claims.core.plan_edits import (
    Appeals,
    ClinicalEdit,
    Edits,
    Filing,
    FrequencyLimit,
    MedicalNecessity,
    OtherLiability,
    Package,
    PairEdits,
    PairRow,
    Paper,
    Prescription,
    QualifiedCare,
    RefillWindow,
    RequiredPapers,
    UnitEdits,
    UnitRow,
)
from services.claims.plans.in_words import values as say
from services.claims.plans.in_words.cover_words import (
    CARE_TYPES,
    CATEGORIES,
    CODES,
    DIAGNOSES,
    NAME,
    SECTIONS,
)
from services.claims.plans.in_words.vocabulary import (
    Absent,
    Effect,
    Kind,
    Words,
    kind,
    words,
)

_SYSTEM = words(("编码体系", "code system"), ("代码属于 {}。", "Codes are of {}."), say.system)

EDIT_WORDS: dict[tuple[type, str], Words] = {
    (UnitEdits, "system"): _SYSTEM,
    (UnitRow, "units"): words(
        ("医学合理数量", "most units"),
        ("最多 {}。", "At most {}."),
        say.small_units,
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不设上限", "no limit"),
    ),
    (PairEdits, "system"): _SYSTEM,
    (PairEdits, "modifiers"): words(
        ("可解除互斥的修饰码", "modifiers that lift it"),
        ("带有以下修饰码可同时收费：{}。", "These modifiers let both be charged: {}."),
        say.each(say.ident),
        more=Effect.BETTER,
        none=Absent.LEAST,
    ),
    (PairRow, "indicator"): words(
        ("互斥", "charged together"),
        ("{}。", "{}."),
        say.indicator,
        ended=("可同时收费", "may go together"),
    ),
    (Package, "code"): words(
        ("套餐代码", "package code"), ("套餐：{}。", "The package is {}."), say.coding
    ),
    (Package, "parts"): words(
        ("套餐内容", "parts"),
        ("应恰好包含：{}。", "It holds exactly: {}."),
        say.each(say.part),
        ended=("不再是套餐", "no package any more"),
    ),
    (FrequencyLimit, "values"): words(
        ("间隔期", "days between"),
        ("{} 内只认可一次（含第末日与当日）。", "Once within {}, both ends included."),
        say.days,
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("无间隔限制", "no such limit"),
    ),
    (FrequencyLimit, "codes"): CODES,
    (RefillWindow, "values"): words(
        ("可提前续方的天数", "days before the supply ends"),
        (
            "上次药量用完前 {} 起可再次配药。",
            "It may be dispensed again from {} before the supply is used up.",
        ),
        say.days,
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不限", "no such limit"),
    ),
    (RefillWindow, "codes"): CODES,
    (ClinicalEdit, "codes"): CODES,
    (ClinicalEdit, "values"): words(
        ("适用条件", "whom and where it is for"),
        ("须符合：{}。", "It must agree with: {}."),
        say.indication,
        ended=("不限", "anybody"),
    ),
    (MedicalNecessity, "codes"): CODES,
    (MedicalNecessity, "diagnoses"): words(
        ("支持的诊断", "diagnoses that support it"),
        ("须有下列诊断之一：{}。", "One of these diagnoses is needed: {}."),
        say.each(say.code_set),
        more=Effect.BETTER,
    ),
    (Prescription, "codes"): CODES,
    (Prescription, "sections"): SECTIONS,
    (QualifiedCare, "values"): words(
        ("所需执业许可", "licences"),
        ("只可由{}提供。", "Only {} may give it."),
        say.each(say.word),
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不限", "any provider"),
    ),
    (QualifiedCare, "care_types"): CARE_TYPES,
    (QualifiedCare, "codes"): CODES,
    (QualifiedCare, "sections"): SECTIONS,
    (Filing, "values"): words(
        ("申请时限", "days to file"),
        ("账单须在 {} 内提交，逾期不予赔付。", "A bill must arrive within {}."),
        say.days,
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不设时限", "no time limit"),
    ),
    (Filing, "counts_from"): words(
        ("时限起算日", "counted from"), ("自{}起算。", "Counted from {}."), say.word
    ),
    (Filing, "exceptions"): words(
        ("可逾期的理由", "reasons to be late"),
        ("有下列理由的可逾期：{}。", "It may be late for: {}."),
        say.each(say.ident),
        more=Effect.BETTER,
        none=Absent.LEAST,
    ),
    (Appeals, "values"): words(
        ("申诉时限", "days to appeal"),
        ("申诉须在告知结论后 {} 内提出。", "An appeal must come within {} of the decision."),
        say.days,
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不设时限", "no time limit"),
    ),
    (Paper, "name"): NAME,
    (RequiredPapers, "values"): words(
        ("所需资料", "papers"),
        ("须提交：{}。", "These are needed: {}."),
        say.each(say.named("papers")),
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("不需资料", "none is needed"),
    ),
    (RequiredPapers, "care_types"): CARE_TYPES,
    (RequiredPapers, "categories"): CATEGORIES,
    (RequiredPapers, "sections"): SECTIONS,
    (OtherLiability, "values"): words(
        ("不赔的责任", "whose liability is not paid"),
        ("由下列责任造成的不予赔付：{}。", "What these brought about is not paid: {}."),
        say.each(say.word),
        more=Effect.WORSE,
        none=Absent.LEAST,
    ),
    (OtherLiability, "diagnoses"): DIAGNOSES,
    (OtherLiability, "sections"): SECTIONS,
}

EDIT_KINDS: dict[tuple[type, str], Kind] = {
    (Edits, "unit_edits"): kind(
        ("医学数量规则", "medical unit edits"),
        ("超出医学合理数量的不予赔付。", "More than makes medical sense is not paid."),
        Effect.WORSE,
    ),
    (UnitEdits, "rows"): kind(
        ("数量规则表", "table of units"), ("逐项列明。", "One row a code."), Effect.WORSE
    ),
    (Edits, "pair_edits"): kind(
        ("互斥与包含", "pair edits"),
        (
            "同日同机构同时收取的，第二项不予赔付。",
            "Charged by one provider on one day, the second is not paid.",
        ),
        Effect.WORSE,
    ),
    (PairEdits, "rows"): kind(
        ("互斥规则表", "table of pairs"), ("逐对列明。", "One row a pair."), Effect.WORSE
    ),
    (Edits, "packages"): kind(
        ("套餐", "packages"),
        (
            "内容与定义不符的套餐不予赔付。",
            "A package that differs from its definition is not paid.",
        ),
        Effect.WORSE,
    ),
    (Edits, "frequency_limits"): kind(
        ("间隔期限制", "frequency limits"),
        ("间隔期内的重复不予赔付。", "A repetition within the days is not paid."),
        Effect.WORSE,
    ),
    (Edits, "refill_windows"): kind(
        ("续方窗口", "refill windows"),
        ("过早续方不予赔付。", "A refill that comes too soon is not paid."),
        Effect.WORSE,
    ),
    (Edits, "clinical_edits"): kind(
        ("适应规则", "clinical edits"),
        (
            "与人群、诊断或机构不符的不予赔付。",
            "A service for somebody or something else is not paid.",
        ),
        Effect.WORSE,
    ),
    (Edits, "medical_necessity"): kind(
        ("医学必要性", "medical necessity"),
        ("没有支持诊断的不予赔付。", "A service that no diagnosis supports is not paid."),
        Effect.WORSE,
    ),
    (Edits, "prescriptions"): kind(
        ("处方要求", "prescriptions"),
        ("配药前须已开具处方。", "It must have been prescribed by the time of dispensing."),
        Effect.WORSE,
    ),
    (Edits, "qualified_care"): kind(
        ("执业资质", "qualified providers"),
        ("由无资质机构提供的不予赔付。", "Given by others it is not paid."),
        Effect.WORSE,
    ),
    (Edits, "papers"): kind(
        ("资料名称", "papers"),
        ("下文所指的资料。", "What the terms below call papers."),
        Effect.NONE,
    ),
    (Edits, "required_papers"): kind(
        ("所需资料", "required papers"),
        ("缺少资料的赔案等待补充。", "A claim waits for the papers that are missing."),
        Effect.WORSE,
    ),
    (Edits, "other_liability"): kind(
        ("他方责任", "liability of others"),
        ("由他方负责的不予赔付。", "What others are liable for is not paid."),
        Effect.WORSE,
    ),
    (Edits, "filing"): kind(
        ("申请时限", "time to file"),
        ("逾期申请不予赔付。", "What comes later is not paid."),
        Effect.WORSE,
    ),
    (Edits, "appeals"): kind(
        ("申诉时限", "time to appeal"),
        ("逾期申诉不予受理。", "A later appeal is not heard."),
        Effect.WORSE,
    ),
    (Edits, "suspected_duplicates"): kind(
        ("疑似重复", "suspected duplicates"),
        (
            "与已赔服务相似的由人工查看。",
            "A person looks at what resembles a service that was paid.",
        ),
        Effect.NONE,
    ),
}
