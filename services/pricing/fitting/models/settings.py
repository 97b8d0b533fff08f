"""Section `fit` of pricing.yaml: factors, what each cause is rated by, and bounds of the result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from services.common.strict_yaml import load
from services.pricing.core.tariff import AppliesTo, scaled, written
from services.pricing.fitting.models.factors import (
    Bands,
    Categories,
    Control,
    Factor,
    FactorLevel,
    Unit,
)
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
fit:
  # Bases are scaled until claims are this share of the gross premium. `none`: as fitted.
  target_loss_ratio: '0.70'
  loads: {fixed_expense_minor: 6000, variable_expense: '0.12', profit: '0.05'}
  thin_claims: 100             # full credibility; a level with fewer is thin: warned of
  large_loss_one_claim_most: '0.25'  # share of a cause's large-loss load; above it: a warning
  large_loss_error_most: '0.30'      # relative standard error of that load; above it: a warning
  relativity_least: '0.20'     # no relativity may be below
  relativity_greatest: '5.00'  # or above
  factors:
    age:
      zh: 年龄
      en: age
      unit: {ucum: a, zh: 周岁, en: completed years}
      bands: ['18', '30', '40', '45', '50', '55', '60', '65', '70']
      last: '79'
      plausible: ['0', '130']
    sex:
      zh: 性别
      en: sex
      levels:
        F: {zh: 女, en: female}
        M: {zh: 男, en: male}
    condition:
      zh: 慢性病
      en: chronic condition
      base: none
      levels:
        none: {zh: 无慢性病, en: no chronic condition}
        hypertension: {zh: 高血压, en: hypertension}
        type2_diabetes: {zh: 2 型糖尿病, en: type 2 diabetes}
        both: {zh: 2 型糖尿病合并高血压, en: type 2 diabetes with hypertension}
    coinsurance:
      zh: 自付比例
      en: coinsurance
      column: coinsurance_percent
      feature: coinsurance_percent
      unit: {ucum: '%', zh: '%', en: '%'}
      bands: ['0', '1', '26', '51']
      last: '100'
      monotone: falling
    # Outcome layer: how well a disease is controlled, by the 12-month credibility-weighted mean.
    # flat_below, one_reading_at_most and least have no default: they are medical and legal.
    # Who has both diseases may get both credits: with a legal cap of 0.20 the two `least` multiply
    # to 0.80 or more (0.87 x 0.92), or `propose` may fail its gate `credit_cap`.
    # Nobody's mean is above m0 (about 8.3 % and 147 mmHg): a band that begins there is empty.
    hba1c:
      zh: 糖化血红蛋白
      en: HbA1c
      column: u_hba1c_percent
      feature: hba1c_percent
      unit: {ucum: '%', zh: '%', en: '%'}
      places: 1
      bands: ['3.0', '7.0', '7.5', '8.0']
      last: '20.0'
      monotone: rising
      applies_to: {feature: condition, levels: [type2_diabetes, both]}
      # A laboratory HbA1c decides its own month and the two before.
      outcome:
        flat_below: '7.0'
        months_of_one_reading: 3
        one_reading_at_most: '0.14'
        least: '0.87'
    systolic:
      zh: 收缩压
      en: systolic blood pressure
      column: u_systolic_mmhg
      feature: systolic_mmhg
      unit: {ucum: 'mm[Hg]', zh: mmHg, en: mmHg}
      bands: ['60', '130', '135', '140', '145']
      last: '280'
      monotone: rising
      applies_to: {feature: condition, levels: [hypertension, both]}
      outcome:
        flat_below: '130'
        months_of_one_reading: 1
        one_reading_at_most: '0.08'
        least: '0.92'
  causes:
    inpatient:
      zh: 住院医疗
      en: inpatient care
      frequency: [age, sex, condition, coinsurance, hba1c, systolic]
      severity: [age, sex]
    outpatient:
      zh: 门诊医疗
      en: outpatient care
      frequency: [age, sex, condition, coinsurance, hba1c, systolic]
      severity: [age]
    injury:
      zh: 意外伤害医疗
      en: care after injury
      frequency: [age, sex]
      severity: []
"""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_LEVEL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseModel:
    """A cause of claims and the names of the factors of its two models."""

    name: str
    zh: str
    en: str
    frequency: tuple[str, ...]
    severity: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What a gross premium holds beside claims: yearly minor units, and shares of the premium."""

    fixed_expense_minor: int = 0
    variable_expense: float = 0.0
    profit: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """What `lipei pricing fit` fits, and within what bounds."""

    factors: Mapping[str, Factor]
    causes: tuple[CauseModel, ...]
    target_loss_ratio: float | None = None
    loads: LoadSettings = LoadSettings()
    thin_claims: int = 100
    large_loss_one_claim_most: float = 0.25
    large_loss_error_most: float = 0.30
    relativity_least: float = 0.2
    relativity_greatest: float = 5.0


def read_fit(section: Section) -> FitSettings:
    """The settings of the section; its faults are noted there."""
    factors = {
        name: factor
        for name, below in _or_template(section, "factors").sections()
        if (factor := _factor(name, below)) is not None
    }
    causes = tuple(
        _cause(name, below, factors) for name, below in _or_template(section, "causes").sections()
    )
    loads = section.section("loads")
    found = FitSettings(
        factors=factors,
        causes=causes,
        target_loss_ratio=_target(section),
        loads=LoadSettings(
            fixed_expense_minor=loads.whole("fixed_expense_minor", 6000),
            variable_expense=loads.decimal("variable_expense", "0.12", most="0.9"),
            profit=loads.decimal("profit", "0.05", most="0.9"),
        ),
        thin_claims=section.whole("thin_claims", 100, least=1),
        large_loss_one_claim_most=section.decimal("large_loss_one_claim_most", "0.25", most="1"),
        large_loss_error_most=section.decimal("large_loss_error_most", "0.30", most="1"),
        relativity_least=section.decimal("relativity_least", "0.20", least="0.01"),
        relativity_greatest=section.decimal("relativity_greatest", "5", least="1", most="100"),
    )
    loads.done()
    shares = found.loads.variable_expense + found.loads.profit
    if found.target_loss_ratio is not None and found.target_loss_ratio > 1 - shares:
        text = f"with expenses and profit of {shares:g} of the premium it is at most {1 - shares:g}"
        section.fault("target_loss_ratio", "TARGET_OUT_OF_REACH", text)
    _one_layer(section, factors)
    return found


def _target(section: Section) -> float | None:
    if section.is_text("target_loss_ratio") and section.text("target_loss_ratio") == "none":
        return None
    return section.decimal("target_loss_ratio", "0.70", least="0.01")


def _or_template(section: Section, key: str) -> Section:
    if key in section:
        return section.section(key)
    section.section(key)  # known, though it is not written
    return Section(load(TEMPLATE, "template")["fit"], "fit", []).section(key)


def _factor(name: str, section: Section) -> Factor | None:
    if not _NAME.fullmatch(name):
        section.fault("", "NAME", "a factor's name is lower-case letters, digits and _")
    unit = section.section("unit")
    factor = Factor(
        name=name,
        column=section.text("column", name),
        feature=section.text("feature", name),
        zh=section.text("zh", name),
        en=section.text("en", name),
        unit=Unit(
            ucum=unit.text("ucum", "1"),
            zh=unit.text("zh", "无单位"),
            en=unit.text("en", "no unit"),
        ),
        shape=_shape(section),
        monotone=cast(
            Literal["no", "rising", "falling"],
            section.choice("monotone", ("no", "rising", "falling"), "no"),
        ),
        applies_to=_applies_to(section),
        base=section.text("base"),
        control=_control(section),
    )
    unit.done()
    section.done()
    return factor if _coherent(factor, section) else None


def _shape(section: Section) -> Bands | Categories:
    if "bands" not in section:
        return Categories(
            levels=tuple(
                _level(name, below) for name, below in section.section("levels").sections()
            )
        )
    plausible = section.texts("plausible")
    if plausible and len(plausible) != 2:
        section.fault("plausible", "PLAUSIBLE", "must be two decimals: the least and the greatest")
    return Bands(
        firsts=section.texts("bands"),
        last=section.text("last", required=True),
        places=section.whole("places", 0, most=4),
        plausible_first=plausible[0] if len(plausible) == 2 else "",
        plausible_last=plausible[1] if len(plausible) == 2 else "",
        rounded=section.flag("rounded", default="outcome" in section),
        biometric=section.flag("biometric", default="outcome" in section),
    )


def _level(name: str, section: Section) -> FactorLevel:
    if not _LEVEL.fullmatch(name):
        section.fault("", "LEVEL", "a level is letters, digits and _; give `value` for yours")
    found = FactorLevel(
        name=name,
        value=section.text("value", name),
        zh=section.text("zh", name),
        en=section.text("en", name),
    )
    section.done()
    return found


def _applies_to(section: Section) -> AppliesTo | None:
    if "applies_to" not in section:
        return None
    below = section.section("applies_to")
    found = AppliesTo(feature=below.text("feature", required=True), levels=below.texts("levels"))
    below.done()
    return found


def _control(section: Section) -> Control | None:
    if "outcome" not in section:
        return None
    below = section.section("outcome")
    found = Control(
        flat_below=below.text("flat_below", required=True),
        months_of_one_reading=below.whole("months_of_one_reading", 1, least=1, most=12),
        one_reading_at_most=below.decimal("one_reading_at_most", "0", required=True),
        least=below.decimal("least", "1", least="0.01", required=True),
    )
    below.done()
    return found


def _coherent(factor: Factor, section: Section) -> bool:
    """Whether bands ascend and an outcome says all that bounds it; each fault is noted."""
    bands = factor.shape
    if isinstance(bands, Categories):
        if factor.control is not None:
            section.fault("outcome", "NOT_A_NUMBER", "an outcome needs bands of a measured value")
        return factor.control is None
    try:
        starts = [scaled(first, bands.places) for first in bands.firsts]
        last = scaled(bands.last, bands.places)
        for edge in filter(None, (bands.plausible_first, bands.plausible_last)):
            scaled(edge, bands.places)
        flat = scaled(factor.control.flat_below, bands.places) if factor.control else None
    except ValueError as error:
        section.fault("bands", "EDGES", f"an edge {error}, in quotes")
        return False
    good = len(starts) > 1 and starts == sorted(set(starts)) and last >= starts[-1]
    if not good:
        section.fault("bands", "EDGES", "two bands or more, their first values ascending to `last`")
    if flat is None or not good:
        return good
    if factor.monotone != "rising":
        text = "a higher value of an outcome is a worse one: it must be declared rising"
        section.fault("monotone", "NOT_RISING", text)
        return False
    if flat <= starts[0]:
        text = f"flat_below must lie above {bands.firsts[0]}, or it bounds nothing"
        section.fault("outcome", "NOTHING_BELOW", text)
        return False
    if starts[1] < flat:
        text = f"values below {written(flat, bands.places)} stand in one band: there it is flat"
        section.fault("bands", "NOT_FLAT", text)
        return False
    return True


def _cause(name: str, section: Section, factors: Mapping[str, Factor]) -> CauseModel:
    found = CauseModel(
        name=name,
        zh=section.text("zh", name),
        en=section.text("en", name),
        frequency=section.texts("frequency"),
        severity=section.texts("severity"),
    )
    for key, named in (("frequency", found.frequency), ("severity", found.severity)):
        for unknown in (one for one in named if one not in factors):
            text = f"{unknown} is not among the factors: {', '.join(factors)}"
            section.fault(key, "UNKNOWN_FACTOR", text)
    for outcome in (one for one in found.severity if one in factors and factors[one].control):
        text = f"{outcome} is an outcome: it rates how often claims come; list it in frequency only"
        section.fault("severity", "OUTCOME_IN_SEVERITY", text)
    section.done()
    return found


def _one_layer(section: Section, factors: Mapping[str, Factor]) -> None:
    layers: dict[str, str] = {}
    for factor in factors.values():
        if isinstance(factor.shape, Bands) and factor.shape.biometric:
            layer = layers.setdefault(_measured(factor), factor.layer)
            if layer != factor.layer:
                text = f"{_measured(factor)} stands in the {layer} layer already, and in one only"
                section.fault(f"factors.{factor.name}", "BIOMETRIC_IN_TWO_LAYERS", text)


def _measured(factor: Factor) -> str:
    """What is measured, whether as one reading or as its 12-month mean."""
    return factor.column.removeprefix("u_")


FIT = SectionKind(settings=FitSettings, read=read_fit, template=TEMPLATE)
