"""From a moment or a day as a source wrote it to UTC. Knows no format."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo


def in_utc(moment: datetime, zone: tzinfo) -> datetime:
    """The moment in UTC.

    Raises: OverflowError when it has no day in this zone, or none in UTC: 9999-12-31T20:00Z is
    none of the calendar east of Greenwich, and whoever asks for its day later would fail.
    """
    moment.astimezone(zone).date()
    return moment.astimezone(UTC)


def of_day(day: date, zone: tzinfo, *, day_ends: bool) -> datetime:
    """The first second of a day in UTC, or its last.

    Raises: OverflowError when UTC has no such moment.
    """
    if day_ends:
        next_day = datetime.combine(day + timedelta(days=1), time(), zone)
        return next_day.astimezone(UTC) - timedelta(seconds=1)
    return datetime.combine(day, time(), zone).astimezone(UTC)
