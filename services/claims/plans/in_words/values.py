"""Writes single values of a plan in Chinese and English: amounts, shares, days, names, lists."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from services.claims.core.balances import PERIODS, SCOPES
from services.claims.core.decision import Bearer, Payee
from services.claims.core.explain import Words as Language
from services.claims.core.facts import (
    UNIT_SCALE,
    CareType,
    Coding,
    HospitalTier,
    Liability,
    Licence,
    PreExistingTerms,
    Relationship,
    Sex,
    plain_decimal,
)
from services.claims.core.plan import (
    Others,
    PatientCost,
    Place,
    Plan,
    PreExistingValue,
    Qualification,
    Repeated,
    StayDay,
    TierDay,
    WaitingUnit,
    WithoutList,
)
from services.claims.core.plan_edits import CountsFrom, Indication, PackagePart, Per
from services.claims.core.plan_parts import Ages, Text
from services.claims.plans.code_systems import CODE_SYSTEMS
from services.common.money import format_minor

_ENUMS: tuple[tuple[enum.StrEnum, Text], ...] = (
    *SCOPES.items(),
    *PERIODS.items(),
    (CareType.OUTPATIENT, Text(zh="门诊", en="outpatient care")),
    (CareType.EMERGENCY, Text(zh="急诊", en="emergency care")),
    (CareType.INPATIENT, Text(zh="住院", en="inpatient care")),
    (CareType.PHARMACY, Text(zh="药店购药", en="pharmacy")),
    (CareType.CHRONIC, Text(zh="门诊慢特病", en="chronic-disease care")),
    (CareType.ONLINE, Text(zh="互联网诊疗", en="on-line care")),
    (HospitalTier.PRIMARY, Text(zh="一级医院", en="primary hospitals")),
    (HospitalTier.SECONDARY, Text(zh="二级医院", en="secondary hospitals")),
    (HospitalTier.TERTIARY, Text(zh="三级医院", en="tertiary hospitals")),
    (Sex.FEMALE, Text(zh="女性", en="women")),
    (Sex.MALE, Text(zh="男性", en="men")),
    (Relationship.SELF, Text(zh="投保人本人", en="the policyholder")),
    (Relationship.SPOUSE, Text(zh="配偶", en="spouse")),
    (Relationship.CHILD, Text(zh="子女", en="children")),
    (Relationship.PARENT, Text(zh="父母", en="parents")),
    (PreExistingTerms.EXCLUDED, Text(zh="不予保障", en="not covered")),
    (PreExistingTerms.COVERED, Text(zh="予以保障", en="covered")),
    (PreExistingTerms.AT_SHARE, Text(zh="按比例保障", en="covered at a share")),
    (Licence.HOSPITAL, Text(zh="医院", en="a hospital")),
    (Licence.COMMUNITY_CENTRE, Text(zh="社区卫生服务中心", en="a community health centre")),
    (Licence.CLINIC, Text(zh="诊所", en="a clinic")),
    (Licence.PHARMACY, Text(zh="药店", en="a pharmacy")),
    (Licence.INTERNET_HOSPITAL, Text(zh="互联网医院", en="an internet hospital")),
    (Licence.EXAMINATION_CENTRE, Text(zh="体检机构", en="an examination centre")),
    (Licence.REHABILITATION, Text(zh="康复机构", en="a rehabilitation centre")),
    (Licence.DENTAL, Text(zh="口腔机构", en="a dental practice")),
    (Liability.NOBODY, Text(zh="无他方责任", en="nobody else")),
    (Liability.WORK_INJURY, Text(zh="工伤", en="work injury")),
    (Liability.THIRD_PARTY, Text(zh="第三方责任", en="a third party's liability")),
    (WithoutList.BILLED, Text(zh="按账单价认可", en="the billed price counts")),
    (WithoutList.DENIED, Text(zh="不予赔付", en="nothing is paid")),
    (Repeated.LATER_SERVICE, Text(zh="后做的检查", en="the one that was done later")),
    (Repeated.LATER_CLAIM, Text(zh="后收到的赔案中的检查", en="the one that was claimed later")),
    (TierDay.POLICY_YEAR, Text(zh="保单年度首日", en="the first day of the policy year")),
    (TierDay.STAY_START, Text(zh="入院或就诊当日", en="the first day of the stay")),
    (TierDay.STAY_END, Text(zh="出院当日", en="the last day of the stay")),
    (Place.FIRST, Text(zh="本方案最先赔付", en="this plan pays before all others")),
    (
        Place.CHOICE,
        Text(
            zh="按被保险人选定的次序，未选定的先由最早的保单赔付",
            en="the member's choice goes first, else the oldest policy",
        ),
    ),
    (Place.LAST, Text(zh="本方案最后赔付", en="this plan pays after all others")),
    (Others.STAND, Text(zh="其他赔案不变", en="other claims stand")),
    (
        Others.AGAIN,
        Text(
            zh="此后收到的该保单赔案依次重新核定",
            en="the policy's claims received after it are decided again in their order",
        ),
    ),
    (StayDay.START, Text(zh="入院或就诊当日", en="the first day of the stay")),
    (StayDay.END, Text(zh="出院当日", en="the last day of the stay")),
    (WaitingUnit.DAYS, Text(zh="天", en="days")),
    (WaitingUnit.MONTHS, Text(zh="个月", en="months")),
    (PatientCost.DEDUCTIBLE, Text(zh="免赔额", en="deductibles")),
    (PatientCost.COPAY, Text(zh="每次自付额", en="copays")),
    (PatientCost.COINSURANCE, Text(zh="按比例自付额", en="coinsurance")),
    (Payee.MEMBER, Text(zh="被保险人", en="the insured person")),
    (Payee.PROVIDER, Text(zh="医疗机构", en="the provider")),
    (Bearer.INSURER, Text(zh="保险人", en="the insurer")),
    (Bearer.PRIOR_PAYER, Text(zh="先行赔付方（医保或其他保险）", en="the prior payer")),
    (Bearer.PATIENT, Text(zh="患者", en="the patient")),
    (Bearer.PROVIDER, Text(zh="医疗机构", en="the provider")),
    (Per.LINE, Text(zh="每行", en="a line")),
    (Per.DAY, Text(zh="每日", en="a day")),
    (CountsFrom.STAY_END, Text(zh="出院或就诊结束之日", en="the end of the stay")),
    (CountsFrom.SERVICE, Text(zh="服务当日", en="the day of service")),
)
# By type as well: words of two lists are equal as texts and mean different things.
ENUMS: Mapping[tuple[type, str], Text] = {(type(one), one.value): text for one, text in _ENUMS}
_SYSTEM_WORDS = {system.uri: word for word, system in CODE_SYSTEMS.items()}
_INDICATORS = {
    0: Text(zh="不得同时收费", en="never together"),
    1: Text(zh="有修饰码方可同时收费", en="together only with a listed modifier"),
    9: Text(zh="未生效", en="not in force"),
}


class Names:
    """What a plan calls its sections, categories, papers and money."""

    def __init__(self, plan: Plan) -> None:
        papers = () if plan.edits is None else plan.edits.papers
        self.sections = {one.id: one.name for one in plan.sections}
        self.categories = {one.id: one.name for one in plan.categories}
        self.papers = {one.id: one.name for one in papers}
        self.given = {one.id: one.name for one in plan.names}
        self.clauses = {one.id: one.text for one in plan.clauses}
        self.systems = {one.uri: one.id for one in plan.systems}
        self.currency = plan.currency
        self._zh, self._en = Language("zh", plan.currency), Language("en", plan.currency)

    def both(self, write: Callable[[Language], str]) -> Text:
        """What is written in each language."""
        return Text(zh=write(self._zh), en=write(self._en))

    def clause(self, number: str) -> Text:
        """A clause by its number and short text."""
        text = self.clauses.get(number)
        if text is None:
            return same(number)
        return Text(zh=f"{number} {text.zh}", en=f"{number} {text.en}")


def same(text: str) -> Text:
    """What is the same in both languages."""
    return Text(zh=text, en=text)


def joined(texts: Iterable[Text]) -> Text:
    """A list."""
    found = list(texts)
    return Text(zh="、".join(one.zh for one in found), en=", ".join(one.en for one in found))


# --- single values ---


def money(value: int, names: Names) -> Text:
    """An amount of minor units."""
    return names.both(lambda words: words.money(value))


def price(value: Decimal, names: Names) -> Text:
    """A unit price in major units, with as many places as it has."""
    nothing, number = format_minor(0, names.currency), str(plain_decimal(value))
    return names.both(lambda words: words.money(0).replace(nothing, number))


def share(value: Decimal, names: Names) -> Text:
    """A share as people write it."""
    return names.both(lambda words: words.share(value))


def counted(zh: str, en: str) -> Callable[[int | Decimal, Names], Text]:
    """Writes a number with a unit after it."""
    return lambda value, _names: Text(zh=f"{value} {zh}", en=f"{value} {en}")


days = counted("天", "days")
hours = counted("小时", "hours")
units = counted("个单位", "units")
claims = counted("次", "claims")
people = counted("人", "people")


@dataclass(frozen=True, slots=True)
class Wait:
    """A waiting period with its unit."""

    count: int
    unit: WaitingUnit


def wait(value: Wait, names: Names) -> Text:
    """A waiting period with its unit."""
    unit = word(value.unit, names)
    return Text(zh=f"{value.count} {unit.zh}", en=f"{value.count} {unit.en}")


def small_units(value: int, names: Names) -> Text:
    """Units that are kept in ten-thousandths."""
    return units(plain_decimal(Decimal(value) / UNIT_SCALE), names)


def yes_no(value: bool, _names: Names) -> Text:
    """Yes or no."""
    return Text(zh="是", en="yes") if value else Text(zh="否", en="no")


def in_force(value: bool, _names: Names) -> Text:
    """In force or not."""
    return Text(zh="有效", en="in force") if value else Text(zh="无效", en="not in force")


def listed(value: bool, _names: Names) -> Text:
    """On the list or not."""
    return (
        Text(zh="在名单内", en="on the list") if value else Text(zh="不在名单内", en="off the list")
    )


def text(value: Text, _names: Names) -> Text:
    """Words as the plan has them."""
    return value


def ident(value: object, _names: Names) -> Text:
    """An id, a number or a word of the plan's own, as it stands."""
    return same(str(value))


