"""Exposure: splits sum exactly, no day counts twice, and the order of rows changes nothing."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pricing.fitting.experience.splitting import attach_claims, exposure, split
from services.pricing.fitting.experience.tables import Connection
from tests.services.pricing.fitting.books import opened, plain, rows

FIRST, AFTER = date(2023, 1, 1), date(2026, 1, 1)
Book = dict[str, list[dict[str, Any]]]


def segments(con: Connection, months: int = 12) -> pd.DataFrame:
    split(con, FIRST, AFTER, factors=["coinsurance_percent"], window_months=months)
    return con.execute("SELECT * FROM segments ORDER BY segment_id").df()


days = st.dates(date(2021, 6, 1), date(2026, 6, 1))


@st.composite
def books(draw: st.DrawFn) -> Book:
    """Policies of a year or less that do not overlap, stays, onsets and birthdays anywhere."""
    people, policies, enrolments = [], [], []
    for number in range(draw(st.integers(1, 5))):
        person = f"p{number}"
        since = draw(st.none() | days)
        birth = draw(st.dates(date(1940, 1, 1), date(2004, 12, 31)))
        people.append({"person_id": person, "birth_date": birth, "condition_since": since})
        begin = draw(days)
        for year in range(draw(st.integers(1, 3))):
            length = draw(st.integers(1, 365))
            end = begin + timedelta(days=length)
            late = draw(st.none() | st.integers(0, length - 1))
            entry = None if late is None else begin + timedelta(days=late)
            policies.append(
                {"person_id": person, "first_day": begin, "after_day": end, "entry_day": entry}
                | {"policy_id": f"{person}-{year}"}
            )
            begin = end
        for _ in range(draw(st.integers(0, 2))):
            joined = draw(days)
            left = draw(st.none() | st.integers(1, 500))
            until = None if left is None else joined + timedelta(days=left)
            enrolments.append({"person_id": person, "first_day": joined, "after_day": until})
    return {
        "people": rows("people", *people),
        "policies": rows("policies", *policies),
        "claims": rows("claims", {}),
        "enrolments": rows("enrolments", *enrolments, {"person_id": "nobody"}),
    }


@given(books(), st.sampled_from([1, 3, 6, 12]))
@settings(max_examples=12)
def test_splits_sum_exactly_and_hold_each_day_once(book: Book, months: int) -> None:
    con = opened(book)
    cut = segments(con, months)
    days = exposure(con)
    assert (days["observed_days"] == days["split_days"]).all()
    assert (cut["exposure_days"] > 0).all()
    for _, mine in cut.groupby("policy_id"):
        ordered = mine.sort_values("first_day")
        assert list(ordered["first_day"][1:]) == list(ordered["after_day"][:-1])
        assert (ordered["first_day"].dt.year == ordered["calendar_year"]).all()
        assert (
            (ordered["after_day"] - pd.Timedelta(days=1)).dt.year == ordered["calendar_year"]
        ).all()
        assert (ordered["known_on"] <= ordered["first_day"]).all()


@given(books(), st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_rows_changes_nothing(book: Book, chance: random.Random) -> None:
    cut = segments(opened(book))
    shuffled = {name: chance.sample(listed, len(listed)) for name, listed in book.items()}
    pd.testing.assert_frame_equal(cut, segments(opened(shuffled)))


def test_the_plain_book_by_hand() -> None:
    """p1: 2023-03-01 to 2025-03-01 with a stay from 2023-08-01; p2 observed from 2023 on."""
    con = opened(plain())
    cut = segments(con)
    told = [
        (row.person_id, f"{row.first_day:%m-%d}", row.exposure_days, row.age, row.participant)
        for row in cut.itertuples()
    ]
    assert told == [
        ("p1", "03-01", 153, 52, False),
        ("p1", "08-01", 153, 53, True),
        ("p1", "01-01", 60, 53, True),
        ("p1", "03-01", 306, 53, True),
        ("p1", "01-01", 59, 54, True),
        ("p2", "01-01", 181, 52, False),
    ]
    assert list(cut["policy_year"]) == [2023, 2023, 2023, 2024, 2024, 2022]
    assert list(cut["condition"]) == ["both"] * 5 + ["none"]


def test_a_condition_counts_from_its_day_on() -> None:
    book = plain()
    book["people"][0]["condition_since"] = date(2023, 9, 1)
    cut = segments(opened(book))
    mine = cut[cut["person_id"] == "p1"]
    assert list(mine["condition"][:3]) == ["none", "none", "both"]
    assert mine["first_day"].iloc[2] == pd.Timestamp("2023-09-01")


def test_the_day_of_the_event_counts_and_the_last_day_does_not() -> None:
    book = plain()
    events = [date(2023, 3, 1), date(2023, 7, 31), date(2023, 8, 1), date(2024, 2, 29)]
    book["claims"] = rows("claims", *({"event_day": day, "report_day": day} for day in events))
    book["claims"] += rows("claims", {"event_day": date(2024, 3, 1), "claim_id": "k9"})
    book["claims"] += rows("claims", {"report_day": AFTER, "claim_id": "late"})
    con = opened(book)
    segments(con)
    attach_claims(con, AFTER)
    found = con.execute("SELECT claim_id, segment_id FROM attached ORDER BY claim_id").fetchall()
    assert found == [("k1", 0), ("k2", 0), ("k3", 1), ("k4", 2), ("k9", None)]
