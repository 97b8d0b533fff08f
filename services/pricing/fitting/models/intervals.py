"""How sure a relativity is, from the models' errors through every step to what is indicated.

Credibility is carried by the delta method on the log scale, with Z as given. Directions and caps
have kinks, where that would call a relativity certain because a bound holds it: what comes after
them is drawn. Knows no factor and no data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.pricing.fitting.models.design import Floats

_NORMAL_95 = 1.959963984540054
# Of 0 claims at 95 %, two-sided: −ln 0.025.
_NONE_95 = 3.688879454113936
# The end of the interval of a level that says nothing: no relativity comes near.
_ANYTHING = 1_000.0


# Half of the draws are the other half's mirror image; the seed is nobody's choice.
_DRAWS, _SEED = 2_000, 20_26


@dataclass(frozen=True, slots=True, kw_only=True)
class Complement:
    """What thin levels are taken for, and by how much its logs move with each raw log.

    `fitted` counts what was estimated for it: 1 of a mean, 2 of a trend.
    """

    values: Floats
    moves: Floats
    fitted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What the levels of a table say of one another, relative to the complement.

    Bühlmann–Straub's Z of each, the variance between them, and by how much of a level's squared
    distance from the complement that variance may be missed for it.
    """

    trust: Floats
    between: float
    unsure: Floats


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
    covariance: Floats, raw: Floats, trust: Floats, towards: Complement, levels: Levels
) -> Floats:
    """Covariance of log(Z × raw + (1 − Z) × complement) about the levels' own truth.

    Four parts: Z of the models' error, 1 − Z of the complement's, what a level may truly differ
    from its complement, (1 − Z)² × the variance between levels relative to it, and that this
    variance is itself an estimate, often of few levels: (1 − Z)² × the squared distance seen ×
    2 / (levels − fitted − 2) (Morris, Parametric Empirical Bayes Inference, JASA 78 (1983) 47).
    Without the last, levels that seem not to differ would have an interval of nothing. For a
    complement and a variance that are known they are Bühlmann's (1 − Z) × between.
    """
    credible = trust * raw + (1 - trust) * towards.values
    own, others = trust * raw / credible, (1 - trust) * towards.values / credible
    moves = np.diag(own) + others[:, None] * towards.moves
    apart = (raw / towards.values - 1) ** 2
    between = levels.between + levels.unsure * apart
    return np.asarray(moves @ covariance @ moves.T + np.diag(others**2 * between))


def indicated_interval(
    credible: Floats, covariance: Floats, shape: Callable[[Floats], Floats], indicated: Floats
) -> tuple[Floats, Floats]:
    """The interval of 95 % of what `shape` makes of the credible relativities.

    `shape` takes draws, one a row, and holds direction, cap and bounds in each.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(_SEED).standard_normal((_DRAWS // 2, len(credible)))
    spread = np.concatenate((normal, -normal)) @ root.T
    low, high = np.quantile(shape(credible * np.exp(spread)), [0.025, 0.975], axis=0)
    return np.minimum(low, indicated), np.maximum(high, indicated)
