"""Patients' content is sealed, and erased with its key; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from sqlalchemy import Connection, select, text

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.access.caller import calling_as, noting
from services.common.database import Database
from services.common.refusals import Refused
from services.common.sealing import Erased, Sealer, SubjectKeys
from services.common.sealing.erasures import OtherErasure
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import (
    BillStated,
    BillWithdrawn,
    KeptOut,
    Outcome,
    ReadingsStated,
    SetAside,
)
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.storage import consents, holding, inbox, lists, outcomes, showing
from services.his_bridge.storage.erasure import Erasure, NothingKept, WithdrawalNotTold, erase
from services.his_bridge.storage.inbox import Arrived, Pending
from services.his_bridge.storage.sealed import open_bill, open_record
from services.his_bridge.storage.tables import inbox as inbox_table
from services.his_bridge.storage.tables import metadata, released_bill
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, record, take_back, terms
from tests.services.his_bridge.storage.test_storage import BAD, DAY, bill, reading
from tests.tenants import of_hospital, of_installation

HERE, THERE = "general", "other"
ANNA, BEN = "k1." + "a" * 64, "k1." + "b" * 64
NOBODY: Any = None
NOW = 3


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = with_tables(database_url, "services.his_bridge", threads=4)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def everybody() -> Iterator[None]:
    """Calls as the installation itself, which has no tenant."""
    with calling_as(of_installation()), noting():
        yield


@pytest.fixture
def keys(database: Database) -> SubjectKeys:
    return subject_keys(database)


class Bridge:
    """Records that come in and are read, without a hospital to ask."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self.database = database
        self.keys = keys

    def sealer(self, connection: Connection) -> Sealer:
        return self.keys.sealer(connection)

    def receive(self, key: str, version: str = "1", *, at: int = 0, of: str = HERE) -> Pending:
        arrived = Arrived(
            external_id=key,
            version=version,
            updated_us=at,
            raw=f"raw of {key} {version}".encode(),
            keep_out=False,
        )
        with self.database.writing() as connection:
            found = inbox.store(
                connection,
                self.sealer(connection),
                of,
                "bills" if key.startswith("Claim") else "readings",
                [arrived],
                currency="CNY",
                now_us=1,
            )
        ((_, pending),) = found.pending
        return pending

    def settle(self, pending: Pending, outcome: Outcome, of: str = HERE) -> outcomes.Settled:
        with self.database.writing() as connection:
            sealer = self.sealer(connection)
            measured = isinstance(outcome, ReadingsStated)
            place = outcomes.Place(
                hospital=of,
                channel="readings" if measured else "bills",
                recipient=INSURER,
                currency="CNY",
                zone="Asia/Shanghai",
            )
            return outcomes.settle(connection, sealer, place, [(pending, outcome)], now_us=NOW)

    def bills(self, of: str = HERE, delivery: str | None = None) -> list[showing.ShownBill]:
        """What a consent covers."""
        with self.database.reading() as connection:
            sealer = self.sealer(connection)
            return showing.bills_after(connection, sealer, of, INSURER, 0, 100, delivery, NOW)

    def rows(self, of: str = HERE) -> list[Any]:
        """Every released bill as it is kept."""
        with self.database.reading() as connection:
            mine = select(released_bill).where(released_bill.c.hospital == of)
            return list(connection.execute(mine.order_by(released_bill.c.seq)))

    def readings(self, token: str | None = None) -> list[showing.ShownReading]:
        with self.database.reading() as connection:
            sealer = self.sealer(connection)
            hospitals = [HERE, THERE]
            return showing.readings_after(
                connection, sealer, INSURER, token, 0, 100, NOW, hospitals
            )

    def waiting(self) -> list[tuple[str, str]]:
        with self.database.reading() as connection:
            sealer = self.sealer(connection)
            found = lists.quarantine_after(connection, sealer, HERE, 0, 100)
        return [
            (entry.external_id, json.loads(bytes(entry.row.faults))[0]["reason"]) for entry in found
        ]

    def raw(self) -> dict[str, bytes | None]:
        """External id and version → bytes that are kept."""
        with self.database.reading() as connection:
            sealer = self.sealer(connection)
            rows = connection.execute(inbox_table.select()).all()
            return {
                f"{open_record(sealer, row, 'external_id').decode()} {row.version}": None
                if row.raw is None
                else open_record(sealer, row, "raw")
                for row in rows
            }

    def erase(self, request_id: str, token: str, *hospitals: str) -> Erasure:
        return erase(
            self.database,
            self.keys,
            request_id,
            token,
            hospitals or (HERE,),
            NOW,
            recipient=INSURER,
        )


