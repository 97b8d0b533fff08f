"""Golden quotes: prices that stand inside a tariff and must come out of it, at every start."""

from __future__ import annotations

from collections.abc import Iterator

from services.pricing.core.checks import Fault
from services.pricing.core.features import read
from services.pricing.core.rates import Rates
from services.pricing.core.waterfall import price


def golden_faults(rates: Rates) -> Iterator[Fault]:
    """Each golden quote that this engine does not reproduce, with both premiums.

    They are public examples, no people: the texts may name amounts.
    """
    for index, golden in enumerate(rates.tariff.golden_quotes):
        path = f"tariff.golden_quotes[{index}]"
        found = read(rates.tariff.features, golden.features)
        for fault in found.faults:
            yield Fault(f"{path}.features.{fault.feature}", fault.reason, fault.text)
        if found.faults:
            continue
        premium = price(rates, found.values).premium_minor
        if premium != golden.premium_minor:
            text = f"the file says {golden.premium_minor}, this engine prices {premium}"
            yield Fault(f"{path}.premium_minor", "GOLDEN_QUOTE_DIFFERS", text)
