"""What comes in is kept once, what goes out goes out once, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from lipei.type.v1 import reading_pb2
from services.common.database import Database
from services.common.sealing import CannotOpen, erasures
from services.his_bridge import messages
from services.his_bridge.core.bill import Bill, CareType, Coding, Line, Provenance, Reading
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import (
    BillStated,
    BillWithdrawn,
    KeptOut,
    Merged,
    MergeLevel,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.storage import inbox, leases, lists, outcomes, showing
from services.his_bridge.storage.inbox import Arrived, Pending, Stored
from services.his_bridge.storage.leases import LeaseLost
from services.his_bridge.storage.lists import Answer, OtherContent, TakenBefore, UnknownBills
from services.his_bridge.storage.sealed import open_bill, open_reading, open_record
from services.his_bridge.storage.tables import APPEND_ONLY, bill_event, metadata, read_cursor
from services.his_bridge.storage.tables import inbox as inbox_table
from tests.schemas import with_tables
from tests.services.common.sealing.keys import sealer
from tests.services.his_bridge.consenting import INSURER, all_of, record

H, CHANNEL = "", "bills"
DAY = date(2026, 3, 1)
WHEN = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def hospital(database: Database) -> str:
    """The hospital of this test, whose patients have consented to everything."""
    global H  # noqa: PLW0603 every helper below means the hospital of the test that runs
    H = f"h{uuid.uuid4().hex}"
    record(database, H, [*all_of("k1.00"), *all_of("k1.01")])
    return H


def bill(total: int = 100) -> Bill:
    return Bill(
        bill_number="1",
        provider_id="H1",
        care_type=CareType.OUTPATIENT,
        member_token="k1.00",
        start=WHEN,
        end=WHEN,
        zone="Asia/Shanghai",
        currency="CNY",
        total=total,
        lines=(
            Line(
                number=1,
                code=Coding(system="s", code="c"),
                quantity=Decimal(1),
                unit_price=Decimal(total) / 100,
                billed=total,
            ),
        ),
    )


def arrived(key: str, version: str = "1", raw: bytes = b"{}", **more: Any) -> Arrived:
    found = Arrived(
        external_id=f"Claim/{key}", version=version, updated_us=0, raw=raw, keep_out=False
    )
    return msgspec.structs.replace(found, **more)


def channel_of(record: Arrived | Pending) -> str:
    """Records whose id begins with o are observations."""
    return "readings" if record.external_id.startswith("Claim/o") else CHANNEL


def store(database: Database, *records: Arrived) -> Stored:
    with database.writing() as connection:
        channel = channel_of(records[0])
        return inbox.store(
            connection, sealer(connection), H, channel, records, currency="CNY", now_us=1
        )


def pending_of(database: Database, key: str, version: str = "1", at: int = 0) -> Pending:
    record = arrived(key, version, f"{key} {version}".encode(), updated_us=at)
    ((_, pending),) = store(database, record).pending
    return pending


def place(channel: str = CHANNEL) -> outcomes.Place:
    return outcomes.Place(
        hospital=H, channel=channel, recipient=INSURER, currency="CNY", zone="Asia/Shanghai"
    )


def settle(database: Database, *judged: tuple[Pending, Outcome]) -> outcomes.Settled:
    with database.writing() as connection:
        return outcomes.settle(
            connection, sealer(connection), place(channel_of(judged[0][0])), judged, now_us=2
        )


def stated(total: int = 100) -> BillStated:
    return BillStated(bill=bill(total), day=DAY)


def released(database: Database, delivery: str | None = None) -> list[Any]:
    with database.reading() as connection:
        shown = showing.bills_after(connection, sealer(connection), H, INSURER, 0, 100, delivery, 2)
    return [one.row for one in shown]


def listed(database: Database, hospital: str = "") -> list[showing.ShownReading]:
    with database.reading() as connection:
        return showing.readings_after(
            connection, sealer(connection), INSURER, None, 0, 10, 2, [hospital or H]
        )


def told(shown: showing.ShownReading) -> reading_pb2.Reading:
    return messages.reading(shown)


def left(database: Database) -> list[str]:
    with database.reading() as connection:
        return [
            entry.external_id
            for entry in inbox.opened(
                connection, sealer(connection), inbox.left_over(connection, H, CHANNEL, 100)
            )
        ]


@pytest.mark.both_databases
def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.both_databases
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = 9", "DELETE FROM {}"])
def test_events_are_append_only(database: Database, verb: str, table: str) -> None:
    assert APPEND_ONLY == ("bill_event", "consent_event", "erasure", "merge_event")
    merged = Merged(level=MergeLevel.ACCOUNT, into="A", out_of="B")
    settle(database, (pending_of(database, "a"), stated()), (pending_of(database, "m"), merged))
    column = "at_us" if table == "merge_event" else "number"
    with database.writing() as connection:
        erasures.remember(connection, uuid.uuid4().hex, member="m", answer=b"", now_us=1)
    with pytest.raises(DBAPIError), database.writing() as connection:
        connection.execute(text(verb.format(table, column)))


# Of each event: account, record, kind, whether it takes back, what it names, what it names then.
KEPT_BEFORE = [
    ("A", "A", "FINAL", False, None, None),
    ("A", "refund", "LATE", True, None, "A"),
    ("A", "charge", "LATE", False, None, None),
    ("A", "second refund", "LATE", True, "refund", "refund"),
    ("A", "all", "REVERSAL", True, None, None),
    ("B", "refund of parts", "LATE", True, None, None),  # that B is a row, another hospital says
]


@pytest.mark.on_postgresql
def test_a_refund_that_was_kept_before_names_its_bills_row_and_nothing_else_changes(
    database: Database,
) -> None:
    one = {"inbox_id": pending_of(database, "a").inbox_id, "updated_us": 0, "rank": "", "at_us": 1}
    rows = [
        {"hospital": H, "bill_id": uuid.uuid4().hex, "number": 1, "external_index": account}
        | {"record_index": record_, "kind": kind, "takes_back": back, "reverses_index": names}
        | one
        for account, record_, kind, back, names, _ in KEPT_BEFORE
    ]
    others = rows[0] | {"hospital": f"{H}-2", "external_index": "B", "record_index": "B"}
    with database.writing() as connection:
        connection.execute(insert(bill_event), [*rows, others])
    # That step alone: the tables are of today, and those that came after it stand.
    step = import_module("services.his_bridge.migrations.versions.0016_refunds_of_rows")
    with (
        database.writing() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        step.upgrade()
    with database.reading() as connection:
        mine = select(bill_event).where(bill_event.c.hospital == H)
        found = {row.record_index: row.reverses_index for row in connection.execute(mine)}
    assert found == {record_: then for _, record_, _, _, _, then in KEPT_BEFORE}
    with pytest.raises(DBAPIError, match="append-only"), database.writing() as connection:
        connection.execute(text("UPDATE bill_event SET number = 9"))


# The inbox.


def test_the_same_record_again_changes_nothing(database: Database) -> None:
    first = store(database, arrived("a"), arrived("b"))
    assert (first.received, len(first.pending)) == (2, 2)
    again = store(database, arrived("a"), arrived("b"), arrived("a", "2"), arrived("a", "2"))
    assert (again.received, again.conflicts) == (1, ())
    assert left(database) == ["Claim/a", "Claim/b", "Claim/a"]


def test_the_same_version_with_other_bytes_is_a_conflict_and_never_read(
    database: Database,
) -> None:
    store(database, arrived("a", raw=b"first"))
    for _ in range(2):  # once, however often it is sent
        store(database, arrived("a", raw=b"second"))
    assert left(database) == ["Claim/a"]
    with database.reading() as connection:
        (entry,) = lists.quarantine_after(connection, sealer(connection), H, 0, 10)
        mine = select(inbox_table).where(inbox_table.c.hospital == H).order_by(inbox_table.c.id)
        rows = connection.execute(mine).all()
        kept = [open_record(sealer(connection), row, "raw") for row in rows]
    row = entry.row
    assert row.stage == "conflict"
    assert msgspec.json.decode(row.faults)[0]["reason"] == Reason.SAME_VERSION_OTHER_CONTENT
    assert kept == [b"first", b"second"]


def test_two_versions_of_one_bill_that_conflict_within_a_page(database: Database) -> None:
    stored = store(database, arrived("a", raw=b"first"), arrived("a", raw=b"second"))
    assert (stored.received, len(stored.conflicts), len(stored.pending)) == (2, 1, 1)


def test_what_is_to_be_kept_out_is_not_stored_unless_it_was_known(database: Database) -> None:
    stored = store(database, arrived("a", keep_out=True), arrived("b"))
    assert (stored.received, len(stored.filtered)) == (1, 1)
    moved = store(database, arrived("b", "2", keep_out=True))  # known: it may take back a bill
    assert (moved.received, moved.filtered) == (1, ())


def test_the_cursor_moves_with_the_inbox_or_not_at_all(database: Database) -> None:
    class CutOff(Exception):
        """Something fails before the commit."""

    def once(position: bytes, cut_off: bool) -> None:
        with database.writing() as connection:
            inbox.store(
                connection, sealer(connection), H, CHANNEL, [arrived("a")], currency="CNY", now_us=1
            )
            inbox.move_cursor(
                connection, sealer(connection), H, CHANNEL, "scope", position, now_us=1
            )
            if cut_off:
                raise CutOff

    def cursor() -> bytes | None:
        with database.reading() as connection:
            return inbox.cursor_of(connection, sealer(connection), H, CHANNEL, "scope")

    with pytest.raises(CutOff):
        once(b"1", cut_off=True)
    assert (cursor(), left(database)) == (None, [])
    once(b"1", cut_off=False)
    once(b"2", cut_off=False)
    assert (cursor(), left(database)) == (b"2", ["Claim/a"])


@pytest.mark.on_postgresql
def test_no_id_of_the_source_stands_in_the_cursor(database: Database) -> None:
    names = b"day-of-patient.ndjson"
    with database.writing() as connection:
        for scope in ("one", "another"):
            inbox.move_cursor(connection, sealer(connection), H, CHANNEL, scope, names, now_us=1)
        rows = dict(connection.execute(select(read_cursor.c.scope, read_cursor.c.position)).all())
        assert not any(names in position for position in rows.values())
        # The control: whoever has the keys reads it.
        assert inbox.cursor_of(connection, sealer(connection), H, CHANNEL, "one") == names
        # Of another scope it is none.
        moved = update(read_cursor).where(read_cursor.c.scope == "one")
        connection.execute(moved.values(position=rows["another"]))
        with pytest.raises(CannotOpen):
            inbox.cursor_of(connection, sealer(connection), H, CHANNEL, "one")


# Bills.


def test_a_bill_is_released_once_and_waits_to_be_delivered(database: Database) -> None:
    settled = settle(database, (pending_of(database, "a"), stated()))
    assert settled == outcomes.Settled(released=1)
    (row,) = released(database)
    assert (row.kind, row.delivery, row.total_minor, row.day) == (
        "FINAL",
        "PENDING",
        100,
        "2026-03-01",
    )
    with database.reading() as connection:
        assert open_bill(sealer(connection), row) == bill()
    assert left(database) == []


def test_a_new_version_of_an_unchanged_bill_changes_nothing(database: Database) -> None:
    settle(database, (pending_of(database, "a"), stated()))
    settled = settle(database, (pending_of(database, "a", "2", at=5), stated()))
    assert settled == outcomes.Settled()
    assert len(released(database)) == 1


def test_a_changed_bill_is_released_as_a_correction_under_its_own_name(
    database: Database,
) -> None:
    first, second = pending_of(database, "a"), pending_of(database, "a", "2", at=5)
    settle(database, (first, stated(100)))
    settle(database, (second, stated(150)))
    final, correction = released(database)
    assert [final.kind, correction.kind] == ["FINAL", "CORRECTION"]
    assert [final.total_minor, correction.total_minor] == [100, 150]
    assert correction.name == f"{final.name}.2"


def test_an_older_version_that_comes_late_is_recorded_and_changes_nothing(
    database: Database,
) -> None:
    settle(database, (pending_of(database, "a", "2", at=5), stated(150)))
    assert settle(database, (pending_of(database, "a", "1", at=1), stated(100))).released == 0
    assert [row.total_minor for row in released(database)] == [150]
    with database.reading() as connection:
        count = connection.execute(
            text("SELECT count(*) FROM bill_event WHERE hospital = :h"), {"h": H}
        ).scalar_one()
    assert count == 2


def test_a_withdrawn_bill_is_reversed_and_may_be_stated_anew(database: Database) -> None:
    settle(database, (pending_of(database, "a"), stated(100)))
    settle(database, (pending_of(database, "a", "2", at=2), BillWithdrawn()))
    settle(database, (pending_of(database, "a", "3", at=3), BillWithdrawn()))
    settle(database, (pending_of(database, "a", "4", at=4), stated(100)))
    kinds = [(row.kind, row.total_minor) for row in released(database)]
    assert kinds == [("FINAL", 100), ("REVERSAL", 100), ("CORRECTION", 100)]


def test_a_bill_withdrawn_before_it_was_seen_is_none_of_ours(database: Database) -> None:
    settled = settle(database, (pending_of(database, "a"), BillWithdrawn()))
    assert settled == outcomes.Settled(filtered=1)
    assert released(database) == []
    assert left(database) == []


def test_bad_records_wait_and_good_ones_go_on(database: Database) -> None:
    fault = Fault(reason=Reason.LINES_DO_NOT_ADD_UP, path="total")
    settled = settle(
        database,
        (pending_of(database, "a"), SetAside(faults=(fault,), total=7)),
        (pending_of(database, "b"), stated()),
        (pending_of(database, "c"), KeptOut()),
    )
    assert settled == outcomes.Settled(released=1, quarantined=1, filtered=1)
    with database.reading() as connection:
        (entry,) = lists.quarantine_after(connection, sealer(connection), H, 0, 10)
        row = entry.row
        inbox_row = connection.execute(
            select(inbox_table).where(inbox_table.c.id == row.inbox_id)
        ).one()
        raw = open_record(sealer(connection), inbox_row, "raw")
    assert (row.stage, row.total_minor, row.currency) == ("balance", 7, "CNY")
    assert raw == b"a 1"


def waiting(database: Database) -> list[tuple[str, str]]:
    with database.reading() as connection:
        rows = lists.quarantine_after(connection, sealer(connection), H, 0, 10)
    return [(entry.external_id, entry.row.version) for entry in rows]


BAD = SetAside(faults=(Fault(reason=Reason.LINES_DO_NOT_ADD_UP, path="total"),))


@pytest.mark.parametrize("outcome", [stated(), BillWithdrawn(), KeptOut()])
def test_a_later_version_resolves_what_waited(database: Database, outcome: Outcome) -> None:
    settle(database, (pending_of(database, "a", at=1), BAD), (pending_of(database, "b"), BAD))
    later = pending_of(database, "a", "2", at=5)
    assert waiting(database) == [("Claim/a", "1"), ("Claim/b", "1")]  # not before it is read
    settle(database, (later, outcome))
    assert waiting(database) == [("Claim/b", "1")]
    with database.reading() as connection:
        kept = text("SELECT count(*) FROM quarantine WHERE hospital = :h")
        assert connection.execute(kept, {"h": H}).scalar_one() == 2


def test_a_record_that_is_bad_again_waits_once(database: Database) -> None:
    settle(database, (pending_of(database, "a", at=1), BAD))
    settle(database, (pending_of(database, "a", "2", at=5), BAD))
    assert waiting(database) == [("Claim/a", "2")]


def test_a_late_older_version_resolves_nothing(database: Database) -> None:
    settle(database, (pending_of(database, "a", "2", at=5), BAD))
    settle(database, (pending_of(database, "a", "1", at=1), stated()))
    assert waiting(database) == [("Claim/a", "2")]


def test_a_conflict_waits_until_a_later_version_says_which_was_right(database: Database) -> None:
    settle(database, (pending_of(database, "a", at=1), stated()))
    store(database, arrived("a", raw=b"other", updated_us=2))
    assert waiting(database) == [("Claim/a", "1")]
    settle(database, (pending_of(database, "a", "2", at=5), stated()))
    assert waiting(database) == []


def test_totals_by_day_count_every_bill_as_it_stands(database: Database) -> None:
    settle(database, (pending_of(database, "a"), stated(100)))
    settle(database, (pending_of(database, "b"), stated(10)))
    settle(database, (pending_of(database, "c"), stated(1)))
    settle(database, (pending_of(database, "a", "2", at=5), stated(150)))
    settle(database, (pending_of(database, "c", "2", at=5), BillWithdrawn()))
    settle(database, (pending_of(database, "d"), stated(7)))
    later = datetime(2026, 5, 2, 9, tzinfo=UTC)
    moved = BillStated(bill=msgspec.structs.replace(bill(7), end=later), day=date(2026, 5, 2))
    settle(database, (pending_of(database, "d", "2", at=5), moved))
    with database.reading() as connection:
        may = lists.totals_by_day(connection, sealer(connection), H, moved.day, moved.day)
        totals = lists.totals_by_day(connection, sealer(connection), H, DAY, DAY)
        none = lists.totals_by_day(
            connection, sealer(connection), H, date(2026, 3, 2), date(2026, 3, 3)
        )
    assert totals == {DAY: DayTotals(bills={"Claim/a": 150, "Claim/b": 10})}
    assert none == {}
    assert may == {moved.day: DayTotals(bills={"Claim/d": 7})}


# Readings.


def reading(value: str) -> tuple[str, Reading]:
    return (
        "4548-4",
        Reading(
            member_token="k1.00",
            code=Coding(system="http://loinc.org", code="4548-4"),
            value=Decimal(value),
            unit="%",
            effective=WHEN,
            provenance=Provenance.LABORATORY,
        ),
    )


def test_a_corrected_reading_keeps_its_name_and_moves_to_the_end(database: Database) -> None:
    def names() -> list[tuple[str, str]]:
        return [(one.row.name, str(one.reading.value)) for one in listed(database)]

    settle(database, (pending_of(database, "o1"), ReadingsStated(readings=(reading("7.2"),))))
    settle(database, (pending_of(database, "o2"), ReadingsStated(readings=(reading("8.0"),))))
    (first, _), (second, _) = names()
    again = ReadingsStated(readings=(reading("7.2"),))
    assert settle(database, (pending_of(database, "o1", "2"), again)).released == 0
    corrected = ReadingsStated(readings=(reading("7.3"),))
    assert settle(database, (pending_of(database, "o1", "3"), corrected)).released == 1
    assert names() == [(second, "8.0"), (first, "7.3")]


def test_a_reading_taken_back_is_released_once_more_as_withdrawn(database: Database) -> None:
    def withdrawn() -> list[tuple[str, bool]]:
        return [(one.row.name, told(one).withdrawn) for one in listed(database)]

    stated = ReadingsStated(readings=(reading("7.2"),))
    settle(database, (pending_of(database, "o1"), stated))
    settle(database, (pending_of(database, "o2"), stated))
    (first, _), (second, _) = withdrawn()
    taken_back = (pending_of(database, "o1", "2"), ReadingsWithdrawn())
    assert settle(database, taken_back).released == 1
    assert withdrawn() == [(second, False), (first, True)]
    again = (pending_of(database, "o1", "3"), ReadingsWithdrawn())
    assert settle(database, again).released == 0
    # Never seen before it was taken back: nobody has to hear of it.
    assert settle(database, (pending_of(database, "o3"), ReadingsWithdrawn())).released == 0
    settle(database, (pending_of(database, "o1", "4"), stated))
    assert withdrawn() == [(second, False), (first, False)]
    # Stated and taken back between two pulls: the last word counts.
    both = [(pending_of(database, "o2", "2"), ReadingsStated(readings=(reading("7.9"),)))]
    settle(database, *both, (pending_of(database, "o2", "3"), ReadingsWithdrawn()))
    assert withdrawn() == [(first, False), (second, True)]


def test_a_reading_stored_before_its_release_was_read_still_opens(database: Database) -> None:
    settle(database, (pending_of(database, "o1"), ReadingsStated(readings=(reading("7.2"),))))
    (found,) = listed(database)
    row = found.row
    assert listed(database, "elsewhere") == []
    with database.reading() as connection:
        body = bytes(open_reading(sealer(connection), row).body)
    # Word for word what was stored then; today's readings without a release are stored the same.
    assert json.loads(body).keys() == {
        "member_token",
        "code",
        "value",
        "unit",
        "effective",
        "provenance",
    }
    message = told(found)
    assert message.receive_time.ToMicroseconds() == row.received_us > 0
    assert message.fasting_status == 0
    _, stated = reading("7.2")
    later = msgspec.structs.replace(stated, issued=WHEN + timedelta(days=1), fasting=True)
    outcome = ReadingsStated(readings=(("4548-4", later),))
    assert settle(database, (pending_of(database, "o1", "2"), outcome)).released == 1
    (found,) = listed(database)
    message = told(found)
    assert message.receive_time.ToDatetime(UTC) == WHEN + timedelta(days=1)
    assert message.fasting_status == reading_pb2.FASTING_STATUS_FASTING


def test_a_value_that_was_another_patients_is_taken_back_from_the_first(
    database: Database,
) -> None:
    def said() -> list[tuple[str, str, bool]]:
        found = [told(one) for one in listed(database)]
        return [(m.name.rpartition("/")[2], m.member_token, m.withdrawn) for m in found]

    code, mine = reading("7.2")
    settle(database, (pending_of(database, "o1"), ReadingsStated(readings=((code, mine),))))
    ((first, owner, _),) = said()
    theirs = msgspec.structs.replace(mine, member_token="k1.01")
    moved = ReadingsStated(readings=((code, theirs),))
    assert settle(database, (pending_of(database, "o1", "2"), moved)).released == 2
    (gone, there) = said()
    assert gone == (first, owner, True)
    assert there[0] != first
    assert there[1:] == ("k1.01", False)
    assert settle(database, (pending_of(database, "o1", "3"), moved)).released == 0
    # What a later version no longer states is taken back as well.
    other = ReadingsStated(readings=(("8480-6", theirs),))
    assert settle(database, (pending_of(database, "o1", "4"), other)).released == 2
    assert [withdrawn for _, _, withdrawn in said()] == [True, True, False]
    settled = settle(database, (pending_of(database, "o1", "5"), KeptOut()))
    assert (settled.released, settled.filtered) == (1, 0)
    assert [withdrawn for _, _, withdrawn in said()] == [True, True, True]
    assert settle(database, (pending_of(database, "o1", "6"), KeptOut())).filtered == 1


NOON, ELEVEN, TEN = 12, 11, 10


def values(database: Database) -> list[tuple[str, bool]]:
    return [(str(one.reading.value), told(one).withdrawn) for one in listed(database)]


@pytest.mark.parametrize("late", [ReadingsWithdrawn(), KeptOut(), reading("9.9")])
@pytest.mark.parametrize("together", [False, True])
def test_an_older_version_that_comes_late_changes_no_reading(
    database: Database, late: Any, together: bool
) -> None:
    if isinstance(late, tuple):
        late = ReadingsStated(readings=(late, ("8480-6", late[1])))
    newest = (pending_of(database, "o1", "C", NOON), ReadingsStated(readings=(reading("6.1"),)))
    older = (pending_of(database, "o1", "F", ELEVEN), late)
    settled = [settle(database, newest, older)] if together else []
    settled = settled or [settle(database, newest), settle(database, older)]
    assert sum(one.released for one in settled) == 1
    assert values(database) == [("6.1", False)]
    with database.reading() as connection:
        query = select(inbox_table.c.state, inbox_table.c.raw).where(
            inbox_table.c.id == older[0].inbox_id
        )
        assert connection.execute(query).one() == ("superseded", None)
    # Another record is not older than this one, and what is newer still counts.
    settle(
        database,
        (pending_of(database, "o2", "F", TEN), ReadingsStated(readings=(reading("5.0"),))),
        (pending_of(database, "o1", "D", NOON), ReadingsWithdrawn()),
    )
    assert sorted(values(database)) == [("5.0", False), ("6.1", True)]


@pytest.mark.parametrize("newest", [ReadingsWithdrawn(), KeptOut(), reading("7.2")])
def test_a_version_that_changed_nothing_is_not_overtaken_either(
    database: Database, newest: Any
) -> None:
    first, last = ReadingsStated(readings=(reading("7.2"),)), newest
    if isinstance(newest, tuple):
        last = ReadingsStated(readings=(newest,))
    settle(database, (pending_of(database, "o1", "A", TEN), first))
    settle(database, (pending_of(database, "o1", "C", NOON), last))
    was = values(database)
    late = ReadingsStated(readings=(reading("9.9"),))
    assert settle(database, (pending_of(database, "o1", "B", ELEVEN), late)).released == 0
    assert values(database) == was


def test_a_newer_version_that_waits_for_a_person_holds_no_older_one_back(
    database: Database,
) -> None:
    faulty = SetAside(faults=(Fault(reason=Reason.UNIT_UNKNOWN, path="valueQuantity"),))
    settle(database, (pending_of(database, "o1", "C", NOON), faulty))
    stated = ReadingsStated(readings=(reading("7.2"),))
    settle(database, (pending_of(database, "o1", "F", ELEVEN), stated))
    assert values(database) == [("7.2", False)]


# The insurer's answers.


def answer(name: str, delivery: str = "TAKEN") -> Answer:
    taken = delivery == "TAKEN"
    return Answer(
        bill=name,
        delivery=delivery,
        claims=("policies/p/claims/c",) if taken else (),
        refusal_reasons=() if taken else ("UNKNOWN_MEMBER",),
    )


def acknowledge(database: Database, request_id: str, *answers: Answer) -> None:
    with database.writing() as connection:
        lists.acknowledge(connection, H, request_id, answers, recipient=INSURER, now_us=3)


def test_answers_are_recorded_all_or_none_and_repeating_changes_nothing(
    database: Database,
) -> None:
    settle(database, (pending_of(database, "a"), stated(1)), (pending_of(database, "b"), stated(2)))
    first, second = (row.name for row in released(database))
    with pytest.raises(UnknownBills) as caught:
        acknowledge(database, "r1", answer(first), answer(uuid.uuid4().hex))
    assert len(caught.value.names) == 1
    assert len(released(database, "PENDING")) == 2
    for _ in range(2):
        acknowledge(database, "r1", answer(first), answer(second, "REFUSED"))
    assert [row.name for row in released(database, "TAKEN")] == [first]
    assert [row.name for row in released(database, "REFUSED")] == [second]
    with pytest.raises(OtherContent):
        acknowledge(database, "r1", answer(second))
    acknowledge(database, "r2", answer(second))  # refused first, taken after a person looked
    with pytest.raises(TakenBefore):
        acknowledge(database, "r3", answer(first, "REFUSED"))
    assert len(released(database, "TAKEN")) == 2


# Leases and numbers.


def acquire(database: Database, holder: str, now_us: int) -> int | None:
    with database.writing() as connection:
        return leases.acquire(connection, H, CHANNEL, holder, now_us=now_us, until_us=now_us + 10)


@pytest.mark.both_databases
def test_one_poller_at_a_time_and_a_dead_one_is_replaced(database: Database) -> None:
    assert acquire(database, "a", 0) is None
    assert acquire(database, "b", 5) == 10
    assert acquire(database, "b", 11) is None
    with database.writing() as connection:
        leases.renew(connection, H, CHANNEL, "b", until_us=30)
    with pytest.raises(LeaseLost), database.writing() as connection:
        leases.renew(connection, H, CHANNEL, "a", until_us=99)
    with database.writing() as connection:
        leases.release(connection, H, CHANNEL, "a")  # not its own
    assert acquire(database, "c", 12) == 30


def test_of_many_pollers_at_once_one_gets_the_lease(database: Database) -> None:
    winners: list[str] = []

    def poll(holder: str) -> None:
        if acquire(database, holder, 0) is None:
            winners.append(holder)

    threads = [threading.Thread(target=poll, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1


def numbered_by_lock(connection: Connection) -> int:
    return leases.next_numbers(connection, "things", 1)


def numbered_by_sequence(connection: Connection) -> int:
    """The control: what a database's own sequence does."""
    return int(connection.execute(text("SELECT nextval('naive')")).scalar_one())


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("number", "misses"), [(numbered_by_lock, False), (numbered_by_sequence, True)]
)
def test_a_reader_of_numbers_misses_none_though_commits_overlap(
    postgres_database: str, number: Any, misses: bool
) -> None:
    """A slow writer takes a number first and commits last; a reader passes by in between."""
    database = with_tables(postgres_database, "services.his_bridge")
    with database.writing() as connection:
        connection.execute(text("CREATE SEQUENCE naive"))
        connection.execute(text("CREATE TABLE things (number bigint)"))
    took, may_commit = threading.Event(), threading.Event()
    second_done = threading.Event()

    def write(slow: bool) -> None:
        with database.writing() as connection:
            if not slow:
                took.wait(60)
            mine = number(connection)
            if slow:
                took.set()
                may_commit.wait(60)
            connection.execute(text("INSERT INTO things VALUES (:n)"), {"n": mine})
        if not slow:
            second_done.set()

    threads = [threading.Thread(target=write, args=(slow,)) for slow in (True, False)]
    for thread in threads:
        thread.start()
    took.wait(60)
    second_done.wait(60 if misses else 0.3)  # under the lock it cannot finish
    seen = read(database, 0)
    may_commit.set()
    for thread in threads:
        thread.join()
    seen |= read(database, max(seen, default=0))
    database.close()
    assert (len(seen) < 2) is misses