@pytest.fixture
def bridge(database: Database, keys: SubjectKeys) -> Bridge:
    """With consents of both to everything, at both hospitals."""
    for hospital in (HERE, THERE):
        record(database, hospital, [*all_of(ANNA), *all_of(BEN)])
    return Bridge(database, keys)


def opened(bridge: Bridge, row: Any) -> Bill:
    with bridge.database.reading() as connection:
        return open_bill(bridge.sealer(connection), row)


def stated(token: str, total: int = 100) -> BillStated:
    return BillStated(bill=bill_of(token, total), day=DAY)


def bill_of(token: str, total: int = 100) -> Bill:
    return msgspec.structs.replace(bill(total), member_token=token)


def measured(token: str) -> ReadingsStated:
    component, found = reading("7.246813")
    theirs = msgspec.structs.replace(found, member_token=token)
    return ReadingsStated(readings=((component, theirs),))


def fill(bridge: Bridge) -> None:
    bridge.settle(bridge.receive("Claim/anna"), stated(ANNA))
    bridge.settle(bridge.receive("Claim/ben"), stated(BEN, 200))
    bridge.settle(bridge.receive("Observation/anna"), measured(ANNA))
    bridge.settle(bridge.receive("Observation/ben"), measured(BEN))
    bridge.settle(bridge.receive("Claim/there", of=THERE), stated(ANNA, 300), THERE)


def test_what_was_sealed_is_gone_and_everybody_elses_stays(bridge: Bridge) -> None:
    fill(bridge)
    assert bridge.erase("e1", ANNA) == Erasure(keys=1, bills=1, readings=1, refused=1)
    (other,) = bridge.bills()
    assert other.bill == bill_of(BEN, 200)
    mine, _ = bridge.rows()
    assert (mine.total_minor, mine.day, mine.kind) == (100, "2026-03-01", "FINAL")
    with pytest.raises(Erased):
        opened(bridge, mine)
    assert [entry.reading.member_token for entry in bridge.readings()] == [BEN]
    assert bridge.readings(ANNA) == []
    # Another hospital's records of the same person are that hospital's to erase.
    (there,) = bridge.bills(THERE)
    assert there.bill == bill_of(ANNA, 300)
    assert bridge.erase("e2", ANNA, HERE, THERE).bills == 1
    assert bridge.bills(THERE) == []


def test_a_bill_that_was_not_taken_is_withheld_and_a_taken_one_keeps_its_claims(
    bridge: Bridge,
) -> None:
    fill(bridge)
    bridge.settle(bridge.receive("Claim/anna-2"), stated(ANNA, 50))
    first, _, second = (row.name for row in bridge.rows())
    taken = lists.Answer(
        bill=first, delivery="TAKEN", claims=("policies/p/claims/c",), refusal_reasons=()
    )
    with bridge.database.writing() as connection:
        lists.acknowledge(connection, HERE, "r1", [taken], recipient=INSURER, now_us=2)
    assert bridge.erase("e1", ANNA).refused == 1
    rows = {row.name: row for row in bridge.rows()}
    assert (rows[first].delivery, bytes(rows[first].claims)) == (
        "TAKEN",
        b'["policies/p/claims/c"]',
    )
    assert (rows[second].delivery, bytes(rows[second].refusal_reasons)) == (
        "REFUSED",
        b'["ERASED"]',
    )
    assert [entry.bill for entry in bridge.bills(delivery="PENDING")] == [bill_of(BEN, 200)]


@pytest.mark.parametrize("later", [stated(ANNA, 150), BillWithdrawn()])
def test_a_later_version_of_an_erased_bill_waits_for_a_person(
    bridge: Bridge, later: Outcome
) -> None:
    fill(bridge)
    bridge.erase("e1", ANNA)
    settled = bridge.settle(bridge.receive("Claim/anna", "2", at=5), later)
    assert settled.quarantined == 1
    assert bridge.waiting() == [("Claim/anna", Reason.MEMBER_ERASED)]


