"""Time before joining is nobody's gain; no day and no claim is lost where months are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.models.design import Category, Design
from services.pricing.fitting.models.person_months import person_months
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.regression import regress
from services.pricing.fitting.models.within_person import within_person

CONDITIONS = ("type2_diabetes",)


def segments(*rows: tuple[str, str, str, bool]) -> pd.DataFrame:
    """Segments of (person, first day, after day, participant), numbered from 0."""
    return pd.DataFrame(
        {
            "segment_id": range(len(rows)),
            "person_id": [row[0] for row in rows],
            "first_day": pd.to_datetime([row[1] for row in rows]),
            "after_day": pd.to_datetime([row[2] for row in rows]),
            "condition": "type2_diabetes",
            "participant": [row[3] for row in rows],
            "deductible_minor": 0,
            "limit_minor": 1_000,
        }
    )


def test_the_time_until_joining_is_outside_and_what_follows_a_stay_is_left() -> None:
    found = person_months(
        segments(
            ("a", "2024-01-15", "2024-03-10", False),
            ("a", "2024-03-10", "2024-05-01", True),
            ("a", "2024-05-01", "2024-09-01", False),
            ("a", "2024-09-01", "2024-10-01", True),
            ("b", "2024-02-01", "2024-03-01", False),
        ),
        CONDITIONS,
    )
    assert found.days.tolist() == [17, 29, 9, 22, 30, 29]
    assert found.enrolled.tolist() == [False, False, False, True, True, False]
    assert found.joins.tolist() == [True] * 5 + [False]
    assert found.since[:5].tolist() == [-3, -2, -1, 0, 1]
    assert found.within(-2, 0).tolist() == [False, True, True, True, False, False]
    assert found.left_out["left it, followed until then"] == 1


def test_who_is_never_seen_outside_is_no_new_user() -> None:
    found = person_months(
        segments(
            ("a", "2024-01-01", "2024-06-01", True),
            ("b", "2024-01-01", "2024-02-01", False),
        ),
        CONDITIONS,
    )
    assert found.days.tolist() == [31]
    assert found.left_out["in it from the first day seen"] == 1


def test_every_claim_stands_in_the_month_of_its_event() -> None:
    found = person_months(segments(("a", "2024-01-15", "2024-04-01", False)), CONDITIONS)
    claims = pd.DataFrame(
        {"segment_id": 0, "event_day": pd.to_datetime(["2024-01-31", "2024-02-01", "2024-03-31"])}
    )
    assert found.totals(claims, np.array([1.0, 2.0, 4.0])).tolist() == [1.0, 2.0, 4.0]


def drawn() -> dict[str, Any]:
    """Sixty people of ten months, half of whom join in one of them, with rates of their own."""
    rng = np.random.default_rng(5)
    persons = np.repeat(np.arange(60), 10)
    month = np.tile(np.arange(10), 60).astype(np.int32)
    joins = np.repeat(rng.integers(3, 8, 60), 10)
    inside = (month >= joins) & (persons % 2 == 0)
    days = rng.integers(20, 32, 600).astype(np.float64)
    rate = np.repeat(rng.gamma(1.0, 0.05, 60), 10) * np.exp(0.05 * month - 0.4 * inside)
    return {
        "persons": persons,
        "days": days,
        "totals": rng.poisson(days * rate).astype(np.float64),
        "inside": inside,
        "month": month,
    }


def test_it_is_the_poisson_model_with_a_level_for_each_person() -> None:
    given = drawn()
    found = within_person(
        given["persons"],
        given["days"],
        given["totals"],
        asked={"inside": given["inside"]},
        beside={"month": given["month"]},
        where="test",
    )["inside"]
    some = np.bincount(given["persons"], given["totals"])[given["persons"]] > 0
    people, codes = np.unique(given["persons"][some], return_inverse=True)
    terms = [
        Category(name="inside", levels=("no", "yes"), codes=given["inside"][some].astype(np.int32)),
        Category(name="month", levels=tuple("0123456789"), codes=given["month"][some]),
        Category(name="person", levels=tuple(map(str, people)), codes=codes.astype(np.int32)),
    ]
    model = regress(
        "poisson",
        Design(terms=tuple(terms), size=len(codes)),
        given["totals"][some],
        given["days"][some],
        codes,
        where="test",
    ).model
    inside = model.coefficients[1]
    assert (inside.name, inside.level) == ("inside", "yes")
    assert found.estimate == pytest.approx(inside.estimate, abs=1e-7)
    assert found.se_naive == pytest.approx(inside.se_naive, rel=1e-5)


def test_a_state_that_everybody_enters_at_once_cannot_be_told() -> None:
    given = drawn()
    with pytest.raises(FitRefused, match="inside and outside of it"):
        within_person(
            given["persons"],
            given["days"],
            given["totals"],
            asked={"inside": given["month"] >= 5},
            beside={"month": given["month"]},
            where="test",
        )
