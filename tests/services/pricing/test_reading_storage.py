"""Readings, doctors' targets, coach's tasks: kept once, sealed, for ever; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import msgspec
import pytest
from sqlalchemy import text

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.sealing import CannotOpen
from services.pricing.core.adherence import SupplyKind
from services.pricing.core.months import PersonalTarget
from services.pricing.core.programme import Measure, Target
from services.pricing.core.readings import Fasting, Measured, Provenance, Quantity, measure
from services.pricing.core.recording import Incoming, IncomingSupply, Verdict, verdict
from services.pricing.storage.clearings import Clearing, ClearingStore
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.medication import MedicationStore
from services.pricing.storage.readings import (
    CoachTask,
    DoctorsTarget,
    ReadingsDiffer,
    ReadingStore,
    Recorded,
)
from services.pricing.storage.tables import OtherContent
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.pricing.core.reading_cases import written

ANNA, BEN = "k1." + "a" * 64, "k1." + "b" * 64
MAY_2 = int(datetime(2025, 5, 2, tzinfo=UTC).timestamp()) * 1_000_000
DAY = 86_400_000_000
NOW = MAY_2 + 10 * DAY
FROM, AFTER = date(2025, 5, 1), date(2025, 6, 1)
A_TARGET = DoctorsTarget(
    measure=Measure.HBA1C,
    start=FROM,
    target=Target(below=80),
    doctor_id="d-1",
    reason="frail and 83 years old",
)

ANXIN = Tenant(Kind.INSURER, "anxin")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = with_tables(database_url, "services.pricing", threads=4)
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> ReadingStore:
    return ReadingStore(database, subject_keys(database))


def incoming(
    number: int = 1,
    value: str = "6.1",
    *,
    kind: str = "fasting",
    by: str = "typed",
    token: str = ANNA,
    at_us: int = MAY_2,
    stated_us: int | None = None,
) -> Incoming:
    return Incoming(
        name=f"members/{token}/readings/r{number}",
        member_token=token,
        effective_us=at_us,
        stated_us=stated_us,
        written=written(kind, value, by),
    )


def low(found: Incoming) -> Measured | None:
    measured = measure(found.written)
    assert isinstance(measured, Measured)
    is_low = measured.quantity is Quantity.GLUCOSE and measured.value < 39
    return measured if is_low else None


def whose(task: CoachTask) -> str:
    assert task.about is not None
    return task.about.member_token


def fill(store: ReadingStore, erasures: Erasures) -> None:
    """A row in every table."""
    store.record(ANXIN, "fill-ben", (incoming(98, token=BEN),), low, NOW)
    erasures.erase(ANXIN, "fill", BEN, [], NOW)
    store.record(ANXIN, "fill", (incoming(99, "3.0"),), low, NOW)
    store.set_target(ANXIN, "fill", ANNA, A_TARGET, NOW, None)


A_FILL = IncomingSupply(
    name=f"members/{ANNA}/medications/f",
    member_token=ANNA,
    kind=SupplyKind.FILL,
    drug="A10BA02",
    first=date(2025, 5, 1),
    days=30,
    stated_us=None,
)
A_CLEARING = Clearing(flag="f" * 32, reason="r", evidence="e", by="an actuary", take_back=False)


def fill_conduct(medication: MedicationStore, clearings: ClearingStore) -> None:
    """A row more in both tables, of the same member."""
    medication.record(ANXIN, "fill-medication", (A_FILL,), NOW)
    clearings.add(ANXIN, "fill", ANNA, A_CLEARING, NOW)


def values(store: ReadingStore, token: str = ANNA) -> dict[str, str]:
    kept = store.readings_of(ANXIN, token, FROM, AFTER)
    return {entry.reading.name[-2:]: entry.reading.written.value for entry in kept}


def test_readings_come_back_as_they_were_written(store: ReadingStore) -> None:
    mine = incoming(1), incoming(2, "120", kind="systolic", by="device", stated_us=MAY_2 + DAY)
    assert store.record(ANXIN, "q1", (*mine, incoming(3, token=BEN)), low, NOW) == Recorded(
        3, 0, ()
    )
    kept = store.readings_of(ANXIN, ANNA, FROM, AFTER)
    assert [entry.reading for entry in kept] == list(mine)
    assert [entry.received_us for entry in kept] == [NOW, MAY_2 + DAY]


def test_only_the_days_asked_for_are_read(store: ReadingStore) -> None:
    store.record(ANXIN, "q1", (incoming(1), incoming(2, at_us=MAY_2 - 2 * DAY)), low, NOW)
    assert values(store) == {"r1": "6.1"}


def test_the_same_request_answers_the_same_whatever_came_since(store: ReadingStore) -> None:
    first = store.record(ANXIN, "q1", (incoming(1), incoming(2, "3.0")), low, NOW)
    store.record(ANXIN, "q2", (incoming(3),), low, NOW)
    assert store.record(ANXIN, "q1", (incoming(1), incoming(2, "3.0")), low, NOW + DAY) == first
    assert (first.recorded, first.known, len(first.tasks)) == (2, 0, 1)
    with pytest.raises(OtherContent):
        store.record(ANXIN, "q1", (incoming(1),), low, NOW)
    assert store.record(ANXIN, "q3", (incoming(1), incoming(4)), low, NOW) == Recorded(1, 1, ())


def test_a_member_cannot_change_what_was_typed(store: ReadingStore) -> None:
    store.record(ANXIN, "q1", (incoming(1, "9.0"),), low, NOW)
    with pytest.raises(ReadingsDiffer) as differ:
        store.record(ANXIN, "q2", (incoming(2), incoming(1, "5.0"), incoming(3, "3.0")), low, NOW)
    assert differ.value.places == (1,)
    assert values(store) == {"r1": "9.0"}
    assert store.tasks_after(ANXIN, None, 0, 10) == []


def test_the_hospital_corrects_under_the_same_name_and_the_old_stays(store: ReadingStore) -> None:
    first = incoming(1, "8.1", kind="hba1c", by="laboratory", stated_us=MAY_2 + DAY)
    second = msgspec.structs.replace(
        first, written=written("hba1c", "6.8", "laboratory"), stated_us=MAY_2 + 40 * DAY
    )
    store.record(ANXIN, "q1", (first,), low, NOW)
    assert store.record(ANXIN, "q2", (second,), low, NOW) == Recorded(1, 0, ())
    (kept,) = store.readings_of(ANXIN, ANNA, FROM, AFTER)
    assert kept.reading == second
    # What was received in time stays in time, however late its correction.
    assert kept.received_us == MAY_2 + DAY
    assert store.revisions_of(first.name) == [first, second]
    # An older release that comes late changes nothing.
    assert store.record(ANXIN, "q3", (first,), low, NOW) == Recorded(0, 1, ())
    assert values(store) == {"r1": "6.8"}


def test_a_correction_that_moves_the_measurement_out_of_the_days_is_seen(
    store: ReadingStore,
) -> None:
    first = incoming(1, by="laboratory")
    store.record(ANXIN, "q1", (first,), low, NOW)
    store.record(
        ANXIN, "q2", (msgspec.structs.replace(first, effective_us=MAY_2 - 9 * DAY),), low, NOW
    )
    (kept,) = store.readings_of(ANXIN, ANNA, FROM, AFTER)
    assert kept.reading.effective_us == MAY_2 - 9 * DAY


def test_a_low_glucose_raises_one_task_for_ever(store: ReadingStore) -> None:
    first = incoming(1, "3.8", by="laboratory")
    (name,) = store.record(ANXIN, "q1", (first, incoming(2, "3.9")), low, NOW).tasks
    again = msgspec.structs.replace(first, written=written("fasting", "3.7", "laboratory"))
    assert store.record(ANXIN, "q2", (again,), low, NOW).tasks == ()
    (task,) = store.tasks_after(ANXIN, ANNA, 0, 10)
    assert name == f"members/{ANNA}/coachTasks/{task.name}"
    assert task.about is not None
    assert (task.about.reading, task.about.measured.value) == (first.name, 38)
    assert task.raised_us == NOW
    assert store.tasks_after(ANXIN, BEN, 0, 10) == []
    store.record(ANXIN, "q3", (incoming(5, "3.0", token=BEN),), low, NOW)
    assert [whose(t) for t in store.tasks_after(ANXIN, None, 0, 10)] == [ANNA, BEN]
    assert [whose(t) for t in store.tasks_after(ANXIN, None, task.id, 10)] == [BEN]


@pytest.mark.both_databases
def test_calls_that_race_record_each_reading_once(store: ReadingStore, database: Database) -> None:
    def record(number: int) -> Recorded:
        return store.record(ANXIN, f"q{number}", (incoming(1), incoming(2, "3.0")), low, NOW)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(record, range(12)))
    assert sum(entry.recorded for entry in done) == 2
    assert sum(len(entry.tasks) for entry in done) == 1
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM reading")).scalar_one() == 2


def test_a_doctors_targets_come_back_in_the_order_in_which_they_were_set(
    store: ReadingStore,
) -> None:
    ended = msgspec.structs.replace(A_TARGET, target=None)
    store.record(ANXIN, "q1", (incoming(1),), low, NOW)
    store.set_target(ANXIN, "t1", ANNA, A_TARGET, NOW, None)
    store.set_target(ANXIN, "t2", ANNA, ended, NOW, None)
    store.set_target(ANXIN, "t1", ANNA, A_TARGET, NOW, None)  # a repeat changes nothing
    assert store.targets_of(ANXIN, ANNA) == [
        PersonalTarget(Measure.HBA1C, FROM, Target(below=80), ANXIN.key),
        PersonalTarget(Measure.HBA1C, FROM, None, ANXIN.key),
    ]
    assert store.targets_of(ANXIN, BEN) == []
    for token, target in ((BEN, A_TARGET), (ANNA, ended)):
        with pytest.raises(OtherContent):
            store.set_target(ANXIN, "t1", token, target, NOW, None)


def test_health_stands_in_no_column_in_clear(store: ReadingStore, database: Database) -> None:
    store.record(ANXIN, "q1", (incoming(1, "3.14"),), low, NOW)
    store.set_target(ANXIN, "t1", ANNA, A_TARGET, NOW, None)
    kept = b""
    with database.reading() as connection:
        for table in ("recording", "reading", "personal_target", "coach_task"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                kept += b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
    for word in (b"3.14", b"14771-0", b"mmol", b"TYPED", b"hba1c", b"frail", b"readings/r1"):
        assert word not in kept
    assert ANNA.encode() not in kept
    assert str(MAY_2).encode() not in kept
    assert str(NOW).encode() in kept  # the search finds what does stand in clear


def test_a_sealed_reading_opens_only_as_its_own_revision(
    store: ReadingStore, database: Database
) -> None:
    store.record(ANXIN, "q1", (incoming(1, by="laboratory"),), low, NOW)
    store.record(ANXIN, "q2", (incoming(1, "7.7", by="laboratory"),), low, NOW)
    assert values(store) == {"r1": "7.7"}
    with database.writing() as connection:
        if database.is_sqlite:
            connection.execute(text("DROP TRIGGER reading_no_update"))
        else:
            connection.execute(text("ALTER TABLE reading DISABLE TRIGGER USER"))
        sealed = connection.execute(text("SELECT sealed FROM reading WHERE revision = 1"))
        connection.execute(
            text("UPDATE reading SET sealed = :sealed WHERE revision = 2"),
            {"sealed": sealed.scalar_one()},
        )
    with pytest.raises(CannotOpen):
        values(store)


def released(number: int, value: str, *, withdrawn: bool = False, stated_us: int = NOW) -> Incoming:
    """A laboratory's release, with the number that the hospital's bridge gave it."""
    found = incoming(1, value, by="laboratory", stated_us=stated_us)
    told = msgspec.structs.replace(found.written, release=number, withdrawn=withdrawn)
    return msgspec.structs.replace(found, written=told)


@pytest.mark.parametrize(
    ("kept", "found", "expected"),
    [
        (None, incoming(1), Verdict.NEW),
        (incoming(1), incoming(1), Verdict.KNOWN),
        (incoming(1), incoming(1, "6.2"), Verdict.DIFFERS),
        (incoming(1), incoming(1, by="device"), Verdict.DIFFERS),
        (incoming(1), incoming(1, by="laboratory"), Verdict.DIFFERS),
        (incoming(1, by="laboratory"), incoming(1), Verdict.DIFFERS),
        (incoming(1, by="clinic"), incoming(1, "6.2", by="clinic"), Verdict.CORRECTION),
        (incoming(1, by="clinic"), incoming(1, by="laboratory"), Verdict.CORRECTION),
        (
            incoming(1, by="clinic", stated_us=NOW),
            incoming(1, "6.2", by="clinic", stated_us=NOW - 1),
            Verdict.KNOWN,
        ),
        # The hospital's numbers tell which release is older, whatever the times say.
        (released(7, "6.0"), released(8, "6.0", withdrawn=True), Verdict.CORRECTION),
        (released(8, "6.0", withdrawn=True), released(7, "6.0"), Verdict.KNOWN),
        (released(8, "9.9"), released(9, "6.0", stated_us=NOW - 1), Verdict.CORRECTION),
        (released(9, "6.0"), released(9, "6.0"), Verdict.KNOWN),
    ],
)
def test_what_recording_a_reading_means(
    kept: Incoming | None, found: Incoming, expected: Verdict
) -> None:
    assert verdict(found, kept) is expected


def test_a_source_that_says_more_of_the_fasting_says_something_else() -> None:
    told = msgspec.structs.replace(written("glucose", "6.1"), fasting=Fasting.FASTING)
    assert told.provenance is Provenance.TYPED
    other = msgspec.structs.replace(incoming(1, kind="glucose"), written=told)
    assert verdict(other, incoming(1, kind="glucose")) is Verdict.DIFFERS
