"""`lipei pricing partners`: rates, what is too few for one, faults, its card, and its next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stack.typed import Typed, lipei

SETTINGS = "format: 1\npartners: {least_members: 2, least_stays: 2, strata: [age_band]}\n"
MONTHS = """\
partner,member_id,month,result
steps,m,2025-01,ON_TARGET
steps,m,2025-03,ON_TARGET
steps,n,2025-01,NOT_ENOUGH
coach,o,2025-01,ON_TARGET
"""
STAYS = """\
stay_id,member_id,partner,admission_day,discharge_day,planned,age_band
a,m,steps,2025-01-01,2025-01-05,true,60+
b,m,steps,2025-02-04,2025-02-08,false,60+
c,n,coach,2025-01-01,2025-01-05,false,60+
d,o,,2025-01-01,2025-01-05,false,60+
e,p,,2025-12-01,2025-12-05,false,60+
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pricing.yaml").write_text(SETTINGS, "utf-8")
    (tmp_path / "partners").mkdir()
    (tmp_path / "partners" / "months.csv").write_text(MONTHS, "utf-8")
    (tmp_path / "partners" / "stays.csv").write_text(STAYS, "utf-8")
    return tmp_path


def measured(folder: Path) -> Typed:
    return lipei("pricing", "partners", "-f", str(folder))


def test_partners_are_measured_and_the_same_command_gives_the_same_bytes(folder: Path) -> None:
    done = measured(folder)
    assert done.code == 0, done.err
    found = json.loads((folder / "partners" / "partners.json").read_bytes())
    control = {one["partner"]: one for one in found["control"]}
    # m: two on target and February missing; n: not enough.
    assert (control["steps"]["rate"], control["steps"]["missing"]) == (0.5, 1)
    assert control["coach"]["rate"] is None
    assert "coach: no control rate; 1 of the 2 members that partners.least_members asks" in done.out
    ratios = {one["partner"]: one for one in found["readmission"]}
    # One of four was readmitted; steps has two discharges, of which 2/4 are expected.
    assert (ratios["steps"]["observed"], ratios["steps"]["expected"]) == (1, 0.5)
    assert ratios["steps"]["ratio"] == 2.0
    assert "coach: no readmission ratio; 1 of the 2 discharges" in done.out
    assert found["left_out"] == {"30 days after it are not known": 1}
    assert "next: `lipei pricing evaluate -f" in done.out
    again = lipei("pricing", "rerun", str(folder / "runs" / "0001-partners.json"))
    assert again.code == 0, again.err
    assert "the same bytes" in again.out


def test_a_minimum_that_is_not_set_is_asked_for(folder: Path) -> None:
    (folder / "pricing.yaml").write_text("format: 1\n", "utf-8")
    refused = measured(folder)
    assert refused.code == 2
    assert "partners.least_members" in refused.err
    assert "partners.least_stays" in refused.err
    assert "it has no default" in refused.err
    assert not (folder / "partners" / "partners.json").exists()
    # Control: without stays their minimum is not asked for.
    (folder / "partners" / "stays.csv").unlink()
    (folder / "pricing.yaml").write_text("format: 1\npartners: {least_members: 2}\n", "utf-8")
    assert measured(folder).code == 0


def test_faults_come_with_rows_and_what_to_do_and_never_a_value(folder: Path) -> None:
    rows = STAYS.replace("2025-02-08,false", "2025-02-01,perhaps")
    (folder / "partners" / "stays.csv").write_text(rows, "utf-8")
    refused = measured(folder)
    assert refused.code == 1
    assert "NO_DAYS: 1 row: discharge_day: before the day of admission (rows 2)" in refused.err
    assert "planned: cannot be read as yes or no (rows 2); write true or false" in refused.err
    assert "perhaps" not in refused.err


def test_a_column_that_stands_twice_is_refused_and_nothing_is_measured(folder: Path) -> None:
    months = folder / "partners" / "months.csv"
    lines = [line + "," + line.rpartition(",")[2] for line in MONTHS.splitlines()]
    months.write_text("\n".join(lines) + "\n", "utf-8")
    refused = measured(folder)
    assert refused.code == 2
    said = "months.csv: the column 'result' stands twice: take one out, or rename it"
    assert refused.said == [said]
    assert not (folder / "partners" / "partners.json").exists()
    # Columns without a name are nobody's.
    months.write_text("\n".join(line + ",," for line in MONTHS.splitlines()) + "\n", "utf-8")
    assert measured(folder).code == 0


def test_settings_are_refused_with_their_lines_and_tables_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pricing.yaml").write_text(
        "format: 1\npartners:\n  least_members: 1\n  strata: [planned]\n  tables: {beds: {}}\n",
        "utf-8",
    )
    refused = measured(tmp_path)
    assert refused.code == 2
    for told in ("from 2 to", "planned is no stratum", "known are months, stays"):
        assert told in refused.err
    (tmp_path / "pricing.yaml").write_text("format: 1\n", "utf-8")
    nothing = measured(tmp_path)
    assert nothing.code == 2
    assert "no months.parquet and no months.csv" in nothing.err
    assert "docs/tariffs.md" in nothing.err
