"""How far each channel of a hospital has been caught up with, for whoever waits for it."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from services.his_bridge.storage.operation_tables import pull_progress


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The catching up that is under way, or the last one when `caught_up_us` is set.

    `seen`: records that the source gave since it began, those known already too; `received`: new
    ones. `unsettled`: what lies there and does not count yet; some of it will at `settle_us`.
    `expected`: what `seen` comes to by the source's own count, if it tells one. `refused_files`
    and `taken_files`: what lies in a drop folder and was refused as a whole, or was taken.
    """

    started_us: int
    caught_up_us: int | None
    seen: int
    received: int
    expected: int | None
    reached_us: int | None
    unsettled: int = 0
    settle_us: int | None = None
    refused_files: int = 0
    taken_files: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a page brought. `swept`: the source had no more; `left`: by its own count."""

    seen: int = 0
    received: int = 0
    reached_us: int | None = None
    left: int | None = None
    swept: bool = True
    unsettled: int = 0
    settle_us: int | None = None
    refused_files: int = 0
    taken_files: int = 0


def of(connection: Connection, hospital: str) -> dict[str, Progress]:
    """By channel; one that never was asked for a page is not there."""
    rows = connection.execute(select(pull_progress).where(pull_progress.c.hospital == hospital))
    return {
        row.channel: Progress(**{name: getattr(row, name) for name in Progress.__struct_fields__})
        for row in rows
    }


def advance(
    connection: Connection, hospital: str, channel: str, step: Step, *, now_us: int
) -> None:
    """A page was kept. The first one after the source had no more begins to count anew."""
    before = of(connection, hospital).get(channel)
    goes_on = before is not None and before.caught_up_us is None
    seen = step.seen + (before.seen if before is not None and goes_on else 0)
    expected = before.expected if before is not None and goes_on else None
    if step.left is not None:
        expected = seen + step.left
    values: dict[str, Any] = {
        "started_us": before.started_us if before is not None and goes_on else now_us,
        "caught_up_us": now_us if step.swept else None,
        "seen": seen,
        "received": step.received + (before.received if before is not None and goes_on else 0),
        "expected": expected,
        "reached_us": step.reached_us,
        "unsettled": step.unsettled,
        "settle_us": step.settle_us,
        "refused_files": step.refused_files,
        "taken_files": step.taken_files,
    }
    if step.reached_us is None and before is not None:
        values["reached_us"] = before.reached_us
    if before is None:
        values |= {"hospital": hospital, "channel": channel}
        connection.execute(insert(pull_progress), values)
        return
    connection.execute(
        update(pull_progress)
        .where(pull_progress.c.hospital == hospital, pull_progress.c.channel == channel)
        .values(values)
    )
