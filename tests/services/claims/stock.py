"""What a test's claims begin with, filled once and copied: each doing so takes longer than it does.

A file of tests whose claims begin with something else overrides the fixture `stock`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.schemas import migrated_file
from tests.services.claims.given import imported, policy, publish
from tests.services.claims.serving import served


@dataclass(frozen=True, slots=True)
class Stock:
    """A name that no other stock has, and what fills the database behind a URL."""

    name: str
    fill: Callable[[str], None]


@cache
def insured(people: int) -> Stock:
    """The example plan is published and `policy(1)` insures so many people under it."""

    def fill(url: str) -> None:
        with served(url) as service:
            publish(service)
            imported(service, policy(1, people=people))

    return Stock(f"insured_{people}", fill)


@cache
def stocked_file(stock: Stock) -> Path:
    """An SQLite file with the stock, to be copied."""
    folder = tempfile.mkdtemp(prefix="lipei-stock-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "test.db"
    shutil.copyfile(migrated_file("services.claims"), path)
    stock.fill(f"sqlite:///{path}")
    return path
