"""Published plans and price lists, parsed once per process: neither ever changes under its name."""

from __future__ import annotations

from sqlalchemy import Connection

from services.claims.core.plan import Plan
from services.claims.plans.price_list import ProviderPrices, price_list_from
from services.claims.storage import policies, providers

# Over all lists; a hospital's has up to tens of thousands, and a price takes about half a KiB here.
MOST_PRICES = 400_000


class PlanShelf:
    """Parsed plans by version name. Reads the database only for versions not seen before."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._price_lists: dict[int, ProviderPrices] = {}

    def price_list(
        self, connection: Connection, insurer: str, provider_id: str, currency: str
    ) -> ProviderPrices | None:
        """What an insurer has agreed with a provider, by its newest list; None without one."""
        newest = providers.newest_price_list(connection, insurer, provider_id, currency)
        if newest is None:
            return None
        seq = int(newest.seq)
        if seq not in self._price_lists:
            made = price_list_from(providers.price_list_content(connection, seq))
            room = MOST_PRICES - len(made.prices)
            while self._price_lists and self._prices_held() > room:
                self._price_lists.pop(next(iter(self._price_lists)))
            self._price_lists[seq] = made
        return self._price_lists[seq]

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
