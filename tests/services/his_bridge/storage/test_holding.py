"""What no consent covers is held, in its newest version, and read when one does; both databases."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from services.common.database import Database
from services.his_bridge import messages
from services.his_bridge.core.bill import Bill, CareType, Coding, Line, Provenance, Reading
from services.his_bridge.core.consent import Consent, Content, Purpose, Scope, Terms, fold
from services.his_bridge.core.outcomes import (
    BillStated,
    BillWithdrawn,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
)
from services.his_bridge.storage import (
    consents,
    holding,
    inbox,
    last_pulls,
    outcomes,
    showing,
    tables,
)
from services.his_bridge.storage.inbox import Arrived, Pending
from tests.services.common.sealing.keys import sealer
from tests.services.his_bridge.consenting import INSURER, record, take_back, terms

LI, WANG = "k1." + "a" * 64, "k1." + "b" * 64
WHEN = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
NOW = 10


class Hospital:
    """One hospital's side of the bridge, without a source."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.name = f"h{uuid.uuid4().hex}"

    def arrive(self, key: str, version: str = "1", at: int = 0, channel: str = "bills") -> Pending:
        found = Arrived(
            external_id=f"Claim/{key}",
            version=version,
            updated_us=at,
            raw=f"{key} {version}".encode(),
            keep_out=False,
        )
        with self.database.writing() as connection:
            stored = inbox.store(
                connection,
                sealer(connection),
                self.name,
                channel,
                [found],
                currency="CNY",
                now_us=1,
            )
        ((_, pending),) = stored.pending
        return pending

    def settle(self, *judged: tuple[Pending, Outcome], now_us: int = NOW) -> outcomes.Settled:
        measured = isinstance(judged[0][1], ReadingsStated | ReadingsWithdrawn)
        place = outcomes.Place(
            hospital=self.name,
            channel="readings" if measured else "bills",
            recipient=INSURER,
            currency="CNY",
            zone="Asia/Shanghai",
        )
        with self.database.writing() as connection:
            return outcomes.settle(connection, sealer(connection), place, judged, now_us=now_us)

    def unread(self, channel: str = "bills") -> list[str]:
        """What the next pull reads first, in its order."""
        with self.database.reading() as connection:
            left = inbox.opened(
                connection, sealer(connection), inbox.left_over(connection, self.name, channel, 100)
            )
        return [entry.raw.decode() for entry in left]

    def held(self, channel: str = "bills") -> int:
        with self.database.reading() as connection:
            found = {c.channel: c.held for c in last_pulls.status(connection, self.name)}
        return found[channel]

    def bills(self, now_us: int = NOW, most: int = 100) -> list[tuple[str, str | None, str]]:
        """Kind, consent and number of each bill that may be handed out."""
        with self.database.reading() as connection:
            shown = showing.bills_after(
                connection, sealer(connection), self.name, INSURER, 0, most, None, now_us
            )
        return [(one.row.kind, one.consent_id, one.bill.bill_number) for one in shown]

    def readings(self, after: int = 0, now_us: int = NOW) -> list[Any]:
        with self.database.reading() as connection:
            shown = showing.readings_after(
                connection, sealer(connection), INSURER, None, after, 100, now_us, [self.name]
            )
        return [messages.reading(one) for one in shown]

    def pass_time(self, now_us: int, channel: str = "bills") -> None:
        """What a pull does before it reads anything."""
        with self.database.writing() as connection:
            holding.one_at_a_time(connection, self.name)
            due = holding.due(connection, self.name, INSURER, channel, now_us)
            holding.apply(
                connection, sealer(connection), self.name, INSURER, channel, due, now_us=now_us
            )


@pytest.fixture
def hospital(database: Database) -> Hospital:
    return Hospital(database)


def stated(number: str = "1", member: str = LI, care: CareType = CareType.OUTPATIENT) -> BillStated:
    bill = Bill(
        bill_number=number,
        provider_id="H1",
        care_type=care,
        member_token=member,
        start=WHEN,
        end=WHEN,
        zone="Asia/Shanghai",
        currency="CNY",
        total=100,
        lines=(
            Line(
                number=1,
                code=Coding(system="s", code="c"),
                quantity=Decimal(1),
                unit_price=Decimal(1),
                billed=100,
            ),
        ),
    )
    return BillStated(bill=bill, day=WHEN.date())


