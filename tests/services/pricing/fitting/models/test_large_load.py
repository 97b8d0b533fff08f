"""How sure a large-loss load is: by how many claims, and by drawing people."""

from __future__ import annotations

import numpy as np
import pytest

from services.pricing.fitting.models.large_load import large_load
from tests.services.pricing.fitting.models.fitting import fitted
from tests.services.pricing.fitting.models.made_book import made_book


def test_its_interval_is_that_of_a_sum_over_people() -> None:
    claims = np.random.default_rng(3).gamma(2.0, 1e6, 400)
    found = large_load(claims, claims, 1_000.0)
    assert (found.claims, found.persons) == (400, 400)
    assert found.load_minor == pytest.approx(claims.sum() / 1_000)
    error = np.sqrt((claims**2).sum()) / 1_000
    assert found.low95 == pytest.approx(found.load_minor - 1.96 * error, rel=0.02)
    assert found.high95 == pytest.approx(found.load_minor + 1.96 * error, rel=0.02)
    # Control: the same claims of ten people are less sure.
    fewer = large_load(claims, claims.reshape(10, 40).sum(axis=1), 1_000.0)
    assert fewer.high95 - fewer.low95 > 4 * (found.high95 - found.low95)


def test_one_claim_may_be_none_and_nothing_is_no_load() -> None:
    one = large_load(np.array([0.0, 1e11]), np.array([0.0, 1e11, 0.0]), 1_000.0)
    assert (one.claims, one.largest, one.low95) == (1, 1.0, 0.0)
    assert one.high95 >= 3 * one.load_minor
    none = large_load(np.zeros(2), np.zeros(2), 1_000.0)
    assert (none.claims, none.load_minor, none.high95, none.largest) == (0, 0.0, 0.0, 0.0)


def test_a_fit_tells_it_of_each_cause() -> None:
    book = made_book(500, 3)
    above = np.where(book.claims.index < 5, 4_000_000.0, 0.0)
    claims = book.claims.assign(excess_minor=above)
    excess = np.bincount(claims["segment_id"], weights=above, minlength=len(book.experience))
    experience = book.experience.assign(excess_inpatient_minor=excess)
    found = fitted(type(book)(experience=experience, claims=claims)).causes[0].large
    assert found is not None
    assert found.claims == 5
    assert found.largest == pytest.approx(0.2)
    assert found.load_minor == pytest.approx(20_000_000 / experience["exposure"].sum())
    assert found.low95 < found.load_minor < found.high95
