"""What was read as it came, kept in memory until it is settled: nothing is read twice.

All of it lies in the inbox as well. What does not fit in here, or was lost with the process, is
read back from there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.storage.inbox import Pending

# A record of more bytes is not read as it comes, while others wait to be acknowledged.
MOST_BYTES_OF_ONE = 1 << 16
_MOST, _MOST_BYTES = 400, 1 << 20


class ReadAhead(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record, what is to become of it, and the newest map of codes that said so."""

    pending: Pending
    outcome: Outcome
    under: int


class ReadAheads:
    """Those of one channel, up to a bound; the newest are left out where there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, ReadAhead] = OrderedDict()
        self._bytes = 0

    def keep(self, found: Iterable[ReadAhead]) -> None:
        """Remember these, as far as there is room."""
        with self._lock:
            for one in found:
                if len(self._kept) < _MOST and self._bytes < _MOST_BYTES:
                    self._kept[one.pending.inbox_id] = one
                    self._bytes += len(one.pending.raw)

    def take(self, inbox_ids: Iterable[int], under: int) -> dict[int, ReadAhead]:
        """Of these records those that were read under the map that holds; all are forgotten.

        What came before the last of them and is not among them was read by somebody else.
        """
        with self._lock:
            wanted = set(inbox_ids)
            last = max(wanted, default=0)
            gone = [at for at in self._kept if at <= last]
            found = {at: self._kept.pop(at) for at in gone}
            self._bytes -= sum(len(one.pending.raw) for one in found.values())
        return {at: one for at, one in found.items() if at in wanted and one.under == under}
