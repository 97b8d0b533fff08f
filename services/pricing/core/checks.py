"""What is wrong with a tariff whose keys and types are right: every fault at once, with its path.

Bands have neither gap nor overlap, declared monotony holds, a biometric stands in one layer, and
leaving out what a person may leave out never lowers the price. Golden quotes are in `golden`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from services.common.money import currency_exponent
from services.pricing.core.basis_checks import basis_faults
from services.pricing.core.fault import Fault
from services.pricing.core.tariff import (
    Band,
    BandTable,
    CategoryFeature,
    CategoryTable,
    Cause,
    FactorBounds,
    FactorTable,
    Feature,
    LevelFactor,
    NumericFeature,
    Tariff,
    factor_text,
    scaled,
    written,
)

__all__ = ["Fault", "faults_of", "feature_faults", "flat_below", "table_faults"]

# Above this, expenses and profit would take more of the premium than claims and fixed costs.
_GREATEST_SHARES = 500_000


def faults_of(tariff: Tariff) -> list[Fault]:
    """All faults of a well-typed tariff, in the file's order; none means that it can be priced."""
    return [
        *_head(tariff),
        *feature_faults(tariff.features),
        *_names("tariff.causes", [cause.name for cause in tariff.causes]),
        *_tables(tariff),
        *_layers(tariff),
        *_unused(tariff),
        *_loads(tariff),
        *basis_faults(tariff),
        *_names("tariff.golden_quotes", [golden.name for golden in tariff.golden_quotes]),
    ]


def table_faults(
    table: FactorTable, features: tuple[Feature, ...], bounds: FactorBounds | None, path: str
) -> Iterator[Fault]:
    """Faults of one table by itself; the loader asks this also while other parts are unreadable."""
    by_name = {feature.name: feature for feature in features}
    yield from _applies_to(table, by_name, path)
    yield from _bounded(table, bounds, path)
    feature = by_name.get(table.feature)
    if feature is None:
        yield Fault(f"{path}.feature", "UNKNOWN_FEATURE", "the tariff defines no such feature")
        return
    if feature.required != (table.absent_factor_millionths is None):
        text = (
            "must be null, because the feature is required"
            if feature.required
            else "must say the factor of people without the value, because it is not required"
        )
        yield Fault(f"{path}.absent_factor_millionths", "ABSENT_FACTOR", text)
    if isinstance(table, BandTable) and isinstance(feature, NumericFeature):
        yield from _bands(table, feature, path)
        yield from _monotone(table, feature, path)
        yield from _flat(table, feature, path)
    elif isinstance(table, CategoryTable) and isinstance(feature, CategoryFeature):
        yield from _levels(table, feature, path)
    else:
        text = "bands need a numeric feature, categories one with levels"
        yield Fault(f"{path}.kind", "WRONG_KIND", text)


def _head(tariff: Tariff) -> Iterator[Fault]:
    try:
        currency_exponent(tariff.currency)
    except KeyError:
        yield Fault("tariff.currency", "UNKNOWN_CURRENCY", "not a currency that lipei settles in")
    if tariff.valid_last is not None and tariff.valid_last < tariff.valid_first:
        text = f"lies before the first valid day {tariff.valid_first}"
        yield Fault("tariff.valid_last", "IMPOSSIBLE_DATES", text)
    if tariff.factor_bounds.least_millionths > tariff.factor_bounds.greatest_millionths:
        yield Fault("tariff.factor_bounds", "BOUNDS_CROSSED", "the least is above the greatest")


def feature_faults(features: tuple[Feature, ...]) -> Iterator[Fault]:
    """Faults of the features by themselves: names, levels, places and the order of the edges."""
    yield from _names("tariff.features", [feature.name for feature in features])
    for index, feature in enumerate(features):
        path = f"tariff.features[{index}]"
        if isinstance(feature, CategoryFeature):
            yield from _names(f"{path}.levels", [level.name for level in feature.levels])
            if not any(level.priced for level in feature.levels):
                yield Fault(f"{path}.levels", "NOTHING_PRICED", "no level is priced")
        else:
            yield from _ranges(feature, path)


def _ranges(feature: NumericFeature, path: str) -> Iterator[Fault]:
    edges = {}
    for name in ("plausible_first", "priced_first", "priced_last", "plausible_last"):
        try:
            edges[name] = scaled(getattr(feature, name), feature.places)
        except ValueError as error:
            yield Fault(f"{path}.{name}", "WRONG_PLACES", str(error))
    for (lower, low), (upper, high) in pairwise(edges.items()):
        if low > high:
            yield Fault(f"{path}.{upper}", "BOUNDS_CROSSED", f"lies below {lower}")
    try:
        flat = flat_below(feature)
    except ValueError as error:
        yield Fault(f"{path}.flat_below", "WRONG_PLACES", str(error))
        return
    if flat is not None and not edges.get("plausible_first", flat) <= flat <= edges.get(
        "plausible_last", flat
    ):
        text = "lies outside the feature's plausible range"
        yield Fault(f"{path}.flat_below", "BOUNDS_CROSSED", text)


