"""Drawn histories of single charges (ChargeItem) against an oracle from the FHIR text alone.

Charges come early and late, are stated anew, are entered in error; accounts are closed and entered
in error; consents come and go; the worker dies. A charge with a negative quantity names no charge
that it takes back, for FHIR has no word for that: it waits for a person, and the bill stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.common.database import Database, migrate
from services.his_bridge.dialects.fhir_r4 import charge_item
from services.his_bridge.profiles.loader import parse_profile
from tests.services.his_bridge.dialects.charged import account, charge
from tests.services.his_bridge.records import BASE_URL, PROFILE, TOKEN, money
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server
from tests.services.his_bridge.test_fhir_histories import STEPS, History

ACCOUNTS = ("a1", "a2")
CHARGES = ("x", "y", "z")
# 冲红 as a charge of its own. Of a charge that turns negative itself the last good version stands.
RED = "red"
ADDS = {"billable", "billed"}


class ChargedHistory(History):
    """A hospital whose bills are the charges of an account."""

    def __post_init__(self) -> None:
        super().__post_init__()
        text = PROFILE.replace(BASE_URL, self.server.base_url)
        text = text.replace("demo-hospital", self.hospital).replace("page_size: 50", "page_size: 2")
        self.profile = parse_profile(f"{text}fhir_r4: {{bills_from: charge_item}}\n", "test")
        self.claims = ACCOUNTS if self.draw.random() < 0.3 else ACCOUNTS[:1]
        self.charges: dict[str, dict[str, tuple[str, int, int]]] = {one: {} for one in ACCOUNTS}
        self.accounts = dict.fromkeys(ACCOUNTS, "active")
        for key in ACCOUNTS:
            self._account(key)

    def _put(self, resource: dict[str, Any], delay_s: int = 0) -> None:
        key = f"{resource['resourceType']}/{resource['id']}"
        self.versions[key] = self.versions.get(key, 0) + 1
        self.server.put(resource)
        stored = self.server.others[resource["resourceType"], resource["id"]]
        stored.resource["meta"]["versionId"] = str(self.versions[key])
        stored.visible += timedelta(seconds=delay_s)

    def _account(self, key: str) -> None:
        shown = {**account(), "id": key, "identifier": [{"value": f"NO-{key}"}]}
        self._put({**shown, "coverage": [], "status": self.accounts[key]})
        self.steps.append(f"{key}: {self.accounts[key]}")

    def charge(self, key: str) -> None:
        """A charge is stated, stated anew, or was none."""
        if self.accounts[key] == "entered-in-error":
            return
        name = self.draw.choice((*CHARGES, RED))
        status = self.draw.choice(("billable",) * 4 + ("billed", "entered-in-error", "aborted"))
        quantity, yuan = self.draw.choice((1, 2, 3)), self.draw.choice((10, 20, 30))
        if name == RED:
            quantity, yuan = -quantity, -yuan
        delay_s = self.draw.choice((0, 0, 0, 3))
        self.charges[key][name] = (status, quantity, yuan * 100)
        said = {**charge(f"{key}{name}"), "status": status, "quantity": {"value": quantity}}
        at = {"account": [{"reference": f"Account/{key}"}], "priceOverride": money(yuan)}
        self._put({**said, **at}, delay_s)
        self.steps.append(f"{key}{name}: {status} {quantity} {yuan} +{delay_s}s")

    def turn(self, key: str) -> None:
        """The account goes on to its next state."""
        if self.accounts[key] == "active":
            self.accounts[key] = "inactive"
        elif self.draw.random() < 0.4:
            self.accounts[key] = "entered-in-error"
        else:
            return
        self._account(key)

    def consent(self, whose: str, how: str = "") -> None:
        super().consent(whose, how or self.draw.choice(("broad", "broad", "withdrawn")))

    def export(self) -> None:
        """No export here."""

    def _step(self, dice: float) -> None:
        key = self.draw.choice(self.claims)
        likely: tuple[tuple[float, Callable[[], Any]], ...] = (
            (0.38, lambda: self.charge(key)),
            (0.48, lambda: self.turn(key)),
            (0.58, lambda: self.consent("p1")),
            (0.80, self.pull),
            (1.0, self._some_hand_over),
        )
        next(do for most, do in likely if dice < most)()

    def _compare(self, key: str) -> None:
        holds = self.insurer.holds.get(f"NO-{key}")
        held = holds and holds[:2]
        counted = [
            fen
            for status, quantity, fen in self.charges[key].values()
            if status in ADDS and quantity > 0
        ]
        stated = (TOKEN, sum(counted))
        must: Sequence[Any] = [stated]
        if self.accounts[key] != "inactive" or not counted:
            must = [None]
        elif not self.consents.get(TOKEN):
            must = [None, *(one[:2] for one in self.insurer.had.get(f"NO-{key}", ()))]
        if held not in must:
            self.wrong.append(f"{key}: the insurer holds {held}, and must {must[:3]}")


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    with odd_server() as found:
        yield found


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=2)
    migrate(found, "services.his_bridge")
    yield found
    found.close()


def differing(database: Database, server: OddServer, seeds: Sequence[int]) -> dict[int, list[str]]:
    found = {}
    for seed in seeds:
        history = ChargedHistory(seed, database, server)
        wrong = history.play(STEPS)
        if wrong:
            found[seed] = [*wrong, *history.steps]
    return found


@pytest.mark.fault
def test_many_histories_of_charges(database: Database, server: OddServer) -> None:
    many = 200 if database.is_sqlite else 50
    assert differing(database, server, range(1_000, 1_000 + many)) == {}


@pytest.mark.fault
def test_the_oracle_tells_what_is_charged_in_error(
    database: Database, server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a bridge that lets stand what was entered in error."""
    adds = {**charge_item._OF_CHARGES, "entered-in-error": charge_item.What.ADDS}
    monkeypatch.setattr(charge_item, "_OF_CHARGES", adds)
    assert differing(database, server, range(1_000, 1_006)) != {}
