"""The bank's own book of what it paid, asked in order to compare it with ours."""

from __future__ import annotations

from typing import NamedTuple

import httpx

from demo.processes import ChildFailed

_ASK_S = 60.0


class BookEntry(NamedTuple):
    """What a bank paid under one end-to-end id."""

    minor_units: int
    currency: str


def book(base_url: str) -> dict[str, BookEntry]:
    """End-to-end id → what the bank paid under it; two payments under one id add up.

    Raises: ChildFailed when the bank does not answer.
    """
    try:
        answer = httpx.get(f"{base_url.rstrip('/')}/book", timeout=_ASK_S).raise_for_status()
    except httpx.HTTPError as error:
        raise ChildFailed(f"The bank did not show its book ({type(error).__name__}).") from error
    found: dict[str, BookEntry] = {}
    for payment in answer.json()["payments"]:
        key = str(payment["end_to_end_id"])
        before = found[key].minor_units if key in found else 0
        found[key] = BookEntry(before + int(payment["amount"]), str(payment["currency"]))
    return found