def measured(value: str = "7.2", member: str = LI, day: int = 1) -> ReadingsStated:
    reading = Reading(
        member_token=member,
        code=Coding(system="http://loinc.org", code="4548-4"),
        value=Decimal(value),
        unit="%",
        effective=WHEN + timedelta(days=day - 1),
        provenance=Provenance.LABORATORY,
    )
    return ReadingsStated(readings=(("4548-4", reading),))


def programme(member: str = LI, **changes: Any) -> Terms:
    return terms(member, Purpose.HEALTH_PROGRAMME, **changes)


# Bills.


def test_a_bill_without_consent_is_held_and_its_bytes_are_kept(hospital: Hospital) -> None:
    settled = hospital.settle((hospital.arrive("a"), stated()))
    assert settled == outcomes.Settled(held=1)
    assert (hospital.bills(), hospital.held(), hospital.unread()) == ([], 1, [])


def test_what_was_held_is_read_in_the_order_of_arrival_when_the_consent_comes(
    hospital: Hospital,
) -> None:
    first, second, other = (hospital.arrive(key) for key in "abc")
    hospital.settle((first, stated("1")), (second, stated("2")), (other, stated("3", WANG)))
    record(hospital.database, hospital.name, [mine := terms(LI)], NOW)
    assert hospital.unread() == ["a 1", "b 1"]
    assert hospital.held() == 1
    settled = hospital.settle((first, stated("1")), (second, stated("2")))
    assert settled == outcomes.Settled(released=2)
    assert hospital.bills() == [("FINAL", mine.consent_id, "1"), ("FINAL", mine.consent_id, "2")]


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": Purpose.HEALTH_PROGRAMME},
        {"recipient": "insurers/second"},
        {"from_us": NOW + 1},
        {"until_us": NOW},
        {"scope": Scope(contents=(Content.READINGS,))},
        {"scope": Scope(contents=(Content.BILLS,), care_types=(CareType.INPATIENT,))},
        {"scope": Scope(contents=(Content.BILLS,), last_day=WHEN.date() - timedelta(days=1))},
    ],
)
def test_a_consent_that_does_not_cover_it_frees_nothing(
    hospital: Hospital, changes: dict[str, Any]
) -> None:
    hospital.settle((hospital.arrive("a"), stated()))
    given = msgspec.structs.replace(terms(LI), **changes)
    record(hospital.database, hospital.name, [given], NOW)
    hospital.pass_time(NOW)
    assert (hospital.unread(), hospital.held(), hospital.bills()) == ([], 1, [])
    assert hospital.settle((hospital.arrive("b"), stated("2"))) == outcomes.Settled(held=1)


def test_a_consent_frees_what_is_held_when_its_time_comes(hospital: Hospital) -> None:
    hospital.settle((hospital.arrive("a"), stated()))
    record(hospital.database, hospital.name, [terms(LI, from_us=NOW + 5)], NOW)
    hospital.pass_time(NOW + 4)
    assert hospital.unread() == []
    hospital.pass_time(NOW + 5)
    assert hospital.unread() == ["a 1"]


def test_only_the_newest_version_of_a_record_is_held(hospital: Hospital) -> None:
    first = hospital.arrive("a", at=1)
    hospital.settle((first, stated("1")))
    second, third = hospital.arrive("a", "2", at=2), hospital.arrive("a", "3", at=3)
    assert hospital.settle((second, stated("2")), (third, stated("3"))).held == 1
    late = hospital.arrive("a", "0", at=0)
    assert hospital.settle((late, stated("0"))) == outcomes.Settled()
    assert hospital.held() == 1
    record(hospital.database, hospital.name, [terms(LI)], NOW)
    assert hospital.unread() == ["a 3"]
    hospital.settle((third, stated("3")))
    assert [(kind, number) for kind, _, number in hospital.bills()] == [("FINAL", "3")]


