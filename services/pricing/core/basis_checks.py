"""What is wrong with the basis of a tariff of format 2, by itself. Its gates are in `gates`."""

from __future__ import annotations

from collections.abc import Iterator

from services.pricing.core.fault import Fault
from services.pricing.core.tariff import MILLION, Basis, NumericFeature, Tariff, scaled


def basis_faults(tariff: Tariff) -> Iterator[Fault]:
    """Format 2 has a basis, format 1 has none; and every fault of the basis."""
    basis = tariff.basis
    if not isinstance(basis, Basis):
        if tariff.format == 2:
            yield Fault("tariff.basis", "MISSING_KEY", "is missing; format 2 needs it")
        return
    if tariff.format == 1:
        yield Fault("tariff.basis", "UNKNOWN_KEY", "is no key of format 1; write format 2")
        return
    yield from _windows(tariff, basis)
    if not basis.collar.least_millionths <= MILLION <= basis.collar.greatest_millionths:
        text = "an unchanged premium must lie between its least and its greatest multiple"
        yield Fault("tariff.basis.collar", "BOUNDS_CROSSED", text)
    features = {feature.name for feature in tariff.features}
    for index, other in enumerate(basis.alternatives):
        if other.feature not in features:
            path = f"tariff.basis.alternatives[{index}].feature"
            yield Fault(path, "UNKNOWN_FEATURE", "the tariff defines no such feature")


def _windows(tariff: Tariff, basis: Basis) -> Iterator[Fault]:
    numeric = {one.name: one for one in tariff.features if isinstance(one, NumericFeature)}
    seen: set[str] = set()
    for index, window in enumerate(basis.windows):
        path = f"tariff.basis.windows[{index}]"
        feature = numeric.get(window.feature)
        if feature is None or not feature.biometric:
            text = "must name a biometric feature of the tariff"
            yield Fault(f"{path}.feature", "UNKNOWN_FEATURE", text)
            continue
        if window.feature in seen:
            yield Fault(f"{path}.feature", "DUPLICATE_NAME", f"{window.feature} stands here twice")
        seen.add(window.feature)
        if window.one_reading_months > window.months:
            text = "one reading cannot decide more months than the window has"
            yield Fault(f"{path}.one_reading_months", "BOUNDS_CROSSED", text)
        try:
            mean = scaled(window.stratum_mean, feature.places)
            first, last = (
                scaled(text, feature.places)
                for text in (feature.plausible_first, feature.plausible_last)
            )
        except ValueError as error:
            yield Fault(f"{path}.stratum_mean", "WRONG_PLACES", str(error))
            continue
        if not first <= mean <= last:
            text = "lies outside the feature's plausible range"
            yield Fault(f"{path}.stratum_mean", "BOUNDS_CROSSED", text)
