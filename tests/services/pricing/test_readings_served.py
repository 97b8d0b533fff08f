"""Readings, months and the credit over real sockets, on both databases: answers and refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import reading_pb2 as rb
from services.common.grpc_edge import RpcFault, error_of
from services.common.transport.channels import sync_channel
from tests.identities import acting, everybody
from tests.postgres import fresh_database
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates, priced
from tests.services.pricing.core.reading_cases import programmes
from tests.services.pricing.medication_calls import fill, handing_out
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import (
    names,
    part,
    reading,
    recording,
    stamp,
    typed,
    weeks,
)

CAP = {
    "LIPEI_PRICING_CREDIT_CAP": "0.08",
    "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a regulation, article 7",
}
FACTS = {name: value for name, value in WOMAN_52.items() if name != "hba1c_percent"}
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.fault)]
)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One running service per kind of database, for all tests of this module."""
    state = tmp_path_factory.mktemp("state")
    if request.param == "sqlite":
        with serving(state, CAP) as pricing:
            yield pricing.address
    else:
        server = request.getfixturevalue("postgres_url")
        with (
            fresh_database(server) as url,
            serving(state, {**CAP, "LIPEI_PRICING_DATABASE_URL": url}) as pricing,
        ):
            yield pricing.address


class Stub(PricingServiceStub):
    """Everybody's calls, and a hospital's own for what a partner may not say."""

    def __init__(self, target: str, channel: grpc.Channel) -> None:
        super().__init__(channel)  # type: ignore[call-arg]  # its types hide the constructor
        self.machine = sync_channel(target, acting("integration", ""), "pricing")
        self.desk = sync_channel(target, acting("desk-hospital", "hospital_records"), "pricing")
        self.target = target

    def assessed(self, token: str, request: pb.AssessMemberRequest) -> pb.Incentive:
        """As the member asks, for whom everybody's readings count."""
        with sync_channel(self.target, acting("desk-member", "member", token), "pricing") as member:
            return PricingServiceStub(member).AssessMember(request, timeout=60).incentive


@contextmanager
def stub_of(target: str) -> Iterator[Stub]:
    with everybody(target, "pricing") as channel:
        made = Stub(target, channel)
        with made.machine, made.desk:
            yield made


@pytest.fixture
def stub(target: str) -> Iterator[Stub]:
    with stub_of(target) as made:
        yield made


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """A member of this test's own."""
    return "k1." + hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def quoting(token: str, name: str, **changes: Any) -> pb.QuotePremiumRequest:
    told: dict[str, Any] = {
        "request_id": f"{name}-{token[3:40]}",
        "parent": "policies/p-1",
        "tariff": DEMO,
        "start_date": "2026-01-01",
        "features": FACTS,
        "participation": part(token, expiring_start_date="2025-01-01"),
    }
    return pb.QuotePremiumRequest(**told | changes)


HIS = (rb.READING_PROVENANCE_LABORATORY, rb.READING_PROVENANCE_CLINIC)


def record(stub: Stub, token: str, *readings: rb.Reading) -> pb.RecordReadingsResponse:
    """What came through a hospital is recorded by it, the rest by a partner."""
    whole = pb.RecordReadingsResponse()
    for recorder, through_his in ((PricingServiceStub(stub.machine), True), (stub, False)):
        some = [one for one in readings if (one.provenance in HIS) is through_his]
        if some:
            content = b"".join(one.SerializeToString(deterministic=True) for one in some)
            request_id = hashlib.sha256(token.encode() + content).hexdigest()
            done = recorder.RecordReadings(recording(request_id, some), timeout=60)
            whole.recorded_count += done.recorded_count
            whole.known_count += done.known_count
            whole.coach_tasks.extend(done.coach_tasks)
    return whole


def refused(call: Callable[[], Any]) -> RpcFault:
    with pytest.raises(grpc.RpcError) as found:
        call()
    return error_of(found.value)


def reasons(fault: RpcFault) -> list[tuple[str, str]]:
    return [(violation.field, violation.reason) for violation in fault.violations]


