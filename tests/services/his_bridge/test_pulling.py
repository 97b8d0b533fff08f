"""A pull stays within its bounds, keeps what it got, and lets one bad record stop no other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfoNotFoundError

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from services.common.database import Database, DatabaseAway
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillStated, Outcome
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import ClaimReader
from services.his_bridge.dialects.fhir_r4.support import Supported
from services.his_bridge.dialects.port import Glance, Key, Learnt, RecordReader
from services.his_bridge.intake import Intake, Looked, PullReport
from services.his_bridge.leasing import LeaseHeld
from services.his_bridge.pulling import Puller
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.storage import last_pulls, leases, lists, outcomes, showing
from services.his_bridge.storage.inbox import Pending
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, everybody, record
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, profile, tokens
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server

R = TypeVar("R")
PAGE, BILLS = 50, 170
FOREVER = 1 << 62
HOSPITAL = "demo-hospital"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = with_tables(f"sqlite:///{tmp_path / 'test.db'}", "services.his_bridge")
    record(found, HOSPITAL, (one for member in everybody() for one in all_of(member)), now_us=0)
    yield found
    found.close()


@pytest.fixture
def server() -> Iterator[OddServer]:
    with odd_server() as found:
        around, claims, _ = good(BILLS)
        for one in around:
            found.put(one)
        for one in claims:
            found.now += timedelta(seconds=1)
            found.write(one["id"], **{key: one[key] for key in one if key != "id"})
        yield found


class Broken(ClaimReader):
    """Fails, as our own mistakes would, at a glance at one record and in judging another."""

    def glance(self, raw: bytes) -> Glance:
        if b'"NO-b00003"' in raw:
            raise ZeroDivisionError(raw.decode())
        return super().glance(raw)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        if record_id == "b00005":
            raise KeyError(record_id)
        return super().judge(record_id, glance, support)


class Unwritable(ClaimReader):
    """States one bill that nobody can write down."""

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        outcome = super().judge(record_id, glance, support)
        if record_id == "b00005":
            assert isinstance(outcome, BillStated)
            bill = msgspec.structs.replace(outcome.bill, zone="Nowhere/At_all")
            return msgspec.structs.replace(outcome, bill=bill)
        return outcome


class Unisolated(Intake):
    """Sets no record aside by itself."""

    def _settle_alone(
        self,
        holder: str,
        looked: Sequence[Looked],
        found: Mapping[Key, bytes],
        support: dict[Key, Any],
    ) -> outcomes.Settled:
        return self._settle(holder, looked, found, support)


class Away(Intake):
    """Its database is away when records are settled."""

    def _write(
        self,
        holder: str,
        judged: Sequence[tuple[Pending, Outcome]],
        learnt: Sequence[Learnt] = (),
    ) -> outcomes.Settled:
        raise OperationalError("", {}, Exception())


def pulling(
    server: OddServer,
    database: Database,
    work: Callable[[Puller], Awaitable[R]],
    *,
    reader: type[ClaimReader] = ClaimReader,
    clock: Callable[[], int] = lambda: 0,
    lease_s: int = 60,
    kind: type[Intake] = Intake,
) -> R:
    def change(text: str) -> str:
        text = text.replace("lease_s: 1", f"lease_s: {lease_s}, attempts: 1")
        return text.replace(BASE_URL, server.base_url)

    async def run() -> R:
        found = profile(change)
        source = FhirRest(found)
        keys = subject_keys(database)

        def make(terms: SourceTerms) -> RecordReader:
            return reader(terms, tokens)

        try:
            intake = kind("bills", found, make, database, keys, clock, INSURER, source.look_up)
            return await work(Puller(intake, source, clock))
        finally:
            await source.close()

    return asyncio.run(run())


def pull(server: OddServer, database: Database, most: int = 5000, **more: Any) -> PullReport:
    return pulling(server, database, lambda puller: puller.pull(most, FOREVER), **more)


def released(database: Database) -> int:
    with database.reading() as connection:
        sealer = subject_keys(database).sealer(connection)
        return len(showing.bills_after(connection, sealer, HOSPITAL, INSURER, 0, 9999, None, 0))


def test_a_pull_reads_everything(server: OddServer, database: Database) -> None:
    report = pull(server, database)
    assert (report.received, report.released, report.more) == (BILLS, BILLS, False)


def test_a_patient_is_looked_up_once_a_pull(server: OddServer, database: Database) -> None:
    pull(server, database)
    assert len([one for one in server.requests if one.startswith("Patient")]) == 1


def test_a_pull_ends_after_so_many_records_and_the_next_goes_on(
    server: OddServer, database: Database
) -> None:
    first = pull(server, database, PAGE)
    assert (first.received, first.more) == (PAGE, True)
    second = pull(server, database, PAGE + 1)
    assert (second.received, second.more) == (2 * PAGE, True)
    third = pull(server, database)
    assert (third.received, third.more) == (BILLS - 3 * PAGE, False)
    assert released(database) == BILLS


def test_a_pull_ends_when_its_time_is_up_but_not_before_one_page(
    server: OddServer, database: Database
) -> None:
    report = pulling(server, database, lambda p: p.pull(5000, 0), clock=lambda: 1)
    assert (report.received, report.released, report.more) == (PAGE, PAGE, True)


def test_what_was_fetched_is_kept_when_the_source_fails(
    server: OddServer, database: Database
) -> None:
    pages = 0

    def fail(found: OddServer) -> None:
        nonlocal pages
        pages += "Claim?" in found.requests[-1]
        if pages == 4:  # the newest, two pages, and then nothing more
            found.script = [(500, {}, b"")]

    server.before = fail
    with pytest.raises(SourceFault):
        pull(server, database)
    server.before = lambda _: None
    assert released(database) == 2 * PAGE
    assert pull(server, database).received == BILLS - 2 * PAGE
    assert released(database) == BILLS


def test_what_was_stored_unread_is_read_by_the_next_pull(
    server: OddServer, database: Database
) -> None:
    def fail(found: OddServer) -> None:
        if "Patient?" in found.requests[-1]:
            found.script = [(503, {"Retry-After": "60"}, b"")]

    server.before = fail
    with pytest.raises(SourceFault) as caught:
        pull(server, database)
    assert caught.value.retry_after_s == 60
    assert released(database) == 0
    with database.reading() as connection:
        left = connection.execute(text("SELECT count(*) FROM inbox WHERE state = 'pending'"))
        assert left.scalar_one() == PAGE
    server.before = lambda _: None
    report = pull(server, database)
    assert (report.received, report.released) == (BILLS - PAGE, BILLS)


def bills_status(database: Database) -> last_pulls.ChannelStatus:
    with database.reading() as connection:
        bills, readings = last_pulls.status(connection, HOSPITAL)
    assert readings == last_pulls.ChannelStatus(channel="readings")
    return bills


def test_a_failed_pull_is_logged_and_remembered_until_one_succeeds(
    server: OddServer, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bills_status(database) == last_pulls.ChannelStatus(channel="bills")
    pull(server, database, PAGE, clock=lambda: 10)
    assert "pull_failed" not in "".join(capfd.readouterr())

    def fail(found: OddServer) -> None:
        if "Patient?" in found.requests[-1]:
            found.script = [(503, {"Retry-After": "60"}, b"")]

    server.before = fail
    with pytest.raises(SourceFault):
        pull(server, database, PAGE + 1, clock=lambda: 20)
    said = "".join(capfd.readouterr())
    (line,) = [line for line in said.splitlines() if "pull_failed" in line]
    assert all(word in line for word in ("warning", HOSPITAL, "bills", "SOURCE_BUSY"))
    assert server.base_url.partition("//")[2] not in said
    failed = bills_status(database)
    assert (failed.success_us, failed.attempt_us, failed.failure) == (10, 20, "SOURCE_BUSY")
    assert failed.unread > 0
    server.before = lambda _: None
    pull(server, database, clock=lambda: 30)
    again = bills_status(database)
    assert (again.success_us, again.attempt_us, again.failure, again.unread) == (30, 30, "", 0)


def test_a_mistake_of_ours_on_one_record_stops_no_other(
    server: OddServer, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    report = pull(server, database, reader=Broken)
    assert (report.released, report.quarantined) == (BILLS - 2, 2)
    with database.reading() as connection:
        sealer = subject_keys(database).sealer(connection)
        found = lists.quarantine_after(connection, sealer, HOSPITAL, 0, 10)
    reasons = [
        fault["reason"] for entry in found for fault in msgspec.json.decode(entry.row.faults)
    ]
    assert reasons == [Reason.BRIDGE_FAILED] * 2
    said = "".join(capfd.readouterr())
    assert "ZeroDivisionError" in said
    assert "NO-b00003" not in said


class CannotReadPatients(ClaimReader):
    """Fails, as our own mistakes would, on what claims point at."""

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        if json.loads(raw)["id"] == "person-000":
            raise ZeroDivisionError(raw.decode())
        return super().read_supporting(kind, raw)


def test_a_mistake_of_ours_on_a_patient_stops_no_other(
    server: OddServer, database: Database
) -> None:
    report = pull(server, database, reader=CannotReadPatients)
    theirs = len(of_first_person())
    assert (report.released, report.quarantined) == (BILLS - theirs, theirs)
    assert quarantined(database) == {(Reason.BRIDGE_FAILED, "")}


def test_half_a_character_in_a_record_or_a_patient_stops_no_other(
    server: OddServer, database: Database
) -> None:
    around, claims, _ = good(BILLS)
    (first,) = (one for one in around if one["id"] == "person-000")
    server.put({**first, "address": [{"text": "cut off \ud83d"}]})
    theirs = {one["id"] for one in of_first_person()}
    bad = next(one for one in claims if one["id"] not in theirs)
    rest = {key: one for key, one in bad.items() if key != "id"}
    server.write(bad["id"], **{**rest, "note": [{"text": "\ud83d"}]})
    report = pull(server, database)
    set_aside = len(theirs) + 1
    assert (report.released, report.quarantined) == (BILLS - set_aside, set_aside)
    assert {reason for reason, _ in quarantined(database)} == {Reason.TEXT_MALFORMED}
    assert pull(server, database).quarantined == 0


def of_first_person() -> list[Any]:
    return [one for one in good(BILLS)[1] if one["patient"]["reference"] == "Patient/person-000"]


def quarantined(database: Database) -> set[tuple[str, str]]:
    with database.reading() as connection:
        sealer = subject_keys(database).sealer(connection)
        found = lists.quarantine_after(connection, sealer, HOSPITAL, 0, 100)
    return {
        (fault["reason"], fault["path"])
        for one in found
        for fault in msgspec.json.decode(one.row.faults)
    }


def reasons(database: Database) -> list[str]:
    with database.reading() as connection:
        sealer = subject_keys(database).sealer(connection)
        found = lists.quarantine_after(connection, sealer, HOSPITAL, 0, 100)
    return [fault["reason"] for entry in found for fault in msgspec.json.decode(entry.row.faults)]


def test_a_record_that_cannot_be_settled_is_set_aside_and_the_others_go_on(
    server: OddServer, database: Database
) -> None:
    with pytest.raises(ZoneInfoNotFoundError):  # the control
        pull(server, database, reader=Unwritable, kind=Unisolated)
    assert bills_status(database).unread > 0
    report = pull(server, database, reader=Unwritable)
    assert report.quarantined == 1
    assert reasons(database) == [Reason.BRIDGE_FAILED]
    assert (released(database), bills_status(database).unread) == (BILLS - 1, 0)


def test_no_record_is_set_aside_because_the_database_is_away(
    server: OddServer, database: Database
) -> None:
    with pytest.raises(DatabaseAway):
        pull(server, database, kind=Away)
    assert reasons(database) == []
    pull(server, database)
    assert (released(database), reasons(database)) == (BILLS, [])


def test_a_second_poller_waits_and_the_lease_comes_back_at_the_end(
    server: OddServer, database: Database
) -> None:
    async def two(puller: Puller) -> list[PullReport | BaseException]:
        pulls = [puller.pull(5000, FOREVER) for _ in range(2)]
        return list(await asyncio.gather(*pulls, return_exceptions=True))

    reports = pulling(server, database, two)
    assert sorted(type(one).__name__ for one in reports) == ["LeaseHeld", "PullReport"]
    assert released(database) == BILLS
    pull(server, database)


def test_a_caller_that_hangs_up_leaves_nobody_waiting(
    server: OddServer, database: Database
) -> None:
    async def hang_up(puller: Puller) -> None:
        task = asyncio.ensure_future(puller.pull(5000, FOREVER))
        while not server.requests:  # noqa: ASYNC110 the server is a thread without a loop
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    pulling(server, database, hang_up)
    assert bills_status(database).failure == "PULL_CUT_OFF"
    assert pull(server, database).more is False
    assert released(database) == BILLS


def test_a_poller_that_lost_its_lease_writes_nothing_more(
    server: OddServer, database: Database
) -> None:
    """Slow beyond its lease: another poller has taken over, and this one must not interfere."""

    def take_over(found: OddServer) -> None:
        if len(found.requests) == 2:
            with database.writing() as connection:
                connection.execute(text("UPDATE lease SET holder = 'another'"))

    server.before = take_over
    with pytest.raises(LeaseHeld):
        pull(server, database)
    assert released(database) == 0
    assert bills_status(database).attempt_us is None  # the other one's pull counts
    with database.writing() as connection:
        leases.release(connection, HOSPITAL, "bills", "another")
    server.before = lambda _: None
    pull(server, database)
    assert released(database) == BILLS


def test_a_lease_lives_as_long_as_the_pull_however_slow_the_hospital(
    server: OddServer, database: Database
) -> None:
    async def renewed(puller: Puller) -> set[int]:
        seen: set[int] = set()
        clock[0] = 0
        task = asyncio.ensure_future(puller.pull(5000, FOREVER))
        while len(seen) < 3:
            await asyncio.sleep(0.05)
            clock[0] += 1
            with database.reading() as connection:
                seen |= set(connection.execute(text("SELECT expires_us FROM lease")).scalars())
        gate.set()
        await task
        return seen

    clock, gate = [0], threading.Event()

    def wait(found: OddServer) -> None:
        if len(found.requests) == 1:
            gate.wait(60)

    server.before = wait
    seen = pulling(server, database, renewed, clock=lambda: clock[0], lease_s=1)
    assert len(seen) >= 3
