"""The lease of one channel of one hospital: whoever reads it does so alone, however slowly."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from services.common import log
from services.common.database import Database
from services.his_bridge.core.faults import Reason
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.storage import inbox, last_pulls, leases
from services.his_bridge.storage.leases import LeaseLost

NowUs = Callable[[], int]
DAY_US = 86_400_000_000
# Why a pull failed whose caller gave up before it ended.
CUT_OFF = "PULL_CUT_OFF"
# The bytes of a record that was set aside are kept so long for whoever mends it at the hospital.
RAW_KEPT_US = 90 * DAY_US


class LeaseHeld(Exception):
    """Somebody else reads this channel of the hospital just now."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("another pull holds the lease")
        self.retry_after_s = retry_after_s


class ChannelLease:
    """Takes the lease, keeps it alive while the hospital is slow, and gives it back."""

    def __init__(
        self, hospital: str, channel: str, lease_s: int, database: Database, now_us: NowUs
    ) -> None:
        self._hospital = hospital
        self._channel = channel
        self._lease_us = lease_s * 1_000_000
        self._database = database
        self._now_us = now_us

    @asynccontextmanager
    async def taken(self, *, asks_source: bool) -> AsyncIterator[str]:
        """Who holds it now; how it went with the source is remembered, if it was asked.

        Raises: LeaseHeld.
        """
        holder = uuid.uuid4().hex
        held_until = await self._database.run(self._acquire, holder)
        if held_until is not None:
            raise LeaseHeld(max(0.1, (held_until - self._now_us()) / 1e6))
        beat = asyncio.ensure_future(self._keep_alive(holder))
        failure = ""
        try:
            yield holder
        except LeaseLost:
            raise LeaseHeld(self._lease_us / 1e6) from None
        except BaseException as fault:  # a hospital that hangs ends in the caller's cancellation
            failure = _reason_of(fault)
            log.logger().warning(
                "pull_failed", hospital=self._hospital, channel=self._channel, reason=failure
            )
            raise
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
            # Shielded: a caller that hangs up must not leave the next one waiting.
            said = failure if asks_source else None
            await asyncio.shield(self._database.run(self._give_back, holder, said))

    def hold(self, connection: Connection, holder: str) -> None:
        """A sign of life, with which every write under the lease begins.

        Raises: LeaseLost.
        """
        leases.renew(
            connection,
            self._hospital,
            self._channel,
            holder,
            until_us=self._now_us() + self._lease_us,
        )

    async def _keep_alive(self, holder: str) -> None:
        while True:
            await asyncio.sleep(self._lease_us / 3e6)
            await self._database.run(self._renew, holder)

    # What follows blocks, and runs in the database's thread pool.

    def _acquire(self, holder: str) -> int | None:
        now_us = self._now_us()
        with self._database.writing() as connection:
            held_until = leases.acquire(
                connection,
                self._hospital,
                self._channel,
                holder,
                now_us=now_us,
                until_us=now_us + self._lease_us,
            )
            if held_until is None:
                inbox.drop_old_raw(connection, self._hospital, before_us=now_us - RAW_KEPT_US)
            return held_until

    def _renew(self, holder: str) -> None:
        with self._database.writing() as connection:
            self.hold(connection, holder)

    def _give_back(self, holder: str, failure: str | None) -> None:
        with self._database.writing() as connection:
            mine = leases.release(connection, self._hospital, self._channel, holder)
            if mine and failure is not None:
                last_pulls.record(
                    connection, self._hospital, self._channel, failure, now_us=self._now_us()
                )


def _reason_of(fault: BaseException) -> str:
    if isinstance(fault, SourceFault):
        return fault.reason
    return CUT_OFF if isinstance(fault, asyncio.CancelledError) else str(Reason.BRIDGE_FAILED)
