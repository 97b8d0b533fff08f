"""The tables of a book as the services' experience is written into them: all of it, or no book.

Rows come a portion at a time, so that a book of any size fits into little memory. Knows no wire:
whoever asks the services hands in columns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.common.state import write_private
from services.pricing.fitting.dictionary import TABLES, Kind
from services.pricing.fitting.experience.tables import connect, identifier, quoted
from services.pricing.fitting.run_card import digest, versions

MANIFEST = "manifest.json"
SPILL = "sorting"
_FORMAT = 1
_GROUP = 100_000  # rows
_FEW = 5
# By names of the study alone: the order in which a service tells of people would tell who they are.
_ORDER = {
    "people": ("person_id",),
    "policies": ("policy_id",),
    "claims": ("claim_id",),
    "readings": ("person_id", "effective_time", "reading_id"),
}
_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.CHOICE: pa.string(),
    Kind.DAY: pa.date32(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.WHOLE: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.FLAG: pa.bool_(),
}


class BookWriter:
    """Tables under way in a folder of their own; entering empties it, leaving closes the files."""

    def __init__(self, folder: Path, columns: Mapping[str, Sequence[str]]) -> None:
        """`columns` names, by table, those of the dictionary's columns that are known."""
        self._folder = folder
        self._schemas = {
            name: pa.schema(
                [(one, _TYPES[TABLES[name].column(one).kind]) for one in known],
            )
            for name, known in columns.items()
        }
        self._waiting: dict[str, list[Any]] = {name: [] for name in columns}
        self._writers: dict[str, Any] = {}
        self.rows: Counter[str] = Counter(dict.fromkeys(columns, 0))

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for name, schema in self._schemas.items():
            self._writers[name] = pq.ParquetWriter(self._folder / f"{name}.parquet", schema)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for writer in self._writers.values():
                with contextlib.suppress(OSError):  # of a full disk; the fault is told already
                    writer.close()
            return
        for name, writer in self._writers.items():
            self._write(name)
            writer.close()
            _on_disk(self._folder / f"{name}.parquet")

    def add(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """More rows of a table, column by column."""
        made = pa.table(dict(columns), schema=self._schemas[name])
        self._waiting[name].append(made)
        self.rows[name] += made.num_rows
        if sum(one.num_rows for one in self._waiting[name]) >= _GROUP:
            self._write(name)

    def _write(self, name: str) -> None:
        if self._waiting[name]:
            self._writers[name].write_table(pa.concat_tables(self._waiting[name]))
            self._waiting[name] = []


def write_manifest(folder: Path, rows: Mapping[str, int], told: Mapping[str, Any]) -> None:
    """Put tables in the order of their names, and say beside them what they are.

    That is rows, digests, versions, and what was `told`: without a manifest there is no book.
    """
    # What does not fit into memory lies beside the parts, and goes with them if this is killed.
    with connect("UTC", spill=folder.with_name(SPILL)) as con:
        for name in rows:
            _put_in_order(con, folder / f"{name}.parquet", _ORDER[name])
    said = {
        "format": _FORMAT,
        "tables": {
            name: {"rows": number, "sha256": digest(folder / f"{name}.parquet")}
            for name, number in rows.items()
        },
        "versions": versions(),
        **told,
    }
    content = msgspec.json.format(msgspec.json.encode(said, order="sorted")) + b"\n"
    write_private(folder / MANIFEST, content, durable=True)


def _on_disk(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Table(msgspec.Struct, frozen=True):
    rows: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    study: str
    tables: dict[str, _Table]
    before: str = ""
    zone: str = ""


def is_finished(folder: Path, told_of: Mapping[str, str] | None = None) -> bool:
    """Whether the folder holds an export's manifest, and just the tables that it tells of.

    `told_of` says of which study, before which day, and in which zone, where it must be that.
    """
    try:
        told = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
        return (
            told.format == _FORMAT
            and all(getattr(told, name) == of for name, of in (told_of or {}).items())
            and re.fullmatch("[0-9a-f]{32}", told.study) is not None
            and bool(told.tables)
            and all(
                name in TABLES and digest(folder / f"{name}.parquet") == one.sha256
                for name, one in told.tables.items()
            )
        )
    except (OSError, msgspec.MsgspecError):
        return False


def _put_in_order(con: duckdb.DuckDBPyConnection, file: Path, columns: Sequence[str]) -> None:
    """Sort a table by columns, whatever its size; on the disk, its owner's alone (0600)."""
    schema = pq.read_schema(file)
    sorted_file = file.with_name(f"{file.name}.new")
    sorted_file.unlink(missing_ok=True)
    handle = os.open(sorted_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    order = ", ".join(map(identifier, columns))
    try:
        with (
            os.fdopen(handle, "wb") as out,
            pq.ParquetWriter(out, schema) as writer,
        ):
            found = con.sql(
                f"SELECT * FROM read_parquet({quoted(str(file))}) ORDER BY {order}"  # nosec B608 # noqa: S608 - names of ours
            )
            for batch in found.to_arrow_reader(_GROUP):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
            writer.close()
            out.flush()
            os.fsync(out.fileno())
    except duckdb.Error as error:  # a disk that is full while it sorts, most of all
        raise OSError(errno.EIO, str(error).partition("\n")[0], str(file)) from None
    sorted_file.replace(file)


def rows_of(folder: Path) -> dict[str, int]:
    """Rows of each table, as the manifest tells them."""
    told = msgspec.json.decode((folder / MANIFEST).read_bytes())
    return {name: int(one["rows"]) for name, one in sorted(told["tables"].items())}


class FewAlike(msgspec.Struct, frozen=True):
    """So many people share what is told of them with fewer than four others."""

    conditions: int  # birth, sex and conditions
    cover: int  # these, and every day on which their cover begins or ends


def few_alike(folder: Path) -> FewAlike:
    """How many people of a book others may tell who know so much of them."""
    people, policies = (str(folder / f"{name}.parquet") for name in ("people", "policies"))
    with connect("UTC") as con:
        found = con.execute(
            """
            WITH cover AS (
                SELECT person_id, string_agg(first_day || after_day, ' ' ORDER BY first_day) AS days
                FROM read_parquet($policies) GROUP BY person_id
            ), shared AS (
                SELECT
                    count(*) OVER (PARTITION BY birth_date, sex, conditions) AS by_conditions,
                    count(*) OVER (PARTITION BY birth_date, sex, conditions, days) AS by_cover
                FROM read_parquet($people) LEFT JOIN cover USING (person_id)
            )
            SELECT count(*) FILTER (by_conditions < $few), count(*) FILTER (by_cover < $few)
            FROM shared
            """,
            {"people": people, "policies": policies, "few": _FEW},
        ).fetchone()
    conditions, cover = found or (0, 0)
    return FewAlike(conditions=conditions, cover=cover)


def not_exported(folder: Path) -> list[str]:
    """Names of what a folder holds that no export has made: it may not be replaced then."""
    if not folder.exists():
        return []
    names = sorted(one.name for one in folder.iterdir())
    made: set[str] = set()
    if is_finished(folder):
        made = {MANIFEST, *(f"{name}.parquet" for name in rows_of(folder))}
    return [name for name in names if name not in made]


class Foreign(Exception):
    """A folder that would be replaced holds what no export has made: its names."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))


def put_back(folder: Path, aside: Path) -> None:
    """Where a replacement was cut between its two renames, the book of before stands again."""
    if aside.exists() and not folder.exists():
        aside.rename(folder)
        _on_disk(folder.parent)


def put_in_place(made: Path, folder: Path, aside: Path) -> tuple[Path, ...]:
    """Replace a book by the finished one; its files. Interrupted, the same call ends it.

    Between two renames there is no book at all, never half of one.

    Raises: Foreign when by now the folder holds something else too; it stays as it is.
    """
    if made.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rename(aside)
            # Looked at where nobody puts anything any more.
            foreign = not_exported(aside)
            if foreign:
                aside.rename(folder)
                raise Foreign(foreign)
        made.rename(folder)
        _on_disk(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)
    return tuple(sorted(folder.glob("*")))
