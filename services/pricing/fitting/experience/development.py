"""Late reporting: the development triangle by quarter of the event and whole quarters of delay.

Claims that have happened and are not reported yet (IBNR) are allowed for by the share that is known
by the valuation day. The shares are dated inputs; the chain ladder of the book itself stands beside
them, and is taken where none are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from services.pricing.fitting.experience.settings import Development

# With fewer claims than this in what a factor rests on, the chain ladder warns.
FEW = 50
# Given shares further than this from the triangle's are warned of.
APART = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Triangle:
    """One cause: cumulative counts and amounts, rows by quarter of the event, columns by delay.

    What is not known yet is NaN. `counts_shares` and `amounts_shares` are the chain ladder's shares
    known after each delay; `used` are the ones that the study takes, with their source.
    """

    cause: str
    counts: pd.DataFrame
    amounts: pd.DataFrame
    counts_shares: tuple[float, ...]
    amounts_shares: tuple[float, ...]
    used: Development
    source: str
    warnings: tuple[str, ...]


def quarter_number(days: Any) -> Any:
    """Quarters since 1970 of days, given as an array of datetime64."""
    months = np.asarray(days).astype("datetime64[M]").astype(np.int64)
    return months // 3


def quarter_text(number: int) -> str:
    """A quarter by its year.

    >>> quarter_text(quarter_number(np.array(["2025-11-03"], "datetime64[D]"))[0])
    '2025Q4'
    """
    return f"{1970 + number // 4}Q{number % 4 + 1}"


def triangle(
    cause: str,
    claims: pd.DataFrame,
    valuation_day: date,
    given: Mapping[str, Development],
    source: str,
) -> Triangle:
    """The triangle of one cause from event_day, report_day and amount (at one level of money).

    Amounts of 0 do not count. The valuation day is the first day of a quarter.
    """
    now = int(quarter_number(np.array([valuation_day], "datetime64[D]"))[0])
    event = quarter_number(claims["event_day"].to_numpy())
    delay = quarter_number(claims["report_day"].to_numpy()) - event
    amount = claims["amount"].to_numpy(np.float64)
    counted = (amount > 0) & (event < now)
    event, delay, amount = event[counted], delay[counted], amount[counted]
    first = int(event.min()) if len(event) else now
    size = max(now - first, 0)
    counts, amounts = np.zeros((size, size)), np.zeros((size, size))
    np.add.at(counts, (event - first, delay), 1)
    np.add.at(amounts, (event - first, delay), amount)
    counts, amounts = _cumulative(counts), _cumulative(amounts)
    shares = _shares(counts), _shares(amounts)
    own = Development(counts=shares[0], amounts=shares[1])
    names = [quarter_text(first + row) for row in range(size)]
    return Triangle(
        cause=cause,
        counts=pd.DataFrame(counts, index=names),
        amounts=pd.DataFrame(amounts, index=names),
        counts_shares=own.counts,
        amounts_shares=own.amounts,
        used=given.get(cause, own),
        source=source if cause in given else "chain ladder of the book",
        warnings=tuple(_warnings(cause, counts, own, given.get(cause))),
    )


def known_share(shares: tuple[float, ...], age: Any) -> Any:
    """The share known after so many whole quarters; after the last one all."""
    listed = np.array([*shares, 1.0])
    return listed[np.minimum(age, len(shares))]


def _cumulative(found: Any) -> Any:
    """Cumulative by delay, NaN beyond the last diagonal."""
    size = len(found)
    grown = np.cumsum(found, axis=1)
    row, column = np.indices((size, size))
    grown[row + column >= size] = np.nan
    return grown


def _shares(grown: Any) -> tuple[float, ...]:
    """Chain ladder: volume-weighted factors from each delay to the next, multiplied from the end.

    Trailing shares of 1 are left out: the last one listed is the last below 1, then 1.
    """
    size = len(grown)
    factors = []
    for delay in range(size - 1):
        rows = slice(0, size - 1 - delay)
        before, after = grown[rows, delay].sum(), grown[rows, delay + 1].sum()
        factors.append(after / before if before > 0 else 1.0)
    known = np.ones(size)
    for delay in range(size - 2, -1, -1):
        known[delay] = known[delay + 1] / factors[delay]
    below = np.flatnonzero(known < 1)
    last = int(below[-1]) + 1 if len(below) else 0
    return (*known[:last].tolist(), 1.0)


def _warnings(cause: str, counts: Any, own: Development, given: Development | None) -> list[str]:
    told = []
    if given is None and len(counts) and np.nansum(counts[:, 0]) < FEW:
        told.append(f"{cause}: fewer than {FEW} claims; its late reporting is a guess")
    if given is not None and len(counts):
        told += _apart(f"{cause}: given", "claims", given.counts, own.counts)
        told += _apart(f"{cause}: given", "amounts", given.amounts, own.amounts)
    return told


def _apart(
    begin: str, what: str, given: tuple[float, ...], own: tuple[float, ...]
) -> Iterator[str]:
    """The delay at which given shares and the triangle's are furthest apart, if they are."""
    delays = np.arange(max(len(given), len(own)))
    taken, found = known_share(given, delays), known_share(own, delays)
    worst = int(np.argmax(np.abs(np.log(taken / found))))
    if abs(taken[worst] / found[worst] - 1) > APART:
        when = "at its end" if not worst else f"{worst} quarter{'s' * (worst > 1)} later"
        yield (
            f"{begin} {taken[worst]:.3f} of a quarter's {what} known {when}, the triangle says"
            f" {found[worst]:.3f}; look which is right, and say why in `source`"
        )
