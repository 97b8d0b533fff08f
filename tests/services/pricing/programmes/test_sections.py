"""The sections on plausibility, adherence and credit: what they hold, and every fault at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from services.common.strict_yaml import StrictYamlError
from services.pricing.core.programme import Programme, Then, programme_version
from services.pricing.core.tariff import canonical_bytes
from services.pricing.programmes.__main__ import main
from services.pricing.programmes.loader import example_programmes, parse_programme

GLUCOSE, PRESSURE = (
    example_programmes() / f"{name}.yaml" for name in ("diabetes-glucose", "hypertension-pressure")
)
DAY = date(2026, 1, 1)


def parsed(path: Path) -> Programme:
    return parse_programme(path.read_bytes(), path.name)


def test_both_examples_note_count_days_and_credit_the_premium() -> None:
    for path, drugs in ((GLUCOSE, ("A10B",)), (PRESSURE, ("C09A", "C09B", "C09C", "C09D"))):
        programme = parsed(path)
        looked_at = programme.plausibility_on(DAY)
        taken = programme.adherence_on(DAY)
        credit_as = programme.credit_as_on(DAY)
        assert looked_at is not None
        assert taken is not None
        assert credit_as is not None
        monthly = looked_at.uploads, looked_at.backdating, looked_at.disagreement
        assert {check.then for check in monthly if check is not None} == {Then.NOTE}
        assert looked_at.gap_days == 14
        assert (taken.drugs, taken.threshold_millionths) == (drugs, 800_000)
        assert taken.recorders == ("hospital", "partner")
        assert not credit_as.is_sum_insured
        kept = msgspec.json.decode(canonical_bytes(programme), type=Programme)
        assert programme_version(kept) == programme_version(programme)
    contradiction = parsed(GLUCOSE).plausibility_on(DAY)
    assert contradiction is not None
    assert contradiction.contradiction is not None
    assert contradiction.contradiction.tolerance_millionths == 400_000


def test_a_file_without_the_sections_looks_at_nothing() -> None:
    text = GLUCOSE.read_text("utf-8")
    bare = text[: text.index("# What is conspicuous")]
    programme = parse_programme(bare.encode(), "bare.yaml")
    assert programme.plausibility_on(DAY) is None
    assert programme.adherence_on(DAY) is None
    assert programme.credit_as_on(DAY) is None


FAULTY = b"""
plausibility:
  2018-01-01: {source: s}
  2019-01-01:
    hba1c_against_glucose: {tolerance: "0", within_months: 13}
    uploads_per_slot: {most: "70", then: wait}
    backdated: {}
    sources: {within_hours: 0, apart: {weight: "1.0", glucose: "3"}, then: hold}
    at_the_target: {widths: {home_systolic: "5"}, least_readings: 9,honest_share: "0.8", then: hold}
    last_digit: {least_readings: 0, honest_share: "1.0", false_alarm: 0.01}
    device_gap: {days: 400, then: hold}
    pulse: {}
adherence:
  2018-01-01:
    drugs: [metformin]
    excluded: [A10A, A10A]
    threshold: "1.2"
    recorders: [doctor]
    steps: {1: "0.02", 2: "0.01"}
credit_as:
  2018-01-01: {take: cash}
  2019-01-01: {take: sum_insured, feature: Sum, multiple_of: -1, source: s}
  2020-01-01: {take: premium, feature: sum_insured_yuan, source: s}
"""


def test_every_fault_of_the_sections_comes_at_once() -> None:
    text = GLUCOSE.read_text("utf-8")
    bare = text[: text.index("# What is conspicuous")].rstrip().encode()
    first = bare.count(b"\n") + 1
    with pytest.raises(StrictYamlError) as refused:
        parse_programme(bare + FAULTY, "faulty.yaml")
    found = [
        (fault.line - first, fault.path.partition(".20")[2][9:], fault.reason)
        for fault in refused.value.faults
    ]
    assert found == [
        (2, "", "MISSING"),
        (4, "hba1c_against_glucose.then", "CHOICE"),
        (4, "hba1c_against_glucose.tolerance", "SHARE"),
        (4, "hba1c_against_glucose.within_months", "WHOLE"),
        (4, "source", "TEXT"),
        (5, "uploads_per_slot.most", "WHOLE"),
        (5, "uploads_per_slot.then", "CHOICE"),
        (6, "backdated.then", "CHOICE"),
        (7, "sources.apart.glucose", "BOUND"),
        (7, "sources.apart.weight", "UNKNOWN_KEY"),
        (7, "sources.within_hours", "WHOLE"),
        (8, "at_the_target.false_alarm", "MISSING"),
        (8, "at_the_target.then", "ONLY_NOTES"),
        (8, "at_the_target.widths.home_systolic", "UNKNOWN_KEY"),
        (9, "last_digit.false_alarm", "FLOAT"),
        (9, "last_digit.honest_share", "SHARE"),
        (9, "last_digit.least_readings", "WHOLE"),
        (10, "device_gap.days", "WHOLE"),
        (10, "device_gap.then", "ONLY_NOTES"),
        (11, "pulse", "UNKNOWN_KEY"),
        (14, "drugs", "TEXTS"),
        (14, "least_fills", "WHOLE"),
        (14, "source", "TEXT"),
        (15, "excluded", "TEXTS"),
        (16, "threshold", "SHARE"),
        (17, "recorders", "TEXTS"),
        (18, "steps", "STEPS"),
        (20, "source", "TEXT"),
        (20, "take", "CHOICE"),
        (21, "at_most", "MISSING"),
        (21, "feature", "TEXT"),
        (21, "multiple_of", "WHOLE"),
        (22, "feature", "UNKNOWN_KEY"),
    ]


def test_glucose_against_hba1c_needs_glucose_and_no_drug_counts_and_excludes() -> None:
    text = PRESSURE.read_text("utf-8")
    check = '    hba1c_against_glucose: {tolerance: "0.40", within_months: 3, then: note}\n'
    odd = text.replace("    uploads_per_slot", f"{check}    uploads_per_slot", 1)
    odd = odd.replace("excluded: [C09DX04]", "excluded: [C09D]", 1)
    with pytest.raises(StrictYamlError) as refused:
        parse_programme(odd.encode(), "odd.yaml")
    assert [(fault.path, fault.reason) for fault in refused.value.faults] == [
        ("plausibility.2018-01-01.hba1c_against_glucose", "NO_TARGET"),
        ("adherence.2018-01-01.excluded", "CONTRADICTS"),
    ]


def test_the_command_names_every_programme_or_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(GLUCOSE), str(PRESSURE)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [programme_version(parsed(p)) for p in (GLUCOSE, PRESSURE)]
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(GLUCOSE.read_bytes().replace(b"then: note", b"then: wait"))
    assert main(["check", str(GLUCOSE), str(bad)]) == 1
    told = capsys.readouterr()
    assert told.err.count("bad.yaml:") == 4
    assert "must be note (shown, changes nothing) or hold" in told.err
    assert main(["check", str(tmp_path / "nowhere.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["seal", str(GLUCOSE)]) == 2
