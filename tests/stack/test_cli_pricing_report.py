"""`lipei pricing report` on a small simulated book: from nothing to a page and a workbook."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from openpyxl import load_workbook

from services.pricing.core.tariff import CategoryFeature
from services.pricing.fitting.models.fit_result import fit_from
from services.pricing.fitting.renewal.dislocation import Dislocation, Group
from services.pricing.fitting.report.validation import Validated
from services.pricing.fitting.run_card import digest
from tests.stack.typed import lipei


def run(*words: str | Path) -> str:
    """What a command of `lipei pricing` prints."""
    found = lipei("pricing", *words)
    assert found.code == 0, found.err
    return found.out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pricing")
    run("init", folder)
    run("simulate", "-f", folder, "--people", "1000", "--seed", "5")
    run("study", "-f", folder)
    run("fit", "-f", folder)
    return folder


@pytest.fixture(scope="module")
def said(fitted: Path) -> str:
    """What `report` prints of it; a report takes seconds, so that one serves many tests."""
    return run("report", "-f", fitted)


def test_a_report_is_one_page_that_asks_nobody_with_every_chapter_and_its_tables(
    fitted: Path, said: str
) -> None:
    assert "synthetic" in said
    page = (fitted / "report" / "report.html").read_text("utf-8")
    first = ("look", "level", "separation", "factors", "claims", "tables", "models")
    for chapter in (*first, "residuals", "survival", "fairness"):
        assert f'id="{chapter}"' in page
    assert "Synthetic: simulated people" in page
    assert page.count("<svg") > 20
    shown = fit_from((fitted / "fit" / "fit.json").read_bytes())
    for cause in shown.causes:
        for model in (cause.frequency, cause.severity):
            assert f"(n − p) {model.pearson_dispersion:.3f}" in page
            for one in model.coefficients:
                errors = f"<td>{one.se_naive:.4f}</td><td>{one.se_robust:.4f}</td>"
                assert errors + f"<td>{one.se_clustered:.4f}</td>" in page
        assert f"Residuals of amounts: {cause.en}" in page
        assert f"Claims of {cause.en} by age" in page
        assert f"and proportional hazards: {cause.en}" in page
        assert f"Time to the first claim: {cause.en}" in page
    assert "<dt>valuation day</dt><dd>2026-01-01</dd>" in page
    assert "an interval of 95 % that does not hold 1" in page
    assert not re.search(r'(?:src|href)="(?!#)', page.replace("xlink:", "")), "nothing is fetched"
    assert "<script" not in page
    told = msgspec.json.decode((fitted / "report" / "validation.json").read_bytes(), type=Validated)
    assert told.fit_sha256 == digest(fitted / "fit" / "fit.json")
    assert told.selection_sha256 is None
    found = told.validation
    assert [one.name for one in found.held_out] == ["last_year", "person"]
    for part in found.held_out:
        assert len(part.deciles) == 10
        assert part.gini_millionths is not None
    assert {one.of for one in found.fairness} > {"sex F", "sex M", "region north"}
    assert {one.cause for one in found.hazards} <= {"inpatient", "outpatient", "injury"}
    assert any(one.p_millionths is not None for one in found.hazards)
    book = load_workbook(fitted / "report" / "tables.xlsx", read_only=True)
    assert len(book.sheetnames) > 20
    (samples,) = (name for name in book.sheetnames if "Overall" in name)
    rows = list(book[samples].iter_rows(values_only=True))
    samples_told = ["learnt from", "the last year, held out", "people held out"]
    assert [row[0] for row in rows[2:]] == samples_told
    (train,) = (row for row in rows[2:] if row[0] == "learnt from")
    assert train[5] == pytest.approx(1), "the level is set to what was learnt from"


@pytest.mark.usefixtures("said")
def test_levels_stand_by_the_tariff_s_titles_in_its_order(fitted: Path) -> None:
    page = (fitted / "report" / "report.html").read_text("utf-8")
    shown = fit_from((fitted / "fit" / "fit.json").read_bytes())
    (condition,) = (one for one in shown.features if one.name == "condition")
    assert isinstance(condition, CategoryFeature)
    for cause in shown.causes:
        _, found, after = page.partition(f">Time to the first claim: {cause.en}")
        assert found
        legend = re.findall(r"<text[^>]*>([^<]+)</text>", after.partition("</svg>")[0])
        titles = [one for one in legend if one in {level.en for level in condition.levels}]
        assert titles == [level.en for level in condition.levels], cause.name
    _, found, after = page.partition(">Fairness by sex")
    assert found
    assert {"female", "male"} <= set(re.findall(r"<t[dh][^>]*>([^<]+)</t[dh]>", after))
    assert ">type2_diabetes<" not in page


@pytest.mark.usefixtures("said")
def test_what_is_made_of_people_is_its_owner_s_alone(fitted: Path) -> None:
    """A cell of one claim has its amount; a survival curve has the days of claims."""
    run("select", "-f", fitted)
    for name in ("fit", "report", "select", "runs"):
        folder = fitted / name
        assert folder.stat().st_mode & 0o777 == 0o700
        open_to_others = {one.name for one in folder.iterdir() if one.stat().st_mode & 0o077}
        # A simulation tells of nobody.
        assert open_to_others <= {"0001-simulate.json"}, name
    shutil.rmtree(fitted / "select")


@pytest.mark.fault
def test_the_template_fits_its_own_book_and_passes_the_cap_of_a_fifth(
    fitted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    shutil.copytree(fitted, folder)
    made = fit_from((folder / "fit" / "fit.json").read_bytes())
    truth = json.loads((folder / "book" / "truth.json").read_bytes())["truth"]["severity"]
    for cause in made.causes:
        true = truth[cause.name]["dispersion"]
        assert cause.severity.pearson_dispersion == pytest.approx(true, rel=0.35), cause.name
    outcomes = [
        table for one in made.causes for table in one.tables if table.name in ("hba1c", "systolic")
    ]
    assert outcomes
    assert all(table.cells[-1].exposure for table in outcomes), "no band that nobody can be in"
    yaml = folder / "pricing.yaml"
    written = yaml.read_text("utf-8")
    cap = "credit_cap: {share: '0.20', source: the regulation}"
    assert f"  # {cap}" in written
    yaml.write_text(written.replace(f"  # {cap}", f"  {cap}"), "utf-8")
    run("select", "-f", folder)
    done = lipei("pricing", "propose", "--no-send", "-f", folder)
    assert " passed: credit_cap" in done.out, done.out + done.err


def test_without_a_fit_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    run("init", tmp_path)
    found = lipei("pricing", "report", "-f", tmp_path)
    assert found.code == 1
    assert "lipei pricing fit" in found.err


@pytest.fixture(scope="module")
def odd(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study without regions, its book gone, beside another tariff's renewal; what it printed."""
    folder = tmp_path_factory.mktemp("odd") / "p"
    shutil.copytree(fitted, folder)
    shutil.rmtree(folder / "book")
    # The column may be left out of the book; the study then has it without a value.
    study = folder / "study" / "experience.parquet"
    pd.read_parquet(study).assign(region=None).to_parquet(study)
    yaml = folder / "pricing.yaml"
    written = yaml.read_text("utf-8")
    # Fewer pictures to draw: two factors, and models of one cause.
    few = re.sub(r"frequency: \[.*\]", "frequency: [age, sex]", written)
    few, others = re.subn(
        r"^    (?:outpatient|injury):\n(?: {6}.*\n)+", "", few, flags=re.MULTILINE
    )
    assert others == 2
    yaml.write_text(few, "utf-8")
    run("fit", "-f", folder)
    moved = folder / "renewal" / "dislocation.json"
    moved.parent.mkdir()
    group = Group(
        name="the book",
        policies=1,
        expiring_minor=1.0,
        technical_minor=1.0,
        uncredited_minor=1.0,
        charged_minor=1.0,
        change=0.0,
        uncredited_change=0.0,
        charged_to_technical=1.0,
        held_up=0.0,
        held_down=0.0,
        credit=0.0,
        quantiles=(),
    )
    older = Dislocation(
        tariff="older@sha256:" + "0" * 64,
        synthetic=True,
        book=group,
        bands=(),
        groups={},
        up=(),
        down=(),
    )
    moved.write_bytes(msgspec.json.encode(older))
    return folder, run("report", "-f", folder)


