"""The register of consents over real gRPC, with a real hospital behind it, on both databases."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from lipei.type.v1 import bill_pb2
from services.common.database import Database
from services.common.grpc_edge import RpcFault, error_of
from services.common.sealing import SubjectKeys
from services.common.sealing.key_sources import master_keys
from services.his_bridge.storage.about import records_about
from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.population import good, readings
from tests.services.his_bridge.records import write_profile
from tests.services.his_bridge.running import (
    CALL_S,
    HOSPITAL,
    LONGEST_S,
    Bridge,
    environ_for,
    running_bridge,
)

pytestmark = pytest.mark.on_postgresql

PEOPLE, BILLS, READINGS = 6, 30, 12
LI, WANG, *OTHERS = everybody(PEOPLE)
EVIDENCE = pb.ConsentEvidence(document_sha256="ab" * 32, channel=pb.CONSENT_CHANNEL_IN_PERSON)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    with fhir_server(tmp_path_factory.mktemp("his")) as found:
        around, claims, _ = good(BILLS, PEOPLE)
        found.put([*around, *claims, *readings(READINGS, PEOPLE)])
        yield found


@pytest.fixture(scope="module")
def bridge(
    shared_url: str, server: FhirServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("bridge")
    write_profile(folder / "profiles", server.base_url)
    with running_bridge(folder / "state", folder / "profiles", shared_url) as found:
        yield found


@pytest.fixture(scope="module")
def register(bridge: Bridge) -> ConsentServiceStub:
    return ConsentServiceStub(bridge.channel)


def timestamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds))


def consent(member: str = LI, **changes: Any) -> pb.Consent:
    given: dict[str, Any] = {
        "member_token": member,
        "recipient": "insurers/insurer",
        "purpose": pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT,
        "scope": pb.ConsentScope(contents=[pb.CONSENT_CONTENT_BILLS]),
        "given_by": pb.CONSENT_GIVER_MEMBER,
        "giver": "person-1",
        "from_time": timestamp(time.time() - 60),
        "evidence": EVIDENCE,
    }
    return pb.Consent(**{**given, **changes})


def programme(member: str = LI, **changes: Any) -> pb.Consent:
    scope = pb.ConsentScope(contents=[pb.CONSENT_CONTENT_READINGS])
    purpose = pb.CONSENT_PURPOSE_HEALTH_PROGRAMME
    return consent(member, purpose=purpose, scope=scope, **changes)


def asked(given: pb.Consent, consent_id: str = "", request_id: str = "") -> pb.GrantConsentRequest:
    return pb.GrantConsentRequest(
        parent=HOSPITAL,
        consent_id=consent_id,
        consent=given,
        request_id=request_id or uuid.uuid4().hex,
    )


def grant(register: ConsentServiceStub, given: pb.Consent, consent_id: str = "") -> pb.Consent:
    return register.GrantConsent(asked(given, consent_id), timeout=CALL_S).consent


def withdraw(register: ConsentServiceStub, name: str, **more: Any) -> pb.Consent:
    request = pb.WithdrawConsentRequest(
        name=name, request_id=more.pop("request_id", uuid.uuid4().hex), evidence=EVIDENCE, **more
    )
    return register.WithdrawConsent(request, timeout=CALL_S).consent


def refusal(call: Any, request: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=CALL_S)
    return error_of(caught.value)


def listed_readings(bridge: Bridge, member: str) -> list[Any]:
    request = his_bridge_pb2.ListReadingsRequest(parent=f"members/{member}")
    return list(bridge.stub.ListReadings(request, timeout=CALL_S).readings)


def to_tell(register: ConsentServiceStub) -> list[pb.Withdrawal]:
    request = pb.ListWithdrawalsRequest(parent=HOSPITAL)
    return list(register.ListWithdrawals(request, timeout=CALL_S).withdrawals)


def tell(register: ConsentServiceStub, *names: str) -> None:
    request = pb.AcknowledgeWithdrawalsRequest(parent=HOSPITAL, consents=names, request_id="t")
    register.AcknowledgeWithdrawals(request, timeout=CALL_S)


# The way of bills and readings, in the order of a hospital's day.


def test_without_consents_everything_is_held_and_nothing_leaves(bridge: Bridge) -> None:
    report = bridge.pull_all()
    assert (report.received, report.held, report.released) == (BILLS, BILLS, 0)
    assert report.quarantined == 0
    assert (bridge.bills(), bridge.quarantine()) == ([], [])
    asked_for = his_bridge_pb2.GetSourceStatusRequest(hospital=HOSPITAL)
    bills, _ = bridge.stub.GetSourceStatus(asked_for, timeout=CALL_S).channels
    assert (bills.held_count, bills.inbox_waiting_count) == (BILLS, 0)


@pytest.fixture(scope="module")
def given(bridge: Bridge, register: ConsentServiceStub) -> dict[str, pb.Consent]:
    """Everybody but Wang consents, after the first pull."""
    found = {member: grant(register, consent(member)) for member in (LI, *OTHERS)}
    report = bridge.pull_all()
    assert (report.received, report.released, report.held) == (0, BILLS * 5 // 6, 0)
    return found


def test_a_consent_frees_what_was_held_in_the_order_of_arrival(
    bridge: Bridge, given: dict[str, pb.Consent]
) -> None:
    bills = bridge.bills()
    numbers = [one.bill.bill_number for one in bills]
    assert numbers == sorted(numbers)
    assert {one.bill.member_token for one in bills} == {LI, *OTHERS}
    for one in bills:
        assert one.bill.consent == given[one.bill.member_token].name
        assert given[one.bill.member_token].state == pb.CONSENT_STATE_ACTIVE


def test_the_evidence_of_each_read_names_its_consent(
    bridge: Bridge, shared_url: str, given: dict[str, pb.Consent]
) -> None:
    shown = {one.bill.name: one.bill.consent for one in bridge.bills()}
    database = Database(shared_url)
    with database.reading() as connection:
        leaves = connection.execute(text("SELECT record, body, owner FROM evidence_leaf")).all()
    database.close()
    named = {leaf.record: bytes(leaf.body) for leaf in leaves if leaf.record in shown}
    assert named.keys() == shown.keys()
    for name, consent_name in shown.items():
        assert consent_name.encode() in named[name]
    assert {one.name for one in given.values()} == set(shown.values())
    assert {leaf.owner for leaf in leaves} == {HOSPITAL.replace("hospitals/", "hospital/")}


def test_records_about_a_member_are_their_bills_and_consents(
    bridge: Bridge, shared_url: str, given: dict[str, pb.Consent]
) -> None:
    database = Database(shared_url)
    keys = SubjectKeys(master_keys(bridge.state), now_us=lambda: 0)
    keys.prepare(database)
    ours = HOSPITAL.removeprefix("hospitals/")

    def about(token: str, *hospitals: str) -> set[str]:
        with database.reading() as connection:
            found = records_about(connection, keys.sealer(connection), hospitals, token)
            assert len(found) == len(set(found))
            return set(found)

    bills = bridge.bills()
    for member, consent_given in given.items():
        mine = {one.bill.name for one in bills if one.bill.member_token == member}
        assert about(member, "nowhere", ours) >= {*mine, consent_given.name}
        others = {one.bill.name for one in bills} - mine
        assert not about(member, ours) & {
            *others,
            *(c.name for m, c in given.items() if m != member),
        }
        assert about(member, "nowhere") == set()
    assert about("k1." + "0" * 64, ours) == set()
    database.close()


def test_a_withdrawal_holds_from_its_answer_on(
    bridge: Bridge, register: ConsentServiceStub, given: dict[str, pb.Consent]
) -> None:
    name = given[OTHERS[0]].name
    mine = [one for one in bridge.bills() if one.bill.member_token == OTHERS[0]]
    assert len(mine) == BILLS // PEOPLE
    gone = withdraw(register, name)
    assert gone.state == pb.CONSENT_STATE_WITHDRAWN
    assert OTHERS[0] not in {one.bill.member_token for one in bridge.bills(page_size=3)}
    fault = refusal(bridge.stub.GetBill, his_bridge_pb2.GetBillRequest(name=mine[0].bill.name))
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_ACTIVE_CONSENT",
    )
    assert OTHERS[0] not in fault.text
    (told,) = to_tell(register)
    assert (told.consent, list(told.ended_consents)) == (name, [name])
    assert told.withdraw_time == gone.withdraw_time
    tell(register, name)
    assert to_tell(register) == []
    found = register.GetConsent(pb.GetConsentRequest(name=name), timeout=CALL_S).consent
    assert found.HasField("relay_time")
    assert [event.kind for event in found.events] == ["grant", "withdraw"]
    # A new consent lets them out again, and a second withdrawal of the old one changes nothing.
    again = grant(register, consent(OTHERS[0]))
    assert withdraw(register, name).withdraw_time == gone.withdraw_time
    back = [one for one in bridge.bills() if one.bill.member_token == OTHERS[0]]
    assert [one.bill.bill_number for one in back] == [one.bill.bill_number for one in mine]
    assert {one.bill.consent for one in back} == {again.name}


def test_while_another_consent_stands_in_nothing_ends(register: ConsentServiceStub) -> None:
    member = OTHERS[1]
    (old,) = register.ListConsents(
        pb.ListConsentsRequest(parent=HOSPITAL, member_token=member), timeout=CALL_S
    ).consents
    new = grant(register, consent(member))
    withdraw(register, old.name)
    (told,) = to_tell(register)
    assert list(told.ended_consents) == []
    tell(register, old.name)
    withdraw(register, new.name)
    (told,) = to_tell(register)
    assert sorted(told.ended_consents) == sorted([old.name, new.name])
    tell(register, new.name)


def test_a_consent_that_runs_out_in_the_midst_of_the_day(
    bridge: Bridge, register: ConsentServiceStub
) -> None:
    seen: set[str] = set()
    for lasts_s in (3, 6, 12, 24):  # a busy machine may not pull within the first
        until = int(time.time()) + lasts_s
        grant(register, consent(WANG, until_time=timestamp(until)))
        bridge.pull_all()
        while time.time() < until:
            seen |= {one.bill.member_token for one in bridge.bills()}
            time.sleep(0.1)
        if WANG in seen:
            break
    assert WANG in seen
    assert WANG not in {one.bill.member_token for one in bridge.bills()}
    assert to_tell(register) == []  # running out is no withdrawal


def test_readings_follow_their_own_consent(bridge: Bridge, register: ConsentServiceStub) -> None:
    pulled = bridge.stub.PullReadings(
        his_bridge_pb2.PullReadingsRequest(hospital=HOSPITAL), timeout=CALL_S
    )
    assert (pulled.held, pulled.released) == (READINGS, 0)
    mine = grant(register, programme(LI))
    pulled = bridge.stub.PullReadings(
        his_bridge_pb2.PullReadingsRequest(hospital=HOSPITAL), timeout=CALL_S
    )
    assert (pulled.held, pulled.released) == (0, READINGS // PEOPLE)
    found = listed_readings(bridge, LI)
    assert {(one.consent, one.value) for one in found} == {(mine.name, "7.2")}
    withdraw(register, mine.name)
    gone = listed_readings(bridge, LI)
    assert [one.name for one in gone] == [one.name for one in found]
    assert {(one.withdrawn, one.value, one.consent) for one in gone} == {(True, "", "")}
    tell(register, mine.name)


def test_bills_are_listed_while_consents_come_and_go(
    bridge: Bridge, register: ConsentServiceStub
) -> None:
    """No list that is asked for after a withdrawal's answer, and before the next grant, has it."""
    member, seen, stop = OTHERS[2], [], threading.Event()
    # How often it changed; odd from a withdrawal's answer to the next grant's request.
    changes = [0]

    def look() -> None:
        while not stop.is_set():
            before = changes[0]
            names = {one.bill.member_token for one in bridge.bills(page_size=7)}
            if before % 2 and changes[0] == before:
                seen.append(member in names)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for one in lookers:
        one.start()
    (current,) = register.ListConsents(
        pb.ListConsentsRequest(parent=HOSPITAL, member_token=member), timeout=CALL_S
    ).consents
    for _ in range(6):
        withdraw(register, current.name)
        changes[0] += 1
        known, give_up = len(seen), time.monotonic() + LONGEST_S
        while len(seen) == known:  # on a busy machine a list takes long
            assert time.monotonic() < give_up
            time.sleep(0.01)
        changes[0] += 1
        tell(register, current.name)
        current = grant(register, consent(member))
    stop.set()
    for one in lookers:
        one.join()
    assert not any(seen)
    assert member in {one.bill.member_token for one in bridge.bills()}


