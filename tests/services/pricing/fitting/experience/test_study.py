"""A study of the simulated book finds its truth, within what chance allows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.book_settings import TableSource
from services.pricing.fitting.experience.study import NothingToStudy, Study, study
from services.pricing.fitting.experience.tables import open_book
from services.pricing.fitting.simulated import book, truth
from services.pricing.fitting.simulated.settings import SimulateSettings
from tests.services.pricing.fitting.books import BOOK, STUDY, opened, plain

PEOPLE = 6_000
SIGMAS = 4.3
QUIET = lambda place, step: None  # noqa: E731 - tells nobody


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("book")
    book.simulate(SimulateSettings(people=PEOPLE, seed=11), target, lambda done, total: None)
    return target


@pytest.fixture(scope="module")
def studied(folder: Path) -> Study:
    return study(open_book(folder, BOOK), BOOK, STUDY, QUIET)


@pytest.mark.parametrize("cause", truth.CAUSES)
def test_claims_are_what_exposure_and_offsets_expect_of_the_truth(
    studied: Study, folder: Path, cause: str
) -> None:
    """Σ claims against Σ over policies of the true expectation × the mean offset of its segments.

    The bound: a person's claims vary by m + θ m² given the truth; the offsets are estimates of
    shares from the claims that told them, each with a binomial error, taken as of one whole.
    """
    rows = studied.experience.to_pandas()
    offset = f"frequency_offset_{cause}"
    rows["weighted"] = rows[offset] * rows["exposure"]
    mean = rows.groupby("policy_id")[["weighted", "exposure"]].sum()
    expected = pd.read_parquet(folder / "truth_policies.parquet").set_index("policy_id")
    owner = rows.drop_duplicates("policy_id").set_index("policy_id")["person_id"]
    known = expected[f"expected_claims_{cause}"] * mean["weighted"] / mean["exposure"]
    by_person = known.groupby(owner).sum()
    theta = truth.truth().frailty_variance
    variance = float((by_person + theta * by_person**2).sum())
    told = next(one for one in studied.causes if one.cause == cause)
    number = int(told.elimination["told_by"].iloc[0])
    share = float(np.average(rows[offset], weights=rows["exposure"]))
    variance += (by_person.sum() * (1 - share) / share) ** 2 / number
    total = int(rows[f"claims_{cause}"].sum())
    assert abs(total - by_person.sum()) < SIGMAS * np.sqrt(variance)


def test_late_reporting_is_what_the_delays_are(studied: Study) -> None:
    """Known at the quarter's end, d days off: 1 − exp(−d / mean delay), for d = 1 to its length."""
    for told in studied.causes:
        delay = truth.truth().severity[told.cause].mean_delay_days
        days = np.arange(1, 92)
        expected = float((1 - np.exp(-days / delay)).mean())
        number = float(np.nansum(told.triangle.counts.to_numpy()[:-1, 0]) / expected)
        sigma = np.sqrt(expected * (1 - expected) / number)
        assert abs(told.triangle.counts_shares[0] - expected) < SIGMAS * sigma


def test_every_split_and_amount_is_accounted_for(studied: Study) -> None:
    rows, claims = studied.experience.to_pandas(), studied.claims.to_pandas()
    assert rows["exposure"].to_numpy() == pytest.approx(rows["exposure_days"] / 365.25, abs=0)
    for told in studied.causes:
        name = told.cause
        mine = claims[claims["cause"] == name]
        assert rows[f"paid_{name}_minor"].sum() == mine["amount_minor"].sum()
        assert rows[f"zeros_{name}"].sum() == mine["zero"].sum()
        assert mine["loss_minor"].max() <= told.threshold_minor
        table = told.large_losses.set_index("threshold_minor")
        assert table.loc[told.threshold_minor, "above"] == (mine["excess_minor"] > 0).sum()


def test_the_means_are_frozen_near_the_truth(studied: Study) -> None:
    """Laboratories see the badly ill more often, by exp(0.3 A) at most: so far may m0 lie above."""
    diabetes = next(one for one in studied.strata if one.condition == "type2_diabetes")
    one = truth.truth().outcomes
    variance = one.hba1c_between**2 + one.hba1c_careful**2 + one.hba1c_within**2
    chance = SIGMAS * np.sqrt(variance / diabetes.people)
    assert -chance < diabetes.m0 - one.hba1c_mean < 0.3 * variance + chance
    assert all(0 < stratum.z < 1 for stratum in studied.strata)


def test_covers_are_offset_without_ground_up_amounts_too(folder: Path, studied: Study) -> None:
    """With a deductible of 0 what was paid is the amount itself: the same table, and it is said."""
    hidden = {"claims": TableSource(columns={"ground_up_minor": "not there"})}
    bare = dataclasses.replace(BOOK, tables=hidden)
    found = study(open_book(folder, bare), bare, STUDY, QUIET)
    for with_it, without in zip(studied.causes, found.causes, strict=True):
        pd.testing.assert_frame_equal(with_it.elimination, without.elimination)
        assert (without.elimination["frequency"] < 1).any()
        assert any("paid plus the deductible" in text for text in without.warnings)
        assert not any("paid plus" in text for text in with_it.warnings)


def test_a_deductible_above_every_claim_is_said() -> None:
    book = plain()
    book["policies"][2]["deductible_minor"] = 1_000_000
    told = "none of the 1 claims exceeds a deductible of 1000000"
    assert any(told in text for text in study(opened(book), BOOK, STUDY, QUIET).warnings)
    book["policies"][2]["deductible_minor"] = 10_000
    assert not any(told in text for text in study(opened(book), BOOK, STUDY, QUIET).warnings)


def test_nothing_to_study_is_said() -> None:
    book = plain()
    book["policies"] = [row | {"entry_day": None} for row in book["policies"][:1]]
    book["policies"][0]["first_day"] = book["policies"][0]["after_day"].replace(year=2010)
    book["policies"][0]["after_day"] = book["policies"][0]["first_day"].replace(year=2011)
    with pytest.raises(NothingToStudy):
        study(opened(book), BOOK, STUDY, QUIET)
