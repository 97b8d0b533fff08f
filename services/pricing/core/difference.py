"""What changes between two tariffs, in words and in premiums. Compares what they say to a price.

Bands are compared where they price, not as they are written: a band that was only split changes
nothing. Cells that move by the same factor beside each other are told as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from services.common.money import currency_exponent, grouped_minor
from services.pricing.core.features import read
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.tariff import (
    E4,
    MILLION,
    BandTable,
    Basis,
    CategoryFeature,
    Cause,
    FactorTable,
    Feature,
    NumericFeature,
    Tariff,
    factor_text,
    scaled,
    written,
)
from services.pricing.core.waterfall import price


class Changed(msgspec.Struct, frozen=True):
    """One change: the place it concerns, and a sentence in each language."""

    place: str
    zh: str
    en: str


class Effect(msgspec.Struct, frozen=True):
    """One profile under both tariffs, in minor units; None where one has no price for it."""

    name: str
    old_minor: int | None
    new_minor: int | None

    @property
    def change_millionths(self) -> int | None:
        """By how much the premium changes, towards zero; None where there are not two."""
        if self.old_minor is None or self.new_minor is None or not self.old_minor:
            return None
        moved = abs(self.new_minor - self.old_minor) * MILLION // self.old_minor
        return moved if self.new_minor >= self.old_minor else -moved


def changes(old: Tariff, new: Tariff) -> list[Changed]:
    """Every change that a price, a person or a filing would notice, in the tariff's order."""
    return [
        *_head(old, new),
        *_features(old, new),
        *_causes(old, new),
        *_loads(old, new),
        *_basis(old, new),
    ]


def effects(old: Tariff, new: Tariff, profiles: Mapping[str, Mapping[str, str]]) -> list[Effect]:
    """The golden quotes of both, and further profiles, priced by both.

    Both must have passed their checks. A name that stands in both is taken from the new one.
    """
    asked: dict[str, Mapping[str, str]] = {
        golden.name: golden.features for golden in (*old.golden_quotes, *new.golden_quotes)
    }
    before, after = compile_rates(old), compile_rates(new)
    return [
        Effect(name, _premium(before, given), _premium(after, given))
        for name, given in (asked | dict(profiles)).items()
    ]


def _premium(rates: Rates, given: Mapping[str, str]) -> int | None:
    # What the other tariff asks for may be unknown to this one; it is left out, not guessed.
    known = {feature.name for feature in rates.tariff.features}
    found = read(rates.tariff.features, {name: v for name, v in given.items() if name in known})
    return None if found.faults else price(rates, found.values).premium_minor


def _said(place: str, zh: str, en: str, old: object, new: object) -> Iterator[Changed]:
    if old != new:
        yield Changed(place, f"{zh}：{old} → {new}", f"{en}: {old} → {new}")


def _both(before: Iterable[str], after: Iterable[str]) -> dict[str, None]:
    """The names of both, each once: the old ones in their order, then the new ones."""
    return dict.fromkeys((*before, *after))


def _head(old: Tariff, new: Tariff) -> Iterator[Changed]:
    for field, zh, en in (
        ("id", "编号", "id"),
        ("title_zh", "中文名称", "Chinese title"),
        ("title_en", "英文名称", "English title"),
        ("notice_zh", "中文提示", "Chinese notice"),
        ("notice_en", "英文提示", "English notice"),
        ("synthetic", "合成数据", "synthetic"),
        ("currency", "币种", "currency"),
        ("valid_first", "生效首日", "first valid day"),
        ("valid_last", "生效末日", "last valid day"),
    ):
        yield from _said(field, zh, en, getattr(old, field), getattr(new, field))
    before = {one.name: (one.zh, one.en, one.source) for one in old.assumptions}
    after = {one.name: (one.zh, one.en, one.source) for one in new.assumptions}
    for name in _both(before, after):
        if before.get(name) != after.get(name):
            yield _word(
                f"assumptions.{name}", "假设", "assumption", before.get(name), after.get(name)
            )


def _word(place: str, zh: str, en: str, old: object, new: object) -> Changed:
    name = place.rpartition(".")[2]
    if old is None:
        return Changed(place, f"新增{zh} {name}", f"{en} {name} is new")
    if new is None:
        return Changed(place, f"取消{zh} {name}", f"{en} {name} is gone")
    return Changed(place, f"{zh} {name} 有变", f"{en} {name} changes")


def _features(old: Tariff, new: Tariff) -> Iterator[Changed]:
    before = {feature.name: feature for feature in old.features}
    after = {feature.name: feature for feature in new.features}
    for name in _both(before, after):
        one, other = before.get(name), after.get(name)
        place = f"features.{name}"
        if one is None or other is None or type(one) is not type(other):
            yield _word(place, "因子", "feature", one, other)
            continue
        yield from _feature(place, one, other)


