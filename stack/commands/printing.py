"""How commands print: tables for people, JSON for machines, money to the fen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lipei.type.v1.money_pb2 import Money
from services.common.money import format_minor
from stack.commands.terminal import shown

# In a pipe nothing is cut or wrapped: what reads it wants one row a line, and whole names.
_PIPED_COLUMNS = 100_000
_PROSE_COLUMNS = 24  # narrower than this a sentence is no longer readable


class Enum(Protocol):
    """A protobuf enum, as generated."""

    def keys(self) -> Iterable[str]:
        """Names of the values."""

    def Name(self, number: Any) -> str:  # noqa: N802 -- protobuf's
        """Name of one value."""

    def Value(self, name: str) -> Any:  # noqa: N802 -- protobuf's
        """Number of one name."""


def console(*, quiet: bool = False) -> Console:
    """Standard output for people."""
    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    return Console(width=width, quiet=quiet, highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """Print text as it is: no markup, and no line broken that was none; nothing steers."""
    _as_it_is(text, console())


def _as_it_is(text: str, out: Console) -> None:
    out.print(shown(text), markup=False, soft_wrap=True)


def table(*columns: str, right: Sequence[str] = (), prose: Sequence[str] = ()) -> Table:
    """An empty table; only the columns in `prose` may be wrapped, those in `right` hold amounts."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in prose,
            min_width=_PROSE_COLUMNS if column in prose else None,
        )
    return made


def print_table(made: Table, out: Console | None = None) -> None:
    """Print a table of `table` and `rows`; row under row when the terminal is too narrow for it."""
    out = out or console()
    for column in made.columns:
        if column.no_wrap:
            texts = [str(column.header), *map(str, column.cells)]
            column.min_width = max(cell_len(line) for text in texts for line in text.split("\n"))
    unlimited = out.options.update(width=_PIPED_COLUMNS)
    if out.measure(made, options=unlimited).minimum <= out.width:
        out.print(made)
    else:
        for line in _stacked(made, out.width):
            _as_it_is(line, out)


def print_list(made: Table, nothing: str) -> None:
    """Print a table, or the sentence when it has no rows: a bare heading says nothing."""
    if made.row_count:
        print_table(made)
    else:
        say(nothing)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its word.

    >>> counted(1, "key"), counted(2, "key"), counted(0, "entry", "entries")
    ('1 key', '2 keys', '0 entries')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def progress_bar(out: Console) -> Progress:
    """A bar of so many done and to do, on a terminal; in a pipe nothing."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=out, disable=not out.is_terminal)


@contextmanager
def stepwise(what: str, total: int, of: str) -> Iterator[Callable[[int], None]]:
    """A bar for work that is done in steps; in a pipe a line after each step but the last.

    Call what it gives with how much a step did. Goes to standard error: it is no result.
    """
    out = Console(stderr=True, highlight=False)
    done = 0
    with progress_bar(out) as bar:
        task = bar.add_task(what, total=total)

        def step(did: int) -> None:
            nonlocal done
            done += did
            bar.advance(task, did)
            if not out.is_terminal and done < total:
                _as_it_is(f"{what}: {done} of {total} {of}", out)

        yield step


def _stacked(made: Table, width: int) -> Iterator[str]:
    """Each row as its first cell and "heading: value" below it, filled up to the width.

    A row without a first cell belongs to the row before. What such rows hold gets lines of its own.
    """
    headings = [str(column.header).replace("\n", " ") for column in made.columns]
    lines = list(zip(*(map(str, column.cells) for column in made.columns), strict=True))
    more = [place for line in lines if not line[0] for place, cell in enumerate(line) if cell]
    begin = min(more, default=len(headings))
    for line in lines:
        if line[0]:
            yield f"{headings[0]} {line[0]}"
        said = [f"{h}: {cell}" if cell else "" for h, cell in zip(headings, line, strict=True)]
        yield from _filled(said[1:begin], width, "  ")
        yield from _filled(said[begin:], width, "    ")


def _filled(pairs: Iterable[str], width: int, indent: str) -> Iterator[str]:
    line = ""
    for pair in filter(None, pairs):
        if line and cell_len(f"{indent}{line}   {pair}") > width:
            yield indent + line
            line = pair
        else:
            line = f"{line}   {pair}" if line else pair
    if line:
        yield indent + line


def print_json(value: Message | Any) -> None:
    """One JSON document; fields of messages carry the names of the wire, zeros are shown."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Message | Any) -> Any:
    """A message as plain values."""
    if isinstance(value, Message):
        return MessageToDict(
            value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    return value


def money(amount: Money) -> str:
    """An amount with its currency; empty when there is none.

    >>> money(Money(currency_code="CNY", minor_units=1205))
    '12.05 CNY'
    """
    if not amount.currency_code:
        return ""
    return f"{number(amount)} {amount.currency_code}"


def number(amount: Money) -> str:
    """An amount without its currency, for columns that name it."""
    if not amount.currency_code:
        return ""
    return format_minor(amount.minor_units, amount.currency_code)


def share(millionths: int) -> str:
    """A share in millionths as people write it.

    >>> share(100_000), share(62_500), share(0)
    ('10 %', '6.25 %', '0 %')
    """
    return f"{Decimal(millionths).scaleb(-4).normalize():f} %"


def word(enum: Enum, value: int) -> str:
    """An enum value as people write it.

    >>> from lipei.claims.v1 import decision_pb2
    >>> word(decision_pb2.Bearer, decision_pb2.BEARER_PRIOR_PAYER)
    'prior payer'
    """
    prefix = next(iter(enum.keys())).removesuffix("UNSPECIFIED")
    try:
        name = enum.Name(value)
    except ValueError:
        return str(value)  # a newer server's
    return name.removeprefix(prefix).lower().replace("_", " ")


def when(moment: Timestamp) -> str:
    """A moment in UTC to the second; empty when it is not set."""
    return told_time(moment.ToJsonString()) if moment.seconds else ""


def told_time(iso: str) -> str:
    """A time in UTC that is written for machines, as every table shows it.

    >>> told_time("2026-05-04T04:00:00Z"), told_time("2026-05-04T04:00:00+00:00")
    ('2026-05-04 04:00:00', '2026-05-04 04:00:00')
    """
    return iso[:19].replace("T", " ")


def rows(made: Table, lines: Iterable[Sequence[str]]) -> Table:
    """The table with the lines added. Text is taken as it is, never as markup; nothing steers."""
    for line in lines:
        made.add_row(*(Text(shown(cell)) for cell in line))
    return made
