"""What Prometheus scrapes tells where records stand, by hospital, and nothing of anybody."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from services.common.database import Database
from services.common.settings import UnknownSetting
from services.his_bridge.metrics import BridgeMetrics, exposed
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.storage import lists
from services.his_bridge.storage.tables import released_bill
from stack.probes import free_ports
from tests.services.his_bridge.consenting import INSURER
from tests.services.his_bridge.population import good
from tests.services.his_bridge.test_operations import (
    BILLS,
    FOREVER,
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
    return (
        found.get("hospital", ""),
        *(value for key, value in found.items() if key != "hospital"),
    )


def test_the_gauges_tell_what_the_database_has(database_url: str) -> None:
    async def work(place: Place) -> None:
        assert scraped(place)["lipei_his_lag_seconds"] == {}
        write(place.server, with_local_code(good(BILLS)[1][0], "A1"))
        await place.pull()
        place.now[0] += 90_000_000
        gauges = scraped(place)
        assert gauges["lipei_his_up"] == {("",): 1.0}
        assert gauges["lipei_his_lag_seconds"] == {(H, "bills"): 90.0}
        assert gauges["lipei_his_quarantine"] == {(H, "CODE_NOT_MAPPED"): 1.0}
        assert gauges["lipei_his_bills"] == {(H, "pending"): BILLS - 1}
        assert gauges["lipei_his_failing_bills"] == {}
        assert gauges["lipei_his_inbox_unread"][H, "bills"] == 0.0
        assert gauges["lipei_his_reconciliation_difference"] == {}
        gone = place.server.records.pop("b00003")
        await place.call("ReconcileSource", reconcile())
        gauges = scraped(place)
        assert gauges["lipei_his_reconciliation_difference"] == {
            (H, "missing"): 0.0,
            (H, "extra"): 1.0,
            (H, "other_total"): 0.0,
        }
        with place.database.writing() as connection:
            (name,) = connection.execute(select(released_bill.c.name).limit(1)).scalars()
            failed = lists.Answer(
                bill=name, delivery="PENDING", claims=(), refusal_reasons=("UNEXPECTED_FAULT",)
            )
            lists.acknowledge(connection, H, "", [failed], recipient=INSURER, now_us=place.now[0])
        gauges = scraped(place)
        assert gauges["lipei_his_failing_bills"] == {(H, "UNEXPECTED_FAULT"): 1.0}
        assert gauges["lipei_his_bills"] == {(H, "pending"): BILLS - 1}
        # Who compares days without bills ends no alarm; who compares that day once more does.
        await place.call("ReconcileSource", reconcile("2024-01-01", "2024-01-31"))
        gauges = scraped(place)
        assert gauges["lipei_his_reconciliation_difference"][H, "extra"] == 1.0
        place.server.records["b00003"] = gone
        await place.call("ReconcileSource", reconcile())
        gauges = scraped(place)
        assert gauges["lipei_his_reconciliation_difference"][H, "extra"] == 0.0
        place.server.script = [(500, {}, b"")] * 10
        with pytest.raises(SourceFault):
            await place.pull()
        assert scraped(place)["lipei_his_failures_in_a_row"][H, "bills"] == 1.0

    acting(database_url, work)


@pytest.mark.on_postgresql
def test_a_channel_that_no_profile_reads_any_more_has_no_lag(database_url: str) -> None:
    async def work(place: Place) -> None:
        assert place.hospital.readings is not None
        await place.pull()
        await place.hospital.readings.pull(5000, FOREVER)
        found = {
            without: [
                one.labels["channel"]
                for family in BridgeMetrics(
                    place.database, [H], INSURER, lambda: 0, without
                ).collect()
                for one in family.samples
                if family.name == "lipei_his_lag_seconds"
            ]
            for without in ((), (H,))
        }
        assert found == {(): ["bills", "readings"], (H,): ["bills"]}

    acting(database_url, work)


def test_a_database_that_is_away_is_a_gauge_and_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    database = Database("postgresql+psycopg://lipei:s3cret@127.0.0.1:1/away")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    metrics = BridgeMetrics(database, [H], INSURER, lambda: 0)
    with exposed(metrics, address), urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    database.close()
    assert [one.name for one in text_string_to_metric_families(text)] == ["lipei_his_up"]
    assert "lipei_his_up 0.0" in text
    said = "".join(capfd.readouterr())
    for word in ("s3cret", "127.0.0.1:1/", "Traceback"):
        assert word not in said + text


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "192.0.2.7:9464", "taken"])
def test_an_address_at_which_nobody_can_listen_is_said(address: str) -> None:
    database = Database("postgresql+psycopg://lipei@127.0.0.1:1/never-asked")
    metrics = BridgeMetrics(database, [H], INSURER, lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if address == "taken":
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = "METRICS_ADDRESS: nobody can listen"
        with pytest.raises(UnknownSetting, match=words), exposed(metrics, address):
            raise AssertionError("it listens")
    database.close()
