"""The one factor that brings a book of renewals to its target. Knows no policy and no file.

Σ clip(k·tᵢ, loᵢ, hiᵢ)·(1 − creditᵢ) never falls when k rises, so that k is found by bisection:
the least billionth at which the exact total reaches the target. Clipping row by row and scaling
again until it fits gives other premiums for the same total, up to 6.1 % apart; one k does not.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import msgspec

from services.pricing.core.arithmetic import BILLION
from services.pricing.core.tariff import MILLION

LEAST_BILLIONTHS = 1
# Technical prices that are a thousand times too low are no tariff for this book.
MOST_BILLIONTHS = 1_000 * BILLION - 1
# How far the total may be from the target, before premiums are rounded to the fen.
TOLERANCE = Fraction(1, MILLION)


class Reach(msgspec.Struct, frozen=True):
    """What the book can come to under its collar, in 1/10,000 of a minor unit."""

    least_e4: int
    most_e4: int


class OutOfReach(ValueError):
    """The target lies outside what the collar allows; `reach` says what lies inside."""

    def __init__(self, target_e4: int, reach: Reach) -> None:
        self.target_e4 = target_e4
        self.reach = reach
        super().__init__("the target is out of reach of the collar")


class NotBalanced(ValueError):
    """No billionth brings the total within a millionth of the target: the book is too small."""


def target_of(expiring_charged_minor: int, change_millionths: int, e4: int = 10_000) -> int:
    """T = (1 + the approved change) × Σ expiring charged premium, in 1/10,000 minor units.

    >>> target_of(1_000_000, 35_000)
    10350000000
    """
    exact = expiring_charged_minor * e4 * (MILLION + change_millionths)
    return (exact + MILLION // 2) // MILLION


def off_balance(
    total_e4: Callable[[int], int],
    target_e4: int,
    reach: Reach,
    near: tuple[int, int] | None = None,
) -> int:
    """The least k, in billionths, at which `total_e4(k)` reaches the target.

    `near` is where k is believed to be; it only saves evaluations, for both its ends are tried.
    `total_e4` must never fall when k rises.

    Raises: OutOfReach when no k can reach the target, NotBalanced when the total there is further
    than a millionth from it.
    """
    if not reach.least_e4 <= target_e4 <= reach.most_e4:
        raise OutOfReach(target_e4, reach)
    below, at = LEAST_BILLIONTHS - 1, MOST_BILLIONTHS
    totals: dict[int, int] = {}

    def reaches(k: int) -> bool:
        totals[k] = total_e4(k)
        return totals[k] >= target_e4

    for guess in near or ():
        if below < guess < at:
            if reaches(guess):
                at = guess
            else:
                below = guess
    if at == MOST_BILLIONTHS and not reaches(at):
        raise OutOfReach(target_e4, Reach(reach.least_e4, totals[at]))
    while at - below > 1:
        middle = (at + below) // 2
        if reaches(middle):
            at = middle
        else:
            below = middle
    if abs(Fraction(totals[at], target_e4 or 1) - (1 if target_e4 else 0)) > TOLERANCE:
        raise NotBalanced("the total jumps over the target by more than a millionth")
    return at
