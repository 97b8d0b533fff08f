"""A database of each kind for a whole file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.database import Database
from tests.services.common.sealing.keys import subject_keys


@pytest.fixture(scope="module")
def database(shared_url: str) -> Iterator[Database]:
    """One database of each kind; a test has a hospital of its own in it."""
    found = Database(shared_url)
    subject_keys(found)
    yield found
    found.close()