# The register itself.


def test_the_same_grant_twice_is_one_consent(register: ConsentServiceStub) -> None:
    request = asked(consent(LI, giver="twice"))
    first, second = (register.GrantConsent(request, timeout=CALL_S).consent for _ in range(2))
    assert first.name == second.name
    named = asked(consent(LI, giver="twice"), "paper-4711")
    known = register.GrantConsent(named, timeout=CALL_S).consent
    assert known.name == f"{HOSPITAL}/consents/paper-4711"
    named.request_id = uuid.uuid4().hex  # entered a second time, by somebody else
    assert register.GrantConsent(named, timeout=CALL_S).consent.name == known.name
    named.request_id = uuid.uuid4().hex
    named.consent.giver = "other"
    fault = refusal(register.GrantConsent, named)
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CONSENT_DIFFERS")
    assert [v.field for v in fault.violations] == ["consent_id"]
    request.consent.giver = "other"
    fault = refusal(register.GrantConsent, request)
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_a_withdrawal_that_comes_before_its_grant(register: ConsentServiceStub) -> None:
    name = f"{HOSPITAL}/consents/early-{uuid.uuid4().hex[:8]}"
    request = pb.WithdrawConsentRequest(name=name, request_id=uuid.uuid4().hex)
    fault = refusal(register.WithdrawConsent, request)
    assert fault.code is grpc.StatusCode.NOT_FOUND
    noted = withdraw(register, name, allow_missing=True)
    assert noted == pb.Consent(name=name)
    arrived = grant(register, consent(LI), name.rpartition("/")[2])
    assert arrived.state == pb.CONSENT_STATE_WITHDRAWN
    tell(register, name)


