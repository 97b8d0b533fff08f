"""Readings of patients whom the hospital merged are the survivor's, whichever came first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.common.database import Database, migrate
from services.common.sealing import members
from services.his_bridge.core.bill import Coding, Provenance, Reading
from services.his_bridge.core.consent import Purpose
from services.his_bridge.core.outcomes import Merged, MergeLevel, ReadingsStated
from services.his_bridge.storage import showing
from services.his_bridge.storage.erasure import NothingKept, erase
from services.his_bridge.storage.sealed import patient
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, terms
from tests.services.his_bridge.core.folding_cases import TOKENS
from tests.services.his_bridge.storage.hospital import Hospital

LI, WANG = TOKENS["li"], TOKENS["wang"]
WHEN = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    migrate(found, "services.his_bridge")
    yield found
    found.close()


@pytest.fixture
def hospital(database: Database) -> Hospital:
    """Both patients have consented to the programme."""
    found = Hospital(database)
    record(database, found.name, [terms(one, Purpose.HEALTH_PROGRAMME) for one in (LI, WANG)])
    return found


def measured(token: str, value: str) -> ReadingsStated:
    reading = Reading(
        member_token=token,
        code=Coding(system="http://loinc.org", code="4548-4"),
        value=Decimal(value),
        unit="%",
        effective=WHEN,
        provenance=Provenance.LABORATORY,
    )
    return ReadingsStated(readings=(("4548-4", reading),))


def arrive(hospital: Hospital, what: str) -> None:
    """Li is measured before and after the merge into Wang, and Wang beside."""
    if what == "merge":
        pending = hospital.keep({"id": "M", "at": "10:00"})
        assert pending is not None
        hospital.settle((pending, Merged(level=MergeLevel.PATIENT, into=WANG, out_of=LI)))
        return
    at, outcome = {
        "before": ("09:00", measured(LI, "7.1")),
        "after": ("11:00", measured(LI, "7.2")),
        "beside": ("09:30", measured(WANG, "6.0")),
    }[what]
    pending = hospital.keep({"id": what, "at": at}, "readings")
    assert pending is not None
    hospital.settle((pending, outcome), channel="readings")


def standing(hospital: Hospital, token: str) -> list[str]:
    """What an insurer that has read the whole list knows of a patient."""
    with hospital.database.reading() as connection:
        shown = showing.readings_after(
            connection, sealer(connection), INSURER, token, 0, 500, 100, [hospital.name]
        )
    last = {one.row.name: one for one in shown}
    return sorted(
        str(one.reading.value)
        for one in last.values()
        if not (one.reading.withdrawn or one.row.withheld)
    )


ORDERS = list(itertools.permutations(["before", "after", "beside", "merge"]))


@pytest.mark.parametrize("order", ORDERS[::3], ids="-".join)
def test_readings_follow_a_merge_in_every_order(hospital: Hospital, order: Sequence[str]) -> None:
    for what in order:
        arrive(hospital, what)
    assert standing(hospital, WANG) == ["6.0", "7.1", "7.2"]
    assert standing(hospital, LI) == []


@pytest.mark.on_postgresql
def test_whoever_has_a_reading_hears_that_it_is_withdrawn(hospital: Hospital) -> None:
    arrive(hospital, "before")
    with hospital.database.reading() as connection:
        args = (connection, sealer(connection), INSURER, LI)
        (first,) = showing.readings_after(*args, 0, 500, 100, [hospital.name])
    assert standing(hospital, LI) == ["7.1"]  # as long as nobody is merged it stays
    arrive(hospital, "merge")
    with hospital.database.reading() as connection:
        args = (connection, sealer(connection), INSURER, LI)
        (gone,) = showing.readings_after(*args, first.row.seq, 500, 100, [hospital.name])
    assert (gone.row.name, gone.reading.withdrawn) == (first.row.name, True)
    arrive(hospital, "after")
    assert standing(hospital, WANG) == ["7.1", "7.2"]


def test_without_a_consent_of_the_survivor_nothing_is_shown(database: Database) -> None:
    hospital = Hospital(database)
    record(database, hospital.name, [terms(LI, Purpose.HEALTH_PROGRAMME)])
    arrive(hospital, "before")
    arrive(hospital, "merge")
    assert standing(hospital, LI) == standing(hospital, WANG) == []
    record(database, hospital.name, [terms(WANG, Purpose.HEALTH_PROGRAMME)], now_us=20)
    assert standing(hospital, WANG) == ["7.1"]


@pytest.mark.parametrize("asked", [LI, WANG])
def test_erasing_either_of_merged_patients_erases_both(hospital: Hospital, asked: str) -> None:
    for what in ("before", "beside", "merge", "after"):
        arrive(hospital, what)
    keys = subject_keys(hospital.database)

    def known() -> set[str]:
        people = [patient(hospital.name, one) for one in (LI, WANG)]
        with hospital.database.reading() as connection:
            return set(members.find_all(connection, sealer(connection), people))

    assert len(known()) == 2
    dry = erase(
        hospital.database, keys, "e0", asked, [hospital.name], 30, recipient=INSURER, dry_run=True
    )
    assert (len(known()), dry.keys) == (2, 2)
    done = erase(hospital.database, keys, "e1", asked, [hospital.name], 30, recipient=INSURER)
    assert (done.keys, known()) == (2, set())
    assert standing(hospital, LI) == standing(hospital, WANG) == []
    with pytest.raises(NothingKept):
        erase(
            hospital.database,
            keys,
            "e2",
            WANG if asked is LI else LI,
            [hospital.name],
            31,
            recipient=INSURER,
        )


def test_erasing_a_patient_leaves_all_others(hospital: Hospital) -> None:
    """The control: nobody was merged."""
    arrive(hospital, "before")
    arrive(hospital, "beside")
    keys = subject_keys(hospital.database)
    assert (
        erase(hospital.database, keys, "e1", LI, [hospital.name], 30, recipient=INSURER).keys == 1
    )
    assert standing(hospital, WANG) == ["6.0"]