def test_what_the_hospital_states_afterwards_is_a_new_members(bridge: Bridge) -> None:
    fill(bridge)
    bridge.erase("e1", ANNA)
    # The consents went with the person: what comes is held until a new one is given.
    assert bridge.settle(bridge.receive("Claim/anna-8"), stated(ANNA, 80)).held == 1
    assert [entry.bill for entry in bridge.bills()] == [bill_of(BEN, 200)]
    record(bridge.database, HERE, all_of(ANNA))
    assert bridge.settle(bridge.receive("Claim/anna-9"), stated(ANNA, 70)).released == 1
    assert bridge.settle(bridge.receive("Observation/anna", "2"), measured(ANNA)).released == 1
    assert [entry.bill for entry in bridge.bills()][-1] == bill_of(ANNA, 70)
    assert len(bridge.readings(ANNA)) == 1
    assert bridge.erase("e2", ANNA) == Erasure(keys=1, bills=1, readings=1, refused=1)


def test_totals_by_day_stay(bridge: Bridge) -> None:
    fill(bridge)

    def total() -> tuple[int, int]:
        with bridge.database.reading() as connection:
            sealer = bridge.sealer(connection)
            found = lists.totals_by_day(connection, sealer, HERE, DAY, DAY)
        return found[DAY].count, found[DAY].total

    before = total()
    bridge.erase("e1", ANNA)
    assert total() == before == (2, 300)


def test_the_bytes_of_a_record_are_kept_as_long_as_somebody_needs_them(bridge: Bridge) -> None:
    bridge.settle(bridge.receive("Claim/read"), stated(ANNA))
    bridge.settle(bridge.receive("Claim/read", "2", at=1), stated(ANNA))  # says nothing new
    bridge.settle(bridge.receive("Claim/filtered"), KeptOut())
    bridge.settle(bridge.receive("Claim/bad"), BAD)
    bridge.receive("Claim/unread")
    assert bridge.raw() == {
        "Claim/read 1": b"raw of Claim/read 1",
        "Claim/read 2": None,
        "Claim/filtered 1": None,
        "Claim/bad 1": b"raw of Claim/bad 1",
        "Claim/unread 1": b"raw of Claim/unread 1",
    }
    with bridge.database.writing() as connection:
        assert inbox.drop_old_raw(connection, HERE, before_us=2) == 0
        assert inbox.drop_old_raw(connection, THERE, before_us=9) == 0
        assert inbox.drop_old_raw(connection, HERE, before_us=9) == 1
    kept = bridge.raw()
    assert [name for name, raw in kept.items() if raw] == ["Claim/read 1", "Claim/unread 1"]
    assert bridge.waiting() == [("Claim/bad", Reason.LINES_DO_NOT_ADD_UP)]
    bridge.erase("e1", ANNA)
    with pytest.raises(Erased):
        bridge.raw()


def test_an_unread_record_is_sealed_and_read_by_another_process(
    bridge: Bridge, database: Database
) -> None:
    bridge.receive("Claim/unread")
    other = Bridge(database, subject_keys(database))
    with database.reading() as connection:
        sealer = other.sealer(connection)
        (entry,) = inbox.opened(connection, sealer, inbox.left_over(connection, HERE, "bills", 10))
    assert (entry.external_id, entry.raw) == ("Claim/unread", b"raw of Claim/unread 1")
    assert other.settle(entry, stated(ANNA)).released == 1
    assert other.raw() == {"Claim/unread 1": b"raw of Claim/unread 1"}


def test_a_dry_run_says_what_would_go_and_does_nothing(bridge: Bridge) -> None:
    fill(bridge)
    before = bridge.bills()
    would = erase(
        bridge.database, bridge.keys, "e1", ANNA, (HERE,), NOW, recipient=INSURER, dry_run=True
    )
    assert (would.keys, would.bills) == (1, 1)
    assert bridge.bills() == before
    assert bridge.erase("e1", ANNA) == would


def test_an_erasure_is_done_once_and_answers_the_same(bridge: Bridge) -> None:
    fill(bridge)
    done = bridge.erase("e1", ANNA)
    assert bridge.erase("e1", ANNA) == done
    with pytest.raises(OtherErasure):
        bridge.erase("e1", BEN)
    with pytest.raises(OtherErasure):
        bridge.erase("e1", ANNA, THERE)  # where something is kept about her
    assert len(bridge.bills(THERE)) == 1
    assert [bill.bill.member_token for bill in bridge.bills()] == [BEN]
    assert bridge.erase("e1", ANNA) == done
    with pytest.raises(NothingKept):
        bridge.erase("e2", ANNA)


