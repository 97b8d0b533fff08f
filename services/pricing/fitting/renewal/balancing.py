"""The book's off-balance factor: a float finds where it lies, whole numbers say what it is.

Near that factor nearly every policy is either held by the collar, and its term stands still, or
free, and then pays what all of its technical premium and credit pay. Only the few others must be
looked at one by one. What is summed is the same to the last whole number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.pricing.core.arithmetic import (
    BILLION,
    MAX_COLUMN_E4,
    balanced,
    clipped,
    less_credit,
)
from services.pricing.core.balance import (
    LEAST_BILLIONTHS,
    MOST_BILLIONTHS,
    Reach,
    off_balance,
)
from services.pricing.core.tariff import MILLION
from services.pricing.fitting.renewal.work import each

Column: TypeAlias = NDArray[np.int64]

# Newton's steps on a sum of straight pieces; each piece is passed at most once, few are met.
_STEPS = 60
# How far beside the float's answer the exact one is looked for, in billionths.
_BESIDE = 8
# Newton first looks at every so many rows.
_SAMPLED = 64
# How far from what those rows say the book's factor is believed to be, as a share of it. Whatever
# is believed, it is proved: the book's total is below the target on one side and not on the other.
_BELIEVED = (0.002, 0.05)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Columns of one shard; technical premium and credit by their different values."""

    cell: NDArray[np.int32]  # each policy's place in `technical_e4`
    technical_e4: Column
    least_e4: Column
    most_e4: Column
    credit_kind: NDArray[np.int32]  # each policy's place in `credits`
    credits: Column

    def credit(self) -> Column:
        """Each policy's credit."""
        return self.credits[self.credit_kind]

    def offered_e4(self, k_billionths: int) -> Column:
        """Each policy's clip(k·t, lo, hi); the product is made once for all of the same t."""
        scaled = balanced(self.technical_e4, k_billionths)[self.cell]
        return clipped(scaled, self.least_e4, self.most_e4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Terms of the book's sum; `count` policies have the same."""

    technical_e4: Column
    least_e4: Column
    most_e4: Column
    credit: Column
    count: Column

    def total_e4(self, k_billionths: int) -> int:
        """Σ count · clip(k·t, lo, hi)(1 − credit), each term in whole numbers."""
        scaled = balanced(self.technical_e4, k_billionths)
        terms = less_credit(clipped(scaled, self.least_e4, self.most_e4), self.credit)
        millions = terms // MILLION  # in two, so that no sum of a column leaves 63 bits
        rest = terms - millions * MILLION
        return int((self.count * millions).sum()) * MILLION + int((self.count * rest).sum())


def balance(shards: Sequence[Shard], target_e4: int, reach: Reach) -> int:
    """The book's factor in billionths: the least at which its total reaches the target.

    Raises: OutOfReach with what the collar allows; NotBalanced.
    """
    sample = _joined([_terms(shard, slice(None, None, _SAMPLED)) for shard in shards])
    rows = sum(shard.cell.size for shard in shards)
    guess = _near(sample, target_e4 * sample.count.size / rows, 1.0)
    low, high, still, moving = _bracketed(shards, target_e4, guess)
    near = _billionths(_near(moving, target_e4 - still, guess))

    def total(k: int) -> int:
        return still + moving.total_e4(min(max(k, low), high))

    return off_balance(total, target_e4, reach, (near - _BESIDE, near + _BESIDE))


def reach_of(shards: Sequence[Shard]) -> Reach:
    """The least and most that the collar lets the book come to."""
    ends = list(each(lambda number: _ends_e4(shards[number]), len(shards)))
    return Reach(sum(least for least, _ in ends), sum(most for _, most in ends))


def _ends_e4(shard: Shard) -> tuple[int, int]:
    credit = shard.credit()
    least = less_credit(shard.least_e4, credit)
    return int(least.sum()), int(less_credit(shard.most_e4, credit).sum())


def _bracketed(
    shards: Sequence[Shard], target_e4: int, guess: float
) -> tuple[int, int, int, Terms]:
    """Two factors between which the target is met, and what stands still and moves there."""
    for share in _BELIEVED:
        low, high = _billionths(guess * (1 - share)), _billionths(guess * (1 + share))
        still, moving = _parted(shards, low, high)
        if still + moving.total_e4(low) < target_e4 <= still + moving.total_e4(high):
            return low, high, still, moving
    low, high = LEAST_BILLIONTHS, MOST_BILLIONTHS
    return low, high, *_parted(shards, low, high)


def _parted(shards: Sequence[Shard], low: int, high: int) -> tuple[int, Terms]:
    """What stands still while k is from `low` to `high`, summed, and the terms that move."""
    parts = list(each(lambda number: _between(shards[number], low, high), len(shards)))
    return sum(still for still, _ in parts), _joined([t for _, several in parts for t in several])


def _between(shard: Shard, low: int, high: int) -> tuple[int, list[Terms]]:
    below, above = (balanced(shard.technical_e4, k)[shard.cell] for k in (low, high))
    up, down = shard.least_e4 >= above, shard.most_e4 <= below
    held = np.flatnonzero(up | down)
    bound = np.where(up[held], shard.least_e4[held], shard.most_e4[held])
    credit = shard.credits[shard.credit_kind[held]]
    still = int(less_credit(bound, credit).sum())
    free = ~(up | down) & (shard.least_e4 <= below) & (shard.most_e4 >= above)
    kinds = shard.credits.size
    if shard.technical_e4.size * kinds > free.size:  # there is nothing to be saved
        return still, [_terms(shard, ~(up | down))]
    alike = np.bincount(shard.cell[free] * kinds + shard.credit_kind[free])
    there = np.flatnonzero(alike)
    together = Terms(
        technical_e4=shard.technical_e4[there // kinds],
        least_e4=np.zeros(there.size, np.int64),
        most_e4=np.full(there.size, MAX_COLUMN_E4),
        credit=shard.credits[there % kinds],
        count=alike[there],
    )
    return still, [together, _terms(shard, ~(up | down | free))]


def _terms(shard: Shard, rows: NDArray[np.bool_] | slice) -> Terms:
    """Some of the policies, one by one."""
    technical = shard.technical_e4[shard.cell[rows]]
    return Terms(
        technical_e4=technical,
        least_e4=shard.least_e4[rows],
        most_e4=shard.most_e4[rows],
        credit=shard.credits[shard.credit_kind[rows]],
        count=np.ones(technical.size, np.int64),
    )


def _joined(several: Sequence[Terms]) -> Terms:
    return Terms(
        technical_e4=np.concatenate([terms.technical_e4 for terms in several]),
        least_e4=np.concatenate([terms.least_e4 for terms in several]),
        most_e4=np.concatenate([terms.most_e4 for terms in several]),
        credit=np.concatenate([terms.credit for terms in several]),
        count=np.concatenate([terms.count for terms in several]),
    )


def _near(terms: Terms, target_e4: float, k: float) -> float:
    """Where the sum of straight pieces meets the target, by Newton from k, in floats."""
    low, high = LEAST_BILLIONTHS / BILLION, MOST_BILLIONTHS / BILLION
    kept = terms.count * (1 - terms.credit / MILLION)
    for _ in range(_STEPS):
        straight = terms.technical_e4 * k
        offered = np.clip(straight, terms.least_e4, terms.most_e4)
        total = float((offered * kept).sum())
        slope = float((straight * kept)[offered == straight].sum()) / k
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


def _billionths(k: float) -> int:
    return min(max(round(k * BILLION), LEAST_BILLIONTHS), MOST_BILLIONTHS)
