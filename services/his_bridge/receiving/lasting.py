"""Loops that a fault does not end: with one of a listener's loops the whole bridge would end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.common import log

PAUSE_S = 1.0


async def lasting(hospital: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work; after a fault, which is logged by its type, again, until cancelled."""
    while True:
        try:
            await work()
        except Exception as fault:  # noqa: BLE001 the other hospitals, and this one's other loops, go on
            log.logger().error("listener_failed", hospital=hospital, fault=type(fault).__name__)
        await asyncio.sleep(PAUSE_S)
