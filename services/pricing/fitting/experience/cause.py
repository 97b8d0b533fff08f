"""One cause of the study: its claims brought to one level, and the offsets of its segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from services.pricing.fitting.experience.development import (
    Triangle,
    known_share,
    quarter_number,
    triangle,
)
from services.pricing.fitting.experience.elimination import FEW, Cover, elimination_table
from services.pricing.fitting.experience.large_losses import large_loss_table
from services.pricing.fitting.experience.settings import StudySettings
from services.pricing.fitting.experience.splitting import DAYS_A_YEAR
from services.pricing.fitting.experience.trend import trend_factors


@dataclass(frozen=True, kw_only=True, slots=True)
class CauseStudy:
    """What the study makes of one cause.

    `rows` are the places of its claims among all; `loss` and `excess` stand beside them. The other
    arrays have one value per segment.
    """

    cause: str
    rows: Any
    loss: Any
    excess: Any
    claims: Any
    zeros: Any
    paid: Any
    segment_loss: Any
    segment_excess: Any
    frequency_offset: Any
    severity_offset: Any
    triangle: Triangle
    elimination: pd.DataFrame
    large_losses: pd.DataFrame
    threshold_minor: int
    warnings: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """The cause's columns of the experience, by name."""
        name = self.cause
        return {
            f"claims_{name}": self.claims,
            f"zeros_{name}": self.zeros,
            f"paid_{name}_minor": self.paid,
            f"loss_{name}_minor": self.segment_loss,
            f"excess_{name}_minor": self.segment_excess,
            f"frequency_offset_{name}": self.frequency_offset,
            f"severity_offset_{name}": self.severity_offset,
        }


def study_cause(
    cause: str,
    claims: pd.DataFrame,
    segments: pd.DataFrame,
    settings: StudySettings,
    valuation_day: date,
) -> CauseStudy:
    """Trend, development, large losses and cover of one cause.

    `claims` of all causes in the order of the study (segment, cause, event_day, report_day,
    amount_minor, ground_up, deductible), `segments` by number (first, after, exposure_days,
    calendar_year, deductible, limit).
    """
    rows = np.flatnonzero((claims["cause"] == cause).to_numpy())
    mine = claims.iloc[rows]
    rates = settings.trend.get(cause, ())
    level = trend_factors(mine["event_day"], rates, settings.trend_to_day)
    paid = mine["amount_minor"].to_numpy()
    trended = paid * level
    dated = mine[["event_day", "report_day"]].assign(amount=trended)
    developed_by = triangle(
        cause, dated, valuation_day, settings.development, settings.development_source
    )
    used = developed_by.used
    now = int(quarter_number(np.array([valuation_day], "datetime64[D]"))[0])
    age = np.maximum(now - 1 - quarter_number(mine["event_day"].to_numpy()), 0)
    developed = trended * known_share(used.counts, age) / known_share(used.amounts, age)
    threshold = settings.large_loss_minor.get(cause, 0)
    loss = np.minimum(developed, threshold) if threshold else developed
    late = _late_share(segments, used.counts, now)
    cover, warnings = _cover(cause, mine, level, segments, settings)
    years = segments["exposure_days"].to_numpy() / DAYS_A_YEAR
    number = len(segments)
    segment = mine["segment"].to_numpy()
    keyed = segments[["deductible", "limit", "calendar_year"]].merge(
        cover, on=["deductible", "limit", "calendar_year"], how="left", validate="m:1"
    )
    tried = {*settings.large_loss_tried_minor, *([threshold] if threshold else [])}
    return CauseStudy(
        cause=cause,
        rows=rows,
        loss=loss,
        excess=developed - loss,
        claims=np.bincount(segment[paid > 0], minlength=number).astype(np.int32),
        zeros=np.bincount(segment[paid == 0], minlength=number).astype(np.int32),
        paid=_summed(segment, paid, number).astype(np.int64),
        segment_loss=_summed(segment, loss, number),
        segment_excess=_summed(segment, developed - loss, number),
        frequency_offset=late * keyed["frequency"].to_numpy(),
        severity_offset=keyed["severity"].to_numpy(),
        triangle=developed_by,
        elimination=cover,
        large_losses=large_loss_table(developed, float((years * late).sum()), sorted(tried)),
        threshold_minor=threshold,
        warnings=(*developed_by.warnings, *warnings),
    )


