"""Which record a bill is held by for want of a consent, so that the consent has it read again.

Works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from services.his_bridge.core.consent import Need
from services.his_bridge.storage.holding import Held
from services.his_bridge.storage.inbox import Pending
from services.his_bridge.storage.known_bills import held_among, readable_among


class BillHolds:
    """Holds of the bills that a batch touches, as they were and as they are to be."""

    def __init__(self, connection: Connection, inbox_ids: Iterable[int]) -> None:
        """`inbox_ids` are all records that these bills were made of before."""
        self._connection = connection
        self._held = held_among(connection, sorted(inbox_ids))
        self.read_now: list[int] = []
        # Records that hold a bill now, of this batch or read before, and such as do so no more.
        self.also_held: dict[int, Held] = {}
        self.let_go: list[int] = []

    def hold(
        self,
        mine: set[int],
        pending: Pending,
        lacks: tuple[str, Need] | None,
        member_of: Mapping[str, str],
    ) -> None:
        """Hold a bill, of the records `mine`, by the one that touched it last, if it lacks that."""
        before = mine & self._held
        before.discard(pending.inbox_id)
        self._held -= before
        by: int | None = pending.inbox_id
        if lacks is not None and pending.inbox_id not in mine:
            by = self._readable(mine, before)
        self._let_go(before)
        if lacks is None or by is None:
            return
        token, need = lacks
        held = Held(inbox_id=by, member=member_of[token], need=need)
        self.also_held.setdefault(by, held)

    def _readable(self, inbox_ids: set[int], holding_it: set[int]) -> int | None:
        """One of a bill's records that was read, now or before, and can be read again.

        Else one that holds the bill, or did until this batch. None when all wait to be read again
        anyway, or for a person: whoever reads one then looks at the bill anew.
        """
        now = [one for one in self.read_now if one in inbox_ids]
        found = now[-1:] or readable_among(self._connection, sorted(inbox_ids))[:1]
        held = holding_it | (inbox_ids & set(self.let_go))
        return found[0] if found else max(held, default=None)

    def _let_go(self, inbox_ids: set[int]) -> None:
        for inbox_id in sorted(inbox_ids):
            if self.also_held.pop(inbox_id, None) is None:
                self.let_go.append(inbox_id)
