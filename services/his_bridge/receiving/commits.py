"""Group commit: whatever arrived while the last transaction ran goes into the next one.

An acknowledgement is given only once the transaction that stores its message is committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from services.common import log
from services.his_bridge.intake import BATCH, Intake, Taken
from services.his_bridge.sources.port import RawRecord

# A transaction holds the bytes that it writes several times over.
MOST_BYTES = 1 << 20
# Who was answered sends its next message within moments. As many as then are waited for so long,
# in steps: a transaction costs as much as what it stores of twenty messages.
_GATHER_S, _STEPS = 0.004, 4
# What became of a message's records, in their order; None when they were not stored.
Told = Callable[[tuple[Taken, ...] | None], None]


class Group:
    """One message's records on their way into the inbox."""

    __slots__ = ("channel", "records", "size", "told")

    def __init__(self, channel: str, records: Sequence[RawRecord], told: Told) -> None:
        self.channel = channel
        self.records = records
        self.size = sum(len(record.raw) for record in records)
        self.told = told


class Commits:
    """Stores groups for one hospital, many in one transaction, in the order in which they came."""

    def __init__(self, intakes: Mapping[str, Intake], arrived: Callable[[str], None]) -> None:
        """`arrived` is called with the channel after something new was stored."""
        self._intakes = intakes
        self._arrived = arrived
        self._waiting: deque[Group] = deque()
        self._something = asyncio.Event()
        self._current: asyncio.Future[None] | None = None
        self._answered = 0

    def put(self, group: Group) -> None:
        """Store the group with the next transaction; `told` hears what became of it."""
        self._waiting.append(group)
        self._something.set()

    async def run(self) -> None:
        """Store until cancelled. A transaction that has begun is finished and answered."""
        while True:
            await self._something.wait()
            await self._gather()
            self._current = asyncio.ensure_future(self._store_next())
            await asyncio.shield(self._current)
            if not self._waiting:
                self._something.clear()

    async def drain(self) -> None:
        """Wait for the transaction that has begun, and store what still waits."""
        if self._current is not None:
            await self._current
        while self._waiting:
            await self._store_next()

    async def _gather(self) -> None:
        for _ in range(_STEPS):
            if len(self._waiting) >= min(self._answered, BATCH):
                return
            await asyncio.sleep(_GATHER_S / _STEPS)

    async def _store_next(self) -> None:
        groups = self._next()
        self._answered = len(groups)
        if not groups:
            return
        intake = self._intakes[groups[0].channel]
        records = [record for group in groups for record in group.records]
        try:
            taken = await intake.take(records)
        except Exception as fault:  # noqa: BLE001 whatever it is: not stored, not acknowledged
            log.logger().error("not_stored", hospital=intake.hospital, fault=type(fault).__name__)
            for group in groups:
                group.told(None)
            return
        at = 0
        for group in groups:
            group.told(taken[at : at + len(group.records)])
            at += len(group.records)
        if Taken.STORED in taken:
            self._arrived(intake.channel)

    def _next(self) -> list[Group]:
        """What goes into one transaction: of one channel, in order, within bounds."""
        found: list[Group] = []
        size = 0
        while self._waiting and len(found) < BATCH:
            group = self._waiting[0]
            other_channel = found and group.channel != found[0].channel
            if other_channel or (found and size + group.size > MOST_BYTES):
                break
            found.append(self._waiting.popleft())
            size += group.size
        return found
