"""The words of what is paid and how a claim goes on: limits, deductibles, shares, payees."""

from __future__ import annotations

from services.claims.core.plan import (
    AutoPayCeiling,
    Ceiling,
    ClockTerms,
    Coordination,
    Copay,
    CountLimit,
    Deductible,
    FamilyStep,
    FixedLimit,
    FourEyes,
    OutcomeTierDay,
    OutOfPocketMaximum,
    PayeeTerm,
    Plan,
    Prices,
    Redecision,
    Sampling,
    Share,
    SocialInsuranceTerms,
    UnitLimit,
)
from services.claims.plans.in_words import values as say
from services.claims.plans.in_words.cover_words import AGES, CODES, SECTIONS
from services.claims.plans.in_words.vocabulary import (
    Absent,
    Effect,
    Kind,
    Words,
    kind,
    words,
)

_NO_LIMIT = {"none": Absent.MOST, "ended": ("不设上限", "no limit")}
_SCOPE = words(("累计范围", "whose use counts"), ("按{}累计。", "It adds up per {}."), say.word)
_PERIOD = words(
    ("累计期间", "period"),
    ("每{}重新计算。", "It begins anew each {}."),
    say.word,
    absent=("每次就诊单独计算。", "It is for one treatment."),
    ended=("每次就诊", "one treatment"),
)


def _clock(label: tuple[str, str], told: tuple[str, str]) -> Words:
    """Days of a clock: the longer, the later; null is what the law gives."""
    return words(
        label,
        told,
        say.days,
        more=Effect.WORSE,
        ended=("未约定，按法定期限", "nothing is said: the law's days"),
    )


