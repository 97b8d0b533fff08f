"""The whole bridge: a real FHIR server, a real process, real gRPC, on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import inspect, text

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.type.v1 import bill_pb2
from services.common.database import Database
from services.common.grpc_edge import RpcFault, error_of
from services.common.sealing import SubjectKeys
from services.common.sealing.key_sources import master_keys
from services.common.transport.channels import sync_channel
from services.his_bridge.storage.sealed import open_record
from stack.probes import free_ports
from tests.identities import acting
from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.population import SENDABLE, bad, bad_id, good, readings
from tests.services.his_bridge.records import BASE_URL, claim, tokens, write_profile
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge

GOOD, READINGS, DRAFTS = 130, 30, 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    with fhir_server(tmp_path_factory.mktemp("his")) as found:
        around, claims, _ = good(GOOD)
        drafts = [{**claim(f"draft-{n}", "person-000"), "status": "draft"} for n in range(DRAFTS)]
        found.put(around)
        spoilt = [one for index, case in enumerate(SENDABLE) for one in bad(case, index)]
        # Bad bills stand in the midst of good ones.
        found.put([*claims[: GOOD // 2], *spoilt, *claims[GOOD // 2 :], *drafts])
        found.put(readings(READINGS))
        yield found


@pytest.fixture(scope="module")
def bridge(
    shared_url: str, server: FhirServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("bridge")
    write_profile(folder / "profiles", server.base_url)
    away = folder / "profiles" / "away.yaml"
    base = (folder / "profiles" / "demo-hospital.yaml").read_text("utf-8")
    base = base.replace("hospital: demo-hospital", "hospital: away")
    base = base.replace(server.base_url, f"http://127.0.0.1:{free_ports(1)[0]}/fhir")
    away.write_text(base.replace("page_size: 50", "page_size: 50, attempts: 1"), "utf-8")
    with running_bridge(folder / "state", folder / "profiles", shared_url) as found:
        found.consented(everybody())
        yield found


@pytest.fixture(scope="module")
def report(bridge: Bridge) -> pb.PullBillsResponse:
    return bridge.pull_all()


@pytest.fixture
def database(bridge: Bridge, shared_url: str) -> Iterator[Database]:
    found = Database(shared_url)
    yield found
    found.close()


def refusal(call: Any, request: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=CALL_S)
    return error_of(caught.value)


def source_status(bridge: Bridge, hospital: str) -> list[pb.ChannelStatus]:
    request = pb.GetSourceStatusRequest(hospital=hospital)
    stub = bridge.stub if hospital == HOSPITAL else bridge.anothers
    return list(stub.GetSourceStatus(request, timeout=CALL_S).channels)


def query(database: Database, statement: str, **values: Any) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(text(statement), values))


def test_good_bills_are_released_and_bad_ones_wait(
    bridge: Bridge, report: pb.PullBillsResponse
) -> None:
    assert (report.received, report.released) == (GOOD + len(SENDABLE), GOOD)
    assert (report.quarantined, report.filtered) == (len(SENDABLE), DRAFTS)
    released = bridge.bills()
    numbers = sorted(one.bill.bill_number for one in released)
    assert numbers == [f"NO-b{n:05d}" for n in range(GOOD)]
    assert {one.bill.kind for one in released} == {bill_pb2.BILL_KIND_FINAL}
    for one in released:
        assert sum(line.billed.minor_units for line in one.bill.lines) == 6001
        assert one.bill.total.minor_units == 6001
        assert one.delivery.state == pb.DELIVERY_STATE_PENDING
        assert one.receive_time.ToNanoseconds() <= one.release_time.ToNanoseconds()
    assert released[0].bill.member_token == tokens("CN-ID", "11010119900300000X")
    assert [line.quantity for line in released[0].bill.lines] == ["1", "3"]
    assert [line.unit_price for line in released[0].bill.lines] == ["50", "3.335"]
    social = released[0].bill.social_insurance
    assert (social.used, social.fund_paid.minor_units) == (True, 4000)


@pytest.mark.usefixtures("report")
def test_each_bad_bill_waits_with_its_faults_and_its_bytes(
    bridge: Bridge, database: Database
) -> None:
    waiting = {record.name.rpartition("/")[2]: record for record in bridge.quarantine()}
    rows = query(database, "SELECT q.name, i.* FROM quarantine q JOIN inbox i ON i.id = q.inbox_id")
    raw_of = records(bridge, database, rows)
    by_bill = {
        waiting[row.name].source_record: (waiting[row.name], raw)
        for row, raw in zip(rows, raw_of, strict=True)
    }
    for index, case in enumerate(SENDABLE):
        record, raw = by_bill[f"Claim/{bad_id(index)}"]
        shown = {(fault.reason, fault.path) for fault in record.faults}
        assert shown == {(str(reason), path) for reason, path in case.faults}, case.name
        assert record.stage == case.stage
        assert (record.source_record, bool(record.source_version)) == (
            f"Claim/{bad_id(index)}",
            True,
        )
        assert all(fault.text for fault in record.faults)
        assert f'"id":"{bad_id(index)}"'.encode() in raw
    assert len(by_bill) == len(SENDABLE)


def answers(bridge: Bridge) -> list[str]:
    """Everything that the bridge says to the insurer, as text."""
    said = [str(one) for one in (*bridge.bills(), *bridge.quarantine())]
    request = pb.ListReadingsRequest(parent="members/-", page_size=1000)
    said.append(str(bridge.stub.ListReadings(request, timeout=CALL_S)))
    # protobuf prints what is not ASCII as octal escapes.
    return [one.encode().decode("unicode_escape").encode("latin-1").decode() for one in said]


def records(bridge: Bridge, database: Database, rows: Sequence[Any]) -> list[bytes]:
    """The bytes of records as they came, opened with the bridge's keys."""
    keys = SubjectKeys(master_keys(bridge.state), now_us=lambda: 0)
    with database.reading() as connection:
        sealer = keys.sealer(connection)
        return [open_record(sealer, row, "raw") for row in rows if row.raw is not None]


