"""YAML that refuses to guess: every fault of a file at once, with its line. Knows no schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

# With room in a message of gRPC for what goes with it (grpc_edge.MAX_MESSAGE_BYTES).
MAX_BYTES = 3 << 20
MAX_DEPTH = 40
MAX_FAULTS = 500
# Nobody reads more at once, and one slip in a long table is told at each of its rows.
MAX_TOLD = 200
# Keys, values, lists and maps; a file of tiny ones takes the parser far longer than its bytes say.
MAX_EVENTS = 40_000

# What plain (unquoted) text means here. Everything that some reader of YAML 1.1 or 1.2 takes for
# something else than text is refused below, so that no two readers disagree about a file.
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(
    r"""[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:e[-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-9]{1,2})*\.[0-9_]*|[-+]?\.inf|\.nan""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_OTHER_INT = re.compile(
    r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-f_]+|[0-9_]+|[0-9][0-9_]*(?::[0-9]{1,2})+)",
    re.ASCII | re.IGNORECASE,
)
_OTHER_CONSTANT = re.compile(r"yes|no|on|off|true|false|null|=|<<", re.ASCII | re.IGNORECASE)
_FOREIGN_DIGITS = re.compile(r"[-+]?[\d.,_]*[^\D0-9][\d.,_]*")
# Ends of lines to YAML 1.1 and text to 1.2; a mark inside the file is neither, or both.
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file: where, a stable reason, and what to do."""

    path: str
    line: int
    reason: str
    text: str

    @property
    def where(self) -> str:
        """The path as it stands before the text; nothing for the file as a whole."""
        return f"{self.path}: " if self.path else ""


class StrictYamlError(ValueError):
    """A file with at least one fault; `faults` names them all in the file's order.

    Its text tells the first MAX_TOLD, a line each, and how many more there are.

    `tree` is what could be read all the same, so that a schema's faults can be told at once; None
    when reading broke off.
    """

    def __init__(self, faults: list[Fault], source: str, tree: YamlMap | None = None) -> None:
        self.tree = tree
        self.faults = sorted(faults, key=lambda f: (f.line, f.path))
        self.source = source
        told = [f"{source}:{f.line}: {f.where}{f.text}" for f in self.faults[:MAX_TOLD]]
        if len(self.faults) > MAX_TOLD:
            told.append(f"{source}: and {len(self.faults) - MAX_TOLD} more")
        super().__init__("\n".join(told))


_NO_COLON = "could not find expected ':'"
# What an editor set to Chinese writes in place of YAML's own signs.
_LOOK_ALIKES = {
    "\uff1a": "a full-width colon stands there: write : and a blank",
    "\u3000": "a full-width blank stands there: write a plain one",
    "\u00a0": "a blank that does not break stands there: write a plain one",
}


class YamlMap(dict[str, Any]):
    """A mapping that remembers the line of each key."""

    line: int
    lines: dict[str, int]


class YamlList(list[Any]):
    """A sequence that remembers the line of each item."""

    line: int
    lines: list[int]


def load(text: str | bytes, source: str) -> YamlMap:
    """Read one document whose top is a mapping.

    Scalars come out as text, whole numbers of at most 18 digits, true/false or None; dates stay
    text. `line` and `lines` count from 1.

    Raises: StrictYamlError for duplicate keys, floats, anchors, aliases, tags, directives, keys
    that are not text, plain scalars that readers of YAML disagree about (010, 1_000, yes, 12:30),
    more than one document, bytes that are not UTF-8, or a file above 3 MiB or of more
    than MAX_EVENTS keys and values.
    """
    clear = _decoded(text, source)
    reading = _Reading(clear)
    if (mark_at := clear.find("\ufeff", 1)) > 0:
        line = clear.count("\n", 0, mark_at) + 1
        reading.fault("", line, "NOT_YAML", "a byte order mark inside the file; delete it")
    if other := _OTHER_BREAKS.search(clear):
        line = clear.count("\n", 0, other.start()) + 1
        reading.fault("", line, "NOT_YAML", "a line that ends as readers disagree about; use \\n")
    tree: YamlMap | None = None
    try:
        tree = reading.document()
    except _StopReading:
        pass
    except MarkedYAMLError as error:
        line, advice = _where_it_breaks(error, clear)
        reading.fault("", line, "NOT_YAML", advice)
    except ReaderError as error:
        line = clear.encode().count(b"\n", 0, error.position) + 1
        reading.fault("", line, "NOT_YAML", "a character that YAML does not allow")
    except Exception as error:  # noqa: BLE001 - the parser trips over some files; they are at fault
        line = reading.line
        reading.fault("", line, "NOT_YAML", f"cannot be read as YAML ({type(error).__name__})")
    if reading.faults or tree is None:
        raise StrictYamlError(reading.faults, source, tree)
    return tree


def _decoded(text: str | bytes, source: str) -> str:
    try:
        raw = text.encode("utf-8") if isinstance(text, str) else text
        clear = raw.decode("utf-8")
    except UnicodeError as error:
        place = error.start if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else 0
        before = text[:place]
        line = (before.count("\n") if isinstance(before, str) else before.count(b"\n")) + 1
        fault = Fault("", line, "NOT_UTF8", "the file is not UTF-8; save it as UTF-8")
        raise StrictYamlError([fault], source) from None
    if len(raw) > MAX_BYTES:
        raise StrictYamlError([Fault("", 1, "TOO_LARGE", "the file is above 3 MiB")], source)
    return clear


def _where_it_breaks(error: MarkedYAMLError, text: str) -> tuple[int, str]:
    """The line and what to do there. A key without its colon is noticed only behind its line."""
    mark = error.problem_mark or error.context_mark
    if error.problem == _NO_COLON and error.context_mark:
        mark = error.context_mark
    if mark is None:
        return 1, _one_line(error.problem)
    lines = text.splitlines()
    stands = lines[mark.line] if mark.line < len(lines) else ""
    look_alikes = "".join(f"; {said}" for one, said in _LOOK_ALIKES.items() if one in stands)
    return mark.line + 1, _one_line(error.problem) + look_alikes


def _one_line(problem: str | None) -> str:
    return " ".join(f"cannot be read as YAML: {problem or 'nobody knows why'}".split())


class _StopReading(Exception):
    """Reading on would cost more than it tells; the faults are noted."""


class _Reading:
    """One pass over the parser's events. Nothing of YAML's own typing is used."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self.line = 1
        self._seen = 0
        self._text = text
        # libyaml's parser: the ones in Python take twenty times as long.
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.CBaseLoader)

    def fault(self, path: str, line: int, reason: str, text: str) -> None:
        self.faults.append(Fault(path, line, reason, text))
        if len(self.faults) == MAX_FAULTS:
            text = f"more than {MAX_FAULTS} faults; the rest of the file was not read"
            self.faults.append(Fault("", line, "TOO_MANY_FAULTS", text))
            raise _StopReading

    def document(self) -> YamlMap | None:
        self._next()  # the stream's start
        start = self._next()
        if not isinstance(start, DocumentStartEvent):
            self.fault("", 1, "NOT_A_MAPPING", _NOT_A_MAPPING)
            return None
        marked = start.end_mark.line if start.end_mark else 0
        head = self._text.splitlines()[:marked]
        for number, written in enumerate(head, 1):
            if written.startswith("%"):
                self.fault("", number, "DIRECTIVE", "lines that begin with % are not allowed")
        top, line = self._next(), self.line
        tree = self._value(top, "", 0)
        if not isinstance(top, MappingStartEvent):
            self.fault("", line, "NOT_A_MAPPING", _NOT_A_MAPPING)
        self._next()  # the document's end
        if not isinstance(self._next(), StreamEndEvent):
            text = "the file must hold one document; keep each in its own file"
            self.fault("", self.line, "SEVERAL_DOCUMENTS", text)
        return tree if isinstance(tree, YamlMap) else None

    def _next(self) -> Event:
        event = next(self._events)
        self.line = _line(event)
        self._seen += 1
        if self._seen > MAX_EVENTS:
            text = f"more than {MAX_EVENTS} keys and values; put rows of tables into csv"
            self.fault("", self.line, "TOO_MANY_VALUES", text)
            raise _StopReading
        return event

    def _value(self, event: Event, path: str, depth: int) -> Any:
        line = _line(event)
        if depth > MAX_DEPTH:
            self.fault(path, line, "TOO_DEEP", f"nested more than {MAX_DEPTH} levels")
            raise _StopReading  # the parser's time grows with the square of the depth
        self._refuse_indirection(event, path, line)
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, line, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path, line, depth)
        return self._scalar(event, path, line) if isinstance(event, ScalarEvent) else None

    def _refuse_indirection(self, event: Event, path: str, line: int) -> None:
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            self.fault(path, line, "ANCHOR", "anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            self.fault(path, line, "TAG", "tags (!) are not allowed; quote text that begins so")

    def _sequence(self, path: str, line: int, depth: int) -> YamlList:
        items = YamlList()
        items.line, items.lines = line, []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.lines.append(self.line)
            items.append(self._value(event, f"{path}[{len(items)}]", depth + 1))
        return items

    def _mapping(self, path: str, line: int, depth: int) -> YamlMap:
        result = YamlMap()
        result.line, result.lines = line, {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key_line = self.line
            key = self._key(event, path, depth)
            where = path if key is None else f"{path}.{key}" if path else key
            if key is not None and key in result.lines:
                text = f"the key stands twice; first in line {result.lines[key]}"
                self.fault(where, key_line, "DUPLICATE_KEY", text)
                key = None
            elif key is not None:
                result.lines[key] = key_line
            value = self._value(self._next(), where, depth + 1)
            if key is not None:
                result[key] = value
        return result

    def _key(self, event: Event, path: str, depth: int) -> str | None:
        line = _line(event)
        if not isinstance(event, ScalarEvent):
            self.fault(path, line, "KEY_NOT_TEXT", "a key must be plain text")
            self._value(event, path, depth + 1)
            return None
        self._refuse_indirection(event, path, line)
        key = str(event.value)
        if key == "<<":
            self.fault(path, line, "ANCHOR", "merging mappings is not allowed")
            return None
        if not key or "\n" in key:
            self.fault(path, line, "KEY_NOT_TEXT", "a key must be one line of text")
            return None
        return key

    def _scalar(self, event: ScalarEvent, path: str, line: int) -> Any:
        text = str(event.value)
        if not event.implicit[0]:
            return text  # quoted, a block, or tagged and refused already
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        if _OTHER_INT.fullmatch(text) or _OTHER_CONSTANT.fullmatch(text):
            # Without the value: it may be the number of a person's document or account.
            self.fault(path, line, "SCALAR", f"readers disagree about it: {_PLAIN_FORMS}")
        elif _FLOAT.fullmatch(text):
            self.fault(path, line, "FLOAT", "put it in quotes: numbers with a point are text here")
        elif not text.isascii() and _FOREIGN_DIGITS.fullmatch(text):
            self.fault(path, line, "SCALAR", "write numbers with the digits 0 to 9")
        return text


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


_NOT_A_MAPPING = "the file must hold one mapping of keys to values"
_PLAIN_FORMS = "write a whole number, true, false or null, or put it in quotes"
