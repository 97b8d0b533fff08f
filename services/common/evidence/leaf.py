"""The bytes of a leaf, version 1: one form for one read, so that its hash can be made again.

ASCII JSON without spaces, keys sorted, "v" the version; docs/evidence.md has an example. A later
version gets another number and its own reader; what is in a log is never rewritten.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Protocol

from services.common.evidence.access_read import AccessRead

VERSION = 1
MOST_BYTES = 4 << 10
_FIELDS = {field.name for field in dataclasses.fields(AccessRead)}
_NUMBERS = {"level", "at_us"}


class LeafRefused(ValueError):
    """No leaf of a version that is known, or not in its one form."""


class Beside(Protocol):
    """What stands beside a leaf's bytes for look-ups."""

    @property
    def record(self) -> str:
        """The record that was read."""

    @property
    def who(self) -> str:
        """Who read it."""

    @property
    def at_us(self) -> int:
        """When, in microseconds since 1970."""


def leaf_bytes(read: AccessRead) -> bytes:
    """The canonical bytes of one read.

    Raises: LeafRefused for one that is beyond all measure; ids are short.
    """
    written = _written({"v": VERSION, **dataclasses.asdict(read)})
    if len(written) > MOST_BYTES:
        raise LeafRefused(f"a leaf has at most {MOST_BYTES} bytes")
    return written


def read_of(leaf: bytes) -> AccessRead:
    """The read that a leaf states.

    Raises: LeafRefused for any other bytes, also for the same facts written otherwise.
    """
    try:
        found: Any = json.loads(leaf)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise LeafRefused("not a leaf of version 1")
    del found["v"]
    if found.keys() != _FIELDS or not all(_fits(name, value) for name, value in found.items()):
        raise LeafRefused("a leaf has its fields and no others")
    if _written({"v": VERSION, **found}) != leaf:
        raise LeafRefused("a leaf is written in its one form")
    return AccessRead(**found)


def tells(read: AccessRead, beside: Beside) -> bool:
    """Whether what stands beside a leaf is what the leaf says."""
    return (read.record, read.who, read.at_us) == (beside.record, beside.who, beside.at_us)


def _fits(name: str, value: object) -> bool:
    return type(value) is (int if name in _NUMBERS else str)


def _written(values: dict[str, object]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")