def _tables(tariff: Tariff) -> Iterator[Fault]:
    for c, cause in enumerate(tariff.causes):
        path = f"tariff.causes[{c}].tables"
        yield from _names(path, [table.name for table in cause.tables])
        for t, table in enumerate(cause.tables):
            yield from table_faults(table, tariff.features, tariff.factor_bounds, f"{path}[{t}]")
        yield from _twice(cause, path)


def _twice(cause: Cause, path: str) -> Iterator[Fault]:
    for t, table in enumerate(cause.tables):
        for other in cause.tables[:t]:
            if other.feature == table.feature and not _disjoint(other, table):
                text = f"table {other.name} of this cause already prices {table.feature}"
                yield Fault(f"{path}[{t}].feature", "PRICED_TWICE", text)


def _disjoint(one: FactorTable, other: FactorTable) -> bool:
    if one.applies_to is None or other.applies_to is None:
        return False
    same = one.applies_to.feature == other.applies_to.feature
    return same and not set(one.applies_to.levels) & set(other.applies_to.levels)


def _applies_to(table: FactorTable, by_name: dict[str, Feature], path: str) -> Iterator[Fault]:
    if table.applies_to is None:
        return
    gate = by_name.get(table.applies_to.feature)
    if not isinstance(gate, CategoryFeature) or not gate.required:
        text = "must name a required feature with levels"
        yield Fault(f"{path}.applies_to.feature", "UNKNOWN_FEATURE", text)
        return
    known = {level.name for level in gate.levels}
    yield from _names(f"{path}.applies_to.levels", list(table.applies_to.levels))
    for index, level in enumerate(table.applies_to.levels):
        if level not in known:
            text = f"{gate.name} has no such level"
            yield Fault(f"{path}.applies_to.levels[{index}]", "UNKNOWN_LEVEL", text)


def _bounded(table: FactorTable, bounds: FactorBounds | None, path: str) -> Iterator[Fault]:
    if bounds is None:
        return
    cells: Sequence[Band | LevelFactor] = table.cells
    places = [
        (f"{path}.cells[{index}].factor_millionths", cell.factor_millionths)
        for index, cell in enumerate(cells)
    ]
    if table.absent_factor_millionths is not None:
        places.append((f"{path}.absent_factor_millionths", table.absent_factor_millionths))
    least, greatest = bounds.least_millionths, bounds.greatest_millionths
    for where, factor in places:
        if not least <= factor <= greatest:
            text = f"lies outside {factor_text(least)} to {factor_text(greatest)} (factor_bounds)"
            yield Fault(where, "FACTOR_OUT_OF_BOUNDS", text)


def _bands(table: BandTable, feature: NumericFeature, path: str) -> Iterator[Fault]:
    edges: list[tuple[int, int] | None] = []
    for index, band in enumerate(table.cells):
        pair = []
        for name, text in (("first", band.first), ("last", band.last)):
            try:
                pair.append(scaled(text, feature.places))
            except ValueError as error:
                yield Fault(f"{path}.cells[{index}].{name}", "WRONG_PLACES", str(error))
        if len(pair) == 2 and pair[0] > pair[1]:
            text = "the band ends before it begins"
            yield Fault(f"{path}.cells[{index}].last", "BAND_REVERSED", text)
        edges.append((pair[0], pair[1]) if len(pair) == 2 else None)
    try:
        first, last = (
            scaled(text, feature.places) for text in (feature.priced_first, feature.priced_last)
        )
    except ValueError:
        return  # the feature itself is reported
    covered: list[tuple[int, int] | None] = [(first - 1, first - 1), *edges, (last + 1, last + 1)]
    for index, (before, after) in enumerate(pairwise(covered)):
        if before is None or after is None or after[0] == before[1] + 1:
            continue
        end = index == len(edges)
        where = f"{path}.cells[{len(edges) - 1}].last" if end else f"{path}.cells[{index}].first"
        if after[0] > before[1] + 1:
            low, high = before[1] + 1, after[0] - 1
            text = f"nothing prices {_span(low, high, feature.places)}"
            yield Fault(where, "GAP", text)
        elif end or index == 0:
            text = (
                f"reaches outside the priced range {feature.priced_first} to {feature.priced_last}"
            )
            yield Fault(where, "OUTSIDE_PRICED_RANGE", text)
        else:
            low, high = after[0], min(before[1], max(after))
            text = f"two bands price {_span(low, high, feature.places)}"
            yield Fault(where, "OVERLAP", text)


def _span(low: int, high: int, places: int) -> str:
    if low == high:
        return written(low, places)
    return f"{written(low, places)} to {written(high, places)}"


