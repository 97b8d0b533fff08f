"""The tables of a book as DuckDB sees them, under our names and types; nothing is changed or kept.

A table comes from Parquet, from CSV (UTF-8, header first), or from any frame that DuckDB scans, so
that a notebook hands in DataFrames and a command hands in files. What cannot be read as its type is
NULL here: `checking` says of which rows.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from services.pricing.fitting.book_settings import BookSettings, TableSource
from services.pricing.fitting.dictionary import TABLES, Column, Kind, Table

Connection = duckdb.DuckDBPyConnection

_TYPES = {
    Kind.TEXT: "VARCHAR",
    Kind.CHOICE: "VARCHAR",
    Kind.DAY: "DATE",
    Kind.TIME: "TIMESTAMPTZ",
    Kind.WHOLE: "BIGINT",
    Kind.NUMBER: "DOUBLE",
    Kind.FLAG: "BOOLEAN",
}
# Half of two gigabytes; what does not fit goes to a temporary file.
_MEMORY = "1000MB"


class NoBook(LookupError):
    """At least one table that the book must have is not there; the text names them all."""


class NotUtf8(ValueError):
    """At least one CSV file is written in another encoding; the text names them all."""


class ColumnTwice(ValueError):
    """At least one CSV file has two columns of one name; the text names them all."""


def connect(zone: str = "Asia/Shanghai", *, spill: Path | None = None) -> Connection:
    """An empty database in memory whose days are those of the zone.

    What exceeds the memory goes to the folder `spill`, else to one that goes with the process.
    """
    con = duckdb.connect(":memory:")
    con.execute(f"SET memory_limit = '{_MEMORY}'")
    con.execute(f"SET temp_directory = {quoted(str(spill or _spill_folder()))}")
    con.execute(f"SET TimeZone = {quoted(zone)}")
    con.execute("SET preserve_insertion_order = true")
    # In a notebook without ipywidgets DuckDB draws none, and refuses to be told so.
    with contextlib.suppress(duckdb.InvalidInputException):
        con.execute("SET enable_progress_bar = false")
    return con


@functools.cache
def _spill_folder() -> Path:
    """Where what exceeds the memory goes: readable by nobody else, gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="lipei-study-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def book_files(folder: Path, settings: BookSettings) -> dict[str, Path]:
    """The file of each table that is there, by the table's name.

    Raises: NoBook with every required table that is missing.
    """
    found, missing = {}, []
    for name, table in TABLES.items():
        source = settings.tables.get(name, TableSource())
        tried = [source.file] if source.file else [f"{name}.parquet", f"{name}.csv"]
        path = next((folder / file for file in tried if (folder / file).is_file()), None)
        if path is not None:
            found[name] = path
        elif table.required or source.file:
            missing.append(f"{name}: no {' and no '.join(tried)} in {folder}")
    if missing:
        raise NoBook("\n".join(missing))
    return found


def open_book(folder: Path, settings: BookSettings) -> Connection:
    """A database with one view per table under our names: people, policies, claims ...

    A table that may be absent is there without rows. `raw_{table}` keeps every column as written.

    Raises: NoBook; NotUtf8 with every CSV file of another encoding; ColumnTwice with every one that
    has a column twice; duckdb.Error when a file is neither Parquet nor CSV.
    """
    files = book_files(folder, settings)
    texts = [path for path in files.values() if path.suffix.lower() == ".csv"]
    told = [fault for path in texts for fault in first_line_not_utf8(path)]
    if told:
        raise NotUtf8("\n".join(told))
    con = connect(settings.zone)
    told = [fault for path in texts for fault in columns_twice(con, path)]
    if told:
        con.close()
        raise ColumnTwice("\n".join(told))
    for name, path in files.items():
        reader = "read_parquet" if path.suffix == ".parquet" else "read_csv"
        options = "" if path.suffix == ".parquet" else ", header = true, all_varchar = true"
        scan = f"{reader}({quoted(str(path))}{options})"
        con.execute(f"CREATE VIEW raw_{name} AS SELECT * FROM {scan}")  # nosec B608 # names of ours
    _views(con, settings)
    return con


