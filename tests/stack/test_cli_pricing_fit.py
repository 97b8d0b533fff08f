"""`lipei pricing fit`: from a study's files to fit.json, the same bytes when it is run again."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from services.pricing.fitting.models.fit_result import (
    FitWarning,
    Loads,
    Scaling,
    cell_title,
    fit_from,
)
from stack.commands.pricing_fit import scaled, warned
from tests.services.pricing.fitting.models.fitting import SETTINGS
from tests.services.pricing.fitting.models.made_book import made_book
from tests.services.pricing.fitting.selection.hand_made import hand_made
from tests.stack.typed import lipei


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pricing")
    (made / "study").mkdir()
    book = made_book(600, 2)
    book.experience.assign(synthetic=True).to_csv(made / "study" / "experience.csv", index=False)
    book.claims.to_parquet(made / "study" / "claims.parquet")
    (made / "pricing.yaml").write_text(f"format: 1\n{SETTINGS}", "utf-8")
    return made


def test_fit_writes_a_fit_and_its_card_and_says_what_comes_next(folder: Path) -> None:
    done = lipei("pricing", "fit", "-f", str(folder))
    assert done.code == 0, done.err
    found = fit_from((folder / "fit" / "fit.json").read_bytes())
    assert [cause.name for cause in found.causes] == ["inpatient"]
    assert found.synthetic
    assert "synthetic" in done.out
    assert "lipei pricing select" in done.out
    card = json.loads((folder / "runs" / "0001-fit.json").read_bytes())
    assert set(card["inputs"]) == {"study/experience.csv", "study/claims.parquet"}
    assert set(card["outputs"]) == {"fit/fit.json"}
    assert {"glum", "lifelines", "numpy", "pandas", "lipei", "python"} <= set(card["versions"])


def test_a_fit_of_other_settings_than_now_is_not_selected_from(folder: Path) -> None:
    yaml = folder / "pricing.yaml"
    written = yaml.read_text("utf-8")
    assert lipei("pricing", "select", "-f", str(folder)).code == 0
    yaml.write_text(written.replace("fit:\n", "fit:\n  thin_claims: 77\n"), "utf-8")
    refused = {
        command: lipei("pricing", command, "-f", str(folder)) for command in ("select", "propose")
    }
    yaml.write_text(written, "utf-8")
    for done in refused.values():
        assert done.code == 2
        assert "fit/fit.json is of another study, or of other settings under `fit`" in done.err
        assert "lipei pricing fit" in done.err


def test_rerun_gives_the_same_bytes_and_tells_when_the_study_has_changed(folder: Path) -> None:
    card = str(folder / "runs" / "0001-fit.json")
    same = lipei("pricing", "rerun", card)
    assert same.code == 0, same.err
    assert "the same bytes" in same.out
    experience = folder / "study" / "experience.csv"
    written = experience.read_text("utf-8").splitlines(keepends=True)
    experience.write_text("".join(written[:-3]), "utf-8")
    claims = made_book(600, 2).claims
    claims[claims["segment_id"] < 1_797].to_parquet(folder / "study" / "claims.parquet")
    other = lipei("pricing", "rerun", card)
    assert other.code == 1
    assert "output fit/fit.json" in other.err
    assert "input study/experience.csv" in other.err


def test_what_cannot_be_fitted_is_told_in_sentences(tmp_path: Path) -> None:
    (tmp_path / "pricing.yaml").write_text(f"format: 1\n{SETTINGS}", "utf-8")
    nothing = lipei("pricing", "fit", "-f", str(tmp_path))
    assert nothing.code == 2
    assert "study the book first" in nothing.err
    assert "Traceback" not in nothing.err
    unbounded = SETTINGS.replace("one_reading_at_most: '0.40', ", "")
    (tmp_path / "pricing.yaml").write_text(f"format: 1\n{unbounded}", "utf-8")
    missing = lipei("pricing", "fit", "-f", str(tmp_path))
    assert missing.code == 2
    assert "one_reading_at_most: must be given" in missing.err


def test_a_card_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("[]", "utf-8")
    assert lipei("pricing", "rerun", str(tmp_path / "card.json")).code == 2
    assert lipei("pricing", "rerun", str(tmp_path / "none.json")).code == 2


def test_fit_says_how_far_the_bases_stand_from_the_best_estimate() -> None:
    loads = Loads(
        fixed_expense_e4=60_000_000, variable_expense_millionths=120_000, profit_millionths=50_000
    )
    fit = msgspec.structs.replace(
        hand_made(),
        target_loss_ratio=0.7,
        loads=loads,
        scaling=Scaling(pure_minor=480_000.0, factor=1.1732),
    )
    told = list(scaled(fit))
    assert told[0].endswith("best estimate times 1.1732, to reach the target loss ratio of 70.0%:")
    assert told[-1] == (
        "  the loads alone would give 82.0%; claims and expenses leave 17.1% of the gross premium, "
        "the declared profit is 5.0%"
    )
    assert list(scaled(hand_made())) == ["bases are best estimates: no target loss ratio is set"]


def test_warnings_stand_by_cause_and_factor_with_most_money_first() -> None:
    fit = hand_made()
    cause = fit.causes[0]
    table = cause.tables[0]
    names = [cell_title(cell) for cell in table.cells]
    warnings = [
        FitWarning(code="THIN_LEVEL", where=f"{cause.name}.{table.name}.{name}", zh="稀", en="thin")
        for name in names[:5]
    ]
    base = f"{cause.name}.{table.name}.{names[5]}"
    whole = f"{cause.name}.frequency"
    warnings += [
        FitWarning(code="THIN_BASE", where=base, zh="基", en="base"),
        FitWarning(code="OVERDISPERSED", where=whole, zh="散", en="dispersed"),
    ]
    head, first, second = warned(msgspec.structs.replace(fit, warnings=tuple(warnings)))
    assert "most money" in head
    assert first.strip().startswith(f"{whole}: 1 warning on claims of ")
    assert first.endswith(": dispersed")
    assert second.strip().startswith(f"{cause.name}.{table.name}: 6 warnings on claims of ")
    assert second.endswith(f": thin base level {names[5]}; thin {', '.join(names[:4])} and 1 more")
    assert list(warned(msgspec.structs.replace(fit, warnings=()))) == []
