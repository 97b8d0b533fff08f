"""Where a sweep over rows stands, and where the next one begins. Opens no connection.

A row becomes visible when its transaction commits, not when it is written; so a sweep ends by
putting the next one back to where nothing can appear any more: to the snapshot horizon where the
database tells it, else to an overlap before what was newest as the sweep began. The place never
goes beyond our own clock: one row from a clock that runs ahead must not hide all that follow.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.sources.port import SourceFault

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:([ T])(\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?)?"
    r"([+-]\d{2}(?::?\d{2})?|Z)?",
    re.ASCII,
)
_COMPACT = re.compile(r"\d{14}", re.ASCII)
# How far ahead the end of summer time is looked for; no zone sets its clocks back by more.
_LOOK_EVERY, _LOOKS = timedelta(minutes=15), 17


class Value(msgspec.Struct, frozen=True):
    """A key or a mark of change, as it can be handed back to the driver."""

    kind: Literal["text", "number", "time", "day", "bytes"]
    text: str

    def bound(self) -> Any:
        """What the driver takes."""
        if self.kind == "number":
            return int(self.text)
        if self.kind == "time":
            return datetime.fromisoformat(self.text)
        if self.kind == "day":
            return date.fromisoformat(self.text)
        return bytes.fromhex(self.text) if self.kind == "bytes" else self.text


class Spot(msgspec.Struct, frozen=True):
    """The last row that was read: its mark and its key."""

    at: Value
    key: Value


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """The way over one table: where this sweep began, how far it is, what `mark` it began under."""

    start: Value | None = None
    spot: Spot | None = None
    mark: Value | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A cursor: a walk for each table of marks, and the one under way.

    `reads` names the columns: whoever adds one reads everything anew. `stamp_us` is when the last
    page was read, by a clock that never goes back. `guarded`: marks or keys too large to be read
    stand in the table, so that this sweep leaves them out, and does not end.
    """

    reads: str
    walks: tuple[Walk, ...]
    at: int = 0
    sweeping: bool = False
    stamp_us: int = 0
    guarded: bool = False


def place_of(cursor: bytes | None, reads: str, walks: int) -> Place:
    """The place that a cursor means; the beginning when it is another source's."""
    if cursor is not None:
        place = msgspec.json.decode(cursor, type=Place)
        if place.reads == reads and len(place.walks) == walks:
            return place
    return Place(reads=reads, walks=(Walk(),) * walks)


def value_of(raw: Any) -> Value | None:
    """A driver's value; None for one that cannot stand in a cursor.

    >>> value_of(Decimal("7")), value_of("b-1")
    (Value(kind='number', text='7'), Value(kind='text', text='b-1'))
    """
    if isinstance(raw, str):
        return Value("text", raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return Value("number", str(raw))
    if isinstance(raw, Decimal) and raw.is_finite() and raw == raw.to_integral_value():
        return Value("number", str(int(raw)))
    if isinstance(raw, datetime):
        return Value("time", raw.isoformat())
    if isinstance(raw, date):
        return Value("day", raw.isoformat())
    if isinstance(raw, uuid.UUID):
        return Value("text", str(raw))
    if isinstance(raw, bytes | bytearray | memoryview):
        return Value("bytes", bytes(raw).hex())
    return None


def next_start(
    mark: Value | None, *, overlap_s: int, overlap_steps: int, now: datetime, zone: ZoneInfo
) -> Value | None:
    """Where the next sweep begins, after one that began when `mark` was the newest.

    Raises: SourceFault when `updated` holds what is neither a time nor a number.
    """
    if mark is None:
        return None
    if mark.kind == "number":
        return Value("number", str(int(mark.text) - overlap_steps))
    if mark.kind == "text" and mark.text == "infinity":  # PostgreSQL's; our clock bounds it
        earlier = min(now.replace(tzinfo=None), now.astimezone(zone).replace(tzinfo=None))
        mark = Value("text", earlier.isoformat(" ", timespec="seconds"))
    moment, write = _read(mark)
    overlap, local = timedelta(seconds=overlap_s), now
    if moment.tzinfo is None:
        local = now.astimezone(zone).replace(tzinfo=None)
        overlap += _goes_back(now, zone)
    try:
        found: Value = write(min(moment, local) - overlap)
    except OverflowError:
        return None
    return found


def _goes_back(now: datetime, zone: ZoneInfo) -> timedelta:
    """How much of the local time comes a second time within the next hours: summer time ends.

    What is written then bears times from before this moment, and the next sweep may begin after
    all of it was written.
    """
    offsets = [(now + step * _LOOK_EVERY).astimezone(zone).utcoffset() for step in range(_LOOKS)]
    known = [offset for offset in offsets if offset is not None]
    return max(known[0] - min(known), timedelta())


def shifted(like: Value, moment: datetime) -> Value:
    """A local time as another value writes times. Raises: SourceFault when it is none."""
    if like.kind == "number":
        raise SourceFault("SOURCE_SHAPE", "the day of billing is a number, not a time")
    other, write = _read(like)
    found: Value = write(moment if other.tzinfo is None else moment.replace(tzinfo=UTC))
    return found


def moment_of(raw: Any, zone: ZoneInfo) -> datetime | None:
    """The time of a row's last change, if it tells one; without an offset it is the hospital's."""
    value = value_of(raw)
    return None if value is None else time_of(value, zone)


def time_of(value: Value, zone: ZoneInfo) -> datetime | None:
    """The time that a mark is; None for a number or a transaction."""
    if value.kind in ("number", "bytes"):
        return None
    try:
        moment, _ = _read(value)
    except SourceFault:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _read(value: Value) -> tuple[datetime, Any]:
    """A time, and how to write another one so that the database compares them rightly."""
    if value.kind == "time":
        return datetime.fromisoformat(value.text), lambda m: Value("time", m.isoformat())
    if value.kind == "day":
        day = datetime.fromisoformat(value.text)
        return day, lambda m: Value("day", m.date().isoformat())
    try:
        if value.kind == "text" and _COMPACT.fullmatch(value.text):
            moment = datetime.strptime(value.text, "%Y%m%d%H%M%S")  # noqa: DTZ007 local by nature
            return moment, lambda m: Value("text", m.strftime("%Y%m%d%H%M%S"))
        found = _ISO.fullmatch(value.text)
        if value.kind == "text" and found is not None:
            return _iso(value.text, found[4] or " ", whole=found[5] is not None)
    except ValueError:
        pass
    text = "updated holds neither a time (YYYY-MM-DD hh:mm:ss) nor a whole number"
    raise SourceFault("SOURCE_SHAPE", text)


def _iso(text: str, between: str, *, whole: bool) -> tuple[datetime, Any]:
    if re.search(r"[+-]\d{2}$", text) and whole:
        text += ":00"  # PostgreSQL's short offset
    moment = datetime.fromisoformat(text)

    def write(other: datetime) -> Value:
        # Without fractions: a text that begins another sorts before it.
        pattern = f"%Y-%m-%d{between}%H:%M:%S" if whole else "%Y-%m-%d"
        if other.tzinfo is None:
            return Value("text", other.strftime(pattern))
        return Value("text", other.astimezone(UTC).strftime(pattern) + "+00:00")

    return moment, write