def _feature(place: str, old: Feature, new: Feature) -> Iterator[Changed]:
    zh, en = new.zh, new.en
    yield from _said(place, f"{zh}是否必填", f"{en} is required", old.required, new.required)
    if isinstance(old, CategoryFeature) and isinstance(new, CategoryFeature):
        before = {level.name: level.priced for level in old.levels}
        after = {level.name: level.priced for level in new.levels}
        for name in _both(before, after):
            taken = after.get(name, False)
            if before.get(name, False) != taken:
                yield Changed(
                    f"{place}.{name}",
                    f"{zh} {name}：{'承保' if taken else '不承保'}",
                    f"{en} {name}: {'is priced now' if taken else 'is priced no more'}",
                )
    if isinstance(old, NumericFeature) and isinstance(new, NumericFeature):
        for first, last, said_zh, said_en in (
            ("priced_first", "priced_last", "承保范围", "priced range"),
            ("plausible_first", "plausible_last", "合理范围", "plausible range"),
        ):
            yield from _said(
                place,
                f"{zh}{said_zh}",
                f"{en}: {said_en}",
                f"{getattr(old, first)}–{getattr(old, last)}",
                f"{getattr(new, first)}–{getattr(new, last)}",
            )
        yield from _said(place, f"{zh}单位", f"{en}: unit", old.unit_ucum, new.unit_ucum)
        yield from _said(place, f"{zh}小数位", f"{en}: places", old.places, new.places)
        bounds = (
            "—" if isinstance(one.flat_below, msgspec.UnsetType) else one.flat_below
            for one in (old, new)
        )
        yield from _said(place, f"{zh}临床下限", f"{en}: clinical lower bound", *bounds)


def _causes(old: Tariff, new: Tariff) -> Iterator[Changed]:
    before = {cause.name: cause for cause in old.causes}
    after = {cause.name: cause for cause in new.causes}
    for name in _both(before, after):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            yield _word(name, "责任", "cause", one, other)
            continue
        if one.base_e4 != other.base_e4:
            moved = _amounts(one.base_e4, other.base_e4, new.currency)
            yield Changed(
                f"{name}.base",
                f"{other.zh}：基准保费 {moved}",
                f"{other.en}: base {moved}",
            )
        yield from _tables(old, new, one, other)


def _tables(old: Tariff, new: Tariff, one: Cause, other: Cause) -> Iterator[Changed]:
    before = {table.name: table for table in one.tables}
    after = {table.name: table for table in other.tables}
    for name in _both(before, after):
        place = f"{other.name}.{name}"
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield _word(place, f"{other.zh}系数表", f"{other.en}: table", was, now)
            continue
        yield from _table(place, other, _features_of(old, new, (was, now)), was, now)


def _features_of(
    old: Tariff, new: Tariff, tables: tuple[FactorTable, FactorTable]
) -> tuple[Feature | None, Feature | None]:
    found = []
    for tariff, table in zip((old, new), tables, strict=True):
        named = [feature for feature in tariff.features if feature.name == table.feature]
        found.append(named[0] if named else None)
    return found[0], found[1]


def _table(
    place: str,
    cause: Cause,
    features: tuple[Feature | None, Feature | None],
    old: FactorTable,
    new: FactorTable,
) -> Iterator[Changed]:
    zh, en = f"{cause.zh} {new.name}", f"{cause.en}, {new.name}"
    yield from _said(place, f"{zh}：因子", f"{en}: feature", old.feature, new.feature)
    levels = [
        "all" if one.applies_to is None else " ".join(one.applies_to.levels) for one in (old, new)
    ]
    yield from _said(place, f"{zh}：适用", f"{en}: applies to", *levels)
    for what, before, after in _cells(features, old, new):
        if before != after:
            moved = f"{_factor(before)} → {_factor(after)}{_by(before, after)}"
            yield Changed(f"{place}.{what}", f"{zh} {what}：{moved}", f"{en} {what}: {moved}")


_Cell = tuple[str, int | None, int | None]


def _cells(
    features: tuple[Feature | None, Feature | None], old: FactorTable, new: FactorTable
) -> Iterator[_Cell]:
    """Each part of the table's feature with both factors."""
    one, other = features
    if (
        isinstance(old, BandTable)
        and isinstance(new, BandTable)
        and isinstance(one, NumericFeature)
        and isinstance(other, NumericFeature)
        and one.places == other.places
    ):
        yield from _bands(old, new, other.places)
    else:
        before, after = _by_name(old), _by_name(new)
        for name in _both(before, after):
            yield name, before.get(name), after.get(name)
    yield "absent", old.absent_factor_millionths, new.absent_factor_millionths


def _by_name(table: FactorTable) -> dict[str, int]:
    if isinstance(table, BandTable):
        return {f"{one.first}-{one.last}": one.factor_millionths for one in table.cells}
    return {one.level: one.factor_millionths for one in table.cells}


