"""Reads, again and again, what was pushed and lies unread."""

from __future__ import annotations

import asyncio

from services.common import log
from services.his_bridge.intake import Intake
from services.his_bridge.leasing import LeaseHeld
from services.his_bridge.receiving.lasting import PAUSE_S

# What arrives within this time is read together: a lease and its checks are several transactions.
_GATHER_S = 0.2


class Reading:
    """The loop that reads one channel when told that something arrived."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._told = asyncio.Event()
        self._told.set()  # an earlier process may have left something

    def tell(self) -> None:
        """Something new lies in the inbox."""
        self._told.set()

    async def run(self) -> None:
        """Read until cancelled. What is cut off is read by whoever comes next."""
        while True:
            await self._told.wait()
            await asyncio.sleep(_GATHER_S)
            self._told.clear()
            try:
                await self._intake.read_arrived(_GATHER_S)
            except LeaseHeld as held:
                self._told.set()
                await asyncio.sleep(min(held.retry_after_s, PAUSE_S))
            except Exception as fault:  # noqa: BLE001 what was pushed is to be read nevertheless
                log.logger().warning(
                    "not_read",
                    hospital=self._intake.hospital,
                    channel=self._intake.channel,
                    fault=type(fault).__name__,
                )
                self._told.set()
                await asyncio.sleep(PAUSE_S)
