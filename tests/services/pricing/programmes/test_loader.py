"""Programme files: what the examples say, and every fault at once with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from services.common.strict_yaml import StrictYamlError
from services.pricing.core.programme import (
    Measure,
    NoTargetInForce,
    Programme,
    UnknownProgramme,
    programme_version,
)
from services.pricing.core.readings import Measured, Quantity
from services.pricing.core.tariff import canonical_bytes
from services.pricing.programmes.loader import (
    ProgrammeRefused,
    example_programmes,
    load_programmes,
    parse_programme,
)

GLUCOSE = example_programmes() / "diabetes-glucose.yaml"
DAY = date(2025, 3, 1)


def texts(programme: Programme) -> dict[str, str]:
    targets = programme.targets_on(DAY)
    return {measure.value: target.text(measure) for measure, target in targets.items()}


def test_the_examples_hold_the_guidelines_targets_and_the_products_promise() -> None:
    found = load_programmes(example_programmes())
    glucose, pressure = (found.named(n) for n in ("diabetes-glucose", "hypertension-pressure"))
    assert texts(glucose) == {
        "hba1c": "<7.0",
        "fasting_glucose": "4.4-7.0",
        "non_fasting_glucose": "<10.0",
    }
    assert texts(pressure) == {
        "home_systolic": "<135",
        "home_diastolic": "<85",
        "clinic_systolic": "<140",
        "clinic_diastolic": "<90",
    }
    assert glucose.low_glucose_on(DAY) == 39
    assert pressure.low_glucose_on(DAY) is None
    for programme in (glucose, pressure):
        steps = programme.steps_on(DAY)
        assert [steps.share_of(run) for run in (0, 1, 2, 3, 4, 12)] == [
            0,
            30_000,
            60_000,
            100_000,
            100_000,
            100_000,
        ]
    assert glucose.conditions == ("type2_diabetes", "both")
    assert pressure.conditions == ("hypertension", "both")


def test_a_programme_is_named_by_its_content() -> None:
    one = parse_programme(GLUCOSE.read_bytes(), "one.yaml")
    commented = parse_programme(b"# another comment\n" + GLUCOSE.read_bytes(), "one.yaml")
    other = parse_programme(GLUCOSE.read_bytes().replace(b'"7.0", source', b'"6.5", source'), "o")
    assert programme_version(one) == programme_version(commented)
    assert programme_version(one) != programme_version(other)
    kept = msgspec.json.decode(canonical_bytes(one), type=Programme)
    assert programme_version(kept) == programme_version(one)


def test_a_programme_is_found_by_id_and_by_version() -> None:
    found = load_programmes(example_programmes())
    for version, programme in found.versions().items():
        assert found.named(version) is found.named(programme.id) is programme
    with pytest.raises(UnknownProgramme):
        found.named("another")


@pytest.mark.parametrize(("value", "is_low"), [(38, True), (39, False)])
def test_any_programme_sends_a_coach(value: int, is_low: bool) -> None:
    found = load_programmes(example_programmes())
    assert found.is_low_glucose(Measured(Quantity.GLUCOSE, value, False), DAY) is is_low
    assert not found.is_low_glucose(Measured(Quantity.HBA1C, 30, False), DAY)
    assert not found.is_low_glucose(Measured(Quantity.GLUCOSE, value, False), date(2000, 1, 1))


def test_a_change_is_a_new_line_and_null_ends_a_target() -> None:
    text = GLUCOSE.read_text("utf-8")
    dated = (
        text.replace(
            "fasting_glucose:  # mmol/L, both",
            'fasting_glucose:\n    2017-01-01: {below: "8.0", source: s}  #',
        )
        .replace("  fasting_glucose:", "  hba1c_end: null\n  fasting_glucose:")
        .replace("  hba1c_end: null\n", "    2025-01-01: null\n")
    )
    found = parse_programme(dated.encode(), "dated.yaml")
    assert Measure.HBA1C in found.targets_on(date(2024, 12, 31))
    assert Measure.HBA1C not in found.targets_on(date(2025, 1, 1))
    with pytest.raises(NoTargetInForce):
        found.targets_on(date(2017, 6, 1))


FAULTY = b"""id: Bad Id
title: {zh: x, en: "", fr: x}
conditions: []
targets:
  hba1c:
    2025-01-01: {below: "7", at_most: "8.0", source: s}
    2024-01-01: {at_least: "8.0", below: "7.0", source: s}
    2025-02-30: null
  glucose: {}
  fasting_glucose:
    2025-01-01: {below: 7, source: s}
    2026-01-01: yesterday
  home_systolic:
    2025-01-01: {source: s}
