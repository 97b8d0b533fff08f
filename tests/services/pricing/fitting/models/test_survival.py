"""Time until a claim: rows by hand, curves by hand, and Cox beside Poisson by months."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.models import time_bands
from services.pricing.fitting.models.design import Category, Design, Number
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.survival import (
    cox,
    cross_check,
    first_events,
    kaplan_meier,
    nelson_aalen,
    next_events,
    proportional_hazards,
)


def segments(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["person_id", "first_day", "after_day"])


def events(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["person_id", "event_day"])


COVER = segments(
    ("a", "2025-01-01", "2025-07-01"),
    ("a", "2025-07-01", "2026-01-01"),
    ("b", "2025-01-01", "2025-04-01"),
    ("b", "2025-06-01", "2025-09-01"),
)


def test_nothing_is_seen_after_the_first_event_and_its_day_counts() -> None:
    rows = first_events(
        COVER, events(("a", "2025-02-01"), ("a", "2025-08-01"), ("b", "2025-05-01"))
    )
    told = rows[["person_id", "start", "stop", "event"]].to_numpy().tolist()
    # The event of b falls into the gap between covers: nobody saw it.
    assert told == [["a", 0, 32, True], ["b", 0, 90, False], ["b", 151, 243, False]]


def test_who_enters_late_is_at_risk_from_the_entry_on() -> None:
    late = COVER.assign(origin_day="2024-12-02")
    rows = first_events(late, events(("a", "2025-02-01")))
    assert rows["start"].tolist() == [30, 30, 181]
    assert rows["stop"].tolist() == [62, 120, 273]


def test_days_out_of_order_are_refused() -> None:
    with pytest.raises(FitRefused, match="origin"):
        first_events(COVER.assign(origin_day="2025-02-01"), events(("a", "2025-02-01")))


def test_the_wait_for_the_next_ends_with_the_next_or_with_the_cover() -> None:
    days = {"a": ["2025-01-11", "2025-08-01", "2025-08-01"], "b": ["2025-03-31", "2025-06-11"]}
    seen = events(*((person, day) for person, listed in days.items() for day in listed))
    found = next_events(COVER, seen)
    told = found[["person_id", "stop", "event"]].to_numpy().tolist()
    assert told == [["a", 202.0, True], ["a", 153.0, False], ["b", 1.0, False], ["b", 82.0, False]]


def test_curves_are_those_by_hand() -> None:
    """Events on days 2 and 4; the third leaves and the fourth enters on day 3."""
    rows = pd.DataFrame(
        {
            "start": [0, 0, 0, 3],
            "stop": [2, 4, 3, 5],
            "event": [True, True, False, False],
            "region": ["n", "n", "s", "s"],
        }
    )
    share = kaplan_meier(rows).set_index("day")["share"]
    assert share[2] == pytest.approx(2 / 3)
    assert share[4] == pytest.approx(2 / 3 * 1 / 2)
    hazard = nelson_aalen(rows).set_index("day")["hazard"]
    assert hazard[4] == pytest.approx(1 / 3 + 1 / 2)
    by_region = kaplan_meier(rows, ["region"]).groupby("region")["share"].min()
    assert by_region.to_dict() == {"n": 0.0, "s": 1.0}


def test_a_time_in_which_nobody_is_watched_does_not_end_the_curve() -> None:
    rows = pd.DataFrame(
        {
            "start": [0, 0, 5, 5, 5],
            "stop": [2, 3, 7, 8, 9],
            "event": [True, True, True, False, False],
        }
    )
    share = kaplan_meier(rows).set_index("day")["share"]
    assert share[9] == pytest.approx(np.exp(-(1 / 2 + 1 + 1 / 3)))


def made(people: int, *, later: float = 0.0) -> tuple[pd.DataFrame, Design]:
    """First events at a yearly rate of 0.3 and known effects; `later`: of x, after a year."""
    random = np.random.default_rng(9)
    person = np.arange(people)
    sex = random.integers(0, 2, people)
    x = random.normal(0, 1, people).round(1)
    begin = pd.Timestamp("2023-01-01") + pd.to_timedelta(random.integers(0, 365, people), "D")
    parts, seen = [], []
    for year in range(3):
        first = begin + pd.to_timedelta(365 * year, "D")
        after = begin + pd.to_timedelta(365 * (year + 1), "D")
        # The first half year of a third of the people is not observed.
        entry = first + pd.to_timedelta(np.where((person % 3 == 0) & (year == 0), 180, 0), "D")
        parts.append(
            pd.DataFrame(
                {
                    "person_id": person,
                    "first_day": entry,
                    "after_day": after,
                    "origin_day": begin,
                    "sex": sex,
                    "x": x,
                }
            )
        )
        rate = 0.3 * np.exp(0.3 * sex + (0.25 + later * (year > 0)) * x)
        who = np.repeat(person, random.poisson(rate))
        day = first[who] + pd.to_timedelta(random.integers(0, 365, len(who)), "D")
        seen.append(pd.DataFrame({"person_id": who, "event_day": day}))
    rows = first_events(pd.concat(parts), pd.concat(seen))
    design = Design(
        terms=(
            Category(name="sex", levels=("F", "M"), codes=rows["sex"].to_numpy(np.int32)),
            Number(name="x", values=rows["x"].to_numpy(float)),
        ),
        size=len(rows),
    )
    return rows, design


def test_cox_and_monthly_poisson_say_the_same() -> None:
    rows, design = made(1_500)
    found = cross_check(rows, design, where="test").set_index("name")
    assert (found["apart"] <= 0.02).all(), found
    true = np.array([0.3, 0.25])
    assert ((found["estimate"] - true).abs() < 4 * found["se_clustered"]).all()
    # Without entry times late people would count as safe in days when nobody looked.
    blind = cox(rows.assign(start=0), design).set_index("name")
    assert not np.allclose(blind["estimate"], found["estimate"], atol=1e-3)


def often(people: int) -> tuple[pd.DataFrame, Design]:
    """First visits at 5 a year, times a gamma frailty: a quarter of them in the first month."""
    random = np.random.default_rng(9)
    sex, x = random.integers(0, 2, people), random.normal(0, 1, people).round(1)
    rate = 5 * random.gamma(1 / 0.87, 0.87, people) * np.exp(0.3 * sex + 0.25 * x)
    day = np.floor(random.exponential(365.25 / rate))
    seen = day < 1_096
    rows = pd.DataFrame(
        {"person_id": range(people), "start": 0, "stop": np.minimum(day + 1, 1_096), "event": seen}
    )
    design = Design(
        terms=(
            Category(name="sex", levels=("F", "M"), codes=sex.astype(np.int32)),
            Number(name="x", values=x),
        ),
        size=people,
    )
    return rows, design


def test_where_events_come_at_once_the_months_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, design = often(3_000)
    assert (cross_check(rows, design, where="test")["apart"] <= 0.02).all()
    # Control: with one rate for each whole month the two are further apart.
    monkeypatch.setattr(time_bands, "_PARTS", 1)
    assert (cross_check(rows, design, where="test")["apart"] > 0.02).any()


def test_not_only_the_fullest_months_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, design = often(1_400)
    assert (cross_check(rows, design, where="test")["apart"] <= 0.02).all()
    # Control: with only those cut that have a twentieth of the events.
    monkeypatch.setattr(time_bands, "_FULL_MONTH", 0.05)
    assert (cross_check(rows, design, where="test")["apart"] > 0.02).any()


def test_hazards_that_part_are_noticed() -> None:
    steady = proportional_hazards(*made(1_500)).set_index("name")["p"]
    parting = proportional_hazards(*made(1_500, later=0.6)).set_index("name")["p"]
    assert (steady > 0.01).all()
    assert parting["x"] < 0.001
    assert parting["sex"] > 0.01


def test_proportional_hazards_need_people_from_their_origin() -> None:
    rows, design = made(50)
    late = rows["start"].to_numpy() > 0
    with pytest.raises(FitRefused, match="origin"):
        proportional_hazards(rows[late], design.take(np.flatnonzero(late)))
