"""The fit of a tariff: an experience and its claims in, everything that selection needs out.

Plain functions on frames: the same for `lipei pricing fit` and for a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from services.pricing.core.tariff import E4, MILLION, Feature
from services.pricing.fitting.models import warn
from services.pricing.fitting.models.cause import FittedCause, fit_cause
from services.pricing.fitting.models.coding import OUTSIDE, Coded, coded
from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.factors import feature_of
from services.pricing.fitting.models.fit_result import CauseFit, Fit, Loads, Scaling
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.settings import CauseModel, FitSettings, LoadSettings

_SEGMENT = ("segment_id", "person_id", "exposure")
_BY_CAUSE = (
    "claims_{}",
    "loss_{}_minor",
    "excess_{}_minor",
    "frequency_offset_{}",
    "severity_offset_{}",
)
_CLAIM = ("segment_id", "person_id", "cause", "loss_minor", "zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a fit says of where it came from."""

    book: str  # SHA-256 of the experience
    synthetic: bool
    run_card: str
    currency: str


def fit(
    experience: pd.DataFrame,
    claims: pd.DataFrame,
    settings: FitSettings,
    about: About,
    *,
    progress: Callable[[str], None] = lambda _name: None,
) -> Fit:
    """Frequency × severity of every cause, shaped into tables, with a calibrated base.

    `experience` and `claims` are those of study/. Segments held out (`holdout` other than
    `train`) are not learnt from. The order of the rows changes nothing. `progress` is told the name
    of each cause when it is done.

    Raises: FitRefused with every fault of the columns and factors, or of the first cause that
    cannot be fitted.
    """
    _refuse_columns(experience, claims, settings.causes)
    learnt = experience
    if "holdout" in experience:
        learnt = experience[experience["holdout"] == "train"]
    learnt = learnt.sort_values("segment_id", ignore_index=True)
    used = _used(settings)
    by_factor = coded([settings.factors[name] for name in used], learnt)
    warnings = list(warn.left_out(by_factor.values()))
    priced = ~np.any([one.codes == OUTSIDE for one in by_factor.values()], axis=0)
    learnt = learnt[priced].reset_index(drop=True)
    by_factor = coded([settings.factors[name] for name in used], learnt)
    known = claims[claims["segment_id"].isin(learnt["segment_id"])]
    known = known.sort_values(["segment_id", "claim_id"] if "claim_id" in known else "segment_id")
    _refuse_without_claims(learnt, known, settings.causes)
    fitted = []
    for cause in settings.causes:
        fitted.append(fit_cause(cause, by_factor, learnt, known, settings))
        warnings += warn.of_cause(fitted[-1], settings)
        if "excess_minor" in known:
            excess = known.loc[known["cause"] == cause.name, "excess_minor"]
            warnings += warn.of_load(cause.name, excess.to_numpy(dtype=np.float64), settings)
        progress(cause.name)
    pure = _pure(fitted, learnt["exposure"].to_numpy(dtype=np.float64))
    scale = _scale(pure, settings)
    return Fit(
        format=1,
        book=about.book,
        synthetic=about.synthetic,
        run_card=about.run_card,
        currency=about.currency,
        features=_features(by_factor),
        causes=tuple(_listed(one, scale) for one in fitted),
        large_loss_load_e4=round(sum(one.large.load_minor for one in fitted) * scale * E4),
        target_loss_ratio=settings.target_loss_ratio,
        warnings=tuple(warnings),
        loads=None if settings.target_loss_ratio is None else _loads(settings.loads),
        scaling=Scaling(pure_minor=pure, factor=scale),
    )


def _refuse_without_claims(
    learnt: pd.DataFrame, known: pd.DataFrame, causes: Sequence[CauseModel]
) -> None:
    """Of a cause without a claim every factor's base would be at fault, and none of them is."""
    faults = []
    for cause in causes:
        if learnt[f"claims_{cause.name}"].any():
            continue
        zeros = int((known["cause"] == cause.name).sum())
        text = "not one claim above 0 in what is learnt from" + f" ({zeros} of 0)" * bool(zeros)
        text += ": nothing can be fitted; take it out of `fit.causes`, or look at the book's causes"
        faults.append(FitFault(where=cause.name, code="NO_CLAIMS", text=text))
    if faults:
        raise FitRefused(faults)


