"""docs/his-bridge.md names every reason under its stage, and every key of a profile."""

from __future__ import annotations

from pathlib import Path

from services.his_bridge.core.faults import ADVICE, Stage
from services.his_bridge.profiles.loader import PullLimits

DOCUMENT = (Path(__file__).parents[3] / "docs" / "his-bridge.md").read_text("utf-8")


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
