"""The words of what a plan covers and for whom: head, sections, conditions, rules, providers."""

from __future__ import annotations

from typing import Any

from services.claims.core.facts import ContractPrice
from services.claims.core.plan import (
    AuthorisationTerm,
    Category,
    Clause,
    CodeSet,
    Covers,
    Eligibility,
    EmergencyException,
    Exclusion,
    General,
    GivenName,
    MutualRecognition,
    Plan,
    PlanProvider,
    PreExisting,
    PreExistingRule,
    ProviderRule,
    Providers,
    Section,
    SystemName,
    WaitingPeriod,
    When,
)
from services.claims.core.plan_parts import Text
from services.claims.plans.in_words import values as say
from services.claims.plans.in_words.vocabulary import (
    Absent,
    Effect,
    Kind,
    Words,
    kind,
    words,
)

CLAUSE = words(
    ("条款", "clause"), ("依据条款 {}。", "It rests on clause {}."), say.clause, more=Effect.NONE
)
IN_FORCE = words(
    ("效力", "in force"),
    ("效力：{}。", "It is {}."),
    say.in_force,
    none=Absent.LEAST,
    ended=("无效", "not in force"),
)
NAME = words(("名称", "name"), ("名称：{}。", "It is called {}."), say.text, more=Effect.NONE)
AGES = words(
    ("年龄", "ages"),
    ("年龄：{}。", "Ages: {}."),
    say.ages,
    about=True,
    none=Absent.MOST,
    ended=("不限年龄", "every age"),
)


def about(zh: str, en: str, say_one: Any) -> Words:
    """A list that says what a term is about; without it, everything of the kind."""
    return words(
        (zh, en),
        (f"{zh}：{{}}。", f"{en.capitalize()}: {{}}."),
        say.each(say_one),
        about=True,
        none=Absent.MOST,
        ended=("不限", "all"),
    )


def condition(zh: str, en: str, yes: tuple[str, str], no: tuple[str, str]) -> Words:
    """A condition that is true or false; without it, either."""

    def write(value: bool, _names: say.Names) -> Text:
        one = yes if value else no
        return Text(zh=one[0], en=one[1])

    return words(
        (zh, en), ("{}。", "{}."), write, about=True, ended=("不论", "either way"), none=Absent.MOST
    )


SECTIONS = about("责任分项", "sections", say.named("sections"))
CATEGORIES = about("赔案类别", "kinds of claim", say.named("categories"))
CARE_TYPES = about("就医方式", "kinds of care", say.word)
CODES = about("项目代码", "services", say.code_set)
DIAGNOSES = about("诊断", "diagnoses", say.code_set)
TIERS = about("医院等级", "hospital tiers", say.word)
NETWORKS = about("医疗机构网络", "networks", say.ident)

