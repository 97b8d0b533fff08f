"""A model on cells is the model on rows; its errors are those of the sandwich, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from services.pricing.fitting.models.design import Category, Design, Floats, Number, Term
from services.pricing.fitting.models.grouping import group
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.regression import Family, regress

ROWS, PERSONS = 3_000, 400


def design(random: np.random.Generator, rows: int = ROWS) -> Design:
    plan = Category(
        name="plan", levels=("A", "B", "C"), codes=random.integers(0, 3, rows).astype(np.int32)
    )
    sex = Category(
        name="sex", levels=("F", "M"), codes=random.integers(0, 2, rows).astype(np.int32)
    )
    age = Number(name="age", values=random.integers(-3, 4, rows) / 2)
    return Design(terms=(plan, sex, age), size=rows)


def drawn(family: Family) -> tuple[Design, Floats, Floats, Floats]:
    """A design, totals, volumes and persons whose rows go together."""
    random = np.random.default_rng(7)
    made = design(random)
    person = random.integers(0, PERSONS, ROWS)
    mean = np.exp(made.predictor(np.array([0.3, 0.2, -0.4, 0.5, 0.25])))
    mean *= random.gamma(2.0, 0.5, PERSONS)[person]
    if family == "poisson":
        volume = random.uniform(0.1, 1.0, ROWS)
        return made, random.poisson(mean * volume).astype(float), volume, person.astype(float)
    volume = random.integers(1, 5, ROWS).astype(float)
    return made, random.gamma(volume * 2.0, mean / 2.0), volume, person.astype(float)


def by_hand(
    family: Family, made: Design, total: Floats, volume: Floats
) -> tuple[Floats, Floats, Floats]:
    """Newton's iteration on the rows: coefficients, bread and residuals, by numpy alone."""
    wide = made.wide(slice(None))
    power = 1.0 if family == "poisson" else 2.0
    beta: Floats = np.zeros(wide.shape[1])
    beta[0] = np.log(total.sum() / volume.sum())
    while True:
        rate = np.exp(wide @ beta)
        residual: Floats = (total - volume * rate) * rate ** (1 - power)
        bread: Floats = np.linalg.inv(
            wide.T @ (wide * (volume * rate ** (2 - power))[:, None])
        ).astype(np.float64)
        step = bread @ (wide.T @ residual)
        if np.abs(step).max() < 1e-13:
            return beta, bread, residual
        beta = beta + step


@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_a_fit_on_cells_is_the_fit_on_rows(family: Family) -> None:
    made, total, volume, person = drawn(family)
    found = regress(family, made, total, volume, person, where="test")
    beta, _, _ = by_hand(family, made, total, volume)
    assert found.model.cells == 3 * 2 * 7 < found.model.rows
    assert np.abs(found.coefficients - beta).max() < 1e-9


@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_errors_are_the_sandwiches(family: Family) -> None:
    made, total, volume, person = drawn(family)
    found = regress(family, made, total, volume, person, where="test")
    _, bread, residual = by_hand(family, made, total, volume)
    wide, p = made.wide(slice(None)), 5
    scores = wide * residual[:, None]
    by_person = np.array([scores[person == one].sum(axis=0) for one in np.unique(person)])
    rate = np.exp(wide @ found.coefficients)
    power = 1 if family == "poisson" else 2
    dispersion = ((total - volume * rate) ** 2 / (volume * rate**power)).sum() / (ROWS - p)
    naive = bread * (1.0 if family == "poisson" else dispersion)
    robust = bread @ scores.T @ scores @ bread
    count = len(by_person)
    clustered = bread @ by_person.T @ by_person @ bread
    clustered *= count / (count - 1) * (ROWS - 1) / (ROWS - p)
    assert found.model.pearson_dispersion == pytest.approx(dispersion, rel=1e-9)
    for name, matrix in (("naive", naive), ("robust", robust), ("clustered", clustered)):
        assert getattr(found.errors, name) == pytest.approx(np.sqrt(np.diag(matrix)), rel=1e-6)
    assert (found.errors.clustered > 1.2 * found.errors.naive).any()


