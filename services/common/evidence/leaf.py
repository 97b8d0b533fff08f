"""The bytes of a leaf, version 2: one form for one read, so that its hash can be made again.

ASCII JSON without spaces, keys sorted, "v" the version; docs/evidence.md has an example. Version 1
said no owner, and is read still: what is in a log is never rewritten.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Protocol

from services.common.evidence.access_read import AccessRead

VERSION = 2
MOST_BYTES = 4 << 10
_FIELDS = {field.name for field in dataclasses.fields(AccessRead)}
_FIELDS_OF = {1: _FIELDS - {"owner"}, VERSION: _FIELDS}
_MEMBER = re.compile(r"members/([0-9a-z-]{1,64})(?:/.*)?", re.ASCII)
_READER = re.compile(r"spiffe://[^/]+/((?:insurer|hospital|partner)/[^/]+)/.+", re.ASCII)
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

    @property
    def reader(self) -> str:
        """Key of the tenant whose person or machine read it; empty of the installation's own."""

    @property
    def owner(self) -> str:
        """Key of the tenant whose record it is; empty where the leaf names none."""

    @property
    def member(self) -> str:
        """Pseudonym of the member below whose name the record stands; empty of other records."""


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
    version = found.get("v") if isinstance(found, dict) else None
    if type(version) is not int or version not in _FIELDS_OF:
        raise LeafRefused("not a leaf of a version that is known")
    del found["v"]
    if found.keys() != _FIELDS_OF[version] or not all(
        _fits(name, value) for name, value in found.items()
    ):
        raise LeafRefused("a leaf has its fields and no others")
    if _written({"v": version, **found}) != leaf:
        raise LeafRefused("a leaf is written in its one form")
    return AccessRead(**found)


def beside(read: AccessRead) -> dict[str, str | int]:
    """What stands beside the leaf of a read for look-ups: column → value."""
    return {
        "record": read.record,
        "who": read.who,
        "at_us": read.at_us,
        "reader": reader_of(read.uri),
        "owner": read.owner,
        "member": member_in(read.record),
    }


def tells(read: AccessRead, row: Beside) -> bool:
    """Whether what stands beside a leaf is what the leaf says."""
    return all(getattr(row, name) == value for name, value in beside(read).items())


def reader_of(uri: str) -> str:
    """Key of the tenant that a certificate's name belongs to; empty for one of the installation.

    A member's device names no tenant: which member it was, the leaf does not say.

    >>> reader_of("spiffe://lipei.local/hospital/general/integration")
    'hospital/general'
    """
    found = _READER.fullmatch(uri)
    return found[1] if found else ""


def member_in(record: str) -> str:
    """The member's pseudonym in a record's name; empty where it says none.

    >>> member_in("members/6f1c0e2a/readings/r1")
    '6f1c0e2a'
    """
    found = _MEMBER.fullmatch(record)
    return found[1] if found else ""


def concerns(read: AccessRead, tenant: str) -> bool:
    """Whether a read is a tenant's to see: its own people or machines made it, or of its record."""
    return tenant in (reader_of(read.uri), read.owner)


def _fits(name: str, value: object) -> bool:
    return type(value) is (int if name in _NUMBERS else str)


def _written(values: dict[str, object]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")
