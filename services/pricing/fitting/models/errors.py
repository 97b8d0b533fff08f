"""Standard errors of a fit: as the model says, robust, and clustered by person.

All three are sandwiches A⁻¹ B A⁻¹ on the ungrouped rows. Naive: B is A times the dispersion.
Robust: B sums the squared scores of rows. Clustered: B sums the squared scores of persons, so
that a person's policy-years may go together; of G persons and n rows it is corrected by
G / (G − 1) × (n − 1) / (n − p), as statsmodels' and Stata's cluster errors are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.pricing.fitting.models.design import Category, Design, Floats

# Persons whose scores are held at a time: 25 MB with fifty coefficients.
_PERSONS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Standard errors in the order of the design's columns, and the clustered covariance."""

    naive: Floats
    robust: Floats
    clustered: Floats
    covariance: Floats
    persons: int


def errors(
    design: Design,
    residuals: Floats,
    bread: Floats,
    *,
    dispersion: float,
    persons: NDArray[np.intp],
    robust_gram: Floats,
) -> Errors:
    """The three errors of a fit.

    `residuals` are the rows' r with score X'r (weight × (y − μ), over μ for Gamma), `bread` is
    A⁻¹, `persons` number the person of each row from 0, `robust_gram` is Σ r² x x'. With a
    single person nothing can be clustered, and the clustered errors are infinite.
    """
    rows, width = design.size, len(design.columns)
    count = int(persons.max()) + 1
    spare = max(rows - width, 1)
    naive = np.sqrt(np.diag(bread) * dispersion)
    robust = bread @ robust_gram @ bread
    if count > 1:
        meat = clustered_gram(design, residuals, persons, count)
        wide = count / (count - 1) * (rows - 1) / spare
        covariance = bread @ meat @ bread * wide
    else:
        covariance = np.full_like(bread, np.inf)
    return Errors(
        naive=naive,
        robust=np.sqrt(np.diag(robust)),
        clustered=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        persons=count,
    )


def clustered_gram(
    design: Design, residuals: Floats, persons: NDArray[np.intp], count: int
) -> Floats:
    """Σ over persons of s s', s being the sum of a person's scores.

    Sums are kept per person and level; the rows never become a wide matrix.
    """
    order = np.argsort(persons, kind="stable")
    ordered = persons[order]
    found = np.zeros((len(design.columns), len(design.columns)))
    for low in range(0, count, _PERSONS):
        high = min(low + _PERSONS, count)
        rows = order[np.searchsorted(ordered, low) : np.searchsorted(ordered, high)]
        scores = _scores(design.take(rows), residuals[rows], persons[rows] - low, high - low)
        found += scores.T @ scores
    return found


def _scores(design: Design, residuals: Floats, persons: NDArray[np.intp], count: int) -> Floats:
    found = np.empty((count, len(design.columns)))
    found[:, 0] = np.bincount(persons, weights=residuals, minlength=count)
    place = 1
    for term in design.terms:
        if isinstance(term, Category):
            width = len(term.levels)
            sums = np.bincount(
                persons * width + term.codes, weights=residuals, minlength=count * width
            )
            found[:, place : place + width - 1] = sums.reshape(count, width)[:, 1:]
            place += width - 1
        else:
            found[:, place] = np.bincount(persons, weights=residuals * term.values, minlength=count)
            place += 1
    return found
