"""Reads values out of a strict YAML tree and names every fault with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from services.common.money import parse_decimal
from services.common.strict_yaml import Fault, YamlList, YamlMap

E = TypeVar("E", bound=Enum)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Section:
    """One mapping of the file. Reading a key marks it as known; `close` names the others."""

    def __init__(self, node: YamlMap, path: str, faults: list[Fault]) -> None:
        self._node = node
        self._path = path
        self._faults = faults
        self._known: set[str] = set()

    @property
    def node(self) -> YamlMap:
        """The mapping itself."""
        return self._node

    def ignore(self, key: str) -> None:
        """Say nothing of this key, whatever it holds."""
        self._known.add(key)

    def text(self, key: str, pattern: str = r".{1,300}", *, required: bool = True) -> str | None:
        """A text that matches the whole pattern."""
        value = self._take(key, required)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            self.fault(key, "TEXT", f"must be text of the form {pattern}")
            return None
        return value

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E | None:
        """One of an enumeration's values, in lower case."""
        value = self._take(key, required=False)
        if value is None:
            return default
        for member in kind:
            if isinstance(value, str) and str(member.value).lower() == value:
                return member
        known = ", ".join(str(member.value).lower() for member in kind)
        self.fault(key, "CHOICE", f"must be one of: {known}")
        return default

    def choices(self, key: str, kind: type[E]) -> tuple[E, ...]:
        """A list of an enumeration's values, in lower case."""
        known = {str(member.value).lower(): member for member in kind}
        found = self._list(key)
        if not all(isinstance(value, str) and value in known for value in found):
            self.fault(key, "CHOICE", f"must be a list of: {', '.join(known)}")
            return ()
        return tuple(known[value] for value in dict.fromkeys(found))

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self._take(key, required=False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault(key, "NUMBER", f"must be a whole number from {low} to {high}")
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A yes or no, written true or false."""
        value = self._take(key, required=False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(key, "FLAG", "must be true or false")
            return default
        return value

    def day(self, key: str) -> date | None:
        """A date written YYYY-MM-DD."""
        value = self._take(key, required=False)
        if value is None:
            return None
        try:
            if not isinstance(value, str) or not _DATE.fullmatch(value):
                raise ValueError
            return date.fromisoformat(value)
        except ValueError:
            self.fault(key, "DATE", "must be a date of the calendar, written YYYY-MM-DD")
            return None

    def decimals(self, key: str, places: int) -> tuple[Decimal, ...]:
        """A list of amounts, each in quotes."""
        found = []
        for value in self._list(key):
            try:
                found.append(parse_decimal(str(value), places=places, what="an amount"))
            except ValueError as error:
                self.fault(key, "AMOUNT", str(error))
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self._list(key)
        if not all(isinstance(value, str) and value for value in found):
            self.fault(key, "TEXTS", "must be a list of texts")
            return ()
        return tuple(found)

    def check(self, key: str, values: tuple[str, ...], pattern: str) -> None:
        """Name the fault of a list of which an entry does not match the whole pattern."""
        if not all(re.fullmatch(pattern, value) for value in values):
            self.fault(key, "TEXTS", f"must be a list of texts of the form {pattern}")

    def section(self, key: str, *, required: bool = False) -> Section:
        """A mapping below this one; an empty one when it is missing."""
        value = self._take(key, required)
        if value is not None and not isinstance(value, YamlMap):
            self.fault(key, "MAPPING", "must be a mapping of keys to values")
        return Section(
            value if isinstance(value, YamlMap) else self._nothing(key),
            self._below(key),
            self._faults,
        )

    def sections(self, key: str, *, required: bool = False) -> list[Section]:
        """A list of mappings below this one."""
        found = []
        for index, value in enumerate(self._list(key, required=required)):
            path = f"{self._below(key)}[{index}]"
            if isinstance(value, YamlMap):
                found.append(Section(value, path, self._faults))
            else:
                self.fault(key, "MAPPING", f"entry {index + 1} must be a mapping")
        return found

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A mapping with free keys."""
        value = self._take(key, required=False)
        if value is None:
            return {}
        if not isinstance(value, YamlMap):
            self.fault(key, "MAPPING", "must be a mapping of keys to values")
            return {}
        return value

    def has(self, key: str) -> bool:
        """Whether the key stands there at all."""
        return key in self._node

    def fault(self, key: str, reason: str, text: str) -> None:
        """Name a fault of a key."""
        line = self._node.lines.get(key, self._node.line)
        self._faults.append(Fault(self._below(key), line, reason, text))

    def close(self) -> None:
        """Name every key that nobody read."""
        for key in self._node:
            if key not in self._known:
                self.fault(key, "UNKNOWN_KEY", "not a key of a source profile")

    def _take(self, key: str, required: bool) -> Any:
        self._known.add(key)
        value = self._node.get(key)
        if value is None and (required or key in self._node):
            self.fault(key, "MISSING", "must be given")
        return value

    def _list(self, key: str, *, required: bool = False) -> list[Any]:
        value = self._take(key, required)
        if value is None:
            return []
        if not isinstance(value, YamlList):
            self.fault(key, "LIST", "must be a list")
            return []
        return value

    def _below(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _nothing(self, key: str) -> YamlMap:
        empty = YamlMap()
        empty.line = self._node.lines.get(key, self._node.line)
        empty.lines = {}
        return empty
