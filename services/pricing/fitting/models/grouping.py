"""From rows to cells: rows alike in every term are one cell, and no estimate changes by that.

Poisson and Gamma likelihoods see the rows of a cell only through their sums, so that a model on
cells has the coefficients of the model on rows (a test holds both within 10⁻⁹).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.pricing.fitting.models.design import Category, Design, Floats

# Up to so many possible cells a table of all is quicker than sorting the rows.
_DENSE = 1 << 22
_MOST_CODES = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of a design: one row each, and the cell of every original row."""

    design: Design
    cell_of: NDArray[np.intp]

    def sums(self, values: Floats) -> Floats:
        """The sum of a column over the rows of each cell."""
        found = np.bincount(self.cell_of, weights=values, minlength=self.design.size)
        return found.astype(np.float64)


def group(design: Design) -> Cells:
    """The cells of a design, ordered by the codes of its terms, the first term slowest."""
    key: NDArray[np.int64] = np.zeros(design.size, dtype=np.int64)
    span = 1
    for term in design.terms:
        if isinstance(term, Category):
            codes, width = term.codes.astype(np.int64), len(term.levels)
        else:
            found, codes = np.unique(term.values, return_inverse=True)
            width = len(found)
        if span > _MOST_CODES // max(width, 1):
            key, span = _packed(key)
        key *= width
        key += codes
        span *= width
    if span <= _DENSE:
        seen = np.bincount(key, minlength=span) > 0
        place = np.cumsum(seen) - 1
        cell_of = place[key]
        count = int(seen.sum())
    else:
        kept, cell_of = np.unique(key, return_inverse=True)
        count = len(kept)
    first = np.zeros(count, dtype=np.intp)
    # Written from the last row to the first, so that each cell keeps its first row.
    first[cell_of[::-1]] = np.arange(design.size - 1, -1, -1)
    return Cells(design=design.take(first), cell_of=cell_of)


def _packed(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    found, codes = np.unique(key, return_inverse=True)
    return codes.astype(np.int64), len(found)
