"""Time until a first event in bands: months, and parts of months in which many have it.

Rows are (start, stop] in days since a person's origin. What is summed over a row's bands depends
on its two ends alone, and all rows together have few different days: sums are kept for days, so
that no row is ever cut into its bands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.pricing.fitting.models.design import Floats

_MONTH = 365.25 / 12
# A month with more than this share of the first events is cut into so many parts. Where most have
# their first event early, who is left is healthier by the week: one rate for the whole month put
# the coefficients 0.03 to 0.07 standard errors apart from Cox', a quarter of it below 0.02. Cut in
# full months alone (a twentieth), they came to be 0.038 apart. Days would not be better: so short,
# bands count an event's whole day and treat ties as Breslow does; nor a cut where hardly anybody is
# left, whose bands have no events to tell their rate.
_FULL_MONTH, _PARTS = 0.0025, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBands:
    """The different days of all rows, and the bands that they fall into.

    `start` and `stop` number each row's days. A day ends its band: the last day of a month is of
    that month. `first_band` has the band that a row begins in, the next one for such a day.
    """

    start: NDArray[np.intp]
    stop: NDArray[np.intp]
    days: Floats
    edges: Floats
    band: NDArray[np.intp]  # of each day
    first_band: NDArray[np.intp]

    @property
    def count(self) -> int:
        """How many bands there are."""
        return len(self.edges) - 1

    def lived(self, rates: Floats) -> Floats:
        """For each day: the sum of rate × days in the band, from the origin to that day.

        `rates` have a row for each band; several columns are summed each for itself.
        """
        lengths, into = _beside(np.diff(self.edges), rates), _beside(self._into(), rates)
        whole = np.cumsum(rates * lengths, axis=0)
        before = np.concatenate((np.zeros_like(whole[:1]), whole[:-1]))
        found: Floats = before[self.band] + rates[self.band] * into
        return found

    def held(self, weights: Floats) -> Floats:
        """For each band: the sum of weight × days in it, of all from the origin to their day.

        `weights` have a row for each day and are the adjoint of `lived`: Σ rate × held(weights)
        is Σ weight × lived(rate). A start weighs less than nothing: what was before it falls away.
        """
        within, ends = np.zeros((2, self.count, weights.shape[1]))
        np.add.at(within, self.band, weights * self._into()[:, None])
        np.add.at(ends, self.band, weights)
        beyond = np.cumsum(ends[::-1], axis=0)[::-1] - ends
        found: Floats = within + beyond * np.diff(self.edges)[:, None]
        return found

    def take(self, rows: NDArray[np.intp]) -> TimeBands:
        """The same days and bands, of chosen rows."""
        return replace(self, start=self.start[rows], stop=self.stop[rows])

    def touched(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """In how many of the chosen bands each row is at risk."""
        sums = np.concatenate(([0], np.cumsum(chosen)))
        found: NDArray[np.intp] = sums[self.band[self.stop] + 1] - sums[self.first_band[self.start]]
        return found

    def _into(self) -> Floats:
        found: Floats = self.days - self.edges[self.band]
        return found


def time_bands(start: Floats, stop: Floats, event: NDArray[np.bool_]) -> TimeBands:
    """The bands of rows (start, stop], from the origin until the last of them has ended."""
    numbers, days = pd.factorize(np.concatenate((start, stop)), sort=True)
    begins, ends = numbers[: len(start)], numbers[len(start) :]
    edges = _edges(days, np.bincount(ends[event], minlength=len(days)))
    return TimeBands(
        start=begins,
        stop=ends,
        days=days,
        edges=edges,
        band=np.maximum(np.searchsorted(edges, days, side="left") - 1, 0),
        first_band=np.searchsorted(edges, days, side="right") - 1,
    )


def _edges(days: Floats, events: NDArray[np.intp]) -> Floats:
    """The first day of each band and the end of the last: months, and parts of full ones."""
    months = np.arange(0.0, days[-1] + _MONTH, _MONTH)
    month = np.maximum(np.searchsorted(months, days, side="left") - 1, 0)
    held = np.bincount(month, weights=events, minlength=len(months) - 1)
    parts = np.where(held > _FULL_MONTH * events.sum(), _PARTS, 1)
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    begins = np.repeat(months[:-1], parts) + within / np.repeat(parts, parts) * _MONTH
    return np.append(begins, months[-1])


def _beside(values: Floats, rates: Floats) -> Floats:
    return values if rates.ndim == 1 else values[:, None]
