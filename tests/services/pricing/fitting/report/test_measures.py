"""Measures of a report on frames small enough to work out by hand, and their properties."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.fitting.report import measures, pictures


def frame(
    actual: list[float], expected: list[float], exposure: list[float] | None = None
) -> pd.DataFrame:
    size = len(actual)
    return pd.DataFrame(
        {
            "person_id": [f"p{n}" for n in range(size)],
            "exposure": [1.0] * size,
            "actual": actual,
            "indicated": expected,
        }
    )


def test_a_ratio_stands_with_an_error_that_lets_one_persons_segments_go_together() -> None:
    """Actual 8 of expected 10: ratio 0.8; left over −0.8, +0.8 by person: error √1.28 / 10."""
    found = frame([0, 8], [4, 6]).assign(actual=[2.4, 5.6])
    (row,) = measures.actual_expected(found, "indicated", ["all", "all"]).to_dict("records")
    assert row["ratio"] == pytest.approx(0.8)
    error = np.sqrt(2 * 0.8**2) / 10
    assert row["high95"] - row["ratio"] == pytest.approx(1.959964 * error)
    one = found.assign(person_id="same")
    (row,) = measures.actual_expected(one, "indicated", ["all", "all"]).to_dict("records")
    assert row["high95"] == pytest.approx(row["ratio"]), "one person's segments cancel out"


def test_a_ratio_of_few_claims_has_no_bound_below_nought() -> None:
    (row,) = measures.actual_expected(frame([0, 8], [4, 6]), "indicated", ["all"] * 2).to_dict(
        "records"
    )
    assert row["ratio"] - (row["high95"] - row["ratio"]) < 0, "the control: plainly it would be"
    assert row["low95"] == 0


def test_bins_hold_the_same_exposure_and_ascend() -> None:
    rates = np.array([5.0, 1.0, 3.0, 2.0, 4.0, 6.0])
    assert measures.binned(rates, np.ones(6), 3).tolist() == [3, 1, 2, 1, 2, 3]
    assert measures.binned(rates, np.array([4.0, 1, 1, 1, 1, 4]), 3).tolist() == [2, 1, 1, 1, 1, 3]


def test_gini_of_perfect_order_no_order_and_the_wrong_order() -> None:
    """Three who cost 0 and one who costs all: the area under the curve is 1/8, Gini 0.75."""
    right = frame([0, 0, 0, 8], [1, 2, 3, 4])
    wrong = frame([0, 0, 0, 8], [4, 3, 2, 1])
    assert measures.gini(right, "indicated", seed=1, draws=1)["gini"] == pytest.approx(0.75)
    assert measures.gini(wrong, "indicated", seed=1, draws=1)["gini"] == pytest.approx(-0.75)
    even = frame([2, 2, 2, 2], [1, 2, 3, 4])
    assert measures.gini(even, "indicated", seed=1, draws=1)["gini"] == pytest.approx(0)


def test_ginis_interval_holds_it_and_is_the_same_again() -> None:
    drawn = np.random.default_rng(7)
    expected = drawn.uniform(1, 5, 400)
    found = frame(list(drawn.gamma(1.0, expected)), list(expected))
    one = measures.gini(found, "indicated", seed=3)
    assert one["low95"] < one["gini"] < one["high95"]
    assert one == measures.gini(found, "indicated", seed=3)


@given(st.lists(st.floats(0, 100), min_size=3, max_size=30))
def test_a_lorenz_curve_rises_from_nothing_to_all(losses: list[float]) -> None:
    found = frame([*losses, 1.0], list(range(1, len(losses) + 2)))
    curve = measures.lorenz(found, "indicated")["losses"].to_numpy()
    assert curve[0] == 0
    assert curve[-1] == pytest.approx(1)
    assert np.all(np.diff(curve) >= -1e-12)


def test_a_double_lift_follows_what_happened() -> None:
    found = frame([1, 1, 9, 9], [1, 1, 9, 9]).assign(flat=5.0)
    lifted = measures.double_lift(found, "indicated", "flat")
    assert lifted["actual"].tolist() == lifted["indicated"].tolist()
    assert set(lifted["flat"]) == {5.0}


def test_an_expectation_that_spreads_people_too_far_has_a_slope_below_one() -> None:
    deciles = pd.DataFrame(
        {
            "exposure": 1.0,
            "actual_a_year": [8.0, 10.0, 12.0],
            "expected_a_year": [6.0, 10.0, 14.0],
        }
    )
    line = measures.calibration(deciles)
    assert line["intercept"] == pytest.approx(0.5)
    assert line["slope"] == pytest.approx(0.5)


def test_residuals_heavier_than_poissons_show() -> None:
    drawn = np.random.default_rng(11)
    frailty = drawn.gamma(0.3, 1 / 0.3, 4_000)
    found = frame([0.0] * 4_000, [1.0] * 4_000).assign(
        claims_x=drawn.poisson(frailty), expected=1.0
    )
    table = measures.residuals(found, "claims_x", "expected")
    tail = table[table["from"] >= 3]
    assert table["people"].sum() == pytest.approx(1)
    assert tail["people"].sum() > 3 * tail["poisson"].sum()


@pytest.mark.parametrize("mean", [1.0, 40.0])
def test_amounts_of_gamma_lie_as_gammas_do_and_a_mixture_does_not(mean: float) -> None:
    drawn = np.random.default_rng(5)
    amounts = drawn.gamma(2.0, 0.5, 40_000) * mean
    table = measures.amount_residuals(amounts / mean, 0.5)
    assert table["share_of_claims"].sum() == pytest.approx(1)
    assert table["gamma"].sum() == pytest.approx(1)
    apart = (table["share_of_claims"] - table["gamma"]).abs()
    assert (apart < 4 * np.sqrt(table["gamma"] / len(amounts)) + 1e-9).all()
    # Control: one in a hundred is thirty times as dear, and makes the dispersion.
    mixed = amounts * np.where(drawn.random(len(amounts)) < 0.01, 30.0, 1.0)
    ratios = mixed / mixed.mean()
    table = measures.amount_residuals(ratios, float(ratios.var()))
    assert (table["share_of_claims"] - table["gamma"]).abs().max() > 0.1


def test_counts_are_measured_as_amounts_are() -> None:
    found = frame([1.0, 1.0], [1.0, 1.0]).assign(claims=[3, 1], wanted=[1.0, 1.0])
    (row,) = measures.actual_expected(found, "wanted", ["a", "a"], "claims").to_dict("records")
    assert row["ratio"] == pytest.approx(2.0)


def test_a_picture_takes_names_in_chinese_and_warns_of_no_font() -> None:
    found = measures.actual_expected(frame([1.0, 2.0], [1.0, 1.0]), "indicated", ["一线", "新一线"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "新一线" in pictures.ratios(found, "地区")


def test_a_table_of_one_cell_is_drawn_without_a_warning() -> None:
    one = pd.DataFrame(
        {"cell": ["agent"], "indicated": [1.0], "low95": [0.9], "high95": [1.1], "selected": [1.0]}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pictures.relativities(one, "channel").startswith("<svg")
        ratios = pd.DataFrame(
            {"group": ["a"], "ratio": [1.0], "low95": [0.9], "high95": [1.1], "exposure": [2.0]}
        )
        assert pictures.ratios(ratios, "channel").startswith("<svg")
