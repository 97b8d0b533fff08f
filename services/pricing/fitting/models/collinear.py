"""Factors that say the same thing: found before a fit, and named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.pricing.fitting.models.design import INTERCEPT, Design, Floats

# Of the scaled normal equations: below it a direction of the design carries nothing.
_NOTHING = 1e-10
# A column belongs to such a direction when its share of it is not rounding.
_SHARE = 1e-3


def collinear(design: Design, weights: Floats) -> list[str]:
    """One sentence for each way in which the columns repeat one another; none when they do not."""
    gram = design.gram(weights)
    return repeated(design.columns, gram, np.sqrt(np.diag(gram)))


def repeated(columns: Sequence[tuple[str, str]], gram: Floats, scale: Floats) -> list[str]:
    """The same of normal equations; `scale` is how large a column is, 0 where it is empty."""
    told = [
        f"{name} {level}".rstrip() + " does not occur: leave it out"
        for (name, level), none in zip(columns, scale == 0, strict=True)
        if none
    ]
    if told:
        return told
    values, directions = np.linalg.eigh(gram / np.outer(scale, scale))
    for value, direction in zip(values, directions.T, strict=True):
        if value > _NOTHING:
            continue
        named: dict[str, list[str]] = {}
        for (name, level), share in zip(columns, direction, strict=True):
            if abs(share) > _SHARE and name != INTERCEPT:
                named.setdefault(name, []).append(level)
        listed = " and ".join(
            f"{name} ({', '.join(levels)})" if levels != [""] else name
            for name, levels in named.items()
        )
        if sum(map(len, named.values())) == 1:
            told.append(f"{listed} tells nobody apart from others: leave it out")
        else:
            told.append(f"{listed} say the same thing (collinear): leave one of them out")
    return told
