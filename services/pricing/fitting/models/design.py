"""The design of a model: an intercept, categories against their base level, and plain numbers.

Categories are kept as codes, so that a million rows with ten factors need no wide matrix; where
one is needed (normal equations, sums by person) it is made of a part of the rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]

INTERCEPT = "intercept"
# Rows of a wide matrix made at a time: 25 MB with fifty columns.
_PART = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A factor with levels, the base level first; `codes` count in that order."""

    name: str
    levels: tuple[str, ...]
    codes: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A covariate that enters as it is, on the log scale of the mean."""

    name: str
    values: Floats


Term = Category | Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Terms of equal length; `size` rows."""

    terms: tuple[Term, ...]
    size: int

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Name and level of every coefficient, the intercept first, no base levels."""
        found = [(INTERCEPT, "")]
        for term in self.terms:
            if isinstance(term, Category):
                found += [(term.name, level) for level in term.levels[1:]]
            else:
                found.append((term.name, ""))
        return tuple(found)

    def take(self, rows: NDArray[np.intp]) -> Design:
        """The same terms on chosen rows."""
        terms: list[Term] = [
            Category(name=term.name, levels=term.levels, codes=term.codes[rows])
            if isinstance(term, Category)
            else Number(name=term.name, values=term.values[rows])
            for term in self.terms
        ]
        return Design(terms=tuple(terms), size=len(rows))

    def frame(self) -> pd.DataFrame:
        """The terms as columns, categories with all their levels, the base first."""
        return pd.DataFrame(
            {
                term.name: pd.Categorical.from_codes(
                    term.codes,  # type: ignore[arg-type] # an array of codes is what pandas keeps
                    categories=pd.Index(term.levels),
                )
                if isinstance(term, Category)
                else term.values
                for term in self.terms
            },
            index=range(self.size),
        )

    def predictor(self, coefficients: Floats) -> Floats:
        """Xβ of every row."""
        found = np.full(self.size, coefficients[0])
        place = 1
        for term in self.terms:
            if isinstance(term, Category):
                width = len(term.levels) - 1
                effects = np.concatenate(([0.0], coefficients[place : place + width]))
                found += effects[term.codes]
                place += width
            else:
                found += coefficients[place] * term.values
                place += 1
        return found

    def wide(self, part: slice) -> Floats:
        """The plain matrix of a part of the rows."""
        rows = range(self.size)[part]
        made = np.zeros((len(rows), len(self.columns)))
        made[:, 0] = 1.0
        place = 1
        for term in self.terms:
            if isinstance(term, Category):
                codes = term.codes[part]
                shown = codes > 0
                made[np.flatnonzero(shown), place - 1 + codes[shown]] = 1.0
                place += len(term.levels) - 1
            else:
                made[:, place] = term.values[part]
                place += 1
        return made

    def gram(self, weights: Floats) -> Floats:
        """X'WX."""
        width = len(self.columns)
        found = np.zeros((width, width))
        for part in parts(self.size):
            wide = self.wide(part)
            found += wide.T @ (wide * weights[part, None])
        return found

    def score(self, residuals: Floats) -> Floats:
        """X'r."""
        found = np.zeros(len(self.columns))
        for part in parts(self.size):
            found += residuals[part] @ self.wide(part)
        return found


def parts(size: int, step: int = _PART) -> Iterator[slice]:
    """Slices that cover `size` rows."""
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))
