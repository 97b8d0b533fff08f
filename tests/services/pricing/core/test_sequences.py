"""Years of readings, worked by hand from the readings to the run, the share and u."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from services.pricing.core.features import read
from services.pricing.core.incentive import LegalCap, assess
from services.pricing.core.outcome import Person
from services.pricing.core.programme import share_text
from services.pricing.core.rates import compile_rates
from tests.services.pricing.at_hand import WOMAN_52
from tests.services.pricing.core.reading_cases import (
    cases,
    programmes,
    readings_of,
    weekly,
    zone_of,
)
from tests.services.pricing.proposals import proposal

RATES = compile_rates(proposal()[0])
WITHOUT = {name: value for name, value in WOMAN_52.items() if name != "hba1c_percent"}
PERSON = Person(RATES, read(RATES.tariff.features, WITHOUT).values)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["case"]) for case in cases("sequences.yaml")]
)
def test_a_year_by_hand(case: Mapping[str, Any]) -> None:
    readings = readings_of({"readings": [], **case})
    for month, value in case.get("weeks", {}).items():
        readings += weekly(month, value)
    done = assess(
        readings,
        programmes().named(case.get("programme", "diabetes-glucose")),
        (),
        renewal=date.fromisoformat(case["renewal"]),
        expiring_start=date.fromisoformat(case["expiring"]) if "expiring" in case else None,
        zone=zone_of(case),
        cap=LegalCap(200_000, "a regulation"),
        person=PERSON,
    )
    results = {one.month: one.result.value.lower().replace("_", " ") for one in done.months}
    assert case["months"] == {month: results[month] for month in case["months"]}
    assert done.run_months == case["run"]
    assert share_text(done.share_millionths) == case["share"]
    assert [one.value for one in done.outcomes] == ([case["u"]] if "u" in case else [])
    counted = {one.month: one.value for year in done.outcomes for one in year.months}
    wanted = case.get("counted", {})
    assert wanted == {month: counted[month] for month in wanted}
