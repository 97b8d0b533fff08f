"""A sender is answered once its message is stored, rightly, in order, and never by silence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from services.common.database import Database
from services.common.log_words import allowed
from services.common.state import read_addresses
from services.his_bridge.dialects.hl7v2.framing import framed
from services.his_bridge.dialects.hl7v2.refusals import TERMS, Refusal
from services.his_bridge.intake import Intake, PullReport, Taken
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.receiving.lasting import lasting
from services.his_bridge.sources.port import RawRecord
from tests.services.his_bridge.messages_hl7 import (
    PID,
    PV1,
    dft,
    message,
    oru,
    with_field,
    without,
)
from tests.services.his_bridge.receiving.listening import (
    LONGEST_S,
    Client,
    Running,
    SlowIntake,
    client,
    listening,
)

Talk = Callable[[Running, Client], Awaitable[None]]


@pytest.fixture
def database(sqlite_database: str) -> Iterator[Database]:
    found = Database(sqlite_database)
    yield found
    found.close()


def talk(
    database: Database,
    what: Talk,
    change: Callable[[str], str] = lambda text: text,
    settings: MllpSettings | None = None,
    kind: type[Intake] = Intake,
) -> None:
    async def whole() -> None:
        async with (
            listening(database, change, settings, kind) as running,
            client(running.port) as sender,
        ):
            await what(running, sender)

    asyncio.run(whole())


def test_an_hour_that_comes_twice_is_the_one_in_which_its_message_came(database: Database) -> None:
    """In New York 1:00 to 2:00 of 1 November 2026 begins at 05:00 UTC, and again at 06:00."""

    def at(hour: int, minute: int) -> datetime:
        return datetime(2026, 11, 1, hour, minute, tzinfo=UTC)

    sent = [  # written, arrived, believed
        ("20261101015000", at(5, 51), at(5, 50)),
        ("20261101011000", at(6, 11), at(6, 10)),  # the correction of the one before
        ("20261101015500", at(6, 20), at(5, 55)),  # waited in a queue
        ("20261101011500-0400", at(6, 21), at(5, 15)),  # says which
        ("20261101023000", at(7, 31), at(7, 30)),
        ("20260308023000", at(8, 0), datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),  # came never
    ]
    now = at(5, 0)

    async def whole() -> None:
        def clock() -> int:
            return round(now.timestamp() * 1_000_000)

        zone = ("Asia/Shanghai", "America/New_York")
        async with (
            listening(database, lambda text: text.replace(*zone), clock=clock) as running,
            client(running.port) as sender,
        ):
            nonlocal now
            for number, (written, arrived, _) in enumerate(sent):
                now = arrived
                text = dft(control_id=f"M{number}").replace(
                    "BRIDGE|20260301103000", f"BRIDGE|{written}"
                )
                assert (await sender.ask(text))[1][1] == "AA"
            assert running.times() == [believed for _, _, believed in sent]

    asyncio.run(whole())


def test_an_accepted_message_is_stored_and_named_again(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        msh, msa = await sender.ask(dft())
        assert running.stored() == 1
        assert msa == ["MSA", "AA", "M1"]
        assert msh[1:6] == ["^~\\&", "LIPEI", "BRIDGE", "HIS", "H110101"]
        assert (msh[8], msh[10], msh[11], msh[17]) == ("ACK^P03^ACK", "P", "2.5.1", "GB18030")
        assert msh[9]

    talk(database, what)


def test_an_answer_uses_the_senders_own_delimiters_and_version(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        text = with_field(dft(), "MSH", 12, "2.3").translate(str.maketrans("|^~\\&", "#*!?$"))
        await sender.send(text)
        async with asyncio.timeout(LONGEST_S):
            raw = await sender.reader.readuntil(b"\x1c\r")
        msh, msa = raw[1:-2].decode("gb18030").strip("\r").split("\r")
        assert msh.startswith("MSH#*!?$#LIPEI#BRIDGE#HIS#H110101#")
        assert "#ACK*P03#" in msh
        assert "#2.3" in msh
        assert msa == "MSA#AA#M1"

    talk(database, what)


def test_the_same_message_again_is_accepted_and_stored_once(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        for _ in range(3):
            _, msa = await sender.ask(dft())
            assert msa[1] == "AA"
        assert running.stored() == 1

    talk(database, what)


def test_pipelined_messages_are_answered_in_order_in_few_transactions(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        slow = running.intakes["bills"]
        assert isinstance(slow, SlowIntake)
        ids = [f"M{number}" for number in range(50)]
        messages = [dft(control_id=one) for one in ids]
        await sender.send(*messages)
        await running.arrived(*messages)
        slow.free.set()
        assert [(await sender.answer())[1][2] for _ in ids] == ids
        assert len(slow.batches) <= 3

    talk(database, what, kind=SlowIntake)


def test_nothing_is_acknowledged_before_it_is_stored(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        slow = running.intakes["bills"]
        assert isinstance(slow, SlowIntake)
        await sender.send(dft())
        answer = asyncio.ensure_future(sender.answer())
        done, _ = await asyncio.wait([answer], timeout=0.3)
        assert not done
        slow.free.set()
        assert (await answer)[1][1] == "AA"

    talk(database, what, kind=SlowIntake)


def edited(segment: str, field: int, value: str) -> str:
    return with_field(dft(), segment, field, value)


NO_ACCOUNT = dft().replace("ACC001", "")
REFUSED: list[tuple[str, str | bytes, str, list[tuple[Refusal, str]]]] = [
    ("no MSH", b"PID|1|x\r", "AE", [(Refusal.NOT_HL7, "MSH^1")]),
    (
        "bytes outside the charset",
        dft().encode("gb18030") + b"\xff\r",
        "AE",
        [(Refusal.NOT_IN_CHARSET, "")],
    ),
    (
        "another charset",
        edited("MSH", 18, "8859/1"),
        "AE",
        [(Refusal.CHARSET_CONTRADICTED, "MSH^1^18")],
    ),
    (
        "too many segments",
        dft() + "ZZZ|1\r" * 50_000,
        "AR",
        [(Refusal.TOO_MANY_SEGMENTS, "")],
    ),
    (
        "an endless charge",
        dft() + "FT1|" + "x" * (1 << 20) + "\r",
        "AR",
        [(Refusal.SEGMENT_TOO_LONG, "FT1^1")],
    ),
    ("a version", edited("MSH", 12, "3.0"), "AR", [(Refusal.VERSION_UNSUPPORTED, "MSH^1^12")]),
    (
        "for training",
        edited("MSH", 11, "T"),
        "AR",
        [(Refusal.PROCESSING_ID_UNSUPPORTED, "MSH^1^11")],
    ),
    ("a type", edited("MSH", 9, "MDM^T01"), "AR", [(Refusal.TYPE_UNSUPPORTED, "MSH^1^9")]),
    ("an event", edited("MSH", 9, "ADT^A05"), "AR", [(Refusal.EVENT_UNSUPPORTED, "MSH^1^9")]),
    (
        "both acknowledgements",
        with_field(edited("MSH", 15, "AL"), "MSH", 16, "AL"),
        "CR",
        [(Refusal.ACKNOWLEDGEMENT_UNSUPPORTED, "MSH^1^16")],
    ),
    ("no control id", edited("MSH", 10, ""), "AR", [(Refusal.CONTROL_ID_MISSING, "MSH^1^10")]),
    ("no charges", without(dft(), "FT1"), "AR", [(Refusal.SEGMENT_MISSING, "FT1^1")]),
    ("no account", NO_ACCOUNT, "AR", [(Refusal.FIELD_MISSING, "PID^1^18")]),
    (
        "no prior account",
        message("ADT^A41", PID, "MRG|M2"),
        "AR",
        [(Refusal.FIELD_MISSING, "MRG^1^3")],
    ),
    ("nobody's results", without(oru(), "PID"), "AR", [(Refusal.SEGMENT_MISSING, "PID^1")]),
    (
        "everything at once",
        with_field(with_field(edited("MSH", 12, "9"), "MSH", 11, "T"), "MSH", 9, "MDM^T01"),
        "AR",
        [
            (Refusal.VERSION_UNSUPPORTED, "MSH^1^12"),
            (Refusal.PROCESSING_ID_UNSUPPORTED, "MSH^1^11"),
            (Refusal.TYPE_UNSUPPORTED, "MSH^1^9"),
        ],
    ),
]


@pytest.mark.parametrize(("name", "raw", "code", "denials"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_is_not_taken_is_refused_with_every_reason_and_no_value(
    database: Database,
    name: str,
    raw: str | bytes,
    code: str,
    denials: list[tuple[Refusal, str]],
) -> None:
    async def what(running: Running, sender: Client) -> None:
        with structlog.testing.capture_logs() as logs:
            _, msa, *errors = await sender.ask(raw)
        told = [(one["reason"], one.get("place", "")) for one in logs]
        # As people write a place, and the log lets it through.
        written = [(str(r), at.removesuffix("^1").replace("^1^", "-")) for r, at in denials]
        assert told == written
        assert all(not at or allowed("not_taken", {"place": at})["place"] == at for _, at in told)
        assert msa[1] == code
        assert msa[2] in ("M1", "R1", "")
        assert [(one[5], one[2]) for one in errors] == [(str(r), place) for r, place in denials]
        assert [one[3].split("^")[0] for one in errors] == [TERMS[r].code for r, _ in denials]
        assert all(one[4] == "E" and one[8] for one in errors)
        kept = all(TERMS[refusal].is_kept for refusal, _ in denials)
        assert running.stored() == int(kept)
        # The connection still serves.
        assert (await sender.ask(dft(control_id="M2")))[1][1:] == ["AA", "M2"]

    talk(database, what, settings=MllpSettings())


def test_a_control_id_that_comes_again_with_other_content_is_refused_and_kept(
    database: Database,
) -> None:
    async def what(running: Running, sender: Client) -> None:
        await sender.ask(dft())
        _, msa, error = await sender.ask(edited("FT1", 11, "51"))
        assert msa[1:] == ["AR", "M1"]
        assert error[5] == Refusal.CONTROL_ID_REUSED
        assert running.set_aside().count("SAME_VERSION_OTHER_CONTENT") == 1
        # However often it comes, and however many at once: kept once, and never good.
        assert (await sender.ask(edited("FT1", 11, "51")))[1][1] == "AR"
        await sender.send(*(edited("FT1", 11, f"5{last}") for last in "11222"))
        assert [(await sender.answer())[1][1] for _ in "11222"] == ["AR"] * 5
        assert running.set_aside().count("SAME_VERSION_OTHER_CONTENT") == 2
        # The control: what was stored first is still known as good.
        assert (await sender.ask(dft()))[1][1] == "AA"
        # Where counters begin anew, the time tells them apart.

    talk(database, what)

    async def anew(running: Running, sender: Client) -> None:
        _, msa = await sender.ask(with_field(edited("FT1", 11, "51"), "MSH", 7, "20260401"))
        assert msa[1] == "AA"

    in_time = "hl7v2:\n  message_id: control_id_and_time\n"
    talk(database, anew, lambda text: text.replace("hl7v2:\n", in_time))


def test_only_what_has_the_form_of_an_event_comes_back(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        for event, said in (("欧阳建国", "ACK"), ("110101", "ACK"), ("P99", "ACK^P99^ACK")):
            msh, msa, *_ = await sender.ask(edited("MSH", 9, f"DFT^{event}"))
            assert (msh[8], msa[1]) == (said, "AR")

    talk(database, what)


def test_older_versions_get_the_error_segment_that_they_know(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        text = with_field(edited("MSH", 12, "2.3"), "MSH", 11, "T")
        _, msa, error = await sender.ask(text)
        assert msa == ["MSA", "AR", "M1", "PROCESSING_ID_UNSUPPORTED"]
        assert error == ["ERR", "MSH^1^11^202&Unsupported processing id"]

    talk(database, what)


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("", "", "AA", "AR"),
        ("NE", "AL", "AA", "AR"),
        ("AL", "NE", "CA", "CR"),
        ("AL", "", "CA", "CR"),
        ("AL", "ER", "CA", "CR"),
        ("ER", "NE", None, "CR"),
        ("SU", "NE", "CA", None),
        ("NE", "NE", None, None),
    ],
)
def test_a_sender_gets_the_acknowledgement_that_it_asks_for(
    database: Database, accept: str, application: str, good: str | None, bad: str | None
) -> None:
    def asking(text: str) -> str:
        return with_field(with_field(text, "MSH", 15, accept), "MSH", 16, application)

    async def what(running: Running, sender: Client) -> None:
        await sender.send(asking(dft()), asking(edited("MSH", 11, "T")), dft(control_id="END"))
        got = []
        while (msa := (await sender.answer())[1])[2] != "END":
            got.append(msa[1])
        assert got == [code for code in (good, bad) if code is not None]
        assert running.stored() == 2

    talk(database, what)


def test_what_the_profile_keeps_out_is_accepted_and_not_stored(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        for text in (
            message("ADT^A01", PID, PV1),
            message("SIU^S12", PID),
            message("ADT^A08", PID, PV1),
            message("ORU^R01", PID, "OBR|1", "OBX|1|NM|1-1^^LN||7"),
        ):
            assert (await sender.ask(text))[1][1] == "AA"
        assert (running.stored(), running.stored("readings")) == (0, 0)
        assert (await sender.ask(message("ADT^A02", PID)))[1][1] == "AR"

    talk(database, what)


def test_results_go_to_the_readings(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        assert (await sender.ask(oru()))[1][1] == "AA"
        assert (running.stored(), running.stored("readings")) == (0, 1)

    talk(database, what)


def test_a_half_message_is_answered_and_not_stored(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        half = dft().encode("gb18030")[:300]
        await sender.send_bytes(b"\x0b" + half + framed(dft(control_id="M2").encode("gb18030")))
        _, msa, error = await sender.answer()
        assert (msa[1:], error[5]) == (["AE", "M1"], Refusal.MESSAGE_CUT_SHORT)
        assert (await sender.answer())[1][1:] == ["AA", "M2"]
        await sender.send_bytes(b"\x0b" + half)
        sender.writer.write_eof()
        assert (await sender.answer())[1][1:] == ["AE", "M1"]
        assert await sender.is_closed()
        assert running.stored() == 1
        assert running.listener.counts["HALF_MESSAGE"] == 1

    talk(database, what)


def test_garbage_closes_the_connection_after_what_was_owed(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        await sender.send_bytes(framed(dft().encode("gb18030")) + b"GET / HTTP/1.1\r\n\r\n")
        assert (await sender.answer())[1][1] == "AA"
        assert await sender.is_closed()
        assert running.listener.counts["NOT_FRAMED"] == 1

    talk(database, what)


def test_an_acknowledgement_is_never_acknowledged(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        await sender.send(message("ACK", "MSA|AA|1"))
        assert await sender.is_closed()
        assert running.listener.counts["ACKNOWLEDGEMENT_RECEIVED"] == 1

    talk(database, what)


def test_an_oversized_message_is_refused_and_the_next_one_taken(database: Database) -> None:
    async def what(running: Running, sender: Client) -> None:
        big = dft().encode("gb18030") + b"ZZZ|" + b"x" * (3 << 20)
        _, msa, error = await sender.ask(big)
        assert (msa[1:], error[5]) == (["AR", "M1"], Refusal.MESSAGE_TOO_LARGE)
        assert (await sender.ask(dft(control_id="M2")))[1][1:] == ["AA", "M2"]
        assert running.stored() == 1

    talk(database, what, settings=MllpSettings(max_message_mib=1))


def test_large_messages_wait_for_each_other_and_small_ones_do_not(database: Database) -> None:
    def large(control_id: str) -> bytes:
        return framed(dft(control_id=control_id).encode("gb18030") + b"ZZZ|" + b"x" * (600 << 10))

    async def whole() -> None:
        settings = MllpSettings(max_message_mib=1, in_flight_mib=1)
        async with (
            listening(database, settings=settings) as running,
            client(running.port) as a,
            client(running.port) as b,
        ):
            first, second = large("A"), large("B")
            await a.send_bytes(first[: 300 << 10])
            await asyncio.sleep(0.2)
            rest = asyncio.ensure_future(b.send_bytes(second))
            await asyncio.sleep(0.2)
            async with client(running.port) as c:
                assert (await c.ask(dft(control_id="C")))[1][1] == "AA"
            await a.send_bytes(first[300 << 10 :])
            assert (await a.answer())[1][1:] == ["AA", "A"]
            await rest
            assert (await b.answer())[1][1:] == ["AA", "B"]

    asyncio.run(whole())


def test_a_slow_database_stops_the_senders_within_bounds(database: Database) -> None:
    # 400 messages of 10 kB, of which 1 MiB may be in flight.
    async def what(running: Running, sender: Client) -> None:
        slow = running.intakes["bills"]
        assert isinstance(slow, SlowIntake)
        padding = "ZZZ|" + "x" * 10_000 + "\r"
        ids = [f"M{number}" for number in range(400)]
        sending = asyncio.ensure_future(
            sender.send(*(dft(control_id=one) + padding for one in ids))
        )
        await asyncio.sleep(0.5)
        assert running.listener.in_flight <= (1 << 20) + 20_000
        assert not sending.done()
        slow.free.set()
        got = [(await sender.answer())[1][2] for _ in ids]
        await sending
        assert got == ids
        assert running.listener.in_flight == 0

    talk(database, what, kind=SlowIntake, settings=MllpSettings(max_message_mib=1, in_flight_mib=1))


class FailingIntake(Intake):
    """Its database is away once."""

    failures = 1
    fault: Exception = OperationalError("", {}, Exception())

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        if self.failures:
            self.failures -= 1
            raise self.fault
        return await super().take(records)


class MistakenIntake(FailingIntake):
    """Fails once at storing, and once at reading, as our own mistakes would."""

    fault: Exception = ZeroDivisionError("of a patient")
    unread = 1

    async def read_arrived(self, gather_s: float = 0.0) -> PullReport:
        if self.unread:
            self.unread -= 1
            raise self.fault
        return await super().read_arrived(gather_s)


def test_a_mistake_of_ours_ends_no_loop_of_the_listener(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    async def what(running: Running, sender: Client) -> None:
        assert (await sender.ask(dft()))[1][1] == "AE"
        assert (await sender.ask(dft()))[1][1] == "AA"
        async with asyncio.timeout(LONGEST_S):
            while running.pending():
                assert not running.task.done()
                await asyncio.sleep(0.05)

    talk(database, what, kind=MistakenIntake)
    said = "".join(capfd.readouterr())
    assert "not_stored" in said
    assert "not_read" in said
    assert "ZeroDivisionError" in said
    assert "of a patient" not in said


def test_a_loop_that_fails_begins_again(capfd: pytest.CaptureFixture[str]) -> None:
    async def whole() -> int:
        begun = 0
        again = asyncio.Event()

        async def work() -> None:
            nonlocal begun
            begun += 1
            if begun == 1:
                raise ZeroDivisionError("of a patient")
            again.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(lasting("h", work))
        async with asyncio.timeout(LONGEST_S):
            await again.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return begun

    assert asyncio.run(whole()) == 2
    said = "".join(capfd.readouterr())
    assert "listener_failed" in said
    assert "of a patient" not in said


@pytest.mark.parametrize("kind", [FailingIntake, MistakenIntake])
def test_what_could_not_be_stored_is_to_be_sent_again(
    database: Database, kind: type[Intake]
) -> None:
    async def what(running: Running, sender: Client) -> None:
        _, msa, error = await sender.ask(dft())
        assert (msa[1:], error[5]) == (["AE", "M1"], Refusal.NOT_STORED)
        assert running.stored() == 0
        assert (await sender.ask(dft()))[1][1] == "AA"
        assert running.stored() == 1

    talk(database, what, kind=kind)


@pytest.mark.parametrize(
    ("settings", "sent", "count"),
    [
        (MllpSettings(idle_s=1), b"", "IDLE"),
        (MllpSettings(message_s=1), b"\x0bMSH|", "HALF_MESSAGE"),
    ],
)
def test_silence_ends_a_connection(
    database: Database, settings: MllpSettings, sent: bytes, count: str
) -> None:
    async def what(running: Running, sender: Client) -> None:
        await sender.send_bytes(sent)
        assert await sender.is_closed()
        assert running.listener.counts[count] == 1

    talk(database, what, settings=settings)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (MllpSettings(allow_from=("10.0.0.0/8",)), "SENDER_NOT_ALLOWED"),
        (MllpSettings(max_connections=1), "TOO_MANY_CONNECTIONS"),
    ],
)
def test_strangers_and_crowds_are_turned_away(
    database: Database, settings: MllpSettings, count: str
) -> None:
    async def whole() -> None:
        async with listening(database, settings=settings) as running:
            async with client(running.port) as first, client(running.port) as second:
                for sender in (second, first) if count == "SENDER_NOT_ALLOWED" else (second,):
                    assert await sender.is_closed()
                if count == "TOO_MANY_CONNECTIONS":
                    assert (await first.ask(dft()))[1][1] == "AA"
            assert running.listener.counts[count] >= 1
            assert running.stored() == int(count == "TOO_MANY_CONNECTIONS")

    asyncio.run(whole())


def test_a_stop_answers_what_was_taken_and_stores_nothing_unanswered(database: Database) -> None:
    answers: list[str] = []

    async def whole() -> None:
        async with listening(database, kind=SlowIntake) as running:
            slow = running.intakes["bills"]
            assert isinstance(slow, SlowIntake)
            async with client(running.port) as sender:
                messages = [dft(control_id=f"M{number}") for number in range(5)]
                await sender.send(*messages)
                await running.arrived(*messages)
                running.task.cancel()
                await asyncio.sleep(0.2)
                slow.free.set()
                answers.extend([(await sender.answer())[1][2] for _ in range(5)])
                assert await sender.is_closed()

    asyncio.run(whole())
    assert answers == [f"M{number}" for number in range(5)]


def test_the_address_is_published_while_it_listens(database: Database, tmp_path: Path) -> None:
    async def whole() -> None:
        async with listening(database, state=tmp_path) as running:
            assert read_addresses(tmp_path) == {"mllp:demo-hospital": running.listener.address}
        assert read_addresses(tmp_path) == {}

    asyncio.run(whole())


def test_a_third_partys_sender_is_served(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "day.hl7"
    texts = [dft(control_id=f"M{number}") for number in range(20)]
    file.write_bytes(b"".join(framed(text.encode("gb18030")) for text in texts))

    async def whole() -> None:
        async with listening(database) as running:
            sender = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("mllp_send")),
                "--port",
                str(running.port),
                "--file",
                str(file),
                "127.0.0.1",
                stdout=subprocess.PIPE,
            )
            out, _ = await sender.communicate()
            assert sender.returncode == 0
            assert out.count(b"\rMSA|AA|M") == 20
            assert running.stored() == 20

    asyncio.run(whole())
