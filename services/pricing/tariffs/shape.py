"""Whether a tree has the keys and types of a msgspec structure: every fault at once, with its path.

msgspec itself stops at the first; the types and their bounds are declared once, in core.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from services.pricing.core.checks import Fault
from services.pricing.tariffs.strict_json import BROKEN

_SAID = {
    int: "a whole number",
    bool: "true or false",
    str: "text",
    date: "a date such as 2027-01-01",
    NoneType: "null",
}


def shape_faults(value: object, expected: Any, path: str) -> Iterator[Fault]:
    """Unknown and missing keys, wrong types, values outside the bounds of their type.

    What is BROKEN has been reported and is passed over.
    """
    if value is BROKEN:
        return
    bare, metas = _bare(expected)
    if get_origin(bare) in (Union, UnionType):
        yield from _union(value, bare, path)
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        yield from _struct(value, bare, path)
    elif get_origin(bare) is tuple:
        yield from _sequence(value, bare, metas, path)
    elif get_origin(bare) is dict:
        yield from _mapping(value, get_args(bare)[1], path)
    else:
        yield from _leaf(value, expected, path)


def _bare(expected: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(expected) is Annotated:
        bare, *metas = get_args(expected)
        return bare, tuple(metas)
    return expected, ()


def _union(value: object, union: Any, path: str) -> Iterator[Fault]:
    members = get_args(union)
    if value is None and NoneType in members:
        return
    others = [member for member in members if member not in (NoneType, msgspec.UnsetType)]
    if len(others) == 1:
        yield from shape_faults(value, others[0], path)
        return
    by_tag = {member.__struct_config__.tag: member for member in others}
    field = others[0].__struct_config__.tag_field
    if not isinstance(value, dict):
        yield Fault(path, "WRONG_TYPE", "must be an object")
        return
    tag = value.get(field)
    if tag is BROKEN:
        return
    if not isinstance(tag, str) or tag not in by_tag:
        text = f"must be one of {', '.join(sorted(by_tag))}"
        yield Fault(f"{path}.{field}", "WRONG_VALUE", text)
        return
    yield from shape_faults(value, by_tag[tag], path)


def _struct(value: object, struct: type[msgspec.Struct], path: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, "WRONG_TYPE", "must be an object")
        return
    fields = _fields(struct)
    known = {*fields, struct.__struct_config__.tag_field}
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key)[:64], [str(name) for name in fields], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield Fault(_under(path, key), "UNKNOWN_KEY", f"is no key here{hint}")
    for key, expected in fields.items():
        if key in value:
            yield from shape_faults(value[key], expected, _under(path, key))
        elif msgspec.UnsetType not in get_args(expected):
            yield Fault(_under(path, key), "MISSING_KEY", "is missing")


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The type of each key. To ask msgspec evaluates the annotations anew each time."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _sequence(value: object, expected: Any, metas: tuple[Any, ...], path: str) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield Fault(path, "WRONG_TYPE", "must be a list")
        return
    least = max((meta.min_length or 0 for meta in metas), default=0)
    if len(value) < least:
        yield Fault(path, "TOO_FEW", f"must hold at least {least}")
    for index, item in enumerate(value):
        yield from shape_faults(item, get_args(expected)[0], f"{path}[{index}]")


def _mapping(value: object, expected: Any, path: str) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, "WRONG_TYPE", "must be an object")
        return
    for key, item in value.items():
        yield from shape_faults(item, expected, _under(path, key))


def _leaf(value: object, expected: Any, path: str) -> Iterator[Fault]:
    try:
        msgspec.convert(value, expected, strict=True)
    except msgspec.ValidationError:
        yield Fault(path, "WRONG_VALUE", f"must be {_wanted(expected)}")


def _wanted(expected: Any) -> str:
    bare, metas = _bare(expected)
    for meta in metas:
        if meta.description:
            return str(meta.description)
    if get_origin(bare) is Literal:
        choices = get_args(bare)
        return ("one of " if len(choices) > 1 else "") + ", ".join(str(one) for one in choices)
    return _SAID[bare]


def _under(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
