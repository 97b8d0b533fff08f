"""A tariff made ready to price: edges as whole numbers, cells in order, every text written once.

Compiled at start so that a quote is look-ups and integer arithmetic. Takes a tariff that has
passed its checks; knows no request.
"""

from __future__ import annotations

import msgspec

from services.pricing.core.tariff import (
    MILLION,
    AppliesTo,
    BandTable,
    CategoryFeature,
    CategoryTable,
    Cause,
    Feature,
    NumericFeature,
    Tariff,
    factor_text,
    scaled,
    version_of,
)


class Label(msgspec.Struct, frozen=True, gc=False):
    """What a step is called, what decided it, and its factor (0 where the step adds)."""

    step: str
    cell: str
    factor_millionths: int
    text_zh: str
    text_en: str


class FactorLookup(msgspec.Struct, frozen=True):
    """One table: the feature's position, the first value of each band, and a label per cell.

    `starts` is None for a category, whose values are positions of levels; a level without a price
    has None as label and never reaches the kernel. `gate` is the position of the category that
    decides whether the table applies, -1 for everybody.
    """

    feature: int
    starts: tuple[int, ...] | None
    labels: tuple[Label | None, ...]
    absent: Label | None
    gate: int
    gate_levels: frozenset[int]
    elsewhere: Label


class CauseRates(msgspec.Struct, frozen=True):
    """One cause: its base amount and its tables in the tariff's order."""

    base: Label
    base_e4: int
    tables: tuple[FactorLookup, ...]


class Rates(msgspec.Struct, frozen=True):
    """A tariff ready to price, under its immutable name."""

    tariff: Tariff
    version: str
    causes: tuple[CauseRates, ...]
    variable_expense: Label
    profit: Label


LARGE_LOSS_LOAD = Label("large_loss_load", "", 0, "大额赔付附加", "Large-loss load")
FIXED_EXPENSE = Label("fixed_expense", "", 0, "固定费用", "Fixed expense")
ROUNDING = Label("rounding", "", 0, "保费取整", "Rounding of the premium")


def compile_rates(tariff: Tariff) -> Rates:
    """The tariff with every edge, cell and text worked out.

    Raises: KeyError, TypeError or ValueError for a tariff that has not passed `checks.faults_of`.
    """
    causes = tuple(_cause(cause, tariff.features) for cause in tariff.causes)
    return Rates(
        tariff=tariff,
        version=version_of(tariff),
        causes=causes,
        variable_expense=_share(
            "variable_expense", "变动费用", "Variable expense", tariff.variable_expense_millionths
        ),
        profit=_share("profit", "利润", "Profit", tariff.profit_millionths),
    )


def _share(step: str, zh: str, en: str, share_millionths: int) -> Label:
    share = factor_text(share_millionths)
    return Label(step, "", 0, f"{zh}，占毛保费 {share}", f"{en}, {share} of the gross premium")


def _cause(cause: Cause, features: tuple[Feature, ...]) -> CauseRates:
    base = Label(
        f"{cause.name}.base",
        "",
        0,
        f"{cause.zh}：基准发生率 × 基准次均赔款",
        f"{cause.en}: base frequency × base severity",
    )
    return CauseRates(
        base=base,
        base_e4=cause.base_e4,
        tables=tuple(_lookup(cause, table, features) for table in cause.tables),
    )


def _lookup(
    cause: Cause, table: BandTable | CategoryTable, features: tuple[Feature, ...]
) -> FactorLookup:
    index = _position(table.feature, features)
    feature = features[index]
    starts: tuple[int, ...] | None = None
    labels: tuple[Label | None, ...]
    if isinstance(table, BandTable) and isinstance(feature, NumericFeature):
        starts = tuple(scaled(band.first, feature.places) for band in table.cells)
        labels = _band_labels(cause, table, feature)
    elif isinstance(table, CategoryTable) and isinstance(feature, CategoryFeature):
        labels = _level_labels(cause, table, feature)
    else:
        raise TypeError(f"table {table.name} does not fit feature {feature.name}")
    gate, gate_levels = _gate(table.applies_to, features)
    return FactorLookup(
        feature=index,
        starts=starts,
        labels=labels,
        absent=_absent(cause, table, feature),
        gate=gate,
        gate_levels=gate_levels,
        elsewhere=_label(
            cause,
            table.name,
            f"{feature.name} not applicable",
            MILLION,
            f"{feature.zh}不适用于此人",
            f"{feature.en} does not apply to this person",
        ),
    )


def _band_labels(cause: Cause, table: BandTable, feature: NumericFeature) -> tuple[Label, ...]:
    found = []
    for band in table.cells:
        one = band.first == band.last
        cell = band.first if one else f"{band.first}-{band.last}"
        text = band.first if one else f"{band.first}–{band.last}"
        found.append(
            _label(
                cause,
                table.name,
                f"{feature.name} {cell}",
                band.factor_millionths,
                f"{feature.zh} {text} {feature.unit_zh}",
                f"{feature.en} {text} {feature.unit_en}",
            )
        )
    return tuple(found)


def _level_labels(
    cause: Cause, table: CategoryTable, feature: CategoryFeature
) -> tuple[Label | None, ...]:
    factors = {cell.level: cell.factor_millionths for cell in table.cells}
    return tuple(
        _label(
            cause,
            table.name,
            f"{feature.name} {level.name}",
            factors[level.name],
            f"{feature.zh} {level.zh}",
            f"{feature.en} {level.en}",
        )
        if level.priced
        else None
        for level in feature.levels
    )


def _absent(cause: Cause, table: BandTable | CategoryTable, feature: Feature) -> Label | None:
    if table.absent_factor_millionths is None:
        return None
    return _label(
        cause,
        table.name,
        f"{feature.name} absent",
        table.absent_factor_millionths,
        f"未提供{feature.zh}",
        f"{feature.en} not given",
    )


def _label(cause: Cause, table: str, cell: str, factor: int, zh: str, en: str) -> Label:
    said = factor_text(factor)
    return Label(
        f"{cause.name}.{table}",
        cell,
        factor,
        f"{cause.zh}：{zh}，系数 {said}",
        f"{cause.en}: {en}, factor {said}",
    )


def _gate(
    applies_to: AppliesTo | None, features: tuple[Feature, ...]
) -> tuple[int, frozenset[int]]:
    if applies_to is None:
        return -1, frozenset()
    index = _position(applies_to.feature, features)
    feature = features[index]
    if not isinstance(feature, CategoryFeature):
        raise TypeError(f"{feature.name} is not a category")
    names = [level.name for level in feature.levels]
    return index, frozenset(names.index(level) for level in applies_to.levels)


def _position(name: str, features: tuple[Feature, ...]) -> int:
    for index, feature in enumerate(features):
        if feature.name == name:
            return index
    raise KeyError(name)
