"""One bounded pull of one channel: fetch, store, acknowledge by moving the cursor, read, release.

No transaction is open while the hospital is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.common import log
from services.his_bridge.dialects.port import Key
from services.his_bridge.intake import Intake, PullReport
from services.his_bridge.leasing import NowUs
from services.his_bridge.sources.port import Source, SourceFault


class Puller:
    """Pulls one channel of one hospital. Where the hospital pushes there is no source to ask."""

    def __init__(self, intake: Intake, source: Source | None, now_us: NowUs) -> None:
        self.intake = intake
        self._source = source
        self._now_us = now_us

    async def pull(self, max_records: int, until_us: int) -> PullReport:
        """Pull until so many new records came, the source has no more, or the time is up.

        At least one page is fetched. What earlier pulls left unread is read first, and what was
        held until a consent came.

        A source that failed again and again is left alone for a while (core.breaker); what lies
        here unread is read all the same.

        Raises: LeaseHeld; SourceFault, with everything kept that was fetched.
        """
        alone_s = await self.intake.left_alone_s() if self._source is not None else 0.0
        if alone_s > 0.0:
            await self.intake.read_arrived()
            text = "the source failed several times in a row and is left alone for a while"
            raise SourceFault("SOURCE_LEFT_ALONE", text, retry_after_s=alone_s)
        report = PullReport()
        async with self.intake.leased(asks_source=self._source is not None) as holder:
            await self.intake.begin(holder, report)
            if self._source is not None:
                await self._pages(self._source, holder, max_records, until_us, report)
            else:
                await self.intake.nothing_to_ask()
        log.logger().info(
            "pulled",
            hospital=self.intake.hospital,
            channel=self.intake.channel,
            received=report.received,
            released=report.released,
            quarantined=report.quarantined,
            filtered=report.filtered,
            held=report.held,
            more=report.more,
        )
        return report

    async def _pages(
        self, source: Source, holder: str, max_records: int, until_us: int, report: PullReport
    ) -> None:
        """Page by page; while one is read, the hospital is already asked for the next."""
        kind = self.intake.reader.kind
        coming = asyncio.ensure_future(source.fetch(kind, await self.intake.cursor()))
        support: dict[Key, Any] = {}
        scope = ""
        try:
            while True:
                page = await coming
                if page.scope != scope:
                    support, scope = {}, page.scope
                stored, looked = await self.intake.store(holder, page)
                report.received += stored.received
                report.quarantined += len(stored.conflicts)
                report.filtered += len(stored.filtered)
                report.more = not page.swept
                looked_at = report.received + report.filtered
                end = page.swept or looked_at >= max_records or self._now_us() >= until_us
                if not end:
                    coming = asyncio.ensure_future(source.fetch(kind, page.cursor))
                await self.intake.read(holder, looked, support, report)
                if end:
                    return
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
