"""Bytes as they come to lines, and packed bytes to plain ones, both within bounds. No socket."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 256 << 10
# What a few bytes may become without anybody asking for the ratio.
_FREE = 1 << 20


class LineTooLong(Exception):
    """A line above the limit: no record of this hospital may be so large."""


class PackedBadly(Exception):
    """Packed bytes that are damaged or cut short."""


class UnpacksTooLarge(PackedBadly):
    """Packed bytes that become more than is allowed."""


class Lines:
    """Cuts bytes at line feeds. `offset` counts the bytes of all lines that were handed out."""

    def __init__(self, most: int, offset: int = 0) -> None:
        self.offset = offset
        self._most = most
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in this piece. Raises: LineTooLong."""
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._take(piece[start:end])
            line = bytes(self._rest)
            self._rest.clear()
            start = end + 1
            self.offset += len(line) + 1
            yield line
        self._take(piece[start:])

    def last(self) -> bytes:
        """What stands behind the last line feed."""
        line = bytes(self._rest)
        self._rest.clear()
        self.offset += len(line)
        return line

    def _take(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._most:
            raise LineTooLong
        self._rest += part


class Gunzip:
    """Unpacks gzip, one member after the other, piece by piece."""

    def __init__(self, max_ratio: int, max_bytes: int) -> None:
        self._ratio = max_ratio
        self._most = max_bytes
        self._member = zlib.decompressobj(wbits=31)
        self._packed = self._plain = 0
        self._between = True

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Plain bytes in small pieces. Raises: PackedBadly, UnpacksTooLarge."""
        self._packed += len(packed)
        while packed:
            self._between = False
            try:
                piece = self._member.decompress(packed, _PIECE)
            except zlib.error:
                raise PackedBadly from None
            self._plain += len(piece)
            if self._plain > self._most or (
                self._plain > _FREE and self._plain > self._packed * self._ratio
            ):
                raise UnpacksTooLarge
            if piece:
                yield piece
            if self._member.eof:
                packed = self._member.unused_data
                self._member = zlib.decompressobj(wbits=31)
                self._between = True
            else:
                packed = self._member.unconsumed_tail

    def end(self) -> None:
        """Nothing comes any more. Raises: PackedBadly when something is missing."""
        if not self._between:
            raise PackedBadly
