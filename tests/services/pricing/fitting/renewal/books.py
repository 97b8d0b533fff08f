"""Small expiring books for tests, and the renewal of one with the tariff that comes along."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.pricing.core.tariff import Collar, CreditCap
from services.pricing.fitting.renewal.renew import renew_book
from services.pricing.fitting.renewal.result import Manifest
from services.pricing.fitting.renewal.settings import RenewalSettings
from services.pricing.fitting.renewal.terms import terms_of
from services.pricing.fitting.renewal.work import Work
from services.pricing.tariffs.loader import example_tariffs, load_folder

RATES = load_folder(example_tariffs()).versions()[0]
COLLAR = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="a test")
SETTINGS = RenewalSettings(
    book="book.parquet",
    tariff="tariff.json",
    collar=COLLAR,
    change_millionths=20_000,
    cap=CreditCap(share_millionths=200_000, source="a test"),
    shards=5,
    groups=("sex", "region"),
    columns={},
)


def people(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rows of a book, all of them in order; some people give readings, which price nothing here."""
    drawn = random.Random(seed)
    return [
        {
            "policy_id": f"p{number}",
            "age": drawn.randint(18, 79),
            "sex": drawn.choice("FM"),
            "condition": drawn.choice(["hypertension", "type2_diabetes", "both"]),
            "hba1c_percent": drawn.choice([None, 6.4, 7.95, 11.2]),
            "region": drawn.choice(["north", "south", None]),
            "expiring_uncredited_minor": drawn.randint(2_000_00, 7_000_00),
            "expiring_charged_minor": drawn.randint(1_900_00, 7_000_00),
            "credit_millionths": drawn.choice([None, 0, 30_000, 100_000]),
        }
        for number in range(count)
    ]


def write_book(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as Parquet."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def work(book: Path, folder: Path, **changed: Any) -> Work:
    """A renewal of a book with the settings above, or some of them changed."""
    settings = dataclasses.replace(SETTINGS, **changed)
    return Work(
        book=book,
        book_sha256=hashlib.sha256(book.read_bytes()).hexdigest(),
        rates=RATES,
        settings=settings,
        terms=terms_of(settings, RATES.tariff),
        folder=folder,
    )


def renewed_book(
    made: Work, progress: Callable[[str, int, int], None] = lambda *_: None
) -> tuple[Manifest, list[dict[str, Any]]]:
    """The manifest and every row of the result."""
    manifest = renew_book(made, progress)
    rows: list[dict[str, Any]] = []
    for path in sorted(made.result.glob("renewals-*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return manifest, rows