MONEY_WORDS: dict[tuple[type, str], Words] = {
    (FamilyStep, "add"): words(
        ("每增一人的增加额", "added for each further member"),
        ("家庭每多一名被保险人增加 {}。", "Each further insured member adds {}."),
        say.money,
        none=Absent.LEAST,
        ended=("不增加", "nothing"),
    ),
    (FamilyStep, "members"): words(
        ("起算人数", "members that the value is for"),
        ("上述金额适用于 {} 以内的家庭。", "The value is for up to {}."),
        say.people,
    ),
    (FamilyStep, "most"): words(
        ("家庭封顶额", "family cap"),
        ("最高增至 {}。", "It grows up to {}."),
        say.money,
        none=Absent.MOST,
        ended=("不封顶", "without a cap"),
    ),
    (FixedLimit, "values"): words(
        ("每单位限额", "most for one unit"),
        ("每单位最多认可 {}。", "At most {} is allowed for one unit."),
        say.money,
        more=Effect.BETTER,
        **_NO_LIMIT,
    ),
    (FixedLimit, "codes"): CODES,
    (FixedLimit, "sections"): SECTIONS,
    (FixedLimit, "ages"): AGES,
    (UnitLimit, "values"): words(
        ("数量限额", "most units"),
        ("最多认可 {}。", "At most {} are allowed."),
        say.units,
        more=Effect.BETTER,
        **_NO_LIMIT,
    ),
    (UnitLimit, "scope"): _SCOPE,
    (UnitLimit, "period"): _PERIOD,
    (UnitLimit, "codes"): CODES,
    (UnitLimit, "sections"): SECTIONS,
    (UnitLimit, "ages"): AGES,
    (Deductible, "values"): words(
        ("免赔额", "deductible"),
        (
            "先由被保险人承担 {}，之后才开始赔付。",
            "The insured bears {} first; only then the plan pays.",
        ),
        say.money,
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("无免赔额", "no deductible"),
    ),
    (Deductible, "scope"): _SCOPE,
    (Deductible, "period"): _PERIOD,
    (Deductible, "social_insurance_counts"): words(
        ("医保支付是否抵扣免赔额", "social insurance's payments count"),
        ("医保已支付的部分抵扣免赔额：{}。", "What social insurance pays uses it up: {}."),
        say.yes_no,
        more=Effect.BETTER,
        none=Absent.LEAST,
        ended=("否", "no"),
        absent=("医保已支付的部分不抵扣免赔额。", "What social insurance pays does not use it up."),
    ),
    (Deductible, "embedded_in"): words(
        ("嵌入的家庭免赔额", "embedded in"),
        (
            "嵌入家庭免赔额“{}”：两者任一用完即不再承担。",
            'It is embedded in the family\'s "{}": it is over when either is used up.',
        ),
        say.ident,
    ),
    (Copay, "values"): words(
        ("每次自付额", "copay"),
        ("每次就诊先自付 {}。", "The insured bears {} of each visit."),
        say.money,
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("无每次自付额", "no copay"),
    ),
    (Share, "values"): words(
        ("赔付比例", "insurer's share"),
        ("保险人赔付 {}。", "The insurer pays {}."),
        say.share,
        more=Effect.BETTER,
        ended=("本条不再适用", "this share holds no longer"),
    ),
    (OutOfPocketMaximum, "values"): words(
        ("自付封顶额", "out-of-pocket maximum"),
        (
            "被保险人自付达到 {}后，其余按 100% 赔付。",
            "Once the insured has borne {}, the share is 100%.",
        ),
        say.money,
        more=Effect.WORSE,
        **_NO_LIMIT,
    ),
    (OutOfPocketMaximum, "scope"): _SCOPE,
    (OutOfPocketMaximum, "period"): _PERIOD,
    (OutOfPocketMaximum, "counts"): words(
        ("计入封顶的自付", "what counts toward it"),
        ("计入的自付：{}。", "What counts toward it: {}."),
        say.each(say.word),
        more=Effect.BETTER,
    ),
    (Ceiling, "values"): words(
        ("赔付限额", "ceiling"),
        ("最多赔付 {}。", "The insurer pays at most {}."),
        say.money,
        more=Effect.BETTER,
        **_NO_LIMIT,
    ),
    (Ceiling, "scope"): _SCOPE,
    (Ceiling, "period"): _PERIOD,
    (CountLimit, "values"): words(
        ("次数限额", "most claims"),
        ("最多赔付 {}。", "At most {} are paid."),
        say.claims,
        more=Effect.BETTER,
        **_NO_LIMIT,
    ),
    (CountLimit, "scope"): _SCOPE,
    (CountLimit, "period"): _PERIOD,
    (AutoPayCeiling, "values"): words(
        ("自动赔付上限", "automatic payment up to"),
        ("赔付超过 {}的须经人工审核。", "A person looks at every claim above a benefit of {}."),
        say.money,
        more=Effect.NONE,
        ended=("无须人工审核", "no person needs to look"),
    ),
    (Sampling, "values"): words(
        ("抽查比例", "share that is drawn"),
        ("随机抽取 {}的赔案由人工查看。", "{} of claims are drawn for a person to look at."),
        say.share,
        more=Effect.NONE,
        ended=("不抽查", "none is drawn"),
    ),
    (FourEyes, "values"): words(
        ("双人复核金额", "two people above"),
        (
            "须经人工审核的赔案，赔付超过 {}的须两人审核。",
            "Of a claim that a person looks at, two people review a benefit above {}.",
        ),
        say.money,
        more=Effect.NONE,
        ended=("无须双人复核", "one person is enough"),
    ),
    (PayeeTerm, "values"): words(
        ("收款人", "payee"),
        ("赔款支付给：{}。", "The benefit goes to {}."),
        say.word,
        more=Effect.NONE,
        ended=("本条不再适用", "this rule holds no longer"),
    ),
    (Prices, "above_contract_direct"): words(
        ("直接结算时高于协议价的部分由谁承担", "bearer above contract under direct billing"),
        (
            "直接结算时，高于协议价的部分由{}承担。",
            "Under direct billing what is above the contract price is borne by {}.",
        ),
        say.word,
    ),
    (Prices, "above_contract_otherwise"): words(
        ("非直接结算时高于协议价的部分由谁承担", "bearer above contract otherwise"),
        (
            "非直接结算时，高于协议价的部分由{}承担。",
            "Otherwise what is above the contract price is borne by {}.",
        ),
        say.word,
    ),
    (Prices, "without_list"): words(
        ("医疗机构没有价目表时", "where the provider has no price list"),
        (
            "医疗机构没有价目表的，{}。",
            "Where the provider has no price list, {}.",
        ),
        say.word,
        ended=("未约定，按账单价认可", "nothing is said, and the billed price counts"),
    ),
    (Coordination, "place"): words(
        ("在多份保单中的位置", "place among several policies"),
        ("多份保单同时有效的，{}。", "Of several policies in force, {}."),
        say.word,
        ended=(
            "未约定，按被保险人选定的次序，未选定的先由最早的保单赔付",
            "nothing is said: the member's choice goes first, else the oldest policy",
        ),
    ),
    (OutcomeTierDay, "values"): words(
        ("认定健康管理等级的日期", "day by which a tier is certified"),
        ("以{}为限，取此前最后一次认定的等级。", "The tier certified last by {} counts."),
        say.word,
        ended=("未约定，即保单年度首日", "nothing is said: the first day of the policy year"),
    ),
    (Redecision, "others"): words(
        ("重新核定对其他赔案的影响", "what a re-decision does to other claims"),
        ("一件赔案重新核定的，{}。", "When a claim is decided again, {}."),
        say.word,
        ended=("未约定，其他赔案不变", "nothing is said, and other claims stand"),
    ),
    (ClockTerms, "decision_days"): _clock(
        ("核定期限", "days to decide"),
        ("资料齐全后 {} 内作出核定。", "A claim is decided within {} of complete papers."),
    ),
    (ClockTerms, "payment_days"): _clock(
        ("给付期限", "days to pay"),
        ("应付之日起 {} 内给付。", "Money is paid within {} of being owed."),
    ),
    (ClockTerms, "minimum_days"): _clock(
        ("先予支付期限", "days until the undisputed minimum"),
        (
            "资料齐全后 {} 内不能核定的，先予支付可以确定的数额。",
            "What is certain is paid ahead when {} pass without a decision.",
        ),
    ),
    (ClockTerms, "notice_days"): _clock(
        ("拒赔通知期限", "days for the notice of a refusal"),
        ("拒赔的，{} 内发出通知书并说明理由。", "A refusal is told with its reasons within {}."),
    ),
    (SocialInsuranceTerms, "account_paid_is"): words(
        ("个人账户支付算谁的钱", "whose money the own account is"),
        (
            "医保个人账户支付的部分视为{}承担。",
            "What the patient's own medical account pays counts as borne by {}.",
        ),
        say.word,
    ),
}

