"""How commands print: tables for people, JSON for machines, money to the fen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lipei.type.v1.money_pb2 import Money
from services.common.money import format_minor

# Piped tables must not break amounts at the 80 columns that a missing terminal is taken for.
_PIPED_COLUMNS = 160


class Enum(Protocol):
    """A protobuf enum, as generated."""

    def keys(self) -> Iterable[str]:
        """Names of the values."""

    def Name(self, number: Any) -> str:  # noqa: N802 -- protobuf's
        """Name of one value."""


def console(*, quiet: bool = False) -> Console:
    """Standard output for people."""
    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    return Console(width=width, quiet=quiet, highlight=False, soft_wrap=False)


def say(text: str) -> None:
    """Print text as it is: no markup, and no line broken that was none."""
    console().print(text, markup=False, soft_wrap=True)


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """An empty table; the columns in `right` hold amounts and are never broken."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        number = column in right
        made.add_column(column, justify="right" if number else "left", no_wrap=number)
    return made


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
    return moment.ToJsonString()[:19].replace("T", " ") if moment.seconds else ""


def rows(made: Table, lines: Iterable[Sequence[str]]) -> Table:
    """The table with the lines added. Text is taken as it is, never as markup."""
    for line in lines:
        made.add_row(*(Text(cell) for cell in line))
    return made
