"""Trend, late reporting, loss elimination and large losses, each against figures by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.fitting.experience.development import known_share, triangle
from services.pricing.fitting.experience.elimination import Cover, eliminate
from services.pricing.fitting.experience.large_losses import large_loss_table
from services.pricing.fitting.experience.settings import Development
from services.pricing.fitting.experience.trend import trend_factors

NO_LIMIT = float("inf")


def test_trend_compounds_over_dated_rates() -> None:
    """A year at 10 % and then 182.625 days at 5 %: 1.10 × 1.05^0.5."""
    days = pd.Series(pd.to_datetime(["2023-01-01"]))
    rates = [(date(2020, 1, 1), 0.10), (date(2024, 1, 1), 0.05)]
    found = trend_factors(days, rates, date(2024, 7, 1))
    assert found[0] == pytest.approx(1.10 ** (365 / 365.25) * 1.05 ** (182 / 365.25))


def test_the_first_rate_holds_before_its_day_and_backwards() -> None:
    days = pd.Series(pd.to_datetime(["2019-01-01", "2025-01-01"]))
    found = trend_factors(days, [(date(2020, 1, 1), 0.06)], date(2024, 1, 1))
    assert found[0] == pytest.approx(1.06 ** (1826 / 365.25))
    assert found[1] == pytest.approx(1.06 ** (-366 / 365.25))


def claims(*told: tuple[str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(told, columns=["event_day", "report_day", "amount"])
    for name in ("event_day", "report_day"):
        frame[name] = pd.to_datetime(frame[name])
    return frame


def test_chain_ladder_by_hand() -> None:
    """Three quarters: 2 → 4 → 4, 4 → 6 and 5: factors (4 + 6) / (2 + 4) = 5/3, then 1."""
    told = [
        *[("2025-01-10", "2025-02-01", 100.0)] * 2,
        *[("2025-01-10", "2025-05-01", 100.0)] * 2,
        *[("2025-04-10", "2025-05-01", 100.0)] * 4,
        *[("2025-04-10", "2025-08-01", 300.0)] * 2,
        *[("2025-07-10", "2025-08-01", 100.0)] * 5,
        ("2025-07-10", "2025-08-01", 0.0),
    ]
    found = triangle("outpatient", claims(*told), date(2025, 10, 1), {}, "")
    assert found.counts.to_numpy()[0].tolist() == [2, 4, 4]
    assert found.counts.to_numpy()[2, 0] == 5
    assert np.isnan(found.counts.to_numpy()[2, 1])
    assert found.counts_shares == pytest.approx((0.6, 1.0))
    assert found.amounts_shares == pytest.approx((600 / 1400, 1.0))
    assert found.used == Development(counts=found.counts_shares, amounts=found.amounts_shares)
    assert "guess" in found.warnings[0]


def test_given_factors_are_used_and_the_triangle_stands_beside_them() -> None:
    told = [("2025-01-10", "2025-02-01", 1.0), ("2025-01-10", "2025-05-01", 1.0)]
    own = Development(counts=(0.9, 1.0), amounts=(0.9, 1.0))
    found = triangle("injury", claims(*told), date(2025, 10, 1), {"injury": own}, "reserving")
    assert (found.used, found.source) == (own, "reserving")
    assert found.counts_shares == (0.5, 1.0)
    assert "0.900" in found.warnings[0]


@pytest.mark.parametrize(
    ("counts", "amounts", "warned"),
    [
        ((0.5, 0.8, 1.0), (0.5, 0.8, 1.0), []),
        ((0.5, 0.6, 1.0), (0.5, 0.8, 1.0), ["claims known 1 quarter later"]),
        ((0.5, 0.8, 1.0), (0.4, 0.8, 1.0), ["amounts known at its end"]),
        (
            (0.5, 0.8, 0.9, 1.0),
            (0.5, 1.0),
            ["claims known 2 quarters", "amounts known 1 quarter later"],
        ),
    ],
)
def test_given_factors_are_held_against_every_delay_of_counts_and_of_amounts(
    counts: tuple[float, ...], amounts: tuple[float, ...], warned: list[str]
) -> None:
    """Ten claims: five known at the quarter's end, eight a quarter later, all after two."""
    days = ["2025-02-01"] * 5 + ["2025-05-01"] * 3 + ["2025-08-01"] * 2
    told = [("2025-01-10", day, 1.0) for day in days]
    given = {"injury": Development(counts=counts, amounts=amounts)}
    found = triangle("injury", claims(*told), date(2025, 10, 1), given, "reserving")
    assert len(found.warnings) == len(warned)
    assert all(part in text for part, text in zip(warned, found.warnings, strict=True))


def test_what_is_known_after_the_last_quarter_is_all() -> None:
    assert known_share((0.6, 0.9, 1.0), np.array([0, 1, 2, 9])).tolist() == [0.6, 0.9, 1.0, 1.0]


amounts = st.lists(st.floats(1, 1e6), min_size=1, max_size=30).map(np.array)


@given(amounts, st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_higher_deductible_never_pays_more_nor_more_often(
    ground_up: np.ndarray, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    reference = Cover(deductible=0, limit=NO_LIMIT)
    less, more = (
        eliminate(ground_up, reference, Cover(deductible=d, limit=NO_LIMIT), 1e5)
        for d in (high, low)
    )
    if np.isnan(less["frequency"]):
        return  # nothing is left above it: there is no severity to tell
    assert less["frequency"] <= more["frequency"] <= 1
    paid = [one["frequency"] * one["severity"] for one in (less, more)]
    assert paid[0] <= paid[1] * (1 + 1e-12)
    assert 1 - paid[0] == pytest.approx(less["eliminated"], abs=1e-9)


def test_a_limit_eliminates_by_hand() -> None:
    """Of 100, 200 and 900 a limit of 300 leaves 600 of 1,200: frequency 1, severity one half."""
    reference = Cover(deductible=0, limit=NO_LIMIT)
    cover = Cover(deductible=0, limit=300)
    found = eliminate(np.array([100.0, 200.0, 900.0]), reference, cover, NO_LIMIT)
    assert (found["frequency"], found["severity"], found["eliminated"]) == (1.0, 0.5, 0.5)


@given(amounts, st.lists(st.integers(1, 10**6), min_size=1, max_size=5))
def test_a_threshold_moves_loss_to_the_load_and_loses_none(
    paid: np.ndarray, thresholds: list[int]
) -> None:
    found = large_loss_table(paid, 10.0, thresholds)
    total = found["capped_premium_minor"] + found["load_minor"]
    assert total.to_numpy() == pytest.approx(paid.sum() / 10)
    assert (found["above"].diff().dropna() <= 0).all()
    assert (found["load_minor"].diff().dropna() <= 1e-9).all()


def test_large_losses_by_hand() -> None:
    found = large_loss_table(np.array([0.0, 100.0, 400.0]), 2.0, [150]).iloc[0]
    assert (found["above"], found["share_of_claims"], found["share_of_loss"]) == (1, 0.5, 0.5)
    assert (found["capped_premium_minor"], found["load_minor"]) == (125.0, 125.0)
    assert found["load_error"] == 1.0