def _summed(segment: Any, amount: Any, number: int) -> Any:
    return np.bincount(segment, weights=amount, minlength=number)


def _late_share(segments: pd.DataFrame, shares: tuple[float, ...], now: int) -> Any:
    """Share of each segment's claims known by the valuation: its days' quarters' mean."""
    first = int(quarter_number(segments["first"].to_numpy().min(keepdims=True))[0])
    quarters = np.arange(first, now + 1)
    starts = (quarters * 3).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    known = known_share(shares, np.maximum(now - 1 - quarters[:-1], 0))
    grown = np.concatenate([[0.0], np.cumsum(np.diff(starts) * known)])
    begin = segments["first"].to_numpy().astype("datetime64[D]").astype(np.int64)
    end = segments["after"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return (np.interp(end, starts, grown) - np.interp(begin, starts, grown)) / (end - begin)


def _ground_up(claims: pd.DataFrame) -> tuple[Any, Any]:
    """Each claim's amount before deductible and limit, and where it was taken from what was paid.

    Of a claim of 0 without `ground_up` nothing is known: the reference cover did not pay it either.
    """
    told, paid = claims["ground_up"].to_numpy(), claims["amount_minor"].to_numpy()
    taken = ~np.isfinite(told) & (paid > 0)
    return np.where(taken, paid + claims["deductible"].to_numpy(), told), taken


def _cover(
    cause: str,
    claims: pd.DataFrame,
    level: Any,
    segments: pd.DataFrame,
    settings: StudySettings,
) -> tuple[pd.DataFrame, list[str]]:
    """Multipliers of every cover of every year, against the reference cover at the trend's day."""
    covers = (
        segments[["deductible", "limit", "calendar_year"]]
        .drop_duplicates()
        .sort_values(["calendar_year", "deductible", "limit"], ignore_index=True)
    )
    middle = pd.to_datetime(covers["calendar_year"].astype(str) + "-07-01")
    by_year = trend_factors(middle, settings.trend.get(cause, ()), settings.trend_to_day)
    lowest = float(covers["deductible"].min())
    told = claims["deductible"].to_numpy() <= max(lowest, settings.reference_deductible_minor)
    before, taken = _ground_up(claims)
    ground_up = (before * level)[told]
    ground_up = ground_up[np.isfinite(ground_up) & (ground_up > 0)]
    at_level = pd.DataFrame(
        {"deductible": covers["deductible"] * by_year, "limit": covers["limit"] * by_year}
    )
    reference = Cover(
        deductible=max(lowest, float(settings.reference_deductible_minor)), limit=np.inf
    )
    cap = float(settings.large_loss_minor.get(cause, 0)) or np.inf
    found = elimination_table(ground_up, at_level, reference, cap)
    warnings = []
    differ = len(covers[["deductible", "limit"]].drop_duplicates()) > 1
    if len(ground_up) < FEW and differ:
        warnings.append(
            f"{cause}: covers differ, and only {len(ground_up)} claims with the smallest deductible"
            " tell what they eliminate; without any the offset is 1"
        )
    if (taken & told).any() and differ:
        warnings.append(
            f"{cause}: {int((taken & told).sum())} claims without ground_up_minor tell what covers"
            " eliminate by what was paid plus the deductible: right where no share of the insured"
            " and no limit has cut it; else give ground_up_minor"
        )
    if len(ground_up) and found["frequency"].isna().any():
        most = float(covers["deductible"][found["frequency"].isna()].min())
        warnings.append(
            f"{cause}: none of the {len(ground_up)} claims exceeds a deductible of {most:.0f}: what"
            " it eliminates is unknown, and its offset is 1; take such policies out, or more years"
        )
    if lowest > settings.reference_deductible_minor:
        warnings.append(
            f"{cause}: nobody has a deductible of {settings.reference_deductible_minor} or less;"
            f" the reference is {lowest:.0f}"
        )
    for name in ("frequency", "severity"):
        covers[name] = found[name].fillna(1.0)
    covers["eliminated"], covers["told_by"] = found["eliminated"], found["claims"]
    return covers, warnings