@pytest.mark.both_databases
def test_a_bill_that_is_taken_back_while_it_is_held_never_leaves(hospital: Hospital) -> None:
    hospital.settle((hospital.arrive("a", at=1), stated()))
    settled = hospital.settle((hospital.arrive("a", "2", at=2), BillWithdrawn()))
    assert settled == outcomes.Settled(filtered=1)
    record(hospital.database, hospital.name, [terms(LI)], NOW)
    assert (hospital.unread(), hospital.held(), hospital.bills()) == ([], 0, [])


def test_a_bill_that_is_taken_back_when_it_was_just_freed_never_leaves(hospital: Hospital) -> None:
    """The pull that read the cancellation began before the consent came."""
    hospital.settle((hospital.arrive("a", at=1), stated()))
    cancelled = hospital.arrive("a", "2", at=2)
    record(hospital.database, hospital.name, [terms(LI)], NOW)
    hospital.settle((cancelled, BillWithdrawn()))
    assert (hospital.unread(), hospital.bills()) == ([], [])


def test_a_correction_after_a_withdrawal_is_held_and_the_bill_is_withheld(
    hospital: Hospital,
) -> None:
    record(hospital.database, hospital.name, [old := terms(LI)])
    hospital.settle((hospital.arrive("a", at=1), stated()))
    take_back(hospital.database, hospital.name, old, NOW)
    corrected = stated(care=CareType.INPATIENT)
    correction = hospital.arrive("a", "2", at=2)
    assert hospital.settle((correction, corrected)).held == 1
    assert hospital.bills() == []
    record(hospital.database, hospital.name, [new := terms(LI)], NOW)
    hospital.settle((correction, corrected))
    assert hospital.bills() == [
        ("FINAL", new.consent_id, "1"),
        ("CORRECTION", new.consent_id, "1"),
    ]


def test_a_released_bill_is_shown_as_long_as_its_consent_holds(hospital: Hospital) -> None:
    given = terms(LI, until_us=NOW + 5)
    record(hospital.database, hospital.name, [given])
    hospital.settle((hospital.arrive("a"), stated()))
    assert hospital.bills(NOW + 4) == [("FINAL", given.consent_id, "1")]
    assert hospital.bills(NOW + 5) == []


def test_a_page_is_filled_however_many_bills_are_withheld(hospital: Hospital) -> None:
    narrow = Scope(contents=(Content.BILLS,), care_types=(CareType.INPATIENT,))
    wide, gone = terms(LI), terms(WANG)
    record(hospital.database, hospital.name, [wide, gone, terms(LI, scope=narrow)])
    judged = [
        (hospital.arrive(str(n)), stated(str(n), WANG if n % 3 == 0 else LI, care))
        for n, care in enumerate([CareType.INPATIENT, *[CareType.OUTPATIENT] * 8] * 2)
    ]
    hospital.settle(*judged)
    assert len(hospital.bills()) == 18
    take_back(hospital.database, hospital.name, wide, NOW)
    # Li keeps one for stays; Wang's are untouched: numbers 0, 3, 6, 9, 12, 15.
    assert [number for _, _, number in hospital.bills(most=4)] == ["0", "3", "6", "9"]
    take_back(hospital.database, hospital.name, gone, NOW)
    assert hospital.bills(most=1) == []


