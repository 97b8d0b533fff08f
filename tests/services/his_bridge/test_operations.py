"""A hospital's own people try the source, teach codes, replay and reconcile, on both databases."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from lipei.his_bridge.v1 import operations_pb2 as pb
from services.common.access.caller import Caller, calling_as
from services.common.database import Database
from services.common.refusals import Refused, status_of
from services.common.sealing import SubjectKeys
from services.his_bridge.core.breaker import LONGEST_PAUSE_S, PATIENCE
from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.operation_requests import loaded_map
from services.his_bridge.operations import OperationsServicer
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.readers import reader_of
from services.his_bridge.reconciling import EVERY_US, Reconciler
from services.his_bridge.sources.fhir_bulk import FhirBulk
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.storage import code_maps, last_pulls, lists
from services.his_bridge.wiring import Hospital, hospital_of
from stack.commands.his_operations import what_it_proves
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, everybody, record
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, observation, patient, profile, tokens
from tests.services.his_bridge.sources.bulk_server import bulk_server
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server
from tests.services.his_bridge.sources.test_fhir_bulk import profile_for
from tests.tenants import of_hospital, of_insurer

H = "demo-hospital"
PARENT = f"hospitals/{H}"
LOCAL, STANDARD = "urn:test:local", "urn:test:private-texts"
FOREVER = 1 << 62
BILLS = 12
ME = of_hospital(H)


@dataclass
class Place:
    """One hospital with its source, database and operators' desk."""

    server: OddServer
    database: Database
    keys: SubjectKeys
    hospital: Hospital
    desk: OperationsServicer
    reconciler: Reconciler
    now: list[int]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def call(self, rpc: str, request: Message, caller: Caller = ME) -> Any:
        with calling_as(caller):
            return await getattr(self.desk, rpc)(request, None)

    async def pull(self) -> Any:
        return await self.hospital.bills.pull(5000, FOREVER)

    def once(self) -> str:
        return f"request-{next(self.numbers)}"

    def quarantine(self) -> list[lists.Waiting]:
        with self.database.reading() as connection:
            sealer = self.keys.sealer(connection)
            return list(lists.quarantine_after(connection, sealer, H, 0, 500))

    def status(self) -> last_pulls.ChannelStatus:
        with self.database.reading() as connection:
            return last_pulls.status(connection, H)[0]


def write(server: OddServer, resource: Mapping[str, Any], **change: Any) -> None:
    server.now += timedelta(seconds=1)
    content = {key: one for key, one in {**resource, **change}.items() if key != "id"}
    server.write(resource["id"], **content)


def with_local_code(resource: dict[str, Any], code: str) -> dict[str, Any]:
    """The bill with a local code on its first line."""
    items = [dict(item) for item in resource["item"]]
    items[0]["productOrService"] = {"coding": [{"system": LOCAL, "code": code}]}
    return {**resource, "item": items}


@pytest.fixture
def claims() -> list[dict[str, Any]]:
    return good(BILLS)[1]


def acting(
    database_url: str, work: Callable[[Place], Any], change: Callable[[str], str] = lambda t: t
) -> Any:
    """Run the work at a hospital whose bills stand at an odd server."""
    with opened(database_url) as database, odd_server() as server:
        around, claims, _ = good(BILLS)
        for one in around:
            server.put(one)
        for one in claims:
            write(server, one)
        return asyncio.run(_at(database, server, work, change))


@contextmanager
def opened(database_url: str) -> Iterator[Database]:
    database = with_tables(database_url, "services.his_bridge")
    record(database, H, (one for member in everybody() for one in all_of(member)), now_us=0)
    yield database
    database.close()


async def _at(
    database: Database,
    server: OddServer,
    work: Callable[[Place], Any],
    change: Callable[[str], str],
) -> Any:
    now = [1_000_000_000]

    def clock() -> int:
        return now[0]

    keys = subject_keys(database)
    found = profile(
        lambda text: change(text.replace(BASE_URL, server.base_url)).replace(
            "page_size: 50", "attempts: 1, page_size: 50"
        )
    )
    hospital = hospital_of(found, database, keys, tokens, clock, INSURER)
    reconciler = Reconciler(database, keys, clock)
    desk = OperationsServicer(database, keys, {H: hospital}, reconciler, clock)
    assert hospital.source is not None
    try:
        return await work(Place(server, database, keys, hospital, desk, reconciler, now))
    finally:
        await hospital.source.close()


