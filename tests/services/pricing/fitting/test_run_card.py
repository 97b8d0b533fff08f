"""Run cards: what was run can be run again, and what differs is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from services.pricing.fitting import run_card

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def written(folder: Path, *, seed: int = 1) -> Path:
    (folder / "in.csv").write_text("a\n")
    (folder / "out.csv").write_text(f"{seed}\n")
    started = run_card.Started(
        command="study",
        arguments=("--people", "5"),
        seed=seed,
        settings_sha256="ab",
        inputs=run_card.digests(folder, [folder / "in.csv"]),
        at=NOW,
    )
    return run_card.finish(folder, started, outputs=[folder / "out.csv"], synthetic=True, ended=NOW)


def test_cards_are_numbered_and_read_back(tmp_path: Path) -> None:
    names = [written(tmp_path).name for _ in range(2)]
    assert names == ["0001-study.json", "0002-study.json"]
    card = run_card.read_card(tmp_path / "runs" / names[1])
    assert card.arguments == ("--people", "5")
    assert card.synthetic
    assert set(card.inputs) == {"in.csv"}
    assert {"lipei", "numpy", "pandas", "glum", "lifelines"} <= set(card.versions)


def test_two_runs_at_once_never_share_a_number(tmp_path: Path) -> None:
    started = run_card.Started(
        command="study", arguments=(), seed=None, settings_sha256="ab", inputs={}, at=NOW
    )
    commands = [msgspec.structs.replace(started, command=name) for name in ("fit", "study") * 10]

    def finished(one: run_card.Started) -> Path:
        return run_card.finish(tmp_path, one, outputs=[], synthetic=False, ended=NOW)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(finished, commands))
    numbers = sorted(path.name[:4] for path in made)
    assert numbers == [f"{number:04d}" for number in range(1, 21)]
    assert len(list((tmp_path / "runs").iterdir())) == 20, "nothing else is left"


def test_a_number_that_a_killed_run_has_taken_stays_taken(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "runs" / "0002.taken").touch()
    assert written(tmp_path).name == "0003-study.json"


def test_the_same_bytes_differ_in_nothing(tmp_path: Path) -> None:
    cards = [run_card.read_card(written(tmp_path)) for _ in range(2)]
    assert run_card.differences(*cards) == []
    other = msgspec.structs.replace(cards[1], settings_sha256="cd")
    assert run_card.differences(cards[0], other) == [], "a setting that it does not read"


def test_what_differs_is_told(tmp_path: Path) -> None:
    before = run_card.read_card(written(tmp_path))
    after = run_card.read_card(written(tmp_path, seed=2))
    after = msgspec.structs.replace(
        after, settings_sha256="cd", inputs={}, versions={**after.versions, "numpy": "0"}
    )
    told = run_card.differences(before, after)
    assert [text.split(":")[0] for text in told[:2]] == ["input in.csv", "output out.csv"]
    assert told[2] == "pricing.yaml has changed since"
    assert told[3].startswith("version of numpy")
