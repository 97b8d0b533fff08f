"""How the last pull of each channel went, so that a hospital that fell silent is seen."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from services.his_bridge.core.breaker import pause_s
from services.his_bridge.storage import pull_progress, record_counts, waiting
from services.his_bridge.storage.inbox import PENDING
from services.his_bridge.storage.lists import quarantined_by_state
from services.his_bridge.storage.record_counts import RecordCounts, of_channel
from services.his_bridge.storage.tables import held_record, inbox, last_pull

CHANNELS = ("bills", "readings")


class ChannelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last pull's end, the last success, why it failed (else empty), and what waits where."""

    channel: str
    attempt_us: int | None = None
    success_us: int | None = None
    failure: str = ""
    unread: int = 0
    held: int = 0
    quarantined: int = 0
    parked: int = 0
    parked_us: int | None = None  # since when the first of them waits
    failures: int = 0
    left_alone_until_us: int = 0
    progress: pull_progress.Progress | None = None
    records: RecordCounts | None = None  # where it was asked for


def record(
    connection: Connection, hospital: str, channel: str, failure: str, *, now_us: int
) -> None:
    """A pull has ended; `failure` is empty for a success. Only the holder of the lease says so."""
    values: dict[str, object] = {"attempt_us": now_us, "failure": failure}
    if failure:
        values["failures"] = last_pull.c.failures + 1
    else:
        values |= {"success_us": now_us, "failures": 0}
    changed = connection.execute(
        update(last_pull)
        .where(last_pull.c.hospital == hospital, last_pull.c.channel == channel)
        .values(values)
    )
    if not changed.rowcount:
        values["failures"] = 1 if failure else 0
        connection.execute(insert(last_pull), {"hospital": hospital, "channel": channel, **values})


def left_alone_until_us(connection: Connection, hospital: str, channel: str) -> int:
    """Until when a hospital that keeps failing is not asked; 0 when it may be asked."""
    row = connection.execute(
        select(last_pull.c.attempt_us, last_pull.c.failures).where(
            last_pull.c.hospital == hospital, last_pull.c.channel == channel
        )
    ).first()
    return 0 if row is None else _left_alone_until_us(hospital, channel, row)


def _left_alone_until_us(hospital: str, channel: str, row: Row[*tuple[Any, ...]]) -> int:
    pause = pause_s(row.failures, f"{hospital}/{channel}")
    return int(row.attempt_us + pause * 1e6) if pause else 0


def status(
    connection: Connection, hospital: str, *, counts_records: bool = False
) -> list[ChannelStatus]:
    """Every channel's last pull; one that was never pulled has no times.

    With `counts_records` what became of every record that ever came: that goes through an index of
    the whole inbox, so nobody asks for it every second.
    """
    ended = {
        row.channel: row
        for row in connection.execute(select(last_pull).where(last_pull.c.hospital == hospital))
    }
    unread, held = (
        {
            row.channel: row.number
            for row in connection.execute(
                select(table.c.channel, func.count().label("number"))
                .where(table.c.hospital == hospital, *conditions)
                .group_by(table.c.channel)
            )
        }
        for table, conditions in (
            (inbox, [inbox.c.state == PENDING]),
            (held_record, []),
        )
    )
    quarantined = quarantined_by_state(connection, hospital)
    progress = pull_progress.of(connection, hospital)
    parked, parked_us = waiting.parked_by_state(connection, hospital)
    stored = record_counts.by_state(connection, hospital) if counts_records else None
    return [
        ChannelStatus(
            channel=channel,
            attempt_us=ended[channel].attempt_us if channel in ended else None,
            success_us=ended[channel].success_us if channel in ended else None,
            failure=ended[channel].failure if channel in ended else "",
            failures=ended[channel].failures if channel in ended else 0,
            left_alone_until_us=_left_alone_until_us(hospital, channel, ended[channel])
            if channel in ended
            else 0,
            unread=unread.get(channel, 0),
            held=held.get(channel, 0),
            quarantined=of_channel(channel, quarantined),
            parked=of_channel(channel, parked),
            parked_us=parked_us if of_channel(channel, parked) else None,
            progress=progress.get(channel),
            records=None
            if stored is None
            else record_counts.counts(channel, stored, quarantined, parked),
        )
        for channel in CHANNELS
    ]