def day(value: date, _names: Names) -> Text:
    """A day."""
    return same(value.isoformat())


def word(value: enum.StrEnum, _names: Names) -> Text:
    """A word of the language."""
    return ENUMS[type(value), value.value]


def system_word(uri: str) -> str:
    """The short word of a code system; its URI where it has none."""
    return _SYSTEM_WORDS.get(uri, uri)


def system(value: str, names: Names) -> Text:
    """A code system by its short word, which may be the plan's own."""
    return same(names.systems.get(value) or system_word(value))


def coding(value: Coding, names: Names) -> Text:
    """A code with its system."""
    return same(f"{system(value.system, names).en} {value.code}")


def set_code(value: str, names: Names) -> Text:
    """A code of a code set: its system, a blank, and the code with its star."""
    uri, _, code = value.rpartition(" ")
    return same(f"{system(uri, names).en} {code}")


def clause(value: str, names: Names) -> Text:
    """A clause by its number and short text."""
    return names.clause(value)


def indicator(value: int, _names: Names) -> Text:
    """How strictly a pair excludes itself."""
    return _INDICATORS.get(value, same(str(value)))


def ages(value: Ages, _names: Names) -> Text:
    """A band of ages."""
    if value.first is None and value.last is None:
        return Text(zh="不限年龄", en="every age")
    if value.last is None:
        return Text(zh=f"满 {value.first} 周岁", en=f"from {value.first} years on")
    if value.first is None:
        return Text(zh=f"{value.last} 周岁及以下", en=f"up to {value.last} years")
    first, last = value.first, value.last
    return Text(zh=f"{first} 至 {last} 周岁", en=f"{first} to {last} years")


