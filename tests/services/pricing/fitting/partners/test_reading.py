"""Months and stays are read strictly: every fault at once, with rows, why and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from services.pricing.core.months import Result
from services.pricing.fitting.book_settings import TableSource
from services.pricing.fitting.partners.reading import (
    NoTables,
    PartnersRefused,
    Tables,
    partner_files,
    read_files,
    read_frames,
)
from services.pricing.fitting.partners.settings import PartnersSettings

KNOWN_BEFORE = date(2026, 1, 1)
MONTH = {"partner": "steps", "member_id": "m", "month": "2025-03", "result": "ON_TARGET"}
STAY = {
    "stay_id": "s",
    "member_id": "m",
    "partner": "steps",
    "admission_day": "2025-01-01",
    "discharge_day": "2025-01-05",
    "planned": "false",
}


def read(
    settings: PartnersSettings | None = None, **frames: list[Mapping[str, Any]] | pd.DataFrame
) -> Tables:
    made = {name: pd.DataFrame(rows) for name, rows in frames.items()}
    return read_frames(made, settings or PartnersSettings(), known_before=KNOWN_BEFORE)


def faults(**frames: Any) -> dict[tuple[str, str], tuple[int, ...]]:
    """What is refused: kind and column, with the rows."""
    strata = frames.pop("strata", ())
    with pytest.raises(PartnersRefused) as refused:
        read(PartnersSettings(strata=strata), **frames)
    assert all(one.what and one.do for one in refused.value.faults)
    return {(one.kind, one.column): one.examples for one in refused.value.faults}


def test_a_month_may_be_written_without_a_day_and_a_probability_stays_exact() -> None:
    stay = STAY | {"expected": "0.1", "discharge_day": "", "partner": ""}
    found = read(months=[MONTH, MONTH | {"month": "2025-04-17"}], stays=[stay])
    assert found.months is not None
    assert found.stays is not None
    assert [one.month for one in found.months] == [date(2025, 3, 1), date(2025, 4, 1)]
    assert found.months[0].result is Result.ON_TARGET
    assert found.stays[0].expected == Fraction(1, 10)
    assert found.stays[0].discharged is None
    assert not found.stays[0].partner
    assert found.faults == ()


FAR_DAYS = ("10000-01-01", "9999-12-01", "infinity", "-infinity", "0044-03-15 (BC)", "0205-03-01")


@pytest.mark.parametrize("far", FAR_DAYS)
def test_a_day_that_no_calendar_of_ours_has_is_a_fault_of_its_row(far: str) -> None:
    """Python has no such days; one of the third century would miss eighteen centuries of months."""
    assert faults(months=[MONTH, MONTH | {"month": far}]) == {("NOT_READ", "month"): (2,)}
    for column in ("admission_day", "discharge_day"):
        assert faults(stays=[STAY | {column: far}]) == {("NOT_READ", column): (1,)}


@pytest.mark.parametrize("near", ["1900-01-01", "2025-12-31"])
def test_the_first_day_of_all_and_the_newest_are_read(near: str) -> None:
    found = read(months=[MONTH | {"month": near}], stays=[STAY | {"admission_day": "1900-01-01"}])
    assert found.months is not None
    assert found.months[0].month == date.fromisoformat(near).replace(day=1)


def test_every_fault_of_months_comes_at_once() -> None:
    rows = [
        MONTH,
        MONTH,
        MONTH | {"month": "March", "result": "good"},
        MONTH | {"partner": "", "month": "2025-05"},
        MONTH | {"month": "2026-01"},
        MONTH | {"month": "2025-12"},
    ]
    assert faults(months=rows) == {
        ("DUPLICATE_KEY", "month"): (2,),
        ("NOT_READ", "month"): (3,),
        ("UNKNOWN_WORD", "result"): (3,),
        ("EMPTY", "partner"): (4,),
        ("AHEAD", "month"): (5,),
    }


def test_every_fault_of_stays_comes_at_once() -> None:
    rows = [
        STAY | {"age_band": "60+"},
        STAY | {"age_band": "60+", "admission_day": "2025-02-01"},
        STAY | {"age_band": "", "stay_id": "a", "planned": "maybe", "discharge_day": "2024-12-31"},
        STAY | {"age_band": "60+", "stay_id": "b", "admission_day": "2025-01-04"},
        STAY | {"age_band": "60+", "stay_id": "c", "admission_day": "2025-01-05"},
        STAY | {"age_band": "60+", "stay_id": "d", "discharge_day": "2026-01-01", "member_id": "n"},
        STAY | {"age_band": "60+", "stay_id": "e", "died": "true", "discharge_day": ""},
    ]
    assert faults(stays=rows, strata=("age_band",)) == {
        ("DUPLICATE_KEY", "stay_id"): (2,),
        ("NOT_READ", "planned"): (3,),
        ("NO_DAYS", "discharge_day"): (3,),
        ("EMPTY", "age_band"): (3,),
        # The stay without an end begins on the same day as the first: one bed.
        ("OVERLAP", "admission_day"): (4, 5, 7),
        ("AHEAD", "discharge_day"): (6,),
        ("DIED_WHEN", "discharge_day"): (7,),
    }


def test_a_stay_on_the_day_of_discharge_is_no_overlap() -> None:
    again = STAY | {"stay_id": "a", "admission_day": "2025-01-05", "discharge_day": "2025-01-07"}
    found = read(stays=[STAY, again])
    assert found.faults == ()
    later = again | {"admission_day": "2025-01-04"}
    assert faults(stays=[STAY, later]) == {("OVERLAP", "admission_day"): (2,)}


def test_a_probability_is_one_and_stands_in_every_row_or_in_none() -> None:
    rows = [
        STAY | {"expected": "0.2"},
        STAY | {"stay_id": "a", "member_id": "n", "expected": "12"},
        STAY | {"stay_id": "b", "member_id": "o", "expected": ""},
        STAY | {"stay_id": "c", "member_id": "p", "expected": "NaN"},
    ]
    assert faults(stays=rows) == {
        ("NO_PROBABILITY", "expected"): (2,),
        ("EMPTY", "expected"): (3,),
        ("NOT_READ", "expected"): (4,),
    }


def test_a_column_that_is_missing_is_named_as_its_owner_calls_it() -> None:
    columns = {"planned": "GEPLANT"}
    settings = PartnersSettings(
        strata=("drg",), tables={"stays": TableSource(file="kh.csv", columns=columns)}
    )
    with pytest.raises(PartnersRefused) as refused:
        read(settings, stays=[{name: STAY[name] for name in STAY if name != "planned"}])
    told = {one.column: one for one in refused.value.faults}
    assert told["planned"].what == "GEPLANT [planned]: no such column"
    assert told["planned"].where == "kh.csv [stays]"
    assert set(told) == {"planned", "drg"}


def test_a_month_with_two_partners_is_told_and_counts_for_both() -> None:
    found = read(months=[MONTH, MONTH | {"partner": "coach"}])
    assert [(one.kind, one.examples) for one in found.faults] == [("TWO_PARTNERS", (2,))]
    assert found.months is not None
    assert len(found.months) == 2


def test_files_are_looked_for_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(NoTables, match=r"months: no months.parquet and no months.csv"):
        partner_files(tmp_path, PartnersSettings())
    pd.DataFrame([MONTH]).to_parquet(tmp_path / "months.parquet")
    (tmp_path / "aufenthalte.csv").write_text("stay_id\n", "utf-8")
    assert set(partner_files(tmp_path, PartnersSettings())) == {"months"}
    named = PartnersSettings(tables={"stays": TableSource(file="stays.xlsx")})
    with pytest.raises(NoTables, match=r"no stays.xlsx"):
        partner_files(tmp_path, named)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("months.csv", "partner,月\nschritte,三月\n".encode("gb18030"), "line 1 is not UTF-8"),
        (
            "months.csv",
            b"partner,month,result,,Partner,,Month\n",
            "column 'partner' stands twice.*\n.*column 'month' stands twice",
        ),
        ("months.csv", b"partner;;result;result\n", "column 'result' stands twice"),
        ("months.parquet", b"PAR1 it says", "neither Parquet nor CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NoTables, match=told):
        read_files({"months": tmp_path / name}, PartnersSettings(), known_before=KNOWN_BEFORE)