def test_without_the_question_the_bill_would_leave(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same bill, with a register that says yes to everything."""
    yes = terms(LI)

    def anything(*_args: Any, **_more: Any) -> Any:
        return Consent(terms=yes)

    monkeypatch.setattr(consents, "active", anything)
    assert hospital.settle((hospital.arrive("a"), stated())) == outcomes.Settled(released=1)
    monkeypatch.undo()
    assert hospital.bills() == []  # and the second question, at the look, is asked all the same


# Readings.


def test_readings_without_consent_are_held_and_read_later(hospital: Hospital) -> None:
    pending = hospital.arrive("o", channel="readings")
    assert hospital.settle((pending, measured())) == outcomes.Settled(held=1)
    assert (hospital.readings(), hospital.held("readings")) == ([], 1)
    record(hospital.database, hospital.name, [given := programme()], NOW)
    assert hospital.unread("readings") == ["o 1"]
    hospital.settle((pending, measured()))
    (reading,) = hospital.readings()
    assert reading.consent == f"hospitals/{hospital.name}/consents/{given.consent_id}"
    assert (reading.value, reading.withdrawn) == ("7.2", False)


def test_a_withdrawn_consent_takes_its_readings_back_without_their_values(
    hospital: Hospital,
) -> None:
    record(hospital.database, hospital.name, [given := programme(), programme(WANG)])
    hospital.settle(
        (hospital.arrive("o1", channel="readings"), measured()),
        (hospital.arrive("o2", channel="readings"), measured("8.0", WANG)),
    )
    mine, theirs = hospital.readings()
    take_back(hospital.database, hospital.name, given, NOW)
    kept, gone = hospital.readings()
    assert kept == theirs
    assert (gone.name, gone.withdrawn, gone.consent) == (mine.name, True, "")
    assert gone.release > theirs.release > mine.release
    for field in ("code", "effective_time", "receive_time"):
        assert not gone.HasField(field)
    assert (gone.value, gone.unit) == ("", "")
    # A reader that has seen everything until now is told.
    assert [one.name for one in hospital.readings(after=theirs.release)] == [mine.name]


def test_a_new_consent_brings_the_readings_back(hospital: Hospital) -> None:
    record(hospital.database, hospital.name, [given := programme()])
    hospital.settle((hospital.arrive("o", channel="readings"), measured()))
    take_back(hospital.database, hospital.name, given, NOW)
    (gone,) = hospital.readings()
    record(hospital.database, hospital.name, [again := programme()], NOW)
    (back,) = hospital.readings(after=gone.release)
    assert (back.value, back.withdrawn) == ("7.2", False)
    assert back.consent.endswith(again.consent_id)


def test_a_consent_that_ran_out_takes_its_readings_back_at_the_next_pull(
    hospital: Hospital,
) -> None:
    record(hospital.database, hospital.name, [programme(until_us=NOW + 5)])
    hospital.settle((hospital.arrive("o", channel="readings"), measured()))
    (reading,) = hospital.readings(now_us=NOW + 4)
    assert hospital.readings(now_us=NOW + 5) == []  # not handed out, though no pull was yet
    hospital.pass_time(NOW + 5, "readings")
    (gone,) = hospital.readings(now_us=NOW + 5)
    assert (gone.name, gone.withdrawn) == (reading.name, True)


def test_a_programme_of_one_month_gets_that_months_readings(hospital: Hospital) -> None:
    march = Scope(
        contents=(Content.READINGS,),
        first_day=WHEN.date(),
        last_day=WHEN.date() + timedelta(days=30),
    )
    record(hospital.database, hospital.name, [programme(scope=march)])
    settled = hospital.settle(
        (hospital.arrive("o1", channel="readings"), measured(day=31)),
        (hospital.arrive("o2", channel="readings"), measured(day=32)),
    )
    assert (settled.released, settled.held) == (1, 1)


def test_a_reading_that_the_hospital_takes_back_says_no_more_than_that(hospital: Hospital) -> None:
    record(hospital.database, hospital.name, [given := programme()])
    hospital.settle((hospital.arrive("o", channel="readings"), measured()))
    take_back(hospital.database, hospital.name, given, NOW)
    taken = hospital.arrive("o", "2", at=2, channel="readings")
    hospital.settle((taken, ReadingsWithdrawn()))
    (gone,) = hospital.readings()
    assert (gone.withdrawn, gone.value) == (True, "")
    record(hospital.database, hospital.name, [programme()], NOW)
    (gone,) = hospital.readings()
    assert gone.withdrawn  # a new consent does not undo what the hospital did


# The register.


@pytest.mark.both_databases
def test_the_columns_are_what_the_events_say(hospital: Hospital) -> None:
    first, second = terms(LI), programme(until_us=50)
    record(hospital.database, hospital.name, [first, second])
    for at in (7, 5, 9):
        take_back(hospital.database, hospital.name, first, at)
    with hospital.database.reading() as connection:
        events = [
            event
            for one in (first, second)
            for event, _ in consents.history_of(
                connection, sealer(connection), hospital.name, one.consent_id
            )
        ]
        rows = connection.execute(
            select(tables.consent)
            .where(tables.consent.c.hospital == hospital.name)
            .order_by(tables.consent.c.seq)
        ).all()
        kept = [
            one.consent
            for one in consents.consents_after(
                connection, sealer(connection), hospital.name, 0, 10, None
            )
        ]
    folded = fold(events)
    assert kept == [
        folded[first.consent_id],
        folded[second.consent_id],
    ]
    assert [(row.withdrawn_us, row.until_us) for row in rows] == [(5, None), (None, 50)]
    assert len(events) == 4  # the third withdrawal changes nothing and is not written


@pytest.mark.parametrize("early", [False, True])
def test_a_withdrawal_that_is_struck_from_the_columns_still_holds(
    hospital: Hospital, early: bool
) -> None:
    """The columns are anybody's to write who can write the database; the sealed events are not."""
    given, reads = terms(LI), programme()
    if early:  # the withdrawal stands before the grant
        take_back(hospital.database, hospital.name, given, NOW)
    record(hospital.database, hospital.name, [given, reads, other := terms(WANG)])
    bill, theirs, reading = (
        hospital.arrive("b"),
        hospital.arrive("w"),
        hospital.arrive("o", channel="readings"),
    )
    hospital.settle((bill, stated("b")), (theirs, stated("w", WANG)))
    hospital.settle((reading, measured()))
    for one in (reads,) if early else (given, reads):
        take_back(hospital.database, hospital.name, one, NOW)
    mine = tables.consent.c.hospital == hospital.name
    with hospital.database.writing() as connection:
        connection.execute(update(tables.consent).where(mine).values(withdrawn_us=None))
    with hospital.database.reading() as connection:
        covering = consents.in_force(
            tables.consent.c.member, hospital.name, INSURER, given.purpose, NOW
        )
        by_columns = connection.execute(
            select(tables.consent.c.consent_id).where(mine, covering)
        ).scalars()
        assert given.consent_id in set(by_columns)  # whoever believes the columns is deceived
        kept = consents.consent_named(
            connection, sealer(connection), hospital.name, given.consent_id
        )
        untouched = consents.consent_named(
            connection, sealer(connection), hospital.name, other.consent_id
        )
    assert kept is not None
    assert untouched is not None
    assert kept.consent == Consent(terms=given, withdrawn_us=NOW)
    assert untouched.consent == Consent(terms=other)
    assert len(hospital.bills()) == 1  # the other person's
    hospital.pass_time(NOW + 1, "readings")
    assert all(one.withdrawn for one in hospital.readings())


@pytest.mark.both_databases
def test_terms_that_the_columns_draw_out_still_run_out(hospital: Hospital) -> None:
    record(hospital.database, hospital.name, [terms(LI, until_us=NOW + 5)])
    hospital.settle((hospital.arrive("b"), stated("b")))
    assert len(hospital.bills(now_us=NOW + 4)) == 1
    with hospital.database.writing() as connection:
        mine = tables.consent.c.hospital == hospital.name
        connection.execute(update(tables.consent).where(mine).values(until_us=None))
    assert hospital.bills(now_us=NOW + 5) == []


@pytest.mark.both_databases
def test_a_withdrawal_and_a_release_at_once_never_leave_anything_behind(
    hospital: Hospital,
) -> None:
    """Whichever commits first, nothing is handed out afterwards, and what was, is taken back."""
    for round_ in range(12):
        record(hospital.database, hospital.name, [given := programme(), bills := terms(LI)])
        reading = hospital.arrive(f"o{round_}", channel="readings")
        bill = hospital.arrive(f"b{round_}")
        works = [
            partial(hospital.settle, (reading, measured())),
            partial(hospital.settle, (bill, stated(str(round_)))),
            partial(take_back, hospital.database, hospital.name, given, NOW),
            partial(take_back, hospital.database, hospital.name, bills, NOW),
        ]
        together(works[round_ % 4 :] + works[: round_ % 4])
        assert hospital.bills() == []
        assert all(one.withdrawn for one in hospital.readings())
        with hospital.database.reading() as connection:
            left = connection.execute(
                select(tables.reading.c.name).where(
                    tables.reading.c.hospital == hospital.name, ~tables.reading.c.withheld
                )
            ).all()
        assert left == []


def together(works: list[Any]) -> None:
    faults: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 told below, in the test's own thread
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