def test_a_good_year_lowers_the_premium_and_names_its_readings(stub: Stub, token: str) -> None:
    months = ["2025-03", "2025-04"]
    home = [entry for month in months for entry in weeks(token, month, "6.0")]
    laboratory = reading(token, "lab", "hba1c", "6.8", "2025-07-20 09:00", by="LABORATORY")
    done = record(stub, token, *home, laboratory)
    assert (done.recorded_count, done.known_count) == (7, 0)

    quote = stub.QuotePremium(quoting(token, "q"), timeout=60).quote
    found = quote.incentive
    assert found.programme in programmes().versions()
    assert (found.window_first_month, found.window_last_month) == ("2024-11", "2025-10")
    by_month = {month.month: month for month in found.months}
    assert len(by_month) == 12
    assert by_month["2025-04"].basis == pb.MONTH_BASIS_SLOTS
    assert by_month["2025-05"].basis == pb.MONTH_BASIS_LABORATORY_HBA1C
    assert by_month["2025-05"].hba1c_month == "2025-07"
    assert by_month["2025-02"].result == pb.MONTH_RESULT_NOT_ENOUGH
    measured = by_month["2025-03"].measures[0]
    assert (measured.mean, measured.unit, measured.target) == ("6.0", "mmol/L", "4.4-7.0")
    assert measured.met
    assert measured.readings == 3
    assert names(home)[:3] == list(by_month["2025-03"].evidence)

    assert (found.run_first_month, found.run_last_month, found.run_months) == (
        "2025-03",
        "2025-07",
        5,
    )
    assert found.contractual_share_millionths == 100_000
    assert found.credit_millionths == found.legal_cap.share_millionths == 80_000
    assert found.legal_cap.source == "a regulation, article 7"

    # 3706.80 less 8 % is 3410.256, and 3410.26 to the fen.
    assert quote.premium_without_credit.minor_units == 370_680
    assert quote.premium.minor_units == 341_026
    assert sum(step.difference_e4 for step in quote.steps) == 341_026 * 10_000
    credit, rounding = quote.steps[-2:]
    assert (credit.step, credit.difference_e4) == ("incentive", -296_544_000)
    assert (rounding.step, rounding.difference_e4) == ("rounding.credit", 4_000)
    assert list(credit.evidence) == names([*home, laboratory])
    assert not any(step.evidence for step in quote.steps[:-2])


def test_control_is_not_rewarded_twice(stub: Stub, token: str) -> None:
    quote = stub.QuotePremium(quoting(token, "q"), timeout=60).quote
    assert quote.premium_without_credit.minor_units == priced(demo_rates(), FACTS).premium_minor
    twice = {**FACTS, "hba1c_percent": "6.0", "systolic_mmhg": "120"}
    fault = refused(lambda: stub.QuotePremium(quoting(token, "r", features=twice), timeout=60))
    assert fault.code is INVALID
    assert reasons(fault) == [
        ('features["hba1c_percent"]', "OUTCOME_FROM_READINGS"),
        ('features["systolic_mmhg"]', "OUTCOME_FROM_READINGS"),
    ]
    # Without a participation the same features price as before.
    alone = quoting(token, "s", features=twice)
    alone.ClearField("participation")
    quote = stub.QuotePremium(alone, timeout=60).quote
    assert quote.premium == quote.premium_without_credit
    assert not quote.HasField("incentive")
    assert quote.premium.minor_units < priced(demo_rates(), FACTS).premium_minor


def test_a_quote_stays_word_for_word_whatever_readings_come(stub: Stub, token: str) -> None:
    first = stub.QuotePremium(quoting(token, "q"), timeout=60).quote
    assert first.incentive.run_months == 0
    record(stub, token, *weeks(token, "2025-03", "6.0"))
    assert stub.QuotePremium(quoting(token, "q"), timeout=60).quote == first
    assert stub.GetQuote(pb.GetQuoteRequest(name=first.name), timeout=60).quote == first
    later = stub.QuotePremium(quoting(token, "again"), timeout=60).quote
    assert later.incentive.run_months == 1
    assert later.premium.minor_units < first.premium.minor_units
    other = quoting(token, "q", participation=part(token))
    assert refused(lambda: stub.QuotePremium(other, timeout=60)).reason == "REQUEST_ID_REUSED"


