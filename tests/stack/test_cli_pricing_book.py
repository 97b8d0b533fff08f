"""`lipei pricing` from an empty folder to a study: init, simulate, check, study, rerun."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from services.pricing.fitting.experience.checking import SEGMENT_COLUMNS
from services.pricing.fitting.experience.outcome import Stratum
from stack.commands.pricing_folder import opened
from stack.commands.pricing_study import refuse_other_study, stratum_row
from tests.stack.typed import Typed, lipei


def pricing(folder: Path, command: str, *words: str) -> Typed:
    return lipei("pricing", command, "-f", folder / "pricing.yaml", *words)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pricing folder with a simulated and studied book of 2,000 people."""
    folder = tmp_path_factory.mktemp("pricing") / "p"
    assert lipei("pricing", "init", folder).code == 0
    done = pricing(folder, "simulate", "--people", "2000", "--seed", "3")
    assert done.code == 0, done.err
    assert "SYNTHETIC" in done.out
    done = pricing(folder, "check")
    assert done.code == 0, done.err
    assert "next: `lipei pricing study" in done.out
    done = pricing(folder, "study")
    assert done.code == 0, done.err
    assert "SYNTHETIC" in done.out
    assert "chain ladder, counts" in done.out
    assert "next: `lipei pricing fit" in done.out
    return folder


def test_the_study_writes_its_seam(studied: Path) -> None:
    told = json.loads((studied / "study" / "study.json").read_bytes())
    experience = pd.read_parquet(studied / "study" / "experience.parquet")
    claims = pd.read_parquet(studied / "study" / "claims.parquet")
    assert told["synthetic"]
    assert experience["synthetic"].all()
    assert len(experience) == told["segments"]
    assert (experience["segment_id"] == range(len(experience))).all()
    assert set(experience["holdout"]) == {"train", "last_year", "person"}
    by_person = experience.groupby("person_id")["holdout"].agg(lambda part: "person" in set(part))
    held = experience["person_id"].map(by_person)
    assert ((experience["holdout"] == "person") == held).all()  # whole people, never single rows
    for one in told["causes"]:
        cause = one["cause"]
        mine = claims[(claims["cause"] == cause) & ~claims["zero"]]
        assert experience[f"claims_{cause}"].sum() == len(mine) == one["claims"]
        total = experience[f"loss_{cause}_minor"].sum() + experience[f"excess_{cause}_minor"].sum()
        assert total == pytest.approx(mine["loss_minor"].sum() + mine["excess_minor"].sum())
        assert experience[f"loss_{cause}_minor"].max() <= one["threshold_minor"] * one["claims"]
        assert experience[f"frequency_offset_{cause}"].between(0, 1).all()


def test_outcomes_stand_only_where_their_condition_does(studied: Path) -> None:
    experience = pd.read_parquet(studied / "study" / "experience.parquet")
    diabetes = experience["condition"].isin(["type2_diabetes", "both"])
    pressure = experience["condition"].isin(["hypertension", "both"])
    assert (experience["u_hba1c_percent"].notna() == diabetes).all()
    assert (experience["u_systolic_mmhg"].notna() == pressure).all()
    told = json.loads((studied / "study" / "study.json").read_bytes())
    for stratum in told["strata"]:
        mine = experience[experience["condition"] == stratum["condition"]]
        assert mine[stratum["outcome"]].max() <= stratum["m0"] + 1e-9


@pytest.mark.parametrize("card", ["0001-simulate.json", "0002-study.json"])
def test_a_rerun_gives_the_same_bytes(studied: Path, card: str) -> None:
    done = lipei("pricing", "rerun", studied / "runs" / card)
    assert done.code == 0, done.err
    assert "the same bytes" in done.out


