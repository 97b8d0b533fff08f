"""An expiring book, Parquet or CSV → shards by a hash of the policy, in the columns we use.

Columns of features become text, as a caller of a quote would write them, or stay whole numbers;
amounts become whole numbers, or -1 where they are none, which the next step counts as faults.
Changes no source.
"""

from __future__ import annotations

import csv
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from services.pricing.fitting.experience.tables import connect, first_line_not_utf8
from services.pricing.fitting.renewal.columns import (
    AMOUNTS,
    CREDIT,
    DIGEST,
    POLICY,
    ROW,
    TIER,
)
from services.pricing.fitting.renewal.work import BUILDING, shard_path

_SEPARATORS = ",;\t|"
# How DuckDB begins to say that a file is no table; Arrow's reader hands on no more than the text.
_MISREAD = ("Conversion Error", "Invalid Input Error")
# Rows that are dealt at once: about 50 MB.
_AT_ONCE = 500_000
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


class BookUnreadable(ValueError):
    """The file of the book cannot be used; `faults` say all that is wrong with its columns."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is taken from the book: the tariff's features, and the columns to group by."""

    features: tuple[str, ...]
    required: tuple[str, ...]  # of the features, those that every row must have
    groups: tuple[str, ...]
    columns: Mapping[str, str]  # ours: theirs

    def theirs(self, name: str) -> str:
        """What the company calls a column of ours."""
        return self.columns.get(name, name)


def deal(book: Path, wanted: Wanted, shards: int, folder: Path) -> int:
    """Write a file a shard into the folder (`read_dealt`) and return how many rows there are.

    `row` counts from 1 as the lines of data do. A policy's shard is the first 32 bits of the
    SHA-256 of its name, modulo the number of shards: the same in every version of every library.

    Raises: BookUnreadable with every column that is missing, or when the file is no table.
    """
    with connect() as database:
        source, row = _source(database, book)
        _demand(wanted, source.columns)
        building = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}{BUILDING}")
        building.mkdir(parents=True)
        numbered = source.project(f"{row} AS {ROW}, *")
        columns = numbered.project(", ".join(_columns(wanted, source)))
        try:
            rows = _dealt(columns.to_arrow_reader(_AT_ONCE), shards, building)
        except (OSError, duckdb.Error) as error:
            if not str(error).startswith(_MISREAD):
                raise
            text = f"{book.name} is no UTF-8, or has a row of another length than its heading"
            raise BookUnreadable(_misread(book) or [text]) from None
    try:
        building.rename(folder)
    except OSError:  # somebody was faster, with the same rows, and may be read by now
        if not folder.is_dir():
            raise
        shutil.rmtree(building)
    return rows


def read_dealt(path: Path) -> pa.Table:
    """The rows of one shard, in the order in which they were dealt."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all().combine_chunks()


def _dealt(source: pa.RecordBatchReader, shards: int, folder: Path) -> int:
    """Deal what the book gives, while DuckDB reads what comes next."""
    rows = 0
    with ThreadPoolExecutor(max_workers=1) as pool:  # one alone, so that the order stays
        dealing: Future[None] | None = None
        for batch in source:
            rows += batch.num_rows
            if dealing is not None:
                dealing.result()
            dealing = pool.submit(_deal, batch, shards, folder)
        if dealing is not None:
            dealing.result()
    return rows


def _deal(batch: pa.RecordBatch, shards: int, folder: Path) -> None:
    """Append each row to its shard's file: a stream of Arrow that ends where the file does."""
    shard = (batch.column(DIGEST).to_numpy() % np.uint32(shards)).astype(np.uint16)
    order = pa.array(np.argsort(shard, kind="stable"))
    # Column by column: PyArrow takes rows of a batch in half as much time again.
    columns = [column.take(order) for column in batch.columns]
    sorted_rows = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    begin = 0
    for number, count in enumerate(np.bincount(shard, minlength=shards).tolist()):
        if not count:
            continue
        with shard_path(folder, number).open("ab") as file:
            if not file.tell():
                file.write(batch.schema.serialize())
            file.write(sorted_rows.slice(begin, count).serialize())
        begin += count


def _source(database: duckdb.DuckDBPyConnection, book: Path) -> tuple[duckdb.DuckDBPyRelation, str]:
    """The book, and the number of a row in it, from 1."""
    try:
        if book.suffix.lower() == ".csv":
            found = database.read_csv(str(book), header=True, all_varchar=True)
            # A row of another length may hide the separator: all of the heading is one name.
            if len(found.columns) == 1 and (told := _misread(book)):
                raise BookUnreadable(told)
            return found, "row_number() OVER ()"
        return database.read_parquet(str(book), file_row_number=True), "file_row_number + 1"
    except duckdb.Error:
        text = f"{book.name} is neither Parquet nor CSV with a header, or cannot be read"
        raise BookUnreadable(_misread(book) or [text]) from None


