"""What became of a hospital's records, counted: each stands once, and the sum holds."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from services.common.database import Database
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import BillWithdrawn, Outcome, SetAside
from services.his_bridge.storage import holding, inbox, last_pulls, lists, tables, waiting
from services.his_bridge.storage.inbox import Arrived
from services.his_bridge.storage.record_counts import RecordCounts
from tests.services.common.sealing.keys import sealer
from tests.services.his_bridge.consenting import record, terms
from tests.services.his_bridge.core.folding_cases import outcome_of
from tests.services.his_bridge.storage.hospital import final, late
from tests.services.his_bridge.storage.test_holding import (
    LI,
    WANG,
    Hospital,
    measured,
    programme,
    stated,
)

ERASED_ONE = "k1." + "e" * 64
BAD = SetAside(faults=(Fault(reason=Reason.CODE_NOT_MAPPED, path=""),))
PARTS = (
    *("read", "unread", "held", "quarantined", "parked"),
    *("unchanged", "kept_out", "superseded", "erased"),
)


def counted(hospital: Hospital) -> dict[str, RecordCounts]:
    with hospital.database.reading() as connection:
        found = last_pulls.status(connection, hospital.name, counts_records=True)
    return {one.channel: one.records for one in found if one.records is not None}


def adds_up(found: RecordCounts) -> bool:
    parts: list[int] = [getattr(found, part) for part in PARTS]
    return min(parts) >= 0 and sum(parts) == found.arrived


@pytest.fixture
def hospital(database: Database) -> Hospital:
    """Every outcome that a record can have, some of them twice."""
    found = Hospital(database)
    record(database, found.name, [terms(LI), programme(LI)])

    def settle(key: str, outcome: Outcome, version: str = "1") -> None:
        found.settle((found.arrive(key, version, int(version)), outcome))

    settle("a", stated("1"))
    settle("a", stated("1"), "2")  # says nothing new
    settle("held", stated("2", WANG))
    settle("held", stated("2", WANG), "2")  # supersedes the first
    settle("bad", BAD)
    settle("mended", BAD)
    settle("mended", stated("3"), "2")  # so that nobody waits for the first
    settle("final", outcome_of(final("final", "09:00", {"C1": "30.00"})))
    settle("ahead", outcome_of(late("ahead", "11:00", back={"C2": [1, "20.00"]})))  # parked
    settle("never ours", BillWithdrawn())
    other = Arrived(
        external_id="Claim/final", version="1", updated_us=1, raw=b"other", keep_out=False
    )
    outside = Arrived(external_id="Claim/out", version="1", updated_us=1, raw=b"o", keep_out=True)
    settle("erased", stated("4", ERASED_ONE))
    found.arrive("unread")
    with database.writing() as connection:
        key = sealer(connection)
        arrived = (other, outside, other)  # once a conflict; and what is not stored at all
        place = (connection, key, found.name, "bills", arrived)
        inbox.store(*place, currency="CNY", now_us=1)
        mine = tables.held_record.c.hospital == found.name
        held = select(tables.held_record.c.member).where(mine).order_by("inbox_id")
        holding.forget(connection, list(connection.execute(held).scalars())[-1])
    found.settle((found.arrive("r", channel="readings"), measured()))
    found.settle((found.arrive("r wang", channel="readings"), measured(member=WANG)))
    return found


def test_each_record_counts_once_and_the_sum_holds(hospital: Hospital) -> None:
    found = counted(hospital)
    assert found["bills"] == RecordCounts(
        arrived=13,
        read=3,  # a, mended, final
        unread=1,
        held=1,
        quarantined=2,  # bad, and the conflict
        parked=1,
        unchanged=1,
        kept_out=1,
        superseded=2,  # the first ones of held and mended
        erased=1,
        conflicts=1,
    )
    assert found["readings"] == RecordCounts(arrived=2, read=1, held=1)
    with hospital.database.reading() as connection:
        key = sealer(connection)
        listed = lists.quarantine_after(connection, key, hospital.name, 0, 100)
        parked = waiting.parked_after(connection, key, hospital.name, 0, 100)
        stored = connection.execute(
            select(func.count()).where(tables.inbox.c.hospital == hospital.name)
        ).scalar_one()
    assert all(map(adds_up, found.values()))
    assert (len(list(listed)), len(list(parked))) == (2, 1)
    assert stored == sum(one.arrived for one in found.values())
