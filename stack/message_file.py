"""Files of messages: strict YAML whose keys are the fields of one message type. Sends nothing.

The form is read off the wire's own description, so that a new field needs no change here. What a
value may be is for the service to judge; its violations are led back to lines of the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load

M = TypeVar("M", bound=Message)
# A field's description; the pure and the C implementation of protobuf have types of their own.
Field = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFile(Generic[M]):
    """The messages of a file, and the line of every field by its path in the file."""

    messages: tuple[M, ...]
    lines: Mapping[str, int]

    def line_of(self, field: str) -> int:
        """Line of a field such as "policies[3].members[0].birth_date", or of what lacks it."""
        path = field
        while path and path not in self.lines:
            path = re.sub(r"(\.[^.\[\]]*|\[[^\[\]]*\]|^[^.\[\]]*)$", "", path)
        return self.lines.get(path, 1)


def read_messages(content: bytes, source: str, top: str, kind: type[M]) -> MessageFile[M]:
    """The messages that stand under the one key `top`, in the file's order.

    Raises: StrictYamlError naming every unknown key and every value of the wrong form, beside
    what is wrong with the YAML itself where the rest of it can be read all the same.
    """
    unread: list[Fault] = []
    try:
        tree = load(content, source)
    except StrictYamlError as error:
        if error.tree is None:
            raise
        unread, tree = error.faults, error.tree
    reader = _Reader()
    for key in tree:
        if key != top:
            reader.fault(key, tree.lines[key], "UNKNOWN_KEY", f"the only key here is {top}")
    found = tree.get(top)
    messages: list[M] = []
    if isinstance(found, YamlList) and found:
        messages = [kind() for _ in found]
        for i, message in enumerate(messages):
            reader.message(found[i], message, f"{top}[{i}]", found.lines[i])
    else:
        line = tree.lines.get(top, 1)
        reader.fault(top, line, f"NO_{top.upper()}", "give a list with at least one entry")
    if unread or reader.faults:
        # A value that readers of YAML disagree about is not told as of the wrong form as well.
        told = {(one.path, one.line) for one in unread}
        others = (one for one in reader.faults if (one.path, one.line) not in told)
        raise StrictYamlError([*unread, *others], source)
    return MessageFile(messages=tuple(messages), lines=reader.lines)


class _Reader:
    """Fills messages from a tree and collects what does not fit."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.lines: dict[str, int] = {}

    def fault(self, path: str, line: int, reason: str, text: str) -> None:
        """Remember one fault."""
        self.faults.append(Fault(path, line, reason, text))

    def message(self, tree: Any, into: Message, path: str, line: int) -> None:
        """Fill one message from a mapping."""
        self.lines[path] = line
        if not isinstance(tree, YamlMap):
            self.fault(path, line, "NOT_A_MAPPING", "give a mapping of keys to values")
            return
        for key, value in tree.items():
            where, at = f"{path}.{key}", tree.lines[key]
            self.lines[where] = at
            field = into.DESCRIPTOR.fields_by_name.get(key)
            if field is None:
                self.fault(where, at, "UNKNOWN_KEY", _unknown(key, into.DESCRIPTOR.fields_by_name))
            elif field.is_repeated:
                self._list(value, field, getattr(into, key), where, at)
            elif field.message_type is Timestamp.DESCRIPTOR:
                self._moment(value, getattr(into, key), where, at)
            elif field.message_type is not None:
                getattr(into, key).SetInParent()
                self.message(value, getattr(into, key), where, at)
            else:
                self._scalar(value, field, into, where, at)

    def _list(self, tree: Any, field: Field, into: Any, path: str, line: int) -> None:
        if not isinstance(tree, YamlList):
            self.fault(path, line, "NOT_A_LIST", "give a list")
            return
        for i, item in enumerate(tree):
            where, at = f"{path}[{i}]", tree.lines[i]
            if field.message_type is not None:
                self.message(item, into.add(), where, at)
                continue
            value = self._value(item, field, where, at)
            if value is not None:
                into.append(value)

    def _moment(self, value: Any, into: Timestamp, path: str, line: int) -> None:
        moment = moment_of(value)
        if moment is None:
            self.fault(path, line, "NO_MOMENT", _MOMENT)
        else:
            into.FromDatetime(moment)

    def _scalar(self, value: Any, field: Field, into: Message, path: str, line: int) -> None:
        found = self._value(value, field, path, line)
        if found is None:
            return
        try:
            setattr(into, field.name, found)
        except ValueError:
            self.fault(path, line, "OUT_OF_RANGE", "give a smaller number")

    def _value(self, value: Any, field: Field, path: str, line: int) -> Any:
        if field.enum_type is not None:
            number = _enum_number(value, field)
            if number is None:
                known = ", ".join(_enum_words(field))
                self.fault(path, line, "NOT_ONE_OF", f"give one of {known}")
            return number
        wanted, text = _FORMS[field.cpp_type]
        if type(value) is not wanted:
            self.fault(path, line, "WRONG_TYPE", text)
            return None
        return value


_MOMENT = "give a moment with its zone, for example 2026-01-01T00:00:00+08:00"
_FORMS: Mapping[int, tuple[type, str]] = {
    FieldDescriptor.CPPTYPE_STRING: (str, "give text; put numbers in quotes"),
    FieldDescriptor.CPPTYPE_BOOL: (bool, "give true or false"),
    FieldDescriptor.CPPTYPE_INT32: (int, "give a whole number without quotes"),
}


def _unknown(key: str, fields: Iterable[str]) -> str:
    names = list(fields)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    return f"the key is unknown; {hint}"


def _enum_words(field: Field) -> dict[str, int]:
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in values[1:]}


def _enum_number(value: Any, field: Field) -> int | None:
    return _enum_words(field).get(value) if isinstance(value, str) else None


def moment_of(text: Any) -> datetime | None:
    """A moment as people write it, with its zone; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return None if moment.tzinfo is None else moment
