"""Bills of several records: released when they are closed, once for each change; both databases."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import func, select

from services.common.database import Database
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.folding import BillStatus, FoldedBill, fold
from services.his_bridge.core.merges import aliases_of
from services.his_bridge.core.outcomes import Merged, MergeLevel
from services.his_bridge.storage import last_pulls, outcomes, tables, waiting
from services.his_bridge.storage.erasure import erase
from services.his_bridge.storage.sealed import external_index
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, terms
from tests.services.his_bridge.core.folding_cases import (
    CASES,
    TOKENS,
    events_of,
    merges_of,
    outcome_of,
)
from tests.services.his_bridge.storage.hospital import (
    NOW,
    Hospital,
    Said,
    final,
    late,
    march,
    merge,
)

LI, WANG = TOKENS["li"], TOKENS["wang"]


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


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
@pytest.mark.parametrize("order", ["reversed", "at once"])
def test_every_order_of_arrival_ends_with_the_same_bill_and_replay_with_no_event(
    hospital: Hospital, case: Said, order: str
) -> None:
    records = list(case["records"])
    arrival = records[::-1]
    if order == "at once":
        random.Random(case["case"]).shuffle(arrival)
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


# The stories below are told in records as the cases of tests/cases/bills are.


# What is released, and when.


def test_nothing_of_an_open_bill_leaves_and_each_change_of_a_closed_one_does(
    hospital: Hospital,
) -> None:
    hospital.arrive(late("L1", "09:00", {"C1": "100.00"}), late("L2", "09:10", {"C2": "50.00"}))
    assert hospital.told() == []
    hospital.arrive(final("F", "12:00"))
    assert hospital.told() == [("FINAL", 15000)]
    hospital.arrive(late("L3", "13:00", {"C3": "7.00"}))
    hospital.arrive(late("R", "14:00", back={"C1": "100.00"}))
    hospital.arrive({"id": "X", "at": "15:00", "says": "REVERSAL"})
    assert hospital.told() == [
        ("FINAL", 15000),
        ("CORRECTION", 15700),
        ("CORRECTION", 5700),
        ("REVERSAL", 5700),
    ]
    first, *later = [row for row, _ in hospital.released()]
    assert [row.name for row in later] == [f"{first.name}.{n}" for n in (2, 3, 4)]
    hospital.arrive(final("F2", "16:00", {"C1": "1.00"}))
    assert hospital.told()[-1] == ("CORRECTION", 100)


def test_an_interim_bill_after_the_final_one_is_kept_until_it_is_closed(
    hospital: Hospital,
) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}))
    interim = {"id": "I", "at": "10:00", "says": "INTERIM", "lines": {"C1": "100.00", "C2": "9.00"}}
    hospital.arrive(interim)
    assert hospital.told() == [("FINAL", 10000)]
    hospital.arrive(final("F2", "11:00"))
    assert hospital.told() == [("FINAL", 10000), ("CORRECTION", 10900)]


def test_a_line_keeps_the_number_under_which_it_was_released(hospital: Hospital) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "1.00", "C2": "2.00"}))
    hospital.arrive(late("L2", "12:00", {"C4": "4.00"}))
    hospital.arrive(late("L1", "11:00", {"C3": "3.00"}))  # earlier, and later here
    hospital.arrive(late("R", "13:00", back={"C1": "1.00"}))
    hospital.arrive(final("K", "14:00", {"C5": "5.00", "C4": "4.00", "C1": "1.00"}))
    numbers = [
        {line.line_id: line.number for line in bill.lines} for _, bill in hospital.released()
    ]
    assert numbers == [
        {"C1": 1, "C2": 2},
        {"C1": 1, "C2": 2, "C4": 3},
        {"C1": 1, "C2": 2, "C4": 3, "C3": 4},
        {"C2": 2, "C4": 3, "C3": 4},
        {"C5": 5, "C4": 3, "C1": 1},
    ]


def test_a_record_that_moves_to_another_bill_counts_there_alone(hospital: Hospital) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "1.00"}), late("L", "10:00", {"C2": "2.00"}))
    moved = late("L", "11:00", {"C2": "2.00"}, version=2, account="B")
    hospital.arrive(moved, final("FB", "12:00", account="B"))
    assert hospital.told("A") == [("FINAL", 100), ("CORRECTION", 300), ("CORRECTION", 100)]
    assert hospital.told("B") == [("FINAL", 200)]


def test_an_older_version_that_comes_after_the_record_moved_changes_nothing(
    hospital: Hospital,
) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "1.00"}))
    hospital.arrive(late("L", "11:00", {"C2": "2.00"}, version=2, account="B"))
    hospital.arrive(final("FB", "12:00", account="B"), late("L", "10:00", {"C2": "2.00"}))
    assert (hospital.told("A"), hospital.told("B")) == ([("FINAL", 100)], [("FINAL", 200)])


def test_versions_of_a_whole_bill_in_any_order_end_with_the_newest(hospital: Hospital) -> None:
    """The middle one comes last, and the newest says what the oldest said."""
    first = final("F", "09:00", {"C1": "1.00"})
    middle = final("F", "10:00", {"C1": "2.00"}, version=2)
    newest = final("F", "11:00", {"C1": "1.00"}, version=3)
    hospital.arrive(first, newest, middle)
    assert hospital.told() == [("FINAL", 100)]


def test_versions_of_one_moment_are_told_apart_by_their_number(hospital: Hospital) -> None:
    ninth, tenth = (final("F", "09:00", {"C1": f"{n}.00"}, version=n) for n in (9, 10))
    hospital.arrive(tenth, ninth)
    assert hospital.told() == [("FINAL", 1000)]


# What waits.


def test_a_parked_record_is_counted_given_up_and_counts_all_the_same(hospital: Hospital) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "30.00"}), now_us=5)
    hospital.arrive(late("R", "11:00", back={"C2": [1, "20.00"]}), now_us=6)

    def parked() -> tuple[int, int | None, int]:
        with hospital.database.reading() as connection:
            bills, _ = last_pulls.status(connection, hospital.name)
        return bills.parked, bills.parked_us, bills.quarantined

    def give_up(before_us: int) -> int:
        with hospital.database.writing() as connection:
            return waiting.give_up(
                connection, hospital.name, before_us=before_us, currency="CNY", now_us=20
            )

    assert parked() == (1, 6, 0)
    assert (give_up(6), hospital.waits()) == (0, {"R": "ORIGINAL_NOT_THERE"})
    assert (give_up(7), hospital.waits()) == (1, {"R": "ORIGINAL_NEVER_CAME"})
    assert give_up(99) == 0
    assert parked() == (0, None, 1)
    hospital.arrive(late("L", "10:00", {"C2": [2, "40.00"]}))
    assert (hospital.waits(), parked()) == ({}, (0, None, 0))
    assert hospital.told() == [("FINAL", 3000), ("CORRECTION", 5000)]


def test_what_did_not_fit_leaves_the_quarantine_when_it_does(hospital: Hospital) -> None:
    hospital.arrive(late("L1", "09:00", {"C1": "100.00"}))
    (settled,) = hospital.arrive(final("F", "12:00", total="150.00"))
    assert (settled.quarantined, hospital.waits()) == (1, {"F": "LINES_DO_NOT_ADD_UP"})
    hospital.arrive(late("L2", "10:00", {"C2": "50.00"}))
    assert (hospital.told(), hospital.waits()) == ([("FINAL", 15000)], {})
    # And is back when the charge is taken back again; the table keeps every row.
    hospital.arrive({"id": "X", "at": "11:00", "says": "REVERSAL", "reverses": "L2"})
    assert hospital.waits() == {"F": "LINES_DO_NOT_ADD_UP"}
    assert hospital.count(tables.quarantine) == 2


def test_of_two_patients_on_one_bill_nothing_more_is_released(hospital: Hospital) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}))
    hospital.arrive(late("L", "10:00", {"C2": "50.00"}, patient="wang"))
    assert hospital.told() == [("FINAL", 10000)]
    assert hospital.waits() == {"F": "PATIENTS_DIFFER", "L": "PATIENTS_DIFFER"}
    hospital.arrive(late("L", "10:30", {"C2": "50.00"}, version=2))
    assert hospital.told() == [("FINAL", 10000), ("CORRECTION", 15000)]
    assert hospital.waits() == {}


# Merges.


def test_the_old_accounts_bill_is_reversed_and_the_new_ones_corrected(hospital: Hospital) -> None:
    hospital.arrive(final("FA", "09:00", {"C1": "100.00"}))
    hospital.arrive(final("FB", "09:30", {"C1": "50.00"}, account="B"))
    hospital.arrive(merge("M", "10:00", "A", "B"))
    assert hospital.told("A") == [("FINAL", 10000), ("REVERSAL", 10000)]
    assert hospital.told("B") == [("FINAL", 5000), ("CORRECTION", 15000)]
    # The reversal comes first, so that what the old claim had used up is free again.
    assert [row.kind for row, _ in hospital.released()][2:] == ["REVERSAL", "CORRECTION"]
    hospital.arrive(late("LA", "11:00", {"C9": "1.00"}))  # the HIS goes on under the old account
    assert hospital.told("A")[-1] == ("REVERSAL", 10000)
    assert hospital.told("B")[-1] == ("CORRECTION", 15100)
    with hospital.database.reading() as connection:
        index = external_index(sealer(connection), hospital.name, "A")
        kept = select(func.count()).where(
            tables.bill_event.c.hospital == hospital.name,
            tables.bill_event.c.external_index == index,
        )
        assert connection.execute(kept).scalar_one() == 2  # the ledger is not rewritten


def test_a_bill_that_goes_on_under_its_own_number_is_not_taken_back_at_the_insurers(
    hospital: Hospital,
) -> None:
    hospital.arrive(final("FA", "09:00", {"C1": "100.00"}), merge("M", "10:00", "A", "B"))
    (old, _), (new, bill), (gone, _) = hospital.released()
    assert (old.kind, old.delivery) == ("FINAL", "PENDING")
    assert (new.kind, new.delivery, bill.bill_number) == ("CORRECTION", "PENDING", "NO-A")
    assert (gone.kind, gone.delivery, gone.name) == ("REVERSAL", "TAKEN", f"{old.name}.2")


def merge_patients(hospital: Hospital) -> None:
    """Li goes on as Wang."""
    outcome = Merged(level=MergeLevel.PATIENT, into=WANG, out_of=LI)
    pending = hospital.keep({"id": "M", "at": "10:00"})
    assert pending is not None
    hospital.settle((pending, outcome))


PATIENTS = {
    "L1": late("L1", "09:00", {"C1": "1.00"}),
    "M": {"id": "M", "at": "10:00"},
    "L2": late("L2", "11:00", {"C2": "2.00"}),
    "L3": late("L3", "11:30", {"C3": "4.00"}, patient="wang"),
    "F": final("F", "12:00"),
}


@pytest.mark.parametrize("arrival", [*itertools.permutations(["L1", "M", "L3", "F"])][::5])
def test_what_comes_after_a_merge_of_patients_is_the_survivors_in_every_order(
    hospital: Hospital, arrival: Sequence[str]
) -> None:
    for name in [*arrival, "L2"]:
        if name == "M":
            merge_patients(hospital)
        else:
            hospital.arrive(PATIENTS[name])
    *_, (row, bill) = hospital.released()
    assert (row.kind != "REVERSAL", bill.total, bill.member_token) == (True, 700, WANG)
    assert hospital.waits() == {}


def test_a_bill_from_before_a_merge_of_patients_stays_the_first_ones(hospital: Hospital) -> None:
    hospital.arrive(final("F", "09:00", {"C1": "1.00"}))
    merge_patients(hospital)
    assert [bill.member_token for _, bill in hospital.released()] == [LI]


def test_a_bill_from_after_a_merge_that_came_late_is_taken_from_the_first_patient(
    hospital: Hospital,
) -> None:
    hospital.arrive(final("F", "11:00", {"C1": "1.00"}))
    merge_patients(hospital)
    assert [(row.kind, bill.member_token) for row, bill in hospital.released()] == [
        ("FINAL", LI),
        ("REVERSAL", LI),
        ("CORRECTION", WANG),
    ]


def test_a_merge_of_patients_holds_each_bill_that_lacks_the_survivors_consent(
    database: Database,
) -> None:
    hospital = Hospital(database)
    record(database, hospital.name, [terms(LI)])
    records = [
        final("FA", "11:00", {"C1": "1.00"}, days=[1, 1]),
        final("FB", "11:00", {"C1": "2.00"}, days=[9, 9], account="B"),
    ]
    hospital.arrive(*records)
    merge_patients(hospital)
    assert hospital.held() == 2
    assert [row.kind for row, _ in hospital.released()] == [*["FINAL"] * 2, *["REVERSAL"] * 2]
    record(database, hospital.name, [terms(WANG, scope=march(9, 9))], NOW)
    assert hospital.unread() == ["FB"]
    hospital.read_unread(*records)
    assert hospital.told("B")[-1] == ("CORRECTION", 200)
    assert hospital.told("A")[-1] == ("REVERSAL", 100)
    assert hospital.held() == 1


# Erasure.


def erase_patient(hospital: Hospital, token: str) -> None:
    keys = subject_keys(hospital.database)
    erase(
        hospital.database, keys, uuid.uuid4().hex, token, (hospital.name,), NOW, recipient=INSURER
    )


def test_a_later_record_of_an_erased_bill_waits_for_a_person(hospital: Hospital) -> None:
    hospital.arrive(late("L", "09:00", {"C1": "1.00"}), final("F", "12:00"))
    erase_patient(hospital, LI)
    record(hospital.database, hospital.name, [terms(LI)])
    hospital.arrive(late("L2", "13:00", {"C2": "2.00"}))
    hospital.arrive({"id": "X", "at": "14:00", "says": "REVERSAL"})
    assert hospital.waits() == {"L2": "MEMBER_ERASED", "X": "MEMBER_ERASED"}
    assert hospital.count(tables.released_bill) == 1


def test_a_bill_that_is_held_is_forgotten_with_its_patient(database: Database) -> None:
    hospital = Hospital(database)
    hospital.arrive(late("L", "09:00", {"C1": "1.00"}), final("F", "12:00"))
    assert hospital.held() == 1
    erase_patient(hospital, LI)
    assert (hospital.held(), hospital.unread()) == (0, [])


def test_an_open_bill_is_erased_though_it_was_never_released(hospital: Hospital) -> None:
    hospital.arrive(late("L", "09:00", {"C1": "1.00"}))
    erase_patient(hospital, LI)
    hospital.arrive(final("F", "12:00"))
    assert hospital.waits() == {"F": "MEMBER_ERASED"}
    hospital.arrive(final("FB", "12:00", {"C1": "2.00"}, account="B"))
    assert hospital.held() == 1  # a new member, who has consented to nothing


def test_an_account_that_took_in_an_erased_ones_bill_waits_too(hospital: Hospital) -> None:
    hospital.arrive(final("FA", "09:00", {"C1": "1.00"}), merge("M", "10:00", "A", "B"))
    erase_patient(hospital, LI)
    hospital.arrive(late("LB", "11:00", {"C1": "2.00"}, account="B", patient="wang"))
    assert hospital.waits() == {"LB": "MEMBER_ERASED"}


def test_a_record_of_who_went_on_as_an_erased_patient_needs_a_new_consent(
    hospital: Hospital,
) -> None:
    """Both were erased as one person; no hash leads from either token to what was kept."""
    merge_patients(hospital)
    erase_patient(hospital, WANG)
    hospital.arrive(final("F", "11:00", {"C1": "1.00"}))
    hospital.arrive(final("E", "09:00", {"C1": "1.00"}, account="B"))  # from before the merge
    assert (hospital.waits(), hospital.told(), hospital.held()) == ({}, [], 2)