def test_a_member_stands_as_the_quote_would_say(stub: Stub, token: str) -> None:
    record(stub, token, *weeks(token, "2025-03", "6.0"))
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    found = stub.AssessMember(request, timeout=60).incentive
    quote = stub.QuotePremium(quoting(token, "q", participation=part(token)), timeout=60).quote
    assert found == quote.incentive
    assert found.run_months == 1


def test_the_hospitals_correction_counts_and_a_devices_is_refused(stub: Stub, token: str) -> None:
    at = "2025-03-10 09:00"
    record(stub, token, reading(token, "lab", "hba1c", "7.4", at, by="LABORATORY"))
    home = weeks(token, "2025-04", "6.0")
    record(stub, token, *home)
    corrected = reading(
        token, "lab", "hba1c", "6.4", at, by="LABORATORY", receive_time=stamp("2025-05-02 09:00")
    )
    assert record(stub, token, corrected).recorded_count == 1
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    months = {m.month: m for m in stub.AssessMember(request, timeout=60).incentive.months}
    assert months["2025-03"].result == pb.MONTH_RESULT_ON_TARGET

    home[1].value = "9.0"
    fault = refused(lambda: record(stub, token, home[0], home[1]))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "READING_DIFFERS")
    assert reasons(fault) == [("readings[1].name", "READING_DIFFERS")]
    done = record(stub, token, home[0], home[2])
    assert (done.recorded_count, done.known_count) == (0, 2)


def test_what_the_hospital_takes_back_counts_no_more(stub: Stub, token: str) -> None:
    at = "2025-03-10 09:00"
    record(stub, token, reading(token, "lab", "hba1c", "6.4", at, by="LABORATORY"))
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    assert stub.assessed(token, request).run_months == 3
    gone = reading(token, "lab", "hba1c", "6.4", at, by="LABORATORY", withdrawn=True)
    assert record(stub, token, gone).recorded_count == 1
    assert stub.assessed(token, request).run_months == 0
    low = reading(token, "low", "glucose", "2.0", at, by="LABORATORY", withdrawn=True)
    assert not record(stub, token, low).coach_tasks
    home = reading(token, "home", "glucose", "6.0", at, withdrawn=True)
    fault = refused(lambda: record(stub, token, home))
    assert reasons(fault) == [("readings[0].withdrawn", "NOT_ALLOWED")]


@pytest.mark.parametrize(("other", "flagged"), [("meter-2", True), ("meter-1", False)])
def test_a_device_is_kept_and_another_one_is_another_source(
    stub: Stub, token: str, other: str, flagged: bool
) -> None:
    told = [
        reading(token, "a", "fasting", "9.6", "2025-03-10 07:00", device="meter-1"),
        reading(token, "b", "fasting", "6.0", "2025-03-10 07:30", device=other),
    ]
    stub.RecordReadings(recording(f"device-{token[3:40]}", told), timeout=60)
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    codes = [pb.FlagCode.Name(one.code) for one in stub.assessed(token, request).flags]
    assert ("FLAG_CODE_SOURCES_DISAGREE" in codes) == flagged
    # A device's word is not changed, its own name is no exception.
    changed = [reading(token, "a", "fasting", "9.6", "2025-03-10 07:00", device="meter-3")]
    fault = refused(lambda: stub.RecordReadings(recording(f"other-{token[3:40]}", changed)))
    assert fault.reason == "READING_DIFFERS"


