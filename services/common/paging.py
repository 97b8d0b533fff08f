"""A page of a list. What comes after it is asked for by its number only, and not fetched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select

Row = TypeVar("Row")


class Page(list[Row]):
    """Rows, and whether there are `more` after them."""

    def __init__(self, rows: Iterable[Row], *, more: bool) -> None:
        super().__init__(rows)
        self.more = more


def any_after(
    connection: Connection, listed: Select[Any], number: ColumnElement[int], last: int
) -> bool:
    """Whether a list has a row after the `last` of a page; fetches nothing but its number.

    `listed` is the list's query without its page's bounds, `number` the column that orders it.
    """
    after = listed.with_only_columns(number, maintain_column_froms=True).where(number > last)
    return connection.execute(after.order_by(None).limit(1)).first() is not None
