"""One hospital's side of the bridge, without a source: records come in one by one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import func, select

from services.common.database import Database
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.consent import Content, Scope
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.storage import inbox, last_pulls, lists, outcomes, tables, waiting
from services.his_bridge.storage.inbox import Arrived, Pending
from services.his_bridge.storage.sealed import external_index, open_bill
from tests.services.common.sealing.keys import sealer
from tests.services.his_bridge.consenting import INSURER
from tests.services.his_bridge.core.folding_cases import order_of, outcome_of

NOW = 10
Said = Mapping[str, Any]


@dataclass
class Hospital:
    """One hospital's side of the bridge: records come in one by one and are read at once."""

    database: Database
    name: str = field(default_factory=lambda: f"h{uuid.uuid4().hex}")
    pending: dict[tuple[str, str], Pending] = field(default_factory=dict)

    def keep(self, said: Said, channel: str = "bills") -> Pending | None:
        """The inbox's part; None when it has the record already."""
        version = str(said.get("version", 1))
        arrived = Arrived(
            external_id=f"DFT/{said['id']}",
            version=version,
            updated_us=order_of(said)[0],
            raw=f"raw of {said['id']} {version}".encode(),
            keep_out=False,
        )
        with self.database.writing() as connection:
            stored = inbox.store(
                connection,
                sealer(connection),
                self.name,
                channel,
                [arrived],
                currency="CNY",
                now_us=1,
            )
        if not stored.pending:
            return None
        ((_, pending),) = stored.pending
        self.pending[said["id"], version] = pending
        return pending

    def settle(
        self, *judged: tuple[Pending, Outcome], now_us: int = NOW, channel: str = "bills"
    ) -> outcomes.Settled:
        place = outcomes.Place(
            hospital=self.name,
            channel=channel,
            recipient=INSURER,
            currency="CNY",
            zone="Asia/Shanghai",
        )
        with self.database.writing() as connection:
            return outcomes.settle(connection, sealer(connection), place, judged, now_us=now_us)

    def arrive(self, *records: Said, now_us: int = NOW) -> list[outcomes.Settled]:
        """Each record in a batch of its own."""
        return [
            self.settle((pending, outcome_of(said)), now_us=now_us)
            for said in records
            if (pending := self.keep(said)) is not None
        ]

    def read_again(self, said: Said) -> outcomes.Settled:
        """As a process does that was killed after it had written, or before it had heard of it."""
        pending = self.pending[said["id"], str(said.get("version", 1))]
        return self.settle((pending, outcome_of(said)))

    def released(self, account: str | None = None) -> list[tuple[Any, Bill]]:
        """Rows, oldest first."""
        with self.database.reading() as connection:
            key = sealer(connection)
            query = select(tables.released_bill).where(tables.released_bill.c.hospital == self.name)
            if account is not None:
                index = external_index(key, self.name, account)
                query = query.where(tables.released_bill.c.external_index == index)
            rows = connection.execute(query.order_by(tables.released_bill.c.seq)).all()
            return [(row, open_bill(key, row)) for row in rows]

    def told(self, account: str | None = None) -> list[tuple[str, int]]:
        """Kind and total of each release."""
        return [(row.kind, bill.total) for row, bill in self.released(account)]

    def waits(self) -> dict[str, str]:
        """Record → the first reason why it does not count."""
        with self.database.reading() as connection:
            key = sealer(connection)
            found = [
                *lists.quarantine_after(connection, key, self.name, 0, 100),
                *waiting.parked_after(connection, key, self.name, 0, 100),
            ]
        return {
            one.external_id.removeprefix("DFT/"): json.loads(bytes(one.row.faults))[0]["reason"]
            for one in found
        }

    def count(self, table: Any) -> int:
        with self.database.reading() as connection:
            mine = select(func.count()).where(table.c.hospital == self.name)
            return int(connection.execute(mine).scalar_one())

    def held(self) -> int:
        with self.database.reading() as connection:
            found = {c.channel: c.held for c in last_pulls.status(connection, self.name)}
        return found["bills"]

    def unread(self) -> list[str]:
        with self.database.reading() as connection:
            left = inbox.opened(
                connection, sealer(connection), inbox.left_over(connection, self.name, "bills", 100)
            )
        return [entry.external_id.removeprefix("DFT/") for entry in left]

    def read_unread(self, *records: Said) -> None:
        """What the next pull does first."""
        said = {one["id"]: one for one in records}
        with self.database.reading() as connection:
            left = inbox.opened(
                connection, sealer(connection), inbox.left_over(connection, self.name, "bills", 100)
            )
        for pending in left:
            what = said[pending.external_id.removeprefix("DFT/")]
            self.settle((pending, outcome_of(what)))

    def go_through(self, records: Sequence[Said]) -> None:
        """As a process does: keep what comes, then read what lies unread, whoever kept it."""
        said = {(one["id"], str(one.get("version", 1))): one for one in records}
        for one in records:
            self.keep(one)
            self.read_all(said)

    def read_all(self, said: Mapping[tuple[str, str], Said]) -> None:
        with self.database.reading() as connection:
            left = inbox.opened(
                connection, sealer(connection), inbox.left_over(connection, self.name, "bills", 100)
            )
        for pending in left:
            id_, version = pending.raw.decode().removeprefix("raw of ").split()
            self.settle((pending, outcome_of(said[id_, version])))


def late(id_: str, at: str, lines: Mapping[str, Any] | None = None, **more: Any) -> Said:
    return {"id": id_, "at": at, "says": "LATE", "lines": lines or {}, **more}


def final(id_: str, at: str, lines: Mapping[str, Any] | None = None, **more: Any) -> Said:
    stated = {} if lines is None else {"lines": lines}
    return {"id": id_, "at": at, "says": "FINAL", **stated, **more}


def merge(id_: str, at: str, out_of: str, into: str) -> Said:
    return {"id": id_, "at": at, "merge": {"into": into, "out-of": out_of}}


def march(first: int, last: int) -> Scope:
    """Bills of these days."""
    return Scope(
        contents=(Content.BILLS,), first_day=date(2026, 3, first), last_day=date(2026, 3, last)
    )


# Everything that a bill can go through, with what waits and what resumes.
STORY: Sequence[Said] = (
    late("R", "11:00", back={"C2": [1, "20.00"]}),  # ahead of its original
    late("L1", "09:00", {"C1": "100.00"}),
    final("F", "12:00", total="120.00"),  # does not add up yet
    late("L2", "10:00", {"C2": [2, "40.00"]}),  # now it does
    late("LB", "10:30", {"C1": "7.00"}, account="B"),
    merge("M", "13:00", "A", "B"),
    final("FB", "14:00", account="B"),
    late("L1", "09:30", {"C1": "90.00"}, version=2),
    late("OVER", "15:00", account="B", back={"C2": [2, "40.00"]}),
    {"id": "X", "at": "16:00", "says": "REVERSAL", "reverses": "LB", "account": "B"},
)