def first_line_not_utf8(path: Path) -> Iterator[str]:
    """The first line of a CSV file that is not UTF-8, in a sentence."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                yield (
                    f"{path.name}: line {number} is not UTF-8 (GB18030 or GBK, perhaps): save it as"
                    f' "CSV UTF-8", or `iconv -f GB18030 -t UTF-8 {path.name}` into a new file'
                )
                return


def columns_twice(con: Connection, path: Path) -> Iterator[str]:
    """The columns that stand twice in the header of a CSV file, each in a sentence.

    DuckDB gives the second a name of its own and reads the first. It tells no capitals from small
    letters, so neither do we.

    Raises: duckdb.Error when the file is no CSV.
    """
    first = con.read_csv(str(path), header=False, all_varchar=True).limit(1).fetchall()
    names = [str(name) for row in first for name in row if name]
    times = Counter(name.casefold() for name in names)
    for name in names:
        if times.pop(name.casefold(), 0) > 1:
            yield f"{path.name}: the column {name!r} stands twice: take one out, or rename it"


def open_frames(frames: Mapping[str, pd.DataFrame], settings: BookSettings) -> Connection:
    """The same of frames, by the tables' names."""
    con = connect(settings.zone)
    missing = [name for name, table in TABLES.items() if table.required and name not in frames]
    if missing:
        raise NoBook(f"no frame of {', '.join(missing)}")
    for name, frame in frames.items():
        con.register(f"raw_{name}", frame)
    _views(con, settings)
    return con


def is_synthetic(folder: Path, settings: BookSettings) -> bool:
    """Whether any table of the book says that it is made up: in its metadata, or beside it."""
    if (folder / "truth.json").is_file():
        return True
    for path in book_files(folder, settings).values():
        if path.suffix == ".parquet":
            said = pq.read_schema(path).metadata or {}
            if said.get(b"synthetic") == b"true":
                return True
    return False


def raw_columns(con: Connection, name: str) -> dict[str, str]:
    """The columns of a table as it was handed in, each with DuckDB's type; none when absent."""
    known = con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = ?", [f"raw_{name}"])
    if not _one(known):
        return {}
    rows = con.execute(f"DESCRIBE raw_{name}").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}


def expression(column: Column, source: TableSource, raw: Mapping[str, str]) -> str:
    """SQL of a column under our name: mapped, translated and read as its type; NULL when absent."""
    theirs = source.columns.get(column.name, column.name)
    wanted = _TYPES[column.kind]
    if theirs not in raw:
        return f"CAST(NULL AS {wanted})"
    written = identifier(theirs)
    if words := source.values.get(column.name):
        cases = " ".join(f"WHEN {quoted(a)} THEN {quoted(b)}" for a, b in words.items())
        written = f"CASE CAST({written} AS VARCHAR) {cases} ELSE CAST({written} AS VARCHAR) END"
    elif is_exact(column, source, raw):
        return f"NULLIF({written}, '')" if wanted == "VARCHAR" else written
    text = f"NULLIF(CAST({written} AS VARCHAR), '')"
    if wanted == "VARCHAR":
        return text
    if wanted == "BIGINT":
        # DuckDB would round 1.5 to 2.
        number = f"TRY_CAST({text} AS DECIMAL(24, 6))"
        return f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({number} AS BIGINT) END"
    return f"TRY_CAST({text} AS {wanted})"


def is_exact(column: Column, source: TableSource, raw: Mapping[str, str]) -> bool:
    """Whether a column comes in the type that it is read as, and nothing is left to go wrong."""
    kind = raw.get(source.columns.get(column.name, column.name), "")
    wanted = _TYPES[column.kind]
    same = kind == wanted or (wanted == "TIMESTAMPTZ" and kind == "TIMESTAMP WITH TIME ZONE")
    return same and column.name not in source.values


def further(
    table: Table, source: TableSource, raw: Mapping[str, str], settings: BookSettings
) -> dict[str, str]:
    """The rating factors that the dictionary does not know, with their columns as handed in."""
    known = {column.name for column in table.columns}
    named = {name: source.columns.get(name, name) for name in settings.rating_factors}
    return {name: theirs for name, theirs in named.items() if name not in known and theirs in raw}


def identifier(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def listed(texts: Iterable[str]) -> str:
    """Texts as SQL writes them in a list."""
    return ", ".join(quoted(text) for text in texts)


def _views(con: Connection, settings: BookSettings) -> None:
    for name, table in TABLES.items():
        raw = raw_columns(con, name)
        source = settings.tables.get(name, TableSource())
        columns = [
            f"{expression(column, source, raw)} AS {identifier(column.name)}"
            for column in table.columns
        ]
        if table.further:
            columns += [
                f"{identifier(theirs)} AS {identifier(factor)}"
                for factor, theirs in further(table, source, raw, settings).items()
            ]
        chosen = ", ".join(columns)
        origin = f"FROM raw_{name}" if raw else "WHERE false"
        con.execute(f"CREATE VIEW {name} AS SELECT {chosen} {origin}")


def _one(result: Connection) -> int:
    row = result.fetchone()
    return int(row[0]) if row else 0