def _misread(book: Path) -> list[str]:
    """The first line of a CSV that is not UTF-8 or has not as many cells as its heading, if any."""
    if book.suffix.lower() != ".csv" or not book.is_file():
        return []
    if told := list(first_line_not_utf8(book)):
        return told
    with book.open(encoding="utf-8-sig", newline="") as file:
        heading = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter=max(_SEPARATORS, key=heading.count))
        try:
            wide = len(next(rows, []))
            for row in rows:
                if row and len(row) != wide:
                    text = f"has {len(row)} cells, the heading has {wide}"
                    return [f"{book.name}: line {rows.line_num} {text}"]
        except csv.Error:  # no table at all
            return []
    return []


def _demand(wanted: Wanted, present: Sequence[str]) -> None:
    needed = (POLICY, *AMOUNTS, *wanted.required, *wanted.groups)
    faults = [
        f"column {wanted.theirs(name)} is missing; add it, or say under renewal.columns which "
        f"column holds {name}"
        for name in dict.fromkeys(needed)
        if wanted.theirs(name) not in present
    ]
    faults += [
        f"renewal.columns: {name} is no column of a renewal with this tariff"
        for name in wanted.columns
        if name not in (*needed, *wanted.features, CREDIT, TIER)
    ]
    if faults:
        raise BookUnreadable(faults)


def _columns(wanted: Wanted, source: duckdb.DuckDBPyRelation) -> list[str]:
    """What each column becomes. An amount or credit that is no whole number becomes -1: a fault."""
    present = dict(zip(source.columns, map(str, source.types), strict=True))
    found = [ROW, _text(wanted, POLICY), f"{_digest(wanted.theirs(POLICY))} AS {DIGEST}"]
    found += [f"{_whole(wanted, name, present, '-1')} AS {name}" for name in AMOUNTS]
    found.append(f"{_whole(wanted, CREDIT, present, '0')} AS {CREDIT}")
    names = dict.fromkeys((*wanted.features, *wanted.groups, TIER))
    return found + [
        # Its different values are made texts where they are read: fewer than rows.
        f"{_named(wanted.theirs(name))} AS {_named(name)}"
        if present[wanted.theirs(name)] in _WHOLE_TYPES
        else _text(wanted, name)
        for name in names
        if wanted.theirs(name) in present
    ]


def _digest(policy: str) -> str:
    """What a policy's shard is made of. DuckDB's own hash() is another in another version."""
    # A policy without a name is a fault, which the shard that it falls into reports.
    name = f"coalesce(CAST({_named(policy)} AS VARCHAR), '')"
    return f"CAST('0x' || substr(sha256({name}), 1, 8) AS UINTEGER)"


def _whole(wanted: Wanted, name: str, present: Mapping[str, str], absent: str) -> str:
    """A whole number: `absent` where there is none, -1 for what is none, such as 12.5 or text."""
    if wanted.theirs(name) not in present:
        return f"CAST({absent} AS BIGINT)"
    column = _named(wanted.theirs(name))
    if present[wanted.theirs(name)] in _WHOLE_TYPES:
        return f"coalesce(CAST({column} AS BIGINT), {absent})"
    # A cast of a number would round it in silence; a text of digits is a whole number or nothing.
    # One empty cell makes a whole column 264999.0, in Parquet and in what is written as CSV.
    text = f"CAST({column} AS VARCHAR)"
    digits = f"WHEN regexp_full_match({text}, '{_whole_form(present[wanted.theirs(name)])}')"
    whole = f"{digits} THEN CAST(split_part({text}, '.', 1) AS BIGINT)"
    return f"CASE WHEN {column} IS NULL THEN {absent} {whole} ELSE -1 END"


def _whole_form(kind: str) -> str:
    # Four bytes of float hold no amount above 2^24 exactly: whatever stands there was rounded.
    return "[0-9]{1,16}" if kind == "FLOAT" else "[0-9]{1,16}([.]0+)?"


def _text(wanted: Wanted, name: str) -> str:
    # What a CSV leaves empty is absent, as a null of Parquet is.
    return f"nullif(CAST({_named(wanted.theirs(name))} AS VARCHAR), '') AS {_named(name)}"


def _named(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