def test_withdrawing_again_keeps_the_earlier_time(register: ConsentServiceStub) -> None:
    name = grant(register, consent(LI, giver="again")).name
    late, early = (timestamp(time.time() - ago) for ago in (10, 30))
    assert withdraw(register, name, withdraw_time=late).withdraw_time == late
    assert withdraw(register, name, withdraw_time=early).withdraw_time == early
    assert withdraw(register, name).withdraw_time == early
    repeated = pb.WithdrawConsentRequest(name=name, request_id="same")
    for _ in range(2):
        register.WithdrawConsent(repeated, timeout=CALL_S)
    repeated.withdraw_time.CopyFrom(early)
    assert refusal(register.WithdrawConsent, repeated).code is grpc.StatusCode.ALREADY_EXISTS
    tell(register, name)


def test_many_consents_go_in_all_or_none(register: ConsentServiceStub) -> None:
    def many(*ids: str, **more: Any) -> pb.GrantConsentsRequest:
        consents = [consent(WANG, name=f"{HOSPITAL}/consents/{one}", **more) for one in ids]
        return pb.GrantConsentsRequest(
            parent=HOSPITAL, consents=consents, request_id=uuid.uuid4().hex
        )

    def names() -> set[str]:
        page = register.ListConsents(
            pb.ListConsentsRequest(parent=HOSPITAL, member_token=WANG, page_size=500),
            timeout=CALL_S,
        )
        return {one.name.rpartition("/")[2] for one in page.consents}

    far = timestamp(time.time() + 3600)
    before = names()
    trial = many("m1", "m2", from_time=far)
    trial.dry_run = True
    would = register.GrantConsents(trial, timeout=CALL_S)
    assert (would.granted_count, would.known_count) == (2, 0)
    assert names() == before
    done = register.GrantConsents(many("m1", "m2", from_time=far), timeout=CALL_S)
    assert (done.granted_count, done.known_count) == (2, 0)
    more = many("m2", "m3", from_time=far)
    done = register.GrantConsents(more, timeout=CALL_S)
    assert (done.granted_count, done.known_count) == (1, 1)
    assert register.GrantConsents(more, timeout=CALL_S) == done
    fault = refusal(register.GrantConsents, many("m4", "m1", giver="x", from_time=far))
    assert (fault.code, [v.field for v in fault.violations]) == (
        grpc.StatusCode.ALREADY_EXISTS,
        ["consents[1].name"],
    )
    assert names() == before | {"m1", "m2", "m3"}


