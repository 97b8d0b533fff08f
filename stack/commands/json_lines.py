"""Messages as JSON, one a line: what they hold, or what is wrong with which field of which line.

The JSON is protobuf's own; the files that people write by hand are YAML (`stack.message_file`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from stack.commands.calling import CallFailed, Failed

M = TypeVar("M", bound=Message)

# A message of a batch in a violation of the service.
PLACE = re.compile(r"(?:readings|events)\[([0-9]+)\]\.?")
_TIMESTAMP = "google.protobuf.Timestamp"
_FORMS = {
    FieldDescriptor.CPPTYPE_STRING: "text in double quotes",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
}


class _Twice(ValueError):
    """An object of JSON says one field twice."""


def read_lines(
    content: bytes, source: str, kind: type[M], first: int = 1
) -> tuple[list[tuple[int, M]], list[str]]:
    """Every line that is a message, with its number; and what is wrong with the others.

    Each field at fault of each line is named with what it takes, never what it holds; what is no
    field at all is named by its place, because anything may stand there. Empty lines are passed.
    `first` is the number of the first line.
    """
    found: list[tuple[int, M]] = []
    faults = []
    for number, line in enumerate(content.splitlines(), first):
        if not line.strip():
            continue
        try:
            found.append((number, _message(line, kind)))
        except Failed as failed:
            faults += [f"{source}:{number}: {text}" for text in failed.lines]
    return found, faults


def by_line(failed: CallFailed, batch: Sequence[tuple[int, Message]]) -> list[str]:
    """What a service found wrong with a batch, by the numbers of its lines."""
    return [PLACE.sub(lambda at: f"line {batch[int(at[1])][0]} ", said) for said in failed.lines]


def _message(line: bytes, kind: type[M]) -> M:
    name = kind.DESCRIPTOR.full_name
    try:
        written = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        text = f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
        raise Failed(f"is no {name} in JSON, whole on its line: {text}") from None
    except UnicodeDecodeError:
        raise Failed(f"is no {name} in JSON: it is no UTF-8") from None
    except _Twice:
        raise Failed(f"is no {name} in JSON: it says a field twice") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; objects in objects
        raise Failed(f"is no {name} in JSON: it holds something too large") from None
    if not isinstance(written, dict):
        raise Failed(f"is no {name} in JSON: it must be an object, in {{}}")
    faults = list(_faults(written, cast("Descriptor", kind.DESCRIPTOR)))
    if faults:
        raise Failed(*faults)
    try:
        return ParseDict(written, kind())
    except ParseError:
        raise Failed(f"is no {name} in JSON: its fields do not go together") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _faults(written: Mapping[str, Any], kind: Descriptor, above: str = "") -> Iterator[str]:
    fields = {name: one for one in kind.fields for name in (one.name, one.json_name)}
    for place, (key, value) in enumerate(written.items(), 1):
        field = fields.get(key)
        if field is None:
            known = ", ".join(one.name for one in kind.fields)
            yield f"{above}field {place} has no name of {kind.full_name}; it has {known}"
        elif isinstance(value, dict) and field.message_type and not _is_time(field):
            yield from _faults(value, field.message_type, f"{above}{field.name}.")
        elif not _fits(kind, key, value):
            yield f"{above}{field.name} must be {_form(field)}"


def _fits(kind: Descriptor, key: str, value: Any) -> bool:
    try:
        ParseDict({key: value}, GetMessageClass(kind)())
    except ParseError:
        return False
    return True


def _is_time(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == _TIMESTAMP


def _form(field: FieldDescriptor) -> str:
    if _is_time(field):
        return "a time with its zone, of a day that exists, such as 2025-08-03T07:10:00+08:00"
    if field.enum_type:
        return "one of " + ", ".join(value.name for value in field.enum_type.values[1:])
    return _FORMS.get(field.cpp_type, "an object, in {}")
