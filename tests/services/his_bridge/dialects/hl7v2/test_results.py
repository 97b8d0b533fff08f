"""Results become readings; an order's later results replace its earlier ones."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import KeptOut, ReadingsStated, ReadingsWithdrawn, SetAside
from services.his_bridge.dialects.hl7v2 import ResultReader
from services.his_bridge.dialects.hl7v2.admission import READINGS, admit
from tests.services.his_bridge.messages_hl7 import (
    NUMBER,
    READING,
    TOKEN,
    judge_results,
    message,
    oru,
    with_field,
    without,
)
from tests.services.his_bridge.records import tokens

R = Reason
PRESSURE = (
    "OBX|1|NM|8480-6^收缩压^LN||135|mmHg|||||F",
    "OBX|2|NM|HIS1^舒张压^L^8462-4^^LN||85|mmHg|||||F",
    "OBX|3|NM|8867-4^心率^LN||70|/min|||||F",
)


def stated(text: str) -> ReadingsStated:
    outcome = judge_results(text)
    assert isinstance(outcome, ReadingsStated), outcome
    return outcome


def test_a_result_becomes_a_reading() -> None:
    ((component, reading),) = stated(oru()).readings
    assert (component, reading.value, reading.unit) == ("4548-4", Decimal("7.2"), "%")
    assert reading.member_token == TOKEN
    assert reading.provenance is Provenance.LABORATORY
    assert reading.effective == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert reading.issued == datetime(2026, 3, 1, 2, tzinfo=UTC)


def test_what_no_programme_uses_is_left_out_and_units_get_their_common_names() -> None:
    found = dict(stated(oru(*PRESSURE)).readings)
    assert set(found) == {"8480-6", "8462-4"}
    assert {reading.unit for reading in found.values()} == {"mm[Hg]"}


def test_each_order_is_a_record_and_its_message_the_version() -> None:
    text = oru() + "OBR|2||F2||||20260301|||||||||||||||||LIS\rOBX|1|NM|4548-4^^LN||8|%|||||F\r"
    text += "OBR|3||F3||||20260301\rOBX|1|NM|0-0^^LN||8|%|||||F\r"
    _, pieces = admit(text.encode("gb18030"), READING)
    assert [(p.channel, p.record_id, p.version) for p in pieces] == [
        (READINGS, "HIS/H110101/F1", "HIS/H110101/R1"),
        (READINGS, "HIS/H110101/F2", "HIS/H110101/R1"),
    ]
    first, second = (judge_results(text, record_id=piece.record_id) for piece in pieces)
    assert isinstance(first, ReadingsStated)
    assert isinstance(second, ReadingsStated)
    assert str(first.readings[0][1].value) == "7.2"
    assert str(second.readings[0][1].value) == "8"


def test_an_order_without_number_goes_by_its_message() -> None:
    text = with_field(with_field(oru(), "OBR", 2, ""), "OBR", 3, "")
    _, (piece,) = admit(text.encode("gb18030"), READING)
    assert piece.record_id == "HIS/H110101/R1#1"
    assert isinstance(judge_results(text, record_id=piece.record_id), ReadingsStated)


def test_results_of_several_patients_stay_theirs() -> None:
    other = "110101199003070038"
    second = oru(control_id="x").split("\r")[2:]
    text = oru() + "\r".join(second).replace(NUMBER, other).replace("|F1|", "|F2|")
    found = judge_results(text, record_id="HIS/H110101/F2")
    assert isinstance(found, ReadingsStated)
    assert found.readings[0][1].member_token == tokens("CN-ID", other)


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_a_result_may_be_taken_back(status: str) -> None:
    assert isinstance(judge_results(with_field(oru(), "OBX", 11, status)), ReadingsWithdrawn)
    some = judge_results(oru(PRESSURE[0], with_field(PRESSURE[1], "OBX", 11, status)))
    assert isinstance(some, ReadingsStated)
    assert [component for component, _ in some.readings] == ["8480-6"]


def test_a_cancelled_order_is_taken_back_and_one_in_work_waits() -> None:
    assert isinstance(judge_results(with_field(oru(), "OBR", 25, "X")), ReadingsWithdrawn)
    assert isinstance(judge_results(with_field(oru(), "OBX", 11, "P")), KeptOut)


def test_structured_numerics_are_numbers_when_they_are_exact() -> None:
    text = with_field(with_field(oru(), "OBX", 2, "SN"), "OBX", 5, "^7.2")
    assert stated(text).readings[0][1].value == Decimal("7.2")


def test_a_message_without_readings_is_kept_out() -> None:
    text = message("ORU^R01", "OBR|1||F9", "OBX|1|TX|1-1^^LN||x")
    assert ResultReader(READING, tokens).glance(text.encode()).keep_out
    assert admit(text.encode(), READING)[1] == ()


BAD = [
    ("no value", 5, "", {(R.VALUE_MISSING, "OBX[1].5")}),
    ("a bound", 5, "<4.0", {(R.VALUE_NOT_EXACT, "OBX[1].5")}),
    ("words", 5, "高", {(R.NUMBER_MALFORMED, "OBX[1].5")}),
    ("a negative value", 5, "-7", {(R.NEGATIVE_AMOUNT, "OBX[1].5")}),
    ("another unit", 6, "mmol/mol", {(R.UNIT_UNKNOWN, "OBX[1].6")}),
    ("measured after it was released", 14, "20260302", {(R.END_BEFORE_START, "OBX[1].14")}),
    ("no time of the calendar", 14, "20261301", {(R.TIME_IMPOSSIBLE, "OBX[1].14")}),
]


@pytest.mark.parametrize(("name", "field", "value", "faults"), BAD, ids=[one[0] for one in BAD])
def test_a_bad_result_shows_its_faults(
    name: str, field: int, value: str, faults: set[tuple[Reason, str]]
) -> None:
    outcome = judge_results(with_field(oru(), "OBX", field, value))
    assert isinstance(outcome, SetAside)
    assert {(fault.reason, fault.path) for fault in outcome.faults} == faults


def test_other_faults_of_an_order() -> None:
    nobody = judge_results(with_field(oru(), "OBR", 24, "XX"))
    no_time = judge_results(with_field(oru(), "OBR", 7, ""))
    no_person = judge_results(without(oru(), "PID"))
    days = judge_results(
        oru(PRESSURE[0] + "|||20260228", PRESSURE[1] + "|||20260301"),
    )
    bound = judge_results(with_field(with_field(oru(), "OBX", 2, "SN"), "OBX", 5, "<^7"))
    found = [nobody, no_time, no_person, days, bound]
    assert all(isinstance(outcome, SetAside) for outcome in found)
    assert [
        {fault.reason for fault in outcome.faults}
        for outcome in found
        if isinstance(outcome, SetAside)
    ] == [
        {R.PROVENANCE_UNKNOWN},
        {R.TIME_MISSING},
        {R.IDENTITY_MISSING},
        {R.SEVERAL_DAYS},
        {R.VALUE_NOT_EXACT},
    ]


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        ("99991231200000+0000", False),
        ("99991231155959+0000", True),
        ("00010101000000+0800", False),
        ("00010101000000-0300", True),
        ("00010101", False),
    ],
)
def test_a_moment_without_a_day_in_the_hospitals_zone_is_none(moment: str, good: bool) -> None:
    text = with_field(with_field(oru(), "OBR", 7, moment), "OBR", 22, "")
    outcome = judge_results(text)
    assert isinstance(outcome, ReadingsStated) is good
    if isinstance(outcome, SetAside):
        assert (R.TIME_IMPOSSIBLE, "OBR[1].7") in {(f.reason, f.path) for f in outcome.faults}
