"""MLLP frames out of a stream of bytes: VT, a message, FS, CR. Reads no message, opens no socket.

Only bytes that no charset of HL7 v2 uses within a character are looked at, so that a frame is cut
before anybody knows in which charset its message is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

VT, FS, CR, LF = 0x0B, 0x1C, 0x0D, 0x0A
_BETWEEN = frozenset({CR, LF, 0x20})
# Of a message that is not kept, its header is, so that the refusal can name it.
HEAD_BYTES = 4_096
# Who sends so much more than is allowed without ever ending the message is no HL7 sender.
_PATIENCE = 10


class Broken(StrEnum):
    """What is wrong with a frame."""

    OVERSIZED = "OVERSIZED"
    CUT_SHORT = "CUT_SHORT"  # another message began, or the connection ended, before FS


class Frame(msgspec.Struct, frozen=True):
    """One message without its frame. Of a broken one `raw` is only the beginning."""

    raw: bytes
    broken: Broken | None = None


class NotFramed(Exception):
    """Bytes that stand in no frame, or a message without end: nobody can say where one begins."""


class Deframer:
    """Cuts one connection's bytes into frames, keeping at most one message of `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._inside = False
        self._discarded = 0  # of a message that is too large

    @property
    def held(self) -> int:
        """Bytes in memory of a message that has not ended."""
        return len(self._held)

    @property
    def is_inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._inside

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end in these bytes, one after the other.

        Raises: NotFramed, after the frames before it; the connection is of no use any more.
        """
        at = 0
        while at < len(data):
            if not self._inside:
                at = _skip(data, at)
                if at == len(data):
                    return
                self._inside, self._discarded = True, 0
                at += 1
            end = data.find(FS, at)
            stop = len(data) if end < 0 else end
            again = data.find(VT, at, stop)
            if again >= 0:
                self._hold(data[at:again])
                yield self._ended(Broken.CUT_SHORT)
                self._inside, at = True, again + 1
                continue
            self._hold(data[at:stop])
            if end < 0:
                return
            self._inside, at = False, end + 1
            yield self._ended(None)

    def end(self) -> Frame | None:
        """What the end of the connection cuts short; None between two messages."""
        if not self._inside:
            return None
        self._inside = False
        return self._ended(Broken.CUT_SHORT)

    def _hold(self, data: bytes) -> None:
        if self._discarded or len(self._held) + len(data) > self._most:
            if not self._discarded:
                self._held += data[: max(0, HEAD_BYTES - len(self._held))]
                del self._held[HEAD_BYTES:]
            self._discarded += len(data)
            if self._discarded > _PATIENCE * self._most:
                raise NotFramed
        else:
            self._held += data

    def _ended(self, broken: Broken | None) -> Frame:
        raw = bytes(self._held)
        self._held.clear()
        too_large, self._discarded = self._discarded > 0, 0
        return Frame(raw, Broken.OVERSIZED if too_large else broken)


def framed(message: bytes) -> bytes:
    """The message in its frame."""
    return b"\x0b" + message + b"\x1c\r"


def _skip(data: bytes, at: int) -> int:
    """Where the next message begins, or the end. Line ends and blanks may stand between two."""
    while at < len(data) and data[at] in _BETWEEN:
        at += 1
    if at < len(data) and data[at] != VT:
        raise NotFramed
    return at
