"""Reads a strict YAML tree key by key and gathers every fault instead of stopping at the first.

A reader that meets a fault answers with a harmless stand-in, so that reading goes on; whoever
asks for the result gets all faults at once. Knows neither plans nor cases.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeVar

from services.common.dated import FIRST_YEAR, LAST_YEAR, Dated
from services.common.money import MAX_MINOR_UNITS, TooLarge, minor_units, parse_decimal
from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=enum.StrEnum)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# What {2026-01-01: 80,000} leaves behind its comma: a key of its own.
_THOUSANDS = re.compile(r"[0-9]{3}", re.ASCII)
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}", re.ASCII)
ID = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
# Control characters and line separators: no database and no form prints them. What overrides or
# embeds a direction of writing shows another text than is read; the marks U+200E and U+200F, which
# texts in Uyghur or Arabic need, show no other letters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MISSING = object()
# Counts, units and ages above this are slips; below it every sum fits 64 bits.
MAX_WHOLE = 10**9
MAX_LABEL = 80
# So many ids can be named in one sentence.
_SHORT_LIST = 12
# Stands in for a date that could not be read; never leaves this module alive.
STAND_IN = date(1900, 1, 1)


class Faults:
    """The faults of one file."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._found: list[Fault] = []
        self._beside: list[Fault] = []

    def add(self, path: str, line: int, reason: str, text: str) -> None:
        """Note one fault: where, a stable reason, what is wrong and what to do."""
        self._found.append(Fault(path=path, line=line, reason=reason, text=text))

    def add_beside(self, path: str, line: int, reason: str, text: str) -> None:
        """Note what whoever uses the file would find: it is told beside faults, not by itself."""
        self._beside.append(Fault(path=path, line=line, reason=reason, text=text))

    @property
    def count(self) -> int:
        """How many faults were noted so far, without those that are told beside them."""
        return len(self._found)

    def found_in(self, *keys: str) -> bool:
        """Whether a fault was noted in one of these parts of the file."""
        return any(fault.path.startswith(keys) for fault in self._found)

    def tree(self, yaml: bytes | str) -> YamlMap:
        """The file's tree; faults of its form are noted, and what can be read is read on.

        Raises: StrictYamlError when nothing can be read on.
        """
        try:
            return load(yaml, self.source)
        except StrictYamlError as error:
            if error.tree is None:
                raise
            self._found += error.faults
            return error.tree

    def check(self) -> None:
        """Raise if there is any.

        Raises: StrictYamlError with every fault noted so far.
        """
        if self._found:
            found = dict.fromkeys((*self._found, *self._beside))
            raise StrictYamlError(list(found), self.source)


