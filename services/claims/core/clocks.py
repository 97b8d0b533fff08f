"""The legal clocks of a claim in calendar days, and how long papers are waited for.

Asks no clock: whoever needs to know is told the days, as dates in the hospital's zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from services.claims.core.life_cycle import ClaimState, Clock
from services.claims.core.plan import ClockTerms
from services.common.dated import Dated, add_months

# Insurance Law of the People's Republic of China, article 23: a difficult claim is decided within
# thirty days, and paid within ten days of the agreement to pay.
DECISION_DAYS, PAYMENT_DAYS = 30, 10
# Article 25: sixty days after request and papers came, of what cannot be settled yet the least that
# is certain is paid ahead.
MINIMUM_DAYS = 60
# Article 24: within three days of a decision not to pay, a notice with its reasons is sent.
NOTICE_DAYS = 3
# A payment file that a bank took on a Friday is answered on Monday.
BANK_SILENT_DAYS = 3
# Article 26: the right to a benefit lapses two years after the insured event is known. The law
# knows no earlier day on which a claim without papers may be closed.
LAPSES_AFTER_MONTHS = 24
# Whoever files at the end of the two years still has time to find a paper.
SHORTEST_WAIT_DAYS = 60

_PAYMENT = (ClaimState.PAYABLE, ClaimState.RETURNED)
# Where the clock of a decision that nobody has made yet begins, or begins anew.
_UNDECIDED = (ClaimState.REGISTERED, ClaimState.ADJUDICATING)


class ClockMove(NamedTuple):
    """One move of a claim, as far as clocks see it."""

    day: date
    state: ClaimState
    clock: Clock


def days_left(
    moves: Iterable[ClockMove], today: date, terms: ClockTerms | None = None
) -> int | None:
    """Days that the clock which was started last leaves; negative when they are over.

    The plan's `terms` of the day on which it was started go before the law's days. While it is
    stopped they stand still. None when no clock was started, or the last one ended.

    >>> began = ClockMove(date(2026, 5, 8), ClaimState.REGISTERED, Clock.START)
    >>> asked = ClockMove(date(2026, 5, 10), ClaimState.PENDED_INFO, Clock.STOP)
    >>> days_left([began], date(2026, 5, 9)), days_left([began, asked], date(2026, 8, 1))
    (29, 28)
    """
    clock = _running(moves, today)
    if clock is None:
        return None
    if clock.since in _PAYMENT:
        given = _given(terms.payment_days if terms else None, clock.began, PAYMENT_DAYS)
    else:
        given = _given(terms.decision_days if terms else None, clock.began, DECISION_DAYS)
    return given - clock.days


def minimum_days_left(
    moves: Iterable[ClockMove], today: date, terms: ClockTerms | None = None
) -> int | None:
    """Days until the least that is owed for sure must be paid ahead; negative when they are over.

    `terms` as in `days_left`. They run and stand still with the decision's clock. None once it
    ended, and for an objection: the claim was decided.

    >>> began = ClockMove(date(2026, 5, 8), ClaimState.REGISTERED, Clock.START)
    >>> minimum_days_left([began], date(2026, 7, 8))
    -1
    """
    clock = _running(moves, today)
    if clock is None or clock.since not in _UNDECIDED:
        return None
    return _given(terms.minimum_days if terms else None, clock.began, MINIMUM_DAYS) - clock.days


def stands_still(moves: Iterable[ClockMove]) -> bool:
    """Whether the clock that was started last is stopped.

    >>> began = ClockMove(date(2026, 5, 8), ClaimState.REGISTERED, Clock.START)
    >>> asked = ClockMove(date(2026, 5, 10), ClaimState.PENDED_INFO, Clock.STOP)
    >>> stands_still([began]), stands_still([began, asked])
    (False, True)
    """
    last = Clock.NONE
    for _, _, does in moves:
        last = does
    return last is Clock.STOP


def notice_due(denied: date, terms: ClockTerms | None = None) -> date:
    """The last day for the notice of a refusal, by the terms of the day of the denial.

    Whether it was sent is not known here.

    >>> notice_due(date(2026, 2, 27))
    datetime.date(2026, 3, 2)
    """
    days = _given(terms.notice_days if terms else None, denied, NOTICE_DAYS)
    return denied + timedelta(days=days)


def _given(term: Dated[int] | None, day: date, law: int) -> int:
    """What a plan gives on a day; the law's days where it says nothing, or has no terms yet."""
    if term is None or day < term.values[0][0]:
        return law
    found = term.on(day)
    return law if found is None else found


class _Clock(NamedTuple):
    """A clock that was started: in which state, on which day, and the days that it has run."""

    since: ClaimState
    began: date
    days: int


def _running(moves: Iterable[ClockMove], today: date) -> _Clock | None:
    clock: _Clock | None = None
    runs_from: date | None = None
    for day, state, does in moves:
        if does is Clock.START:
            clock, runs_from = _Clock(state, day, 0), day
        elif does is Clock.END:
            clock, runs_from = None, None
        elif does is Clock.STOP and clock is not None and runs_from is not None:
            clock, runs_from = clock._replace(days=clock.days + (day - runs_from).days), None
        elif does is Clock.RESUME and clock is not None:
            runs_from = day
    if clock is None or runs_from is None:
        return clock
    return clock._replace(days=clock.days + (today - runs_from).days)


def papers_due(discharge: date, asked: date) -> date:
    """First day on which papers that were asked for are awaited no more.

    >>> papers_due(date(2026, 5, 8), date(2026, 5, 10))
    datetime.date(2028, 5, 8)
    >>> papers_due(date(2024, 1, 1), date(2026, 1, 1))
    datetime.date(2026, 3, 2)
    """
    lapsed = add_months(discharge, LAPSES_AFTER_MONTHS)
    return max(lapsed, asked + timedelta(days=SHORTEST_WAIT_DAYS))