def test_nothing_planted_stands_in_the_database(tmp_path: Path) -> None:
    database = with_tables(f"sqlite:///{tmp_path}/bridge.db", "services.his_bridge")
    bridge = Bridge(database, subject_keys(database))
    record(database, HERE, [*all_of(ANNA), *all_of(BEN)])
    record(database, THERE, all_of(ANNA))
    fill(bridge)
    bridge.settle(bridge.receive("Claim/visit-11010119900307002X"), stated(ANNA))
    bridge.settle(bridge.receive("Claim/MRN-77"), SetAside(faults=BAD.faults, total=5))
    planted = (
        ANNA,
        BEN,
        "raw of",
        "MRN-77",
        "11010119900307002X",
        "4548-4",
        "7.246813",
        "Claim/anna",
    )
    files = b"".join(path.read_bytes() for path in tmp_path.glob("bridge.db*"))
    assert [word for word in planted if word.encode() in files] == []
    # The control: what is not sealed is found.
    assert HERE.encode() in files
    with database.writing() as connection:
        connection.execute(text("UPDATE inbox SET raw = :raw"), {"raw": b"raw of MRN-77"})
    files = b"".join(path.read_bytes() for path in tmp_path.glob("bridge.db*"))
    assert b"raw of MRN-77" in files
    index = bridge.keys.index(f"{HERE}/{ANNA}", table="member", column="token_index")
    assert index.encode() in files
    bridge.erase("e1", ANNA)
    files = b"".join(path.read_bytes() for path in tmp_path.glob("bridge.db*"))
    assert index.encode() not in files
    database.close()


SWAPS = {
    "released_bill of the same patient": (
        "UPDATE released_bill SET body = (SELECT body FROM released_bill WHERE seq = 3)"
        " WHERE seq = 1"
    ),
    "released_bill of another patient": (
        "UPDATE released_bill SET body = (SELECT body FROM released_bill WHERE seq = 2)"
        " WHERE seq = 1"
    ),
    "a column of the same row": "UPDATE released_bill SET body = external_id WHERE seq = 1",
    "cut short": "UPDATE released_bill SET body = substr(body, 1, 40) WHERE seq = 1",
}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_was_swapped_or_cut_short_is_data_loss_on_the_wire(bridge: Bridge, swap: str) -> None:
    bridge.settle(bridge.receive("Claim/1"), stated(ANNA))
    bridge.settle(bridge.receive("Claim/2"), stated(BEN, 200))
    bridge.settle(bridge.receive("Claim/3"), stated(ANNA, 300))
    name = bridge.rows()[0].name
    with bridge.database.writing() as connection:
        connection.execute(text(SWAPS[swap]))
    service = served(bridge)
    request = pb.GetBillRequest(name=f"hospitals/{HERE}/bills/{name}")
    with pytest.raises(Refused) as told:
        asyncio.run(service.GetBill(request, NOBODY))
    assert (told.value.code, told.value.reason) == (
        grpc.StatusCode.DATA_LOSS,
        "SEALED_VALUE_ALTERED",
    )


def served(bridge: Bridge) -> HisBridgeServicer:
    hospitals: Any = {HERE: None, THERE: None}
    return HisBridgeServicer(bridge.database, bridge.keys, hospitals, INSURER, lambda: NOW)


def test_over_the_wire(bridge: Bridge) -> None:
    fill(bridge)
    service = served(bridge)

    def erased(request_id: str, token: str, hospital: str) -> pb.EraseMemberResponse:
        request = pb.EraseMemberRequest(
            request_id=request_id, member=f"members/{token}", hospital=hospital
        )
        return asyncio.run(service.EraseMember(request, NOBODY))

    done = erased("e1", ANNA, "hospitals/-")
    assert (done.destroyed_key_count, done.bill_count, done.refused_bill_count) == (2, 2, 2)
    assert done.reading_count == 1
    assert erased("e1", ANNA, "hospitals/-") == done
    listed = asyncio.run(
        service.ListBills(pb.ListBillsRequest(parent=f"hospitals/{HERE}"), NOBODY)
    ).bills
    assert [one.bill.member_token for one in listed] == [BEN]
    gone = pb.GetBillRequest(name=f"hospitals/{HERE}/bills/{bridge.rows()[0].name}")
    with pytest.raises(Refused) as erased_bill:
        asyncio.run(service.GetBill(gone, NOBODY))
    assert (erased_bill.value.code, erased_bill.value.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ERASED",
    )
    for request_id, token, hospital, reason in (
        ("e1", BEN, "hospitals/-", "REQUEST_ID_REUSED"),
        ("e2", ANNA, "hospitals/-", "NOT_FOUND"),
        ("e3", ANNA, "hospitals/nowhere", "NOT_FOUND"),
        ("e4", "m", "hospitals/-", "INVALID_REQUEST"),
        ("", ANNA, "x", "INVALID_REQUEST"),
    ):
        with pytest.raises(Refused) as refused:
            erased(request_id, token, hospital)
        assert refused.value.reason == reason
        assert ANNA not in f"{refused.value.text} {refused.value.metadata}"