class Value:
    """One value of the tree, its path and its line."""

    def __init__(self, faults: Faults, value: Any, path: str, line: int) -> None:
        self.faults = faults
        self.value = value
        self.path = path
        self.line = line

    def fault(self, reason: str, text: str) -> None:
        """Note a fault of this value."""
        self.faults.add(self.path, self.line, reason, text)

    def text(self) -> str:
        """A text that is not empty and has no control characters."""
        if isinstance(self.value, str) and _UNPRINTABLE.search(self.value):
            self.fault("CONTROL_CHARACTER", "text must have no control characters or line breaks")
            return "?"
        if isinstance(self.value, str) and self.value.strip():
            return self.value
        self.fault("NOT_TEXT", "write text" if self.value is None else "write text, in quotes")
        return "?"

    def ident(self) -> str:
        """An id: lower-case letters, digits, hyphens and underscores, beginning with a letter."""
        if isinstance(self.value, str) and ID.fullmatch(self.value):
            return self.value
        self.fault("NOT_AN_ID", "an id is a-z, 0-9, - and _, and begins with a letter")
        return "?"

    def text_or_nothing(self) -> str:
        """A text, or nothing at all: an empty text or null."""
        return "" if self.value in ("", None) else self.text()

    def block(self, what: str) -> list[str]:
        """The lines of a block of text; none when it is none. `what` says what to write."""
        if isinstance(self.value, str):
            return self.value.splitlines()
        self.fault("NOT_TEXT", what)
        return []

    def clock(self) -> time:
        """A time of the day."""
        if isinstance(self.value, str) and _CLOCK.fullmatch(self.value):
            try:
                return time.fromisoformat(self.value)
            except ValueError:
                self.fault("IMPOSSIBLE_TIME", f"{self.value} is no time of the day")
                return time.min
        self.fault("NOT_A_TIME", 'write a time in quotes, such as "09:30"')
        return time.min

    def moment(self) -> datetime:
        """A day and a time of the hospital's clock, "2026-01-31 09:30"."""
        words = self.value.split(" ") if isinstance(self.value, str) else []
        if len(words) != 2:
            self.fault("NOT_A_TIME", "write a day and a time as 2026-01-31 09:30")
            return datetime.combine(STAND_IN, time.min)
        day, clock = (Value(self.faults, word, self.path, self.line) for word in words)
        return datetime.combine(day.fact_day(), clock.clock())

    def boolean(self) -> bool:
        """True or false."""
        if isinstance(self.value, bool):
            return self.value
        self.fault("NOT_A_BOOLEAN", "write true or false")
        return False

    def whole(self, *, least: int = 0, most: int = MAX_WHOLE) -> int:
        """A whole number."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            if least <= self.value <= most:
                return self.value
            self.fault("OUT_OF_RANGE", f"must be from {least} to {most}")
            return least
        self.fault("NOT_A_WHOLE_NUMBER", "write a whole number")
        return least

    def whole_of(self, known: tuple[int, ...], text: str) -> int:
        """One of some whole numbers; `text` says which."""
        number = self.whole(most=max(known))
        if number not in known:
            self.fault("UNKNOWN_WORD", text)
        return number

    def decimal(self, *, places: int, most: int = MAX_MINOR_UNITS) -> Decimal:
        """A decimal that is not negative, written as text or as a whole number."""
        raw = self.value
        if isinstance(raw, int) and not isinstance(raw, bool):
            raw = str(raw)
        if not isinstance(raw, str):
            self.fault("NOT_AN_AMOUNT", 'write a number in quotes, such as "12.50"')
            return Decimal(0)
        try:
            number = parse_decimal(raw, places=places, what="the number")
        except ValueError as error:
            self.fault("NOT_AN_AMOUNT", str(error))
            return Decimal(0)
        if number < 0:
            self.fault("NEGATIVE", f"{number} is negative; write 0 or more")
        if abs(number) > most:
            self.fault("OUT_OF_RANGE", f"must not be above {most}")
            return Decimal(0)
        return abs(number)

    def money(self, currency: str) -> int:
        """An amount in major units, as minor units."""
        number = self.decimal(places=6)
        try:
            return minor_units(number, currency)
        except TooLarge:
            self.fault("OUT_OF_RANGE", f"must not be above {MAX_MINOR_UNITS} minor units")
            return 0
        except (ValueError, KeyError):
            text = f"{number} is not a whole number of minor units of {currency}; fewer decimals"
            self.fault("NOT_AN_AMOUNT", text)
            return 0

    def share(self, what: str = "a share is the insurer's part") -> Decimal:
        """A share in [0, 1], the insurer's unless `what` says another."""
        number = self.decimal(places=6)
        if number <= 1:
            return number
        text = f"{number} is above 1; {what}: write 0.80 for 80 %"
        self.fault("SHARE_OUT_OF_RANGE", text)
        return Decimal(1)

    def share_or(self, words: Iterable[str]) -> Decimal | str:
        """A share, or one of some words."""
        known = tuple(words)
        if isinstance(self.value, str) and self.value in known:
            return self.value
        if isinstance(self.value, str) and not self.value[:1].isdigit():
            text = f'write {" or ".join(known)}, or a share such as "0.60"'
            self.fault("UNKNOWN_WORD", text)
            return known[0]
        return self.share()

    def day(self) -> date:
        """A calendar date."""
        if isinstance(self.value, str) and _DATE.fullmatch(self.value):
            try:
                return date.fromisoformat(self.value)
            except ValueError:
                self.fault("IMPOSSIBLE_DATE", f"{self.value} is no day of the calendar")
                return STAND_IN
        text = "write a date as 2026-01-31"
        if isinstance(self.value, str) and _THOUSANDS.fullmatch(self.value):
            text += "; if it is part of an amount: 80,000 is written 80000"
        self.fault("NOT_A_DATE", text)
        return STAND_IN

    def fact_day(self) -> date:
        """A calendar date of the years that policies and bills may name."""
        found = self.day()
        if FIRST_YEAR <= found.year <= LAST_YEAR:
            return found
        first, last = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
        self.fault("IMPOSSIBLE_DATE", f"write a day from {first} to {last}")
        return min(max(found, first), last)

    def choice(self, choices: type[EnumT]) -> EnumT:
        """One of a list of words."""
        known = [one.value for one in choices]
        if isinstance(self.value, str) and self.value in known:
            return choices(self.value)
        wrong = f"{self.value!r} is none of the words here; " if self._short() else ""
        self.fault("UNKNOWN_WORD", f"{wrong}write one of {', '.join(known)}")
        return next(iter(choices))

    def word(self, known: Iterable[str], reason: str, text: str) -> str | None:
        """One of some words that are no list of the language's; None when it is none of them."""
        if isinstance(self.value, str) and self.value in set(known):
            return self.value
        self.fault(reason, text)
        return None

    def reference(self, known: Iterable[str], what: str) -> str:
        """The id of something that the file defines."""
        if isinstance(self.value, str) and self.value in set(known):
            return self.value
        ids = sorted(set(known))
        if not isinstance(self.value, str):
            self.fault(
                "UNKNOWN_REFERENCE", f"write the id of a {what} here, and define it by itself"
            )
            return "?"
        near = ids if len(ids) <= _SHORT_LIST else difflib.get_close_matches(self.value, ids)
        named = f"name one of {', '.join(near)}, or define it" if near else "define it"
        self.fault("UNKNOWN_REFERENCE", f"the file defines no {what} {self.value!r}; {named}")
        return "?"

    def _short(self) -> bool:
        """Whether the value is a text that may be said again."""
        return isinstance(self.value, str) and 0 < len(self.value) <= MAX_LABEL

    def mapping(self) -> Mapping:
        """A mapping; an empty one stands in for anything else."""
        if isinstance(self.value, YamlMap):
            return Mapping(self.faults, self.value, self.path)
        self.fault("NOT_A_MAPPING", "write keys and values here")
        empty = YamlMap()
        empty.line, empty.lines = self.line, {}
        return Mapping(self.faults, empty, self.path, silent=True)

    def is_mapping(self) -> bool:
        """Whether keys and values stand here, where a list may stand as well."""
        return isinstance(self.value, YamlMap)

    def items(self) -> list[Value]:
        """The items of a list."""
        if isinstance(self.value, YamlList):
            return [
                Value(self.faults, item, f"{self.path}[{index}]", self.value.lines[index])
                for index, item in enumerate(self.value)
            ]
        self.fault("NOT_A_LIST", "write a list here")
        return []

    def dated(self, parse: Callable[[Value], T], first_day: date) -> Dated[T]:
        """Values by the day from which they hold; null ends one.

        Days ascend, and the first is not after `first_day`: what begins later says null before.
        """
        if not isinstance(self.value, YamlMap) or not self.value:
            self.fault("NOT_DATED", 'write values by date, such as 2026-01-01: "10.00"')
            return Dated(values=((first_day, None),))
        values: list[tuple[date, T | None]] = []
        ordered = True
        for key, item in self.value.items():
            line = self.value.lines[key]
            at = Value(self.faults, key, f"{self.path}.{key}", line)
            day = at.day()
            if values and day <= values[-1][0]:
                ordered = False
                if STAND_IN not in (day, values[-1][0]):
                    text = f"{day} stands below {values[-1][0]}; move it, the newest stands last"
                    at.fault("DATES_OUT_OF_ORDER", text)
            one = Value(self.faults, item, f"{self.path}.{key}", line)
            values.append((day, None if item is None else parse(one)))
        if STAND_IN != first_day < values[0][0]:
            self.fault(
                "NO_FIRST_VALUE",
                f"nothing is said for {first_day}, the plan's first day; write null if none holds",
            )
        return Dated(values=tuple(values if ordered else values[:1]))


