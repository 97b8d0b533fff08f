"""Ten-line bills from MLLP bytes to bill events in PostgreSQL, beside splitting and COPY.

Everything of ours and the database run on one core; who sends runs on another one, if there is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, select, text

from bench.hl7v2_bridge import bridge_database, listening, on_one_core, sent
from bench.mllp_sender import CONNECTIONS, LINES, message
from bench.postgres import backends_cpu_s, fresh_database, postgres_server, version_of
from bench.rows import Report, Sizes
from services.common.bulk import copy_rows
from services.common.database import Database
from services.his_bridge.storage.tables import bill_event, inbox, released_bill

# In the order in which rows may be written: an event after its record.
_TABLES = (inbox, bill_event, released_bill)
_ORDER = (inbox.c.id, bill_event.c.inbox_id, released_bill.c.seq)
_FLOOR = (
    "the messages split and their amounts read, and the rows of inbox, bill_event and "
    "released_bill, as many bytes, COPYed in binary into tables with the same indexes and "
    "foreign keys, in as many commits, on the same core"
)


@dataclass(frozen=True, slots=True)
class Spent:
    """What something took: seconds by the clock, of our CPU, and of the database's."""

    s: float
    cpu_s: float
    database_s: float

    @property
    def both_s(self) -> float:
        """CPU of this process and of the database's processes for it."""
        return self.cpu_s + self.database_s


def measure(report: Report, sizes: Sizes) -> None:
    """Bills per second by the clock, and CPU for each bill."""
    with on_one_core(), postgres_server(durable=True) as server, fresh_database(server) as url:
        report.host["postgresql"] = version_of(server)
        asyncio.run(_measured(report, sizes.hl7_bills, url))


async def _measured(report: Report, bills: int, url: str) -> None:
    first = max(1, bills // 10)  # so that nothing is done for the first time while it is measured
    with bridge_database(url) as (database, keys):
        async with listening(database, keys) as port:
            await sent(database, port, 0, first)
            with _commits(database) as commits:
                before = time.process_time(), backends_cpu_s(url)
                took_s = await sent(database, port, first, bills)
                ours = _spent(took_s, before, url)
        floor = _floor(database, url, bills, commits["all"])
    name = f"HL7 v2 bills of {LINES} lines over {CONNECTIONS} connections to events, one core"
    told: dict[str, Any] = {"what_floor_is": _FLOOR, "n": bills}
    told["cpu_ms"] = ours.cpu_s / bills * 1e3
    report.add(name, "bills/s", bills / ours.s, bills / floor.s, **told)
    cpu = (one.both_s / bills * 1e3 for one in (ours, floor))
    report.add(f"{name}, CPU of ours and the database's", "ms/bill", *cpu, **told)
    counts = report.counts
    counts["HL7 v2: commits for these bills, ours and the floor's"] = commits["all"]
    for whose, one in (("ours", ours), ("the floor's", floor)):
        counts[f"HL7 v2: ms of the database's CPU a bill, {whose}"] = one.database_s / bills * 1e3


def _spent(took_s: float, before: tuple[float, float], url: str) -> Spent:
    own, databases = before
    return Spent(took_s, time.process_time() - own, backends_cpu_s(url) - databases)


@contextmanager
def _commits(database: Database) -> Iterator[Counter[str]]:
    """Counts what is committed meanwhile; a transaction that only reads is none."""
    found: Counter[str] = Counter()

    def count(_connection: Connection) -> None:
        found["all"] += 1

    event.listen(database.engine, "commit", count)
    try:
        yield found
    finally:
        event.remove(database.engine, "commit", count)


def _floor(database: Database, url: str, bills: int, commits: int) -> Spent:
    """To split as many messages and to COPY the very rows, in as many commits."""
    raw = [message(number) for number in range(bills)]
    rows: dict[str, list[Mapping[str, Any]]] = {}
    with database.reading() as connection:
        for table, order in zip(_TABLES, _ORDER, strict=True):
            kept = connection.execute(select(table).order_by(order).limit(bills)).mappings()
            rows[table.name] = [dict(row) for row in kept]
    with database.writing() as connection:
        floors = [_like(connection, table) for table in _TABLES]
    before, begun = (time.process_time(), backends_cpu_s(url)), time.perf_counter()
    for part in range(commits):
        share = slice(bills * part // commits, bills * (part + 1) // commits)
        with database.writing() as connection:
            _stored(connection, floors, raw[share], [rows[table.name][share] for table in _TABLES])
    return _spent(time.perf_counter() - begun, before, url)


def _stored(
    connection: Connection,
    floors: Sequence[Table],
    raw: Sequence[bytes],
    rows: Sequence[Sequence[Mapping[str, Any]]],
) -> None:
    for one in raw:
        _split(one)
    for table, some in zip(floors, rows, strict=True):
        copy_rows(connection, table, some)


def _like(connection: Connection, table: Table) -> Table:
    """An empty table of the same columns, indexes, keys and foreign keys."""
    name = f"floor_{table.name}"
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL)"))
    for key in table.foreign_keys:
        of = key.column.table
        target = f"floor_{of.name}" if of in _TABLES else of.name
        named = f"({key.parent.name}) REFERENCES {target} ({key.column.name})"
        connection.execute(text(f"ALTER TABLE {name} ADD FOREIGN KEY {named}"))
    return table.to_metadata(MetaData(), name=name)


def _split(raw: bytes) -> Decimal:
    """The sum of a message's charges, read in the shortest way that is right."""
    total = Decimal(0)
    for line in raw.decode("gb18030").split("\r"):
        fields = line.split("|")
        if fields[0] == "FT1":
            total += Decimal(fields[10]) * Decimal(fields[12])
    return total
