"""What waits for its original is seen by the hospital's staff, and given up in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.access.caller import calling_as, noting
from services.common.database import Database
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.dialects.port import Glance, Key
from services.his_bridge.intake import Intake
from services.his_bridge.pulling import Puller
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.wiring import Hospital
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, record, terms
from tests.services.his_bridge.core.folding_cases import TOKENS, order_of, outcome_of
from tests.services.his_bridge.records import profile
from tests.services.his_bridge.storage.hospital import Said, final, late
from tests.tenants import of_installation

DEMO, DAY_US = "demo-hospital", 86_400_000_000
NOBODY: Any = None
FINAL, EARLY = final("F", "09:00", {"C1": "30.00"}), late("R", "11:00", back={"C2": [1, "20.00"]})
ORIGINAL = late("L", "10:00", {"C2": [2, "40.00"]})


class Reader:
    """Reads records that are written as the cases of tests/cases/bills are."""

    kind = "DFT"

    def glance(self, raw: bytes) -> Glance:
        return Glance(decoded=json.loads(raw), keep_out=False, needs=frozenset())

    def read_supporting(self, kind: str, raw: bytes) -> Any:
        raise NotImplementedError

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        return outcome_of(glance.decoded)


class Bridge:
    """A hospital that pushes its records, on a day that the test sets."""

    def __init__(self, database: Database) -> None:
        self.now_us = DAY_US
        keys = subject_keys(database)
        self.intake = Intake(
            "bills", profile(), lambda _: Reader(), database, keys, lambda: self.now_us, INSURER
        )
        bills = Puller(self.intake, None, lambda: self.now_us)
        self.service = HisBridgeServicer(
            database,
            keys,
            {DEMO: Hospital(profile=profile(), bills=bills, readings=None, source=None)},
            INSURER,
            lambda: self.now_us,
        )

    def push(self, *records: Said) -> None:
        raw = [
            RawRecord(
                kind="DFT",
                record_id=said["id"],
                version="1",
                updated=datetime.fromtimestamp(order_of(said)[0] / 1e6, UTC),
                raw=json.dumps(said).encode(),
            )
            for said in records
        ]
        asyncio.run(self.intake.take(raw))
        self.read()

    def read(self) -> None:
        asyncio.run(self.intake.read_arrived())

    def listed(self, *, parked: bool) -> list[tuple[str, str, str]]:
        request = pb.ListQuarantineRequest(parent=f"hospitals/{DEMO}", parked=parked)
        answer = asyncio.run(self.service.ListQuarantine(request, NOBODY))
        return [
            (one.source_record, one.stage, one.faults[0].reason)
            for one in answer.records
            if one.name.split("/")[2] == ("parked" if parked else "quarantine")
        ]

    def status(self) -> pb.ChannelStatus:
        request = pb.GetSourceStatusRequest(hospital=f"hospitals/{DEMO}")
        return asyncio.run(self.service.GetSourceStatus(request, NOBODY)).channels[0]


@pytest.fixture
def bridge(database_url: str) -> Iterator[Bridge]:
    database = Database(database_url, threads=2)
    subject_keys(database)
    record(database, DEMO, [terms(TOKENS["li"])])
    with calling_as(of_installation()), noting():
        yield Bridge(database)
    database.close()


def test_a_reversal_ahead_of_its_original_is_parked_seen_and_given_up(bridge: Bridge) -> None:
    bridge.push(FINAL, EARLY)
    assert bridge.listed(parked=True) == [("DFT/R", "fold", "ORIGINAL_NOT_THERE")]
    assert bridge.listed(parked=False) == []
    status = bridge.status()
    assert (status.parked_count, status.quarantined_count) == (1, 0)
    assert status.oldest_parked_time.ToMicroseconds() == DAY_US
    bridge.now_us += 30 * DAY_US
    bridge.read()
    assert bridge.status().parked_count == 1  # to the day: not yet
    bridge.now_us += 1
    bridge.read()
    assert bridge.listed(parked=False) == [("DFT/R", "fold", "ORIGINAL_NEVER_CAME")]
    assert bridge.listed(parked=True) == []
    status = bridge.status()
    assert (status.parked_count, status.quarantined_count) == (0, 1)
    assert not status.HasField("oldest_parked_time")
    bridge.push(ORIGINAL)  # and it counts all the same
    assert (bridge.listed(parked=True), bridge.listed(parked=False)) == ([], [])


@pytest.mark.on_postgresql
def test_a_page_token_of_one_list_is_foreign_to_the_other(bridge: Bridge) -> None:
    bridge.push(FINAL, EARLY, late("R2", "11:00", back={"C3": [1, "20.00"]}))
    parent = f"hospitals/{DEMO}"
    first = pb.ListQuarantineRequest(parent=parent, page_size=1, parked=True)
    page = asyncio.run(bridge.service.ListQuarantine(first, NOBODY))
    assert page.next_page_token
    rest = pb.ListQuarantineRequest(parent=parent, page_token=page.next_page_token, parked=True)
    assert len(asyncio.run(bridge.service.ListQuarantine(rest, NOBODY)).records) == 1
    rest.parked = False
    with pytest.raises(Exception, match="page_token"):
        asyncio.run(bridge.service.ListQuarantine(rest, NOBODY))


@pytest.mark.parametrize(
    ("stated", "left"),
    [("99999:00", 2_000), ("24:02", 3_000)],
    ids=["of another decade", "two minutes ahead, the control"],
)
def test_a_record_from_the_future_stands_against_no_later_correction(
    bridge: Bridge, stated: str, left: int
) -> None:
    bridge.push(final("F", stated, {"C1": "30.00"}))
    bridge.now_us += DAY_US
    at = "24:30" if left == 2_000 else "24:01"
    bridge.push({"id": "K", "at": at, "says": "CORRECTION", "lines": {"C1": "20.00"}})
    request = pb.ListBillsRequest(parent=f"hospitals/{DEMO}")
    answer = asyncio.run(bridge.service.ListBills(request, NOBODY))
    assert answer.bills[-1].bill.total.minor_units == left