def test_a_bad_consent_is_told_everything_at_once(register: ConsentServiceStub) -> None:
    bad = pb.Consent(
        name=f"{HOSPITAL}/consents/x",
        member_token="11010119900307002X",
        recipient="everybody",
        purpose=99,  # type: ignore[arg-type]  # on purpose
        scope=pb.ConsentScope(
            care_types=[bill_pb2.CARE_TYPE_INPATIENT],
            first_care_date="2026-02-30",
            last_care_date="20260101",
        ),
        given_by=pb.CONSENT_GIVER_MEMBER,
        giver="11010119900307002X",
        member_under_14=True,
        from_time=timestamp(time.time()),
        until_time=timestamp(1_000_000_000),
        evidence=pb.ConsentEvidence(document_sha256="x"),
        state=pb.CONSENT_STATE_ACTIVE,
        create_time=timestamp(1_000_000_000),
    )
    request = pb.GrantConsentRequest(
        parent="here", consent_id="Not/Good", consent=bad, request_id="ä"
    )
    fault = refusal(register.GrantConsent, request)
    assert {(v.field, v.reason) for v in fault.violations} == {
        ("request_id", "MALFORMED"),
        ("parent", "NOT_A_NAME"),
        ("consent_id", "MALFORMED"),
        ("consent.name", "NOT_ALLOWED"),
        ("consent.state", "NOT_ALLOWED"),
        ("consent.create_time", "NOT_ALLOWED"),
        ("consent.member_token", "MALFORMED"),
        ("consent.recipient", "NOT_A_NAME"),
        ("consent.purpose", "UNKNOWN_VALUE"),
        ("consent.scope.contents", "REQUIRED"),
        ("consent.scope.care_types", "DOES_NOT_FIT"),
        ("consent.scope.first_care_date", "BAD_DATE"),
        ("consent.scope.last_care_date", "BAD_DATE"),
        ("consent.given_by", "GUARDIAN_REQUIRED"),
        ("consent.giver", "PERSONAL_DATA"),
        ("consent.until_time", "END_BEFORE_START"),
        ("consent.evidence.document_sha256", "MALFORMED"),
        ("consent.evidence.channel", "UNKNOWN_VALUE"),
    }
    assert "11010119900307002X" not in str(fault)
    for call, one in (
        (register.GrantConsents, pb.GrantConsentsRequest(consents=[bad], request_id="r")),
        (
            register.AcknowledgeWithdrawals,
            pb.AcknowledgeWithdrawalsRequest(consents=["x"], request_id="r"),
        ),
    ):
        one.parent = "11010119900307002X"
        fault = refusal(call, one)
        assert "parent" in {v.field for v in fault.violations}
        assert not [v for v in fault.violations if one.parent in v.text]
        assert "must read hospitals/{hospital}/consents/{consent}" in {
            v.text for v in fault.violations
        }
    future = pb.WithdrawConsentRequest(
        name="x", request_id="", withdraw_time=timestamp(time.time() + 3600)
    )
    fault = refusal(register.WithdrawConsent, future)
    assert {v.field for v in fault.violations} == {"name", "request_id", "withdraw_time"}
    nobody = pb.AcknowledgeWithdrawalsRequest(
        parent=HOSPITAL, consents=[f"{HOSPITAL}/consents/nobody", "x"], request_id="r"
    )
    fault = refusal(register.AcknowledgeWithdrawals, nobody)
    assert [v.field for v in fault.violations] == ["consents[1]"]
    nobody.consents.pop()
    assert refusal(register.AcknowledgeWithdrawals, nobody).code is grpc.StatusCode.NOT_FOUND


