"""From a cause's models to its factor tables: raw, credible, monotone, bounded.

raw = frequency × severity relativity. A thin level takes credibility Z towards its complement:
the trend over the bands of a number, the mean of a category's levels. Z is Bühlmann–Straub's, and
at least the square root of claims / `thin_claims`, limited fluctuation's rule for partial
credibility (Klugman, Panjer and Willmot, Loss Models, chapter on limited fluctuation): it reaches 1
where a level is no longer thin, so that one claim more or less moves nothing by a step, and no
thin level fluctuates more than one with `thin_claims` claims. A declared direction is
held by isotonic regression on the log scale (pooled adjacent violators, weighted by claims); an
outcome's steps are capped so that one reading moves the factor by no more than the settings say.
How sure each step leaves the relativities is told by `intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.pricing.core.tariff import scaled
from services.pricing.fitting.models.coding import Coded
from services.pricing.fitting.models.credibility import buhlmann_straub
from services.pricing.fitting.models.design import Codes, Floats
from services.pricing.fitting.models.factors import Bands, Control
from services.pricing.fitting.models.fit_result import CellFit, TableFit
from services.pricing.fitting.models.intervals import (
    Complement,
    Levels,
    credible_covariance,
    indicated_interval,
    raw_interval,
)
from services.pricing.fitting.models.settings import FitSettings

# Persons are dealt into so many parts, whose differences are the process variance.
PARTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One model's say on a table: log relativities, NaN where it has none, and their covariance."""

    logs: Floats
    covariance: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the segments of a table hold; `expected` are claims at the table's base level."""

    codes: Codes
    parts: NDArray[np.intp]
    exposure: Floats
    claims: Floats
    amount: Floats
    expected: Floats

    def by_cell(self, values: Floats, cells: int) -> Floats:
        """Sums over the cells of the table; segments that stand in none are left out."""
        shown = self.codes >= 0
        sums = np.bincount(self.codes[shown], weights=values[shown], minlength=cells)
        return sums.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A table and what shaping did to it, for the warnings."""

    table: TableFit
    base: str
    pooled: tuple[str, ...]  # levels that the declared direction moved by a tenth or more
    bounded: tuple[str, ...]  # levels that a bound holds
    credible: tuple[float, ...]  # each level after credibility, before direction and bounds


def shaped(
    coded: Coded, frequency: Effect, severity: Effect, seen: Seen, settings: FitSettings
) -> Shaped:
    """The table of one factor of one cause."""
    factor, count = coded.factor, len(coded.names)
    claims = seen.by_cell(seen.claims, count)
    expected = seen.by_cell(seen.expected, count)
    thin = claims < settings.thin_claims
    rate = np.where(np.isfinite(frequency.logs), np.exp(frequency.logs), 0.0)
    cost = np.where(np.isfinite(severity.logs), np.exp(severity.logs), 1.0)
    raw = rate * cost
    towards = _complement(coded, raw, claims, expected)
    told = _told(seen, towards, count)
    partial = np.sqrt(claims / settings.thin_claims)
    trust = np.where(thin, np.maximum(told.trust, partial), 1.0)
    certain = slice(coded.base, None if factor.control is not None else coded.base + 1)
    trust[certain] = 1.0
    credible = trust * raw + (1 - trust) * towards.values
    directed = _directed(coded, credible, claims)
    least, greatest = settings.relativity_least, settings.relativity_greatest
    if factor.control is not None:
        least = max(least, factor.control.least)

    def bounded(values: Floats) -> Floats:
        capped = values if factor.control is None else _capped(coded, factor.control, values)
        return np.clip(capped, least, greatest)

    indicated = bounded(directed)
    covariance = frequency.covariance + severity.covariance
    low, high = indicated_interval(
        credible,
        credible_covariance(covariance, raw, trust, towards, told),
        lambda drawn: bounded(_directed(coded, drawn, claims)),
        indicated,
    )
    exposed = seen.by_cell(seen.exposure, count)
    raw_low, raw_high = raw_interval(raw, np.diag(covariance), expected, cost)
    table = TableFit(
        name=factor.name,
        feature=factor.feature,
        kind="bands" if isinstance(factor.shape, Bands) else "categories",
        layer=factor.layer,
        monotone=factor.monotone,
        applies_to=factor.applies_to,
        absent_factor=None if factor.control is None else float(indicated.max()),
        cells=tuple(
            CellFit(
                level=None if isinstance(factor.shape, Bands) else coded.names[cell],
                first=factor.shape.edges[cell][0] if isinstance(factor.shape, Bands) else None,
                last=factor.shape.edges[cell][1] if isinstance(factor.shape, Bands) else None,
                exposure=exposure,
                claims=int(claims[cell]),
                amount_minor=amount,
                frequency_relativity=float(rate[cell]),
                severity_relativity=float(cost[cell]),
                raw=float(raw[cell]),
                raw_low95=float(raw_low[cell]) if exposure else None,
                raw_high95=float(raw_high[cell]) if exposure else None,
                credibility=float(trust[cell]),
                indicated=float(indicated[cell]),
                low95=float(low[cell]) if exposure else None,
                high95=float(high[cell]) if exposure else None,
                thin=bool(thin[cell]),
            )
            for cell, (exposure, amount) in enumerate(
                zip(
                    exposed.tolist(),
                    seen.by_cell(seen.amount, count).tolist(),
                    strict=True,
                )
            )
        ),
    )
    moved = np.abs(directed - credible) >= 0.1 * credible
    held = np.abs(indicated - directed) > 1e-9
    return Shaped(
        table=table,
        base=coded.names[coded.base],
        pooled=tuple(name for name, is_so in zip(coded.names, moved, strict=True) if is_so),
        bounded=tuple(name for name, is_so in zip(coded.names, held, strict=True) if is_so),
        credible=tuple(credible.tolist()),
    )


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The nearest values that never fall, by weighted least squares (pooled adjacent violators).

    >>> isotonic(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, heavy, many), (other, light, few) = blocks.pop(-2), blocks.pop(-1)
            both = heavy + light
            blocks.append(((one * heavy + other * light) / both, both, many + few))
    found = np.array([value for value, _, _ in blocks])
    return np.asarray(np.repeat(found, [many for _, _, many in blocks]), dtype=np.float64)


def isotonic_rows(values: Floats, weights: Floats) -> Floats:
    """`isotonic` of each row at once, to rounding.

    The greatest over beginnings of the least over ends of the weighted means between them, which
    is what pooling comes to (Barlow and others, Statistical Inference under Order Restrictions).
    """
    size = values.shape[1]
    nothing = np.zeros((len(values), 1))
    sums = np.concatenate((nothing, np.cumsum(values * weights, axis=1)), axis=1)
    heavy = np.concatenate(([0.0], np.cumsum(weights)))
    found = np.full_like(values, -np.inf)
    for first in range(size):
        beyond = slice(first + 1, None)
        means = (sums[:, beyond] - sums[:, [first]]) / (heavy[beyond] - heavy[first])
        # From each end on, the least mean of those that reach as far or further.
        least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        found[:, first:] = np.maximum(found[:, first:], least)
    return found


def edges_within(starts: list[int], reach: float) -> int:
    """The most edges between bands that one move of less than `reach` can cross, at least 1.

    >>> edges_within([70, 75, 80, 85], 13.75), edges_within([70, 75, 80, 85], 4.0)
    (3, 1)
    """
    return max(sum(low <= other < low + reach for other in starts) for low in starts)


def _complement(coded: Coded, raw: Floats, claims: Floats, expected: Floats) -> Complement:
    """What a thin level is taken for: the trend over bands, else the mean of the levels."""
    seen = (raw > 0) & (claims > 0)
    size = len(raw)
    if isinstance(coded.factor.shape, Bands) and seen.sum() > 2:
        place = np.arange(size, dtype=np.float64)
        root = np.sqrt(claims[seen])
        columns = np.stack([np.ones(int(seen.sum())), place[seen]], axis=1)
        line = np.linalg.pinv(columns * root[:, None]) * root
        moves = np.zeros((size, size))
        moves[:, seen] = np.stack([np.ones(size), place], axis=1) @ line
        values = np.exp(moves[:, seen] @ np.log(raw[seen]))
        return Complement(values=values, moves=moves, fitted=2)
    total = expected.sum()
    share = raw * expected
    mean = float(share.sum() / total) if total > 0 else 1.0
    held = share.sum()
    moves = np.tile(share / held if held > 0 else np.zeros(size), (size, 1))
    return Complement(values=np.full(size, mean), moves=moves, fitted=1)


def _told(seen: Seen, towards: Complement, count: int) -> Levels:
    """What the levels say of one another, all relative to the complement.

    Of claims over those expected at the complement, by parts of the persons.
    """
    shown = seen.codes >= 0
    place = seen.codes[shown].astype(np.int64) * PARTS + seen.parts[shown]
    size = count * PARTS
    claims = np.bincount(place, weights=seen.claims[shown], minlength=size)
    weights = np.bincount(place, weights=seen.expected[shown], minlength=size)
    weights = weights * np.repeat(towards.values, PARTS)
    held = weights > 0
    levels = np.repeat(np.arange(count), PARTS)[held]
    nothing = np.zeros(count)
    seen_levels = len(np.unique(levels))
    if seen_levels < 2 or len(levels) == seen_levels:
        return Levels(trust=nothing, between=0.0, unsure=nothing)
    whole = buhlmann_straub(levels, claims[held] / weights[held], weights[held])
    told = whole.groups.reindex(range(count))
    between = max(whole.between, 0.0)
    process = whole.within / told["weight"].to_numpy(dtype=np.float64)
    total = process + between
    unsure = 2 / max(seen_levels - towards.fitted - 2, 1) * np.nanmean(total) / total
    return Levels(
        trust=told["credibility"].fillna(0.0).to_numpy(),
        between=between,
        unsure=np.nan_to_num(unsure),
    )


def _directed(coded: Coded, values: Floats, claims: Floats) -> Floats:
    """The declared direction held; the base stays 1, because tables are relative to it."""
    direction, base = coded.factor.monotone, slice(coded.base, coded.base + 1)
    if direction != "no":
        sign = 1.0 if direction == "rising" else -1.0
        logs = np.log(np.maximum(values, 1e-9))
        pooled = isotonic if values.ndim == 1 else isotonic_rows
        values = np.exp(sign * pooled(sign * logs, claims + 0.5))
    return np.asarray(values / values[..., base], dtype=np.float64)


def _capped(coded: Coded, control: Control, values: Floats) -> Floats:
    """Steps from the worst band down, none larger than one reading may move the factor."""
    bands = coded.factor.shape
    if not isinstance(bands, Bands):
        raise TypeError("an outcome has bands")
    starts = [scaled(first, bands.places) for first in bands.firsts]
    lowest = scaled(bands.plausible_first or bands.firsts[0], bands.places)
    reach = (starts[-1] - lowest) * control.months_of_one_reading / 12
    most = np.log1p(control.one_reading_at_most) / edges_within(starts[1:], reach)
    steps = np.minimum(np.diff(np.log(values)), most)
    below = np.cumsum(steps[..., ::-1], axis=-1)[..., ::-1]
    last = np.zeros((*values.shape[:-1], 1))
    return np.asarray(np.exp(-np.concatenate((below, last), axis=-1)), dtype=np.float64)
