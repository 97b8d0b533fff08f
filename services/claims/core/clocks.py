"""The legal clocks of a claim in calendar days, and how long papers are waited for.

Asks no clock: whoever needs to know is told the days, as dates in the hospital's zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from services.claims.core.life_cycle import ClaimState, Clock
from services.common.dated import add_months

# Insurance Law of the People's Republic of China, article 23: a difficult claim is decided within
# thirty days, and paid within ten days of the agreement to pay.
DECISION_DAYS, PAYMENT_DAYS = 30, 10
# Article 26: the right to a benefit lapses two years after the insured event is known. The law
# knows no earlier day on which a claim without papers may be closed.
LAPSES_AFTER_MONTHS = 24
# Whoever files at the end of the two years still has time to find a paper.
SHORTEST_WAIT_DAYS = 60

_PAYMENT = (ClaimState.PAYABLE, ClaimState.RETURNED)


class ClockMove(NamedTuple):
    """One move of a claim, as far as clocks see it."""

    day: date
    state: ClaimState
    clock: Clock


def days_left(moves: Iterable[ClockMove], today: date) -> int | None:
    """Days that the clock which was started last leaves; negative when they are over.

    While it is stopped they stand still. None when no clock was started, or the last one ended.

    >>> began = ClockMove(date(2026, 5, 8), ClaimState.REGISTERED, Clock.START)
    >>> asked = ClockMove(date(2026, 5, 10), ClaimState.PENDED_INFO, Clock.STOP)
    >>> days_left([began], date(2026, 5, 9)), days_left([began, asked], date(2026, 8, 1))
    (29, 28)
    """
    left: int | None = None
    since: date | None = None
    for day, state, clock in moves:
        if clock is Clock.START:
            left, since = PAYMENT_DAYS if state in _PAYMENT else DECISION_DAYS, day
        elif clock is Clock.END:
            left, since = None, None
        elif clock is Clock.STOP and left is not None and since is not None:
            left, since = left - (day - since).days, None
        elif clock is Clock.RESUME and left is not None:
            since = day
    if left is None or since is None:
        return left
    return left - (today - since).days


def papers_due(discharge: date, asked: date) -> date:
    """First day on which papers that were asked for are awaited no more.

    >>> papers_due(date(2026, 5, 8), date(2026, 5, 10))
    datetime.date(2028, 5, 8)
    >>> papers_due(date(2024, 1, 1), date(2026, 1, 1))
    datetime.date(2026, 3, 2)
    """
    lapsed = add_months(discharge, LAPSES_AFTER_MONTHS)
    return max(lapsed, asked + timedelta(days=SHORTEST_WAIT_DAYS))
