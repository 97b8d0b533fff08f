"""A database of each kind for a whole file of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from services.common.database import Database
from tests.postgres import fresh_database
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys

_BRIDGE = "services.his_bridge"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """One database of each kind; a test has a hospital of its own in it."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('bridge') / 'test.db'}"
        else:
            like: Callable[[str], str] = request.getfixturevalue("postgres_like")
            server = request.getfixturevalue("postgres_url")
            url = stack.enter_context(fresh_database(server, like(_BRIDGE)))
        found = with_tables(url, _BRIDGE)
        stack.callback(found.close)
        subject_keys(found)
        yield found
