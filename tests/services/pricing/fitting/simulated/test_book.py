"""The simulated book keeps its promises: the same bytes, labelled everywhere, true to its truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from services.pricing.fitting.simulated import book, truth
from services.pricing.fitting.simulated.settings import SimulateSettings

PEOPLE = 6_000
TABLES = ("people", "policies", "claims", "readings", "enrolments")
# Bounds of a test that must hold for any seed but one in fifty thousand.
SIGMAS = 4.3


def made(folder: Path, *, seed: int = 5, effect: float = 1.0, people: int = PEOPLE) -> Path:
    settings = SimulateSettings(people=people, seed=seed, programme_effect=effect)
    book.simulate(settings, folder, lambda done, total: None)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("book"))


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


def test_the_same_seed_gives_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    digests = [
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in made(tmp_path / name, seed=seed, people=300).iterdir()
        }
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    ]
    assert digests[0] == digests[1]
    assert all(digests[0][name] != digests[2][name] for name in digests[0])


def test_everything_says_that_it_is_synthetic(folder: Path) -> None:
    for path in sorted(folder.glob("*.parquet")):
        assert pq.read_schema(path).metadata[b"synthetic"] == b"true"
        assert b"SYNTHETIC" in pq.read_schema(path).metadata[b"notice"]
        assert pq.read_table(path, columns=["synthetic"])["synthetic"].to_numpy().all()
    assert {path.stem for path in folder.glob("*.parquet")} >= set(TABLES)
    told = json.loads((folder / "truth.json").read_bytes())
    assert told["synthetic"]
    assert "SYNTHETIC" in told["notice"]


def test_truth_json_tells_parameters_and_digests(folder: Path) -> None:
    told = json.loads((folder / "truth.json").read_bytes())
    for name, digest in told["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert told["truth"]["frequency"]["outpatient"]["female"] == 0.3222
    assert told["truth"]["programme_effect"] == 1.0
    assert told["rows"]["people"] == PEOPLE


@pytest.mark.parametrize("cause", truth.CAUSES)
def test_claims_come_as_often_as_the_truth_expects(folder: Path, cause: str) -> None:
    """Σ claims against Σ expected, reporting left out by events long before the valuation.

    Given the expectations, a person's claims have variance m + θ m²: the bound is of that.
    """
    expected = read(folder, "truth_policies").merge(read(folder, "policies"), on="policy_id")
    claims = read(folder, "claims")
    # Known, and paid above their deductible: of people without one, from years long reported.
    free = expected[(expected["deductible_minor"] == 0) & (expected["days"] > 0)]
    early = free[pd.to_datetime(free["after_day"]) < pd.Timestamp("2025-01-01")]
    mine = claims[(claims["cause"] == cause) & claims["policy_id"].isin(early["policy_id"])]
    by_person = early.groupby("person_id")[f"expected_claims_{cause}"].sum()
    theta = truth.truth().frailty_variance
    sigma = float(np.sqrt((by_person + theta * by_person**2).sum()))
    assert abs(len(mine) - by_person.sum()) < SIGMAS * sigma


def test_payments_are_as_large_as_the_truth_expects() -> None:
    """E[min(X, limit) − min(X, deductible)] against a million draws of the mixture."""
    given = truth.truth()
    rng = np.random.default_rng(3)
    for cause, deductible, limit in (("outpatient", 10_000, 200_000), ("inpatient", 0, 50_000_000)):
        one = given.severity[cause]
        shape = 1 / one.dispersion
        x = rng.gamma(shape, 1 / shape, 10**6)
        tail = given.pareto_from * (1 - rng.random(10**6)) ** (-1 / given.pareto_alpha)
        x = one.mean_minor * np.where(rng.random(10**6) < given.pareto_share, tail, x)
        paid = np.minimum(x, limit) - np.minimum(x, deductible)
        expected = truth.expected_paid(
            given,
            cause,
            mean=np.array([one.mean_minor]),
            deductible=np.array([float(deductible)]),
            limit=np.array([float(limit)]),
        )[0]
        assert abs(paid.mean() - expected) < SIGMAS * paid.std() / 1_000


def test_frailty_is_gamma_of_the_variance_that_it_says(folder: Path) -> None:
    frailty = read(folder, "truth_people")["frailty"].to_numpy()
    theta = truth.truth().frailty_variance
    assert abs(frailty.mean() - 1) < SIGMAS * np.sqrt(theta / PEOPLE)
    # Var of a gamma's sample variance: (μ4 − σ⁴) / n with μ4 = 3 σ⁴ + 6 σ⁶ for mean 1.
    spread = np.sqrt((2 * theta**2 + 6 * theta**3) / PEOPLE)
    assert abs(frailty.var() - theta) < SIGMAS * spread


def test_one_claim_in_a_hundred_comes_from_the_tail(folder: Path) -> None:
    """Ground-up amounts above ten times the Gamma's mean: the Pareto's, and almost none else."""
    claims = read(folder, "claims").merge(read(folder, "policies"), on="policy_id")
    mine = claims[(claims["cause"] == "inpatient") & (claims["deductible_minor"] == 0)]
    above = (mine["ground_up_minor"] > 12 * 850_000 * 1.6).sum()
    share = 0.01 * (10 / 12 / 1.6) ** 2.2  # at least, of those whose mean is the base's
    assert above > share * len(mine) / 3
    assert above < 0.01 * len(mine) + SIGMAS * np.sqrt(0.01 * len(mine))


def test_what_a_reader_must_be_able_to_trust(folder: Path) -> None:
    people, policies = read(folder, "people"), read(folder, "policies")
    claims, readings = read(folder, "claims"), read(folder, "readings")
    assert people["person_id"].is_unique
    assert (claims["report_day"] >= claims["event_day"]).all()
    assert (pd.to_datetime(claims["report_day"]) < pd.Timestamp("2026-01-01")).all()
    assert (readings["receive_time"] >= readings["effective_time"]).all()
    late = pd.to_datetime(policies["entry_day"]) > pd.to_datetime(policies["first_day"])
    assert 0.1 < late.mean() < 0.5  # left truncation is there to be studied
    lapsed = pd.to_datetime(policies["after_day"]) - pd.to_datetime(policies["first_day"])
    assert (lapsed.dt.days < 365).any()
    assert policies["deductible_minor"].nunique() == 3


def test_an_effect_of_the_programme_lowers_what_is_expected_but_not_of_injury(
    folder: Path, tmp_path: Path
) -> None:
    none = read(folder, "truth_policies")
    some = read(made(tmp_path, effect=0.8), "truth_policies")
    for cause in ("inpatient", "outpatient"):
        ratio = (some[f"expected_claims_{cause}"] / none[f"expected_claims_{cause}"]).dropna()
        assert ratio.min() >= 0.8 - 1e-9
        assert ratio.max() <= 1 + 1e-9
        assert (ratio < 0.81).any()
    pd.testing.assert_series_equal(some["expected_claims_injury"], none["expected_claims_injury"])


def test_best_of_four_reads_lower_and_skippers_read_less(folder: Path) -> None:
    habits = read(folder, "truth_people")
    home = read(folder, "readings").query("code == '15074-8'").merge(habits, on="person_id")
    best, plain = (
        home[home["best_of_four"]],
        home[~home["best_of_four"] & ~home["skips_bad_months"]],
    )
    # The least of four normal draws lies 1.03 standard deviations below the mean.
    assert best["value"].mean() < plain["value"].mean() - 0.8
    number = home.groupby("person_id").size()
    by_person = habits.set_index("person_id").join(number.rename("number")).query("number > 0")
    skips = by_person[by_person["skips_bad_months"]]["number"].mean()
    assert skips < 0.8 * by_person[~by_person["skips_bad_months"]]["number"].mean()
