"""What a caller may not see is taken out of an answer: absent, never zero or empty text.

Planned once for each message type and clearance, so that an answer with nothing to hide costs
one look. Knows no caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.common.access.labels import inside, is_map, level_of, reachable


class Shape(Enum):
    """How a field holds what it holds."""

    PLAIN = auto()  # a scalar whose default is the same as its absence
    SINGLE = auto()  # a message, or a scalar that knows whether it was set
    LIST = auto()
    MAP = auto()


@dataclass(frozen=True, slots=True)
class _Plan:
    remove: tuple[FieldDescriptor, ...]
    enter: tuple[tuple[FieldDescriptor, Descriptor], ...]


def mask(message: Message, clearance: int) -> tuple[str, ...]:
    """Take every field above the clearance out of the message, in place; what was taken out.

    A field without a label goes for everybody, and so do fields that this program does not know.
    What was populated is named by its path without indices and keys, for example
    "claims.decision.lines", each once.
    """
    removed: dict[str, None] = {}
    _strip(message, _plan(message.DESCRIPTOR, clearance), clearance, "", removed)
    message.DiscardUnknownFields()
    return tuple(removed)


def _strip(
    message: Message, plan: _Plan, clearance: int, prefix: str, removed: dict[str, None]
) -> None:
    for field in plan.remove:
        if populated(message, field):
            removed[prefix + field.name] = None
        message.ClearField(field.name)
    for field, within in plan.enter:
        inner = _plan(within, clearance)
        for part in parts(message, field):
            _strip(part, inner, clearance, f"{prefix}{field.name}.", removed)


@cache
def _plan(message: Descriptor, clearance: int) -> _Plan:
    remove, enter = [], []
    for field in message.fields:
        within = inside(field)
        if level_of(field) > clearance:
            remove.append(field)
        elif within is not None and hides(within, clearance):
            enter.append((field, within))
    return _Plan(tuple(remove), tuple(enter))


@cache
def hides(message: Descriptor, clearance: int) -> bool:
    """Whether such a message can hold anything above the clearance."""
    return any(level_of(field) > clearance for field in reachable(message, clearance=clearance))


@cache
def shape_of(field: FieldDescriptor) -> Shape:
    """How the field holds what it holds."""
    if is_map(field):
        return Shape.MAP
    if field.is_repeated:
        return Shape.LIST
    return Shape.SINGLE if field.has_presence else Shape.PLAIN


def populated(message: Message, field: FieldDescriptor) -> bool:
    """Whether the field tells anything."""
    if shape_of(field) is Shape.SINGLE:
        return message.HasField(field.name)
    held = getattr(message, field.name)
    return bool(held) or str(held) == "-0.0"  # which is on the wire, unlike zero


def parts(message: Message, field: FieldDescriptor) -> Iterable[Message]:
    """The messages that a field holds: none, one, a list's or a map's."""
    shape = shape_of(field)
    if shape is Shape.SINGLE:
        return (getattr(message, field.name),) if message.HasField(field.name) else ()
    held: Any = getattr(message, field.name)
    found: Iterable[Message] = held.values() if shape is Shape.MAP else held
    return found


def withheld_from(message: Descriptor, clearance: int) -> Iterator[str]:
    """Every path that `mask` can take out of such a message; into itself none descends."""

    def walk(one: Descriptor, prefix: str, above: frozenset[Descriptor]) -> Iterator[str]:
        if one in above:
            return
        plan = _plan(one, clearance)
        yield from (prefix + field.name for field in plan.remove)
        for field, within in plan.enter:
            yield from walk(within, f"{prefix}{field.name}.", above | {one})

    return walk(message, "", frozenset())
