"""From a moment as a source wrote it to UTC. Knows no format."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def in_utc(moment: datetime, zone: tzinfo) -> datetime:
    """The moment in UTC.

    Raises: OverflowError when it has no day in this zone, or none in UTC: 9999-12-31T20:00Z is
    none of the calendar east of Greenwich, and whoever asks for its day later would fail.
    """
    moment.astimezone(zone).date()
    return moment.astimezone(UTC)
