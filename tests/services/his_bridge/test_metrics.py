"""What Prometheus scrapes tells where records stand, by hospital, and nothing of anybody."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.his_bridge.metrics import BridgeMetrics, exposed
from services.his_bridge.sources.port import SourceFault
from stack.probes import free_ports
from tests.services.his_bridge.consenting import INSURER
from tests.services.his_bridge.population import good
from tests.services.his_bridge.test_operations import (
    BILLS,
    H,
    Place,
    acting,
    reconcile,
    with_local_code,
    write,
)

Samples = dict[tuple[str, ...], float]


def scraped(place: Place) -> dict[str, Samples]:
    """Gauge → label values → value, over HTTP."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    metrics = BridgeMetrics(place.database, [H], INSURER, lambda: place.now[0])
    url = f"http://{address}/metrics"
    with exposed(metrics, address), urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    with pytest.raises(urllib.error.URLError):  # it stops with its block
        urllib.request.urlopen(url, timeout=60)
    assert "k1." not in text  # no member token, of which every bill has one
    return {
        family.name: {_labels(one.labels): one.value for one in family.samples}
        for family in text_string_to_metric_families(text)
    }


def _labels(found: dict[str, str]) -> tuple[str, ...]:
    return (found["hospital"], *(value for key, value in found.items() if key != "hospital"))


def test_the_gauges_tell_what_the_database_has(database_url: str) -> None:
    async def work(place: Place) -> None:
        assert scraped(place)["lipei_his_lag_seconds"] == {}
        write(place.server, with_local_code(good(BILLS)[1][0], "A1"))
        await place.pull()
        place.now[0] += 90_000_000
        gauges = scraped(place)
        assert gauges["lipei_his_lag_seconds"] == {(H, "bills"): 90.0}
        assert gauges["lipei_his_quarantine"] == {(H, "CODE_NOT_MAPPED"): 1.0}
        assert gauges["lipei_his_bills"] == {(H, "pending"): BILLS - 1}
        assert gauges["lipei_his_inbox_unread"][H, "bills"] == 0.0
        assert gauges["lipei_his_reconciliation_difference"] == {}
        del place.server.records["b00003"]
        await place.call("ReconcileSource", reconcile())
        gauges = scraped(place)
        assert gauges["lipei_his_reconciliation_difference"] == {
            (H, "missing"): 0.0,
            (H, "extra"): 1.0,
            (H, "other_total"): 0.0,
        }
        place.server.script = [(500, {}, b"")] * 10
        with pytest.raises(SourceFault):
            await place.pull()
        assert scraped(place)["lipei_his_failures_in_a_row"][H, "bills"] == 1.0

    acting(database_url, work)