def stored(database: Database) -> str:
    """Everything in the database."""
    parts = []
    with database.reading() as connection:
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                parts += [_text(value) for value in row.values()]
    return "\n".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


@pytest.mark.usefixtures("report")
def test_nothing_of_any_patient_leaves_or_is_logged(bridge: Bridge, database: Database) -> None:
    bridge.stub.PullReadings(pb.PullReadingsRequest(hospital=HOSPITAL), timeout=CALL_S)
    _, _, secrets = good(GOOD)
    # The bad bills' patient has these, some of them in places that were meant to leak.
    secrets += ["欧阳建国", "11010119900307002X", "13912345678", "MRN-p1-77", "bad-p1"]
    said = "\n".join(answers(bridge))
    log = bridge.log.read_text("utf-8")
    kept = stored(database)
    raw = b"\n".join(records(bridge, database, query(database, "SELECT * FROM inbox")))
    for secret in secrets:
        assert secret not in said
        assert secret not in log
        assert secret not in kept
    # The control: the scan finds what is there to be found.
    assert "普通门诊诊察费" in said
    assert "pulled" in log
    assert "person-000" in raw.decode("utf-8", "replace")
    assert sum(secret in raw.decode("utf-8", "replace") for secret in secrets) > 12


@pytest.mark.usefixtures("report")
def test_pulling_again_brings_nothing_twice(bridge: Bridge) -> None:
    again = bridge.pull()
    assert (again.received, again.released, again.quarantined, again.more) == (0, 0, 0, False)


@pytest.mark.usefixtures("report")
def test_lists_come_in_pages_that_neither_repeat_nor_skip(bridge: Bridge) -> None:
    names = [one.bill.name for one in bridge.bills(page_size=7)]
    assert names == [one.bill.name for one in bridge.bills(page_size=500)]
    assert len(set(names)) == len(names)
    got = bridge.stub.GetBill(pb.GetBillRequest(name=names[3]), timeout=CALL_S)
    assert got.bill == bridge.bills()[3]


@pytest.mark.usefixtures("report")
def test_a_foreign_page_token_is_refused(bridge: Bridge) -> None:
    token = bridge.stub.ListBills(
        pb.ListBillsRequest(parent=HOSPITAL, page_size=1), timeout=CALL_S
    ).next_page_token
    other = pb.DELIVERY_STATE_TAKEN
    for stub, request in (
        (bridge.stub, pb.ListBillsRequest(parent=HOSPITAL, page_token=token, delivery_state=other)),
        (bridge.anothers, pb.ListBillsRequest(parent="hospitals/away", page_token=token)),
        (bridge.stub, pb.ListBillsRequest(parent=HOSPITAL, page_token="x" + token)),
    ):
        fault = refusal(stub.ListBills, request)
        assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [v.reason for v in fault.violations] == ["FOREIGN_PAGE_TOKEN"]