def test_every_fault_of_every_reading_is_named_and_nothing_is_kept(stub: Stub, token: str) -> None:
    at = "2025-03-10 09:00"
    good = reading(token, "good", "hba1c", "6.0", at)
    off = reading(token, "bad name", "fasting", "123.7", at, by="TYPED", device="Li's meter")
    off.member_token, off.fasting_status = "k1." + "0" * 64, rb.FASTING_STATUS_NON_FASTING
    early = reading(token, "early", "glucose", "6.0", at, receive_time=stamp("2025-03-10 08:54"))
    future = reading(token, "future", "glucose", "6.0", "2999-01-01 00:00")
    empty = rb.Reading()
    twice = reading(token, "good", "hba1c", "6.0", at)
    request = recording("one two", [good, off, early, future, empty, twice])
    fault = refused(lambda: stub.RecordReadings(request, timeout=60))
    assert fault.code is INVALID
    assert reasons(fault) == [
        ("request_id", "MALFORMED"),
        ("readings[1].name", "NOT_A_NAME"),
        ("readings[1].device", "NOT_A_NAME"),
        ("readings[1].device", "NOT_ALLOWED"),
        ("readings[1].fasting_status", "CONTRADICTS"),
        ("readings[1].value", "OUT_OF_BOUNDS"),
        ("readings[1].receive_time", "NOT_ALLOWED"),
        ("readings[2].receive_time", "BEFORE_MEASUREMENT"),
        ("readings[3].effective_time", "IN_THE_FUTURE"),
        ("readings[3].receive_time", "IN_THE_FUTURE"),
        ("readings[4].name", "NOT_A_NAME"),
        ("readings[4].provenance", "UNKNOWN_VALUE"),
        ("readings[4].code", "UNKNOWN_CODE"),
        ("readings[4].value", "BAD_DECIMAL"),
        ("readings[4].effective_time", "REQUIRED"),
        ("readings[5].name", "REPEATED"),
    ]
    said = fault.text + str(fault.violations)
    for value in ("123.7", "6.0", token, "bad name"):
        assert value not in said
    assert record(stub, token, good).recorded_count == 1


def test_a_clock_that_is_five_minutes_off_is_nobodys_fault(stub: Stub, token: str) -> None:
    at, received = "2025-03-10 09:00", stamp("2025-03-10 08:55")
    done = record(stub, token, reading(token, "a", "glucose", "6.0", at, receive_time=received))
    assert done.recorded_count == 1


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_holds_1_to_1000_readings(stub: Stub, token: str, count: int) -> None:
    many = [reading(token, f"r{n}", "glucose", "6.0", "2025-03-10 09:00") for n in range(count)]
    fault = refused(lambda: stub.RecordReadings(recording("many", many), timeout=60))
    assert reasons(fault) == [("readings", "COUNT")]
    if many:
        assert record(stub, token, *many[:-1]).recorded_count == 1000


def test_a_typed_reading_is_received_when_it_is_recorded(stub: Stub, token: str) -> None:
    assert record(stub, token, *typed(weeks(token, "2025-03", "6.0"))).recorded_count == 3
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    months = {m.month: m for m in stub.AssessMember(request, timeout=60).incentive.months}
    # Long after the month's end, whatever the member says of the day of measurement.
    assert months["2025-03"].slots_filled == 0


def test_while_a_books_history_is_loaded_typed_readings_state_their_receipt(
    tmp_path: Any, token: str
) -> None:
    late = [*weeks(token, "2025-03", "6.0")]
    for entry in late:
        entry.provenance = rb.READING_PROVENANCE_TYPED
    settings = {"LIPEI_PRICING_BACKFILL": "true"}
    with serving(tmp_path, settings) as pricing, stub_of(pricing.address) as loading:
        assert record(loading, token, *late).recorded_count == 3
        request = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
        found = loading.AssessMember(request, timeout=60).incentive
        assert found.run_months == 1
        # This one has no legal cap: it can assess, but credit nobody.
        assert not found.HasField("credit_millionths")
        fault = refused(lambda: loading.QuotePremium(quoting(token, "q"), timeout=60))
        assert fault.code is grpc.StatusCode.FAILED_PRECONDITION
        assert fault.reason == "NO_LEGAL_CAP"
        alone = quoting(token, "q")
        alone.ClearField("participation")
        assert loading.QuotePremium(alone, timeout=60).quote.premium.minor_units == 370_680


