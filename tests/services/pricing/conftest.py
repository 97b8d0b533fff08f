"""A fresh database of these tests has this service's tables.

On SQLite each test runs. On PostgreSQL `make test` runs those that are marked `both_databases`:
what is done at the same time, and of the rest enough that PostgreSQL is asked every statement that
any of them asks. The others run on it in `make fault`.
"""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On which kinds of database a test runs."""
    told = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "database_url" in metafunc.fixturenames and "database_url" not in told:
        both = metafunc.definition.get_closest_marker("both_databases")
        postgresql = pytest.param("postgresql", marks=() if both else pytest.mark.fault)
        metafunc.parametrize("database_url", ["sqlite", postgresql], indirect=True)


@pytest.fixture(scope="session")
def schema() -> str:
    return "services.pricing"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database, of the kind whose turn it is."""
    kinds = {"sqlite": "sqlite_database", "postgresql": "postgres_database"}
    return str(request.getfixturevalue(kinds[request.param]))
