"""Charges one by one: what came before is read only when it must be; both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select, text

from services.common.database import Database
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import SetAside
from services.his_bridge.storage import inbox, lists, outcomes, tables
from services.his_bridge.storage.inbox import Arrived
from services.his_bridge.storage.known_bills import Account, load_told
from services.his_bridge.storage.sealed import external_index
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, terms
from tests.services.his_bridge.core.folding_cases import TOKENS, outcome_of
from tests.services.his_bridge.storage.hospital import NOW, Hospital, Said, final, late, merge

LI, WANG = TOKENS["li"], TOKENS["wang"]


@pytest.fixture
def hospital(database_url: str) -> Iterator[Hospital]:
    database = Database(database_url, threads=2)
    subject_keys(database)
    found = Hospital(database)
    record(database, found.name, [terms(LI), terms(WANG)])
    yield found
    database.close()


@contextmanager
def opened(database: Database) -> Iterator[list[str]]:
    """The statements that read the content of events."""
    found: list[str] = []

    def note(_c: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "bill_event.body" in statement:
            found.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield found
    event.remove(database.engine, "before_cursor_execute", note)


def charges(count: int, first: int = 0) -> list[Said]:
    return [
        late(f"L{n}", f"{9 + n // 60:02}:{n % 60:02}", {f"C{n}": "1.00"})
        for n in range(first, first + count)
    ]


def test_what_was_added_to_an_open_bill_is_not_read_again(hospital: Hospital) -> None:
    with opened(hospital.database) as reads:
        hospital.arrive(*charges(20))
    assert reads == []
    with opened(hospital.database) as reads:
        hospital.arrive(final("F", "23:00"))
    assert len(reads) == 1  # the control: to close it, all of it is read
    assert hospital.told() == [("FINAL", 2000)]


@pytest.mark.parametrize(
    "said",
    [
        late("R", "22:00", back={"C1": [1, "1.00"]}),
        late("L1", "22:00", {"C1": "2.00"}, version=2),
        late("W", "22:00", {"C99": "1.00"}, patient="wang"),
        late("L1", "22:00", {"C1": "2.00"}, version=2, account="B"),
        {"id": "X", "at": "22:00", "says": "REVERSAL", "reverses": "L1"},
        {"id": "I", "at": "22:00", "says": "INTERIM", "lines": {"C1": "5.00"}},
        merge("M", "22:00", "A", "B"),
    ],
    ids=["takes back", "newer", "other patient", "moved", "reversal", "interim", "merge"],
)
def test_whatever_else_comes_has_it_read(hospital: Hospital, said: Said) -> None:
    hospital.arrive(*charges(3))
    with opened(hospital.database) as reads:
        hospital.arrive(said)
    assert reads != []


def test_a_charge_that_somebody_waits_for_lets_it_count(hospital: Hospital) -> None:
    hospital.arrive(late("R", "22:00", back={"C1": [1, "1.00"]}), *charges(1))
    assert hospital.waits() == {"R": "ORIGINAL_NOT_THERE"}
    hospital.arrive(*charges(1, first=1))
    assert hospital.waits() == {}
    hospital.arrive(final("F", "23:00"))
    assert hospital.told() == [("FINAL", 100)]


def test_two_patients_on_an_open_bill_are_seen_at_once(hospital: Hospital) -> None:
    hospital.arrive(*charges(1), late("W", "09:30", {"C9": "1.00"}, patient="wang"))
    assert hospital.waits() == {"L0": "PATIENTS_DIFFER", "W": "PATIENTS_DIFFER"}


def test_charges_of_one_batch_make_one_release(hospital: Hospital) -> None:
    hospital.arrive(final("F", "08:00", {"C": "1.00"}))
    said = charges(30)
    judged = [(hospital.keep(one), outcome_of(one)) for one in said]
    hospital.settle(*((pending, what) for pending, what in judged if pending is not None))
    assert hospital.told() == [("FINAL", 100), ("CORRECTION", 3100)]


def test_a_charge_that_comes_back_has_its_old_number(hospital: Hospital) -> None:
    hospital.arrive(final("F", "08:00", {"C1": "1.00", "C2": "2.00"}))
    hospital.arrive({"id": "K1", "at": "09:00", "says": "CORRECTION", "lines": {"C1": "1.00"}})
    hospital.arrive(late("L", "10:00", {"C3": "3.00"}))  # 2 was another charge's
    again = {"C3": "3.00", "C2": "2.00"}
    hospital.arrive({"id": "K2", "at": "11:00", "says": "CORRECTION", "lines": again})
    numbers = [{one.line_id or "?": one.number for one in b.lines} for _, b in hospital.released()]
    assert numbers == [{"C1": 1, "C2": 2}, {"C1": 1}, {"C1": 1, "C3": 3}, {"C3": 3, "C2": 2}]


def test_of_many_releases_the_last_is_opened(hospital: Hospital) -> None:
    hospital.arrive(final("F", "08:00", {"C": "1.00"}), *charges(5))
    with hospital.database.reading() as connection:
        key = sealer(connection)
        name = external_index(key, hospital.name, "A")
        found: list[Account] = []
        for whole in ((), (name,)):
            accounts = {name: Account()}
            load_told(connection, key, hospital.name, accounts, whole)
            found.append(accounts[name])
    assert [(one.releases, len(one.told)) for one in found] == [(6, 1), (6, 6)]
    assert found[0].told[-1] == found[1].told[-1]
    assert len(found[0].told[-1].numbers) == 6


def test_of_a_record_of_many_versions_the_newest_waits(hospital: Hospital) -> None:
    """And it is found by an index: else each is held against each."""
    versions = 300
    arrived = [
        Arrived(external_id="DFT/X", version=str(n), updated_us=n, raw=b"%d" % n, keep_out=False)
        for n in range(versions)
    ]
    aside = SetAside(faults=(Fault(reason=Reason.NOT_HL7, path=""),))
    place = outcomes.Place(
        hospital=hospital.name, channel="bills", recipient=INSURER, currency="CNY", zone="UTC"
    )
    with hospital.database.writing() as connection:
        key = sealer(connection)
        stored = inbox.store(
            connection, key, hospital.name, "bills", arrived, currency="CNY", now_us=NOW
        )
        judged = [(pending, aside) for _, pending in stored.pending]
        outcomes.settle(connection, key, place, judged, now_us=NOW)
        connection.execute(text("ANALYZE"))
    assert hospital.waits() == {"X": "NOT_HL7"}
    query = lists.still_waiting(select(func.count()), hospital.name)
    with hospital.database.reading() as connection:
        asks = "EXPLAIN QUERY PLAN" if hospital.database.is_sqlite else "EXPLAIN"
        written = query.compile(connection, compile_kwargs={"literal_binds": True})
        rows = connection.exec_driver_sql(f"{asks} {written}")
        plan = "\n".join(str(row) for row in rows)
    assert hospital.count(tables.quarantine) == versions
    assert "ix_inbox_versions" in plan, plan
