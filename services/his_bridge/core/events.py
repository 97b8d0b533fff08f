"""What happens to a bill over time, one event for each version of a record. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import Bill
from services.his_bridge.core.merges import Order


def is_counted(version: str) -> bool:
    """Whether a record's versions are whole numbers, so that they tell which one is later.

    >>> is_counted("10"), is_counted("v10"), is_counted("")
    (True, False, False)
    """
    return version.isascii() and version.isdigit()


class EventKind(StrEnum):
    """What an event says about its bill."""

    INTERIM = "INTERIM"  # states the bill so far; the stay goes on
    FINAL = "FINAL"  # states the bill as a whole
    LATE = "LATE"  # adds lines to what was stated
    REVERSAL = "REVERSAL"  # takes back one record, or all before it (冲红)
    CORRECTION = "CORRECTION"  # states the bill as a whole, anew


# What closes a bill.
CLOSING = (EventKind.FINAL, EventKind.CORRECTION)
# Of one moment: what adds comes after what it adds to, what takes back after what it takes back.
RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            EventKind.INTERIM,
            *CLOSING,
            EventKind.LATE,
            EventKind.REVERSAL,
        )
    )
}


class BillEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one version of one record of the source says about the bill of one account.

    `order` is when the source made it. A newer version of a record stands for all of its older
    ones. `reverses` names the record that a reversal takes back; without, it takes back everything
    before it. Of a LATE record it names the one whose charges its lines take back. A statement
    whose bill has no lines says the rest of the bill (who, when, which diagnoses, what social
    insurance did) and leaves the lines as they were added. `stated_total` is what the hospital says
    that the bill amounts to, in minor units.
    """

    record: str
    account: str
    kind: EventKind
    order: Order
    bill: Bill | None = None
    reverses: str | None = None
    stated_total: int | None = None

    @property
    def key(self) -> tuple[str, str, Order]:
        """What tells one event of a bill from all others."""
        return self.record, self.account, self.order
