"""Where the next sweep begins, when the hospital's local time comes twice or its clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.his_bridge.sources.sql import cursor
from services.his_bridge.sources.sql.cursor import Value, next_start

# Summer time ends at 01:00 UTC in Berlin, at 06:00 in New York, at 15:00 (by half an hour) on Lord
# Howe; in Shanghai never.
ENDS = {
    "Europe/Berlin": datetime(2026, 10, 25, 1, tzinfo=UTC),
    "America/New_York": datetime(2026, 11, 1, 6, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 15, tzinfo=UTC),
    "Asia/Shanghai": datetime(2026, 10, 25, 1, tzinfo=UTC),
}
STEP = timedelta(minutes=5)


def local(moment: datetime, zone: ZoneInfo) -> datetime:
    """As a table without zones has it."""
    return moment.astimezone(zone).replace(tzinfo=None)


def missed(name: str, *, overlap_s: int = 60) -> int:
    """Rows written after a sweep that the next one, however late, would begin behind."""
    zone, around = ZoneInfo(name), ENDS[name]
    count = 0
    for step in range(-48, 48):
        swept = around + step * STEP
        mark = Value("text", local(swept, zone).isoformat(" ", timespec="seconds"))
        start = next_start(mark, overlap_s=overlap_s, overlap_steps=0, now=swept, zone=zone)
        assert start is not None
        begins = datetime.fromisoformat(start.text)
        written = (local(swept + later * STEP, zone) for later in range(60))
        count += sum(1 for at in written if at < begins)
    return count


@pytest.mark.parametrize("name", ENDS)
def test_no_row_is_missed_when_summer_time_ends(name: str) -> None:
    assert missed(name) == 0


def test_looking_no_further_than_now_misses_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "_LOOKS", 1)
    assert missed("Asia/Shanghai") == 0
    assert missed("Europe/Berlin") > 0


@pytest.mark.parametrize("name", ENDS)
def test_a_sweep_goes_back_by_the_overlap_alone_at_all_other_times(name: str) -> None:
    zone, noon = ZoneInfo(name), datetime(2026, 7, 1, 12, tzinfo=UTC)
    mark = Value("text", local(noon, zone).isoformat(" ", timespec="seconds"))
    start = next_start(mark, overlap_s=60, overlap_steps=0, now=noon, zone=zone)
    assert start is not None
    assert datetime.fromisoformat(start.text) == local(noon, zone) - timedelta(seconds=60)
