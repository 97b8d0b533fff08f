"""A renewal under `lipei up` whose worker, Temporal and whole machine fall: the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.pricing.fitting.renewal.books import people
from tests.stack.test_cli_pricing_renew import renewal_folder
from tests.stack.test_cli_stack import Stack, until
from tests.stack.typed import lipei

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
SHARDS = 128


def kill(stack: Stack, name: str) -> None:
    account = json.loads((stack.state / "processes.json").read_text())[name]
    os.kill(account["pid"], signal.SIGKILL)


def files_of(folder: Path) -> dict[str, bytes]:
    found = (folder / "renewal").rglob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if path.is_file() and path.name != "started.json"
    }


def test_a_renewal_whose_worker_and_temporal_are_killed_and_all_stopped_has_the_same_bytes(
    tmp_path: Path,
) -> None:
    folder = renewal_folder(tmp_path / "tariff", people(60_000))
    settings = folder / "pricing.yaml"
    settings.write_text(settings.read_text("utf-8").replace("shards: 64", f"shards: {SHARDS}"))
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    assert lipei("pricing", "renew", "-f", whole).code == 0
    stack = Stack(tmp_path)

    def told(word: str) -> Any:
        return stack.lipei(
            "pricing", "renew", word, "-f", folder, *(["--json"] * (word == "status"))
        )

    def when(holds: Callable[[Any], bool]) -> Any:
        found: list[Any] = []

        def held() -> bool:
            typed = told("status")  # fails while Temporal or the worker is away
            if typed.code != 0:
                return False
            found[:] = [json.loads(typed.out)["progress"]]
            return holds(found[0])

        until(held)
        return found[0]

    try:
        stack.until_ready()
        assert told("start").code == 0
        assert told("pause").code == 0  # the worker is only started by now
        when(lambda now: bool(now["paused"]))
        assert stack.stop(signal.SIGTERM) == 0
        stack = Stack(tmp_path)
        stack.until_ready()
        rests = when(lambda now: bool(now["paused"]))
        assert rests["phase"] != "RENEWAL_PHASE_DONE", "the control: there is work left"
        assert told("resume").code == 0
        when(lambda now: now["phase"] != rests["phase"])
        kill(stack, "worker:renewals")
        when(lambda now: now["phase"] != rests["phase"])
        kill(stack, "temporal")
        kill(stack, "worker:renewals")
        when(lambda now: now["phase"] == "RENEWAL_PHASE_DONE")
        done = told("result")
        assert done.code == 0, done.err
        assert "next: `lipei pricing report" in done.out
    finally:
        stack.stop(signal.SIGTERM)
    assert files_of(folder) == files_of(whole)