def test_an_erasure_leaves_no_way_from_the_token_to_what_stays(bridge: Bridge) -> None:
    fill(bridge)
    bridge.erase("e1", ANNA, HERE, THERE)
    with bridge.database.reading() as connection:
        for table in metadata.tables:
            assert ANNA not in str(connection.execute(text(f"SELECT * FROM {table}")).all())


def test_a_records_office_erases_what_its_own_hospital_keeps(bridge: Bridge) -> None:
    fill(bridge)
    service = served(bridge)
    request = pb.EraseMemberRequest(
        request_id="e1", member=f"members/{ANNA}", hospital="hospitals/-"
    )
    with calling_as(of_hospital(THERE)):
        done = asyncio.run(service.EraseMember(request, NOBODY))
    assert (done.destroyed_key_count, done.bill_count) == (1, 1)
    assert bridge.bills(THERE) == []
    assert bridge.bills(HERE)[0].bill == bill_of(ANNA)
    with calling_as(of_hospital(HERE)):  # the same request id is another's
        done = asyncio.run(service.EraseMember(request, NOBODY))
    assert done.bill_count == 1
    assert [entry.bill for entry in bridge.bills(HERE)] == [bill_of(BEN, 200)]


def test_what_is_held_of_an_erased_patient_is_never_read(bridge: Bridge) -> None:
    carl = "k1." + "c" * 64
    assert bridge.settle(bridge.receive("Claim/held"), stated(carl)).held == 1
    woken = terms(carl)
    assert bridge.settle(bridge.receive("Claim/woken"), stated(carl, 7)).held == 1
    record(bridge.database, HERE, [woken])  # both are to be read by the next pull
    assert bridge.erase("e1", carl) == Erasure(keys=1)
    with bridge.database.reading() as connection:
        assert (
            inbox.opened(
                connection,
                bridge.sealer(connection),
                inbox.left_over(connection, HERE, "bills", 10),
            )
            == []
        )
    record(bridge.database, HERE, all_of(carl))
    with bridge.database.reading() as connection:
        assert (
            inbox.opened(
                connection,
                bridge.sealer(connection),
                inbox.left_over(connection, HERE, "bills", 10),
            )
            == []
        )
    assert bridge.bills() == []


def test_the_register_keeps_that_there_was_a_consent_and_no_more(bridge: Bridge) -> None:
    given = terms(ANNA)
    record(bridge.database, HERE, [given])
    bridge.erase("e1", ANNA)
    with bridge.database.reading() as connection:
        sealer = bridge.sealer(connection)
        kept = consents.consent_named(connection, sealer, HERE, given.consent_id)
        assert kept is not None
        assert kept.consent is None
        assert consents.history_of(connection, sealer, HERE, given.consent_id) == []
        listed = consents.consents_after(connection, sealer, HERE, 0, 100, None)
        assert len([one for one in listed if one.consent is None]) == 4
        assert consents.consents_after(connection, sealer, HERE, 0, 100, ANNA) == []
        for table in ("consent", "consent_event", "consent_request", "held_record"):
            assert ANNA not in str(connection.execute(text(f"SELECT * FROM {table}")).all())
    with pytest.raises(consents.OtherContent):  # its name is not given again
        record(bridge.database, HERE, [given])


def test_a_withdrawal_reaches_the_insurer_before_the_patient_is_erased(bridge: Bridge) -> None:
    given = terms(ANNA)
    record(bridge.database, HERE, [given])
    take_back(bridge.database, HERE, given)
    with pytest.raises(WithdrawalNotTold):
        bridge.erase("e1", ANNA)
    with bridge.database.writing() as connection:
        holding.one_at_a_time(connection, HERE)
        assert consents.told(connection, HERE, [given.consent_id], now_us=NOW) == []
    assert bridge.erase("e1", ANNA).keys == 1
