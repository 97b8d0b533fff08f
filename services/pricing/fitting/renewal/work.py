"""A renewal to be made and where its unfinished work lies; files appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.pricing.core.rates import Rates
from services.pricing.core.renewal import BOOK_FORMAT
from services.pricing.fitting.renewal.columns import (
    CODE,
    CREDIT,
    GROUP,
    TECHNICAL_MINOR,
    TIER,
)
from services.pricing.fitting.renewal.settings import RenewalSettings
from services.pricing.fitting.renewal.terms import Terms

T = TypeVar("T")

FORMAT = BOOK_FORMAT
_THREADS = 8
# Columns with few different values; so have groups.
_FEW = (CODE, CREDIT, TECHNICAL_MINOR, TIER)
BUILDING = ".building"  # how the names of files end that are not whole
GONE = ".gone"  # and of folders of work that is over
WORK = "work"  # the folder of all unfinished work of a renewal folder
HELD = "held"  # there while somebody who is not this process means to go on
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
        named = work_name(self.book_sha256, self.rates.version, self.settings, self.terms)
        return self.folder / WORK / named

    @property
    def held(self) -> list[str]:
        """Unfinished renewals of this folder, this or others, that somebody means to go on with."""
        return sorted(path.parent.name for path in (self.folder / WORK).glob(f"*/{HELD}"))

    @property
    def result(self) -> Path:
        """Where the result lies once it is whole."""
        return self.folder / "renewals"

    @property
    def made(self) -> Path:
        """The folder in which the result is put together, before it is moved to its place."""
        return self.unfinished / "result"

    @property
    def balanced(self) -> Path:
        """The file that says what the book's balance is, once that is found."""
        return self.unfinished / "balanced.json"

    def dealt(self, number: int) -> Path:
        """The file of one shard as it was dealt; absent when no policy fell into it."""
        return shard_path(self.unfinished / "dealt", number)

    def priced(self, number: int) -> Path:
        """The file of one shard once it is priced; absent when no policy fell into it."""
        return shard_path(self.unfinished / "priced", number)

    def referred(self, number: int) -> Path:
        """The file of those of one shard that the tariff does not price."""
        return self.unfinished / "priced" / f"{number:04d}.referred.parquet"

    def renewed(self, number: int) -> Path:
        """The file of one shard's renewals, once the balance is known; absent like the others."""
        return self.made / f"renewals-{number:04d}.parquet"

    def sums(self, number: int) -> Path:
        """The file of one shard's totals, there once its renewals are."""
        return self.unfinished / "sums" / f"{number:04d}.json"


def work_name(
    book_sha256: str,
    tariff_version: str,
    settings: RenewalSettings,
    terms: Terms,
    written_as: int = FORMAT,
) -> str:
    """The name of a renewal's unfinished work: of all that its result depends on.

    `written_as` names the one that an earlier version of ours began.
    """
    said = (book_sha256, tariff_version, settings, terms, written_as)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]


def let_go(folder: Path, name: str) -> None:
    """Nobody means to go on with this unfinished work any more; what was done stays."""
    (folder / WORK / name / HELD).unlink(missing_ok=True)


class FolderBusy(Exception):
    """Somebody else is renewing in this folder now: two would clear each other's files away."""


@contextmanager
def alone(work: Work) -> Iterator[None]:
    """The folder for oneself, until then; no file is left, and it ends with the process.

    Raises: FolderBusy.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(work.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusy(str(work.folder)) from None
        yield
    finally:
        os.close(handle)


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


def shard_path(folder: Path, number: int) -> Path:
    """The file of one shard in a folder of unfinished work."""
    return folder / f"{number:04d}.arrow"


def write_table(path: Path, table: pa.Table) -> None:
    """A Parquet file that is there when it is whole; the same table gives the same bytes.

    What has few values is kept as a dictionary. Amounts differ: their bits beyond the least of
    them are kept, which takes half the time of compressing them and two thirds of the room.
    """
    names = table.column_names
    few = [name for name in names if name in _FEW or name.startswith(GROUP)]
    amounts = [n for n in names if table.schema.field(n).type == pa.int64() and n not in few]
    with _appearing(path) as building:
        pq.write_table(
            table,
            building,
            compression={name: "none" if name in amounts else "snappy" for name in names},
            use_dictionary=few,
            column_encoding=dict.fromkeys(amounts, "DELTA_BINARY_PACKED"),
            store_schema=False,  # who reads gets plain columns, also where ours were dictionaries
        )


def write_rows(path: Path, table: pa.Table) -> None:
    """Rows of unfinished work as they lie in memory; the file is there when it is whole."""
    with _appearing(path) as building, pa.ipc.new_file(str(building), table.schema) as writer:
        writer.write_table(table)


def read_rows(path: Path) -> pa.Table:
    """Rows that `write_rows` has written, in one piece; what isn't looked at is not read."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write(path: Path, content: bytes) -> None:
    """A file that is there when it is whole."""
    with _appearing(path) as building:
        building.write_bytes(content)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A name to write to. Nobody else's: two may make the same file, one given up for dead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f"{path.name}.{uuid.uuid4().hex}{BUILDING}")
    yield building
    building.replace(path)
