"""Large losses: what a threshold leaves in the severity model, and what it moves to the load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def large_loss_table(amounts: Any, exposure: float, thresholds: Sequence[int]) -> pd.DataFrame:
    """One row per threshold, the amounts being developed and at one level, in minor units.

    `above` claims; `share_of_loss` of all loss lies above the threshold; `capped_premium_minor` and
    `load_minor` a year of exposure, which add up to the same pure premium; `capped_cv` and
    `load_error` are the coefficient of variation of a capped claim and the relative standard error
    of the load: what a higher threshold buys is paid for in an uncertain model.
    """
    paid = np.asarray(amounts, dtype=np.float64)
    paid = np.sort(paid[paid > 0])
    total = float(paid.sum())
    rows = []
    for threshold in sorted(set(thresholds)):
        capped = np.minimum(paid, threshold)
        excess = paid - capped
        above = int((paid > threshold).sum())
        load = float(excess.sum())
        rows.append(
            {
                "threshold_minor": threshold,
                "above": above,
                "share_of_claims": above / len(paid) if len(paid) else 0.0,
                "share_of_loss": load / total if total else 0.0,
                "capped_premium_minor": (total - load) / exposure,
                "load_minor": load / exposure,
                "pure_premium_minor": total / exposure,
                "capped_cv": float(capped.std() / capped.mean()) if len(paid) else 0.0,
                # Poisson number of losses: the error of a sum is the root of the sum of squares.
                "load_error": float(np.sqrt((excess**2).sum()) / load) if load else 0.0,
            }
        )
    return pd.DataFrame(rows)
