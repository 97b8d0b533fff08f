"""Observations become readings; blood pressure is two of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.his_bridge.core.bill import Provenance
from services.his_bridge.core.outcomes import KeptOut, ReadingsStated, ReadingsWithdrawn
from services.his_bridge.dialects.fhir_r4 import ObservationReader
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