def test_the_interval_stands_on_the_clustered_error() -> None:
    made, total, volume, person = drawn("poisson")
    one = regress("poisson", made, total, volume, person, where="test").model.coefficients[1]
    assert (one.name, one.level) == ("plan", "B")
    assert one.high95 - one.low95 == pytest.approx(2 * 1.959964 * one.se_clustered, rel=1e-6)


def test_many_levels_are_grouped_as_few() -> None:
    """More possible cells than a table could hold: the keys are sorted instead."""
    random = np.random.default_rng(3)
    terms: tuple[Term, ...] = tuple(
        Category(
            name=f"f{number}",
            levels=tuple(f"L{level}" for level in range(100)),
            codes=random.integers(0, 100, 500).astype(np.int32),
        )
        for number in range(12)
    )
    made = Design(terms=terms, size=500)
    twice = made.take(np.concatenate((np.arange(500), np.arange(500))))
    cells = group(twice)
    assert cells.design.size == 500
    assert (cells.cell_of[:500] == cells.cell_of[500:]).all()
    for before, after in zip(twice.terms, cells.design.terms, strict=True):
        assert isinstance(before, Category)
        assert isinstance(after, Category)
        assert (after.codes[cells.cell_of] == before.codes).all()


def refusal(made: Design, total: Floats, volume: Floats, *, most: int = 200) -> FitRefused:
    with pytest.raises(FitRefused) as refused:
        regress("poisson", made, total, volume, np.arange(made.size), where="cause", most=most)
    return refused.value


def test_factors_that_say_the_same_thing_are_named() -> None:
    made, total, volume, _ = drawn("poisson")
    plan = made.terms[0]
    assert isinstance(plan, Category)
    same = Category(name="site", levels=("X", "Y", "Z"), codes=plan.codes)
    told = refusal(Design(terms=(*made.terms, same), size=ROWS), total, volume)
    assert {fault.code for fault in told.faults} == {"COLLINEAR"}
    assert "plan" in str(told)
    assert "site" in str(told)
    assert "sex" not in str(told)


def test_a_fit_that_does_not_converge_is_refused() -> None:
    made, total, volume, person = drawn("poisson")
    told = refusal(made, total, volume, most=1)
    assert [fault.code for fault in told.faults] == ["NOT_CONVERGED"]
    assert regress("poisson", made, total, volume, person, where="cause").model.converged


def test_a_level_that_cannot_have_a_coefficient_is_refused() -> None:
    """Without a claim at plan C its coefficient runs to minus infinity and never settles."""
    made, total, volume, _ = drawn("poisson")
    plan = made.terms[0]
    assert isinstance(plan, Category)
    told = refusal(made, np.where(plan.codes == 2, 0.0, total), volume)
    assert {fault.code for fault in told.faults} <= {"NOT_CONVERGED", "NOT_FINITE"}


@pytest.mark.parametrize(
    ("total", "volume", "code"),
    [
        (np.nan, 1.0, "BAD_TOTAL"),
        (-1.0, 1.0, "BAD_TOTAL"),
        (1.0, 0.0, "BAD_VOLUME"),
        (1.0, np.inf, "BAD_VOLUME"),
    ],
)
def test_rows_that_no_model_can_take_are_refused(total: float, volume: float, code: str) -> None:
    made, totals, volumes, _ = drawn("poisson")
    totals[5], volumes[5] = total, volume
    assert [fault.code for fault in refusal(made, totals, volumes).faults] == [code]


def test_a_cause_without_claims_is_refused() -> None:
    made, total, volume, _ = drawn("poisson")
    assert [f.code for f in refusal(made, 0 * total, volume).faults] == ["NO_CLAIMS"]
