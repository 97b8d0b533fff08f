"""A fit made by hand from the demo's features: what a study would have given, in a few lines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from services.pricing.core.evidence import Decile, Hazard, HeldOut, Ratio, Validation
from services.pricing.core.tariff import (
    MILLION,
    BandTable,
    CategoryTable,
    Cause,
    FactorTable,
    Feature,
    NumericFeature,
)
from services.pricing.fitting.models.fit_result import (
    CauseFit,
    CellFit,
    Coefficient,
    Fit,
    FitWarning,
    LargeLoad,
    ModelFit,
    TableFit,
    fit_bytes,
)
from services.pricing.fitting.pricing_file import PricingFile, parse_pricing_file
from services.pricing.fitting.selection.settings import TariffSettings
from tests.services.pricing.at_hand import demo_rates

DATA = "d" * 64
YAML = """\
format: 1
tariff:
  id: hand-made
  title: {zh: 手工费率, en: Made by hand}
  notice: {zh: 测试, en: a test}
  valid_first: 2026-01-01
  credit_cap: {share: '0.30', source: a regulation}
  one_reading_most: '0.15'
  windows:
    hba1c_percent:
      {months: 12, one_reading_months: 3, credibility: '0.6', stratum_mean: '8.5', source: assumed}
    systolic_mmhg:
      {months: 12, one_reading_months: 3, credibility: '0.6', stratum_mean: '150', source: assumed}
  alternatives:
    hba1c_percent: {zh: 随访, en: visits, source: terms}
    systolic_mmhg: {zh: 随访, en: visits, source: terms}
  assumptions:
    trend: {zh: 每年 6%, en: 6 % a year, source: reserving}
  golden:
    woman of 52: {age: '52', sex: F, condition: type2_diabetes, hba1c_percent: '7.2'}
    man of 67: {age: '67', sex: M, condition: both}
"""


_LOWEST = {"hba1c_percent": "7.0", "systolic_mmhg": "130"}


def hand_made() -> Fit:
    """A fit whose indicated relativities are the demo's factors."""
    tariff = demo_rates().tariff
    return Fit(
        format=1,
        book=DATA,
        synthetic=True,
        run_card="runs/0003-fit.json",
        currency=tariff.currency,
        features=tuple(_bounded(feature) for feature in tariff.features),
        causes=tuple(_cause(cause) for cause in tariff.causes),
        large_loss_load_e4=tariff.large_loss_load_e4,
        target_loss_ratio=None,
        warnings=(FitWarning(code="THIN_LEVEL", where="injury.age.70-79", zh="稀薄", en="thin"),),
    )


def settings(yaml: str = YAML) -> TariffSettings:
    """The section `tariff` of a pricing.yaml."""
    return file(yaml).of(TariffSettings)


def file(yaml: str = YAML) -> PricingFile:
    return parse_pricing_file(yaml.encode(), Path("pricing.yaml"))


def digest(fit: Fit) -> str:

    return hashlib.sha256(fit_bytes(fit)).hexdigest()


def _bounded(feature: Feature) -> Feature:
    """The demo's are of format 1, which states no clinical lower bound."""
    if not isinstance(feature, NumericFeature) or feature.name not in _LOWEST:
        return feature
    return msgspec.structs.replace(feature, flat_below=_LOWEST[feature.name])


def _cause(cause: Cause) -> CauseFit:
    model = ModelFit(
        family="poisson",
        link="log",
        rows=3000,
        cells=120,
        left_out=0,
        persons=1000,
        iterations=6,
        converged=True,
        deviance=1000.0,
        pearson_dispersion=1.2,
        coefficients=(
            Coefficient(
                name="intercept",
                level="",
                estimate=-2.1,
                se_naive=0.02,
                se_robust=0.03,
                se_clustered=0.04,
                low95=-2.2,
                high95=-2.0,
            ),
        ),
    )
    return CauseFit(
        name=cause.name,
        zh=cause.zh,
        en=cause.en,
        base_e4=cause.base_e4,
        frequency=model,
        severity=msgspec.structs.replace(model, family="gamma"),
        tables=tuple(_table(table) for table in cause.tables),
        large=LargeLoad(
            claims=40,
            persons=38,
            load_minor=8_500 / 3,  # a third of the demo's load
            low95=2_000.0,
            high95=4_000.0,
            largest=0.11,
        ),
    )


def _table(table: FactorTable) -> TableFit:
    bands = isinstance(table, BandTable)
    absent = table.absent_factor_millionths
    return TableFit(
        name=table.name,
        feature=table.feature,
        kind="bands" if bands else "categories",
        layer=table.layer if isinstance(table, BandTable) else "risk",
        monotone=table.monotone if isinstance(table, BandTable) else "no",
        applies_to=table.applies_to,
        absent_factor=None if absent is None else absent / MILLION,
        cells=tuple(_cells(table)),
    )


def _cells(table: FactorTable) -> list[CellFit]:
    spans: list[tuple[str | None, str | None, str | None, int]]
    if isinstance(table, CategoryTable):
        spans = [(cell.level, None, None, cell.factor_millionths) for cell in table.cells]
    else:
        spans = [(None, cell.first, cell.last, cell.factor_millionths) for cell in table.cells]
    return [
        CellFit(
            level=level,
            first=first,
            last=last,
            exposure=250.7,
            claims=40,
            amount_minor=5_000_000.0,
            frequency_relativity=factor / MILLION,
            severity_relativity=1.0,
            raw=factor / MILLION,
            credibility=1.0,
            indicated=factor / MILLION,
            raw_low95=0.8 * factor / MILLION,
            raw_high95=1.2 * factor / MILLION,
            low95=0.9 * factor / MILLION,
            high95=1.1 * factor / MILLION,
            thin=False,
        )
        for level, first, last, factor in spans
    ]


def validated() -> Validation:
    """What a report might have found of the hand-made fit."""
    overall = Ratio(
        of="all",
        exposure_millionths=1_464_900_000,
        ratio_millionths=1_013_400,
        low95_millionths=941_000,
        high95_millionths=1_085_900,
    )
    part = HeldOut(
        name="last_year",
        overall=overall,
        gini_millionths=312_000,
        gini_low95_millionths=250_000,
        gini_high95_millionths=360_000,
        deciles=tuple(
            Decile(actual_e4=number * 7_000_000, expected_e4=number * 6_500_000)
            for number in range(1, 11)
        ),
    )
    return Validation(
        judged="selected",
        held_out=(part, msgspec.structs.replace(part, name="person")),
        hazards=(
            Hazard(cause="inpatient", name="sex F", p_millionths=13_000),
            Hazard(cause="inpatient", name="age 30–39", p_millionths=None),
        ),
        fairness=(msgspec.structs.replace(overall, of="region north", ratio_millionths=None),),
    )
