"""One port for every way of getting records out of a hospital."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Protocol

import msgspec

from services.his_bridge.core.reconciliation import DayTotals

Key = tuple[str, str]


class RawRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as the source sent it. `updated` is the source's time of its last change.

    `meaning` decides whether it is the same as another of its version, where the source may write
    one record in several ways; without it the bytes do. With `seen` the time is not the source's
    word but when we saw the record, by a clock that the source's cursor keeps from going back.
    """

    kind: str
    record_id: str
    version: str
    updated: datetime | None
    raw: bytes
    meaning: bytes | None = None
    seen: bool = False


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """Files that lie there and do not count yet."""

    count: int
    settle_s: float | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some records, and where the next page begins. `swept`: the source had no more just now.

    What records of another `scope` point at is not what these point at, whatever its id: of two
    files each has its own Patient/1. Of most sources all records have the same.

    `left`: how many records follow by the source's own count, where it tells one. An estimate: it
    ends no sweep.

    `unsettled`: how much lies there and does not count yet, and when (seconds since 1970) the first
    of it will, where time alone makes it count.

    `refused_files`: how many files lie there that were refused as a whole; `taken_files`: how many
    that were taken.

    `reached`: how far the source's own marks of change are, where records' times are only when we
    read them.
    """

    records: tuple[RawRecord, ...]
    cursor: bytes
    swept: bool
    scope: str = ""
    left: int | None = None
    unsettled: Unsettled | None = None
    refused_files: int = 0
    taken_files: int = 0
    reached: datetime | None = None


class SourceFault(Exception):
    """The source cannot be read now.

    With `retry_after_s` waiting helps: it is away, or asks to slow down. Without, a person must
    look: it refuses us, or it answers in a way that would lose records unseen.
    """

    def __init__(self, reason: str, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.retry_after_s = retry_after_s


class Source(Protocol):
    """A hospital's system, read page by page. The cursor is the caller's; it keeps no place."""

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The page at a cursor; None begins at the oldest record. Every page moves on or sweeps.

        Raises: SourceFault.
        """
        ...

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Records that others point at, in batches; what the source does not have is left out.

        Raises: SourceFault.
        """
        ...

    async def fetch_again(self, kind: str, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        """These records as they are now; what the source does not have is left out.

        Raises: SourceFault.
        """
        ...

    async def reconcile(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """What the source holds per day of billing, both days included, read from the beginning.

        Raises: SourceFault.
        """
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...
