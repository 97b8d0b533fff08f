"""One generalised linear model with a log link, fitted on cells and judged on rows.

Poisson: `totals` are counts and `volumes` exposures, mean = volume × exp(Xβ). Gamma: `totals` are
amounts and `volumes` numbers of claims. Both are weighted means per unit of volume with the
volume as weight (CONVENTIONS C), so that one call serves both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from glum import GeneralizedLinearRegressor
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from services.pricing.fitting.models.collinear import collinear
from services.pricing.fitting.models.design import Design, Floats
from services.pricing.fitting.models.errors import Errors, errors
from services.pricing.fitting.models.fit_result import Coefficient, ModelFit
from services.pricing.fitting.models.grouping import group
from services.pricing.fitting.models.refusal import FitFault, FitRefused

Family = Literal["poisson", "gamma"]

# glum's own default is off by 4e-5 in coefficients.
GRADIENT_TOL = 1e-10
_ITERATIONS = 200
# A Newton step from the solution may move no coefficient by more than this share of its error.
_SETTLED = 1e-4
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model that converged; `rate` is exp(Xβ) of every row, per unit of volume."""

    design: Design
    coefficients: Floats
    errors: Errors
    rate: Floats
    model: ModelFit


def regress(
    family: Family,
    design: Design,
    totals: ArrayLike,
    volumes: ArrayLike,
    persons: ArrayLike,
    *,
    where: str,
    left_out: int = 0,
    most: int = _ITERATIONS,
) -> Fitted:
    """The maximum likelihood fit with its three standard errors and Pearson dispersion.

    `persons` is any key of the rows' persons. The same rows give the same bits whatever the
    number of cores: the solver runs on one thread.

    Raises: FitRefused when the design says the same thing twice (the factors are named), the
    solver does not converge in `most` steps, or a coefficient is not a finite number.
    """
    total = np.asarray(totals, dtype=np.float64)
    volume = np.asarray(volumes, dtype=np.float64)
    _refuse_bad(family, total, volume, where)
    keys: NDArray[np.intp] = pd.factorize(np.asarray(persons))[0]
    with threadpool_limits(1):
        return _regressed(family, design, total, volume, keys, where, left_out, most)


def _regressed(
    family: Family,
    design: Design,
    total: Floats,
    volume: Floats,
    persons: NDArray[np.intp],
    where: str,
    left_out: int,
    most: int,
) -> Fitted:
    cells = group(design)
    small, sums, weights = cells.design, cells.sums(total), cells.sums(volume)
    twice = collinear(small, weights)
    if twice:
        raise FitRefused([FitFault(where=where, code="COLLINEAR", text=text) for text in twice])
    coefficients, iterations = _solved(family, small, sums / weights, weights, where, most)
    cell_rate = np.exp(small.predictor(coefficients))
    rate = cell_rate[cells.cell_of]
    power = 1.0 if family == "poisson" else 2.0
    # The score is X'r with r = (total − volume × rate) × rate^(1 − power).
    information = weights * cell_rate ** (2.0 - power)
    bread: Floats = np.linalg.inv(small.gram(information)).astype(np.float64)
    score = small.score((sums - weights * cell_rate) * cell_rate ** (1.0 - power))
    _refuse_unsettled(small, coefficients, bread, score, where)
    residuals = (total - volume * rate) * rate ** (1.0 - power)
    spare = max(design.size - len(coefficients), 1)
    squares = (total - volume * rate) ** 2 / (volume * rate**power)
    dispersion = float(squares.sum() / spare)
    found = errors(
        design,
        residuals,
        bread,
        dispersion=1.0 if family == "poisson" else dispersion,
        persons=persons,
        robust_gram=small.gram(cells.sums(residuals**2)),
    )
    model = ModelFit(
        family=family,
        link="log",
        rows=design.size,
        cells=small.size,
        left_out=left_out,
        persons=found.persons,
        iterations=iterations,
        converged=True,
        deviance=_deviance(family, total, volume, rate),
        pearson_dispersion=dispersion,
        coefficients=_listed(small, coefficients, found),
    )
    return Fitted(design=design, coefficients=coefficients, errors=found, rate=rate, model=model)


