"""A database's values as canonical JSON: exact, and honest about what is not. Knows no column.

What has no exact form becomes an object that says so, and the dialect names it as a fault of its
record: binary floating point, not a number, bytes in a charset that the database does not know.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

DIFFERS = {"differs": True}


def exact(value: Any) -> Any:
    """A value as JSON holds it without loss.

    >>> exact(Decimal("12.50")), exact(0.1), exact("玕".encode("gb18030"))
    (Decimal('12.50'), {'float': True}, {'bytes': 'ab5c'})
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return value if value.is_finite() else {"not_a_number": True}
    if isinstance(value, float):
        return {"float": True}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    return {"unreadable": type(value).__name__}


def canonical(record: Mapping[str, Any]) -> bytes:
    """The same bytes for the same record: keys sorted, no blanks, decimals as they are."""
    return _written(record).encode("utf-8", "backslashreplace")


def one_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row out of several that should say the same; where they do not, a mark stands."""
    first = dict(rows[0])
    for row in rows[1:]:
        for name, value in row.items():
            if value != first[name]:
                first[name] = DIFFERS
    return first


def _written(node: Any) -> str:
    if isinstance(node, Decimal):
        return format(node, "f")
    if isinstance(node, Mapping):
        parts = (f"{_text(name)}:{_written(node[name])}" for name in sorted(node))
        return "{" + ",".join(parts) + "}"
    if isinstance(node, list | tuple):
        return "[" + ",".join(map(_written, node)) + "]"
    return _text(node)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
