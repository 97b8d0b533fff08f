"""One connection of a sender: frames in, answers out in their order, within its bounds.

Whatever cannot be taken is answered where the protocol allows, and else the connection is closed,
with a line in the log and a count. Nothing is ever swallowed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, cast

from services.his_bridge.dialects.hl7v2.framing import Deframer, Frame, NotFramed, framed

BUFFER_BYTES = 1 << 16
# Of a message of more bytes, only so many connections hold one at a time.
SMALL_BYTES = 1 << 16
# Answers that a sender may leave unread, or messages it may send ahead of them.
MOST_AHEAD = 64
# A record of TLS's handshake, of whichever version, as a client begins.
_CLIENT_HELLO = b"\x16\x03"


class Close(StrEnum):
    """Why a connection is closed; as a reason in the log and a name of a count."""

    NOT_FRAMED = "NOT_FRAMED"
    TLS_AT_PLAIN_PORT = "TLS_AT_PLAIN_PORT"
    HALF_MESSAGE = "HALF_MESSAGE"
    IDLE = "IDLE"
    ACKNOWLEDGEMENT_RECEIVED = "ACKNOWLEDGEMENT_RECEIVED"
    STOPPING = "STOPPING"


class Answer:
    """The answer to one message, once it is known; None when the sender wants none."""

    __slots__ = ("_sender", "content", "is_known")

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.content: bytes | None = None
        self.is_known = False

    def give(self, content: bytes | None) -> None:
        """The answer is known; it leaves when all before it have."""
        self.content = content
        self.is_known = True
        self._sender.send_known()


class Host(Protocol):
    """What a connection needs of the listener."""

    def begun(self, sender: Sender) -> bool:
        """Whether this sender may stay."""
        ...

    def ended(self, sender: Sender) -> None:
        """The connection is gone."""
        ...

    def take(self, sender: Sender, frame: Frame, answer: Answer) -> bool:
        """Take a message; False when `taken` is to be waited for before the sender's next one."""
        ...

    def closing(self, sender: Sender, reason: Close) -> None:
        """A connection is about to be closed for this reason."""
        ...

    def may_hold_more(self, sender: Sender) -> bool:
        """Whether it may go on with a large message now; else `go_on` is called later."""
        ...

    def is_full(self, sender: Sender) -> bool:
        """Whether too much is in flight; then `go_on` is called later."""
        ...


class Sender(asyncio.BufferedProtocol):
    """A connection. Reads no more while it owes answers, or the database is behind."""

    def __init__(self, host: Host, most_bytes: int, now_s: Callable[[], float]) -> None:
        self._host = host
        self._now_s = now_s
        self._deframer = Deframer(most_bytes)
        self._buffer = bytearray(BUFFER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._frames: deque[Frame] = deque()
        self._owed: deque[Answer] = deque()
        self._is_busy = False  # with one message, before the next may be looked at
        self._is_paused = False
        self._cannot_write = False
        self._ending = False
        self._has_heard = False
        self.heard_s = now_s()
        self.began_s: float | None = None

    @property
    def held(self) -> int:
        """Bytes of a message that has not ended."""
        return self._deframer.held

    def is_silent(self, now_s: float, idle_s: float, message_s: float) -> Close | None:
        """Why the sender has been silent for too long, if it has; waiting for us is no silence."""
        if self._is_paused or self._ending:
            return None
        if self.began_s is not None and now_s - self.began_s > message_s:
            return Close.HALF_MESSAGE
        return Close.IDLE if self.is_quiet and now_s - self.heard_s > idle_s else None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is owed to it."""
        return not self._owed and not self._frames

    @property
    def peer(self) -> str:
        """The address of the other end."""
        transport = self._transport
        name = None if transport is None else transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._host.begun(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what was half said is lost, and counted."""
        if self._deframer.is_inside and not self._ending:
            self._host.closing(self, Close.HALF_MESSAGE)
        self._transport = None
        self._frames.clear()
        self._owed.clear()
        self._host.ended(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self._ending:
            return
        self.heard_s = self._now_s()
        data = bytes(memoryview(self._buffer)[:nbytes])
        is_first, self._has_heard = not self._has_heard, True
        try:
            for frame in self._deframer.feed(data):
                self._frames.append(frame)
        except NotFramed:
            self._go_on_with_frames()
            greets = is_first and data.startswith(_CLIENT_HELLO)
            self.close(Close.TLS_AT_PLAIN_PORT if greets else Close.NOT_FRAMED)
            return
        if not self._deframer.is_inside:
            self.began_s = None
        elif self.began_s is None or self._frames:
            self.began_s = self.heard_s
        self._go_on_with_frames()
        self._pause_or_resume()

    def eof_received(self) -> bool:
        """The other end says no more; what it is owed it still gets."""
        half = self._deframer.end()
        if half is not None:
            self._frames.append(half)
            self._host.closing(self, Close.HALF_MESSAGE)
            self._go_on_with_frames()
        self._ending = True
        self._close_when_quiet()
        # TLS knows no half-closed connection.
        return self._transport is not None and not self._transport.get_extra_info("sslcontext")

    def pause_writing(self) -> None:
        """The other end does not read its answers."""
        self._cannot_write = True
        self._pause_or_resume()

    def resume_writing(self) -> None:
        """It does again."""
        self._cannot_write = False
        self._pause_or_resume()

    def taken(self) -> None:
        """The message that took long is taken."""
        self._is_busy = False
        self.go_on()

    def go_on(self) -> None:
        """What stood in the way may be gone."""
        self._go_on_with_frames()
        self._pause_or_resume()
        self._close_when_quiet()

    def send_known(self) -> None:
        """Send the answers that are known and that wait for no earlier one."""
        ready: list[bytes] = []
        while self._owed and self._owed[0].is_known:
            content = self._owed.popleft().content
            if content is not None:
                ready.append(framed(content))
        if ready and self._transport is not None:
            self._transport.write(b"".join(ready))
        if self._is_paused and not self._is_busy:
            self._go_on_with_frames()
            self._pause_or_resume()
        self._close_when_quiet()

    def close(self, reason: Close) -> None:
        """Take nothing more, give what is owed, and close."""
        if self._ending:
            return
        self._ending = True
        self._host.closing(self, reason)
        if self._transport is not None:
            self._transport.pause_reading()
        self._is_paused = True
        self._close_when_quiet()

    def stop(self) -> None:
        """Close as the process ends: what was not taken yet is neither stored nor answered."""
        self._frames.clear()
        self.close(Close.STOPPING)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on_with_frames(self) -> None:
        while self._frames and not self._is_busy and len(self._owed) < MOST_AHEAD:
            if self._host.is_full(self):
                return
            answer = Answer(self)
            self._owed.append(answer)
            self._is_busy = not self._host.take(self, self._frames.popleft(), answer)

    def _pause_or_resume(self) -> None:
        if self._transport is None or self._ending:
            return
        wait = (
            bool(self._frames)
            or self._is_busy
            or self._cannot_write
            or len(self._owed) >= MOST_AHEAD
            or (self.held > SMALL_BYTES and not self._host.may_hold_more(self))
        )
        if wait is not self._is_paused:
            self._is_paused = wait
            if wait:
                self._transport.pause_reading()
            else:
                # The time that it waited for us is not its own.
                self.heard_s = self._now_s()
                self.began_s = self.heard_s if self._deframer.is_inside else None
                self._transport.resume_reading()

    def _close_when_quiet(self) -> None:
        if self._ending and self.is_quiet and self._transport is not None:
            self._transport.close()
