"""Looks for planted values in bytes, in whatever encoding they may have got there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_SHORTEST = 6  # bytes; a shorter needle is found by chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Find:
    """One planted value in one place; never the value itself."""

    kind: str
    place: str
    encoding: str


def needles(value: str | bytes) -> dict[str, bytes]:
    """A value in every encoding that it may be stored or printed in."""
    found: dict[str, bytes] = {}
    if isinstance(value, str):
        for name in ("utf-8", "utf-16-le", "utf-16-be", "gb18030"):
            found[name] = value.encode(name)
        escaped = json.dumps(value)[1:-1]
        found["json escapes"] = escaped.encode()
        found["json escapes, capitals"] = escaped.upper().replace("\\U", "\\u").encode()
        found["percent"] = quote(value, safe="").encode()
        found["percent, small"] = quote(value, safe="").lower().encode()
        found["bytes escapes"] = repr(value.encode())[2:-1].encode()
        found["octal escapes"] = "".join(
            chr(b) if 32 <= b < 127 else f"\\{b:03o}" for b in value.encode()
        ).encode()
    else:
        found["raw"] = value
    raw = value.encode() if isinstance(value, str) else value
    found["hex"] = raw.hex().encode()
    found["hex, capitals"] = raw.hex().upper().encode()
    for shift in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            found[f"{name} at {shift}"] = _inner(encode(bytes(shift) + raw + bytes(3)), shift, raw)
    unique: dict[bytes, str] = {}
    for name, needle in found.items():
        if len(needle) >= _SHORTEST:
            unique.setdefault(needle, name)
    return {name: needle for needle, name in unique.items()}


def _inner(encoded: bytes, shift: int, raw: bytes) -> bytes:
    """Those characters of a base64 text that depend on the value alone."""
    first = -(-shift * 8 // 6)
    last = (shift + len(raw)) * 8 // 6
    return encoded[first:last]


class Search:
    """Finds values, given by kind, in named places."""

    def __init__(self, values: Mapping[str, str | bytes]) -> None:
        self._needles = [
            (kind, encoding, needle)
            for kind, value in values.items()
            for encoding, needle in needles(value).items()
        ]

    def in_bytes(self, place: str, data: bytes) -> list[Find]:
        """Every value that the bytes hold, once for each encoding."""
        return [
            Find(kind=kind, place=place, encoding=encoding)
            for kind, encoding, needle in self._needles
            if needle in data
        ]

    def everywhere(self, places: Iterable[tuple[str, bytes]]) -> list[Find]:
        """The finds of all places."""
        return [find for place, data in places for find in self.in_bytes(place, data)]


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, as its path and its bytes; its name counts as content."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_file():
                yield name, name.encode() + b"\n" + path.read_bytes()
        except FileNotFoundError:  # whoever writes anew puts another file in its place
            continue


def of_process(pid: int) -> Iterator[tuple[str, bytes]]:
    """What others on the machine, or its owner, see of a running process without a debugger."""
    for part in ("cmdline", "environ"):
        yield f"process {part}", Path(f"/proc/{pid}/{part}").read_bytes()


def table(finds: Iterable[Find]) -> str:
    """Place, kind and encoding of each find, one a line: what a person reads first."""
    return "\n".join(sorted(f"{f.place:32} {f.kind:24} {f.encoding}" for f in finds))
