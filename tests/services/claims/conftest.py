"""Databases of these tests: with this service's tables, and where they ask for it with a stock."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.postgres import database_like, fresh_database
from tests.services.claims.stock import Stock, insured, stocked_file


@pytest.fixture(scope="session")
def schema() -> str:
    return "services.claims"


@pytest.fixture
def stock() -> Stock:
    """What a stocked database has: policy 1 of two people under the example plan."""
    return insured(2)


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
