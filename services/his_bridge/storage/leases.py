"""One poller per hospital and channel, and numbers that commit in order."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.his_bridge.storage.tables import last_seq, lease


class LeaseLost(Exception):
    """Another poller holds the lease; nothing of this transaction may be committed."""


def acquire(
    connection: Connection, hospital: str, channel: str, holder: str, *, now_us: int, until_us: int
) -> int | None:
    """Take the lease if it is free or has expired; else when it expires."""
    mine = lease.c.hospital == hospital, lease.c.channel == channel
    found = connection.execute(
        select(lease.c.holder, lease.c.expires_us).where(*mine).with_for_update()
    ).first()
    if found is None:
        row = {
            "hospital": hospital,
            "channel": channel,
            "holder": holder,
            "expires_us": until_us,
        }
        added = connection.execute(
            _insert(connection, lease)
            .values(row)
            .on_conflict_do_nothing()
            .returning(lease.c.holder)
        ).first()
        return None if added is not None else until_us
    if found.holder != holder and found.expires_us > now_us:
        return int(found.expires_us)
    connection.execute(update(lease).where(*mine).values(holder=holder, expires_us=until_us))
    return None


def renew(
    connection: Connection, hospital: str, channel: str, holder: str, *, until_us: int
) -> None:
    """Show a sign of life. Every write of a pull does so first: it also shuts other pollers out.

    Raises: LeaseLost.
    """
    kept = connection.execute(
        update(lease)
        .where(lease.c.hospital == hospital, lease.c.channel == channel, lease.c.holder == holder)
        .values(expires_us=until_us)
    )
    if kept.rowcount != 1:
        raise LeaseLost(f"another poller took {hospital}/{channel}")


def release(connection: Connection, hospital: str, channel: str, holder: str) -> bool:
    """Give the lease back; nothing happens, and False is said, when another poller has it."""
    gone = connection.execute(
        delete(lease).where(
            lease.c.hospital == hospital, lease.c.channel == channel, lease.c.holder == holder
        )
    )
    return gone.rowcount == 1


def next_numbers(connection: Connection, name: str, count: int) -> int:
    """The first of `count` new numbers of a list.

    The list's row stays locked until commit, so numbers become visible in their order and a reader
    who remembers the last number that it saw misses none.
    """
    first = _insert(connection, last_seq).values(list=name, value=count)
    more = last_seq.c.value + first.excluded.value
    last = connection.execute(
        first.on_conflict_do_update(
            index_elements=list(last_seq.primary_key.columns), set_={"value": more}
        ).returning(last_seq.c.value)
    ).scalar_one()
    return int(last) - count + 1


def _insert(connection: Connection, table: object) -> postgresql.Insert | sqlite.Insert:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)  # type: ignore[no-any-return]  # both dialects have it
