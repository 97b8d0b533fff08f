"""`lipei pricing renew start` and its steering beside a Temporal that has no worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.temporal import names
from services.common.temporal.connection import connect
from services.pricing.fitting.renewal.work import HELD
from stack.commands import pricing_renewals
from tests.services.pricing.fitting.renewal.books import people
from tests.stack.test_cli_pricing_renew import renewal_folder
from tests.stack.typed import Typed, lipei, run_module_forked
from tests.temporal import temporal


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with temporal(folder):
        yield folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return renewal_folder(tmp_path, people(40))


@pytest.fixture(autouse=True)
def imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing_renewals, "run_module", run_module_forked)


def renew(state: Path, folder: Path, word: str) -> Typed:
    return lipei("pricing", "renew", word, "-f", folder, "--state", state)


def with_change(folder: Path, change: str) -> None:
    """Other settings: another approved change."""
    path = folder / "pricing.yaml"
    lines = path.read_text("utf-8").splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("  approved_change"))
    lines[at] = f"  approved_change: '{change}'"
    path.write_text("\n".join(lines) + "\n", "utf-8")


def started(folder: Path) -> str:
    key: str = json.loads((folder / "renewal" / "started.json").read_bytes())["key"]
    return key


async def ended(state: Path, key: str) -> None:
    await (await connect(state)).get_workflow_handle(names.renew_book_id(key)).terminate()


def test_a_second_renewal_of_other_settings_is_refused_while_one_runs(
    state: Path, folder: Path
) -> None:
    assert renew(state, folder, "start").code == 0
    first = started(folder)
    with_change(folder, "0.05")
    refused = renew(state, folder, "start")
    assert refused.code == 2
    assert f"renewal {first} runs in this folder" in refused.err
    assert "`renew cancel` ends it" in refused.err
    assert started(folder) == first, "what pause, resume and result are about"
    held = list((folder / "renewal" / "work").glob(f"*/{HELD}"))
    assert [path.parent.name for path in held] == [first]
    # Control: the first one may be started again, and the other one once the first is over.
    with_change(folder, "0")
    assert renew(state, folder, "start").code == 0
    asyncio.run(ended(state, first))
    with_change(folder, "0.05")
    again = renew(state, folder, "start")
    assert again.code == 0, again.err
    assert started(folder) != first
    held = list((folder / "renewal" / "work").glob(f"*/{HELD}"))
    assert [path.parent.name for path in held] == [started(folder)]


def test_one_that_is_not_known_here_may_run_elsewhere(state: Path, folder: Path) -> None:
    other = folder / "renewal" / "work" / "0123456789abcdef"
    other.mkdir(parents=True)
    (other / HELD).write_bytes(b"")
    refused = renew(state, folder, "start")
    assert refused.code == 2
    assert "another installation may be at work on it" in refused.err
    assert f"remove {other}" in refused.err
    assert not (folder / "renewal" / "started.json").exists()


def test_what_is_over_is_not_steered_and_the_next_is_said(state: Path, folder: Path) -> None:
    assert renew(state, folder, "start").code == 0
    paused = renew(state, folder, "pause")
    assert paused.code == 0, paused.err
    assert f"next: `lipei pricing renew resume -f {folder / 'pricing.yaml'}`" in paused.out
    asyncio.run(ended(state, started(folder)))
    for word in ("pause", "resume", "cancel"):
        over = renew(state, folder, word)
        assert over.code == 1
        assert "it failed" in over.err
        assert "did not answer" not in over.err
