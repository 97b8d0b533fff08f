"""By how much a single reading can lower an outcome factor, from the tariff alone."""

from __future__ import annotations

from collections.abc import Iterator

from services.pricing.core.tariff import (
    MILLION,
    BandTable,
    Basis,
    FeatureWindow,
    NumericFeature,
    Tariff,
    scaled,
)


def one_reading_effects(tariff: Tariff, basis: Basis) -> Iterator[tuple[str, int | None]]:
    """Per outcome table its path and the effect: the share by which one reading lowers the factor.

    In millionths, rounded up; None where the tariff does not say how the feature is made. The
    reading that says most is the lowest plausible one (the highest for a falling table), against
    the stratum's mean, which a month is worth at most.
    """
    features = {one.name: one for one in tariff.features if isinstance(one, NumericFeature)}
    windows = {window.feature: window for window in basis.windows}
    for c, cause in enumerate(tariff.causes):
        for t, table in enumerate(cause.tables):
            if not isinstance(table, BandTable) or table.layer != "outcome":
                continue
            path = f"tariff.causes[{c}].tables[{t}]"
            window = windows.get(table.feature)
            if window is None:
                yield path, None
            else:
                yield path, _effect(table, features[table.feature], window)


def _effect(table: BandTable, feature: NumericFeature, window: FeatureWindow) -> int:
    step = _greatest_step(table, feature, window)
    bands = [
        (scaled(band.first, feature.places), scaled(band.last, feature.places), band)
        for band in table.cells
    ]
    greatest = 0
    for low, (_, last, one) in enumerate(bands):
        for first, _, other in bands[low + 1 :]:
            if first - last > step:
                break
            small, large = sorted((one.factor_millionths, other.factor_millionths))
            greatest = max(greatest, -(-(large - small) * MILLION // large))
    return greatest


def _greatest_step(table: BandTable, feature: NumericFeature, window: FeatureWindow) -> int:
    """How far one reading moves the feature, in its steps, rounded up."""
    mean = scaled(window.stratum_mean, feature.places)
    end = feature.plausible_last if table.monotone == "falling" else feature.plausible_first
    months = window.one_reading_months * window.credibility_millionths
    moved = abs(mean - scaled(end, feature.places)) * months
    return -(-moved // (window.months * MILLION))
