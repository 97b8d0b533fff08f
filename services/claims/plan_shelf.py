"""Published plans and price lists, parsed once per process: neither ever changes under its name."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from services.claims.core.plan import Plan
from services.claims.plans.price_list import ProviderPrices, price_list_from
from services.claims.storage import policies, providers
from services.claims.storage.sealed import NotOfThisEngine

# Over all lists; a hospital's has up to tens of thousands, and a price takes about half a KiB here.
MOST_PRICES = 400_000


class PlanShelf:
    """Parsed plans by version name. Reads the database only for versions not seen before."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._price_lists: dict[int, ProviderPrices] = {}

    def price_lists(
        self, connection: Connection, wanted: Collection[tuple[str, str, str]]
    ) -> dict[tuple[str, str, str], ProviderPrices]:
        """What insurers have agreed with providers, by the newest list of each.

        By insurer, provider and currency; those without a list lack.
        """
        newest = providers.newest_price_lists(connection, wanted)
        return {key: self._price_list(connection, seq) for key, seq in newest.items()}

    def _price_list(self, connection: Connection, seq: int) -> ProviderPrices:
        known = self._price_lists.get(seq)
        if known is None:
            known = price_list_from(providers.price_list_content(connection, seq))
            room = MOST_PRICES - len(known.prices)
            while self._price_lists and self._prices_held() > room:
                self._price_lists.pop(next(iter(self._price_lists)))
            self._price_lists[seq] = known
        return known

    def _prices_held(self) -> int:
        return sum(len(one.prices) for one in self._price_lists.values())

    def plan(self, connection: Connection, version: str) -> Plan:
        """The plan of a published version.

        Raises: KeyError when the version was never published.
        """
        if version not in self._plans:
            plan = policies.plan_of(connection, version)
            if plan is None:
                raise KeyError(version)
            self._plans[version] = plan
        return self._plans[version]

    def plan_for_reading(self, connection: Connection, version: str) -> Plan:
        """The same for who is only to be told of a claim, and for whom waiting helps nothing.

        Raises: KeyError; NotOfThisEngine when this version cannot read the plan.
        """
        try:
            return self.plan(connection, version)
        except msgspec.DecodeError:
            raise NotOfThisEngine from None
