"""What is pushed is read as it comes, and sealed under its patient's key before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.his_bridge.core.mapping import Side, StoredMap, with_maps
from services.his_bridge.core.outcomes import KeptOut, Outcome
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader
from services.his_bridge.dialects.hl7v2.admission import BILLS, KIND
from services.his_bridge.dialects.port import Glance, Key
from services.his_bridge.intake import Intake, Taken
from services.his_bridge.read_ahead import ReadAhead, ReadAheads
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.storage import code_maps, sealed
from services.his_bridge.storage.erasure import erase
from services.his_bridge.storage.inbox import Arrived, Pending, store
from services.his_bridge.storage.tables import bill_event, inbox, released_bill
from tests.services.common.sealing.keys import now_us, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, take_back, terms
from tests.services.his_bridge.messages_hl7 import (
    FT1,
    NUMBER,
    TOKEN,
    dft,
    profile,
    with_field,
)
from tests.services.his_bridge.receiving.listening import client, listening
from tests.services.his_bridge.records import tokens

H = "demo-hospital"
OWN_BILLS = "hl7v2:\n  bill: message"


class Counting(MessageReader):
    """Tells how often it judged."""

    judged = 0

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        Counting.judged += 1
        return super().judge(record_id, glance, support)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
def keys(database: Database) -> SubjectKeys:
    Counting.judged = 0
    return subject_keys(database)


def bridge(database: Database, keys: SubjectKeys) -> Intake:
    """A process of the bridge: another one has nothing of what this one holds in memory."""
    found = profile(lambda text: text.replace("hl7v2:", OWN_BILLS))

    def reader_of(terms: SourceTerms) -> MessageReader:
        return Counting(Hl7Reading(terms, found.dialect_terms), tokens)  # type: ignore[arg-type]  # it is HL7's

    return Intake(BILLS, found, reader_of, database, keys, now_us, INSURER)


def pushed(message: str, name: str = "M1") -> RawRecord:
    raw = message.encode("gb18030")
    return RawRecord(kind=KIND, record_id=f"HIS/{name}", version="1", updated=None, raw=raw)


def take(intake: Intake, *records: RawRecord) -> tuple[Taken, ...]:
    return asyncio.run(intake.take(records))


def read(intake: Intake) -> int:
    return asyncio.run(intake.read_arrived()).released


def rows(database: Database) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(inbox).order_by(inbox.c.id)).all())


def count(database: Database, table: Any) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def opened(database: Database, keys: SubjectKeys, row: Any) -> bytes:
    with database.reading() as connection:
        return sealed.open_record(keys.sealer(connection), row, "raw")


def test_it_is_sealed_under_its_patient_before_it_is_acknowledged(
    database: Database, keys: SubjectKeys
) -> None:
    intake, message = bridge(database, keys), pushed(dft())
    assert take(intake, message) == (Taken.STORED,)
    (row,) = rows(database)
    assert (row.state, row.member is None) == ("pending", False)
    assert opened(database, keys, row) == message.raw
    assert NUMBER.encode() not in row.raw
    assert read(intake) == 0  # nobody has consented
    (after,) = rows(database)
    assert (after.state, after.raw) == ("held_no_consent", row.raw)  # not written anew


def test_what_was_read_as_it_came_is_not_read_again(database: Database, keys: SubjectKeys) -> None:
    record(database, H, [terms(TOKEN)])
    intake = bridge(database, keys)
    take(intake, pushed(dft()))
    assert (read(intake), Counting.judged) == (1, 1)
    assert (read(intake), Counting.judged) == (0, 1)
    # A process that died has it in its inbox alone.
    take(intake, pushed(dft(control_id="M2"), "M2"))
    assert (read(bridge(database, keys)), Counting.judged) == (1, 3)
    assert (read(intake), count(database, bill_event)) == (0, 2)


def test_a_record_that_nobody_can_attribute_is_the_hospitals(
    database: Database, keys: SubjectKeys
) -> None:
    intake = bridge(database, keys)
    nobody = with_field(dft(), "PID", 3, "MRN7701^^^HIS^MR")
    bad = dft(FT1[0].replace("|CG|", "|ZZ|"), control_id="M2")
    assert take(intake, pushed(nobody), pushed(bad, "M2")) == (Taken.STORED, Taken.STORED)
    read(intake)
    found = rows(database)
    assert [(row.state, row.member) for row in found] == [("quarantined", None)] * 2
    assert [opened(database, keys, row) for row in found] == [
        one.encode("gb18030") for one in (nobody, bad)
    ]


@pytest.mark.both_databases
def test_a_patient_erased_between_answer_and_reading_is_erased(
    database: Database, keys: SubjectKeys
) -> None:
    record(database, H, [terms(TOKEN)])
    intake, message = bridge(database, keys), pushed(dft())
    take(intake, message)
    erase(database, keys, "e1", TOKEN, [H], now_us(), recipient=INSURER)
    assert read(intake) == 0
    (row,) = rows(database)
    assert (row.state, row.raw) == ("erased", None)
    assert (count(database, bill_event), count(database, released_bill)) == (0, 0)
    # Sent again it is known, and stays unread; another one begins a new member without consent.
    assert take(intake, message) == (Taken.KNOWN,)
    assert take(intake, pushed(dft(control_id="M2"), "M2")) == (Taken.STORED,)
    assert read(intake) == 0
    later = rows(database)[-1]
    assert later.state == "held_no_consent"
    assert later.member != row.member


def test_a_consent_withdrawn_between_answer_and_reading_holds_the_bill(
    database: Database, keys: SubjectKeys
) -> None:
    given = terms(TOKEN)
    record(database, H, [given])
    intake = bridge(database, keys)
    take(intake, pushed(dft()))
    take_back(database, H, given, now_us())
    assert (read(intake), count(database, released_bill)) == (0, 0)
    record(database, H, [terms(TOKEN)])
    assert (read(intake), count(database, released_bill)) == (1, 1)


def test_a_map_loaded_between_answer_and_reading_counts(
    database: Database, keys: SubjectKeys
) -> None:
    record(database, H, [terms(TOKEN)])
    intake = bridge(database, keys)
    take(intake, pushed(dft(FT1[1].replace("XUEJIAN", "NEW"))))
    loaded = StoredMap(
        side=Side.SERVICES,
        from_system="urn:test:local",
        to_system="urn:test:yibao",
        codes={"NEW": "250101001"},
    )
    assert with_maps(profile().terms, [loaded]).line_codes.maps  # the profile takes it
    with database.writing() as connection:
        sealer = keys.sealer(connection)
        code_maps.load(connection, sealer, H, "r1", "1", loaded, now_us=now_us())
    assert (read(intake), Counting.judged) == (1, 2)


def test_a_new_or_destroyed_key_of_the_hospital_stops_no_patients_bill(
    database: Database, keys: SubjectKeys
) -> None:
    record(database, H, [terms(TOKEN)])
    intake = bridge(database, keys)
    nobody = with_field(dft(), "PID", 3, "MRN7701^^^HIS^MR")
    take(intake, pushed(nobody, "M0"))
    with database.writing() as connection:
        keys.sealer(connection).renew(sealed.inbox_subject(H))
    take(intake, pushed(dft(control_id="M1")), pushed(with_field(nobody, "MSH", 10, "X"), "X"))
    assert read(intake) == 1
    assert {opened(database, keys, row)[:3] for row in rows(database)} == {b"MSH"}
    with database.writing() as connection:
        keys.sealer(connection).destroy(sealed.inbox_subject(H))
    assert take(intake, pushed(dft(control_id="M2"), "M2")) == (Taken.STORED,)
    assert read(intake) == 1


def test_memory_holds_so_much_and_forgets_what_was_read() -> None:
    def some(first: int, beyond: int, size: int = 1) -> list[ReadAhead]:
        entries = (entry(at, b"x" * size) for at in range(first, beyond))
        return [ReadAhead(pending=one, outcome=KeptOut(), under=1) for one in entries]

    held = ReadAheads()
    held.keep(some(0, 500))
    assert len(held.take(range(500), 1)) == 400
    held.keep(some(500, 600, size=1 << 14))
    assert len(held.take(range(500, 600), 1)) == 64  # a MiB
    # Under another map none counts, and what somebody else has read makes room.
    held.keep(some(600, 700))
    assert held.take([650], 2) == {}
    assert sorted(held.take(range(600, 700), 1)) == list(range(651, 700))


def entry(inbox_id: int, raw: bytes) -> Pending:
    return Pending(
        inbox_id=inbox_id,
        external_id="HL7v2/x",
        external_index="",
        raw=raw,
        bound="",
        updated_us=0,
        rank="",
        received_us=0,
    )


def test_an_erasure_waits_for_what_is_being_stored_and_takes_it_along(
    postgres_database: str,
) -> None:
    database = Database(postgres_database)
    keys = subject_keys(database)
    record(database, H, [terms(TOKEN)])
    arrived = Arrived(
        external_id="HL7v2/x",
        version="1",
        updated_us=0,
        raw=b"raw",
        keep_out=False,
        token=TOKEN,
    )
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as connection:
            sealer = keys.sealer(connection)
            store(connection, sealer, H, BILLS, [arrived], currency="CNY", now_us=1)
            erased = pool.submit(
                partial(erase, recipient=INSURER), database, keys, "e1", TOKEN, [H], now_us()
            )
            while not waits_for_a_lock(database):
                assert not erased.done()
        assert erased.result().keys == 1
    (row,) = rows(database)
    assert (row.state, row.raw) == ("erased", None)
    database.close()


def waits_for_a_lock(database: Database) -> bool:
    with database.reading() as connection:
        # Other tests' databases are on the same server.
        query = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE NOT granted AND pg_stat_activity.datname = current_database()"
        )
        return bool(connection.execute(text(query)).scalar_one())


@pytest.mark.both_databases
def test_one_message_on_many_connections_at_once_is_stored_once(database: Database) -> None:
    other = dft(FT1[0])  # the same control id with other content

    async def one(port: int, message: str) -> list[str]:
        async with client(port) as sender:
            return (await sender.ask(message))[1][1:3]

    async def whole() -> tuple[list[list[str]], list[str]]:
        async with listening(database) as running:
            answers = await asyncio.gather(*(one(running.port, dft()) for _ in range(32)))
            return list(answers), await one(running.port, other)

    answers, refused = asyncio.run(whole())
    assert answers == [["AA", "M1"]] * 32
    assert refused == ["AR", "M1"]
    states = [row.state for row in rows(database)]
    assert len(states) == 2
    assert states[1] == "conflict"


def test_a_database_that_was_restarted_loses_and_doubles_nothing(postgres_database: str) -> None:
    """Each message is sent until it is accepted, as an interface engine does."""
    database = Database(postgres_database)
    wanted = {f"R{number}": dft(FT1[0], control_id=f"R{number}") for number in range(24)}
    answers: list[str] = []

    async def some(port: int, mine: list[str], cut: Callable[[], None]) -> None:
        async with client(port) as sender:
            for at, name in enumerate(mine):
                if at == len(mine) // 2:
                    cut()
                while (code := (await sender.ask(wanted[name]))[1][1]) != "AA":
                    answers.append(code)

    def cut() -> None:
        """What a restart does to the sessions that are open, seen from this side."""
        with database.writing() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )

    async def whole() -> None:
        async with listening(database) as running:
            names = sorted(wanted)
            await asyncio.gather(*(some(running.port, names[n::4], cut) for n in range(4)))

    asyncio.run(whole())
    assert set(answers) <= {"AE"}
    assert len(rows(database)) == len(wanted)
    database.close()
