"""Credibility of thin groups: by hand, at the edges, and that chance alone earns none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.models.credibility import buhlmann_straub


def test_two_groups_by_hand() -> None:
    """Means 2 and 7; EPV 2; VHM (25 − 2) / 2 = 11.5; Z = 2 / (2 + 2 / 11.5) = 0.92."""
    found = buhlmann_straub(["a", "a", "b", "b"], [1, 3, 6, 8], [1, 1, 1, 1])
    assert (found.within, found.between, found.collective) == (2.0, 11.5, 4.5)
    assert found.groups["credibility"].to_dict() == pytest.approx({"a": 0.92, "b": 0.92})
    assert found.groups["premium"].to_dict() == pytest.approx({"a": 2.2, "b": 6.8})
    assert found.k == pytest.approx(2 / 11.5)


def test_groups_that_differ_by_less_than_chance_earn_nothing() -> None:
    found = buhlmann_straub(["a", "a", "b", "b"], [1, 9, 2, 8], [1, 1, 1, 1])
    assert found.between < 0
    assert (found.groups["credibility"] == 0).all()
    assert (found.groups["premium"] == 5).all()
    assert found.k == float("inf")


def test_an_observation_without_weight_changes_nothing() -> None:
    with_it = buhlmann_straub(["a", "a", "b", "b", "b"], [1, 3, 6, 8, np.nan], [1, 2, 1, 1, 0])
    without = buhlmann_straub(["a", "a", "b", "b"], [1, 3, 6, 8], [1, 2, 1, 1])
    pd.testing.assert_frame_equal(with_it.groups, without.groups)


@pytest.mark.parametrize(
    ("groups", "values", "weights", "fault"),
    [
        (["a", "a"], [1, 2], [1, 1], "two groups"),
        (["a", "b"], [1, 2], [1, 1], "twice"),
        (["a", "a", "b"], [1, np.nan, 2], [1, 1, 1], "value is not finite"),
        (["a", "a", "b"], [1, 2, 2], [1, -1, 1], "below 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    groups: list[str], values: list[float], weights: list[float], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        buhlmann_straub(groups, values, weights)
