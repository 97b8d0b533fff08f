"""The book's off-balance factor: a float finds where it lies, whole numbers say what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.pricing.core.arithmetic import BILLION, less_credit
from services.pricing.core.balance import (
    LEAST_BILLIONTHS,
    MOST_BILLIONTHS,
    Reach,
    off_balance,
)
from services.pricing.core.renewal import offered_e4
from services.pricing.core.tariff import MILLION

Column: TypeAlias = NDArray[np.int64]

# Newton's steps on a sum of straight pieces; each piece is passed at most once, few are met.
_STEPS = 60
# How far beside the float's answer the exact one is looked for, in billionths.
_BESIDE = 8
# Newton first looks at every so many rows, which is where nearly all of its steps are made.
_SAMPLED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Columns of one shard: technical premium, bounds and credit of each policy."""

    technical_e4: Column
    least_e4: Column
    most_e4: Column
    credit: Column

    def total_e4(self, k_billionths: int) -> int:
        """Σ clip(k·t, lo, hi)(1 − credit), each term in whole numbers."""
        return int(self.terms_e4(k_billionths).sum())

    def terms_e4(self, k_billionths: int) -> Column:
        """Each policy's term of that sum."""
        offered = offered_e4(self.technical_e4, k_billionths, self.least_e4, self.most_e4)
        return less_credit(offered, self.credit)

    def some(self, rows: NDArray[np.bool_] | slice) -> Shard:
        """Some of the policies."""
        return Shard(
            technical_e4=self.technical_e4[rows],
            least_e4=self.least_e4[rows],
            most_e4=self.most_e4[rows],
            credit=self.credit[rows],
        )


def balance(shards: Sequence[Shard], target_e4: int) -> int:
    """The book's factor in billionths: the least at which its total reaches the target.

    Raises: OutOfReach with what the collar allows; NotBalanced.
    """
    sample = [shard.some(slice(None, None, _SAMPLED)) for shard in shards]
    rows, looked_at = (sum(s.credit.size for s in several) for several in (shards, sample))
    begin = _near(sample, target_e4 * looked_at / rows, 1.0)
    near = round(_near(shards, target_e4, begin) * BILLION)
    low, high = _inside(near - _BESIDE), _inside(near + _BESIDE)
    at_low, at_high, moving = 0, 0, []
    for shard in shards:
        # Between the two most terms do not change, or all of them by their own k: sum those once.
        below, above = shard.terms_e4(low), shard.terms_e4(high)
        at_low, at_high = at_low + int(below.sum()), at_high + int(above.sum())
        moving.append(shard.some(below != above))
    still = at_low - sum(shard.total_e4(low) for shard in moving)

    def total(k: int) -> int:
        if k in (low, high):
            return at_low if k == low else at_high
        inside = low < k < high
        return still * inside + sum(s.total_e4(k) for s in (moving if inside else shards))

    return off_balance(total, target_e4, reach_of(shards), (low, high))


def reach_of(shards: Sequence[Shard]) -> Reach:
    """The least and most that the collar lets the book come to."""
    least = sum(int(less_credit(s.least_e4, s.credit).sum()) for s in shards)
    most = sum(int(less_credit(s.most_e4, s.credit).sum()) for s in shards)
    return Reach(least, most)


def _near(shards: Sequence[Shard], target_e4: float, k: float) -> float:
    """Where the sum of straight pieces meets the target, by Newton from k, in floats."""
    low, high = LEAST_BILLIONTHS / BILLION, MOST_BILLIONTHS / BILLION
    for _ in range(_STEPS):
        total = slope = 0.0
        for shard in shards:
            kept = 1 - shard.credit / MILLION
            straight = shard.technical_e4 * k
            offered = np.clip(straight, shard.least_e4, shard.most_e4)
            total += float((offered * kept).sum())
            slope += float((straight * kept)[offered == straight].sum()) / k
        if total < target_e4:
            low = k
        else:
            high = k
        step = k + (target_e4 - total) / slope if slope else 0.0
        after = step if low < step < high else (low + high) / 2
        if abs(after - k) < 1 / BILLION:
            return after
        k = after
    return k


def _inside(k_billionths: int) -> int:
    return min(max(k_billionths, LEAST_BILLIONTHS), MOST_BILLIONTHS)
