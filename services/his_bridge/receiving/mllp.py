"""The port on which one hospital's interface engine sends HL7 v2: stored first, then acknowledged.

Every bound is the profile's: who may connect, how many, how large a message, how long a silence,
how many bytes between arrival and commit. When the database is slow it stops reading, and the
senders wait.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from services.common import log
from services.common.state import forget_address, record_address
from services.his_bridge.core.source_time import of_two
from services.his_bridge.dialects.hl7v2.acknowledgement import acknowledgement, is_wanted
from services.his_bridge.dialects.hl7v2.admission import (
    KIND,
    Hl7Reading,
    Piece,
    admit,
    unreadable_piece,
)
from services.his_bridge.dialects.hl7v2.framing import Broken, Frame
from services.his_bridge.dialects.hl7v2.message import Header, read_header
from services.his_bridge.dialects.hl7v2.refusals import Denial, Place, Refusal, Refused, is_kept
from services.his_bridge.intake import Intake, Taken
from services.his_bridge.leasing import NowUs
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.receiving.commits import Commits, Group
from services.his_bridge.receiving.handshakes import TlsServer
from services.his_bridge.receiving.lasting import lasting
from services.his_bridge.receiving.memory import give_back_large_blocks
from services.his_bridge.receiving.opening import CannotListen, opened
from services.his_bridge.receiving.reading import Reading
from services.his_bridge.receiving.seldom import Seldom
from services.his_bridge.receiving.sender import SMALL_BYTES, Answer, Close, Sender
from services.his_bridge.sources.port import RawRecord

# A message of more bytes is taken apart in a thread, so that the others are answered meanwhile.
LARGE_BYTES = 1 << 18
# A stop waits so long for answers that are owed; what was not answered was not promised.
STOP_GRACE_S = 5.0
# A port that could not be opened is tried again after so long.
REOPEN_S = 10.0
_SWEEP_S = 1.0
_MIB = 1 << 20
_NOWHERE = Place()
_BROKEN = {
    Broken.OVERSIZED: Refusal.MESSAGE_TOO_LARGE,
    Broken.CUT_SHORT: Refusal.MESSAGE_CUT_SHORT,
}


class Listener:
    """Listens for one hospital and reads what it stored.

    `counts` tells how often what was not taken; `in_flight` the bytes between arrival and commit;
    `closed` why the port cannot be opened, None while it can.
    """

    def __init__(
        self,
        settings: MllpSettings,
        reading_now: Callable[[], Hl7Reading],
        intakes: Mapping[str, Intake],
        now_us: NowUs,
        state: Path | None = None,
        reopen_s: float = REOPEN_S,
    ) -> None:
        self._settings = settings
        self._reopen_s = reopen_s
        reading = reading_now()
        self._reading_now = reading_now
        self._charset = reading.own.charset
        self._hospital = reading.terms.hospital
        self._now_us = now_us
        self._zone = ZoneInfo(reading.terms.zone)
        self._state = state
        self._allowed = [ipaddress.ip_network(text) for text in settings.allow_from]
        self._readings = {name: Reading(intake) for name, intake in intakes.items()}
        self._commits = Commits(intakes, lambda channel: self._readings[channel].tell())
        self._senders: set[Sender] = set()
        self._stalled: set[Sender] = set()
        self._large: dict[Sender, None] = {}
        self.in_flight = 0
        self._looking: set[asyncio.Task[None]] = set()
        self._prefix = secrets.token_hex(4)
        self._number = 0
        self._stopping = False
        self._nobody_left = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self._seldom = Seldom()
        self.address = ""
        self.listens = asyncio.Event()
        self.closed: CannotListen | None = None

    async def run(self) -> None:
        """Listen until cancelled; then answer what was taken, and close.

        A port that cannot be opened is tried again and again: the other hospitals go on.
        """
        give_back_large_blocks()
        server = await self._opened()
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        name = f"mllp:{self._hospital}"
        if self._state is not None:
            record_address(self._state, name, self.address)
        log.logger().info("mllp_listening", hospital=self._hospital, port=port)
        self.listens.set()
        try:
            async with asyncio.TaskGroup() as group:
                loops = (self._commits.run, self._sweep, *(r.run for r in self._readings.values()))
                for loop_of_ours in loops:
                    group.create_task(lasting(self._hospital, loop_of_ours))
        finally:
            if self._state is not None:
                forget_address(self._state, name, self.address)
            server.close()
            await self._stop()

    async def _opened(self) -> asyncio.Server | TlsServer:
        settings, now_s = self._settings, asyncio.get_running_loop().time
        while True:
            try:
                server = await opened(
                    settings,
                    lambda: Sender(self, settings.max_message_mib * _MIB, now_s),
                    self._may_enter,
                    self._refuse,
                )
            except CannotListen as closed:
                if self.closed is None or str(closed) != str(self.closed):
                    log.logger().error(
                        "not_listening",
                        hospital=self._hospital,
                        reason=closed.reason,
                        where=closed.place,
                    )
                self.closed = closed
                await asyncio.sleep(self._reopen_s)
            else:
                self.closed = None
                return server

    # What a sender asks.

    def begun(self, sender: Sender) -> bool:
        """Whether this sender may stay: from an allowed network, and not one too many."""
        if not self._may_enter(sender.peer):
            return False
        self._senders.add(sender)
        return True

    def _may_enter(self, address: str, shaking: int = 0) -> bool:
        """The same of an address; `shaking` connections are on their way in, and count too."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            peer = None
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        if mapped is None or not any(mapped in network for network in self._allowed):
            self._refuse(address, "SENDER_NOT_ALLOWED")
            return False
        if self._stopping or len(self._senders) + shaking >= self._settings.max_connections:
            self._refuse(address, "TOO_MANY_CONNECTIONS")
            return False
        return True

    def ended(self, sender: Sender) -> None:
        """The connection is gone."""
        self._senders.discard(sender)
        if self._stopping and not self._senders:
            self._nobody_left.set()
        self._stalled.discard(sender)
        self._release(sender)

    def closing(self, sender: Sender, reason: Close) -> None:
        """A connection is about to be closed for this reason."""
        if reason in (Close.NOT_FRAMED, Close.TLS_AT_PLAIN_PORT):
            self._refuse(sender.peer, reason)
        elif reason is not Close.STOPPING:
            self._count(reason)

    def may_hold_more(self, sender: Sender) -> bool:
        """Only so many large messages are held at once, whoever sends them."""
        if sender in self._large:
            return True
        most = max(1, self._settings.in_flight_mib // self._settings.max_message_mib)
        if len(self._large) >= most:
            self._stalled.add(sender)
            return False
        self._large[sender] = None
        return True

    def is_full(self, sender: Sender) -> bool:
        """Whether the bytes between arrival and commit are as many as may be."""
        if self.in_flight < self._settings.in_flight_mib * _MIB:
            return False
        self._stalled.add(sender)
        return True

    def take(self, sender: Sender, frame: Frame, answer: Answer) -> bool:
        """Look at a message and begin to store it; False while that takes a thread."""
        if len(frame.raw) <= LARGE_BYTES:
            self._decide(sender, frame.raw, answer, self._seen(frame))
            return True
        loop = asyncio.get_running_loop()

        async def look() -> None:
            self._decide(
                sender, frame.raw, answer, await loop.run_in_executor(None, self._seen, frame)
            )
            sender.taken()

        task = loop.create_task(look())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)
        return False

    def _seen(self, frame: Frame) -> _Seen:
        """What a message is, and what stands against it. Never raises: a fault of ours is one."""
        header: Header | None = None
        try:
            if frame.broken is not None:
                raise Refused(Denial(_BROKEN[frame.broken]))
            message, pieces = admit(frame.raw, self._reading_now())
            return _Seen(message.header, pieces, ())
        except Refused as refused:
            denials: tuple[Denial, ...] = refused.denials
        except Exception as fault:  # noqa: BLE001 one message must not end its connection, or others
            log.logger().error(
                "record_failed", hospital=self._hospital, channel="mllp", fault=type(fault).__name__
            )
            denials = (Denial(Refusal.NOT_STORED),)
        with suppress(Refused):
            header = read_header(frame.raw, self._charset)
        kept = frame.broken is None and is_kept(denials)
        return _Seen(header, (unreadable_piece(frame.raw),) if kept else (), denials)

    def _decide(self, sender: Sender, raw: bytes, answer: Answer, seen: _Seen) -> None:
        if seen.header is not None and seen.header.part(9) == "ACK":
            # An acknowledgement is never acknowledged: two machines would do so for ever.
            answer.give(None)
            sender.close(Close.ACKNOWLEDGEMENT_RECEIVED)
            return
        if not seen.pieces:
            self._answer(sender, answer, seen.header, seen.denials)
            return
        now_us = self._now_us()
        records = [
            RawRecord(
                kind=KIND,
                record_id=piece.record_id,
                version=piece.version,
                updated=of_two(piece.updated, piece.again, now_us),
                raw=raw,
            )
            for piece in seen.pieces
        ]
        self.in_flight += len(raw)

        def told(taken: tuple[Taken, ...] | None) -> None:
            self.in_flight -= len(raw)
            denials = seen.denials
            if taken is None:
                denials = (Denial(Refusal.NOT_STORED),)
            elif not denials and Taken.CONFLICT in taken:
                denials = (Denial(Refusal.CONTROL_ID_REUSED, Place("MSH", 10)),)
            self._answer(sender, answer, seen.header, denials)

        self._commits.put(Group(seen.pieces[0].channel, records, told))

    def _answer(
        self,
        sender: Sender,
        answer: Answer,
        header: Header | None,
        denials: Sequence[Denial],
    ) -> None:
        for denial in denials:
            self._count(denial.refusal, denial.place)
        content = None
        if is_wanted(header, denials):
            self._number += 1
            content = acknowledgement(
                header,
                denials,
                charset=self._charset,
                control_id=f"{self._prefix}{self._number:x}",
                now=datetime.fromtimestamp(self._now_us() / 1e6, UTC).astimezone(self._zone),
            )
        answer.give(content)
        self._release(sender)

    def _release(self, sender: Sender) -> None:
        """The sender holds no large message any more; and whoever waited may go on."""
        if sender.held <= SMALL_BYTES:
            self._large.pop(sender, None)
        if not self._stalled or self.in_flight >= self._settings.in_flight_mib * _MIB:
            return
        stalled, self._stalled = self._stalled, set()
        for each in stalled:
            each.go_on()

    def _count(self, reason: str, place: Place = _NOWHERE) -> None:
        """Something was not taken; a message's place is told where one is known."""
        self.counts[str(reason)] += 1
        name, said = self._hospital, str(reason)
        if place.segment:
            log.logger().warning("not_taken", hospital=name, reason=said, place=str(place))
        else:
            log.logger().warning("not_taken", hospital=name, reason=said)

    def _refuse(self, peer: str, reason: str) -> None:
        """A connection of which nothing can be taken. Engines try again and again: told seldom."""
        self.counts[str(reason)] += 1
        times = self._seldom.times(peer, str(reason), asyncio.get_running_loop().time())
        if times:
            log.logger().warning(
                "not_taken",
                hospital=self._hospital,
                reason=str(reason),
                peer=peer.partition("%")[0],
                count=times,
            )

    async def _sweep(self) -> None:
        """Close who is silent for too long, between two messages or within one."""
        now_s = asyncio.get_running_loop().time
        idle_s, message_s = self._settings.idle_s, self._settings.message_s
        while True:
            await asyncio.sleep(min(_SWEEP_S, idle_s / 2, message_s / 2))
            for sender in list(self._senders):
                reason = sender.is_silent(now_s(), idle_s, message_s)
                if reason is not None:
                    sender.close(reason)

    async def _stop(self) -> None:
        """Answer what was taken and close; who does not read its answers is cut off in the end."""
        self._stopping = True
        if not self._senders:
            self._nobody_left.set()
        for sender in list(self._senders):
            sender.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                await asyncio.gather(*self._looking, return_exceptions=True)
                await self._commits.drain()
                await self._nobody_left.wait()
        for sender in list(self._senders):
            sender.abort()


class _Seen(msgspec.Struct, frozen=True):
    """A message at first sight."""

    header: Header | None
    pieces: tuple[Piece, ...]
    denials: tuple[Denial, ...]
