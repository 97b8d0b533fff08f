"""One transaction of claims, and what is at hand in it. Decides nothing, reads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection

from services.claims.plan_shelf import PlanShelf
from services.common.sealing import Sealer


@dataclass(frozen=True)
class Desk:
    """A transaction's connection, what seals and opens in it, the plans, and the clock."""

    connection: Connection
    sealer: Sealer
    plans: PlanShelf
    now_us: Callable[[], int]

    @cached_property
    def at_us(self) -> int:
        """The time of all that the transaction does: when it is first asked for.

        So it comes after the locks that are taken before, and a claim's moves stand in the order
        of their times.
        """
        return self.now_us()