@pytest.mark.usefixtures("report")
def test_operators_see_how_the_quarantine_stands_and_no_bill(bridge: Bridge) -> None:
    def operator(process: str) -> Any:
        who = acting(process, "operator")
        return HisBridgeServiceStub(sync_channel(bridge.address, who, "his_bridge"))

    status = pb.GetSourceStatusRequest(hospital=HOSPITAL)
    waiting = pb.ListQuarantineRequest(parent=HOSPITAL, page_size=500)
    # The installation's own says which hospital; a hospital's sees its own.
    for process in ("desk-operator", "desk-hospital"):
        stub = operator(process)
        records = stub.ListQuarantine(waiting, timeout=CALL_S).records
        assert len(records) == len(bridge.quarantine())
        assert {fault.reason for one in records for fault in one.faults}
        assert not any(one.name or one.source_record or one.HasField("total") for one in records)
        assert stub.GetSourceStatus(status, timeout=CALL_S).channels
        bills = refusal(stub.ListBills, pb.ListBillsRequest(parent=HOSPITAL))
        assert bills.reason == "ROLE_NOT_ALLOWED"
    for process in ("desk-hospital-another", "desk-insurer"):
        for call, request in (
            (operator(process).ListQuarantine, waiting),
            (operator(process).GetSourceStatus, status),
        ):
            assert refusal(call, request).code is grpc.StatusCode.NOT_FOUND


@pytest.mark.on_postgresql
@pytest.mark.usefixtures("report")
def test_readings_of_one_member_are_only_theirs(bridge: Bridge, database: Database) -> None:
    while bridge.stub.PullReadings(
        pb.PullReadingsRequest(hospital=HOSPITAL, max_records=10), timeout=CALL_S
    ).more:
        pass
    token = tokens("CN-ID", "11010119900300000X")
    mine, everybody = (
        bridge.stub.ListReadings(pb.ListReadingsRequest(parent=parent), timeout=CALL_S).readings
        for parent in (f"members/{token}", "members/-")
    )
    assert len(everybody) == READINGS
    assert [one for one in everybody if one.member_token == token] == list(mine)
    assert (mine[0].value, mine[0].unit) == ("7.2", "%")
    assert mine[0].name.startswith(f"members/{token}/readings/")
    # Their names are the member's, and say no hospital; the evidence of reading them does.
    read = "SELECT owner FROM evidence_leaf WHERE record LIKE 'members/%/readings/%'"
    owners = query(database, read)
    assert len(owners) >= READINGS + len(mine)
    assert {owner for (owner,) in owners} == {HOSPITAL.replace("hospitals/", "hospital/")}


@pytest.mark.both_databases
@pytest.mark.usefixtures("report")
def test_a_resume_token_asks_for_what_is_released_later(bridge: Bridge) -> None:
    nobody = pb.ListReadingsRequest(parent="members/k1." + "0" * 64)
    empty = bridge.stub.ListReadings(nobody, timeout=CALL_S)
    assert not empty.readings
    assert empty.resume_token
    request = pb.ListReadingsRequest(parent="members/-", page_size=7, hospital=HOSPITAL)
    while bridge.stub.PullReadings(pb.PullReadingsRequest(hospital=HOSPITAL), timeout=CALL_S).more:
        pass
    names: list[str] = []
    while True:
        page = bridge.stub.ListReadings(request, timeout=CALL_S)
        names += [reading.name for reading in page.readings]
        request.page_token = page.resume_token
        if not page.next_page_token:
            break
        assert page.next_page_token == page.resume_token
    assert len(names) == len(set(names)) == READINGS
    assert not bridge.stub.ListReadings(request, timeout=CALL_S).readings
    again = bridge.stub.ListReadings(request, timeout=CALL_S)
    assert again.resume_token == request.page_token
    request.hospital = ""
    assert refusal(bridge.stub.ListReadings, request).violations[0].reason == "FOREIGN_PAGE_TOKEN"
    request.hospital, request.page_token = "hospitals/nowhere", ""
    assert refusal(bridge.stub.ListReadings, request).code is grpc.StatusCode.NOT_FOUND
    request.hospital, request.parent = "x", "x"
    fault = refusal(bridge.stub.ListReadings, request)
    assert [violation.field for violation in fault.violations] == ["parent", "hospital"]


