"""Which records an answer shows, and how sensitive is what it shows of each. Decides nothing.

A record is a message that names itself (`name`, or what its `record` option says). What it holds
counts for it, but for the records inside it, which count for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.common.access.labels import SENSITIVE, inside, level_of, reachable, record_field
from services.common.access.masking import parts, populated


@dataclass(frozen=True, slots=True)
class Shown:
    """Level by name of each record shown, and the highest level of what belongs to none."""

    records: dict[str, int]
    nameless: int  # 0 when there is nothing sensitive


@dataclass(frozen=True, slots=True)
class _Look:
    own: tuple[tuple[FieldDescriptor, int], ...]  # sensitive fields, the highest level first
    enter: tuple[tuple[FieldDescriptor, Descriptor], ...]  # where more may be


def shown(answer: Message, most: int) -> Shown:
    """What of `SENSITIVE` level and above the answer shows; `most` is the highest it can hold."""
    records: dict[str, int] = {}
    if most < SENSITIVE:
        return Shown(records, 0)
    return Shown(records, _record(answer, 0, most, records))


def _record(message: Message, level: int, most: int, records: dict[str, int]) -> int:
    # What it returns is left for whoever holds the message: all of it when it has no name.
    level = _highest(message, level, most, records)
    names = _names(message) if level >= SENSITIVE else ()
    for name in names:
        records[name] = max(level, records.get(name, 0))
    return 0 if names else level


def _highest(message: Message, level: int, most: int, records: dict[str, int]) -> int:
    look = _look(message.DESCRIPTOR)
    for field, of_field in look.own:
        if of_field <= level:
            break
        if populated(message, field):
            level = of_field
            break
    for field, within in look.enter:
        is_record = record_field(within) is not None
        if level >= most and not (is_record or _holds_records(within)):
            continue
        for part in parts(message, field):
            if is_record:
                of_field = level_of(field)
                begin = of_field if of_field >= SENSITIVE else 0
                level = max(level, _record(part, begin, most, records))
            else:
                level = _highest(part, level, most, records)
    return level


@cache
def _look(message: Descriptor) -> _Look:
    own, enter = [], []
    for field in message.fields:
        within = inside(field)
        level = level_of(field)
        # A list of records tells nothing of whoever holds it.
        if level >= SENSITIVE and (within is None or record_field(within) is None):
            own.append((field, level))
        if within is not None and _can_show(within, level):
            enter.append((field, within))
    own.sort(key=lambda one: -one[1])
    return _Look(tuple(own), tuple(enter))


@cache
def _can_show(message: Descriptor, level: int) -> bool:
    return level >= SENSITIVE or any(level_of(f) >= SENSITIVE for f in reachable(message))


@cache
def _holds_records(message: Descriptor) -> bool:
    inner = (inside(field) for field in reachable(message))
    return any(one is not None and record_field(one) is not None for one in inner)


def _names(message: Message) -> tuple[str, ...]:
    field = record_field(message.DESCRIPTOR)
    if field is None:
        return ()
    held = getattr(message, field.name)
    return tuple(filter(None, held)) if field.is_repeated else (held,) if held else ()


def nameless(message: Descriptor) -> int:
    """The highest level that such an answer can show outside every record; 0 for none."""
    return _outside(message, frozenset())


def _outside(message: Descriptor, above: frozenset[Descriptor]) -> int:
    if message in above or record_field(message) is not None:
        return 0
    highest = 0
    for field in message.fields:
        within = inside(field)
        if within is None or record_field(within) is None:
            level = level_of(field)
            highest = max(highest, level if level >= SENSITIVE else 0)
        if within is not None:
            highest = max(highest, _outside(within, above | {message}))
    return highest
