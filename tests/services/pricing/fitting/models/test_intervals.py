"""The interval of an indicated relativity: every step's, against draws and known formulas."""

from __future__ import annotations

import numpy as np
import pytest

from services.pricing.fitting.models.intervals import (
    Complement,
    Levels,
    credible_covariance,
    indicated_interval,
    raw_interval,
)

FLAT = Complement(values=np.ones(3), moves=np.zeros((3, 3)), fitted=1)


def levels(trust: list[float], between: float, unsure: float = 0.0) -> Levels:
    return Levels(trust=np.array(trust), between=between, unsure=np.full(len(trust), unsure))


def test_full_credibility_leaves_the_models_interval() -> None:
    covariance = np.diag([0.0, 0.01, 0.04])
    raw = np.array([1.0, 1.5, 0.8])
    same = credible_covariance(covariance, raw, np.ones(3), FLAT, levels([1.0] * 3, 0.3))
    assert same == pytest.approx(covariance)
    low, high = indicated_interval(raw, same, lambda drawn: drawn, raw)
    models = raw_interval(raw, np.diag(covariance), raw, raw)
    assert low == pytest.approx(models[0], rel=0.02)
    assert high == pytest.approx(models[1], rel=0.02)


def test_with_a_known_complement_it_is_buhlmanns() -> None:
    between, own = 0.05, 0.2
    z = between / (between + own)
    told = levels([1.0, z, z], between)
    found = credible_covariance(np.diag([0.0, own, own]), np.ones(3), told.trust, FLAT, told)
    assert np.diag(found) == pytest.approx([0.0, (1 - z) * between, (1 - z) * between])
    # Control: it is narrower than what the models alone say.
    assert found[1, 1] < own


def test_without_a_claim_the_complement_speaks_alone() -> None:
    mean = Complement(values=np.full(2, 0.7), moves=np.array([[1.0, 0.0], [1.0, 0.0]]), fitted=1)
    told = levels([1.0, 0.0], 0.1)
    found = credible_covariance(np.diag([0.02, 0.0]), np.array([0.7, 0.0]), told.trust, mean, told)
    assert found[1, 1] == pytest.approx(0.02 + 0.1)
    low, high = raw_interval(np.array([0.0]), np.zeros(1), np.array([10.0]), np.ones(1))
    assert (low[0], high[0]) == (0.0, pytest.approx(0.3688879454))


def test_levels_that_seem_alike_are_not_certain_for_that() -> None:
    raw, own = np.array([1.0, 1.3, 0.9]), np.diag([0.0, 0.04, 0.04])
    none = levels([1.0, 0.0, 0.0], 0.0, 2 / 5)
    found = np.diag(credible_covariance(own, raw, none.trust, FLAT, none))
    # Morris' share of the squared distance from the complement of 1.
    assert found[1:] == pytest.approx([0.4 * 0.3**2, 0.4 * 0.1**2])
    # Control: with the variance between them taken for known there is nothing left.
    known = levels([1.0, 0.0, 0.0], 0.0)
    assert np.diag(credible_covariance(own, raw, known.trust, FLAT, known))[1:].max() == 0.0


def test_it_is_what_draws_of_the_models_give() -> None:
    raw, trust = np.array([1.0, 1.4, 1.9]), np.array([1.0, 0.5, 1.0])
    covariance = np.array([[0.0, 0.0, 0.0], [0.0, 4e-4, 1e-4], [0.0, 1e-4, 2e-4]])
    mean = raw / raw.sum()
    towards = Complement(values=np.full(3, raw.mean()), moves=np.tile(mean, (3, 1)), fitted=1)
    found = credible_covariance(covariance, raw, trust, towards, levels([1.0, 0.5, 1.0], 0.0))
    drawn = np.random.default_rng(7).multivariate_normal(np.log(raw), covariance, 40_000)
    draws = np.exp(drawn)
    credible = np.log(trust * draws + (1 - trust) * draws.mean(axis=1, keepdims=True))
    assert np.cov(credible.T) == pytest.approx(found, rel=0.05, abs=5e-6)


def test_what_a_bound_holds_is_not_certain_for_that() -> None:
    credible = np.array([0.75, 4.9])
    low, high = indicated_interval(
        credible,
        np.diag([0.04, 1e-6]),
        lambda drawn: np.clip(drawn, 0.8, 5.0),
        np.array([0.8, 4.9]),
    )
    assert low[0] == pytest.approx(0.8)
    assert high[0] == pytest.approx(0.75 * np.exp(1.96 * 0.2), rel=0.03)
    # Control: where the claims are sure and no bound holds, the interval is narrow.
    assert high[1] - low[1] < 0.03
