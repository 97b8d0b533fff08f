"""Units, months, incentives against cases worked out by hand (tests/cases/readings)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
import pytest

from services.pricing.core.incentive import assess
from services.pricing.core.months import Judged, MonthAssessment, assess_months, in_time
from services.pricing.core.programme import NoTargetInForce, share_text
from services.pricing.core.readings import (
    LOINC,
    Fasting,
    Measured,
    Provenance,
    Written,
    measure,
    value_text,
)
from tests.services.pricing.core.reading_cases import (
    SHANGHAI,
    cases,
    doctors_targets,
    month_days,
    programmes,
    readings_of,
    weekly,
    written,
    zone_of,
)

UNITS, MONTHS, INCENTIVES = (cases(f"{name}.yaml") for name in ("units", "months", "incentive"))


def named(found: list[Mapping[str, Any]]) -> list[str]:
    return [case["case"] for case in found]


@pytest.mark.parametrize("case", UNITS, ids=named(UNITS))
def test_a_written_value_counts_as_the_hand_says(case: Mapping[str, Any]) -> None:
    said = Written(
        system=LOINC,
        code=case["code"],
        value=case["value"],
        unit=case["unit"],
        fasting=Fasting(case.get("fasting", "UNKNOWN")),
        provenance=Provenance.LABORATORY,
    )
    found = measure(said)
    if isinstance(found, Measured):
        text = value_text(found.quantity, found.value) + (" fasting" if found.fasting else "")
        assert text == case["gives"]
    else:
        assert [fault.field for fault in found] == case["refused"]
        assert not any(case["value"] in fault.text for fault in found)


def test_a_code_of_another_system_is_refused() -> None:
    said = Written(
        system="http://snomed.info/sct",
        code="4548-4",
        value="7.0",
        unit="%",
        fasting=Fasting.UNKNOWN,
        provenance=Provenance.LABORATORY,
    )
    found = measure(said)
    assert isinstance(found, list)
    assert [fault.reason for fault in found] == ["UNKNOWN_CODE"]


@pytest.mark.parametrize("case", MONTHS, ids=named(MONTHS))
def test_a_month_ends_as_the_hand_says(case: Mapping[str, Any]) -> None:
    wanted: Mapping[str, Any] = case["months"]
    found = assess_months(
        in_time(readings_of(case), zone_of(case)),
        programmes().named(case.get("programme", "diabetes-glucose")),
        doctors_targets(case),
        month_days(list(wanted)),
        zone_of(case),
    )
    for assessed in found:
        expected = wanted[assessed.month]
        expected = expected if isinstance(expected, dict) else {"result": expected}
        said = told(assessed)
        kept: dict[str, Any] = {key: said[key] for key in expected if key in said}
        for part in ("means", "target"):  # a case names the measures that matter to it
            if part in expected:
                kept[part] = {name: said[part].get(name) for name in expected[part]}
        assert kept == expected, assessed.month


def told(found: MonthAssessment) -> dict[str, Any]:
    return {
        "result": found.result.value.lower().replace("_", " "),
        "by": {None: "nothing", "SLOTS": "slots", "LABORATORY_HBA1C": "hba1c"}[found.basis],
        "hba1c_month": found.hba1c_month,
        "slots": found.slots_filled,
        "means": {entry.measure.value: entry.mean for entry in found.measures},
        "target": {entry.measure.value: target_told(entry) for entry in found.measures},
        "evidence": list(found.evidence),
    }


def target_told(entry: Judged) -> str:
    return entry.target + (" by a doctor" if entry.personal else "")


@pytest.mark.parametrize("case", INCENTIVES, ids=named(INCENTIVES))
def test_a_run_earns_what_the_hand_says(case: Mapping[str, Any]) -> None:
    good = [r for month in case.get("good", ()) for r in weekly(month, "6.0")]
    bad = [r for month in case.get("bad", ()) for r in weekly(month, "9.0")]
    found = assess(
        good + bad,
        programmes().named("diabetes-glucose"),
        (),
        renewal=date.fromisoformat(case["renewal"]),
        expiring_start=date.fromisoformat(case["expiring"]) if "expiring" in case else None,
        zone=SHANGHAI,
        cap=None,
    )
    said = {
        "window": f"{found.window_first}..{found.window_last}",
        "judged": len(found.months),
        "run": found.run_months,
        "months": f"{found.run_first}..{found.run_last}",
        "share": share_text(found.share_millionths),
    }
    expected = {key: case[key] for key in said if key in case}
    assert {key: said[key] for key in expected} == expected
    counted = [name for name in found.evidence if name[:7] in case.get("good", ())]
    assert len(counted) == len(found.evidence) == 3 * case["run"]


def test_a_month_before_the_programmes_targets_is_refused() -> None:
    with pytest.raises(NoTargetInForce, match="2017-12-01"):
        assess_months({}, programmes().named("diabetes-glucose"), (), [date(2017, 12, 1)], SHANGHAI)


def test_who_vouches_for_a_reading_ranks_in_three_steps() -> None:
    assert [one.rank for one in Provenance] == [0, 0, 1, 2]


def test_the_last_value_that_a_meter_shows_is_plausible_and_the_next_is_not() -> None:
    for kind, last, beyond in (("hba1c", "20.0", "20.1"), ("systolic", "300", "301")):
        assert isinstance(measure(written(kind, last)), Measured)
        assert not isinstance(measure(written(kind, beyond)), Measured)


def test_a_reading_without_a_device_is_written_as_before_there_were_devices() -> None:
    """What was sealed and fingerprinted then must read and compare alike."""
    said = written("hba1c", "7.0")
    assert b"device" not in msgspec.json.encode(said)
    assert msgspec.json.decode(msgspec.json.encode(said), type=Written) == said
    of_a_device = msgspec.structs.replace(said, device="meter-1")
    kept = msgspec.json.decode(msgspec.json.encode(of_a_device), type=Written)
    assert kept == of_a_device
    assert kept != said