COVER_WORDS: dict[tuple[type, str], Words] = {
    (Plan, "format"): words(
        ("文件格式", "format"),
        ("文件格式版本 {}。", "File format {}."),
        say.ident,
        more=Effect.NONE,
    ),
    (Plan, "id"): words(
        ("方案编号", "plan id"),
        ("方案编号：{}。", "The plan's id is {}."),
        say.ident,
        more=Effect.NONE,
    ),
    (Plan, "name"): words(
        ("方案名称", "plan name"),
        ("本方案名为“{}”。", "The plan is called {}."),
        say.text,
        more=Effect.NONE,
    ),
    (Plan, "currency"): words(
        ("币种", "currency"), ("所有金额以 {} 计。", "All amounts are in {}."), say.ident
    ),
    (Plan, "first_day"): words(
        ("方案生效日", "first day of the plan"),
        (
            "本方案自 {} 起有约定；未另注日期的约定自该日起适用。",
            "The plan has terms from {} on; what names no other day holds from then.",
        ),
        say.day,
    ),
    (Plan, "code_systems"): words(
        ("账单可用的编码体系", "code systems of bills"),
        ("账单还可使用以下编码体系：{}。", "Bills may also bring codes of {}."),
        say.each(say.system),
        absent=(
            "账单只可使用本方案代码集和价目表所用的编码体系。",
            "Bills may bring codes of the systems that code sets and price lists name.",
        ),
    ),
    (Plan, "default_category"): words(
        ("默认赔案类别", "default kind of claim"),
        ("各类别均不符合的赔案归为：{}。", "A claim that meets none of the kinds is: {}."),
        say.named("categories"),
    ),
    (Clause, "text"): words(
        ("条款内容", "text of the clause"), ("{}", "{}"), say.text, more=Effect.NONE
    ),
    (GivenName, "name"): NAME,
    (SystemName, "uri"): words(
        ("编码体系标识", "URI of the code system"),
        ("标识为 {}。", "Its URI is {}."),
        say.ident,
        more=Effect.NONE,
    ),
    (CodeSet, "codes"): words(
        ("代码", "codes"),
        ("包含：{}。", "It holds: {}."),
        say.each(say.set_code),
        none=Absent.LEAST,
        ended=("空", "nothing"),
    ),
    (Covers, "sections"): SECTIONS,
    (Covers, "categories"): CATEGORIES,
    (Covers, "ages"): AGES,
    (When, "social_insurance_used"): condition(
        "是否经医保结算",
        "settled through social insurance",
        ("账单已经医保结算", "the bill was settled through social insurance"),
        ("账单未经医保结算", "the bill was not settled through social insurance"),
    ),
    (When, "insured_with_social_insurance"): condition(
        "是否参加医保",
        "insured with social insurance",
        ("被保险人参加了医保", "the person has social insurance"),
        ("被保险人未参加医保", "the person has no social insurance"),
    ),
    (When, "tiers"): TIERS,
    (When, "networks"): NETWORKS,
    (When, "sections"): SECTIONS,
    (When, "categories"): CATEGORIES,
    (When, "care_types"): CARE_TYPES,
    (When, "diagnoses"): DIAGNOSES,
    (When, "outcome_tiers"): about("健康管理等级", "outcome tiers", say.named("given")),
    (When, "referral"): condition(
        "是否经转诊",
        "referral",
        ("经转诊", "the patient was referred"),
        ("未经转诊", "the patient was not referred"),
    ),
    (When, "family_doctor_contract"): condition(
        "家庭医生签约",
        "family-doctor contract",
        ("已签约家庭医生", "the person has a family-doctor contract"),
        ("未签约家庭医生", "the person has no family-doctor contract"),
    ),
    (When, "contracted_provider"): condition(
        "是否在签约机构就诊",
        "at the contracted provider",
        ("在家庭医生签约机构就诊", "care was given where the family doctor is contracted"),
        ("不在家庭医生签约机构就诊", "care was given elsewhere than with the family doctor"),
    ),
    (When, "ages"): AGES,
    (When, "sexes"): about("性别", "sexes", say.word),
    (General, "not_covered"): words(
        ("无保障时的条款", "clause where there is no cover"),
        (
            "就诊时不在保险期间内的，按条款 {} 不予赔付。",
            "Care without cover on the day: clause {}.",
        ),
        say.clause,
        more=Effect.NONE,
    ),
    (General, "outside_sections"): words(
        ("不属任何责任时的条款", "clause of what no section takes"),
        (
            "不属于任何责任分项的费用，按条款 {} 不予赔付。",
            "What no section takes is not paid: clause {}.",
        ),
        say.clause,
        more=Effect.NONE,
    ),
    (General, "duplicates"): words(
        ("重复账单的条款", "clause of duplicates"),
        ("同一项服务重复提交的，按条款 {} 只赔一次。", "The same service is paid once: clause {}."),
        say.clause,
        more=Effect.NONE,
    ),
    (General, "impossible_dates"): words(
        ("日期不可能时的条款", "clause of impossible dates"),
        ("日期不可能的费用，按条款 {} 不予赔付。", "Services on impossible days: clause {}."),
        say.clause,
        more=Effect.NONE,
    ),
    (General, "missing_facts"): words(
        ("资料不全时的条款", "clause of missing facts"),
        (
            "审核所需资料不全的，按条款 {} 等待补充。",
            "A claim waits for facts that are missing: clause {}.",
        ),
        say.clause,
        more=Effect.NONE,
    ),
    (General, "cover_day"): words(
        ("判断保障所看的日期", "day that cover looks at"),
        (
            "保障、等待期与既往症看：{}。",
            "Cover, waiting periods and pre-existing conditions look at {}.",
        ),
        say.word,
    ),
    (General, "terms_day"): words(
        ("适用约定所看的日期", "day that limits look at"),
        ("价格、限额与保单年度看：{}。", "Prices, limits and the policy year look at {}."),
        say.word,
    ),
    (Section, "name"): NAME,
    (Section, "care_types"): CARE_TYPES,
    (Section, "codes"): CODES,
    (Category, "name"): NAME,
    (Category, "sections"): SECTIONS,
    (Category, "care_types"): CARE_TYPES,
    (Category, "overnight"): condition(
        "是否过夜",
        "overnight",
        ("住院过夜", "a stay over a night"),
        ("不要求过夜", "no night is asked for"),
    ),
    (Eligibility, "relationship"): words(
        ("与投保人关系", "relationship"),
        ("可参保：{}。", "May be insured: {}."),
        say.word,
        about=True,
    ),
    (Eligibility, "values"): words(
        ("可参保年龄", "insurable ages"),
        ("年龄：{}。", "Ages: {}."),
        say.ages,
        more=Effect.BETTER,
        none=Absent.LEAST,
        ended=("不可参保", "not insurable"),
    ),
    (Exclusion, "codes"): CODES,
    (Exclusion, "diagnoses"): DIAGNOSES,
    (Exclusion, "sections"): SECTIONS,
    (PreExisting, "otherwise"): words(
        ("其他已告知的既往症", "other disclosed conditions"),
        ("其他已告知的既往症：{}。", "Any other disclosed condition is {}."),
        say.pre_existing,
        more=Effect.BETTER,
        ended=("予以保障", "covered"),
    ),
    (PreExistingRule, "diagnoses"): DIAGNOSES,
    (PreExistingRule, "sections"): SECTIONS,
    (PreExistingRule, "values"): words(
        ("既往症的保障", "terms of the pre-existing condition"),
        ("已告知的既往症：{}。", "When disclosed it is {}."),
        say.pre_existing,
        more=Effect.BETTER,
        ended=("本条不再适用", "this rule holds no longer"),
    ),
    (WaitingPeriod, "unit"): words(
        ("等待期单位", "unit of the waiting period"), ("", ""), say.word
    ),
    (WaitingPeriod, "values"): words(
        ("等待期", "waiting period"),
        (
            "自首次保障之日起等待 {}，届满当日起予以保障；连续续保不再等待。",
            (
                "Nothing is paid for {} from the first day of cover; the day on which it ends is"
                " covered; a renewal without a gap does not wait."
            ),
        ),
        say.wait,
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("无等待期", "no waiting period"),
    ),
    (WaitingPeriod, "ages"): AGES,
    (WaitingPeriod, "sections"): SECTIONS,
    (WaitingPeriod, "diagnoses"): DIAGNOSES,
    (WaitingPeriod, "exempt_diagnoses"): words(
        ("免等待的诊断", "diagnoses without waiting"),
        ("下列诊断无等待期：{}。", "No waiting for {}."),
        say.each(say.code_set),
        more=Effect.BETTER,
        none=Absent.LEAST,
    ),
    (WaitingPeriod, "exempt_care_types"): words(
        ("免等待的就医方式", "kinds of care without waiting"),
        ("下列就医方式无等待期：{}。", "No waiting for {}."),
        say.each(say.word),
        more=Effect.BETTER,
        none=Absent.LEAST,
    ),
    (ProviderRule, "values"): words(
        ("医疗机构要求", "what a provider must be"),
        ("须在：{}。", "Care must be given by: {}."),
        say.qualification,
        ended=("无要求", "any provider"),
        none=Absent.LEAST,
    ),
    (ProviderRule, "sections"): SECTIONS,
    (ProviderRule, "care_types"): CARE_TYPES,
    (EmergencyException, "hours"): words(
        ("急诊时限（小时）", "hours of the emergency exception"),
        (
            "自入院时起 {} 内（含末刻）不受医疗机构要求的限制。",
            "It holds for {} from admission, the last moment included.",
        ),
        say.hours,
        more=Effect.BETTER,
        none=Absent.MOST,
        ended=("不限时", "without end"),
    ),
    (PlanProvider, "listed"): words(
        ("名单", "on the list"),
        ("{}。", "It is {}."),
        say.listed,
        more=Effect.BETTER,
        none=Absent.LEAST,
        ended=("不在名单内", "off the list"),
    ),
    (PlanProvider, "name"): NAME,
    (PlanProvider, "tier"): words(
        ("医院等级", "hospital tier"),
        ("等级：{}。", "It counts among {}."),
        say.word,
        ended=("以账单所载为准", "as the bill says"),
    ),
    (PlanProvider, "network"): words(
        ("所属网络", "network"), ("属于网络 {}。", "It is of the network {}."), say.ident
    ),
    (PlanProvider, "prices"): words(
        ("是否有价目表", "has a price list"), ("价目表：{}。", "Has a price list: {}."), say.yes_no
    ),
    (ContractPrice, "price"): words(
        ("协议价", "contract price"),
        ("协议价 {}。", "The contract price is {}."),
        say.price,
        ended=("不在价目表内，不予赔付", "not in the price list, not paid"),
    ),
    (AuthorisationTerm, "codes"): CODES,
    (AuthorisationTerm, "sections"): SECTIONS,
    (AuthorisationTerm, "care_types"): CARE_TYPES,
    (AuthorisationTerm, "requires"): words(
        ("另需的授权", "authorisations needed as well"),
        ("还需持有以下授权：{}。", "These authorisations are needed as well: {}."),
        say.each(say.ident),
        more=Effect.WORSE,
        none=Absent.LEAST,
    ),
    (MutualRecognition, "values"): words(
        ("互认期", "days of recognition"),
        (
            "其他机构 {} 内（含当日与末日）的结果应予互认，重复检查不予赔付。",
            (
                "Another provider's result of the {} before (both ends included) stands; a"
                " repetition is not paid."
            ),
        ),
        say.days,
        more=Effect.WORSE,
        none=Absent.LEAST,
        ended=("不互认", "no recognition"),
    ),
    (MutualRecognition, "codes"): CODES,
    (MutualRecognition, "overrides"): words(
        ("可重复检查的理由", "reasons to repeat"),
        ("有下列理由的重复检查予以赔付：{}。", "It is paid all the same for these reasons: {}."),
        say.each(say.ident),
        more=Effect.BETTER,
        none=Absent.LEAST,
    ),
    (MutualRecognition, "denies"): words(
        ("何者视为重复检查", "which examination is the repetition"),
        ("视为重复检查的是{}。", "The repetition is {}."),
        say.word,
        ended=("未约定，即后做的检查", "nothing is said: the one that was done later"),
    ),
}

