"""How sure a relativity is, from the models' errors through every step to what is indicated.

By the delta method on the log scale: each step says how its result moves with what went in
(`Step.moves`). What the steps choose (Z, the pools of a direction, which bound holds) is taken as
given. Knows no factor and no data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.pricing.fitting.models.design import Floats

_NORMAL_95 = 1.959963984540054
# Of 0 claims at 95 %, two-sided: −ln 0.025.
_NONE_95 = 3.688879454113936
# The end of the interval of a level that says nothing: no relativity comes near.
_ANYTHING = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The relativities after a step, and by how much each log moves with each log before it."""

    values: Floats
    moves: Floats


def raw_interval(
    raw: Floats, variances: Floats, expected: Floats, cost: Floats
) -> tuple[Floats, Floats]:
    """What the models alone say, at 95 %; of a level without a claim, Poisson's exact upper end."""
    margin = _NORMAL_95 * np.sqrt(variances)
    with np.errstate(divide="ignore"):
        none = _NONE_95 / expected * cost
    return raw * np.exp(-margin), np.minimum(
        np.where(raw > 0, raw * np.exp(margin), none), _ANYTHING
    )


def credible_covariance(
    covariance: Floats, raw: Floats, trust: Floats, towards: Step, between: float
) -> Floats:
    """Covariance of log(Z × raw + (1 − Z) × complement) about the levels' own truth.

    Three parts: Z of the models' error, 1 − Z of the complement's, and what a level may truly
    differ from its complement, (1 − Z)² × `between` relative to it. For a complement that is known
    they are Bühlmann's (1 − Z) × between.
    """
    credible = trust * raw + (1 - trust) * towards.values
    own, others = trust * raw / credible, (1 - trust) * towards.values / credible
    moves = np.diag(own) + others[:, None] * towards.moves
    return np.asarray(moves @ covariance @ moves.T + np.diag(others**2 * between))


def indicated_interval(
    indicated: Floats, covariance: Floats, bounds: tuple[float, float]
) -> tuple[Floats, Floats]:
    """The interval of 95 % of what is indicated, held by the bounds that hold it."""
    margin = _NORMAL_95 * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    least, greatest = bounds
    return (
        np.clip(indicated * np.exp(-margin), least, greatest),
        np.clip(indicated * np.exp(margin), least, greatest),
    )
