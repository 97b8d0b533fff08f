"""Lists of any length, in portions that one statement takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# PostgreSQL takes 65,535 parameters in a statement and SQLite 32,766, with the statement's others.
AT_ONCE = 10_000


def portions(values: Iterable[T], at_once: int = AT_ONCE) -> Iterator[list[T]]:
    """All values in their order, in lists of so many at most; none when there are none."""
    known = list(values)
    for start in range(0, len(known), at_once):
        yield known[start : start + at_once]
