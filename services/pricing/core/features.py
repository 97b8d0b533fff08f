"""A person's features as a caller writes them → whole numbers that the kernel looks up.

Nothing is guessed: a missing, unknown or impossible value is a fault, and all faults come at once.
Fault texts name the feature and what is allowed, never the value, which is about a person.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import msgspec

from services.common.money import parse_decimal, round_half_up
from services.pricing.core.tariff import (
    BandTable,
    CategoryFeature,
    Feature,
    NumericFeature,
    Tariff,
    scaled,
)

# The reason of a value that is understood and plausible, but for which the tariff has no price.
NOT_PRICED = "NOT_PRICED"
# More unknown names than this are counted and not listed, so that an error stays small.
_LISTED = 8
# Places that a caller may write; what is beyond the feature's own places is rounded or refused.
_PLACES = 6


class FeatureFault(msgspec.Struct, frozen=True):
    """One fault of one feature: a stable reason and what to do. `feature` may be unknown to us."""

    feature: str
    reason: str
    text: str


class Features(msgspec.Struct, frozen=True):
    """The values in the tariff's order, None where not given; of use only without faults."""

    values: tuple[int | None, ...]
    faults: tuple[FeatureFault, ...]


def read(features: Sequence[Feature], given: Mapping[str, str]) -> Features:
    """Every given value checked against its feature, rounded, then compared with its bounds.

    Numbers come out in steps of their feature (7.4 with one place is 74), categories as the
    position of their level. Rounding comes first: a reading that rounds to the bound is inside.
    """
    faults: list[FeatureFault] = []
    values: list[int | None] = []
    for feature in features:
        text = given.get(feature.name)
        found: int | FeatureFault | None = None
        if text is not None:
            found = _value(feature, text)
        elif feature.required:
            found = FeatureFault(
                feature.name, "MISSING_FEATURE", f"{feature.en} is required by this tariff"
            )
        if isinstance(found, FeatureFault):
            faults.append(found)
            found = None
        values.append(found)
    faults += _unknown(features, given)
    return Features(tuple(values), tuple(faults))


def _value(feature: Feature, text: str) -> int | FeatureFault:
    if isinstance(feature, CategoryFeature):
        return _level(feature, text)
    return _number(feature, text)


def _number(feature: NumericFeature, text: str) -> int | FeatureFault:
    try:
        exact = parse_decimal(text, places=_PLACES, what=feature.en)
    except ValueError as refused:
        return FeatureFault(feature.name, "BAD_DECIMAL", str(refused))
    steps = exact.scaleb(feature.places)
    value = round_half_up(steps)
    if value != steps and feature.when_finer == "refuse":
        places = f"{feature.places} decimal places" if feature.places else "whole numbers"
        return FeatureFault(feature.name, "TOO_FINE", f"{feature.en} is given in {places}")
    unit = feature.unit_en
    if not _edge(feature, "plausible_first") <= value <= _edge(feature, "plausible_last"):
        span = f"{feature.plausible_first} to {feature.plausible_last} {unit}"
        text = f"{feature.en} must lie in {span}; check value and unit"
        return FeatureFault(feature.name, "OUT_OF_BOUNDS", text)
    if not _edge(feature, "priced_first") <= value <= _edge(feature, "priced_last"):
        span = f"{feature.priced_first} to {feature.priced_last} {unit}"
        text = f"this tariff prices {feature.en} in {span} only"
        return FeatureFault(feature.name, NOT_PRICED, text)
    return value


def _edge(feature: NumericFeature, name: str) -> int:
    return scaled(getattr(feature, name), feature.places)


def _level(feature: CategoryFeature, text: str) -> int | FeatureFault:
    for position, level in enumerate(feature.levels):
        if level.name != text:
            continue
        if level.priced:
            return position
        reason = f"this tariff has no price for {feature.en} {level.en}"
        return FeatureFault(feature.name, NOT_PRICED, reason)
    levels = ", ".join(level.name for level in feature.levels)
    return FeatureFault(feature.name, "UNKNOWN_LEVEL", f"{feature.en} must be one of {levels}")


def _unknown(features: Sequence[Feature], given: Mapping[str, str]) -> list[FeatureFault]:
    known = [feature.name for feature in features]
    unknown = sorted(set(given).difference(known))
    faults = []
    for name in unknown[:_LISTED]:
        near = difflib.get_close_matches(name[:64], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
        faults.append(
            FeatureFault(name, "UNKNOWN_FEATURE", f"this tariff has no such feature; {hint}")
        )
    if len(unknown) > _LISTED:
        more = f"and {len(unknown) - _LISTED} more that this tariff does not have"
        faults.append(FeatureFault("", "UNKNOWN_FEATURE", more))
    return faults


def outcome_features(tariff: Tariff) -> frozenset[str]:
    """The features by which a tariff's outcome layer prices how well a disease is controlled."""
    return frozenset(
        table.feature
        for cause in tariff.causes
        for table in cause.tables
        if isinstance(table, BandTable) and table.layer == "outcome"
    )
