"""A plan with every field filled, made from the types alone, and every way to change one field.

A field that is added to the plan language is in it without anybody's doing.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

from services.claims.core.plan import Plan
from services.common.dated import Dated

DAYS = (date(2024, 1, 1), date(2025, 1, 1))
# Texts that are not free.
_FIXED = {"currency": ("CNY", "USD")}
_numbers = count(11)


@dataclass(frozen=True, slots=True)
class Step:
    """One step into a plan: a field of a part, and through which item of it one goes on."""

    owner: type
    field: str
    item: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """A plan in which one place says something else; the steps lead there."""

    plan: Plan
    steps: tuple[Step, ...]
    how: str

    @property
    def name(self) -> str:
        return f"{' > '.join(f'{s.owner.__name__}.{s.field}' for s in self.steps)} {self.how}"


def full_plan() -> Plan:
    """A plan whose every field is filled, and every list has two items."""
    made = _full(Plan, "")
    assert isinstance(made, Plan)
    return made


def changes(plan: Plan) -> Iterator[Changed]:
    """The plan with each of its places changed in turn, in each way there is."""
    for steps, how, value in _changed(plan, Plan, ()):
        yield Changed(value, steps, how)


# --- filling ---


def _full(hint: Any, field: str, which: int = 0) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _full(next(one for one in args if one is not type(None)), field, which)
    if origin is tuple:
        return tuple(_full(args[0], field, which + index) for index in range(2))
    if origin is Dated:
        return Dated(values=tuple((day, _full(args[0], field, i)) for i, day in enumerate(DAYS)))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _full(hints[name], name, which) for name in hint.__struct_fields__})
    return _leaf(hint, field, which)


def _leaf(hint: type, field: str, which: int) -> Any:
    if hint is bool:
        return which == 0
    if issubclass(hint, enum.Enum):
        return list(hint)[which % len(hint)]
    if hint is date:
        # The end of a row lies after its beginning.
        return DAYS[1] if field == "end" else DAYS[0]
    if hint is Decimal:
        return Decimal(next(_numbers)) / 1000
    if hint is int:
        return next(_numbers)
    assert hint is str, f"a plan holds {hint}, which this generator does not know"
    return _FIXED[field][0] if field in _FIXED else f"w{next(_numbers)}"


# --- changing ---


def _changed(
    value: Any, hint: Any, steps: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], str, Any]]:
    """Each way to say something else than `value`, and the value that says it."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        yield steps, "left out", None
        inner = next(one for one in args if one is not type(None))
        yield from _changed(value, inner, steps)
    elif isinstance(value, msgspec.Struct) and not isinstance(value, Dated):
        yield from _changed_part(value, steps)
    elif isinstance(value, Dated):
        (_, first), (day, last) = value.values
        yield steps, "later", Dated(values=(value.values[0], (day + timedelta(days=1), last)))
        yield steps, "as before", Dated(values=value.values[:1])
        if last is not False:
            yield steps, "ended", Dated(values=(value.values[0], (day, None)))
        for deeper, how, one in _changed(last, args[0], steps):
            yield deeper, f"later {how}", Dated(values=((DAYS[0], first), (day, one)))
    elif isinstance(value, tuple):
        at = (*steps[:-1], Step(steps[-1].owner, steps[-1].field, True))
        yield at, "less", value[:1]
        further = _full(args[0], steps[-1].field, 2)
        if further not in value:
            yield at, "more", (*value, further)
        for deeper, how, one in _changed(value[0], args[0], at):
            yield deeper, how, (one, value[1])
    else:
        yield steps, "changed", _other(value, steps[-1].field)


def _changed_part(
    value: msgspec.Struct, steps: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], str, Any]]:
    hints = typing.get_type_hints(type(value))
    for field in msgspec.structs.fields(type(value)):
        here = (*steps, Step(type(value), field.name, False))
        old = getattr(value, field.name)
        if field.default == () and old:
            yield here, "left out", msgspec.structs.replace(value, **{field.name: ()})
        if field.default == "" and old:
            yield here, "left out", msgspec.structs.replace(value, **{field.name: ""})
        for deeper, how, one in _changed(old, hints[field.name], here):
            yield deeper, how, msgspec.structs.replace(value, **{field.name: one})


def _other(value: Any, field: str) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, enum.Enum):
        return next(one for one in reversed(type(value)) if one is not value)
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, Decimal | int):
        return value + 1
    return _FIXED[field][1] if field in _FIXED else f"{value}x"
