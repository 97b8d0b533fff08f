"""A record's stated time is believed as far as our own clock and the difference of clocks go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.his_bridge.core.source_time import CLOCK_SKEW, made_us

RECEIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECEIVED_US = int(RECEIVED.timestamp()) * 1_000_000
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("stated", "believed"),
    [
        (RECEIVED - timedelta(days=400), RECEIVED - timedelta(days=400)),
        (RECEIVED, RECEIVED),
        (RECEIVED + CLOCK_SKEW, RECEIVED + CLOCK_SKEW),
        (RECEIVED + CLOCK_SKEW + MICROSECOND, RECEIVED),
        (datetime(2099, 1, 1, tzinfo=UTC), RECEIVED),
    ],
)
def test_a_time_beyond_our_clock_is_when_it_came(stated: datetime, believed: datetime) -> None:
    assert made_us(stated, RECEIVED_US) - RECEIVED_US == (believed - RECEIVED) // MICROSECOND


def test_without_a_time_it_is_the_earliest() -> None:
    assert made_us(None, RECEIVED_US) == 0


def test_when_we_saw_it_stays_though_our_clock_was_set_back() -> None:
    seen = RECEIVED + timedelta(hours=1)
    assert made_us(seen, RECEIVED_US, seen=True) - RECEIVED_US == 3_600_000_000
    assert made_us(seen, RECEIVED_US) == RECEIVED_US  # the control
