"""A renewal to be made and where its unfinished work lies; files appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.pricing.core.rates import Rates
from services.pricing.fitting.renewal.columns import CODE, GROUP
from services.pricing.fitting.renewal.settings import RenewalSettings
from services.pricing.fitting.renewal.terms import Terms

T = TypeVar("T")

# Changes whenever the same inputs would give other files: unfinished work of before is not used.
FORMAT = 1
_THREADS = 8
Progress = Callable[[str, int, int], None]  # what is being done, how much is done, of how much


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The book, its digest, the tariff, the settings, and the folder that the result goes into."""

    book: Path
    book_sha256: str
    rates: Rates
    settings: RenewalSettings
    terms: Terms
    folder: Path

    @property
    def unfinished(self) -> Path:
        """Where work lies until the result is whole; named by all that the result depends on."""
        ours = (FORMAT, duckdb.__version__)
        said = (self.book_sha256, self.rates.version, self.settings, self.terms, ours)
        named = hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()
        return self.folder / "work" / named[:16]

    @property
    def result(self) -> Path:
        """Where the result lies once it is whole."""
        return self.folder / "renewals"

    def dealt(self, number: int) -> Path:
        """The folder of one shard as it was dealt; absent when no policy fell into it."""
        return self.unfinished / "dealt" / f"shard={number}"

    def priced(self, number: int) -> Path:
        """The file of one shard once it is priced; absent when no policy fell into it."""
        return self.unfinished / "priced" / f"{number:04d}.parquet"

    def referred(self, number: int) -> Path:
        """The file of those of one shard that the tariff does not price."""
        return self.unfinished / "priced" / f"{number:04d}.referred.parquet"


def each(one: Callable[[int], T], count: int) -> Iterator[T]:
    """The results in order; several shards at once, for numpy and Arrow release the interpreter."""
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, number) for number in range(count)]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def write_table(path: Path, table: pa.Table, compression: str = "snappy") -> None:
    """A Parquet file that is there when it is whole; the same table gives the same bytes.

    Only texts of few values and codes are kept as dictionaries: amounts and names differ.
    """
    building = path.with_name(path.name + ".building")
    few = [name for name in table.column_names if name == CODE or name.startswith(GROUP)]
    pq.write_table(table, building, compression=compression, use_dictionary=few)
    building.rename(path)


def write(path: Path, content: bytes) -> None:
    """A file that is there when it is whole."""
    building = path.with_name(path.name + ".building")
    building.write_bytes(content)
    building.rename(path)
