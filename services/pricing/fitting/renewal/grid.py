"""Columns of features → the few different waterfalls of a book. Knows no file and no premium paid.

People of the same cells pay the same, so that every combination that occurs is priced once, by
the kernel that prices a single quote; a column of codes says who stands in which. Texts are read
by the same rules as those of a quote.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.pricing.core.features import NOT_PRICED, FeatureFault, outcome_features, read
from services.pricing.core.outcome import at_stratum_means
from services.pricing.core.rates import Rates
from services.pricing.core.tariff import CategoryFeature, Feature
from services.pricing.core.waterfall import Waterfall, price

Codes: TypeAlias = NDArray[np.int64]

# Positions in a feature's own code: a value that is absent, one that has no price, one in error.
_ABSENT, _UNPRICED, _WRONG = 0, 1, 2
_FIRST = 3
# Codes of a book are whole numbers of 63 bits; a tariff with more combinations is refused.
_MOST_CODES = 2**62
# Different values of features that need not be read again in the next shard.
_REMEMBERED = 100_000


class TooManyCells(ValueError):
    """The tariff has more combinations of cells than a code can number."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One feature: the first value of each band of all tables that use it, or its levels."""

    feature: Feature
    starts: tuple[int, ...]
    stride: int

    @property
    def size(self) -> int:
        """How many codes it has."""
        return _FIRST + len(self.starts)


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of a book by code; where `kept` is false, `faults` say why, by feature and reason."""

    codes: Codes
    priced: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    faults: tuple[tuple[FeatureFault, NDArray[np.int64]], ...]


class Grid:
    """The cells of a tariff, without its outcome layer: technical prices are those at f(m0)."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        outcome = outcome_features(rates.tariff)
        self.axes: list[Axis] = []
        stride = 1
        for position, feature in enumerate(rates.tariff.features):
            given = feature.name not in outcome
            axis = Axis(feature, _starts(rates, position, feature) if given else (), stride)
            self.axes.append(axis)
            stride *= axis.size
        if stride > _MOST_CODES:
            raise TooManyCells("the tariff has more combinations of cells than can be numbered")
        self.columns = tuple(a.feature.name for a in self.axes if a.starts)
        self._read_one = functools.lru_cache(_REMEMBERED)(self._one)
        self._gross_e4: dict[int, int] = {}

    def judge(self, columns: Mapping[str, pa.Array], rows: int) -> Judged:
        """Each row's code; `columns` are dictionary arrays by the feature's name, or missing."""
        codes = np.zeros(rows, dtype=np.int64)
        unpriced = np.zeros(rows, dtype=np.bool_)
        wrong = np.zeros(rows, dtype=np.bool_)
        faults: list[tuple[FeatureFault, NDArray[np.int64]]] = []
        for place, axis in enumerate(self.axes):
            if not axis.starts:
                continue
            column = columns.get(axis.feature.name)
            if column is None:
                column = pa.nulls(rows, pa.dictionary(pa.int32(), pa.string()))
            texts, indices = column.dictionary.to_pylist(), column.indices
            if column.null_count:
                # A missing value is the last text, so that it is read as nothing given.
                indices = pc.fill_null(indices, len(texts))
                texts.append(None)
            of_text, found = self._read(place, texts)
            places = indices.to_numpy(zero_copy_only=False)
            own = of_text[places]
            for index, fault in found:
                at = np.flatnonzero(places == index)
                if at.size:
                    faults.append((fault, at))
            if found:
                unpriced |= own == _UNPRICED
                wrong |= own == _WRONG
            codes += own * axis.stride
        return Judged(codes, ~(unpriced | wrong), wrong, tuple(faults))

    def waterfall(self, code: int) -> Waterfall:
        """The waterfall of a code whose row was priced."""
        return price(self.rates, at_stratum_means(self.rates, self.values(code)))

    def gross_e4(self, code: int) -> int:
        """The technical gross premium of a code, before it is rounded; worked out once."""
        found = self._gross_e4.get(code)
        if found is None:
            found = self._gross_e4[code] = self.waterfall(code).steps[-2].premium_e4
        return found

    def values(self, code: int) -> tuple[int | None, ...]:
        """One value of each feature that stands for its cell, in the tariff's order."""
        found: list[int | None] = []
        for axis in self.axes:
            own = code // axis.stride % axis.size
            found.append(axis.starts[own - _FIRST] if own >= _FIRST else None)
        return tuple(found)

    def _read(
        self, place: int, texts: Sequence[str | None]
    ) -> tuple[Codes, list[tuple[int, FeatureFault]]]:
        codes = np.zeros(len(texts), dtype=np.int64)
        faults: list[tuple[int, FeatureFault]] = []
        for index, text in enumerate(texts):
            codes[index], found = self._read_one(place, text)
            faults += [(index, fault) for fault in found]
        return codes, faults

    def _one(self, place: int, text: str | None) -> tuple[int, tuple[FeatureFault, ...]]:
        axis = self.axes[place]
        given = {} if text is None else {axis.feature.name: text}
        value = read((axis.feature,), given)
        if value.faults:
            unpriced = value.faults[0].reason == NOT_PRICED
            return _UNPRICED if unpriced else _WRONG, value.faults
        if value.values[0] is None:
            return _ABSENT, ()
        return _FIRST + bisect_right(axis.starts, value.values[0]) - 1, ()


def _starts(rates: Rates, position: int, feature: Feature) -> tuple[int, ...]:
    if isinstance(feature, CategoryFeature):
        return tuple(range(len(feature.levels)))
    edges: set[int] = set()
    for cause in rates.causes:
        for table in cause.tables:
            if table.feature == position and table.starts is not None:
                edges.update(table.starts)
    return tuple(sorted(edges))
