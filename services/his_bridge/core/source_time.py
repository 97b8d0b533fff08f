"""When a source made a record, as far as its own word can be believed. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

# Clocks inside one hospital, and ours, differ by so much without anybody being wrong.
CLOCK_SKEW = timedelta(minutes=5)
_SKEW_US = CLOCK_SKEW // timedelta(microseconds=1)


def made_us(stated: datetime | None, received_us: int, *, seen: bool = False) -> int:
    """Microseconds since 1970 of the time that a record states; 0 when it states none.

    One that lies beyond our own clock was made when it came: else a record of the year 2099 would
    stand against each of its corrections until then. When it was `seen` is our own word, which
    stays when our clock is set back.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> received_us = made_us(noon, 2**62)
    >>> made_us(noon + CLOCK_SKEW, received_us) - received_us == 300_000_000
    True
    >>> made_us(datetime(2099, 1, 1, tzinfo=UTC), received_us) == received_us
    True
    """
    if stated is None:
        return 0
    us = round(stated.timestamp() * 1_000_000)
    return us if seen or us <= received_us + _SKEW_US else received_us


def of_two(first: datetime | None, again: datetime | None, received_us: int) -> datetime | None:
    """Which of two moments a time means that came twice, as summer time ended, of what just came.

    The later one as soon as it is not beyond our own clock: what was written in the first hour and
    waited for a whole one is rarer than what was written in the second.
    """
    if again is None or round(again.timestamp() * 1_000_000) > received_us + _SKEW_US:
        return first
    return again