def test_a_guardian_consents_for_a_child(register: ConsentServiceStub) -> None:
    child = consent(LI, member_under_14=True, given_by=pb.CONSENT_GIVER_GUARDIAN, giver="g-1")
    found = grant(register, child)
    assert (found.given_by, found.member_under_14) == (pb.CONSENT_GIVER_GUARDIAN, True)


def test_consents_are_listed_in_pages(register: ConsentServiceStub) -> None:
    names: list[str] = []
    request = pb.ListConsentsRequest(parent=HOSPITAL, page_size=3)
    while True:
        page = register.ListConsents(request, timeout=CALL_S)
        names += [one.name for one in page.consents]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert len(names) == len(set(names)) > 6
    foreign = pb.ListConsentsRequest(parent=HOSPITAL, page_token="x")
    fault = refusal(register.ListConsents, foreign)
    assert [v.reason for v in fault.violations] == ["FOREIGN_PAGE_TOKEN"]
    for call, unknown in (
        (register.GetConsent, pb.GetConsentRequest(name=f"{HOSPITAL}/consents/nobody")),
        (register.ListConsents, pb.ListConsentsRequest(parent="hospitals/nowhere")),
        (register.ListWithdrawals, pb.ListWithdrawalsRequest(parent="hospitals/nowhere")),
        (register.GetConsent, pb.GetConsentRequest(name="hospitals/nowhere/consents/a")),
    ):
        assert refusal(call, unknown).code is grpc.StatusCode.NOT_FOUND


def test_an_insurer_that_is_none_stops_the_bridge_from_starting(tmp_path: Path) -> None:
    write_profile(tmp_path / "profiles", "http://127.0.0.1:1/fhir")
    (tmp_path / "state").mkdir()
    environ = environ_for(tmp_path / "state", tmp_path / "profiles")
    with pytest.raises(RuntimeError) as caught:
        Bridge(tmp_path / "state", {**environ, "LIPEI_INSURER": "Every Body"})
    assert "LIPEI_INSURER must be" in str(caught.value)
