"""How many records of each channel came into the inbox, and what became of them: a sum that holds.

Counts alone: opens no record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, func, select

from services.his_bridge.storage.holding import ERASED, HELD, SUPERSEDED
from services.his_bridge.storage.inbox import CONFLICT, PENDING, QUARANTINED, READ
from services.his_bridge.storage.tables import inbox

# Channel and state in the inbox → how many records.
ByState = Mapping[tuple[str, str], int]


class RecordCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each record that was stored; all but `conflicts` add up to `arrived`.

    A record that waits for a person counts as quarantined and nowhere else, whatever else holds it.
    `superseded`: a newer version of it counts, or waits in its place. `conflicts` are among those
    that wait for a person.
    """

    arrived: int = 0
    read: int = 0
    unread: int = 0
    held: int = 0
    quarantined: int = 0
    parked: int = 0
    unchanged: int = 0
    kept_out: int = 0
    superseded: int = 0
    erased: int = 0
    conflicts: int = 0


def by_state(connection: Connection, hospital: str) -> Counter[tuple[str, str]]:
    """All records of the inbox."""
    rows = connection.execute(
        select(inbox.c.channel, inbox.c.state, func.count().label("number"))
        .where(inbox.c.hospital == hospital)
        .group_by(inbox.c.channel, inbox.c.state)
    )
    return Counter({(row.channel, row.state): row.number for row in rows})


def counts(channel: str, stored: ByState, quarantined: ByState, parked: ByState) -> RecordCounts:
    """One channel's, of all that is stored, what waits for a person and what for its original.

    The state says what was done with a record as it was read. What it says may still wait: a charge
    that was read counts only when its original has come.

    >>> stored = {("bills", "read"): 5, ("bills", "quarantined"): 2}
    >>> found = counts("bills", stored, {("bills", "quarantined"): 1}, {("bills", "read"): 1})
    >>> found.arrived, found.read, found.quarantined, found.parked, found.superseded
    (7, 4, 1, 1, 1)
    """
    found: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for into, mapping in ((found, stored), (waiting, quarantined), (waiting, parked)):
        for (of, state), number in mapping.items():
            if of == channel:
                into[state] += number
    arrived = found.total()
    found.subtract(waiting)
    return RecordCounts(
        arrived=arrived,
        read=found[READ],
        unread=found[PENDING],
        held=found[HELD],
        quarantined=of_channel(channel, quarantined),
        parked=of_channel(channel, parked),
        unchanged=found["unchanged"],
        kept_out=found["filtered"],
        # Set aside once, and a later version was read since.
        superseded=found[SUPERSEDED] + found[QUARANTINED] + found[CONFLICT],
        erased=found[ERASED],
        conflicts=quarantined.get((channel, CONFLICT), 0),
    )


def of_channel(channel: str, numbers: ByState) -> int:
    """In whatever state."""
    return sum(number for (of, _), number in numbers.items() if of == channel)
