"""A listener in this process, on a real port and a real database; and a sender that speaks MLLP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from services.common.database import Database
from services.his_bridge.dialects.hl7v2 import MessageReader, ResultReader
from services.his_bridge.dialects.hl7v2.admission import BILLS, READINGS
from services.his_bridge.dialects.hl7v2.framing import framed
from services.his_bridge.intake import Intake, Taken
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.storage.inbox import PENDING
from services.his_bridge.storage.tables import inbox, quarantine
from tests.services.common.sealing.keys import now_us, subject_keys
from tests.services.his_bridge.consenting import INSURER
from tests.services.his_bridge.messages_hl7 import profile, reading
from tests.services.his_bridge.records import tokens

LONGEST_S = 60.0  # only so that a broken listener fails instead of hanging


class SlowIntake(Intake):
    """Keeps nothing before it is told to, and tells how often it was asked."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.free = asyncio.Event()
        self.batches: list[int] = []

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        await self.free.wait()
        self.batches.append(len(records))
        return await super().take(records)


class Running:
    """A listener, and what lies in its inbox."""

    def __init__(
        self,
        listener: Listener,
        task: asyncio.Future[None],
        database: Database,
        intakes: dict[str, Intake],
    ) -> None:
        self.listener = listener
        self.task = task
        self.database = database
        self.intakes = intakes

    @property
    def port(self) -> int:
        return int(self.listener.address.rpartition(":")[2])

    def stored(self, channel: str = BILLS) -> int:
        """Messages in the inbox that were not set aside as conflicts."""
        with self.database.reading() as connection:
            query = select(inbox.c.state).where(inbox.c.channel == channel)
            states = list(connection.execute(query).scalars())
        return sum(state != "conflict" for state in states)

    def times(self) -> list[datetime]:
        """When each message was made, as they came."""
        with self.database.reading() as connection:
            query = select(inbox.c.updated_us).order_by(inbox.c.id)
            found = list(connection.execute(query).scalars())
        return [datetime.fromtimestamp(us / 1_000_000, UTC) for us in found]

    def pending(self) -> int:
        """Messages that nobody has read."""
        with self.database.reading() as connection:
            states = connection.execute(select(inbox.c.state)).scalars()
            return sum(state == PENDING for state in states)

    async def arrived(self, *messages: str) -> None:
        """Wait until these, and nothing else, lie between arrival and commit."""
        size = sum(len(one.encode("gb18030")) for one in messages)
        async with asyncio.timeout(LONGEST_S):
            while self.listener.in_flight != size:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)

    def set_aside(self) -> list[str]:
        """First reason of each record in quarantine."""
        with self.database.reading() as connection:
            found = connection.execute(select(quarantine.c.faults)).scalars()
            return [msgspec.json.decode(faults)[0]["reason"] for faults in found]


@asynccontextmanager
async def listening(
    database: Database,
    change: Callable[[str], str] = lambda text: text,
    settings: MllpSettings | None = None,
    kind: type[Intake] = Intake,
    state: Path | None = None,
    clock: Callable[[], int] = now_us,
) -> AsyncIterator[Running]:
    found: SourceProfile = profile(change)
    by = reading(found)
    keys = subject_keys(database)

    def intake(channel: str, reader: MessageReader | ResultReader) -> Intake:
        return kind(channel, found, lambda _: reader, database, keys, clock, INSURER)

    intakes = {
        BILLS: intake(BILLS, MessageReader(by, tokens)),
        READINGS: intake(READINGS, ResultReader(by, tokens)),
    }
    chosen = settings or found.source
    assert isinstance(chosen, MllpSettings)
    listener = Listener(chosen, lambda: by, intakes, clock, state)
    running = asyncio.ensure_future(listener.run())
    waiting = asyncio.ensure_future(listener.listens.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        waiting.cancel()
        running.result()
    try:
        yield Running(listener, running, database, intakes)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Client:
    """A sender."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *messages: bytes | str) -> None:
        """Send without waiting for answers."""
        raw = (one.encode("gb18030") if isinstance(one, str) else one for one in messages)
        await self.send_bytes(b"".join(map(framed, raw)))

    async def send_bytes(self, raw: bytes) -> None:
        self.writer.write(raw)
        async with asyncio.timeout(LONGEST_S):
            await self.writer.drain()

    async def answer(self) -> list[list[str]]:
        """The next answer's segments, split into fields."""
        async with asyncio.timeout(LONGEST_S):
            raw = await self.reader.readuntil(b"\x1c\r")
        assert raw.startswith(b"\x0b")
        return [line.split("|") for line in raw[1:-2].decode("gb18030").split("\r") if line]

    async def ask(self, message: bytes | str) -> list[list[str]]:
        await self.send(message)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Wait until the other end closes, having said nothing more."""
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


@asynccontextmanager
async def client(port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = Client(reader, writer)
    try:
        yield found
    finally:
        await found.close()
