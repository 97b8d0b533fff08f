"""The arithmetic of premiums in whole numbers, for one person or for a column of many.

Every function takes Python's whole numbers or numpy's arrays of int64 and gives the same kind, so
that a quote and the renewal of a book cannot round differently. Python's numbers have no bound;
of arrays no amount may exceed 10¹² minor units (`MAX_COLUMN_E4`), far above any premium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from services.pricing.core.tariff import E4, MILLION

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Whole = TypeVar("Whole", int, NDArray[np.int64])
else:  # a quote needs no numpy
    Whole = TypeVar("Whole")

BILLION = 1_000_000_000
# What a column of amounts may hold at most: times a million it still fits in 63 bits.
MAX_COLUMN_E4 = 9 * 10**12
_HALF = MILLION // 2
_HALF_BILLION = BILLION // 2


def applied(amount_e4: Whole, factor_millionths: Whole) -> Whole:
    """The amount times the factor, half-up.

    >>> applied(83_000, 940_000)
    78020
    """
    return (amount_e4 * factor_millionths + _HALF) // MILLION


def less_credit(amount_e4: Whole, credit_millionths: Whole) -> Whole:
    """The amount with the credit taken off, which is rounded half-up by itself.

    >>> less_credit(125_000, 100_000)
    112500
    """
    return amount_e4 - applied(amount_e4, credit_millionths)


def balanced(amount_e4: Whole, factor_billionths: int) -> Whole:
    """The amount times one factor in billionths, below 1,000, half-up.

    Amount and factor are split in two, so that no product of a column leaves 63 bits.

    >>> balanced(34_537_100_00, 1_003_214_557)
    3464812148
    """
    times, share = divmod(factor_billionths, BILLION)
    billions = amount_e4 // BILLION
    rest = amount_e4 - billions * BILLION
    return amount_e4 * times + billions * share + (rest * share + _HALF_BILLION) // BILLION


def clipped(amount_e4: Whole, least_e4: Whole, most_e4: Whole) -> Whole:
    """The amount, raised to `least_e4` and lowered to `most_e4`.

    >>> clipped(5, 7, 9), clipped(8, 7, 9), clipped(12, 7, 9)
    (7, 8, 9)
    """
    if isinstance(amount_e4, int):
        return min(max(amount_e4, least_e4), most_e4)
    return amount_e4.clip(least_e4, most_e4)


def to_multiple(amount_e4: Whole, to_minor_units: int) -> Whole:
    """The nearest multiple of so many minor units, a half goes up.

    >>> to_multiple(125_000, 1), to_multiple(1_250_000, 10)
    (130000, 1300000)
    """
    unit = E4 * to_minor_units
    return (2 * amount_e4 + unit) // (2 * unit) * unit
