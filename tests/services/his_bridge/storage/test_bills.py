"""Bills of several records: released when they are closed, once for each change; both databases."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from services.common.database import Database, migrate
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.folding import BillStatus, FoldedBill, fold
from services.his_bridge.core.merges import aliases_of
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.storage import inbox, last_pulls, lists, outcomes, tables, waiting
from services.his_bridge.storage.inbox import Arrived, Pending
from services.his_bridge.storage.sealed import external_index, open_bill
from tests.postgres import fresh_database
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, terms
from tests.services.his_bridge.core.folding_cases import (
    CASES,
    TOKENS,
    events_of,
    merges_of,
    order_of,
    outcome_of,
)

LI, WANG = TOKENS["li"], TOKENS["wang"]
NOW = 10
Said = Mapping[str, Any]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """One database of each kind; a test has a hospital of its own in it."""
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path_factory.mktemp('bills') / 'test.db'}")
        migrate(found, "services.his_bridge")
        subject_keys(found)
        yield found
        found.close()
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        found = Database(url)
        migrate(found, "services.his_bridge")
        subject_keys(found)
        yield found
        found.close()


@dataclass
class Hospital:
    """One hospital's side of the bridge: records come in one by one and are read at once."""

    database: Database
    name: str = field(default_factory=lambda: f"h{uuid.uuid4().hex}")
    pending: dict[tuple[str, str], Pending] = field(default_factory=dict)

    def keep(self, said: Said) -> Pending | None:
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
                "bills",
                [arrived],
                currency="CNY",
                now_us=1,
            )
        if not stored.pending:
            return None
        ((_, pending),) = stored.pending
        self.pending[said["id"], version] = pending
        return pending

    def settle(self, *judged: tuple[Pending, Outcome], now_us: int = NOW) -> outcomes.Settled:
        place = outcomes.Place(
            hospital=self.name,
            channel="bills",
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
            left = inbox.left_over(connection, sealer(connection), self.name, "bills", 100)
        return [entry.external_id.removeprefix("DFT/") for entry in left]

    def read_unread(self, *records: Said) -> None:
        """What the next pull does first."""
        said = {one["id"]: one for one in records}
        with self.database.reading() as connection:
            left = inbox.left_over(connection, sealer(connection), self.name, "bills", 100)
        for pending in left:
            what = said[pending.external_id.removeprefix("DFT/")]
            self.settle((pending, outcome_of(what)))


@pytest.fixture
def hospital(database: Database) -> Hospital:
    """Both patients have consented."""
    found = Hospital(database)
    record(database, found.name, [terms(LI), terms(WANG)])
    return found


def bare(bill: Bill) -> Bill:
    """Without numbers: those follow the order in which charges were released."""
    lines = sorted(
        (msgspec.structs.replace(line, number=0, line_id="") for line in bill.lines),
        key=lambda line: (line.code.code, line.billed),
    )
    return msgspec.structs.replace(bill, lines=tuple(lines))


def wanted(records: Sequence[Said]) -> dict[str, FoldedBill | None]:
    aliases = aliases_of(merges_of(records))
    events = events_of(records)
    roots = {aliases.survivor(event.account) for event in events}
    return {
        root: fold([e for e in events if aliases.survivor(e.account) == root], aliases)
        for root in roots
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
@pytest.mark.parametrize("order", ["reversed", "shuffled", "at once"])
def test_every_order_of_arrival_ends_with_the_same_bill_and_replay_with_no_event(
    hospital: Hospital, case: Said, order: str
) -> None:
    records = list(case["records"])
    arrival = records[::-1] if order == "reversed" else records[:]
    if order == "shuffled":
        random.Random(case["case"]).shuffle(arrival)
    if order == "at once":
        judged = [(hospital.keep(said), outcome_of(said)) for said in arrival]
        hospital.settle(*((p, outcome) for p, outcome in judged if p is not None))
    else:
        hospital.arrive(*arrival)
    for account, folded in wanted(records).items():
        released = hospital.released(account)
        last = released[-1] if released and released[-1][0].kind != "REVERSAL" else None
        if folded is not None and folded.status is BillStatus.FINAL and not folded.blocked:
            assert last is not None
            assert folded.bill is not None
            assert bare(last[1]) == bare(folded.bill)
        elif folded is not None and folded.status is BillStatus.REVERSED:
            assert last is None
        for _, bill in released:
            assert bill.total == sum(line.billed for line in bill.lines)
    for account in {"A", "B", "C"} - wanted(records).keys():  # it goes on as another, or never was
        assert [row.kind for row, _ in hospital.released(account)][-1:] in ([], ["REVERSAL"])
    assert hospital.waits() == case.get("waits", {})
    events, told = hospital.count(tables.bill_event), hospital.told()
    merges = hospital.count(tables.merge_event)
    assert hospital.arrive(*arrival) == []  # the inbox knows them
    for said in arrival:
        assert hospital.read_again(said) == outcomes.Settled()
    assert hospital.count(tables.bill_event) == events
    assert hospital.count(tables.merge_event) == merges
    assert hospital.told() == told
    assert hospital.waits() == case.get("waits", {})
