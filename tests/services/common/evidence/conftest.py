"""A fresh database of these tests has pricing's tables, of which the evidence log's are some."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def schema() -> str:
    return "services.pricing"
