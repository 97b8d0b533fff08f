"""A rating factor: which column it reads, its bands or levels, and what its effect may look like.

Knows no file and no data; `settings` reads factors, `coding` applies them to an experience.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from services.pricing.core.tariff import (
    AppliesTo,
    CategoryFeature,
    Feature,
    Level,
    NumericFeature,
    scaled,
    written,
)
from services.pricing.fitting.models.fit_result import band_title


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit as UCUM writes it and as people do."""

    ucum: str = "1"
    zh: str = "无单位"
    en: str = "no unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorLevel:
    """One level of a category; `value` is how the experience writes it."""

    name: str
    value: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """Levels in the order of the table; none: the values that the experience holds, sorted."""

    levels: tuple[FactorLevel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Bands of a number by their first values, as decimals of `places`, and the last value of all.

    A value is rounded half-up to `places` before it is looked up, as the tariff does.
    """

    firsts: tuple[str, ...]
    last: str
    places: int = 0
    plausible_first: str = ""
    plausible_last: str = ""
    rounded: bool = False  # else a finer value is refused by the tariff: completed years
    biometric: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Each band as a person writes it: first–last."""
        return tuple(band_title(first, last) for first, last in self.edges)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """First and last value of each band, both inside."""
        starts = [scaled(first, self.places) for first in self.firsts]
        ends = [*(start - 1 for start in starts[1:]), scaled(self.last, self.places)]
        return tuple(
            (first, written(end, self.places)) for first, end in zip(self.firsts, ends, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What bounds the effect of a controlled disease, the outcome layer; nothing has a default.

    `flat_below` is the clinical lower bound: below it all stand in one band. One more reading
    may change the factor by at most the share `one_reading_at_most`, and the best controlled may
    not pay less than `least` of what the uncontrolled pay.
    """

    flat_below: str
    months_of_one_reading: int  # how many of the twelve months one reading may decide
    one_reading_at_most: float
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One rating factor, in the risk layer, or with `control` in the outcome layer."""

    name: str
    column: str
    feature: str
    zh: str
    en: str
    shape: Bands | Categories
    unit: Unit = Unit()
    monotone: Literal["no", "rising", "falling"] = "no"
    applies_to: AppliesTo | None = None
    base: str = ""  # level or band's first value; empty: most exposure; outcomes: the worst held
    control: Control | None = None

    @property
    def layer(self) -> Literal["risk", "outcome"]:
        """Where its table stands in the tariff."""
        return "risk" if self.control is None else "outcome"


def feature_of(factor: Factor, levels: tuple[FactorLevel, ...]) -> Feature:
    """What the tariff asks of a person for this factor; `levels` are those of a category."""
    if isinstance(factor.shape, Categories):
        return CategoryFeature(
            name=factor.feature,
            zh=factor.zh,
            en=factor.en,
            required=True,
            levels=tuple(
                Level(name=level.name, zh=level.zh, en=level.en, priced=True) for level in levels
            ),
        )
    bands = factor.shape
    return NumericFeature(
        name=factor.feature,
        zh=factor.zh,
        en=factor.en,
        unit_ucum=factor.unit.ucum,
        unit_zh=factor.unit.zh,
        unit_en=factor.unit.en,
        places=bands.places,
        when_finer="round_half_up" if bands.rounded or bands.biometric else "refuse",
        plausible_first=bands.plausible_first or bands.firsts[0],
        plausible_last=bands.plausible_last or bands.last,
        priced_first=bands.firsts[0],
        priced_last=bands.last,
        required=factor.control is None,
        biometric=bands.biometric,
        flat_below=msgspec.UNSET if factor.control is None else factor.control.flat_below,
    )