def test_a_rerun_tells_what_differs(tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    pricing(tmp_path, "simulate", "--people", "20", "--seed", "3")
    card = tmp_path / "runs" / "0001-simulate.json"
    card.write_text(card.read_text().replace('"3"', '"4"'))
    done = lipei("pricing", "rerun", card)
    assert done.code == 1
    assert "output book/claims.parquet" in done.err


def test_a_study_of_other_settings_or_another_book_is_not_fitted(
    studied: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(studied, folder)
    refuse_other_study(opened(folder))  # the same settings and book, elsewhere: nothing to say
    yaml = (folder / "pricing.yaml").read_text("utf-8")
    assert "inpatient: {2000-01-01: '0.06'}" in yaml
    changed = yaml.replace("inpatient: {2000-01-01: '0.06'}", "inpatient: {2000-01-01: '0.2'}")
    (folder / "pricing.yaml").write_text(changed, "utf-8")
    claims = folder / "book" / "claims.parquet"
    pd.read_parquet(claims).iloc[1:].to_parquet(claims)
    refused = pricing(folder, "fit")
    assert refused.code == 2
    assert 'study.trend.inpatient was [["2000-01-01",0.06]]' in refused.err
    assert 'and is [["2000-01-01",0.2]]' in refused.err
    assert "the book's claims.parquet has changed" in refused.err
    assert "lipei pricing study" in refused.err
    assert "outpatient" not in refused.err
    assert not (folder / "fit").exists()


def test_a_study_that_does_not_say_what_it_was_made_from_is_not_fitted(tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text('{"settings": {}}', "utf-8")
    refused = pricing(tmp_path, "fit")
    assert refused.code == 2
    assert "does not say which book and settings" in refused.err


def test_init_overwrites_nothing(studied: Path) -> None:
    done = lipei("pricing", "init", studied)
    assert done.code == 1
    assert "is there already" in done.err


def test_faults_of_a_book_are_sentences_with_rows(studied: Path, tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    for name in ("people", "policies", "claims"):
        frame = pd.read_parquet(studied / "book" / f"{name}.parquet").head(50)
        if name == "claims":
            frame["amount_minor"] = [-2, *frame["amount_minor"][1:]]
        frame.to_csv(tmp_path / "book" / f"{name}.csv", index=False)
    done = pricing(tmp_path, "check")
    assert done.code == 1
    assert "claims: NEGATIVE: 1 row: amount_minor: below 0 (rows 1)" in done.err
    assert (done.out + done.err).count("NEGATIVE") == 1, "each fault is printed once"
    assert "no fault" not in done.out
    assert "Traceback" not in done.err
    refused = pricing(tmp_path, "study")
    assert refused.code == 1
    assert "NEGATIVE" in refused.err
    assert not (tmp_path / "study").exists()
    as_json = json.loads(pricing(tmp_path, "check", "--json").out)
    assert {one["kind"] for one in as_json["faults"]} >= {"NEGATIVE"}


def test_a_simulation_never_overwrites_a_book_of_yours(tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    (tmp_path / "book" / "people.csv").write_text("person_id\n")
    done = pricing(tmp_path, "simulate", "--people", "10")
    assert done.code == 1
    assert "not simulated" in done.err


def test_a_folder_without_book_or_file_says_what_to_do(tmp_path: Path) -> None:
    done = pricing(tmp_path, "check")
    assert done.code == 2
    assert "lipei pricing init" in done.err
    lipei("pricing", "init", tmp_path)
    done = pricing(tmp_path, "study")
    assert done.code == 2
    assert "people: no people.parquet" in done.err
    assert "lipei pricing simulate" in done.err


def test_a_csv_file_of_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    content = "person_id,region\np1,north\np2,华北\n"
    for name in ("people", "policies", "claims"):
        (tmp_path / "book" / f"{name}.csv").write_text(content, "utf-8")
    for name in ("people", "claims"):
        (tmp_path / "book" / f"{name}.csv").write_text(content, "gb18030")
    done = pricing(tmp_path, "check")
    assert done.code == 2
    assert "people.csv: line 3 is not UTF-8" in done.err
    assert "claims.csv: line 3 is not UTF-8" in done.err
    assert "policies.csv" not in done.err
    assert "iconv -f GB18030 -t UTF-8" in done.err
    assert "华北" not in done.err


def test_a_column_that_stands_twice_is_named_for_every_file_of_the_book(tmp_path: Path) -> None:
    lipei("pricing", "init", tmp_path)
    for name in ("people", "policies", "claims"):
        content = f"person_id,{name},region,{name.upper()}\np1,a,north,b\n"
        (tmp_path / "book" / f"{name}.csv").write_text(content, "utf-8")
    done = pricing(tmp_path, "check")
    assert done.code == 2
    assert done.said == [
        f"{name}.csv: the column {name!r} stands twice: take one out, or rename it"
        for name in ("people", "policies", "claims")
    ]


def test_what_no_reading_tells_is_said_in_words() -> None:
    nothing = Stratum(
        outcome="hba1c",
        condition="both",
        m0=math.nan,
        people=0,
        person_months=0,
        within=math.nan,
        between=0.0,
        k=math.inf,
        z=0.0,
    )
    assert stratum_row(nothing) == ("hba1c", "both", "unknown", "0", "0", "no months", "none")
    alike = replace(nothing, m0=7.5, people=3, person_months=30)
    assert stratum_row(alike)[2:] == ("7.50", "3", "30", "no bound: people do not differ", "0.000")


def test_a_missing_file_of_one_s_own_is_not_answered_by_an_example(tmp_path: Path) -> None:
    assert lipei("pricing", "init", tmp_path).code == 0
    yaml = tmp_path / "pricing.yaml"
    written = yaml.read_text("utf-8")
    missing = pricing(tmp_path, "check")
    assert "simulate" in missing.err
    yaml.write_text(
        written.replace("book:\n", "book:\n  tables: {people: {file: 客户.csv}}\n", 1), "utf-8"
    )
    missing = pricing(tmp_path, "check")
    assert missing.code == 2
    assert "people: no 客户.csv" in missing.err
    assert "mend book.folder or book.tables" in missing.err
    assert "simulate" not in missing.err


def test_what_fit_would_refuse_is_told_by_check_already(studied: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(studied, folder)
    written = (folder / "pricing.yaml").read_text("utf-8")
    assert "fit." not in pricing(folder, "check").out, "the template's own book has all of it"
    changed = written.replace("    sex:\n", "    job:\n      column: occupation\n    sex:\n", 1)
    changed = changed.replace("    injury:\n      zh", "    dental:\n      zh", 1)
    (folder / "pricing.yaml").write_text(changed, "utf-8")
    done = pricing(folder, "check")
    assert done.code == 0, done.err
    assert "look at it: fit.factors.job: NO_COLUMN: reads the column occupation" in done.out
    assert "look at it: fit.causes.dental: UNKNOWN_CAUSE" in done.out
    assert "book.rating_factors" in done.out
    assert "no fault" not in done.out


def test_every_column_that_a_study_has_may_be_a_factor(studied: Path) -> None:
    columns = pd.read_parquet(studied / "study" / "experience.parquet").columns
    no_factor = {"segment_id", "person_id", "policy_id", "first_day", "after_day", "synthetic"}
    no_factor |= {"exposure_days", "exposure", "holdout"}
    causes = ("inpatient", "outpatient", "injury")
    mine = {name for name in columns if not any(f"_{cause}" in name for cause in causes)}
    assert mine - no_factor == {*SEGMENT_COLUMNS, "coinsurance_percent"}


def test_a_book_without_readings_is_told_so_once(studied: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(studied, folder)
    (folder / "book" / "readings.parquet").unlink()
    done = pricing(folder, "study")
    assert done.code == 0, done.err
    assert done.out.count("there is no m0") == 1
    assert done.out.count("m0 is unknown") == 0
    told = json.loads((folder / "study" / "study.json").read_bytes())
    (said,) = (one for one in told["warnings"] if "m0" in one)
    assert said.startswith("no month of anybody was assessed")
    assert "fit.causes" in said
