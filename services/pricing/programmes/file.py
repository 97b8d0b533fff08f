"""How a programme file is read: each value or its fault with path and line. Knows no programme."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import TypeVar

from services.common.dated import Dated
from services.common.money import parse_decimal
from services.common.strict_yaml import Fault, YamlMap
from services.pricing.core.programme import Steps
from services.pricing.core.readings import Quantity, is_plausible, places_of, plausible_text
from services.pricing.core.tariff import MILLION, scaled

T = TypeVar("T")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_BOUND = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{1,2})?", re.ASCII)
_LONGEST_TEXT, _MOST_STEPS = 300, 12


class ProgrammeFile:
    """One file being read; what is wrong goes into `faults`."""

    def __init__(self, tree: YamlMap, faults: list[Fault]) -> None:
        self.tree = tree
        self.faults = faults

    def steps(self, entry: YamlMap, path: str) -> Steps | None:
        """What runs of months earn, with its source."""
        self.unknown(entry, path, ("steps", "source"))
        node = self.map(entry, path, "steps")
        source = self.text(entry, path, "source")
        wanted = [str(number) for number in range(1, len(node) + 1)]
        if list(node) != wanted or not 1 <= len(node) <= _MOST_STEPS:
            text = f"must run 1, 2, 3 ... without a gap, at most {_MOST_STEPS}"
            self.fault(entry, path, "steps", "STEPS", text)
            return None
        shares = [self.share(node, f"{path}.steps", key) for key in node]
        known = [share for share in shares if share is not None]
        if known != sorted(known):
            text = "a longer run may not earn less"
            self.fault(entry, path, "steps", "STEPS", text)
        return None if source is None else Steps(tuple(known), source)

    def share(self, node: YamlMap, path: str, key: str) -> int | None:
        """A share from 0 to below 1, in millionths."""
        try:
            share = parse_decimal(str(node[key]), places=6, what="a share")
            if not 0 <= share < 1:
                raise ValueError("a share lies in 0 to 1, below 1")
        except ValueError as error:
            self.fault(node, path, key, "SHARE", str(error))
            return None
        return int(share * MILLION)

    def whole(self, node: YamlMap, path: str, key: str, most: int) -> int | None:
        """A whole number from 1 to `most`."""
        value = node.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        self.fault(node, path, key, "WHOLE", f"must be a whole number from 1 to {most}")
        return None

    def width(self, node: YamlMap, path: str, key: str, quantity: Quantity) -> int | None:
        """A distance between two values of a quantity, in its steps."""
        value, places = node.get(key), places_of(quantity)
        found = None
        if isinstance(value, str) and _BOUND.fullmatch(value):
            with contextlib.suppress(ValueError):
                found = scaled(value, places)
        if found:
            return found
        text = f"must be above 0, a decimal in quotes with exactly {places} decimal places"
        self.fault(node, path, key, "BOUND", text)
        return None

    def bound(self, entry: YamlMap, path: str, key: str, quantity: Quantity) -> int | None:
        """A plausible value of a quantity, in its steps."""
        value = entry.get(key)
        places = places_of(quantity)
        found = None
        if isinstance(value, str) and _BOUND.fullmatch(value):
            with contextlib.suppress(ValueError):
                found = scaled(value, places)
        if found is None:
            text = f"must be a decimal in quotes with exactly {places} decimal places"
            self.fault(entry, path, key, "BOUND", text)
        elif not is_plausible(quantity, found):
            text = f"must lie in {plausible_text(quantity)}, as readings do"
            self.fault(entry, path, key, "OUT_OF_BOUNDS", text)
            return None
        return found

    def dated(
        self, node: YamlMap, path: str, key: str, read: Callable[[YamlMap, str], T | None]
    ) -> Dated[T] | None:
        """Dated versions of what `read` reads; null ends it."""
        entries = self.map(node, path, key)
        below = f"{path}.{key}" if path else key
        values: list[tuple[date, T | None]] = []
        for day_text in entries:
            day = self.day(entries, below, day_text)
            where = f"{below}.{day_text}"
            entry = entries[day_text]
            value: T | None = None
            if isinstance(entry, YamlMap):
                value = read(entry, where)
            elif entry is not None:
                text = "must be a mapping, or null to end it"
                self.fault(entries, below, day_text, "MAPPING", text)
            if day is not None:
                values.append((day, value))
        days = [day for day, _ in values]
        if days != sorted(set(days)):
            self.fault(node, path, key, "DATES", "the days must ascend")
            return None
        if not values:
            if key in node:
                self.fault(node, path, key, "DATES", "needs a first day with its value")
            return None
        return Dated(tuple(values))

    def day(self, node: YamlMap, path: str, key: str) -> date | None:
        """A day of the calendar."""
        try:
            if not _DATE.fullmatch(key):
                raise ValueError
            return date.fromisoformat(key)
        except ValueError:
            text = "must be a day of the calendar, written YYYY-MM-DD"
            self.fault(node, path, key, "DATE", text)
            return None

    def map(self, node: YamlMap, path: str, key: str) -> YamlMap:
        """A mapping; an empty one, with a fault, where there is none."""
        value = node.get(key)
        if isinstance(value, YamlMap):
            return value
        self.fault(node, path, key, "MISSING", "must be given, as a mapping of keys to values")
        empty = YamlMap()
        empty.line, empty.lines = node.lines.get(key, node.line), {}
        return empty

    def text(
        self, node: YamlMap, path: str, key: str, pattern: re.Pattern[str] | None = None
    ) -> str | None:
        """One line of text, of a form where a pattern is given."""
        value = node.get(key)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable():
            if pattern is None or pattern.fullmatch(value):
                return value
            text = f"must be of the form {pattern.pattern}"
        else:
            text = f"must be text of 1 to {_LONGEST_TEXT} characters on one line"
        self.fault(node, path, key, "TEXT", text)
        return None

    def unknown(self, node: YamlMap, path: str, known: Iterable[str]) -> None:
        """Note every key that is not known."""
        names = list(known)
        for key in node:
            if key not in names:
                text = f"is no key here; known are {', '.join(names)}"
                self.fault(node, path, key, "UNKNOWN_KEY", text)

    def fault(self, node: YamlMap, path: str, key: str, reason: str, text: str) -> None:
        """Note a fault of a key."""
        where = f"{path}.{key}" if path else key
        self.faults.append(Fault(where, node.lines.get(key, node.line), reason, text))
