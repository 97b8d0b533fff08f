"""Sections `select` and `tariff` of pricing.yaml: what a fit does not say of a tariff.

Every number that the law or the product sets comes with its source. The legal cap on credits has no
default: a template that guessed one would be copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from services.pricing.core.tariff import MILLION
from services.pricing.fitting.section import Section, SectionKind

SELECT_TEMPLATE = """\
select: {}
  # previous: tariff/2026.json # a tariff file whose relativities stand beside the indicated ones
"""
TARIFF_TEMPLATE = """\
tariff:
  id: my-tariff
  title: {zh: 医疗险费率, en: Medical tariff}
  notice: {zh: 假设与来源见备案说明, en: Assumptions and sources stand in the memo}
  jurisdiction: CN             # where it is used: decides which factors the law bans
  valid_first: 2027-01-01
  # valid_last: 2027-12-31     # left out: until another version follows
  factor_bounds: {least: '0.1', greatest: '10'}
  fixed_expense_minor: 6000    # a policy and year
  variable_expense: '0.12'     # share of the gross premium
  profit: '0.05'
  rounding_minor: 1            # the premium is a multiple of this
  # credit_cap: {share: '0.20', source: the regulation}  # must be set; there is no default
  collar: {least: '0.80', greatest: '1.25', source: the product's promise}
  least_premium_minor: 10000
  approved_change: '0'         # of expected claims by the selection; the bases are moved to it
  one_reading_most: '0.25'     # by how much one reading may lower an outcome factor
  # How each outcome feature is made of readings. `credibility` (Z with every month assessed) and
  # `stratum_mean` (m0) are the study's when they are left out, and must agree with it when not.
  windows:
    hba1c_percent: {months: 12, one_reading_months: 3, source: the study}
    systolic_mmhg: {months: 12, one_reading_months: 1, source: the study}
  # What somebody does instead who cannot reach a target.
  alternatives:
    hba1c_percent:
      {zh: 按医生方案随访满一年, en: a year of visits by the doctor's plan, source: product terms}
    systolic_mmhg:
      {zh: 按医生方案随访满一年, en: a year of visits by the doctor's plan, source: product terms}
  assumptions: {}              # name: {zh: ..., en: ..., source: ...}
  # Profiles whose premiums are worked out at `propose`, looked at by you, and replayed for ever.
  golden:
    woman of 52, type 2 diabetes:
      {age: '52', sex: F, condition: type2_diabetes, coinsurance_percent: '0', hba1c_percent: '7.2'}
    the same woman without a reading:
      {age: '52', sex: F, condition: type2_diabetes, coinsurance_percent: '0'}
    man of 67, both conditions:
      {age: '67', sex: M, condition: both, coinsurance_percent: '0', systolic_mmhg: '133'}
    man of 30, none:
      {age: '30', sex: M, condition: none, coinsurance_percent: '25'}
"""
_LOWEST_CHANGE = "-0.9"


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectSettings:
    """What stands beside the indicated relativities; empty without a previous tariff."""

    previous: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A sentence in both languages and who says so."""

    zh: str
    en: str
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """A least and a greatest share in millionths, and who says so."""

    least: int
    greatest: int
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How one outcome feature is made of readings; the mean is a plain decimal.

    `credibility` None and an empty `stratum_mean` are the study's.
    """

    months: int
    one_reading_months: int
    credibility: int | None
    stratum_mean: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffSettings:
    """Loads, bounds and promises of the tariff; shares in millionths, amounts in minor units.

    `credit_cap` is None while nobody has set it: share in millionths and source.
    """

    id: str
    title: Said
    notice: Said
    jurisdiction: str
    valid_first: date
    valid_last: date | None
    factor_bounds: Bounds
    fixed_expense_minor: int
    variable_expense: int
    profit: int
    rounding_minor: int
    credit_cap: tuple[int, str] | None
    collar: Bounds
    least_premium_minor: int
    approved_change: int
    one_reading_most: int
    windows: Mapping[str, Window]
    alternatives: Mapping[str, Said]
    assumptions: Mapping[str, Said]
    golden: Mapping[str, Mapping[str, str]]


def read_select(section: Section) -> SelectSettings:
    """The settings of the section; its faults are noted there."""
    return SelectSettings(previous=section.text("previous"))


def read_tariff(section: Section) -> TariffSettings:
    """The settings of the section; its faults are noted there."""
    cap = None
    if "credit_cap" in section:
        below = section.section("credit_cap")
        cap = (_share(below, "share", "0", required=True), below.text("source", required=True))
        below.done()
    last = None
    if "valid_last" in section:
        last = section.day("valid_last", "2027-12-31")
    return TariffSettings(
        id=section.text("id", "my-tariff"),
        title=_said(section, "title", Said(zh="医疗险费率", en="Medical tariff")),
        notice=_said(
            section,
            "notice",
            Said(zh="假设与来源见备案说明", en="Assumptions and sources stand in the memo"),
        ),
        jurisdiction=section.text("jurisdiction", "CN"),
        valid_first=section.day("valid_first", "2027-01-01"),
        valid_last=last,
        factor_bounds=_bounds(section, "factor_bounds", "0.1", "10"),
        fixed_expense_minor=section.whole("fixed_expense_minor", 6000),
        variable_expense=_share(section, "variable_expense", "0.12"),
        profit=_share(section, "profit", "0.05"),
        rounding_minor=section.whole("rounding_minor", 1, least=1, most=100_000),
        credit_cap=cap,
        collar=_bounds(section, "collar", "0.80", "1.25", source="the product's promise"),
        least_premium_minor=section.whole("least_premium_minor", 10_000, least=1),
        approved_change=_share(section, "approved_change", "0", least=_LOWEST_CHANGE),
        one_reading_most=_share(section, "one_reading_most", "0.25"),
        windows={name: _window(below) for name, below in section.section("windows").sections()},
        alternatives=_sayings(section, "alternatives"),
        assumptions=_sayings(section, "assumptions"),
        golden={
            name: {key: below.text(key, required=True) for key in below.names()}
            for name, below in section.section("golden").sections()
        },
    )


def _share(
    section: Section, key: str, default: str, *, least: str = "0", required: bool = False
) -> int:
    found = section.decimal(key, default, least=least, most="0.999999", required=required)
    return round(found * MILLION)


def _bounds(section: Section, key: str, least: str, greatest: str, *, source: str = "") -> Bounds:
    below = section.section(key)
    found = Bounds(
        least=round(below.decimal("least", least, least="0.000001", most="100") * MILLION),
        greatest=round(below.decimal("greatest", greatest, least="0.000001", most="100") * MILLION),
        source=below.text("source", source) if source else "",
    )
    below.done()
    return found


def _said(section: Section, key: str, default: Said) -> Said:
    below = section.section(key)
    found = Said(zh=below.text("zh", default.zh), en=below.text("en", default.en))
    below.done()
    return found


def _sayings(section: Section, key: str) -> dict[str, Said]:
    found = {}
    for name, below in section.section(key).sections():
        found[name] = Said(
            zh=below.text("zh", required=True),
            en=below.text("en", required=True),
            source=below.text("source", required=True),
        )
        below.done()
    return found


def _window(below: Section) -> Window:
    found = Window(
        months=below.whole("months", 12, least=1, most=60),
        one_reading_months=below.whole("one_reading_months", 3, least=1, most=60),
        credibility=round(below.decimal("credibility", "1") * MILLION)
        if "credibility" in below
        else None,
        stratum_mean=below.text("stratum_mean"),
        source=below.text("source", required=True),
    )
    below.done()
    return found


SELECT = SectionKind(settings=SelectSettings, read=read_select, template=SELECT_TEMPLATE)
TARIFF = SectionKind(settings=TariffSettings, read=read_tariff, template=TARIFF_TEMPLATE)
