"""First events with a rate for each month: the model with all rates written out, and faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from threadpoolctl import threadpool_limits

from services.pricing.fitting.models import monthly_poisson as module
from services.pricing.fitting.models import time_bands as time_bands_module
from services.pricing.fitting.models.design import Category, Design, Number
from services.pricing.fitting.models.monthly_poisson import MonthlyPoisson, monthly_poisson
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.regression import regress
from services.pricing.fitting.models.time_bands import TimeBands, time_bands
from tests.services.pricing.fitting.models.first_events import design_of, drawn, split

PEOPLE = 300


def fitted(rows: pd.DataFrame, design: Design) -> MonthlyPoisson:
    return monthly_poisson(rows, design, where="cause")


def refusal(rows: pd.DataFrame, design: Design) -> dict[str, str]:
    """Codes by place."""
    with pytest.raises(FitRefused) as refused:
        fitted(rows, design)
    return {fault.where: fault.code for fault in refused.value.faults}


def close(found: MonthlyPoisson, columns: Callable[[str], list[float]]) -> None:
    for name, kept in (
        ("estimate", found.estimate),
        ("se_naive", found.se_naive),
        ("se_clustered", found.se_clustered),
    ):
        assert kept == pytest.approx(columns(name), rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("continuous", [False, True])
def test_it_is_the_tariffs_fit_with_every_rate_written_out(continuous: bool) -> None:
    rows, _ = drawn(PEOPLE)
    if continuous:  # no two rows alike: a cell for each
        rows["score"] += np.random.default_rng(1).normal(0, 1, len(rows))
    design = design_of(rows)
    cut = split(rows, design)
    other = regress("poisson", cut.design, cut.events, cut.years, cut.persons, where="test").model
    own = [one for one in other.coefficients if one.name not in ("intercept", "month")]
    found = fitted(rows, design)
    assert found.columns == tuple((one.name, one.level) for one in own)
    close(found, lambda name: [getattr(one, name) for one in own])
    assert found.persons == other.persons
    assert found.bands == len(other.coefficients) - len(own)
    assert found.events == rows["event"].sum()


def test_it_is_statsmodels_too() -> None:
    rows, _ = drawn(150)
    rows = rows[rows["stop"] <= 200].reset_index(drop=True)
    design = design_of(rows)
    cut = split(rows, design)
    wide = cut.design.wide(slice(None))
    model = sm.GLM(cut.events, wide, sm.families.Poisson(), exposure=cut.years)
    groups = pd.factorize(cut.persons)[0]
    with threadpool_limits(1):  # threads of two cores that others use wait for one another
        naive = model.fit(tol=1e-14, maxiter=100)
        clustered = model.fit(
            tol=1e-14, maxiter=100, cov_type="cluster", cov_kwds={"groups": groups}
        )
    width = len(design.columns) - 1
    answers = {
        "estimate": naive.params,
        "se_naive": naive.bse,
        "se_clustered": clustered.bse,
    }
    close(fitted(rows, design), lambda name: list(answers[name][-width:]))


def test_a_sparse_table_of_cells_by_days_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, design = drawn(PEOPLE)
    dense = fitted(rows, design)
    monkeypatch.setattr(module, "_DENSE", 0)
    # Persons' scores in several parts, too.
    monkeypatch.setattr(module, "_PERSONS", 7)
    sparse = fitted(rows, design)
    assert sparse.estimate == pytest.approx(dense.estimate, rel=1e-11)
    assert sparse.se_clustered == pytest.approx(dense.se_clustered, rel=1e-11)


def test_rows_out_of_order_are_the_same_people() -> None:
    rows, _ = drawn(PEOPLE)
    mixed = rows.sample(frac=1, random_state=3)
    one, other = fitted(rows, design_of(rows)), fitted(mixed, design_of(mixed))
    assert other.estimate == pytest.approx(one.estimate, rel=1e-11)
    assert other.se_clustered == pytest.approx(one.se_clustered, rel=1e-11)


def test_a_rate_by_hand() -> None:
    """Ten of each sex watched for the first month: 5 and 2 events on its last day, ratio 0.4."""
    rows = pd.DataFrame(
        {
            "person_id": range(20),
            "start": 0,
            "stop": 30,
            "event": [*[True] * 5, *[False] * 5, *[True] * 2, *[False] * 8],
        }
    )
    sex = Category(name="sex", levels=("F", "M"), codes=np.repeat([0, 1], 10).astype(np.int32))
    found = fitted(rows, Design(terms=(sex,), size=20))
    assert found.estimate[0] == pytest.approx(np.log(2 / 5))
    assert found.se_naive[0] == pytest.approx(np.sqrt(1 / 2 + 1 / 5))


def test_a_month_without_an_event_tells_nothing() -> None:
    rows, design = drawn(PEOPLE)
    # Another year, in which nothing happens, of everybody and of others: with other plans, at that.
    quiet = rows.drop_duplicates("person_id").assign(start=2_000, stop=2_365, event=False, plan=0)
    quiet = pd.concat([quiet, quiet.assign(person_id="q" + quiet["person_id"])])
    more = pd.concat([rows, quiet], ignore_index=True)
    one, other = fitted(rows, design), fitted(more, design_of(more))
    assert other.estimate == pytest.approx(one.estimate, rel=1e-11)
    assert other.se_clustered == pytest.approx(one.se_clustered, rel=1e-11)
    assert (other.bands, other.persons) == (one.bands, one.persons)


def test_a_single_person_cannot_be_clustered() -> None:
    rows, design = drawn(PEOPLE)
    found = fitted(rows.assign(person_id="p"), design)
    assert np.isinf(found.se_clustered).all()
    assert found.estimate == pytest.approx(fitted(rows, design).estimate, rel=1e-11)


def test_a_person_with_one_row_counts_once() -> None:
    rows, _ = drawn(PEOPLE)
    alone = rows.drop_duplicates("person_id").reset_index(drop=True)
    design = design_of(alone)
    cut = split(alone, design)
    other = regress("poisson", cut.design, cut.events, cut.years, cut.persons, where="test").model
    clustered = [one.se_clustered for one in other.coefficients[-4:]]
    assert fitted(alone, design).se_clustered == pytest.approx(clustered, rel=1e-9)


def test_numbers_of_any_size_converge() -> None:
    rows, design = drawn(PEOPLE)
    *others, score = design.terms
    assert isinstance(score, Number)
    far = Number(name="score", values=1e9 + 1e3 * score.values)
    one, other = fitted(rows, design), fitted(rows, Design(terms=(*others, far), size=design.size))
    assert other.estimate[-1] * 1e3 == pytest.approx(one.estimate[-1], rel=1e-7)
    assert other.se_clustered[-1] * 1e3 == pytest.approx(one.se_clustered[-1], rel=1e-7)


def test_no_covariates_no_effects() -> None:
    rows, _ = drawn(PEOPLE)
    found = fitted(rows, Design(terms=(), size=len(rows)))
    assert found.estimate.size == found.se_clustered.size == 0
    assert found.events == rows["event"].sum()


def with_term(design: Design, term: Category | Number) -> Design:
    return Design(terms=(*design.terms, term), size=design.size)


def test_columns_that_say_the_same_are_named() -> None:
    rows, design = drawn(PEOPLE)
    twice = Category(name="site", levels=("X", "Y", "Z"), codes=rows["plan"].to_numpy(np.int32))
    with pytest.raises(FitRefused, match=r"plan .*site") as refused:
        fitted(rows, with_term(design, twice))
    assert {fault.code for fault in refused.value.faults} == {"COLLINEAR"}


@pytest.mark.parametrize(("value", "told"), [(0.0, "does not occur"), (7.3, "nobody apart")])
def test_a_column_of_one_value_is_refused(value: float, told: str) -> None:
    rows, design = drawn(PEOPLE)
    same = Number(name="same", values=np.full(len(rows), value))
    with pytest.raises(FitRefused, match=f"same.*{told}"):
        fitted(rows, with_term(design, same))


def test_a_column_that_only_time_tells_apart_is_refused() -> None:
    """Whether it is the second month: the months' own rates say the same."""
    month = 365.25 / 12
    people = np.arange(40)
    rows = pd.DataFrame(
        {
            "person_id": np.tile(people, 2),
            "start": np.repeat([0.0, month], 40),
            "stop": np.repeat([month, 2 * month], 40),
            "event": np.concatenate((people % 9 == 0, people % 4 == 1)),
        }
    )
    sex = Category(name="sex", levels=("F", "M"), codes=np.tile(people % 2, 2).astype(np.int32))
    second = Number(name="second", values=np.repeat([0.0, 1.0], 40))
    with pytest.raises(FitRefused, match="second tells nobody apart"):
        fitted(rows, Design(terms=(sex, second), size=80))
    assert fitted(rows, Design(terms=(sex,), size=80)).steps > 0