def pre_existing(value: PreExistingValue, names: Names) -> Text:
    """Covered, excluded, or the insurer's share."""
    if value.share is None:
        return word(value.terms, names)
    at, rate = word(value.terms, names), share(value.share, names)
    return Text(zh=f"{at.zh}（{rate.zh}）", en=f"{at.en} of {rate.en}")


def qualification(value: Qualification, names: Names) -> Text:
    """What a provider must be."""
    wanted = [each(word)(value.tiers, names)] if value.tiers else []
    if value.networks:
        told = each(ident)(value.networks, names)
        wanted.append(Text(zh=f"网络 {told.zh}", en=f"of network {told.en}"))
    if value.listed:
        wanted.append(Text(zh="在方案名单内", en="on the plan's list"))
    return _all_of(wanted, Text(zh="任何医疗机构", en="any provider"))


def indication(value: Indication, names: Names) -> Text:
    """For whom and where a service may be done."""
    wanted = [ages(value.ages, names)] if value.ages is not None else []
    if value.sex is not None:
        wanted.append(word(value.sex, names))
    if value.not_with:
        told = each(named("given"))(value.not_with, names)
        wanted.append(Text(zh=f"诊断不属于 {told.zh}", en=f"with no diagnosis of {told.en}"))
    if value.care_types:
        wanted.append(each(word)(value.care_types, names))
    if value.licences:
        told = each(word)(value.licences, names)
        wanted.append(Text(zh=f"由{told.zh}提供", en=f"given by {told.en}"))
    return _all_of(wanted, Text(zh="不限", en="anybody"))


def _all_of(wanted: list[Text], nothing: Text) -> Text:
    if not wanted:
        return nothing
    return Text(zh="，且".join(one.zh for one in wanted), en=" and ".join(one.en for one in wanted))


def part(value: PackagePart, names: Names) -> Text:
    """A part of a package and how much of it."""
    code, much = coding(value.code, names), small_units(value.units, names)
    return Text(zh=f"{code.zh} × {much.zh}", en=f"{code.en} × {much.en}")


# --- lists ---


def each(say: Callable[[Any, Names], Text]) -> Callable[[Iterable[Any], Names], Text]:
    """Writes a list, each item so; a set by what is written."""

    def write(value: Iterable[Any], names: Names) -> Text:
        said = [say(one, names) for one in value]
        if isinstance(value, frozenset):
            said.sort(key=lambda one: (one.en, one.zh))
        return joined(said)

    return write


def named(which: str) -> Callable[[str, Names], Text]:
    """Writes an id by the name that the plan gives it in `which`; the id where it gives none."""
    return lambda value, names: getattr(names, which).get(value) or same(value)


def code_set(value: str, names: Names) -> Text:
    """A code set by its name; by its id where it has none."""
    called = names.given.get(value) or same(value)
    return Text(zh=f"代码集“{called.zh}”", en=f'code set "{called.en}"')