incentive:
  2025-01-01: {steps: {1: "0.06", 2: "0.03", 3: "1.0"}, source: s}
  2026-01-01: {steps: {2: "0.03"}}
more: 1
"""


def test_every_fault_comes_at_once_with_its_line() -> None:
    with pytest.raises(StrictYamlError) as refused:
        parse_programme(FAULTY, "faulty.yaml")
    found = [(fault.line, fault.path, fault.reason) for fault in refused.value.faults]
    assert found == [
        (1, "id", "TEXT"),
        (1, "low_glucose", "MISSING"),
        (2, "title.en", "TEXT"),
        (2, "title.fr", "UNKNOWN_KEY"),
        (3, "conditions", "TEXTS"),
        (5, "targets.hba1c", "DATES"),
        (6, "targets.hba1c.2025-01-01", "BOUNDS"),
        (6, "targets.hba1c.2025-01-01.below", "BOUND"),
        (7, "targets.hba1c.2024-01-01", "BOUNDS"),
        (8, "targets.hba1c.2025-02-30", "DATE"),
        (9, "targets.glucose", "UNKNOWN_KEY"),
        (11, "targets.fasting_glucose.2025-01-01.below", "BOUND"),
        (12, "targets.fasting_glucose.2026-01-01", "MAPPING"),
        (13, "targets.home_systolic", "PAIR_MISSING"),
        (14, "targets.home_systolic.2025-01-01", "BOUNDS"),
        (16, "incentive.2025-01-01.steps", "STEPS"),
        (16, "incentive.2025-01-01.steps.3", "SHARE"),
        (17, "incentive.2026-01-01.source", "TEXT"),
        (17, "incentive.2026-01-01.steps", "STEPS"),
        (18, "more", "UNKNOWN_KEY"),
    ]
    assert str(refused.value).startswith("faulty.yaml:1: id: ")


def test_a_target_that_no_reading_could_miss_and_none_at_all_are_refused() -> None:
    content = GLUCOSE.read_text("utf-8")
    wide = content.replace('below: "7.0"', 'below: "999.9"', 1)
    assert wide != content
    with pytest.raises(StrictYamlError) as refused:
        parse_programme(wide.encode(), "wide.yaml")
    assert [fault.reason for fault in refused.value.faults] == ["OUT_OF_BOUNDS"]
    with pytest.raises(StrictYamlError) as refused:
        parse_programme(b"id: empty\ntargets: {}\n", "empty.yaml")
    assert ("targets", "MISSING") in [(f.path, f.reason) for f in refused.value.faults]


@pytest.mark.parametrize("content", [b"", b"id: a\nid: b\n", b"\xff", b"- 1\n", b"id: 0.5\n"])
def test_what_is_no_programme_is_refused(content: bytes) -> None:
    with pytest.raises(StrictYamlError):
        parse_programme(content, "none.yaml")


def test_one_bad_file_refuses_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(GLUCOSE.read_bytes())
    assert load_programmes(tmp_path).named("diabetes-glucose").id == "diabetes-glucose"
    (tmp_path / "b.yaml").write_bytes(GLUCOSE.read_bytes())
    (tmp_path / "c.yaml").write_bytes(b"id: c\n")
    with pytest.raises(ProgrammeRefused) as refused:
        load_programmes(tmp_path)
    assert "b.yaml: programme diabetes-glucose stands in another file too" in str(refused.value)
    assert "c.yaml:1: targets" in str(refused.value)
    with pytest.raises(ProgrammeRefused, match="holds no programme"):
        load_programmes(tmp_path / "nowhere")