def _bands(old: BandTable, new: BandTable, places: int) -> Iterator[_Cell]:
    spans = [
        [
            (scaled(band.first, places), scaled(band.last, places), band.factor_millionths)
            for band in table.cells
        ]
        for table in (old, new)
    ]
    starts = sorted(
        {first for some in spans for first, _, _ in some}
        | {last + 1 for some in spans for _, last, _ in some}
    )
    told: list[tuple[int, int, int | None, int | None]] = []
    for first, after in pairwise(starts):
        before, now = (_at(some, first) for some in spans)
        if told and told[-1][2:] == (before, now):  # right behind it: spans leave no gap
            told[-1] = (told[-1][0], after - 1, before, now)
        else:
            told.append((first, after - 1, before, now))
    for first, last, before, now in told:
        name = written(first, places)
        yield name if first == last else f"{name}–{written(last, places)}", before, now


def _at(spans: Sequence[tuple[int, int, int]], value: int) -> int | None:
    for first, last, factor in spans:
        if first <= value <= last:
            return factor
    return None


def _loads(old: Tariff, new: Tariff) -> Iterator[Changed]:
    for field, zh, en in (
        ("large_loss_load_e4", "大额赔付附加", "large-loss load"),
        ("fixed_expense_e4", "固定费用", "fixed expense"),
    ):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            moved = _amounts(before, after, new.currency)
            yield Changed(field, f"{zh} {moved}", f"{en} {moved}")
    for field, zh, en in (
        ("variable_expense_millionths", "变动费用占比", "variable expense"),
        ("profit_millionths", "利润占比", "profit"),
    ):
        shares = (_share(getattr(one, field)) for one in (old, new))
        yield from _said(field, zh, en, *shares)
    units = (one.rounding.to_minor_units for one in (old, new))
    yield from _said("rounding", "保费取整（最小货币单位）", "rounding to minor units", *units)


def _basis(old: Tariff, new: Tariff) -> Iterator[Changed]:
    one, other = old.basis, new.basis
    if not isinstance(one, Basis) or not isinstance(other, Basis):
        if isinstance(one, Basis) or isinstance(other, Basis):
            yield from _said("format", "格式", "format", old.format, new.format)
        return
    for field, zh, en in (
        ("jurisdiction", "法域", "jurisdiction"),
        ("data_sha256", "数据摘要", "data digest"),
        ("least_premium_minor", "最低保费（最小货币单位）", "least premium, minor units"),
    ):
        yield from _said(f"basis.{field}", zh, en, getattr(one, field), getattr(other, field))
    caps = (_share(some.credit_cap.share_millionths) for some in (one, other))
    yield from _said("basis.credit_cap", "优惠法定上限", "legal cap on credits", *caps)
    collars = (
        f"{factor_text(some.collar.least_millionths)}–"
        f"{factor_text(some.collar.greatest_millionths)}"
        for some in (one, other)
    )
    yield from _said("basis.collar", "续保涨跌幅", "collar", *collars)
    bounds = (_share(some.one_reading_most_millionths) for some in (one, other))
    yield from _said("basis.one_reading_most", "单次读数影响上限", "most of one reading", *bounds)
    before = {some.feature: some for some in one.windows}
    after = {some.feature: some for some in other.windows}
    for name in _both(before, after):
        if before.get(name) != after.get(name):
            place = f"basis.windows.{name}"
            yield _word(place, "读数窗口", "window of", before.get(name), after.get(name))
    ways = ({some.feature: (some.zh, some.en) for some in x.alternatives} for x in (one, other))
    was, now = ways
    for name in _both(was, now):
        if was.get(name) != now.get(name):
            place = f"basis.alternatives.{name}"
            yield _word(place, "替代途径", "alternative to", was.get(name), now.get(name))


def _amounts(old: int, new: int, currency: str) -> str:
    before, after = _exact(old, currency), _exact(new, currency)
    return f"{before} → {after} {currency}{_by(old, new)}"


def _exact(amount_e4: int, currency: str) -> str:
    """An amount of the currency, with what it has beyond the minor unit."""
    whole, rest = divmod(amount_e4, E4)
    said = grouped_minor(whole, currency)
    if not rest:
        return said
    point = "" if currency_exponent(currency) else "."
    return f"{said}{point}{rest:04d}".rstrip("0")


def _by(old: int | None, new: int | None) -> str:
    if not old or new is None:
        return ""
    tenths = (abs(new - old) * 2000 + old) // (2 * old)
    sign = "+" if new >= old else "−"
    return f" ({sign}{tenths // 10}.{tenths % 10} %)"


def _factor(millionths: int | None) -> str:
    return "—" if millionths is None else factor_text(millionths)


def _share(millionths: int) -> str:
    return factor_text(millionths)