class Mapping:
    """One mapping; `done` notes every key that nobody asked for."""

    def __init__(
        self, faults: Faults, tree: YamlMap, path: str = "", *, silent: bool = False
    ) -> None:
        self.faults = faults
        self.line = tree.line
        self.path = path
        self._tree = tree
        self._asked: set[str] = set()
        self._silent = silent

    def names(self, of: Iterable[str] = ()) -> tuple[str, ...]:
        """The keys in the file's order; they should be `of` these, if any are given."""
        return tuple(self._tree)

    def has(self, key: str) -> bool:
        """Whether the key stands there, whatever its value."""
        return key in self._tree

    def name(self, key: str) -> str:
        """A key that is itself an id."""
        where = f"{self.path}.{key}" if self.path else key
        return Value(self.faults, key, where, self._tree.lines[key]).ident()

    def label(self, key: str) -> str:
        """A key that is a short text, such as a clause's number."""
        if len(key) > MAX_LABEL:
            self.fault("TOO_LONG", f"write at most {MAX_LABEL} characters", key)
        if _UNPRINTABLE.search(key):
            self.fault("CONTROL_CHARACTER", "a key must have no control characters", key)
        return key

    def number(self, key: str) -> int:
        """A key that is a whole number."""
        if key.isascii() and key.isdigit():
            return int(key)
        self.fault("NOT_A_WHOLE_NUMBER", "write a whole number as the key", key)
        return 0

    def get(self, key: str, write: str = "") -> Value:
        """The value of a required key; who left it out is told what to `write`."""
        found = self.maybe(key)
        if found is None:
            where = f"{self.path}.{key}" if self.path else key
            if not self._silent:
                text = f'the key "{key}" is missing'
                text = f"{text}; {write}" if write else text
                self.faults.add(where, self.line, "MISSING_KEY", text)
            return Value(_Deaf(), None, where, self.line)
        return found

    def maybe(self, key: str) -> Value | None:
        """The value of an optional key; None when it does not stand there."""
        self._asked.add(key)
        value = self._tree.get(key, _MISSING)
        if value is _MISSING:
            return None
        where = f"{self.path}.{key}" if self.path else key
        return Value(self.faults, value, where, self._tree.lines[key])

    def items(self, key: str) -> list[Value]:
        """The items of an optional list; none when it does not stand there."""
        found = self.maybe(key)
        return [] if found is None else found.items()

    def fault(self, reason: str, text: str, key: str = "") -> None:
        """Note a fault of the mapping, or of one of its keys."""
        line = self._tree.lines.get(key, self.line)
        where = ".".join(part for part in (self.path, key) if part)
        self.faults.add(where, line, reason, text)

    def done(self) -> None:
        """Note every key that is not known here."""
        for key in self._tree:
            if key not in self._asked:
                known = sorted(self._asked)
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                self.fault("UNKNOWN_KEY", f'the key "{key}" is not known here; {hint}', key)


class _Deaf(Faults):
    """Hears no faults: a missing key is one fault, not two."""

    def __init__(self) -> None:
        super().__init__("")

    def add(self, path: str, line: int, reason: str, text: str) -> None:
        """Hear nothing."""
