"""Trend of the amount of a claim: dated yearly rates, compounded by the day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.pricing.fitting.experience.splitting import DAYS_A_YEAR

Floats = npt.NDArray[np.float64]


def trend_factors(
    event_days: pd.Series[pd.Timestamp], rates: Sequence[tuple[date, float]], to_day: date
) -> Floats:
    """What each amount is multiplied by to stand at the level of `to_day`.

    Each rate holds from its day on, the first also before it. Without rates every factor is 1.

    >>> days = pd.Series(pd.to_datetime(["2025-07-01", "2026-07-01"]))
    >>> trend_factors(days, [(date(2000, 1, 1), 0.06)], date(2026, 7, 1)).round(4).tolist()
    [1.06, 1.0]
    """
    if not rates:
        return np.ones(len(event_days))
    days = event_days.to_numpy().astype("datetime64[D]").astype(np.int64).astype(np.float64)
    levels = _log_level(np.append(days, (to_day - date(1970, 1, 1)).days), rates)
    factors: Floats = np.exp(levels[-1] - levels[:-1])
    return factors


def _log_level(days: Floats, rates: Sequence[tuple[date, float]]) -> Floats:
    """Logarithm of the level on each day since 1970-01-01, up to a constant."""
    starts = np.array([(day - date(1970, 1, 1)).days for day, _ in rates], dtype=np.float64)
    slopes = np.log1p([rate for _, rate in rates])
    level: Floats = np.minimum(days - starts[0], 0) * slopes[0] / DAYS_A_YEAR
    for place, slope in enumerate(slopes):
        end = starts[place + 1] if place + 1 < len(starts) else np.inf
        level += np.clip(days - starts[place], 0, end - starts[place]) * slope / DAYS_A_YEAR
    return level
