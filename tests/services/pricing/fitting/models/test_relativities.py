"""Isotonic regression and the reach of one reading, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.fitting.models.relativities import edges_within, isotonic, isotonic_rows

values = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.5, 1_000)), min_size=1, max_size=12)


@given(values)
def test_isotonic_never_falls_keeps_the_weighted_mean_and_moves_nothing_in_order(
    drawn: list[tuple[float, float]],
) -> None:
    value, weight = (np.array(column) for column in zip(*drawn, strict=True))
    found = isotonic(value, weight)
    assert (np.diff(found) >= 0).all()
    assert np.isclose((found * weight).sum(), (value * weight).sum(), rtol=1e-9, atol=1e-6)
    assert np.allclose(isotonic(found, weight), found)
    ordered = np.sort(value)
    assert np.array_equal(isotonic(ordered, weight), ordered)
    rows = isotonic_rows(np.stack([value, ordered]), weight)
    assert rows == pytest.approx(np.stack([isotonic(value, weight), ordered]), abs=1e-9)


@given(st.lists(st.integers(30, 200), min_size=1, max_size=8, unique=True), st.floats(0.1, 60))
def test_no_move_crosses_more_edges_than_counted(starts: list[int], reach: float) -> None:
    edges = sorted(starts)
    most = edges_within(edges, reach)
    for place in np.arange(29.5, 201, 0.5):
        crossed = sum(place < edge <= place + reach * 0.999 for edge in edges)
        assert crossed <= most