async def refused(awaited: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaited
    return caught.value


def code_map(place: Place, version: str = "1", **codes: str) -> pb.ImportCodeMapRequest:
    return pb.ImportCodeMapRequest(
        parent=PARENT,
        request_id=place.once(),
        kind=pb.CODE_KIND_SERVICES,
        from_system=LOCAL,
        to_system=STANDARD,
        version=version,
        entries=[pb.CodeMapEntry(local_code=k, standard_code=v) for k, v in codes.items()],
    )


# Codes.


@pytest.mark.on_postgresql
def test_a_map_resumes_what_waits_for_its_codes_and_leaves_the_rest(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        for one, code in zip(claims, ["A1", "A1", "B2"], strict=False):
            write(place.server, with_local_code(one, code))
        await place.pull()
        assert len(place.quarantine()) == 3
        listed = await place.call("ListUnmappedCodes", pb.ListUnmappedCodesRequest(parent=PARENT))
        assert [(one.code, one.record_count) for one in listed.codes] == [("A1", 2), ("B2", 1)]
        assert [one.at_stake.minor_units for one in listed.codes] == [10_000, 5_000]
        rehearsed = code_map(place, A1="S1", Z9="S9")
        rehearsed.dry_run = True
        assert (await place.call("ImportCodeMap", rehearsed)).resumed_count == 2
        assert len(place.quarantine()) == 3
        request = code_map(place, A1="S1", Z9="S9")
        done = await place.call("ImportCodeMap", request)
        assert (done.added_count, done.resumed_count) == (2, 2)
        assert [waiting.external_id for waiting in place.quarantine()] == [
            f"Claim/{claims[2]['id']}"
        ]
        assert await place.call("ImportCodeMap", request) == done  # once
        listed = await place.call("ListUnmappedCodes", pb.ListUnmappedCodesRequest(parent=PARENT))
        assert [one.code for one in listed.codes] == ["B2"]
        # Bills that come later are read under the map at once.
        write(place.server, with_local_code(claims[3], "A1"))
        report = await place.pull()
        assert (report.released, report.quarantined) == (1, 0)

    acting(database_url, work)


def test_a_newer_map_replaces_the_older_one(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        await place.call("ImportCodeMap", code_map(place, A1="S1", B2="S2"))
        done = await place.call("ImportCodeMap", code_map(place, "2", A1="S1x", C3="S3"))
        assert (done.added_count, done.changed_count, done.removed_count) == (1, 1, 1)
        write(place.server, with_local_code(claims[0], "B2"))
        await place.pull()
        assert len(place.quarantine()) == 1

    acting(database_url, work)


def test_every_fault_of_a_map_is_named_at_once(sqlite_database: str) -> None:
    async def work(place: Place) -> None:
        request = pb.ImportCodeMapRequest(
            parent=PARENT,
            request_id="",
            from_system=STANDARD,
            to_system="urn:test:nobody",
            version="",
            entries=[
                pb.CodeMapEntry(local_code="a", standard_code="b"),
                pb.CodeMapEntry(local_code="a", standard_code=" b"),
            ],
        )
        request.kind = pb.CODE_KIND_SERVICES
        found = await refused(place.call("ImportCodeMap", request))
        assert {v.field for v in found.violations} == {
            *("request_id", "version", "to_system", "from_system"),
            *("entries[1].local_code", "entries[1].standard_code"),
        }
        request = code_map(place, x="not-loinc")
        request.kind = pb.CODE_KIND_READINGS
        found = await refused(place.call("ImportCodeMap", request))
        assert {v.reason for v in found.violations} == {"NOT_LOINC", "NOT_ACCEPTED"}
        first = code_map(place, a="b")
        await place.call("ImportCodeMap", first)
        first.version = "other"
        found = await refused(place.call("ImportCodeMap", first))
        assert found.code is grpc.StatusCode.ALREADY_EXISTS

    acting(sqlite_database, work)


def test_a_version_names_one_table(database_url: str) -> None:
    async def work(place: Place) -> None:
        await place.call("ImportCodeMap", code_map(place, A1="S1"))
        await place.call("ImportCodeMap", code_map(place, A1="S1"))  # the same again
        found = await refused(place.call("ImportCodeMap", code_map(place, A1="S2")))
        assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "VERSION_REUSED")

    acting(database_url, work)


def test_a_map_that_is_loaded_while_a_pull_reads_holds_for_what_it_reads(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        for one in claims:
            write(place.server, with_local_code(one, "A1"))
        loaded: list[Any] = []
        intake = place.hospital.bills.intake
        judge = intake.reader.judge

        def meanwhile(*args: Any) -> Any:
            """Somebody loads the map between two judgements of the pull."""
            if not loaded:
                request = code_map(place, A1="S1")
                with place.database.writing() as connection:
                    loaded.append(
                        code_maps.load(
                            connection,
                            place.keys.sealer(connection),
                            H,
                            request.request_id,
                            "1",
                            loaded_map(request),
                            now_us=place.now[0],
                        )
                    )
            return judge(*args)

        judging: Any = intake.reader
        judging.judge = meanwhile  # of this reader alone; under the new map there is another
        report = await place.pull()
        assert loaded[0].resumed == 0  # nothing waited yet
        assert (report.released, report.quarantined) == (BILLS, 0)
        assert place.quarantine() == []

    acting(database_url, work)


# Replay.


def test_a_replay_makes_one_child_that_waits_while_the_fault_is_there(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        write(place.server, with_local_code(claims[0], "A1"))
        await place.pull()
        (before,) = place.quarantine()
        name = f"{PARENT}/quarantine/{before.row.name}"
        request = pb.ReplayQuarantineRequest(parent=PARENT, request_id=place.once(), records=[name])
        done = await place.call("ReplayQuarantine", request)
        assert (done.replayed_count, done.quarantined_count, done.released_count) == (1, 1, 0)
        (child,) = place.quarantine()
        assert child.row.name != before.row.name
        assert child.external_id == before.external_id
        # The same request, and the same entry again, make no second child.
        assert (await place.call("ReplayQuarantine", request)).replayed_count == 1
        assert [one.row.name for one in place.quarantine()] == [child.row.name]
        request.request_id = place.once()
        assert (await refused(place.call("ReplayQuarantine", request))).code is (
            grpc.StatusCode.NOT_FOUND
        )
        # Without names: the oldest, of a stage.
        bulk = pb.ReplayQuarantineRequest(parent=PARENT, request_id=place.once(), stage="balance")
        assert (await place.call("ReplayQuarantine", bulk)).replayed_count == 0
        bulk = pb.ReplayQuarantineRequest(parent=PARENT, request_id=place.once(), stage="map")
        assert (await place.call("ReplayQuarantine", bulk)).replayed_count == 1

    acting(database_url, work)


@pytest.mark.on_postgresql
def test_a_conflict_is_never_replayed(database_url: str, claims: list[dict[str, Any]]) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        stored = place.server.records[claims[0]["id"]]
        stored.resource["created"] = "2026-03-02"  # other bytes under the same version
        place.server.now += timedelta(seconds=1)
        await place.pull()
        (conflict,) = place.quarantine()
        assert conflict.row.stage == "conflict"
        request = pb.ReplayQuarantineRequest(
            parent=PARENT,
            request_id=place.once(),
            records=[f"{PARENT}/quarantine/{conflict.row.name}"],
        )
        found = await refused(place.call("ReplayQuarantine", request))
        assert (found.code, found.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "REPLAY_OF_CONFLICT",
        )
        # Whoever names none is told how many were left out, and why.
        for stage, conflicts in (("", 1), ("conflict", 1), ("parse", 0)):
            bulk = pb.ReplayQuarantineRequest(parent=PARENT, request_id=place.once(), stage=stage)
            done = await place.call("ReplayQuarantine", bulk)
            assert (done.replayed_count, done.conflict_count) == (0, conflicts)
            assert done.bytes_gone_count == 0

    acting(database_url, work, lambda text: text.replace("overlap_s: 5", "overlap_s: 3600"))


def test_values_that_no_map_knew_come_when_the_map_does(database_url: str) -> None:
    """Nothing is kept of a value that no programme uses; the source is read once more."""

    def measured(place: Place, key: str, code: str) -> None:
        place.server.now += timedelta(minutes=1)
        resource = {**observation(key), "subject": {"reference": "Patient/p00000"}}
        place.server.put({**resource, "code": {"coding": [{"system": LOCAL, "code": code}]}})

    async def work(place: Place) -> None:
        readings = place.hospital.readings
        assert readings is not None
        place.server.put(patient("p00000"))
        for number, code in enumerate(("HBA1C", "HBA1C", "OTHER")):
            measured(place, f"o{number}", code)
        first = await readings.pull(5000, FOREVER)
        assert (first.released, first.held, first.filtered) == (0, 0, 3)
        # Only the last lies in the overlap.
        assert (await readings.pull(5000, FOREVER)).filtered == 1
        request = code_map(place, "1", HBA1C="4548-4")
        request.kind, request.to_system = pb.CODE_KIND_READINGS, "http://loinc.org"
        await place.call("ImportCodeMap", request)
        found = await readings.pull(5000, FOREVER)
        assert (found.released + found.held, found.filtered) == (2, 1)
        # And once more there is nothing new, nor for bills.
        again = await readings.pull(5000, FOREVER)
        assert (again.released + again.held, again.received) == (0, 0)
        assert (await place.pull()).received == BILLS
        assert (await place.pull()).received == 0
        # A map of the bills' codes has nobody read values anew.
        await place.call("ImportCodeMap", code_map(place, "2", A1="250101001"))
        assert (await readings.pull(5000, FOREVER)).filtered == 1

    acting(database_url, work)


# Reconciliation.


def reconcile(first: str = "2026-01-01", last: str = "2026-12-31") -> pb.ReconcileSourceRequest:
    return pb.ReconcileSourceRequest(hospital=PARENT, first_day=first, last_day=last)


@pytest.mark.on_postgresql
def test_what_was_missed_is_fetched_again_and_what_vanished_is_an_alarm(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        good_ones = await place.call("ReconcileSource", reconcile())
        assert good_ones.reconciliation.agrees
        (day,) = good_ones.reconciliation.days
        assert (day.source_count, day.here_count, day.waiting_count) == (BILLS, BILLS, 0)
        assert day.source_total == day.here_total
        # A bill that appears under a time long passed: no sweep asks for it any more.
        late = {**claims[0], "id": "late"}
        place.server.write(
            "late",
            updated=place.server.now - timedelta(days=1),
            **{key: one for key, one in late.items() if key != "id"},
        )
        assert (await place.pull()).received == 0
        found = await place.call("ReconcileSource", reconcile())
        assert (found.repulled_count, found.reconciliation.agrees) == (1, True)
        assert found.reconciliation.days[0].here_count == BILLS + 1
        # A bill that the source has lost stays a difference, however often it is asked.
        del place.server.records[claims[1]["id"]]
        found = await place.call("ReconcileSource", reconcile())
        assert (found.repulled_count, found.reconciliation.agrees) == (0, False)
        assert found.reconciliation.days[0].extra_count == 1
        assert [(one.kind, one.source_record) for one in found.differences] == [
            (pb.DIFFERENCE_KIND_EXTRA, f"Claim/{claims[1]['id']}")
        ]
        listed = await place.call(
            "ListReconciliations", pb.ListReconciliationsRequest(parent=PARENT, page_size=2)
        )
        assert [one.agrees for one in listed.reconciliations] == [True, True]
        rest = pb.ListReconciliationsRequest(parent=PARENT, page_token=listed.next_page_token)
        listed = await place.call("ListReconciliations", rest)
        assert [one.agrees for one in listed.reconciliations] == [False]

    acting(database_url, work)


def test_what_waits_here_is_told_apart_from_what_is_missing(
    database_url: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        write(place.server, with_local_code(claims[0], "A1"))
        await place.pull()
        found = await place.call("ReconcileSource", reconcile())
        (day,) = found.reconciliation.days
        assert (day.waiting_count, day.missing_count, day.here_count) == (1, 0, BILLS - 1)
        assert found.reconciliation.agrees
        assert found.repulled_count == 0

    acting(database_url, work)


def test_a_source_that_is_away_reconciles_nothing(sqlite_database: str) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        place.server.script = [(500, {}, b"")] * 20
        found = await refused(place.call("ReconcileSource", reconcile()))
        assert found.code is grpc.StatusCode.UNAVAILABLE
        assert found.retry_after_s is not None
        found = await refused(place.call("ReconcileSource", reconcile("2026-02-30", "x")))
        assert {v.field for v in found.violations} == {"first_day", "last_day"}
        found = await refused(place.call("ReconcileSource", reconcile("2026-01-01", "2027-06-01")))
        assert [v.field for v in found.violations] == ["last_day"]

    acting(sqlite_database, work)


def test_once_a_day_the_last_week_is_compared_without_being_asked(sqlite_database: str) -> None:
    async def work(place: Place) -> None:
        # The records' days lie in March 2026.
        place.now[0] = int(place.server.now.timestamp() * 1e6)
        await place.pull()
        await place.reconciler.when_due(place.hospital)
        asked = pb.ListReconciliationsRequest(parent=PARENT)
        assert not (await place.call("ListReconciliations", asked)).reconciliations
        place.now[0] += EVERY_US
        # Other days that somebody compared are not that week.
        await place.call("ReconcileSource", reconcile("2024-01-01", "2024-01-31"))
        await place.reconciler.when_due(place.hospital)
        await place.reconciler.when_due(place.hospital)
        _, one = (await place.call("ListReconciliations", asked)).reconciliations
        assert one.agrees
        # On demand without days: the same week.
        found = await place.call("ReconcileSource", pb.ReconcileSourceRequest(hospital=PARENT))
        assert found.reconciliation.first_day == one.first_day
        place.now[0] += EVERY_US
        place.server.script = [(500, {}, b"")] * 20
        await place.reconciler.when_due(place.hospital)  # in its log, and again in a minute

    acting(sqlite_database, work)


# The source itself.


def test_a_trial_says_what_would_become_of_the_first_page_and_keeps_nothing(
    sqlite_database: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        write(place.server, with_local_code(claims[0], "A1"))
        request = pb.TestSourceRequest(hospital=PARENT)
        bills, readings = (await place.call("TestSource", request)).channels
        assert (bills.record_count, bills.good_count, bills.faulty_count) == (BILLS, BILLS - 1, 1)
        assert [(one.reason, one.record_count) for one in bills.faults] == [("CODE_NOT_MAPPED", 1)]
        assert readings.record_count == 0
        # A mistake of ours on what one bill points at is that bill's, as in a pull.
        reading: Any = place.hospital.bills.intake.reader
        read, whose = reading.read_supporting, claims[1]["patient"]["reference"].encode()

        def failing(kind: str, raw: bytes) -> Any:
            if kind == "Patient" and whose.rpartition(b"/")[2] in raw:
                raise ZeroDivisionError
            return read(kind, raw)

        reading.read_supporting = failing
        bills, _ = (await place.call("TestSource", request)).channels
        assert {one.reason for one in bills.faults} == {"CODE_NOT_MAPPED", "BRIDGE_FAILED"}
        reading.read_supporting = read
        assert (await place.pull()).received == BILLS
        place.server.script = [(401, {}, b"")] * 20
        bills, _ = (await place.call("TestSource", request)).channels
        assert bills.failure_reason
        assert "demo-hospital" not in bills.failure_text

    acting(sqlite_database, work)


def test_a_trial_of_a_source_that_prepares_its_answer_proves_nothing(
    sqlite_database: str, claims: list[dict[str, Any]]
) -> None:
    async def work(place: Place) -> None:
        request = pb.TestSourceRequest(hospital=PARENT)
        answer = await place.call("TestSource", request)
        # No record at all is an answer.
        assert [one.preparing for one in answer.channels] == [False, False]
        assert "\n".join(what_it_proves(answer.channels, "h")).startswith("the source can be read")
        # So of several kinds that are swept in turn, whichever of them has records.
        empty: tuple[int, dict[str, str], bytes] = (
            200,
            {},
            b'{"resourceType": "Bundle", "type": "searchset"}',
        )
        place.server.script = [empty] * 4
        # Within the reader that finds merges as well.
        reader: Any = vars(place.hospital.bills.intake.reader)["_bills"]
        kind = reader.kind
        reader.kind = f"{kind},Account"
        answer = await place.call("TestSource", request)
        assert [one.preparing for one in answer.channels] == [False, False]
        reader.kind = kind
        place.server.script = []
        with bulk_server() as server:
            bulk = FhirBulk(profile_for(server.base_url))
            source: Any = place.hospital.source
            source.fetch = bulk.fetch
            answer = await place.call("TestSource", request)
            await bulk.close()
        assert [one.preparing for one in answer.channels] == [True, True]
        assert [one.record_count for one in answer.channels] == [0, 0]
        said = "\n".join(what_it_proves(answer.channels, "h"))
        assert "bills and readings: " in said
        assert "nothing is proven yet" in said
        assert "can be read" not in said
        assert "`lipei his pull h`" in said

    acting(sqlite_database, work)


def _without_readings(text: str) -> str:
    before, _, rest = text.partition("readings:\n")
    return before + rest[rest.index("pull:") :]


@pytest.mark.parametrize("reads_values", [True, False])
def test_a_server_is_not_asked_for_values_of_which_the_profile_says_nothing(
    sqlite_database: str, reads_values: bool
) -> None:
    """A server without Observation reads on, and nobody's values are fetched to be thrown away."""

    async def work(place: Place) -> None:
        request = pb.TestSourceRequest(hospital=PARENT)
        tested = [one.channel for one in (await place.call("TestSource", request)).channels]
        assert tested == (["bills", "readings"] if reads_values else ["bills"])
        assert (place.hospital.readings is not None) == reads_values
        asked = [one for one in place.server.requests if "Observation" in one]
        assert bool(asked) == reads_values

    acting(sqlite_database, work, (lambda text: text) if reads_values else _without_readings)


@pytest.mark.parametrize("example", ["fhir-hospital", "bulk-hospital", "folder-hospital"])
def test_only_who_is_asked_is_read_for_values_by_profile(example: str) -> None:
    text = (EXAMPLE_PROFILES / "examples" / f"{example}.yaml").read_text("utf-8")
    found = parse_profile(
        text, f"{example}.yaml", {"LIPEI_HIS_BRIDGE_SMART_KEY_FILE_FHIR_HOSPITAL": "/k"}
    )
    makes = reader_of(found, "readings", lambda kind, number: number) is not None
    # A folder takes over whatever is dropped; the bulk example's profile says nothing of values.
    assert makes == (example != "bulk-hospital")


def test_who_keeps_failing_is_left_alone_and_then_asked_again(
    sqlite_database: str,
) -> None:
    async def work(place: Place) -> None:
        place.server.script = [(500, {}, b"")] * 1000
        for number in range(PATIENCE):
            with pytest.raises(SourceFault):
                await place.pull()
            assert place.status().failures == number + 1
        asked = len(place.server.requests)
        with pytest.raises(SourceFault) as caught:
            await place.pull()
        assert caught.value.reason == "SOURCE_LEFT_ALONE"
        assert caught.value.retry_after_s is not None
        assert len(place.server.requests) == asked  # nobody was asked
        assert place.status().failures == PATIENCE
        # Whoever waits as long as told is let through, and one success forgives all.
        place.now[0] += int(caught.value.retry_after_s * 1e6) + 1
        place.server.script = []
        assert (await place.pull()).received == BILLS
        assert (place.status().failures, place.status().left_alone_until_us) == (0, 0)
        place.now[0] += int(LONGEST_PAUSE_S * 1e6)

    acting(sqlite_database, work)


# Others.

REQUESTS: dict[str, Callable[[str], Message]] = {
    "TestSource": lambda h: pb.TestSourceRequest(hospital=f"hospitals/{h}"),
    "ImportCodeMap": lambda h: pb.ImportCodeMapRequest(
        parent=f"hospitals/{h}",
        request_id="once",
        kind=pb.CODE_KIND_SERVICES,
        from_system=LOCAL,
        to_system=STANDARD,
        version="1",
        entries=[pb.CodeMapEntry(local_code="a", standard_code="b")],
    ),
    "ListUnmappedCodes": lambda h: pb.ListUnmappedCodesRequest(parent=f"hospitals/{h}"),
    "ReplayQuarantine": lambda h: pb.ReplayQuarantineRequest(
        parent=f"hospitals/{h}", request_id="once"
    ),
    "OfferRefusedBills": lambda h: pb.OfferRefusedBillsRequest(
        parent=f"hospitals/{h}", request_id="once"
    ),
    "ReconcileSource": lambda h: pb.ReconcileSourceRequest(
        hospital=f"hospitals/{h}", first_day="2026-03-01", last_day="2026-03-01"
    ),
    "ListReconciliations": lambda h: pb.ListReconciliationsRequest(parent=f"hospitals/{h}"),
}


def test_every_rpc_is_tried_as_another_tenant() -> None:
    methods = pb.DESCRIPTOR.services_by_name["OperationsService"].methods
    assert {method.name for method in methods} == REQUESTS.keys()


def test_another_hospital_does_not_exist(sqlite_database: str) -> None:
    async def work(place: Place) -> None:
        for rpc, request in REQUESTS.items():
            for caller in (of_hospital("another-hosp1"), of_insurer()):
                found = await refused(place.call(rpc, request(H), caller))
                told = status_of(found).SerializeToString()
                never = await refused(place.call(rpc, request("never-hospit1"), caller))
                same = told.replace(H.encode(), b"never-hospit1")
                assert status_of(never).SerializeToString() == same
            # The control: the hospital itself is answered.
            await place.call(rpc, request(H))

    acting(sqlite_database, work)
