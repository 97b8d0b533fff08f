"""JSON that refuses to guess: every fault of a file at once, each with its path. Knows no schema.

Python's own reader accepts NaN, 1e400 and duplicate keys, and keeps the last of two values.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from services.pricing.core.checks import Fault

MAX_BYTES = 4 << 20
MAX_DEPTH = 40
# Beyond this many digits a number is no amount of ours, and reading it would cost.
_DIGITS = 18


class NotJson(ValueError):
    """Not one JSON object in UTF-8: nothing inside can be judged. `fault` says where and why."""

    def __init__(self, reason: str, text: str) -> None:
        self.fault = Fault("", reason, text)
        super().__init__(text)


class _Pairs(list[tuple[str, Any]]):
    """An object as written, duplicate keys included."""


class _Refused:
    """A number that stands where none of its kind may stand."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text


class _Broken:
    """Stands where a value was that has its fault already; fits no type."""


BROKEN = _Broken()


def load(content: bytes) -> tuple[dict[str, Any], list[Fault]]:
    """The object and its faults: floats, NaN, endless numbers, duplicate keys, broken text.

    BROKEN stands where a value is at fault, so that the rest can still be checked in its place.

    Raises: NotJson when the file is not one JSON object in UTF-8 of at most 4 MiB.
    """
    if len(content) > MAX_BYTES:
        raise NotJson("TOO_LARGE", "the file is above 4 MiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotJson("NOT_UTF8", f"line {line}: not UTF-8; save it as UTF-8") from None
    if text.startswith("\ufeff"):
        raise NotJson("NOT_JSON", "line 1: begins with a byte order mark; save it without one")
    try:
        tree = json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_float=_float,
            parse_constant=_constant,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJson("NOT_JSON", f"{where}: {error.msg}") from None
    except RecursionError:
        _too_deep()
    if not isinstance(tree, _Pairs):
        raise NotJson("NOT_AN_OBJECT", "the file must hold one object")
    faults: list[Fault] = []
    return _object(tree, "", faults, 0), faults


def _too_deep() -> NoReturn:
    raise NotJson("TOO_DEEP", f"nested deeper than {MAX_DEPTH}")


def _float(_text: str) -> _Refused:
    text = "is a number with a point or exponent; write a whole number, or a decimal as text"
    return _Refused("FLOAT", text)


def _constant(name: str) -> _Refused:
    return _Refused("NOT_A_NUMBER", f"is {name}; write a whole number")


def _int(text: str) -> int | _Refused:
    if len(text) > _DIGITS:
        return _Refused("TOO_MANY_DIGITS", f"has more than {_DIGITS} digits")
    return int(text)


def _object(pairs: _Pairs, path: str, faults: list[Fault], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        _too_deep()
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not _encodes(key):
            faults.append(Fault(path, "BROKEN_TEXT", "a key holds half a character"))
            continue
        where = f"{path}.{key}" if path else key
        if key in found:
            text = "stands twice in one object; keep one"
            faults.append(Fault(where, "DUPLICATE_KEY", text))
            continue
        found[key] = _kept(value, where, faults, depth)
    return found


def _kept(value: Any, path: str, faults: list[Fault], depth: int) -> Any:
    if isinstance(value, _Refused):
        faults.append(Fault(path, value.reason, value.text))
        return BROKEN
    if isinstance(value, _Pairs):
        return _object(value, path, faults, depth + 1)
    if isinstance(value, list):
        if depth > MAX_DEPTH:
            _too_deep()
        return [
            _kept(item, f"{path}[{index}]", faults, depth + 1) for index, item in enumerate(value)
        ]
    if isinstance(value, str) and not _encodes(value):
        faults.append(Fault(path, "BROKEN_TEXT", "holds half a character (a lone surrogate)"))
        return BROKEN
    return value


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