def _used(settings: FitSettings) -> tuple[str, ...]:
    """The factors that a model or a gate of one needs, in the order of the settings."""
    named = {name for cause in settings.causes for name in (*cause.frequency, *cause.severity)}
    gates = {
        gate.feature for name in named if (gate := settings.factors[name].applies_to) is not None
    }
    return tuple(
        name
        for name, factor in settings.factors.items()
        if name in named or factor.feature in gates
    )


def _refuse_columns(
    experience: pd.DataFrame, claims: pd.DataFrame, causes: Sequence[CauseModel]
) -> None:
    other = [
        one.name
        for one in causes
        if not any(name.format(one.name) in experience for name in _BY_CAUSE)
    ]
    faults = [
        FitFault(
            where=f"fit.causes.{name}",
            code="UNKNOWN_CAUSE",
            text="the study has no such cause; take it out, or name it in book.causes and study the"
            " book again",
        )
        for name in other
    ]
    known = [one.name for one in causes if one.name not in other]
    wanted = [*_SEGMENT, *(name.format(one) for one in known for name in _BY_CAUSE)]
    faults += [
        FitFault(where=where, code="NO_COLUMN", text=f"has no column {name}; study the book again")
        for where, frame, names in (("experience", experience, wanted), ("claims", claims, _CLAIM))
        for name in names
        if name not in frame
    ]
    if not causes:
        text = "no cause is to be fitted; list one under `causes`"
        faults.append(FitFault(where="fit", code="NO_CAUSE", text=text))
    if faults:
        raise FitRefused(faults)
    numbers = {name: experience[name].to_numpy(dtype=np.float64) for name in wanted[2:]}
    with_fault = [name for name, column in numbers.items() if not np.isfinite(column).all()]
    low = [
        name
        for name, column in numbers.items()
        if name not in with_fault
        and (column < 0 if name.startswith(_MAY_BE_0) else column <= 0).any()
    ]
    faults = [
        FitFault(where=f"experience.{name}", code=code, text=text)
        for code, names, text in (
            ("NOT_FINITE", with_fault, "holds a value that is missing or not finite"),
            ("TOO_LOW", low, "holds a value below its least: exposure and offsets are above 0"),
        )
        for name in names
    ]
    if faults:
        raise FitRefused(faults)


_MAY_BE_0 = ("claims_", "loss_", "excess_")


def _pure(fitted: Sequence[FittedCause], exposure: Floats) -> float:
    """The best estimate of claims with the large-loss load, a person and year, in minor units."""
    years = float(exposure.sum())
    return sum(
        float((exposure * one.yearly).sum()) / years + one.large.load_minor for one in fitted
    )


def _scale(pure: float, settings: FitSettings) -> float:
    """What bases and load are multiplied by so that claims are the target share of the premium.

    Premium per year = (scale × pure + fixed) / (1 − variable − profit), and pure / premium is to
    be the target.

    Raises: FitRefused when fixed expenses alone are more than the target leaves.
    """
    target, loads = settings.target_loss_ratio, settings.loads
    if target is None:
        return 1.0
    kept = 1 - loads.variable_expense - loads.profit
    scale = kept / target - loads.fixed_expense_minor / pure
    if scale <= 0:
        text = (
            f"fixed expenses of {loads.fixed_expense_minor} a year are more than a loss ratio of "
            f"{target:g} leaves; lower one of them"
        )
        raise FitRefused([FitFault(where="fit", code="TARGET_OUT_OF_REACH", text=text)])
    return scale


def _loads(loads: LoadSettings) -> Loads:
    return Loads(
        fixed_expense_e4=loads.fixed_expense_minor * E4,
        variable_expense_millionths=round(loads.variable_expense * MILLION),
        profit_millionths=round(loads.profit * MILLION),
    )


def _features(by_factor: Mapping[str, Coded]) -> tuple[Feature, ...]:
    """Each feature once, in the order of the factors."""
    found: dict[str, Feature] = {}
    for one in by_factor.values():
        found.setdefault(one.factor.feature, feature_of(one.factor, one.levels))
    return tuple(found.values())


def _listed(one: FittedCause, scale: float) -> CauseFit:
    return CauseFit(
        name=one.model.name,
        zh=one.model.zh,
        en=one.model.en,
        base_e4=round(one.pure * scale * E4),
        frequency=one.frequency.model,
        severity=one.severity.model,
        tables=tuple(shaped.table for shaped in one.shaped),
        large=one.large,
    )