def _refuse_bad(family: Family, total: Floats, volume: Floats, where: str) -> None:
    least = "0 or above" if family == "poisson" else "above 0"
    low = total < 0 if family == "poisson" else total <= 0
    faults = [
        FitFault(where=where, code=code, text=f"{int(bad.sum())} rows: {text}")
        for code, bad, text in (
            ("BAD_TOTAL", ~np.isfinite(total) | low, f"counts or amounts must be {least}"),
            ("BAD_VOLUME", ~np.isfinite(volume) | (volume <= 0), "volumes must be above 0"),
        )
        if bad.any()
    ]
    if not total.sum() > 0 and not faults:
        text = "there is not one claim: no rate can be fitted; leave the cause out"
        faults.append(FitFault(where=where, code="NO_CLAIMS", text=text))
    if faults:
        raise FitRefused(faults)


def _solved(
    family: Family, cells: Design, means: Floats, weights: Floats, where: str, most: int
) -> tuple[Floats, int]:
    if not cells.terms:
        mean = float((means * weights).sum() / weights.sum())
        return np.array([np.log(mean)]), 0
    solver = GeneralizedLinearRegressor(
        family=family,
        link="log",
        alpha=0,
        drop_first=True,
        gradient_tol=GRADIENT_TOL,
        max_iter=most,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged is judged here, not printed
        solver.fit(cells.frame(), means, sample_weight=weights)
    if solver.n_iter_ >= most:
        text = (
            f"the solver did not converge in {most} steps; look for levels without claims and for "
            "factors that say nearly the same"
        )
        raise FitRefused([FitFault(where=where, code="NOT_CONVERGED", text=text)])
    found = np.concatenate(([solver.intercept_], solver.coef_)).astype(np.float64)
    return found, int(solver.n_iter_)


def _refuse_unsettled(
    design: Design, coefficients: Floats, bread: Floats, score: Floats, where: str
) -> None:
    """What the solver calls its solution is checked by one step of Newton's own."""
    with np.errstate(invalid="ignore"):
        wrong = ~np.isfinite(coefficients) | ~np.isfinite(np.diag(bread))
        unsettled = np.abs(bread @ score) > _SETTLED * np.sqrt(np.diag(bread))
    faults = [
        FitFault(where=f"{where}.{name}.{level}".rstrip("."), code=code, text=text)
        for bad, code, text in (
            (wrong, "NOT_FINITE", "its coefficient is not a finite number: no tariff carries it"),
            (unsettled & ~wrong, "NOT_CONVERGED", "its coefficient has not settled"),
        )
        for (name, level), found in zip(design.columns, bad, strict=True)
        if found
    ]
    if faults:
        raise FitRefused(faults)


def _deviance(family: Family, total: Floats, volume: Floats, rate: Floats) -> float:
    mean = volume * rate
    if family == "poisson":
        logs = np.log(np.where(total > 0, total, 1.0) / np.where(total > 0, mean, 1.0))
        return float(2 * (total * logs - (total - mean)).sum())
    return float(2 * (volume * ((total - mean) / mean - np.log(total / mean))).sum())


def _listed(design: Design, coefficients: Floats, found: Errors) -> tuple[Coefficient, ...]:
    margin = _NORMAL_95 * found.clustered
    listed = zip(
        design.columns,
        coefficients.tolist(),
        found.naive.tolist(),
        found.robust.tolist(),
        found.clustered.tolist(),
        (coefficients - margin).tolist(),
        (coefficients + margin).tolist(),
        strict=True,
    )
    return tuple(
        Coefficient(
            name=name,
            level=level,
            estimate=estimate,
            se_naive=naive,
            se_robust=robust,
            se_clustered=clustered,
            low95=low,
            high95=high,
        )
        for (name, level), estimate, naive, robust, clustered, low, high in listed
    )
