"""What a report shows of the models behind the tables: coefficients, claims, amounts, hazards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from services.pricing.core.tariff import CategoryFeature, Feature
from services.pricing.fitting.models.fit_result import CauseFit, Coefficient, Fit, ModelFit
from services.pricing.fitting.models.survival_files import CauseSurvival, Survival
from services.pricing.fitting.report import measures, pictures
from services.pricing.fitting.report.scoring import (
    CELL,
    CLAIMS,
    EXPECTED_AMOUNT,
    EXPECTED_CLAIMS,
    Floats,
)
from services.pricing.fitting.report.section import Section

T = TypeVar("T")

_MODELS = {"poisson": ("频率", "frequency"), "gamma": ("案均", "severity")}
# Below it a hazard ratio is not taken to stay the same; of many tested, one in a hundred is chance.
STEADY = 0.01


def models(fit: Fit) -> Iterator[Section]:
    """Both models of each cause, by coefficient, with their errors and the dispersion."""
    for cause in fit.causes:
        for model in (cause.frequency, cause.severity):
            zh, en = _MODELS[model.family]
            yield Section(
                chapter="models",
                zh=f"{cause.zh} · {zh}模型",
                en=f"{cause.en}: {en} model",
                sentence=_judged(model),
                table=pd.DataFrame([_coefficient(one) for one in model.coefficients]),
            )


def claims_by_factor(
    fit: Fit, held: pd.DataFrame, features: Mapping[str, Feature]
) -> Iterator[Section]:
    """Claims of each cause beside what its frequency model expected, by every factor of it."""
    for cause in fit.causes:
        rated = {one.name for one in cause.frequency.coefficients}
        for table in cause.tables:
            if table.name not in rated:
                continue
            feature = features[table.feature]
            found = measures.actual_expected(
                held, EXPECTED_CLAIMS + cause.name, CELL + table.name, CLAIMS + cause.name
            )
            yield Section(
                chapter="claims",
                zh=f"{cause.zh} · 按{feature.zh}的赔案数",
                en=f"Claims of {cause.en} by {feature.en}",
                sentence="claims above 0 over what the frequency model expected of the same "
                "exposure, cover and late reporting; intervals of 95 %, clustered by person",
                table=found.rename(
                    columns={"actual_a_year": "claims_a_year", "expected_a_year": "model_a_year"}
                ),
                picture=pictures.ratios(found, f"{cause.en}: claims by {feature.en}"),
            )


def residuals(fit: Fit, scored: pd.DataFrame, claims: pd.DataFrame) -> Iterator[Section]:
    """Counts of people beside Poisson's, and amounts of claims beside Gamma's."""
    for cause in fit.causes:
        expected = EXPECTED_CLAIMS + cause.name
        table = measures.residuals(scored, CLAIMS + cause.name, expected)
        yield Section(
            chapter="residuals",
            zh=f"残差 {cause.zh}",
            en=f"Residuals of claim counts: {cause.en}",
            sentence=f"Pearson dispersion {cause.frequency.pearson_dispersion:.2f}; "
            "tails heavier than Poisson's are why errors are clustered by person",
            table=table,
            picture=pictures.histogram(table, f"{cause.en}: people"),
        )
        ratios = _amounts(cause, scored, claims)
        if len(ratios) and cause.severity.pearson_dispersion > 0:
            table = measures.amount_residuals(ratios, cause.severity.pearson_dispersion)
            yield Section(
                chapter="residuals",
                zh=f"案均残差 {cause.zh}",
                en=f"Residuals of amounts: {cause.en}",
                sentence=f"{len(ratios):,} claims, each over what the severity model expected; "
                f"Pearson dispersion {cause.severity.pearson_dispersion:.2f}; what lies above the "
                "large-loss threshold is cut off here as in the fit. Where Gamma has far more "
                "of the smallest, a few large claims make the dispersion: a lower threshold parts "
                "them.",
                table=table,
                picture=pictures.histogram(
                    table,
                    f"{cause.en}: amounts",
                    labels=("amount over what was expected", "share of claims"),
                    bars={"share_of_claims": "claims", "gamma": "Gamma"},
                ),
            )


def curves(fit: Fit, survival: Survival | None, *, besides: str) -> Iterator[Section]:
    """Time to the first claim of every other cause, on the people whom `fit` looked at."""
    titles = level_titles(fit, "condition")
    for one in () if survival is None else survival.causes:
        cause = next((cause for cause in fit.causes if cause.name == one.cause), None)
        found = {
            curve.level: pd.DataFrame(
                {
                    "day": curve.day,
                    "share": curve.value,
                    "low95": curve.low95,
                    "high95": curve.high95,
                }
            )
            for curve in one.curves
            if (curve.kind, curve.by) == ("kaplan_meier", "condition")
        }
        if cause is None or one.cause == besides or not found:
            continue
        en = f"Time to the first claim: {cause.en}"
        yield Section(
            chapter="survival",
            zh=f"首次出险时间 {cause.zh}",
            en=en,
            sentence=f"Kaplan–Meier of {one.persons:,} people; the points are in fit/survival.json",
            picture=pictures.curves(
                titled(found, titles), "day", "share", en, ("days", "share without a claim")
            ),
        )


def level_titles(fit: Fit, name: str) -> dict[str, str]:
    """The levels of a feature as the tariff calls them, in its order; none of what it has not."""
    for feature in fit.features:
        if feature.name == name and isinstance(feature, CategoryFeature):
            return {level.name: level.en for level in feature.levels}
    return {}


def titled(groups: Mapping[str, T], titles: Mapping[str, str]) -> dict[str, T]:
    """Groups under the tariff's titles and in its order; others by their own words, behind."""
    listed = [name for name in titles if name in groups]
    listed += [name for name in groups if name not in titles]
    return {titles.get(name, name.replace("_", " ")): groups[name] for name in listed}


