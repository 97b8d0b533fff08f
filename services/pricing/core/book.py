"""The tariffs that a service has loaded, by name and by day. Knows no file and no request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import pairwise

import msgspec

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


class Active(msgspec.Struct, frozen=True):
    """An insurer's own tariff and the days on which a policy year may begin that it prices."""

    rates: Rates
    first: date
    last: date | None


class Book:
    """All loaded versions; of one id at most one is valid on any day.

    `own` are an insurer's active tariffs, which go before the installed ones of their id.
    """

    def __init__(self, versions: Iterable[Rates], own: Iterable[Active] = ()) -> None:
        self._versions = {rates.version: rates for rates in versions}
        self._own = tuple(own)

    def versions(self) -> list[Rates]:
        """Every loaded version, by id and then by first valid day."""
        found = self._versions | {active.rates.version: active.rates for active in self._own}
        return sorted(found.values(), key=lambda r: (r.tariff.id, r.tariff.valid_first, r.version))

    def with_own(self, own: Iterable[Active]) -> Book:
        """The same installed versions with an insurer's own."""
        return Book(self._versions.values(), own)

    def on(self, name: str, day: date) -> Rates:
        """The version that `name` means for a policy year that starts on `day`.

        "{id}" is whichever version is valid that day; "{id}@sha256:{hash}" that very one, which
        must be valid too: a price is never taken from a tariff before or after its time.

        Raises: UnknownTariff, TariffNotInForce.
        """
        own = [one for one in self._own if name in (one.rates.tariff.id, one.rates.version)]
        for active in own:
            if _within(active.first, active.last, day):
                return active.rates
        found = [
            rates for rates in self._versions.values() if name in (rates.tariff.id, rates.version)
        ]
        if not found and not own:
            raise UnknownTariff(name)
        for rates in found:
            if _valid(rates, day):
                return rates
        spans = "; ".join(
            sorted(
                {_span(one.first, one.last) for one in own}
                | {_span(rates.tariff.valid_first, rates.tariff.valid_last) for rates in found}
            )
        )
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
    return _within(rates.tariff.valid_first, rates.tariff.valid_last, day)


def _within(first: date, last: date | None, day: date) -> bool:
    return first <= day and (last is None or day <= last)


def _span(first: date, last: date | None) -> str:
    return f"from {first}" + ("" if last is None else f" to {last}")
