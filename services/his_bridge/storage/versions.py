"""Which version of a record counts: of readings the newest one that was read, however it came."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from services.common.bulk import one_of
from services.his_bridge.storage.inbox import READ
from services.his_bridge.storage.tables import inbox

# Something was made of these versions, or they say that nothing is to be made of the record.
_COUNTED = (READ, "unchanged", "filtered")

# When the source made it, then when it arrived: a source's clock may tell no finer.
Rank = tuple[int, int]


def newest_read(
    connection: Connection, hospital: str, channel: str, external: Collection[str]
) -> dict[str, Rank]:
    """Of each of these records, by blind index, the rank of its newest version that was read."""
    if not external:
        return {}
    rows = connection.execute(
        select(inbox.c.external_index, inbox.c.updated_us, inbox.c.id).where(
            inbox.c.hospital == hospital,
            inbox.c.channel == channel,
            one_of(connection, inbox.c.external_index, external),
            inbox.c.state.in_(_COUNTED),
        )
    )
    found: dict[str, Rank] = {}
    for row in rows:
        rank = (row.updated_us, row.id)
        found[row.external_index] = max(rank, found.get(row.external_index, rank))
    return found
