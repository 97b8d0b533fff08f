"""One section of pricing.yaml, read strictly: every fault is noted with its line, none raised.

Numbers with a point stand in quotes there, because readers of YAML disagree about plain ones.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from services.common.money import parse_decimal
from services.common.strict_yaml import Fault, YamlList, YamlMap

T = TypeVar("T")

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PLACES = 9
_LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True)
class SectionKind:
    """What pricing.yaml may hold under one name.

    `settings` is the frozen dataclass that `read` returns; `template` is the section as
    `lipei pricing init` writes it, with comments, and reads as the defaults.
    """

    settings: type[object]
    read: Callable[[Section], object]
    template: str


class Section:
    """One mapping of the file; each reader returns the default when its key is absent or wrong."""

    def __init__(self, tree: YamlMap, path: str, faults: list[Fault]) -> None:
        self._tree = tree
        self.path = path
        self._faults = faults
        self._known: list[str] = []
        self._renamed: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._tree

    def names(self) -> tuple[str, ...]:
        """The keys that are written, in the file's order."""
        return tuple(self._tree)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """One line of text."""
        value = self._asked(key, required)
        if value is None:
            return default
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable():
            return value
        self.fault(key, "TEXT", f"must be text of 1 to {_LONGEST_TEXT} characters on one line")
        return default

    def is_text(self, key: str) -> bool:
        """Whether the key holds text, where it may hold a mapping too."""
        return isinstance(self._tree.get(key), str)

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """One of the listed words."""
        listed = tuple(choices)
        value = self._asked(key, required=False)
        if value is None or value in listed:
            return default if value is None else str(value)
        self.fault(key, "CHOICE", f"must be one of {', '.join(listed)}")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no, written true or false."""
        value = self._asked(key, required=False)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.fault(key, "FLAG", "must be true or false")
        return default

    def whole(self, key: str, default: int, *, least: int = 0, most: int = 10**15) -> int:
        """A whole number between two bounds, both allowed."""
        value = self._asked(key, required=False)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.fault(key, "WHOLE", f"must be a whole number from {least} to {most}")
        return default

    def decimal(
        self, key: str, default: str, *, least: str = "0", most: str = "1", required: bool = False
    ) -> float:
        """A decimal in quotes (or a whole number) between two bounds, both allowed."""
        value = self._asked(key, required)
        if value is None:
            return float(Decimal(default))
        found = self._number(key, value, Decimal(least), Decimal(most))
        return float(Decimal(default)) if found is None else found

    def day(self, key: str, default: str, *, required: bool = False) -> date:
        """A day of the calendar, written YYYY-MM-DD."""
        value = self._asked(key, required)
        found = None if value is None else self.day_of(key, value)
        return found or date.fromisoformat(default)

    def day_of(self, key: str, value: object) -> date | None:
        """A day that stands as a key or a value; a fault of `key` when it is none."""
        if isinstance(value, str) and _DAY.fullmatch(value):
            with contextlib.suppress(ValueError):
                return date.fromisoformat(value)
        self.fault(key, "DAY", "must be a day of the calendar, written YYYY-MM-DD")
        return None

    def texts(self, key: str, default: Iterable[str] = ()) -> tuple[str, ...]:
        """A list of different texts."""
        value = self._asked(key, required=False)
        if value is None:
            return tuple(default)
        good = isinstance(value, YamlList) and all(isinstance(v, str) and v for v in value)
        if good and len(set(value)) == len(value):
            return tuple(value)
        self.fault(key, "TEXTS", "must be a list of texts, none twice, such as [region, plan]")
        return tuple(default)

    def decimals(
        self, key: str, default: Iterable[str] = (), *, least: str = "0", most: str = "1"
    ) -> tuple[float, ...]:
        """A list of decimals in quotes between two bounds."""
        value = self._asked(key, required=False)
        if value is None:
            return tuple(float(Decimal(text)) for text in default)
        if not isinstance(value, YamlList):
            self.fault(key, "LIST", "must be a list of decimals in quotes")
            return tuple(float(Decimal(text)) for text in default)
        found = [self._number(key, one, Decimal(least), Decimal(most)) for one in value]
        return tuple(number for number in found if number is not None)

    def wholes(self, key: str, default: Iterable[int] = (), *, least: int = 0) -> tuple[int, ...]:
        """A list of whole numbers, each at least `least`."""
        value = self._asked(key, required=False)
        if value is None:
            return tuple(default)
        good = isinstance(value, YamlList) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= least for v in value
        )
        if good:
            return tuple(value)
        self.fault(key, "WHOLES", f"must be a list of whole numbers from {least}")
        return tuple(default)

    def section(self, key: str) -> Section:
        """The mapping below a key; an empty one when it is absent or none."""
        value = self._asked(key, required=False)
        if value is not None and not isinstance(value, YamlMap):
            self.fault(key, "MAPPING", "must be a mapping of keys to values")
        if not isinstance(value, YamlMap):
            value = YamlMap()
            value.line, value.lines = self.line(key), {}
        return Section(value, self._where(key), self._faults)

    def sections(self, *, besides: tuple[str, ...] = ()) -> Iterator[tuple[str, Section]]:
        """Every key with the mapping below it, for keys that the user names."""
        for key in self._tree:
            if key not in besides:
                yield key, self.section(key)

    def mapping(self, key: str) -> Mapping[str, str]:
        """A mapping of texts to texts."""
        below = self.section(key)
        return {name: below.text(name, required=True) for name in below.names()}

    def renamed(self, old: str, new: str) -> None:
        """Note a key under the name that it had once."""
        if old in self._tree:
            self._renamed[old] = new
            self.fault(old, "RENAMED", f"is called {new} here as in the tariff; write {new}")

    def line(self, key: str) -> int:
        """Where a key stands, else where its mapping begins."""
        return self._tree.lines.get(key, self._tree.line)

    def fault(self, key: str, reason: str, text: str) -> None:
        """Note one fault of a key."""
        self._faults.append(Fault(self._where(key), self.line(key), reason, text))

    def done(self) -> None:
        """Note every key that nobody asked for: a misspelt setting would be silently ignored."""
        for key in self._tree:
            if key not in self._known and key not in self._renamed:
                text = f"is no setting here; known are {', '.join(self._known)}"
                self.fault(key, "UNKNOWN_KEY", text)

    def _asked(self, key: str, required: bool) -> Any:
        self._known.append(key)
        value = self._tree.get(key)
        if value is None and required and key not in self._renamed.values():
            self.fault(key, "MISSING", "must be given; it has no default")
        return value

    def _number(self, key: str, value: object, least: Decimal, most: Decimal) -> float | None:
        try:
            number = parse_decimal(str(value), places=_PLACES, what="it")
            if isinstance(value, bool) or not least <= number <= most:
                raise ValueError(f"must lie in {least} to {most}")
        except ValueError as error:
            self.fault(key, "DECIMAL", f"{error}; write a decimal in quotes, such as '0.06'")
            return None
        return float(number)

    def _where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