def test_a_level_without_an_event_is_named() -> None:
    rows, design = drawn(PEOPLE)
    none = rows.assign(event=rows["event"] & (rows["plan"] != 2))
    assert refusal(none, design) == {"cause.plan.C": "NOT_CONVERGED"}


def test_a_base_level_without_an_event_names_all_that_stand_against_it() -> None:
    rows, design = drawn(PEOPLE)
    none = rows.assign(event=rows["event"] & (rows["plan"] != 0))
    found = refusal(none, design)
    assert found == {"cause.plan.B": "NOT_CONVERGED", "cause.plan.C": "NOT_CONVERGED"}


def test_a_number_that_foretells_every_event_is_named() -> None:
    """The one with the event always has the highest of all at risk: no ratio is high enough."""
    people = np.arange(60)
    rows = pd.DataFrame(
        {"person_id": people, "start": 0, "stop": 5 + 40 * people, "event": people % 2 == 0}
    )
    falling = Number(name="falling", values=-people.astype(np.float64))
    sex = Category(name="sex", levels=("F", "M"), codes=(people // 2 % 2).astype(np.int32))
    found = refusal(rows, Design(terms=(sex, falling), size=60))
    assert found["cause.falling"] == "NOT_CONVERGED"


def test_a_fit_that_has_not_settled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, design = drawn(PEOPLE)
    monkeypatch.setattr(module, "_STEPS", fitted(rows, design).steps)
    assert set(refusal(rows, design).values()) == {"NOT_CONVERGED"}


def test_steps_that_are_too_long_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four in 4,000, all with an event on day 3: Newton's first step would be a ratio of e³⁰⁰⁰.

    At that the others, who alone are at risk in the second month, would weigh nothing.
    """
    monkeypatch.setattr(time_bands_module, "_PARTS", 1)
    size, month = 4_000, 365.25 / 12
    person = np.arange(size)
    rare = (person % 1_000 == 0).astype(np.int32)
    first, second = person % 500 == 1, person % 500 == 2
    stop = np.select([rare == 1, first], [3.0, month], 2 * month)
    event = (rare == 1) | first | second
    rows = pd.DataFrame({"person_id": person, "start": 0.0, "stop": stop, "event": event})
    design = Design(terms=(Category(name="rare", levels=("no", "yes"), codes=rare),), size=size)
    by_hand = (4 / (4 * 3)) / (8 / ((size - 4) * month))
    assert fitted(rows, design).estimate[0] == pytest.approx(np.log(by_hand))
    # Control: without halving there is no such fit.
    monkeypatch.setattr(module, "_HALVINGS", 0)
    assert refusal(rows, design) == {"cause.rare.yes": "NOT_CONVERGED"}


def test_without_an_event_nothing_can_be_told() -> None:
    rows, design = drawn(PEOPLE)
    assert refusal(rows.assign(event=False), design) == {"cause": "NO_CLAIMS"}
    assert refusal(rows[:0], design_of(rows[:0])) == {"cause": "NO_CLAIMS"}


@pytest.mark.parametrize(
    ("start", "stop"), [(5.0, 5.0), (9.0, 5.0), (np.nan, 5.0), (0.0, np.inf), (-1.0, 5.0)]
)
def test_rows_without_time_are_refused(start: float, stop: float) -> None:
    rows, design = drawn(PEOPLE)
    rows = rows.astype({"start": float, "stop": float})
    rows.loc[3, ["start", "stop"]] = start, stop
    assert refusal(rows, design) == {"cause": "DAYS"}


def test_all_faults_of_the_rows_are_told_at_once() -> None:
    rows, _ = drawn(PEOPLE)
    rows.loc[3, "person_id"] = None
    rows.loc[4, "score"] = np.nan
    rows.loc[5, "stop"] = 0
    with pytest.raises(FitRefused) as refused:
        fitted(rows, design_of(rows))
    codes = [(fault.where, fault.code) for fault in refused.value.faults]
    assert codes == [("cause", "DAYS"), ("cause", "NO_PERSON"), ("cause.score", "NOT_A_NUMBER")]
    assert all(fault.text.startswith("1 rows: ") for fault in refused.value.faults)


def bands_of(rows: pd.DataFrame) -> TimeBands:
    start, stop = rows["start"].to_numpy(float), rows["stop"].to_numpy(float)
    return time_bands(start, stop, rows["event"].to_numpy(bool))


def test_sums_over_bands_are_those_row_by_row() -> None:
    rows, _ = drawn(30)
    bands = bands_of(rows)
    days = np.clip(
        np.minimum(rows["stop"].to_numpy()[:, None], bands.edges[1:])
        - np.maximum(rows["start"].to_numpy()[:, None], bands.edges[:-1]),
        0,
        None,
    )
    random = np.random.default_rng(2)
    rates = random.random((bands.count, 2))
    lived = bands.lived(rates)
    assert lived[bands.stop] - lived[bands.start] == pytest.approx(days @ rates)
    assert bands.lived(rates[:, 0]) == pytest.approx(lived[:, 0])
    weight = random.random((len(rows), 3))
    at_days = np.zeros((len(bands.days), 3))
    np.add.at(at_days, bands.stop, weight)
    np.add.at(at_days, bands.start, -weight)
    assert bands.held(at_days) == pytest.approx(days.T @ weight)
    chosen = random.random(bands.count) < 0.5
    assert (bands.touched(chosen) == (days[:, chosen] > 0).sum(axis=1)).all()


def test_a_day_ends_its_month_and_full_months_are_cut() -> None:
    """30.4375 days a month; 400 events let one month with two of them be cut, not one with one."""
    month = 30.4375
    rows = pd.DataFrame({"start": 0.0, "stop": [*[month] * 397, month + 1, 80.0, 81.0]})
    edges = bands_of(rows.assign(event=True)).edges / month
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1, 2, 2.25, 2.5, 2.75, 3]
