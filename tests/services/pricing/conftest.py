"""A fresh database of these tests has this service's tables."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def schema() -> str:
    return "services.pricing"