COVER_KINDS: dict[tuple[type, str], Kind] = {
    (Plan, "general"): kind(
        ("一般约定", "general terms"),
        ("适用于每一赔案。", "They hold for every claim."),
        Effect.NONE,
    ),
    (Plan, "clauses"): kind(
        ("条款", "clauses"),
        ("以上各项约定所依据的条款。", "What the terms above rest on."),
        Effect.NONE,
    ),
    (Plan, "names"): kind(
        ("称谓", "what things are called"),
        ("代码集与健康管理等级的称谓。", "The names of code sets and outcome tiers."),
        Effect.NONE,
    ),
    (Plan, "systems"): kind(
        ("自定编码体系", "code systems of its own"),
        ("本方案为下列编码体系起的简称。", "The plan's own short words for code systems."),
        Effect.NONE,
    ),
    (Plan, "code_sets"): kind(
        ("代码集", "code sets"),
        (
            "约定所指的项目和诊断。*表示以此开头的全部代码。",
            "Services and diagnoses that terms name; * stands for all codes that begin so.",
        ),
        Effect.DEPENDS,
    ),
    (Plan, "sections"): kind(
        ("责任分项", "sections"),
        (
            "每一费用行归入一个分项；不属任何分项的不予赔付。",
            "Each charge belongs to one section; what none takes is not paid.",
        ),
        Effect.DEPENDS,
    ),
    (Plan, "categories"): kind(
        ("赔案类别", "kinds of claim"),
        (
            "整个赔案归为下列第一个符合的类别。",
            "A claim is the first kind below that any of its charges meets.",
        ),
        Effect.DEPENDS,
        ranked=True,
    ),
    (Plan, "eligibility"): kind(
        ("参保资格", "who may be insured"),
        ("只有下列人员可获保障。", "Only these persons are covered."),
        Effect.DEPENDS,
    ),
    (Plan, "exclusions"): kind(
        ("责任免除", "exclusions"),
        ("下列费用不予赔付。", "These charges are not paid."),
        Effect.WORSE,
    ),
    (Plan, "pre_existing"): kind(
        ("既往症", "pre-existing conditions"),
        (
            "投保时已告知的疾病；核保时的单独约定优先。",
            "Conditions that were disclosed; what was agreed at underwriting goes first.",
        ),
        Effect.DEPENDS,
    ),
    (PreExisting, "rules"): kind(
        ("既往症规则", "rules for pre-existing conditions"),
        ("下列第一条符合的适用。", "The first below that fits holds."),
        Effect.DEPENDS,
        ranked=True,
    ),
    (Plan, "waiting_periods"): kind(
        ("等待期", "waiting periods"),
        ("等待期内发生的费用不予赔付。", "What falls into them is not paid."),
        Effect.WORSE,
    ),
    (Providers, "rules"): kind(
        ("医疗机构要求", "which providers"),
        ("不符合要求的医疗机构的费用不予赔付。", "Charges of other providers are not paid."),
        Effect.WORSE,
    ),
    (Providers, "emergency_exception"): kind(
        ("急诊例外", "emergency exception"),
        ("急诊不受医疗机构要求的限制。", "Emergency care is covered anywhere."),
        Effect.BETTER,
    ),
    (Providers, "listing"): kind(
        ("医疗机构", "providers"),
        ("名单所载优先于账单所载。", "What is said here goes before what a bill says."),
        Effect.DEPENDS,
    ),
    (PlanProvider, "prices"): kind(
        ("价目表", "price list"),
        ("价目表以外的项目不予赔付。", "What is not in it is not paid."),
        Effect.DEPENDS,
    ),
    (Plan, "authorisations"): kind(
        ("事先授权", "authorisations"),
        (
            "下列费用须事先取得保险人授权。",
            "These charges need the insurer's authorisation beforehand.",
        ),
        Effect.WORSE,
    ),
    (Plan, "mutual_recognition"): kind(
        ("检查检验结果互认", "mutual recognition of examinations"),
        (
            "互认期内在其他机构的重复检查不予赔付。",
            "An examination that another provider did shortly before is not paid again.",
        ),
        Effect.WORSE,
    ),
}

# Fields that say the same in whatever term they stand.
COMMON: dict[str, Words] = {"clause": CLAUSE, "in_force": IN_FORCE}
