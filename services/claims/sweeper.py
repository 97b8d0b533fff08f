"""What nobody started, or what was lost, is started again: claims, timers of papers, payouts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.claims.messages import claim_name
from services.claims.paying import Payments
from services.claims.storage import corrections, sweeping
from services.claims.storage.rows import ClaimRow
from services.common import log
from services.common.database import Database
from services.common.temporal.settling import ClaimWorkflows

SWEEP_EVERY_S = 1.0
PAYOUTS_EVERY_S = 0.5
# A claim stored this long ago without a started workflow was left by a killed process. What was
# stored before this process began needs no such proof, and waiting would be the longest part of
# its recovery (measured: 5.8 s to the decision with it, 3.9 s without). Starting twice is harmless.
UNSTARTED_AFTER_S = 5.0
# A started claim still undecided after this long is started again under the same id: harmless if
# its workflow lives, and what saves it if Temporal's database was lost.
STALE_AFTER_S = 120.0
SWEEP_AT_ONCE = 50
# A claim this young whose earlier policy has just decided has its workflow under way.
FREED_AFTER_S = 2.0


class Sweeper:
    """Starts what nobody started; any number of replicas may sweep the same rows."""

    def __init__(
        self,
        database: Database,
        workflows: ClaimWorkflows,
        payments: Payments,
        account: str,
        *,
        settle_freed: Callable[..., int],
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._workflows = workflows
        self._payments = payments
        self._account = account
        self._settle_freed = settle_freed
        self._now_us = now_us
        self._born_us = now_us()

    async def sweep_claims(self) -> None:
        """Start claims whose workflow was never started, or may be lost."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                left = await self._database.run(self._left)
                for policy_id, claim_id in left:
                    await self._workflows.start(claim_name(policy_id, claim_id), claim_id)
                await self._time_papers()
                await self._adjust()
                await self._database.run(self._go_on)
                if left:
                    await self._database.run(self._mark, [claim_id for _, claim_id in left])
                    log.logger().info("swept", count=len(left))
            except Exception as fault:  # noqa: BLE001 - Temporal may be away; the next round comes
                log.logger().warning("sweep_failed", fault=type(fault).__name__)

    def _left(self) -> list[tuple[str, str]]:
        now = self._now_us()
        with self._database.reading() as connection:
            return sweeping.not_started(
                connection,
                unstarted_since_us=max(self._born_us, now - int(UNSTARTED_AFTER_S * 1e6)),
                stale_since_us=now - int(STALE_AFTER_S * 1e6),
                most=SWEEP_AT_ONCE,
            )

    async def _adjust(self) -> None:
        """Start what decides claims anew whose bills were corrected, once it can take effect."""
        for policy_id, claim_id, number in await self._database.run(self._corrected):
            await self._workflows.adjust(claim_name(policy_id, claim_id), claim_id, number)

    def _corrected(self) -> Sequence[tuple[str, str, int]]:
        with self._database.reading() as connection:
            return corrections.to_adjust(connection, SWEEP_AT_ONCE)

    def _go_on(self) -> None:
        """Settle what has waited under a later policy; their workflows ask every ten minutes."""
        self._settle_freed(older_than_s=FREED_AFTER_S)

    async def _time_papers(self) -> None:
        """Start the timers of papers that were asked for since the last round."""
        for row in await self._database.run(self._untimed):
            name = claim_name(row.policy_id, row.id)
            due_us = row.papers_due_us
            assert due_us is not None  # noqa: S101 - whoever asks for papers says until when
            await self._workflows.await_papers(name, row.id, row.papers_asked, due_us)
            await self._database.run(self._mark_timed, row.id, row.papers_asked)

    def _untimed(self) -> Sequence[ClaimRow]:
        with self._database.reading() as connection:
            return sweeping.papers_untimed(connection, self._now_us(), SWEEP_AT_ONCE)

    def _mark_timed(self, claim_id: str, number: int) -> None:
        with self._database.writing() as connection:
            sweeping.mark_papers_timed(connection, claim_id, number)

    def _mark(self, claim_ids: list[str]) -> None:
        with self._database.writing() as connection:
            sweeping.mark_started(connection, claim_ids, self._now_us())

    async def start_payouts(self) -> None:
        """Start the payout run whenever something is payable, unsent or unanswered."""
        while True:
            await asyncio.sleep(PAYOUTS_EVERY_S)
            try:
                if await self._payments.work_left():
                    await self._workflows.run_payouts(self._account)
            except Exception as fault:  # noqa: BLE001 - Temporal may be away; the next round comes
                log.logger().warning("payouts_not_started", fault=type(fault).__name__)
