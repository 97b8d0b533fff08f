"""How well an expectation separates and meets what happened. Frames in, frames out.

Intervals are of 95 %. Errors let all segments of one person go together, as the fit's do; what is
drawn for a bootstrap is people, never segments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from services.pricing.fitting.report.scoring import ACTUAL, Floats

_Z = 1.959964
BINS = 10
DRAWS = 200
_POINTS = 101


def actual_expected(
    frame: pd.DataFrame, expected: str, by: Any, actual: str = ACTUAL
) -> pd.DataFrame:
    """Actual over expected by group, with its interval: exposure, actual, expected, ratio.

    The ratio's error is that of a sum over persons of actual − ratio × expected, which says
    nothing about the expectation's own error.
    """
    rows = []
    for name, group in frame.groupby(by, observed=True, sort=True):
        happened, wanted = float(group[actual].sum()), float(group[expected].sum())
        ratio = happened / wanted if wanted else np.nan
        left = (group[actual] - ratio * group[expected]).groupby(group["person_id"]).sum()
        error = float(np.sqrt((left**2).sum()) / wanted) if wanted else np.nan
        rows.append(
            {
                "group": str(name),
                "persons": group["person_id"].nunique(),
                "exposure": float(group["exposure"].sum()),
                "actual_a_year": happened / float(group["exposure"].sum()),
                "expected_a_year": wanted / float(group["exposure"].sum()),
                "ratio": ratio,
                "low95": max(ratio - _Z * error, 0.0),  # nobody's claims are below 0
                "high95": ratio + _Z * error,
            }
        )
    return pd.DataFrame(rows)


def binned(rates: Floats, exposure: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Bins of equal exposure by ascending rate, from 1; equal rates may be parted."""
    order = np.lexsort((np.arange(len(rates)), rates))
    before = np.cumsum(exposure[order]) - exposure[order] / 2
    found = np.empty(len(rates), np.int64)
    found[order] = np.minimum(bins, (before / exposure.sum() * bins).astype(np.int64) + 1)
    return found


def lift(frame: pd.DataFrame, expected: str) -> pd.DataFrame:
    """Actual and expected a year in deciles of the expected rate."""
    exposure = frame["exposure"].to_numpy(np.float64)
    rates = frame[expected].to_numpy(np.float64) / exposure
    return actual_expected(frame, expected, binned(rates, exposure))


def double_lift(frame: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Deciles of one expectation over another, with both beside what happened.

    Where the first is right to differ, `actual` follows it and leaves the other.
    """
    exposure = frame["exposure"].to_numpy(np.float64)
    ratio = frame[one].to_numpy(np.float64) / frame[other].to_numpy(np.float64)
    decile = binned(ratio, exposure)
    summed = frame.groupby(decile)[["exposure", ACTUAL, one, other]].sum()
    found = summed[[ACTUAL, one, other]].div(summed["exposure"], axis=0)
    found.insert(0, "exposure", summed["exposure"])
    return found.rename_axis("decile").reset_index()


def lorenz(frame: pd.DataFrame, expected: str) -> pd.DataFrame:
    """Share of losses by share of exposure, those who are expected to cost least first."""
    losses, exposure = _ordered(frame, expected)
    bought = np.concatenate(([0.0], np.cumsum(exposure) / exposure.sum()))
    paid = np.concatenate(([0.0], np.cumsum(losses) / losses.sum()))
    at = np.linspace(0, 1, _POINTS)
    return pd.DataFrame({"exposure": at, "losses": np.interp(at, bought, paid)})


def gini(frame: pd.DataFrame, expected: str, *, seed: int, draws: int = DRAWS) -> dict[str, float]:
    """Twice the area between the Lorenz curve and the diagonal, with a bootstrap interval.

    People are drawn with weights of mean 1 (Poisson), which is a bootstrap that needs no copies.
    """
    rates = frame[expected].to_numpy(np.float64) / frame["exposure"].to_numpy(np.float64)
    order = np.argsort(rates, kind="stable")
    losses = frame[ACTUAL].to_numpy(np.float64)[order]
    exposure = frame["exposure"].to_numpy(np.float64)[order]
    person = pd.factorize(frame["person_id"])[0][order]
    drawn = np.random.default_rng(np.random.SeedSequence(seed))
    found = []
    for _ in range(draws):
        weights = drawn.poisson(1.0, person.max() + 1)[person]
        found.append(_gini(losses * weights, exposure * weights))
    low, high = np.quantile(found, [0.025, 0.975])
    return {"gini": _gini(losses, exposure), "low95": float(low), "high95": float(high)}


def calibration(deciles: pd.DataFrame) -> dict[str, float]:
    """Intercept and slope of actual on expected over deciles, both over the mean; 0 and 1 is right.

    A slope below 1 says that the expectation spreads people further than they are apart.
    """
    weights = deciles["exposure"].to_numpy(np.float64)
    mean = float(np.average(deciles["actual_a_year"], weights=weights))
    x = deciles["expected_a_year"].to_numpy(np.float64) / mean
    y = deciles["actual_a_year"].to_numpy(np.float64) / mean
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(weights))
    return {"intercept": float(intercept), "slope": float(slope)}


def residuals(frame: pd.DataFrame, claims: str, expected: str) -> pd.DataFrame:
    """People's Pearson residuals (claims − expected) / √expected: how many lie where.

    Counts of one person over all their segments; beside them what Poisson counts of the same
    expectation would give, so that over-dispersion shows as heavier tails.
    """
    people = frame.groupby("person_id")[[claims, expected]].sum()
    wanted = people[expected].to_numpy(np.float64)
    kept = wanted > 0
    wanted, happened = wanted[kept], people[claims].to_numpy(np.float64)[kept]
    edges = np.array([-np.inf, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, np.inf])
    drawn = np.random.default_rng(np.random.SeedSequence(len(wanted))).poisson(wanted)
    seen, _ = np.histogram((happened - wanted) / np.sqrt(wanted), edges)
    poisson, _ = np.histogram((drawn - wanted) / np.sqrt(wanted), edges)
    return pd.DataFrame(
        {
            "from": edges[:-1],
            "to": edges[1:],
            "people": seen / len(wanted),
            "poisson": poisson / len(wanted),
        }
    )


def amount_residuals(ratios: Floats, dispersion: float) -> pd.DataFrame:
    """Amounts of claims over what was expected of them: how many lie where.

    Beside them what Gamma amounts of the same mean and dispersion would give: a heavier tail says
    that large claims are more than chance, a lighter one that the cap cuts them.
    """
    edges = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, np.inf])
    seen, _ = np.histogram(ratios, edges)
    shape = 1 / dispersion
    below = special.gammainc(shape, edges * shape / float(np.mean(ratios)))
    return pd.DataFrame(
        {
            "ratio_from": edges[:-1],
            "ratio_to": edges[1:],
            "share_of_claims": seen / len(ratios),
            "gamma": np.diff(below),
        }
    )


def _ordered(frame: pd.DataFrame, expected: str) -> tuple[Floats, Floats]:
    exposure = frame["exposure"].to_numpy(np.float64)
    order = np.argsort(frame[expected].to_numpy(np.float64) / exposure, kind="stable")
    return frame[ACTUAL].to_numpy(np.float64)[order], exposure[order]


def _gini(losses: Floats, exposure: Floats) -> float:
    bought = np.cumsum(exposure) / exposure.sum()
    paid = np.cumsum(losses) / losses.sum()
    steps = np.diff(bought, prepend=0.0)
    area = float(np.sum(steps * (paid + np.concatenate(([0.0], paid[:-1]))) / 2))
    return 1 - 2 * area
