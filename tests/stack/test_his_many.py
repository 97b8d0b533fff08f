"""`lipei his replay` and `reconcile` over many records and days, against a bridge of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.common.transport.certificates import FOLDER
from tests.identities import equip
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.running import running_bridge
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server
from tests.stack.typed import Typed, lipei

H = "demo-hospital"
BAD, GOOD = 104, 3
LEFT_OUT = (
    "1 record left out: the HIS sent two contents under one version, and nobody can say which is "
    "right. A new version of the record resolves it by itself; `lipei his quarantine "
    f"{H}` names them"
)


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    around, claims, _ = good(BAD + GOOD)
    with odd_server() as found:
        for one in around:
            found.put(one)
        for number, one in enumerate(claims):
            content: dict[str, Any] = {key: value for key, value in one.items() if key != "id"}
            if number < BAD:
                content["total"] = {"value": 0.01, "currency": "CNY"}
            found.now += timedelta(seconds=1)
            found.write(one["id"], **content)
        yield found


@pytest.fixture(scope="module")
def state(server: OddServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "profiles").mkdir()
    (folder / "profiles" / f"{H}.yaml").write_text(PROFILE.replace(BASE_URL, server.base_url))
    with running_bridge(folder / "state", folder / "profiles") as bridge:
        found = equip(bridge.state, sandbox=True)
        for kind in ("pem", "key"):  # the tests' one desk of a hospital, as the sandbox names it
            desk = found / FOLDER / f"desk-hospital.{kind}"
            shutil.copy2(desk, desk.with_stem(f"desk-hospital-{H}"))
        assert bridge.pull_all().quarantined == BAD
        # The same version of the last bill with other bytes: a conflict.
        server.records[f"b{BAD + GOOD - 1:05}"].resource["created"] = "2026-03-05"
        assert bridge.pull_all().quarantined == 1
        yield found


def typed(state: Path, *words: str) -> Typed:
    return lipei("his", words[0], H, *words[1:], "--state", state)


def test_all_that_waits_is_replayed_in_portions_that_are_shown(state: Path) -> None:
    done = typed(state, "replay", "--all")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"{BAD} records read once more: 0 released, 0 held, {BAD} in quarantine again",
        LEFT_OUT,
    ]
    assert done.said == [f"replaying: {n} of {BAD + 1} records" for n in (100, BAD)]
    # A request that is repeated answers the same and replays nothing more.
    words = ("replay", "--max", "101", "--request-id", "twice", "--json")
    first, second = json.loads(typed(state, *words).out), json.loads(typed(state, *words).out)
    assert first["replayed_count"] == second["replayed_count"] == 101
    one = typed(state, "replay", "--max", "1")
    assert (one.out.partition(":")[0], one.said) == ("1 record read once more", [])


def test_what_contradicts_itself_is_left_out_with_the_reason(state: Path) -> None:
    shown = typed(state, "replay", "--stage", "conflict").out.splitlines()
    assert shown[0].startswith("0 records read once more")
    assert shown[1:] == [LEFT_OUT]
    both = typed(state, "replay", "name", "--all")
    assert both.code == 2


def test_many_days_are_compared_step_by_step(state: Path) -> None:
    days = ("--from", "2026-01-01", "--to", "2026-03-31")
    done = typed(state, "reconcile", *days)
    assert done.said == ["comparing: 1 of 3 steps", "comparing: 2 of 3 steps"]
    assert done.out.endswith("every bill of the source is accounted for\n")
    windows = json.loads(typed(state, "reconcile", *days, "--step", "45", "--json").out)["windows"]
    assert [
        (w["reconciliation"]["first_day"], w["reconciliation"]["last_day"]) for w in windows
    ] == [
        ("2026-01-01", "2026-02-14"),
        ("2026-02-15", "2026-03-31"),
    ]
    one = typed(state, "reconcile", *days, "--step", "366", "--json")
    assert json.loads(one.out)["reconciliation"]["agrees"]
    assert not one.said
    wrong = typed(state, "reconcile", "--from", "2026-02-30", "--to", "2026-03-31")
    assert wrong.code == 2
    assert wrong.said == ["--from: must be a date of the calendar, written YYYY-MM-DD"]