def test_the_programme_needs_its_diagnosis(stub: Stub, token: str) -> None:
    request = quoting(token, "q", features={**FACTS, "condition": "hypertension"})
    fault = refused(lambda: stub.QuotePremium(request, timeout=60))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PRICE")
    assert reasons(fault) == [('features["condition"]', "NOT_IN_PROGRAMME")]
    both = {**FACTS, "condition": "both"}
    for programme in ("diabetes-glucose", "hypertension-pressure"):
        asked = quoting(token, programme, features=both, participation=part(token, programme))
        assert stub.QuotePremium(asked, timeout=60).quote.HasField("incentive")


def test_every_fault_of_a_participation_is_named(stub: Stub, token: str) -> None:
    off = pb.Participation(
        member="members/anna",
        programme="No Such",
        time_zone="Asia/Nowhere",
        expiring_start_date="2026-01-01",
    )
    request = quoting(token, "q", participation=off)
    wrong = [
        ("participation.member", "NOT_A_NAME"),
        ("participation.programme", "NOT_A_NAME"),
        ("participation.time_zone", "UNKNOWN_ZONE"),
        ("participation.expiring_start_date", "BAD_DATE"),
    ]
    assert reasons(refused(lambda: stub.QuotePremium(request, timeout=60))) == wrong
    assess = pb.AssessMemberRequest(participation=off, renewal_date="2026-02-30")
    assert reasons(refused(lambda: stub.AssessMember(assess, timeout=60))) == [
        *wrong[:3],
        ("renewal_date", "BAD_DATE"),
    ]
    assess.renewal_date = "0001-01-01"
    assert ("renewal_date", "OUT_OF_RANGE") in reasons(
        refused(lambda: stub.AssessMember(assess, timeout=60))
    )


@pytest.mark.parametrize(
    "zone",
    [
        "../../etc/passwd",
        "Asia",
        "Asia/",
        "",
        "GMT+25",
        "a" * 65,
        "localtime",  # the server's own: a price would depend on the machine
        "Factory",
        "posix/Asia/Shanghai",
        "right/Asia/Shanghai",
    ],
)
def test_a_zone_that_is_none_is_refused(stub: Stub, token: str, zone: str) -> None:
    request = pb.AssessMemberRequest(
        participation=part(token, time_zone=zone), renewal_date="2026-01-01"
    )
    fault = refused(lambda: stub.AssessMember(request, timeout=60))
    assert reasons(fault) == [("participation.time_zone", "UNKNOWN_ZONE")]


@pytest.mark.parametrize("programme", ["another", "diabetes-glucose@sha256:" + "0" * 64])
def test_an_unknown_programme_is_answered_with_the_loaded_ones(
    stub: Stub, token: str, programme: str
) -> None:
    asked = part(token, programme)
    quote = quoting(token, "q", participation=asked)
    assess = pb.AssessMemberRequest(participation=asked, renewal_date="2026-01-01")
    for fault in (
        refused(lambda: stub.QuotePremium(quote, timeout=60)),
        refused(lambda: stub.AssessMember(assess, timeout=60)),
    ):
        assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_PROGRAMME")
        assert fault.metadata["loaded"].split() == list(programmes().versions())
    version = next(iter(programmes().versions()))
    assess.participation.programme = version
    assert stub.AssessMember(assess, timeout=60).incentive.programme == version


def test_a_renewal_before_the_programmes_targets_is_refused(stub: Stub, token: str) -> None:
    request = pb.AssessMemberRequest(participation=part(token), renewal_date="2018-06-01")
    fault = refused(lambda: stub.AssessMember(request, timeout=60))
    assert fault.code is grpc.StatusCode.FAILED_PRECONDITION
    assert fault.reason == "NO_TARGET_IN_FORCE"


