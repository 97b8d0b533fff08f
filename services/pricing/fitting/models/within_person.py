"""Counts of the same people at different times: a Poisson model with an effect for every person.

Whatever stays the same of a person (frailty, carefulness, sex, region, education) cancels, measured
or not: only a person's own time is compared with a person's own time. The person's effects are
conditioned away (Hausman, Hall and Griliches, Econometrica 52 (1984) 909), and the estimates are
consistent for any distribution whose mean is right (Wooldridge, Journal of Econometrics 90 (1999)
77): amounts may stand in the place of counts, and errors are clustered by person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from services.pricing.fitting.models.design import Codes, Floats
from services.pricing.fitting.models.refusal import FitFault, FitRefused

_ITERATIONS = 50
# A step may move no coefficient by more than this when the model has settled.
_SETTLED = 1e-9
# Of the information's greatest eigenvalue: below it two columns say the same of everybody.
_FLAT = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRatio:
    """The logarithm of a rate ratio; `se_naive` believes Poisson, `se_clustered` persons only."""

    estimate: float
    se_naive: float
    se_clustered: float


def within_person(
    persons: NDArray[np.intp],
    days: Floats,
    totals: Floats,
    *,
    asked: Mapping[str, NDArray[np.bool_]],
    beside: Mapping[str, Codes],
    where: str,
) -> dict[str, LogRatio]:
    """The rate of each state in `asked` against the same person's rate outside all of them.

    One value per row: the person's number, days at risk, and what happened (counts or amounts).
    `beside` are what else changes in time (the month, the cover), as codes from 0. People of whom
    nothing happened tell nothing and are left out.

    Raises: FitRefused when a state cannot be told from what stands beside it, or when the model
    does not settle.
    """
    each = np.bincount(persons, weights=totals).astype(np.float64)
    kept = each[persons] > 0
    numbers, persons = np.unique(persons[kept], return_inverse=True)
    design = _design(
        {name: on[kept] for name, on in asked.items()},
        {name: codes[kept] for name, codes in beside.items()},
    )
    model = _Model(
        persons=persons,
        days=days[kept],
        totals=totals[kept],
        each=each[numbers],
        design=design,
    )
    # One thread: sums in one order, for the same bits everywhere.
    with threadpool_limits(limits=1, user_api="blas"):
        beta, shares = _settled(model, where)
        bread, known = _inverse(model.information(shares), len(asked))
        scores = (_by_person(persons, model.residuals(shares), len(numbers)) @ design).toarray()
        meat = scores.T @ scores
    if not known.all():
        names = ", ".join(name for name, one in zip(asked, known, strict=True) if not one)
        text = f"{names}: nobody is seen inside and outside of it in the same months and covers"
        raise FitRefused([FitFault(where=where, code="NOT_TOLD_APART", text=text)])
    wide = len(numbers) / max(len(numbers) - 1, 1)
    clustered = np.sqrt(np.diag(bread @ meat @ bread) * wide)
    naive = np.sqrt(np.diag(bread))
    return {
        name: LogRatio(
            estimate=float(beta[place]),
            se_naive=float(naive[place]),
            se_clustered=float(clustered[place]),
        )
        for place, name in enumerate(asked)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Rows of people of whom something happened; `each` is what happened of each person."""

    persons: NDArray[np.intp]
    days: Floats
    totals: Floats
    each: Floats
    design: Any  # rows × columns, sparse

    def shares(self, beta: Floats) -> Floats:
        """The share of each row in what happens of its person."""
        weight = self.days * np.exp(self.design @ beta)
        return np.asarray(weight / np.bincount(self.persons, weights=weight)[self.persons])

    def residuals(self, shares: Floats) -> Floats:
        return np.asarray(self.totals - self.each[self.persons] * shares)

    def information(self, shares: Floats) -> Floats:
        expected = self.each[self.persons] * shares
        inside = self.design.T @ (sparse.diags_array(expected) @ self.design)
        mean = (_by_person(self.persons, shares, len(self.each)) @ self.design).toarray()
        between = mean.T @ (self.each[:, None] * mean)
        return np.asarray(inside.toarray() - between)

    def likelihood(self, shares: Floats) -> float:
        happened = self.totals > 0
        seen = np.maximum(shares[happened], np.finfo(float).tiny)
        return float(self.totals[happened] @ np.log(seen))


def _settled(model: _Model, where: str) -> tuple[Floats, Floats]:
    """The coefficients and the rows' shares, by Newton's method on a concave likelihood.

    A step is halved while it makes things worse.
    """
    beta = np.zeros(model.design.shape[1])
    shares = model.shares(beta)
    reached = model.likelihood(shares)
    for _ in range(_ITERATIONS):
        bread, _ = _inverse(model.information(shares), 0)
        step = bread @ (model.design.T @ model.residuals(shares))
        tried = model.shares(beta + step)
        while np.abs(step).max() > _SETTLED and model.likelihood(tried) <= reached:
            step = step / 2
            tried = model.shares(beta + step)
        if np.abs(step).max() <= _SETTLED:
            return beta, shares
        beta, shares, reached = beta + step, tried, model.likelihood(tried)
    text = "the model does not settle: too little happened inside or outside of a state"
    raise FitRefused([FitFault(where=where, code="NOT_CONVERGED", text=text)])


def _inverse(information: Floats, asked: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The inverse without what nothing is known of, and whether the asked columns are known."""
    values, vectors = linalg.eigh(information)
    flat = values <= max(values[-1], 0.0) * _FLAT
    inverse = (vectors[:, ~flat] / values[~flat]) @ vectors[:, ~flat].T
    return inverse, np.abs(vectors[:asked, flat]).max(axis=1, initial=0.0) < 1e-6


def _design(asked: Mapping[str, NDArray[np.bool_]], beside: Mapping[str, Codes]) -> Any:
    """The states' columns first, then those of every code but the first that is seen."""
    columns = [sparse.csc_array(on.astype(np.float64)[:, None]) for on in asked.values()]
    for codes in beside.values():
        seen, place = np.unique(codes, return_inverse=True)
        ones = (np.ones(len(codes)), (np.arange(len(codes)), place))
        columns.append(sparse.csc_array(ones, shape=(len(codes), len(seen)))[:, 1:])
    return sparse.hstack(columns, format="csr")


def _by_person(persons: NDArray[np.intp], values: Floats, count: int) -> Any:
    """People × rows, so that a product with it sums the rows of each person."""
    cells = (values, (persons, np.arange(len(persons))))
    return sparse.csr_array(cells, shape=(count, len(persons)))
