"""The tariffs that a service has loaded, by name and by day. Knows no file and no request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import pairwise

from services.pricing.core.checks import Fault
from services.pricing.core.rates import Rates

_NAME = re.compile(
    r"(?P<id>[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)(?:@sha256:[0-9a-f]{64})?", re.ASCII
)


class UnknownTariff(LookupError):
    """No loaded tariff has this id, or this very version."""


class TariffNotInForce(LookupError):
    """The tariff is loaded, but not valid on the day; says when it is."""


def is_tariff_name(text: str) -> bool:
    """Whether it reads "{id}" or "{id}@sha256:{64 hex digits}"."""
    return _NAME.fullmatch(text) is not None


class Book:
    """All loaded versions; of one id at most one is valid on any day."""

    def __init__(self, versions: Iterable[Rates]) -> None:
        self._versions = {rates.version: rates for rates in versions}

    def versions(self) -> list[Rates]:
        """Every loaded version, by id and then by first valid day."""
        return sorted(
            self._versions.values(), key=lambda r: (r.tariff.id, r.tariff.valid_first, r.version)
        )

    def on(self, name: str, day: date) -> Rates:
        """The version that `name` means for a policy year that starts on `day`.

        "{id}" is whichever version is valid that day; "{id}@sha256:{hash}" that very one, which
        must be valid too: a price is never taken from a tariff before or after its time.

        Raises: UnknownTariff, TariffNotInForce.
        """
        found = [
            rates for rates in self._versions.values() if name in (rates.tariff.id, rates.version)
        ]
        if not found:
            raise UnknownTariff(name)
        for rates in found:
            if _valid(rates, day):
                return rates
        spans = "; ".join(sorted(_span(rates) for rates in found))
        raise TariffNotInForce(f"this tariff is valid {spans}")

    def faults(self) -> list[Fault]:
        """Versions of one id that are valid on the same day."""
        return list(_overlaps(self.versions()))


def _overlaps(versions: list[Rates]) -> Iterator[Fault]:
    for earlier, later in pairwise(versions):
        if earlier.tariff.id == later.tariff.id and _valid(earlier, later.tariff.valid_first):
            text = (
                f"{later.version} begins on {later.tariff.valid_first} while {earlier.version} is "
                f"valid; let the earlier one end the day before"
            )
            yield Fault("tariff.valid_first", "VERSIONS_OVERLAP", text)


def _valid(rates: Rates, day: date) -> bool:
    last = rates.tariff.valid_last
    return rates.tariff.valid_first <= day and (last is None or day <= last)


def _span(rates: Rates) -> str:
    last = rates.tariff.valid_last
    return f"from {rates.tariff.valid_first}" + ("" if last is None else f" to {last}")