def hazards(fit: Fit, survival: Survival | None) -> Iterator[Section]:
    """Cox' coefficients beside monthly Poisson's, and whether each ratio stays the same."""
    named = {cause.name: cause for cause in fit.causes}
    for one in () if survival is None else survival.causes:
        if one.cause not in named or not (one.checked or one.refused):
            continue
        cause = named[one.cause]
        yield Section(
            chapter="survival",
            zh=f"Cox 与逐月泊松、比例风险检验 {cause.zh}",
            en=f"Cox beside monthly Poisson, and proportional hazards: {cause.en}",
            sentence=one.refused or _compared(one),
            table=_checked(one) if one.checked else None,
        )


def _judged(model: ModelFit) -> str:
    zeros = f"; {model.left_out:,} claims of 0 counted and left out" if model.left_out else ""
    family = model.family.capitalize()
    return (
        f"{family}, log link: {model.rows:,} rows in {model.cells:,} cells, {model.persons:,} "
        f"people{zeros}; converged in {model.iterations} steps; Pearson χ² / (n − p) "
        f"{model.pearson_dispersion:.3f}, deviance {model.deviance:,.1f}. The intervals stand on "
        "the error clustered by person; the naive one takes the model at its word."
    )


def _coefficient(one: Coefficient) -> dict[str, object]:
    return {
        "coefficient": f"{one.name} {one.level}".strip(),
        "estimate": one.estimate,
        "se_naive": one.se_naive,
        "se_robust": one.se_robust,
        "se_clustered": one.se_clustered,
        "clustered_over_naive": one.se_clustered / one.se_naive if one.se_naive else None,
        "low95": one.low95,
        "high95": one.high95,
    }


def _amounts(cause: CauseFit, scored: pd.DataFrame, claims: pd.DataFrame) -> Floats:
    """Each claim above 0 over what the severity model expected, at a mean of 1."""
    own = claims[(claims["cause"] == cause.name) & ~claims["zero"].astype(bool)]
    expected = own["segment_id"].map(scored.set_index("segment_id")[EXPECTED_AMOUNT + cause.name])
    kept = expected.notna().to_numpy()
    loss = own["loss_minor"].to_numpy(np.float64)[kept]
    wanted = expected.to_numpy(np.float64)[kept]
    if not len(loss):
        return loss
    found: Floats = loss / wanted * (wanted.sum() / loss.sum())
    return found


def _compared(one: CauseSurvival) -> str:
    unsteady = [
        f"{coefficient.name} {coefficient.level}".strip()
        for coefficient in one.checked
        if coefficient.p_proportional is not None and coefficient.p_proportional < STEADY
    ]
    told = (
        f"{one.first_events:,} first claims of {one.persons:,} people; apart: in Poisson's errors"
    )
    if unsteady:
        told += f"; the hazard ratio changes with time (p below {STEADY}): {', '.join(unsteady)}"
    return told


def _checked(one: CauseSurvival) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "coefficient": f"{coefficient.name} {coefficient.level}".strip(),
                "cox": coefficient.cox,
                "se_clustered": coefficient.se_clustered,
                "poisson_first": coefficient.poisson,
                "apart": coefficient.apart,
                "p": coefficient.p_proportional,
            }
            for coefficient in one.checked
        ]
    )
