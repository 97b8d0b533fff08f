"""Checking and publishing a tariff from a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.pricing.tariffs.__main__ import main
from tests.services.pricing.at_hand import DEMO_FILE, demo_rates, demo_tree, unsealed


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """The demo tariff before publication: its hash is not written yet."""
    path = tmp_path / "draft.json"
    text = DEMO_FILE.read_text("utf-8")
    path.write_text(text.replace(demo_tree()["sha256"], ""), "utf-8")
    return path


def test_check_prints_the_name_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = DEMO_FILE.read_bytes()
    assert main(["check", str(DEMO_FILE)]) == 0
    assert demo_rates().version in capsys.readouterr().out
    assert DEMO_FILE.read_bytes() == before


def test_seal_writes_the_hash_and_nothing_else(draft: Path) -> None:
    assert main(["check", str(draft)]) == 1
    assert main(["seal", str(draft)]) == 0
    assert draft.read_bytes() == DEMO_FILE.read_bytes()


def test_seal_refuses_a_tariff_that_misses_its_golden_quotes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = demo_tree()
    tree["tariff"]["golden_quotes"][0]["premium_minor"] += 1
    path = tmp_path / "off.json"
    path.write_bytes(unsealed(tree))
    before = path.read_bytes()
    assert main(["seal", str(path)]) == 1
    assert "golden_quotes[0].premium_minor" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["check"], ["publish", "x"], ["check", "nowhere.json"]])
def test_a_wrong_call_is_told_apart_from_a_wrong_tariff(arguments: list[str]) -> None:
    assert main(arguments) == 2
