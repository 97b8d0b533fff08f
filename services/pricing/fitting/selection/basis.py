"""What a tariff's evidence says of its level and experience: out of the fit and the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.pricing.core.evidence import (
    CauseBasis,
    LargeLosses,
    Level,
    StudyBasis,
    StudyPart,
    TrendFrom,
)
from services.pricing.core.tariff import E4, MILLION
from services.pricing.fitting.models.fit_result import Fit


def level_of(fit: Fit) -> Level | None:
    """How the level of a fit's bases was set; None of a fit that does not tell.

    With pure premium P, fixed expenses F, variable share v and target T the mean gross premium is
    P / T, and what is left of it beside claims and expenses is 1 - T - v - F × T / P.
    """
    scaling = fit.scaling
    if scaling is None:
        return None
    pure, target, loads = scaling.pure_minor, fit.target_loss_ratio, fit.loads
    gross = loss_ratio = margin = profit = None
    if target is not None and loads is not None:
        fixed = loads.fixed_expense_e4 / E4
        variable = loads.variable_expense_millionths / MILLION
        profit = loads.profit_millionths
        gross = round(pure / target * E4)
        kept = 1 - variable - profit / MILLION
        loss_ratio = round(kept * pure / (pure + fixed) * MILLION)
        margin = round((1 - target - variable - fixed * target / pure) * MILLION)
    return Level(
        pure_e4=round(pure * E4),
        large_loss_load_e4=round(fit.large_loss_load_e4 / scaling.factor),
        scaling_millionths=round(scaling.factor * MILLION),
        gross_e4=gross,
        target_loss_ratio_millionths=None if target is None else round(target * MILLION),
        loads_loss_ratio_millionths=loss_ratio,
        profit_millionths=profit,
        margin_millionths=margin,
    )


def large_losses_of(fit: Fit) -> tuple[LargeLosses, ...] | None:
    """What the load of each cause rests on; None of a fit that does not tell."""
    scale = 1.0 if fit.scaling is None else fit.scaling.factor
    found = [(cause.name, cause.large) for cause in fit.causes if cause.large is not None]
    if len(found) < len(fit.causes):
        return None
    return tuple(
        LargeLosses(
            cause=name,
            claims=one.claims,
            persons=one.persons,
            load_e4=round(one.load_minor * scale * E4),
            low95_e4=round(one.low95 * scale * E4),
            high95_e4=round(one.high95 * scale * E4),
            largest_millionths=round(one.largest * MILLION),
        )
        for name, one in found
    )


def study_basis(study: Mapping[str, Any]) -> StudyBasis:
    """The basis that study/study.json names, in whole numbers.

    Raises: KeyError or TypeError when it is not as `lipei pricing study` writes it.
    """
    settings = study["settings"]
    return StudyBasis(
        valuation_day=study["book"]["valuation_day"],
        first_day=settings["first_day"],
        after_day=settings["after_day"],
        trend_to_day=settings["trend_to_day"],
        trend_source=settings["trend_source"],
        development_source=settings["development_source"],
        reference_deductible_minor=settings["reference_deductible_minor"],
        reading_window_months=settings["reading_window_months"],
        causes=tuple(
            CauseBasis(
                name=one["cause"],
                trend=tuple(
                    TrendFrom(day=day, yearly_millionths=round(yearly * MILLION))
                    for day, yearly in settings["trend"].get(one["cause"], ())
                ),
                threshold_minor=one["threshold_minor"],
                developed_millionths=tuple(
                    round(share * MILLION) for share in one["development"]["used"]["amounts"]
                ),
            )
            for one in study["causes"]
        ),
        holdout=tuple(
            StudyPart(
                name=part["holdout"],
                segments=part["segments"],
                exposure_millionths=round(part["exposure"] * MILLION),
            )
            for part in study["holdout"]
        ),
    )
