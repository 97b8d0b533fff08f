"""Loss elimination: what another deductible and limit would have left of the same claims.

The claims of the policies with the smallest deductible tell it, ground up and at the level of one
day. A deductible of an earlier year is worth more than its number: it is brought to that level too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

FEW = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """A deductible and a limit at the level of one day; infinite for no limit."""

    deductible: float
    limit: float


def eliminate(ground_up: Any, reference: Cover, cover: Cover, cap: float) -> dict[str, float]:
    """Multipliers of frequency and severity from the reference cover to this one.

    `frequency` is the share of the reference's claims that still pay anything, `severity` the mean
    payment per paying claim over the reference's, each payment capped; `eliminated` is the share of
    the reference's capped loss that the cover takes away. NaN without a claim to tell it.

    >>> found = eliminate(
    ...     np.array([50.0, 150.0, 250.0]),
    ...     Cover(deductible=0, limit=np.inf),
    ...     Cover(deductible=100, limit=np.inf),
    ...     np.inf,
    ... )
    >>> round(found["frequency"], 3), round(found["severity"], 3), round(found["eliminated"], 3)
    (0.667, 0.667, 0.556)
    """
    at, pays = _paid(ground_up, reference, cap), _paid(ground_up, cover, cap)
    many, still = int((at > 0).sum()), int((pays > 0).sum())
    if not many or not still:
        return {"frequency": np.nan, "severity": np.nan, "eliminated": np.nan, "claims": many}
    return {
        "frequency": still / many,
        "severity": float((pays.sum() / still) / (at.sum() / many)),
        "eliminated": float(1 - pays.sum() / at.sum()),
        "claims": many,
    }


def elimination_table(
    ground_up: Any, covers: pd.DataFrame, reference: Cover, cap: float
) -> pd.DataFrame:
    """One row of multipliers per row of covers (deductible, limit: at the level of the claims)."""
    found = [
        eliminate(ground_up, reference, Cover(deductible=float(one), limit=float(other)), cap)
        for one, other in zip(covers["deductible"], covers["limit"], strict=True)
    ]
    return pd.concat([covers.reset_index(drop=True), pd.DataFrame(found)], axis=1)


def _paid(ground_up: Any, cover: Cover, cap: float) -> Any:
    net = np.minimum(ground_up, cover.limit) - cover.deductible
    return np.clip(net, 0, cap)