def test_a_doctors_target_holds_from_now_on_and_not_for_months_that_are_over(
    stub: Stub, token: str
) -> None:
    record(stub, token, reading(token, "lab", "hba1c", "7.6", "2025-03-10 09:00", by="LABORATORY"))
    desk = PricingServiceStub(stub.desk)
    today = datetime.now(UTC).date()
    setting = pb.SetPersonalTargetRequest(
        request_id=f"t-{token[3:40]}",
        member=f"members/{token}",
        measure=pb.MEASURE_HBA1C,
        start_date=(today - timedelta(days=32)).isoformat(),
        target=pb.Target(below="8.0"),
        doctor_id="d-17",
        reason="frail",
    )
    fault = refused(lambda: desk.SetPersonalTarget(setting, timeout=60))
    assert (fault.code, reasons(fault)) == (INVALID, [("start_date", "IN_THE_PAST")])
    setting.start_date = today.isoformat()
    desk.SetPersonalTarget(setting, timeout=60)


def test_a_doctors_target_holds_for_one_member(tmp_path: Any, token: str) -> None:
    """Of a book whose history is loaded, with its doctors' targets of the time."""
    settings = {"LIPEI_PRICING_BACKFILL": "true"}
    with serving(tmp_path, settings) as pricing, stub_of(pricing.address) as stub:
        _a_target_is_set_and_ended(stub, token)


def _a_target_is_set_and_ended(stub: Stub, token: str) -> None:
    record(stub, token, reading(token, "lab", "hba1c", "7.6", "2025-03-10 09:00", by="LABORATORY"))
    desk = PricingServiceStub(stub.desk)
    assess = pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")
    assert stub.assessed(token, assess).run_months == 0
    setting = pb.SetPersonalTargetRequest(
        request_id=f"t-{token[3:40]}",
        member=f"members/{token}",
        measure=pb.MEASURE_HBA1C,
        start_date="2025-01-01",
        target=pb.Target(below="8.0"),
        doctor_id="d-17",
        reason="frail, 83 years old",
    )
    desk.SetPersonalTarget(setting, timeout=60)
    desk.SetPersonalTarget(setting, timeout=60)
    found = stub.assessed(token, assess)
    assert found.run_months == 3
    assert found.months[2].measures[0].personal_target
    assert found.months[2].measures[0].target == "<8.0"
    assert found.months[2].measures[0].target_set_by == "hospitals/demo-hospital"
    setting.target.below = "9.0"
    fault = refused(lambda: desk.SetPersonalTarget(setting, timeout=60))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    setting.ClearField("target")
    setting.request_id += "-end"
    desk.SetPersonalTarget(setting, timeout=60)
    assert stub.assessed(token, assess).run_months == 0


def test_every_fault_of_a_doctors_target_is_named(stub: Stub) -> None:
    empty = pb.SetPersonalTargetRequest()
    assert [field for field, _ in reasons(refused(lambda: stub.SetPersonalTarget(empty)))] == [
        "request_id",
        "member",
        "measure",
        "start_date",
        "doctor_id",
        "reason",
    ]
    base = pb.SetPersonalTargetRequest(
        request_id="t",
        member="members/k1." + "c" * 64,
        measure=pb.MEASURE_HOME_SYSTOLIC,
        start_date="2025-01-01",
        doctor_id="d",
        reason="r",
    )
    for target, field in (
        (pb.Target(), "target"),
        (pb.Target(at_most="140", below="140"), "target"),
        (pb.Target(at_least="140", below="130"), "target"),
        (pb.Target(below="139.5"), "target.below"),
        (pb.Target(below="9999"), "target.below"),  # no target at all, by another name
    ):
        base.target.CopyFrom(target)
        fault = refused(lambda: stub.SetPersonalTarget(base, timeout=60))
        assert [found for found, _ in reasons(fault)] == [field]


