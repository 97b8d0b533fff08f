"""Observations become readings; blood pressure is two of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import (
    KeptOut,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.core.terms import ReadingRule
from services.his_bridge.dialects.fhir_r4 import ObservationReader
from services.his_bridge.dialects.pseudonym import device_pseudonym
from services.his_bridge.storage.holding import need_of_reading
from tests.services.his_bridge.records import (
    LOINC,
    TERMS,
    TOKEN,
    Resource,
    as_bytes,
    concept,
    judge_observation,
    observation,
    patient,
    tokens,
)


def judged(resource: Resource) -> ReadingsStated:
    outcome = judge_observation({"Observation": resource, "Patient": patient()})
    assert isinstance(outcome, ReadingsStated)
    return outcome


def test_a_laboratory_value() -> None:
    ((component, reading),) = judged(observation()).readings
    assert component == reading.code.code == "4548-4"
    assert (reading.value, reading.unit) == (Decimal("7.2"), "%")
    assert reading.member_token == TOKEN
    assert reading.provenance is Provenance.LABORATORY
    assert reading.effective == datetime(2026, 3, 1, 1, 30, tzinfo=UTC)


def test_a_value_is_received_when_the_hospital_released_it() -> None:
    ((_, reading),) = judged(observation() | {"issued": "2026-03-02T11:00:00.5+08:00"}).readings
    assert reading.issued == datetime(2026, 3, 2, 3, 0, 0, 500_000, tzinfo=UTC)
    ((_, reading),) = judged(observation()).readings
    assert reading.issued is None


def test_a_device_is_told_under_a_pseudonym_of_the_members() -> None:
    def device(said: Resource, resource: Resource | None = None) -> str | None:
        ((_, reading),) = judged((resource or observation()) | {"device": said}).readings
        return reading.device

    one = device({"reference": "Device/m-11"})
    assert one is not None
    assert re.fullmatch("[0-9a-f]{32}", one)
    same = (
        {"reference": f"{TERMS.base_url}/Device/m-11"},
        {"reference": "Device/m-11/_history/2", "display": "SN 0815"},
    )
    assert {device(said) for said in same} == {one}
    others = (
        {"reference": "Device/m1-1"},
        {"identifier": {"system": "urn:serial", "value": "0815"}},
        {"identifier": {"value": "0815"}},
    )
    assert len({one, *(device(said) for said in others)}) == 4
    contained = {"reference": "#d"}, {"identifier": {"system": "urn:serial"}}, {"display": "meter"}
    assert [device(said) for said in contained] == [None] * 3
    ((_, silent),) = judged(observation()).readings
    assert silent.device is None


def test_no_two_people_or_hospitals_are_seen_to_share_a_device() -> None:
    told = [
        device_pseudonym("Device/1", member, hospital, tokens)
        for member in (TOKEN, tokens("CN-ID", "110101199003070038"))
        for hospital in ("h1", "h2")
    ]
    assert len({*told}) == 4


def test_what_was_typed_in_has_no_device() -> None:
    typed = msgspec.structs.replace(TERMS, provenances={"laboratory": Provenance.TYPED})
    resource = observation() | {"device": {"reference": "Device/1"}}
    for terms, is_told in ((typed, False), (TERMS, True)):
        outcome = judge_observation({"Observation": resource, "Patient": patient()}, terms)
        assert isinstance(outcome, ReadingsStated)
        ((_, reading),) = outcome.readings
        assert (reading.device is not None) is is_told


@pytest.mark.parametrize(
    ("issued", "reason"),
    [
        ("2026-03-01T09:24:59+08:00", Reason.END_BEFORE_START),
        ("2026-03-01T09:30:00", Reason.TIME_WITHOUT_ZONE),
        ("yesterday", Reason.TIME_IMPOSSIBLE),
    ],
)
def test_a_value_released_before_it_was_measured_waits(issued: str, reason: Reason) -> None:
    resource = observation() | {"issued": issued}
    outcome = judge_observation({"Observation": resource, "Patient": patient()})
    assert isinstance(outcome, SetAside)
    assert [(fault.reason, fault.path) for fault in outcome.faults] == [(reason, "issued")]


@pytest.mark.parametrize(("code", "fasting"), [("14771-0", True), ("15074-8", None)])
def test_a_code_that_says_fasting_is_heard(code: str, fasting: bool | None) -> None:
    rule = ReadingRule(code=code, units=("mmol/L",))
    terms = msgspec.structs.replace(TERMS, readings=(rule,))
    resource = observation() | {
        "code": concept(LOINC, code),
        "valueQuantity": {"value": 6.1, "unit": "mmol/L", "code": "mmol/L"},
    }
    outcome = judge_observation({"Observation": resource, "Patient": patient()}, terms)
    assert isinstance(outcome, ReadingsStated)
    ((_, reading),) = outcome.readings
    assert reading.fasting is fasting


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        ("9999-12-31T20:00:00Z", False),
        ("9999-12-31T15:59:59Z", True),  # the last second of the calendar in the hospital's zone
        ("0001-01-01T00:00:00+08:00", False),
        ("0001-01-01T00:00:00-03:00", True),
        ("0001-01-01", False),
    ],
)
def test_a_moment_without_a_day_in_the_hospitals_zone_is_none(moment: str, good: bool) -> None:
    resource = observation() | {"effectiveDateTime": moment}
    resource["issued"] = "2026-03-01T10:00:00+08:00" if moment < "1" else moment
    outcome = judge_observation({"Observation": resource, "Patient": patient()})
    assert isinstance(outcome, ReadingsStated) is good
    if isinstance(outcome, ReadingsStated):
        day = need_of_reading(outcome.readings[0][1], TERMS.zone).first_day
        assert day.isoformat() in ("9999-12-31", "0001-01-01")
    else:
        assert isinstance(outcome, SetAside)
        assert Fault(reason=Reason.TIME_IMPOSSIBLE, path="effectiveDateTime") in outcome.faults


def test_blood_pressure_is_two_readings_of_the_clinic() -> None:
    resource = observation()
    del resource["valueQuantity"]
    resource |= {"category": [concept("x", "vital-signs")], "code": concept(LOINC, "55284-4")}
    resource["component"] = [
        {
            "code": concept(LOINC, code),
            "valueQuantity": {"value": value, "unit": "mmHg", "code": "mm[Hg]"},
        }
        for code, value in (("8480-6", 135), ("8462-4", 85), ("9999-9", 1))
    ]
    readings = [reading for _, reading in judged(resource).readings]
    assert [(r.code.code, r.value) for r in readings] == [
        ("8480-6", Decimal(135)),
        ("8462-4", Decimal(85)),
    ]
    assert {r.provenance for r in readings} == {Provenance.CLINIC}


@pytest.mark.parametrize(
    "change",
    [
        {"code": concept(LOINC, "29463-7")},
        {"status": "preliminary"},
        {"code": concept("x", "4548-4")},
    ],
)
def test_what_no_programme_uses_is_kept_out(change: Resource) -> None:
    reader = ObservationReader(TERMS, tokens)
    assert reader.glance(as_bytes(observation() | change)).keep_out
    assert not reader.glance(as_bytes(observation())).keep_out


def test_a_reading_entered_in_error_is_withdrawn() -> None:
    resource = observation() | {"status": "entered-in-error"}
    outcome = judge_observation({"Observation": resource, "Patient": patient()})
    assert outcome == ReadingsWithdrawn()


def test_an_observation_whose_code_was_corrected_away_says_nothing() -> None:
    resource = observation() | {"code": concept(LOINC, "29463-7")}
    outcome = judge_observation({"Observation": resource, "Patient": patient()})
    assert outcome == KeptOut()
