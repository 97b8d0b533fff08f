"""Bühlmann–Straub credibility with weights: how far a thin group's own mean may be trusted.

Unbiased estimators of the two variances (Bühlmann and Gisler 2005, section 4.8; the `unbiased`
method of R's actuar). Knows no book: values, weights and groups come in as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True, kw_only=True)
class Credibility:
    """What the collective says, and how much of it holds for each group.

    `within` is EPV, the expected process variance for weight 1; `between` is VHM, the variance of
    the hypothetical means, as estimated (it may come out negative). `groups` has one row per group
    with weight, mean, credibility Z and premium = Z × mean + (1 − Z) × collective.
    """

    collective: float
    within: float
    between: float
    groups: pd.DataFrame

    @property
    def k(self) -> float:
        """EPV / VHM, the weight at which Z is one half; infinite where groups do not differ."""
        return self.within / self.between if self.between > 0 else float("inf")


def buhlmann_straub(groups: ArrayLike, values: ArrayLike, weights: ArrayLike) -> Credibility:
    """Credibility of each group from repeated observations of it.

    `values` are ratios (claims per year, cost per year, a month's mean), `weights` their volumes;
    observations of weight 0 say nothing and are left out. Where VHM ≤ 0 no group differs from the
    others by more than chance: Z = 0 for all.

    >>> buhlmann_straub(["a", "a", "b", "b"], [1.0, 3.0, 6.0, 8.0], [1, 1, 1, 1]).between
    11.5

    Raises: ValueError when a value is not finite, a weight is negative or not finite, fewer than
    two groups are left, or no group is left with two observations.
    """
    seen = pd.DataFrame(
        {
            "group": np.asarray(groups),
            "value": np.asarray(values, dtype=float),
            "weight": np.asarray(weights, dtype=float),
        }
    )
    _refuse(seen)
    seen = seen[seen["weight"] > 0]
    seen["product"] = seen["value"] * seen["weight"]
    by = seen.groupby("group", sort=True).agg(
        weight=("weight", "sum"), product=("product", "sum"), seen=("value", "size")
    )
    repeats = int((by["seen"] - 1).sum())
    if len(by) < 2 or repeats < 1:
        raise ValueError(
            "credibility needs two groups or more, and one of them observed twice or more"
        )
    by["mean"] = by["product"] / by["weight"]
    own = seen["group"].map(by["mean"])
    within = float((seen["weight"] * (seen["value"] - own) ** 2).sum() / repeats)
    between, total = _between(by, within)
    if between > 0:
        by["credibility"] = by["weight"] / (by["weight"] + within / between)
        collective = float((by["credibility"] * by["mean"]).sum() / by["credibility"].sum())
    else:
        by["credibility"] = 0.0
        collective = float(by["product"].sum() / total)
    by["premium"] = by["credibility"] * by["mean"] + (1 - by["credibility"]) * collective
    return Credibility(
        collective=collective,
        within=within,
        between=between,
        groups=by[["weight", "mean", "credibility", "premium"]],
    )


def _between(by: pd.DataFrame, within: float) -> tuple[float, float]:
    total = float(by["weight"].sum())
    mean = float(by["product"].sum() / total)
    spread = float((by["weight"] * (by["mean"] - mean) ** 2).sum())
    room = total - float((by["weight"] ** 2).sum()) / total
    return (spread - (len(by) - 1) * within) / room, total


def _refuse(seen: pd.DataFrame) -> None:
    weight: Any = seen["weight"]
    faults = [
        fault
        for fault, found in (
            ("a value is not finite", ~np.isfinite(seen.loc[weight > 0, "value"])),
            ("a weight is not finite or below 0", ~np.isfinite(weight) | (weight < 0)),
        )
        if found.any()
    ]
    if faults:
        raise ValueError("credibility: " + "; ".join(faults))
