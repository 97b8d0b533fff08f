"""Isotonic regression and the reach of one reading, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.fitting.models.coding import Coded
from services.pricing.fitting.models.factors import Categories, Factor, FactorLevel
from services.pricing.fitting.models.relativities import (
    PARTS,
    Effect,
    Seen,
    edges_within,
    isotonic,
    isotonic_rows,
    shaped,
)
from tests.services.pricing.fitting.models.fitting import settings

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


def _indicated(claims: int) -> tuple[float, float]:
    """Credibility and relativity of a level with so many claims, half of those expected."""
    names = ("base", "other", "thin")
    factor = Factor(
        name="plan", column="plan", feature="plan", zh="计划", en="plan", shape=Categories()
    )
    coded = Coded(
        factor=factor,
        levels=tuple(FactorLevel(name=name, value=name, zh=name, en=name) for name in names),
        names=names,
        codes=np.repeat([0, 1, 2], PARTS).astype(np.int32),
        base=0,
    )
    each = np.repeat([5_000.0, 5_000.0, float(claims)], PARTS) / PARTS
    seen = Seen(
        codes=coded.codes,
        parts=np.tile(np.arange(PARTS), 3),
        exposure=each,
        claims=each * np.tile([0.2, 1.8], 3 * PARTS // 2),  # people differ more than levels do
        amount=each,
        expected=each * np.repeat([1.0, 1.0, 2.0], PARTS),
    )
    effect = Effect(logs=np.log([1.0, 1.0, 0.5]), covariance=np.zeros((3, 3)))
    nothing = Effect(logs=np.zeros(3), covariance=np.zeros((3, 3)))
    cell = shaped(coded, effect, nothing, seen, settings()).table.cells[2]
    return cell.credibility, cell.indicated


def test_a_level_becomes_thin_without_a_step() -> None:
    told = [_indicated(claims) for claims in (100, 99, 98, 50, 25, 1)]
    trust, relativity = zip(*told, strict=True)
    assert trust[0] == 1.0
    assert relativity[0] == pytest.approx(0.5)
    assert abs(relativity[1] - relativity[0]) < 0.005
    assert abs(relativity[2] - relativity[1]) < 0.005
    assert trust[3] == pytest.approx(np.sqrt(0.5))
    # Fewer claims, less trust, and nearer to the mean of all levels.
    assert list(trust) == sorted(trust, reverse=True)
    assert list(relativity) == sorted(relativity)
    assert trust[-1] == pytest.approx(0.1)
