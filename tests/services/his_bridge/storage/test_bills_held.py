"""A bill of several records leaves as a whole under one consent, or not at all; both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.database import Database
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import Merged, MergeLevel, SetAside
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import record, take_back, terms
from tests.services.his_bridge.core.folding_cases import TOKENS, outcome_of
from tests.services.his_bridge.storage.hospital import NOW, Hospital, final, late, march, merge

LI, WANG = TOKENS["li"], TOKENS["wang"]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=2)
    subject_keys(found)
    yield found
    found.close()


def test_a_closed_bill_without_consent_is_held_as_a_whole_and_released_by_one(
    database: Database,
) -> None:
    hospital = Hospital(database)
    records = [
        late("L1", "09:00", {"C1": "100.00"}, days=[1, 1]),
        late("L2", "10:00", {"C2": "50.00"}, days=[5, 5]),
        final("F", "12:00"),
    ]
    settled = hospital.arrive(*records)
    assert [one.held for one in settled] == [0, 0, 1]  # nobody is asked before it is closed
    # A consent to some of its days frees none of it: never half a bill.
    record(database, hospital.name, [terms(LI, scope=march(1, 4))], NOW)
    assert (hospital.held(), hospital.unread(), hospital.told()) == (1, [], [])
    record(database, hospital.name, [terms(LI, scope=march(1, 5))], NOW)
    assert hospital.unread() == ["F"]
    hospital.read_unread(*records)
    assert (hospital.held(), hospital.told()) == (0, [("FINAL", 15000)])


def test_a_held_bill_is_held_once_by_the_record_that_came_last(database: Database) -> None:
    hospital = Hospital(database)
    records = [
        final("F", "09:00", {"C1": "100.00"}),
        late("L", "10:00", {"C2": "50.00"}),
        late("M", "11:00", {"C3": "1.00"}),
    ]
    for said in records:
        hospital.arrive(said)
        assert hospital.held() == 1
    record(database, hospital.name, [terms(LI)], NOW)
    assert hospital.unread() == ["M"]
    hospital.read_unread(*records)
    assert (hospital.held(), hospital.told()) == (0, [("FINAL", 15100)])


def test_a_held_bill_that_is_taken_back_is_held_no_more(database: Database) -> None:
    hospital = Hospital(database)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}))
    hospital.arrive({"id": "X", "at": "10:00", "says": "REVERSAL"})
    assert hospital.held() == 0
    record(database, hospital.name, [terms(LI)], NOW)
    assert (hospital.unread(), hospital.told()) == ([], [])


def test_a_change_after_the_consent_was_withdrawn_is_held(database: Database) -> None:
    hospital = Hospital(database)
    record(database, hospital.name, [given := terms(LI)])
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}))
    take_back(database, hospital.name, given, NOW)
    (settled,) = hospital.arrive(late("L", "10:00", {"C2": "50.00"}))
    assert (settled.held, hospital.told()) == (1, [("FINAL", 10000)])
    # A reversal is recorded whatever the person allows.
    hospital.arrive({"id": "X", "at": "11:00", "says": "REVERSAL"})
    assert hospital.told() == [("FINAL", 10000), ("REVERSAL", 10000)]
    assert hospital.held() == 0


def test_bills_of_one_batch_are_held_each_by_its_last_record(database: Database) -> None:
    hospital = Hospital(database)
    records = [
        final("FA", "09:00", {"C1": "1.00"}),
        final("FB", "09:00", {"C1": "2.00"}, account="B", patient="wang"),
        late("LA", "10:00", {"C2": "1.00"}),
    ]
    settled = hospital.settle(
        *((p, outcome_of(said)) for said in records if (p := hospital.keep(said)) is not None)
    )
    assert (settled.held, hospital.held()) == (2, 2)
    record(database, hospital.name, [terms(LI)], NOW)
    assert hospital.unread() == ["LA"]
    hospital.read_unread(*records)
    assert (hospital.told(), hospital.held()) == ([("FINAL", 200)], 1)


def test_a_bill_held_by_its_only_record_is_held_by_it_for_who_goes_on(database: Database) -> None:
    hospital = Hospital(database)
    only = final("F", "11:00", {"C1": "100.00"})
    hospital.arrive(only)
    pending = hospital.keep({"id": "M", "at": "10:00"})
    assert pending is not None
    hospital.settle((pending, Merged(level=MergeLevel.PATIENT, into=WANG, out_of=LI)))
    assert (hospital.held(), hospital.unread()) == (1, [])
    record(database, hospital.name, [terms(LI)], NOW)
    assert (hospital.held(), hospital.unread()) == (1, [])  # it is Wang's now
    record(database, hospital.name, [terms(WANG)], NOW)
    assert hospital.unread() == ["F"]
    hospital.read_unread(only)
    assert (hospital.held(), hospital.told()) == (0, [("FINAL", 10000)])
    assert [bill.member_token for _, bill in hospital.released()] == [WANG]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_bill_held_by_its_only_record_stays_held_when_its_account_is_merged(
    database: Database, at_once: bool
) -> None:
    hospital = Hospital(database)
    records = [final("F", "09:00", {"C1": "100.00"}), merge("M", "10:00", "A", "B")]
    if at_once:
        kept = [(hospital.keep(said), outcome_of(said)) for said in records]
        hospital.settle(*[(pending, outcome) for pending, outcome in kept if pending is not None])
    else:
        hospital.arrive(*records)
    assert (hospital.held(), hospital.unread()) == (1, [])
    record(database, hospital.name, [terms(LI)], NOW)
    assert hospital.unread() == ["F"]
    hospital.read_unread(*records)
    assert (hospital.held(), hospital.told("B")) == (0, [("FINAL", 10000)])


@pytest.mark.on_postgresql
def test_a_bill_whose_only_record_waits_for_a_person_is_held_by_none(database: Database) -> None:
    hospital = Hospital(database)
    only = final("F", "09:00", {"C1": "100.00"})
    hospital.arrive(only)
    record(database, hospital.name, [given := terms(LI)], NOW)
    aside = SetAside(faults=(Fault(reason=Reason.BRIDGE_FAILED, path=""),))
    hospital.settle((hospital.pending["F", "1"], aside))
    take_back(database, hospital.name, given, NOW)
    hospital.arrive(merge("M", "10:00", "A", "B"))
    assert (hospital.held(), hospital.told()) == (0, [])
    hospital.read_again(only)  # once that person has it replayed
    assert (hospital.held(), hospital.told()) == (1, [])