def test_low_glucose_comes_to_a_coach_page_by_page(stub: Stub, token: str) -> None:
    found = [
        reading(token, f"low-{n}", "glucose", value, f"2025-03-0{n} 09:00")
        for n, value in ((1, "3.84"), (2, "3.85"), (3, "2.9"))
    ]
    done = record(stub, token, *found)
    assert len(done.coach_tasks) == 2
    asked = pb.ListCoachTasksRequest(parent=f"members/{token}", page_size=1)
    first = stub.ListCoachTasks(asked, timeout=60)
    asked.page_token = first.next_page_token
    second = stub.ListCoachTasks(asked, timeout=60)
    tasks = [*first.tasks, *second.tasks]
    assert [task.name for task in tasks] == list(done.coach_tasks)
    assert [task.reading for task in tasks] == names([found[0], found[2]])
    assert [task.glucose_mmol_l for task in tasks] == ["3.8", "2.9"]
    assert {task.reason for task in tasks} == {"LOW_GLUCOSE"}
    assert tasks[0].effective_time == found[0].effective_time
    assert second.next_page_token == ""
    asked.parent = "members/-"
    fault = refused(lambda: stub.ListCoachTasks(asked, timeout=60))
    assert reasons(fault) == [("page_token", "FOREIGN_PAGE_TOKEN")]
    asked = pb.ListCoachTasksRequest(parent="members/-", page_size=1000)
    everyone = stub.ListCoachTasks(asked, timeout=60).tasks
    assert {task.name for task in tasks} <= {task.name for task in everyone}
    odd = pb.ListCoachTasksRequest(parent="members/anna", page_size=-1)
    fault = refused(lambda: stub.ListCoachTasks(odd, timeout=60))
    assert [field for field, _ in reasons(fault)] == ["parent", "page_size"]


def test_a_better_provenance_is_not_the_partners_nor_the_members_to_say(
    stub: Stub, target: str, token: str
) -> None:
    at = "2025-03-10 09:00"
    with sync_channel(target, acting("desk-member", "member", token), "pricing") as channel:
        recorders = {
            "member": (PricingServiceStub(channel), {"TYPED"}),
            "partner": (stub, {"TYPED", "DEVICE"}),
            "hospital": (
                PricingServiceStub(stub.machine),
                {"TYPED", "DEVICE", "CLINIC", "LABORATORY"},
            ),
        }
        for who, (recorder, may) in recorders.items():
            for by in ("LABORATORY", "CLINIC", "DEVICE", "TYPED"):
                said = reading(token, f"{who}-{by}", "glucose", "6.0", at, by=by)
                said.ClearField("receive_time")
                asked = partial(
                    recorder.RecordReadings,
                    recording(f"{who}-{by}-{token[3:30]}", [said]),
                    timeout=60,
                )
                if by in may:
                    assert asked().recorded_count == 1
                else:
                    assert reasons(refused(asked)) == [("readings[0].provenance", "NOT_ALLOWED")]


def test_what_is_only_to_be_judged_is_refused_alike_and_never_recorded(
    stub: Stub, token: str
) -> None:
    good = reading(token, "j1", "fasting", "6.4", "2025-03-03 07:00")
    bad = reading(token, "j2", "fasting", "6.4 mmol", "2025-03-03 07:00")
    judged = recording("judged", [good])
    judged.validate_only = True
    assert stub.RecordReadings(judged, timeout=60) == pb.RecordReadingsResponse()
    again = stub.RecordReadings(recording("judged", [good]), timeout=60)
    assert (again.recorded_count, again.known_count) == (1, 0), "neither it nor its id was kept"
    judged.readings.append(bad)
    found = refused(lambda: stub.RecordReadings(judged, timeout=60))
    assert [one.field for one in found.violations] == ["readings[1].value"]
    event = fill(token, "j1", "2025-03-03")
    request = handing_out("judged-too", [event])
    request.validate_only = True
    assert stub.RecordMedication(request, timeout=60) == pb.RecordMedicationResponse()
    kept = stub.RecordMedication(handing_out("judged-too", [event]), timeout=60)
    assert (kept.recorded_count, kept.known_count) == (1, 0)
    request.events.append(fill(token, "j2", "2025-03-03", days=0))
    found = refused(lambda: stub.RecordMedication(request, timeout=60))
    assert [one.field for one in found.violations] == ["events[1].days"]