@pytest.mark.on_postgresql
@pytest.mark.usefixtures("report")
def test_acknowledged_bills_are_no_longer_pending(bridge: Bridge) -> None:
    first, second = bridge.bills()[:2]
    taken = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/p/claims/c"])
    refused = pb.Delivery(state=pb.DELIVERY_STATE_REFUSED, refusal_reasons=["NOT_FOUND"])
    request = pb.AcknowledgeBillsRequest(
        parent=HOSPITAL,
        request_id="ack-1",
        acknowledgements=[
            pb.Acknowledgement(bill=first.bill.name, delivery=taken),
            pb.Acknowledgement(bill=second.bill.name, delivery=refused),
        ],
    )
    for _ in range(2):
        bridge.stub.AcknowledgeBills(request, timeout=CALL_S)
    pending = bridge.bills(state=pb.DELIVERY_STATE_PENDING)
    assert len(pending) == GOOD - 2
    assert bridge.bills(state=pb.DELIVERY_STATE_TAKEN)[0].delivery == taken
    assert bridge.bills(state=pb.DELIVERY_STATE_REFUSED)[0].delivery == refused
    request.acknowledgements.pop()
    reused = refusal(bridge.stub.AcknowledgeBills, request)
    assert reused.code is grpc.StatusCode.ALREADY_EXISTS
    request.request_id = "ack-2"
    request.acknowledgements[0].delivery.CopyFrom(refused)
    late = refusal(bridge.stub.AcknowledgeBills, request)
    assert (late.code, late.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "BILL_ALREADY_TAKEN",
    )
    request.acknowledgements[0].bill = f"{HOSPITAL}/bills/{'0' * 32}"
    unknown = refusal(bridge.stub.AcknowledgeBills, request)
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert unknown.metadata["name"] == request.acknowledgements[0].bill


def test_a_bad_request_is_told_everything_at_once(bridge: Bridge) -> None:
    fault = refusal(
        bridge.stub.PullBills,
        pb.PullBillsRequest(hospital="Hospital/1", max_records=-1, request_id="ä"),
    )
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {v.field for v in fault.violations} == {"hospital", "max_records", "request_id"}
    acknowledgement = pb.Acknowledgement(bill="x", delivery=pb.Delivery(claims=[""]))
    fault = refusal(
        bridge.stub.AcknowledgeBills,
        pb.AcknowledgeBillsRequest(parent="x", acknowledgements=[acknowledgement]),
    )
    assert {v.field for v in fault.violations} == {
        "request_id",
        "parent",
        "acknowledgements[0].bill",
        "acknowledgements[0].delivery.state",
    }
    for call, request in (
        (bridge.stub.GetBill, pb.GetBillRequest(name="hospitals/x/bills/1; DROP TABLE inbox")),
        (bridge.stub.ListReadings, pb.ListReadingsRequest(parent="members/11010119900307002X")),
        (bridge.stub.ListQuarantine, pb.ListQuarantineRequest(parent=HOSPITAL, page_size=-1)),
        (bridge.stub.ListBills, pb.ListBillsRequest(parent=HOSPITAL, delivery_state=99)),  # type: ignore[arg-type]  # on purpose
    ):
        assert refusal(call, request).code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("typed", ["11010119900307002X", "members/k1." + "a" * 64, "张三"])
def test_a_personal_value_in_a_parents_place_is_not_told_back(bridge: Bridge, typed: str) -> None:
    delivery = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/p/claims/c"])
    request = pb.AcknowledgeBillsRequest(
        parent=typed,
        request_id="told",
        acknowledgements=[pb.Acknowledgement(bill="x", delivery=delivery)],
    )
    fault = refusal(bridge.stub.AcknowledgeBills, request)
    said = {violation.field: violation.text for violation in fault.violations}
    assert said["acknowledgements[0].bill"] == "must read hospitals/{hospital}/bills/{bill}"
    assert typed not in f"{fault} {fault.text} {fault.metadata}"
    # The control: a hospital's own name helps whoever wrote a bill's wrongly.
    request.parent = HOSPITAL
    fault = refusal(bridge.stub.AcknowledgeBills, request)
    assert fault.violations[0].text == f"must read {HOSPITAL}/bills/{{bill}}"