def _monotone(table: BandTable, feature: NumericFeature, path: str) -> Iterator[Fault]:
    if feature.biometric and table.monotone == "no":
        text = "a biometric must be declared rising or falling"
        yield Fault(f"{path}.monotone", "BIOMETRIC_NOT_MONOTONE", text)
    sign = {"no": 0, "rising": 1, "falling": -1}[table.monotone]
    for index, (before, after) in enumerate(pairwise(table.cells), 1):
        if sign * (after.factor_millionths - before.factor_millionths) < 0:
            text = f"breaks the declared {table.monotone} order"
            yield Fault(f"{path}.cells[{index}].factor_millionths", "NOT_MONOTONE", text)
    if table.layer != "outcome":
        return
    greatest = max(cell.factor_millionths for cell in table.cells)
    absent = table.absent_factor_millionths
    if absent is None or absent < greatest:
        text = f"below {factor_text(greatest)}, leaving the value out would lower a price"
        yield Fault(f"{path}.absent_factor_millionths", "ABSENCE_PAYS", text)


def flat_below(feature: NumericFeature) -> int | None:
    """The clinical lower bound in steps of the feature; None where none is said.

    Raises: ValueError when it has other places than the feature.
    """
    if isinstance(feature.flat_below, msgspec.UnsetType):
        return None
    return scaled(feature.flat_below, feature.places)


def _flat(table: BandTable, feature: NumericFeature, path: str) -> Iterator[Fault]:
    try:
        bound = flat_below(feature)
        firsts = [scaled(band.first, feature.places) for band in table.cells]
    except ValueError:
        return  # told of the feature or of the band
    if bound is None:
        return
    below = [
        (index, band.factor_millionths)
        for index, (band, first) in enumerate(zip(table.cells, firsts, strict=True))
        if first < bound
    ]
    for index, factor in below[1:]:
        if factor != below[0][1]:
            text = f"below {feature.flat_below} factors do not change: it is the clinical bound"
            yield Fault(f"{path}.cells[{index}].factor_millionths", "NOT_FLAT", text)


def _levels(table: CategoryTable, feature: CategoryFeature, path: str) -> Iterator[Fault]:
    yield from _names(f"{path}.cells", [cell.level for cell in table.cells])
    priced = {level.name: level.priced for level in feature.levels}
    for index, cell in enumerate(table.cells):
        if not priced.get(cell.level, False):
            text = f"{feature.name} has no priced level of this name"
            yield Fault(f"{path}.cells[{index}].level", "UNKNOWN_LEVEL", text)
    cells = {cell.level for cell in table.cells}
    for name in (name for name, is_priced in priced.items() if is_priced and name not in cells):
        yield Fault(f"{path}.cells", "GAP", f"nothing prices {feature.name} {name}")


def _layers(tariff: Tariff) -> Iterator[Fault]:
    biometrics = {
        feature.name: feature.biometric
        for feature in tariff.features
        if isinstance(feature, NumericFeature)
    }
    layers: dict[str, str] = {}
    for c, cause in enumerate(tariff.causes):
        for t, table in enumerate(cause.tables):
            if not isinstance(table, BandTable):
                continue
            where = f"tariff.causes[{c}].tables[{t}].layer"
            biometric = biometrics.get(table.feature)
            if table.layer == "outcome" and biometric is False:
                yield Fault(where, "NOT_AN_OUTCOME", "only a biometric stands in the outcome layer")
            if biometric and layers.setdefault(table.feature, table.layer) != table.layer:
                text = f"{table.feature} already stands in the {layers[table.feature]} layer"
                yield Fault(where, "BIOMETRIC_IN_TWO_LAYERS", text)


def _unused(tariff: Tariff) -> Iterator[Fault]:
    tables = [table for cause in tariff.causes for table in cause.tables]
    used = {table.feature for table in tables}
    used |= {table.applies_to.feature for table in tables if table.applies_to is not None}
    for index, feature in enumerate(tariff.features):
        if feature.name not in used:
            text = "no table reads it; nobody is asked for facts that price nothing"
            yield Fault(f"tariff.features[{index}]", "UNUSED_FEATURE", text)


def _loads(tariff: Tariff) -> Iterator[Fault]:
    shares = tariff.variable_expense_millionths + tariff.profit_millionths
    if shares > _GREATEST_SHARES:
        text = (
            f"with the variable expense it is {factor_text(shares)} of the premium; "
            f"at most {factor_text(_GREATEST_SHARES)}"
        )
        yield Fault("tariff.profit_millionths", "LOADS_TOO_HIGH", text)
    if not any(cause.base_e4 for cause in tariff.causes):
        yield Fault("tariff.causes", "NO_RISK", "every base amount is 0")


def _names(path: str, names: list[str]) -> Iterable[Fault]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Fault(f"{path}[{index}]", "DUPLICATE_NAME", f"{name} stands here twice")