MONEY_KINDS: dict[tuple[type, str], Kind] = {
    (Plan, "prices"): kind(
        ("协议价格", "contract prices"),
        ("按账单价与协议价中较低者认可。", "The smaller of billed and contract price counts."),
        Effect.NONE,
    ),
    (Plan, "unit_limits"): kind(
        ("数量限额", "unit limits"), ("超出的数量不予认可。", "More units are cut."), Effect.WORSE
    ),
    (Plan, "fixed_limits"): kind(
        ("每单位限额", "limits for one unit"),
        ("单价超出的部分不予认可。", "What is charged above is cut."),
        Effect.WORSE,
    ),
    (Plan, "social_insurance"): kind(
        ("基本医疗保险", "social insurance"),
        ("先扣除医保已支付的部分。", "What its funds paid is taken off first."),
        Effect.NONE,
    ),
    (Plan, "deductibles"): kind(
        ("免赔额", "deductibles"),
        ("依下列顺序逐项扣除。", "They are taken one after the other."),
        Effect.WORSE,
        ranked=True,
    ),
    (Plan, "copays"): kind(
        ("每次自付额", "copays"),
        ("下列第一条符合的适用。", "The first that fits holds."),
        Effect.DEPENDS,
        ranked=True,
    ),
    (Plan, "shares"): kind(
        ("赔付比例", "shares"),
        ("下列第一条符合的适用。", "The first that fits holds."),
        Effect.DEPENDS,
        ranked=True,
    ),
    (Plan, "out_of_pocket"): kind(
        ("自付封顶", "out-of-pocket maxima"),
        ("达到后由保险人全额赔付。", "Above them the insurer pays all."),
        Effect.BETTER,
    ),
    (Plan, "ceilings"): kind(
        ("赔付限额", "ceilings"),
        ("各项同时适用，最先用完者为限。", "All hold at once; the tightest binds."),
        Effect.WORSE,
    ),
    (Plan, "count_limits"): kind(
        ("次数限额", "count limits"),
        ("超出次数的赔案不予赔付。", "Further claims are not paid."),
        Effect.WORSE,
    ),
    (Plan, "coordination"): kind(
        ("多份保险的协调", "coordination with other insurers"),
        ("赔付不超过先行赔付的保险留下的部分。", "At most what earlier insurers leave is paid."),
        Effect.NONE,
    ),
    (Plan, "auto_pay_ceiling"): kind(
        ("自动赔付上限", "automatic payment"),
        ("仅决定是否经人工。", "It only says whether a person looks."),
        Effect.NONE,
    ),
    (Plan, "sampling"): kind(
        ("抽查", "sampling"), ("不影响赔付金额。", "It changes no amount."), Effect.NONE
    ),
    (Plan, "four_eyes"): kind(
        ("双人复核", "four eyes"), ("不影响赔付金额。", "It changes no amount."), Effect.NONE
    ),
    (Plan, "undisputed_first"): kind(
        ("无争议部分先付", "undisputed lines first"),
        (
            "等待资料的费用不影响其他费用先行赔付。",
            "A charge that waits for a fact does not hold up the others.",
        ),
        Effect.BETTER,
    ),
    (Plan, "outcome_tier_day"): kind(
        ("健康管理等级的认定日", "day of the outcome tier"),
        ("决定适用哪一次认定的等级。", "It says which certified tier counts."),
        Effect.DEPENDS,
    ),
    (Plan, "redecision"): kind(
        ("重新核定", "re-decisions"),
        ("决定重新核定是否影响其他赔案。", "It says whether a re-decision moves other claims."),
        Effect.DEPENDS,
    ),
    (Plan, "clocks"): kind(
        ("理赔时限", "clocks"),
        (
            "不影响赔付金额；未约定的按《保险法》。",
            "They change no amount; the law gives what is not said.",
        ),
        Effect.DEPENDS,
    ),
    (Plan, "payees"): kind(
        ("收款人", "payees"),
        ("下列第一条符合的适用。", "The first that fits holds."),
        Effect.NONE,
        ranked=True,
    ),
}