@pytest.mark.fault
def test_a_dislocation_of_another_tariff_and_a_fit_of_before_are_not_shown(
    odd: tuple[Path, str], tmp_path: Path
) -> None:
    reported, said = odd
    assert "older@sha256:" in said
    assert "its dislocation is left out" in said
    assert 'id="dislocation"' not in (reported / "report" / "report.html").read_text("utf-8")
    folder = tmp_path / "p"
    shutil.copytree(reported, folder)
    written = (folder / "pricing.yaml").read_text("utf-8")
    (folder / "pricing.yaml").write_text(written.replace("thin_claims: 100", "thin_claims: 99"))
    stale = lipei("pricing", "report", "-f", folder)
    assert stale.code == 2
    assert "other settings under `fit`" in stale.err
    (folder / "pricing.yaml").write_text(
        written.replace("first_day: 2023-01-01", "first_day: 2023-07-01")
    )
    for command in ("report", "evaluate"):
        stale = lipei("pricing", command, "-f", folder)
        assert stale.code == 2, command
        assert "study.first_day was" in stale.err, command


@pytest.mark.fault
def test_a_book_without_regions_has_a_report(odd: tuple[Path, str]) -> None:
    folder, _ = odd
    page = (folder / "report" / "report.html").read_text("utf-8")
    assert ">Fairness by sex" in page
    assert ">Fairness by region" not in page
    told = msgspec.json.decode((folder / "report" / "validation.json").read_bytes(), type=Validated)
    assert not [one for one in told.validation.fairness if "region" in one.of]


@pytest.mark.fault
def test_a_rerun_gives_the_same_bytes_at_another_time_too(odd: tuple[Path, str]) -> None:
    """A workbook holds the second at which it was made, unless it is taken out."""
    folder, _ = odd
    *_, card = sorted((folder / "runs").glob("*-report.json"))
    assert "3 outputs, the same bytes" in run("rerun", card)