def test_an_unknown_hospital_or_bill_is_not_found(bridge: Bridge) -> None:
    for call, request in (
        (bridge.stub.PullBills, pb.PullBillsRequest(hospital="hospitals/nowhere")),
        (bridge.stub.ListBills, pb.ListBillsRequest(parent="hospitals/nowhere")),
        (bridge.stub.GetSourceStatus, pb.GetSourceStatusRequest(hospital="hospitals/nowhere")),
        (bridge.stub.GetBill, pb.GetBillRequest(name=f"{HOSPITAL}/bills/{'0' * 32}")),
    ):
        assert refusal(call, request).code is grpc.StatusCode.NOT_FOUND


@pytest.mark.both_databases
def test_a_source_that_is_away_says_when_to_come_back(bridge: Bridge) -> None:
    request = pb.PullBillsRequest(hospital="hospitals/away")
    fault = refusal(bridge.anothers.PullBills, request)
    assert (fault.code, fault.reason) == (grpc.StatusCode.UNAVAILABLE, "SOURCE_AWAY")
    assert fault.retry_after_s
    bills, never = source_status(bridge, "hospitals/away")
    assert (bills.channel, bills.last_failure_reason) == ("bills", "SOURCE_AWAY")
    assert bills.HasField("last_attempt_time")
    assert not bills.HasField("last_success_time")
    assert (never.channel, never.HasField("last_attempt_time")) == ("readings", False)
    said = [line for line in bridge.log.read_text("utf-8").splitlines() if "pull_failed" in line]
    assert any('"away"' in line and "SOURCE_AWAY" in line for line in said)


@pytest.mark.usefixtures("report")
def test_a_pull_that_went_well_is_told_with_its_time(bridge: Bridge) -> None:
    bridge.pull()
    bills, _ = source_status(bridge, HOSPITAL)
    assert (bills.last_failure_reason, bills.inbox_waiting_count) == ("", 0)
    assert bills.HasField("last_success_time")
    assert bills.last_success_time == bills.last_attempt_time


@pytest.mark.usefixtures("report")
def test_a_bad_bill_waits_once_and_no_longer_when_it_is_repaired(
    bridge: Bridge, server: FhirServer
) -> None:
    def versions() -> list[str]:
        found = bridge.quarantine()
        return [one.source_version for one in found if one.source_record == "Claim/b00023"]

    def put(total: int) -> None:
        one = claim("b00023", "person-011")
        one["total"] = {"value": total, "currency": "CNY"}
        server.put([one])
        bridge.pull_all()

    put(7)
    (first,) = versions()
    put(8)
    (second,) = versions()
    assert first != second
    server.put([claim("b00023", "person-011")])
    bridge.pull_all()
    assert versions() == []


@pytest.mark.both_databases
def test_a_second_pull_at_the_same_time_is_told_to_wait(bridge: Bridge, database: Database) -> None:
    held = {"h": "demo-hospital", "u": int((time.time() + 3600) * 1e6)}
    with database.writing() as connection:
        connection.execute(text("INSERT INTO lease VALUES (:h, 'bills', 'another', :u)"), held)
    try:
        fault = refusal(bridge.stub.PullBills, pb.PullBillsRequest(hospital=HOSPITAL))
    finally:
        with database.writing() as connection:
            connection.execute(text("DELETE FROM lease"))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ABORTED, "PULL_UNDER_WAY")
    assert fault.retry_after_s
    bridge.pull()


@pytest.mark.usefixtures("report")
def test_changes_at_the_hospital_come_as_corrections_and_reversals(
    bridge: Bridge, server: FhirServer
) -> None:
    before = len(bridge.bills())
    same, changed, gone = (claim(f"b{n:05d}", f"person-{n % 12:03d}") for n in (20, 21, 22))
    same["note"] = [{"text": "something that the bridge does not read"}]
    changed["item"].pop()
    changed["total"] = {"value": 50, "currency": "CNY"}
    changed["extension"][0]["extension"].pop()
    gone["status"] = "cancelled"
    server.put([same, changed, gone])
    report = bridge.pull_all()
    assert (report.received, report.released) == (3, 2)
    new = bridge.bills()[before:]
    assert [(one.bill.kind, one.bill.bill_number) for one in new] == [
        (bill_pb2.BILL_KIND_CORRECTION, "NO-b00021"),
        (bill_pb2.BILL_KIND_REVERSAL, "NO-b00022"),
    ]
    assert new[0].bill.total.minor_units == 5000
    originals = {one.bill.bill_number: one.bill.name for one in bridge.bills()[:before]}
    assert new[0].bill.name == f"{originals['NO-b00021']}.2"
    # Leave the hospital as it was for the other database.
    server.put([claim(f"b{n:05d}", f"person-{n % 12:03d}") for n in (20, 21, 22)])


