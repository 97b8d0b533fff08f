"""How sure a cause's large-loss load is: how many claims make it, and its interval by bootstrap.

People are drawn, with all that each had above the threshold: large claims of one person may go
together. Knows no book: arrays come in.
"""

from __future__ import annotations

import numpy as np

from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.fit_result import LargeLoad

_DRAWS, _SEED = 1_000, 20_26
# Draws made at a time: a few megabytes for thousands of people.
_AT_ONCE = 50


def large_load(claims: Floats, persons: Floats, volume: float) -> LargeLoad:
    """The load of a person and year, and what it rests on.

    `claims` are the amounts above the threshold of single claims, `persons` their sums by person,
    both in minor units; those of 0 say nothing. `volume` is the exposure that they came of.
    """
    claims, persons = claims[claims > 0], persons[persons > 0]
    total = float(persons.sum())
    random = np.random.default_rng(np.random.SeedSequence(_SEED))
    # Poisson weights of mean 1 are a bootstrap of people whose number is large.
    drawn = np.concatenate(
        [random.poisson(1.0, (_AT_ONCE, len(persons))) @ persons for _ in range(_DRAWS // _AT_ONCE)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return LargeLoad(
        claims=len(claims),
        persons=len(persons),
        load_minor=total / volume,
        low95=float(low) / volume,
        high95=float(high) / volume,
        largest=float(claims.max()) / float(claims.sum()) if len(claims) else 0.0,
    )
