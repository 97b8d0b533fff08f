"""JSON objects that are laid out over lines, or stand in an array: where each begins and ends.

Weighs brackets and passes over texts; what an object says, its depth and its repeated keys are the
strict decoder's. Holds one object at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.his_bridge.cutting.refusals import FileReason, FileRefused

# A text ends with its line at the latest: no text of JSON holds a line end.
_TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
_BETWEEN = re.compile(_TEXT + r'|[{}\[\],]|[^\s"{}\[\],]+')
_INSIDE = re.compile(_TEXT + r"|[{}\[\]]")
_BRACKET = re.compile(r"[{}\[\]]")


class Objects:
    """Takes a file's lines of text in their order, and hands out its objects.

    Raises: FileRefused for what is neither objects nor an array of objects.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[str] = []
        self._size = 0
        self._depth = 0  # of brackets, within an object
        self._began = 0
        self._array = 0  # the line on which it began; 0 outside
        self._wants_comma = False

    def take(self, number: int, text: str) -> Iterator[tuple[int, str]]:
        """The objects that end on this line, each with the line on which it began."""
        at = 0
        while at < len(text):
            if not self._depth:
                at = self._next(number, text, at)
                if not self._depth:
                    return
            end = self._end(text, at)
            self._hold(text[at:] if end < 0 else text[at:end])
            if end < 0:
                self._parts.append("\n")
                return
            yield self._began, "".join(self._parts)
            self._parts, self._size = [], 0
            at = end

    def end(self) -> None:
        """Nothing comes any more. Raises: FileRefused when an object or the array has no end."""
        if self._depth:
            raise FileRefused(FileReason.OTHER_FORMAT, self._began, "this record has no end")
        if self._array:
            raise FileRefused(FileReason.OTHER_FORMAT, self._array, "this array has no end")

    def _next(self, number: int, text: str, at: int) -> int:
        """Where the next object begins, behind what may stand between two; else the line's end."""
        for found in _BETWEEN.finditer(text, at):
            sign = text[found.start()]
            if sign == "{" and not (self._array and self._wants_comma):
                self._depth, self._began, self._wants_comma = 1, number, True
                self._hold("{")
                return found.end()
            if sign == "[" and not self._array:
                self._array, self._wants_comma = number, False
            elif sign == "]" and self._array:
                self._array, self._wants_comma = 0, False
            elif sign == "," and self._array and self._wants_comma:
                self._wants_comma = False
            else:
                raise FileRefused(
                    FileReason.OTHER_FORMAT, number, "no record, nor an array of them"
                )
        return len(text)

    def _end(self, text: str, at: int) -> int:
        """Behind the bracket that ends the object; below 0 when it goes on."""
        if _BRACKET.search(text, at) is None:
            return -1
        for found in _INSIDE.finditer(text, at):
            sign = text[found.start()]
            if sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if not self._depth:
                    return found.end()
        return -1

    def _hold(self, text: str) -> None:
        self._size += len(text) + 1
        if self._size > self._most:
            raise FileRefused(FileReason.LINE_TOO_LONG, self._began)
        self._parts.append(text)


def is_one(text: str) -> bool:
    """Whether a line is one object from end to end, by its brackets.

    >>> is_one('{"a": "}"}'), is_one('{"a": '), is_one("{} {}"), is_one("[{}]")
    (True, False, False, False)
    """
    depth = 0
    for found in _INSIDE.finditer(text):
        sign = text[found.start()]
        if sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            if not depth:
                return text.startswith("{") and not text[found.end() :].strip()
    return False
