"""`lipei pricing evaluate`: an effect with its naive ratios, its checks, its card, and its next."""

from __future__ import annotations

import json
from pathlib import Path

from tests.services.pricing.fitting.models.joining import made, studied
from tests.stack.typed import lipei

SETTINGS = "format: 1\nevaluate: {least_claims: 5, controls: [injury]}\n"


def test_evaluate_writes_what_it_found_and_says_whether_to_believe_it(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    book = studied(made(2, 0.80, 3_000))
    book.experience.assign(synthetic=True).to_parquet(tmp_path / "study" / "experience.parquet")
    book.claims.to_parquet(tmp_path / "study" / "claims.parquet")
    (tmp_path / "pricing.yaml").write_text(SETTINGS, "utf-8")
    done = lipei("pricing", "evaluate", "-f", str(tmp_path))
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "evaluate" / "evaluation.json").read_bytes())
    assert [one["cause"] for one in found["checks"]] == ["inpatient", "outpatient", "injury"]
    assert found["synthetic"]
    assert found["believed"]
    assert "every check passed" in done.out
    assert "who joins differs from who does not" in done.out
    assert "who prove no programme" in done.out
    assert "next: `lipei pricing report" in done.out
    card = json.loads((tmp_path / "runs" / "0001-evaluate.json").read_bytes())
    assert set(card["inputs"]) == {"study/experience.parquet", "study/claims.parquet"}
    assert set(card["outputs"]) == {"evaluate/evaluation.json"}
    (tmp_path / "pricing.yaml").write_text(
        "format: 1\nevaluate: {affects: [inpatient], controls: [outpatient]}\n", "utf-8"
    )
    warned = lipei("pricing", "evaluate", "-f", str(tmp_path))
    assert warned.code == 0, warned.err
    assert "NOT TO BE BELIEVED" in warned.out
    assert not json.loads((tmp_path / "evaluate" / "evaluation.json").read_bytes())["believed"]


def test_every_fault_of_its_settings_comes_at_once(tmp_path: Path) -> None:
    (tmp_path / "pricing.yaml").write_text(
        "format: 1\nevaluate:\n  controls: []\n  conditions: [gout]\n  months_before: 0\n", "utf-8"
    )
    refused = lipei("pricing", "evaluate", "-f", str(tmp_path))
    assert refused.code == 2
    for told in ("name a cause that no programme", "gout is no condition", "from 1 to 24"):
        assert told in refused.err
    assert "Traceback" not in refused.err


def test_without_a_study_it_says_what_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pricing.yaml").write_text("format: 1\n", "utf-8")
    nothing = lipei("pricing", "evaluate", "-f", str(tmp_path))
    assert nothing.code == 2
    assert "study the book first" in nothing.err