def features(bridge: Bridge, page_size: int = 0) -> list[pb.ClinicalFeatures]:
    request = pb.ListClinicalFeaturesRequest(parent=HOSPITAL, page_size=page_size)
    found: list[pb.ClinicalFeatures] = []
    while True:
        page = bridge.stub.ListClinicalFeatures(request, timeout=CALL_S)
        found.extend(page.features)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


@pytest.mark.on_postgresql
@pytest.mark.usefixtures("report")
def test_features_tell_codes_and_amounts_and_lead_back_to_no_bill(bridge: Bridge) -> None:
    told = features(bridge, page_size=20)
    released = [one.bill for one in bridge.bills()]
    last = {bill.name.partition(".")[0]: bill.name for bill in released}
    bills = [
        bill
        for bill in released
        if bill.name in last.values() and bill.kind != bill_pb2.BILL_KIND_REVERSAL
    ]
    bills = bills[: len(bills) // 20 * 20]  # the newest wait until their group is full
    assert len(told) == len(bills) >= 120
    assert sum(one.total_minor_units for one in told) == sum(b.total.minor_units for b in bills)
    whole = max(told, key=lambda one: len(one.services))
    assert (whole.care_year, whole.days_of_stay, whole.currency_code) == (2026, 0, "CNY")
    assert sum(entry.billed_minor_units for entry in whole.services) == whole.total_minor_units
    assert all(entry.code.code and entry.code.system for entry in whole.services)
    wire = b"".join(one.SerializeToString() for one in told)
    for bill in bills:
        for telling in (bill.name, bill.bill_number, bill.member_token, bill.provider_id):
            assert telling.encode() not in wire
    # The control: the bills themselves hold all of it.
    assert bills[0].member_token.encode() in bills[0].SerializeToString()


@pytest.mark.usefixtures("report")
def test_a_page_of_few_features_and_a_foreign_token_are_refused(bridge: Bridge) -> None:
    request = pb.ListClinicalFeaturesRequest(parent=HOSPITAL, page_size=19)
    fault = refusal(bridge.stub.ListClinicalFeatures, request)
    assert [(v.field, v.reason) for v in fault.violations] == [("page_size", "TOO_FEW")]
    bills = bridge.stub.ListBills(pb.ListBillsRequest(parent=HOSPITAL, page_size=20))
    request = pb.ListClinicalFeaturesRequest(parent=HOSPITAL, page_token=bills.next_page_token)
    fault = refusal(bridge.stub.ListClinicalFeatures, request)
    assert [v.reason for v in fault.violations] == ["FOREIGN_PAGE_TOKEN"]
    unknown = pb.ListClinicalFeaturesRequest(parent="hospitals/nowhere")
    assert refusal(bridge.stub.ListClinicalFeatures, unknown).reason == "NOT_FOUND"


def test_health_is_told_and_a_stop_is_graceful(bridge: Bridge, tmp_path: Path) -> None:
    asked = health_pb2.HealthCheckRequest(service="lipei.his_bridge.v1.HisBridgeService")
    told = health_pb2_grpc.HealthStub(bridge.channel).Check(asked, timeout=CALL_S)
    assert told.status == health_pb2.HealthCheckResponse.SERVING
    write_profile(tmp_path / "profiles", BASE_URL)
    with running_bridge(tmp_path / "state", tmp_path / "profiles") as other:
        assert other.stop() == 0
    assert '"stopped"' in other.log.read_text("utf-8")


def test_a_bridge_with_bad_profiles_does_not_start_and_says_why(tmp_path: Path) -> None:
    write_profile(tmp_path / "profiles", BASE_URL, lambda text: text.replace("CNY", "XXX"))
    (tmp_path / "state").mkdir()
    with pytest.raises(RuntimeError) as caught:
        running_bridge(tmp_path / "state", tmp_path / "profiles").__enter__()
    assert "demo-hospital.yaml:6: currency" in str(caught.value)
    assert "Traceback" not in str(caught.value)