def read(database: Database, after: int) -> set[int]:
    with database.reading() as connection:
        query = text("SELECT number FROM things WHERE number > :n")
        return set(connection.execute(query, {"n": after}).scalars())


def last_states(database: Database, after: int = 0) -> list[Any]:
    with database.reading() as connection:
        shown = showing.last_states_after(
            connection, sealer(connection), H, INSURER, INSURER, after, 100, 2
        )
    return [one.row for one in shown]


def test_studies_see_the_last_state_of_a_bill_and_a_reversed_one_not_at_all(
    database: Database,
) -> None:
    for key in ("a", "b", "c", "d"):
        settle(database, (pending_of(database, key), stated(100)))
    settle(database, (pending_of(database, "b", "2", at=2), stated(150)))
    settle(database, (pending_of(database, "c", "2", at=2), BillWithdrawn()))
    settle(database, (pending_of(database, "d", "3", at=3), stated(300)))
    settle(database, (pending_of(database, "d", "2", at=2), stated(200)))  # late: changes nothing
    assert last_states(database) == []  # three bills are no group
    for number in range(showing.STUDY_GROUP - 3):
        settle(database, (pending_of(database, f"e{number}"), stated(500)))
    found = last_states(database)
    assert [row.total_minor for row in found[:3]] == [100, 150, 300]
    assert [row.total_minor for row in found[3:]] == [500] * (showing.STUDY_GROUP - 3)
    assert last_states(database, found[-1].seq) == []
    with pytest.raises(showing.NoBorder):
        last_states(database, found[0].seq)
    assert len(released(database)) == 7 + showing.STUDY_GROUP - 3
