"""Twenty kills at any moment of a pull: each bill is delivered once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.services.his_bridge.test_kill import pull_through_kills

KILLS = 20

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


def test_twenty_kills_at_any_moment(tmp_path: Path, database_url: str) -> None:
    chance = random.Random(20)
    pull_through_kills(tmp_path, database_url, [chance.randint(1, 12) for _ in range(KILLS)], 3000)
