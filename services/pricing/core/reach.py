"""How far a tariff's premiums reach: the cheapest, the dearest, and the greatest credit in it.

Every combination of the risk layer's cells is priced by the kernel itself, once without outcome
readings and once with the best of them. Where there are too many combinations a bound is given
instead, which is never narrower.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import msgspec

from services.pricing.core.features import outcome_features
from services.pricing.core.rates import Rates
from services.pricing.core.tariff import (
    E4,
    MILLION,
    BandTable,
    CategoryFeature,
    Cause,
    FactorTable,
    scaled,
)
from services.pricing.core.waterfall import gross_up, price

_MOST_COMBINATIONS = 20_000


class Reach(msgspec.Struct, frozen=True):
    """Premiums in minor units without a credit, and what the outcome layer takes off at most.

    `exact` is False for bounds.
    """

    cheapest_minor: int
    dearest_minor: int
    greatest_credit_millionths: int
    exact: bool


def reach_of(rates: Rates) -> Reach:
    """The reach of a tariff that has passed its checks."""
    choices = list(_choices(rates))
    if prod(len(some) for some, _ in choices) > _MOST_COMBINATIONS:
        return _bounds(rates)
    best = tuple(value for _, value in choices)
    plain, shares = [], []
    for values in product(*(some for some, _ in choices)):
        without = price(rates, values).premium_minor
        with_best = [v if b is None else b for v, b in zip(values, best, strict=True)]
        taken = without - price(rates, with_best).premium_minor
        plain.append(without)
        shares.append(taken * MILLION // without if without else 0)
    return Reach(min(plain), max(plain), max(shares), exact=True)


def _choices(rates: Rates) -> Iterator[tuple[list[int | None], int | None]]:
    """Per feature: the values that the grid takes, and the best value of an outcome feature."""
    tariff = rates.tariff
    outcomes = outcome_features(tariff)
    tables = [table for cause in tariff.causes for table in cause.tables]
    for feature in tariff.features:
        if isinstance(feature, CategoryFeature):
            some: list[int | None] = [
                place for place, level in enumerate(feature.levels) if level.priced
            ]
            yield (some if feature.required else [*some, None]), None
            continue
        mine = [one for one in tables if isinstance(one, BandTable) and one.feature == feature.name]
        if feature.name in outcomes:
            good = feature.priced_last if mine[0].monotone == "falling" else feature.priced_first
            yield [None], scaled(good, feature.places)
            continue
        starts = {scaled(band.first, feature.places) for table in mine for band in table.cells}
        yield [*sorted(starts), *([] if feature.required else [None])], None


def _bounds(rates: Rates) -> Reach:
    tariff = rates.tariff
    loads = tariff.large_loss_load_e4 + tariff.fixed_expense_e4
    shares = tariff.variable_expense_millionths + tariff.profit_millionths
    parts = [_of_cause(cause) for cause in tariff.causes]
    least, greatest = (sum(part[place] for part in parts) for place in (0, 1))
    unit = tariff.rounding.to_minor_units  # rounding moves a premium by less than this
    return Reach(
        max(0, gross_up(least + loads, shares) // E4 - unit),
        gross_up(greatest + loads, shares) // E4 + unit,
        max(credit for _, _, credit in parts),
        exact=False,
    )


def _of_cause(cause: Cause) -> tuple[int, int, int]:
    """Least and greatest amount of a cause without readings, and the greatest credit in it."""
    low = high = cause.base_e4
    kept = MILLION
    for table in cause.tables:
        factors = _factors(table)
        if isinstance(table, BandTable) and table.layer == "outcome":
            worst = max(factors)  # that of absent readings: leaving them out never pays
            kept = kept * min(factors) // worst
            factors = [worst]
        if table.applies_to is not None:
            factors = [*factors, MILLION]
        low = low * min(factors) // MILLION
        high = -(-high * max(factors) // MILLION)
    return low, high, MILLION - kept


def _factors(table: FactorTable) -> list[int]:
    found = [cell.factor_millionths for cell in table.cells]
    absent = table.absent_factor_millionths
    return found if absent is None else [*found, absent]
