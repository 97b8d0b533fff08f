"""The bank's own book of what it paid, asked in order to compare it with ours."""

from __future__ import annotations

from typing import NamedTuple


class BookEntry(NamedTuple):
    """One payout in a bank's book."""

    minor_units: int
    currency: str


def book(base_url: str) -> dict[str, BookEntry]:
    """End-to-end id → what the bank paid under it."""
    raise NotImplementedError
