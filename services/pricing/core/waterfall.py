"""The premium, step by step, in whole numbers only. Knows no file, no request and no clock.

Gross premium = (Σ causes frequency × severity + large-loss load + fixed expense)
/ (1 − variable expense − profit). Factors are 10⁻⁶, amounts 10⁻⁴ of a minor unit; each step rounds
half-up at once, and the last step is the rounding to the minor unit itself. Python's whole numbers
have no upper bound, so nothing overflows; floats would differ by a fen in 268 of a million quotes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from services.pricing.core.arithmetic import applied, to_multiple
from services.pricing.core.rates import (
    FIXED_EXPENSE,
    LARGE_LOSS_LOAD,
    ROUNDING,
    Label,
    Rates,
)
from services.pricing.core.tariff import E4, MILLION

_HALF = MILLION // 2


class Step(msgspec.Struct, frozen=True, gc=False):
    """One step: what it is, by how much it moves the premium, and the premium after it."""

    label: Label
    difference_e4: int
    premium_e4: int


class Waterfall(msgspec.Struct, frozen=True):
    """The premium in minor units and its steps, whose differences add up to it exactly."""

    premium_minor: int
    steps: tuple[Step, ...]


def price(rates: Rates, values: Sequence[int | None]) -> Waterfall:
    """The yearly premium of one person with every step.

    `values` stand in the order of the tariff's features, as `features.read` gives them: numbers in
    steps of their feature, categories as positions of their level, None where nothing was given.
    Stores nothing and asks nobody.
    """
    steps: list[Step] = []
    total = 0
    for cause in rates.causes:
        amount = cause.base_e4
        total += amount
        steps.append(Step(cause.base, amount, total))
        for table in cause.tables:
            value = values[table.feature]
            if table.gate >= 0 and values[table.gate] not in table.gate_levels:
                label = table.elsewhere
            elif value is None:
                label = _certain(table.absent)
            elif table.starts is None:
                label = _certain(table.labels[value])
            else:
                label = _certain(table.labels[bisect_right(table.starts, value) - 1])
            after = (amount * label.factor_millionths + _HALF) // MILLION
            total += after - amount
            steps.append(Step(label, after - amount, total))
            amount = after
    return _loaded(rates, total, steps)


def gross_e4(rates: Rates, values: Sequence[int | None]) -> int:
    """The gross premium before it is rounded to the minor unit."""
    return price(rates, values).steps[-2].premium_e4


def gross_up(net_e4: int, share_millionths: int) -> int:
    """The gross amount of which `share_millionths` are taken and `net_e4` is left, half-up.

    >>> gross_up(83_000, 170_000)
    100000
    """
    kept = MILLION - share_millionths
    return (2 * net_e4 * MILLION + kept) // (2 * kept)


def _loaded(rates: Rates, total: int, steps: list[Step]) -> Waterfall:
    tariff = rates.tariff
    for label, load in (
        (LARGE_LOSS_LOAD, tariff.large_loss_load_e4),
        (FIXED_EXPENSE, tariff.fixed_expense_e4),
    ):
        total += load
        steps.append(Step(label, load, total))
    variable, profit = tariff.variable_expense_millionths, tariff.profit_millionths
    gross = gross_up(total, variable + profit)
    # One division, shown as two steps: the expense is its share of the gross premium, half-up, and
    # the profit is what remains of the difference, so that the two add up to it exactly.
    expense = min(applied(gross, variable), gross - total)
    steps.append(Step(rates.variable_expense, expense, total + expense))
    steps.append(Step(rates.profit, gross - total - expense, gross))
    charged = to_multiple(gross, tariff.rounding.to_minor_units)
    steps.append(Step(ROUNDING, charged - gross, charged))
    return Waterfall(charged // E4, tuple(steps))


def _certain(label: Label | None) -> Label:
    if label is None:
        raise LookupError("a value without a cell reached the kernel; read features first")
    return label
