"""The manual names every reason under its stage, every key of a profile and every gauge."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.core import GaugeMetricFamily

from services.common.database import Database, migrate
from services.his_bridge.core.faults import ADVICE, Stage
from services.his_bridge.metrics import BridgeMetrics
from services.his_bridge.profiles.loader import PullLimits

DOCUMENTS = Path(__file__).parents[3] / "docs"
DOCUMENT = (DOCUMENTS / "his-bridge.md").read_text("utf-8")


def test_every_reason_stands_under_its_stage() -> None:
    rows = {
        line.split("|")[1].strip(" `"): line
        for line in DOCUMENT.splitlines()
        if line.startswith("| `")
    }
    for stage in Stage:
        reasons = [f"`{reason}`" for reason, (where, _) in ADVICE.items() if where is stage]
        assert [reason for reason in reasons if reason not in rows[stage]] == []
        assert rows[stage].count("`") == 2 * (len(reasons) + 1)


def test_every_limit_of_a_pull_is_named() -> None:
    assert [name for name in PullLimits.__struct_fields__ if f"`{name}`" not in DOCUMENT] == []


def test_the_gauges_are_those_of_the_manual(sqlite_database: str) -> None:
    manual = (DOCUMENTS / "his-operations.md").read_text("utf-8")
    told = {
        cells[1].strip(" `"): cells[2].strip()
        for line in manual.splitlines()
        if line.startswith("| `lipei_his_")
        for cells in [line.split("|")]
    }
    database = Database(sqlite_database)
    migrate(database, "services.his_bridge")
    try:
        gauges = list(BridgeMetrics(database, ["h"], "insurers/insurer", lambda: 0).collect())
    finally:
        database.close()
    assert sorted(told) == sorted(gauge.name for gauge in gauges)
    labels = {
        gauge.name: tuple(gauge._labelnames)
        for gauge in gauges
        if isinstance(gauge, GaugeMetricFamily)
    }
    # Whether the database can be read is the bridge's, all else a hospital's.
    assert labels.pop("lipei_his_up") == ()
    assert told.pop("lipei_his_up") == ""
    assert labels == {
        name: ("hospital", label) if label else ("hospital",) for name, label in told.items()
    }
