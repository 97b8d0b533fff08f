"""Databases of these tests: with this service's tables, and where they ask for it with a stock.

On SQLite each test runs. On PostgreSQL `make test` runs those that are marked `both_databases`:
what is done at the same time, and of the rest enough that PostgreSQL is asked every statement that
any of them asks. The others run on it in `make fault`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.postgres import database_like, fresh_database
from tests.services.claims.stock import Stock, insured, stocked_file


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On which kinds of database a test runs."""
    both = metafunc.definition.get_closest_marker("both_databases")
    postgresql = pytest.param("postgresql", marks=() if both else pytest.mark.fault)
    told = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    for url in ("database_url", "stocked_url"):
        if url in metafunc.fixturenames and url not in told:
            metafunc.parametrize(url, ["sqlite", postgresql], indirect=True)


@pytest.fixture(scope="session")
def schema() -> str:
    return "services.claims"


@pytest.fixture
def stock() -> Stock:
    """What a stocked database has: policy 1 of two people under the example plan."""
    return insured(2)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database, of the kind whose turn it is."""
    kinds = {"sqlite": "sqlite_database", "postgresql": "postgres_database"}
    return str(request.getfixturevalue(kinds[request.param]))


@pytest.fixture
def stocked_url(request: pytest.FixtureRequest) -> str:
    """The URL of a copy of the stock, of the kind whose turn it is."""
    kinds = {"sqlite": "stocked_sqlite", "postgresql": "stocked_postgres"}
    return str(request.getfixturevalue(kinds[request.param]))


@pytest.fixture
def stocked_sqlite(tmp_path: Path, stock: Stock) -> str:
    """The URL of a copy of the stock in SQLite."""
    path = tmp_path / "stocked.db"
    shutil.copyfile(stocked_file(stock), path)
    return f"sqlite:///{path}"


@pytest.fixture
def stocked_postgres(
    postgres_url: str, stocked_like: Callable[[Stock], str], stock: Stock
) -> Iterator[str]:
    """The URL of a copy of the stock in PostgreSQL."""
    with fresh_database(postgres_url, stocked_like(stock)) as url:
        yield url


@pytest.fixture(scope="session")
def stocked_like(
    postgres_url: str, postgres_like: Callable[[str], str], schema: str
) -> Callable[[Stock], str]:
    """What gives the name of a PostgreSQL database with a stock, to be copied."""

    @cache
    def like(stock: Stock) -> str:
        empty = postgres_like(schema)
        return database_like(postgres_url, f"{schema}.{stock.name}", stock.fill, like=empty)

    return like
