"""Policy files: strict YAML whose keys are the fields of `lipei.claims.v1.Policy`. Sends nothing.

The form is read off the wire's own description, so that a new field needs no change here. What a
value may be is for claims to judge; its violations are led back to lines of the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from lipei.claims.v1 import policy_pb2
from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load

_TOP = "policies"
# A field's description; the pure and the C implementation of protobuf have types of their own.
Field = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFile:
    """The policies of a file, and the line of every field by its path in the file."""

    policies: tuple[policy_pb2.Policy, ...]
    lines: Mapping[str, int]

    def line_of(self, field: str) -> int:
        """Line of a field such as "policies[3].members[0].birth_date", or of what lacks it."""
        path = field
        while path and path not in self.lines:
            path = re.sub(r"(\.[^.\[\]]*|\[[^\[\]]*\]|^[^.\[\]]*)$", "", path)
        return self.lines.get(path, 1)


def read_policy_file(content: bytes, source: str) -> PolicyFile:
    """The policies of a file, in its order.

    Raises: StrictYamlError naming every unknown key and every value of the wrong form.
    """
    tree = load(content, source)
    reader = _Reader()
    for key in tree:
        if key != _TOP:
            reader.fault(key, tree.lines[key], "UNKNOWN_KEY", f"the only key here is {_TOP}")
    found = tree.get(_TOP)
    policies = []
    if isinstance(found, YamlList) and found:
        policies = [policy_pb2.Policy() for _ in found]
        for i, policy in enumerate(policies):
            reader.message(found[i], policy, f"{_TOP}[{i}]", found.lines[i])
    else:
        line = tree.lines.get(_TOP, 1)
        reader.fault(_TOP, line, "NO_POLICIES", "give a list with at least one policy")
    if reader.faults:
        raise StrictYamlError(reader.faults, source)
    return PolicyFile(policies=tuple(policies), lines=reader.lines)


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
                self._list(value, getattr(into, key), where, at)
            elif field.message_type is not None:
                getattr(into, key).SetInParent()
                self.message(value, getattr(into, key), where, at)
            else:
                self._scalar(value, field, into, where, at)

    def _list(self, tree: Any, into: Any, path: str, line: int) -> None:
        if not isinstance(tree, YamlList):
            self.fault(path, line, "NOT_A_LIST", "give a list")
            return
        for i, item in enumerate(tree):
            self.message(item, into.add(), f"{path}[{i}]", tree.lines[i])

    def _scalar(self, value: Any, field: Field, into: Message, path: str, line: int) -> None:
        if field.enum_type is not None:
            number = _enum_number(value, field)
            if number is None:
                known = ", ".join(_enum_words(field))
                self.fault(path, line, "NOT_ONE_OF", f"give one of {known}")
                return
            value = number
        else:
            wanted, text = _FORMS[field.cpp_type]
            if type(value) is not wanted:
                self.fault(path, line, "WRONG_TYPE", text)
                return
        try:
            setattr(into, field.name, value)
        except ValueError:
            self.fault(path, line, "OUT_OF_RANGE", "give a smaller number")


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
