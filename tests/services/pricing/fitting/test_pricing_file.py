"""pricing.yaml: what `init` writes is the defaults; every fault comes at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.strict_yaml import Fault, StrictYamlError, load
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.experience.settings import StudySettings
from services.pricing.fitting.pricing_file import (
    SECTIONS,
    PricingFile,
    parse_pricing_file,
    template,
)
from services.pricing.fitting.renewal.settings import RENEWAL, RenewalSettings
from services.pricing.fitting.section import Section
from services.pricing.fitting.simulated.settings import SimulateSettings


def parsed(text: str) -> PricingFile:
    return parse_pricing_file(text.encode(), Path("pricing.yaml"))


def faults(text: str) -> list[str]:
    with pytest.raises(StrictYamlError) as refused:
        parsed(text)
    return [f"{one.line}: {one.path}: {one.reason}" for one in refused.value.faults]


def test_the_template_holds_every_section_and_no_fault() -> None:
    found = parsed(template())
    assert list(found.sections) == list(SECTIONS)


@pytest.mark.parametrize("kind", [BookSettings, SimulateSettings])
def test_what_is_left_out_is_what_the_template_writes(kind: type[object]) -> None:
    assert parsed("format: 1\n").of(kind) == parsed(template()).of(kind)


def test_a_study_without_trend_has_none() -> None:
    written, left_out = (
        parsed(template()).of(StudySettings),
        parsed("format: 1\n").of(StudySettings),
    )
    assert left_out.trend == {}
    assert left_out.first_day == written.first_day
    assert left_out.holdout_person_share == written.holdout_person_share


def test_all_faults_come_at_once_with_their_lines() -> None:
    text = """\
format: 2
book:
  zone: localtime
  valuation_day: 2026-02-30
  causes: [inpatient, inpatient]
  tables:
    peoples: {file: x.csv}
    claims: {columns: {amount: AMT}}
  folders: book
simulate: {people: 0, seed: a, programme_effect: 0.8}
study:
  first_day: 2026-01-01
  trend: {yearly: {injury: {2024-01-01: '0.06', 2023-01-01: '0.05'}}}
  development: {injury: {counts: ['0.9', '0.8', '1'], amounts: ['1']}}
  outcome: {reading_window_months: 5}
studies: {}
"""
    assert faults(text) == [
        "1: format: WHOLE",
        "3: book.zone: ZONE",
        "4: book.valuation_day: DAY",
        "5: book.causes: TEXTS",
        "7: book.tables.peoples: UNKNOWN_TABLE",
        "8: book.tables.claims.columns: UNKNOWN_COLUMN",
        "9: book.folders: UNKNOWN_KEY",
        "10: simulate.people: WHOLE",
        "10: simulate.programme_effect: FLOAT",
        "10: simulate.seed: WHOLE",
        "12: study.after_day: DAYS",
        "13: study.trend.source: MISSING",
        "13: study.trend.yearly.injury.2024-01-01: DATES",
        "14: study.development.injury.counts: SHARES",
        "14: study.development.source: MISSING",
        "15: study.outcome.reading_window_months: WINDOW",
        "16: studies: UNKNOWN_KEY",
    ]


def test_a_study_of_a_cause_that_the_book_does_not_have_is_refused() -> None:
    """A misspelt cause would be without trend, cap and development, and nobody would know."""
    text = """\
format: 1
book: {causes: [inpatient]}
study:
  trend:
    yearly:
      impatient: {2024-01-01: '0.06'}
    source: us
  development:
    source: us
    inpatient.: {counts: ['0.9', '1'], amounts: ['1']}
  large_loss_minor:
    outpatient: 100
"""
    assert faults(text) == [
        "6: study.trend.yearly.impatient: UNKNOWN_CAUSE",
        "10: study.development.inpatient.: UNKNOWN_CAUSE",
        "12: study.large_loss_minor.outpatient: UNKNOWN_CAUSE",
    ]
    named = "book: {causes: [impatient, inpatient., outpatient]}"
    assert parsed(text.replace("book: {causes: [inpatient]}", named)).of(StudySettings).trend


def test_a_renewal_is_told_in_the_tariffs_words_and_says_so_of_the_old_ones() -> None:
    text = "format: 1\nrenewal:\n  collar: {low: '0.85', high: '1.25', source: us}\n"
    assert faults(text + "  legal_cap: {share: '0.2', source: us}\n") == [
        "3: renewal.collar.high: RENAMED",
        "3: renewal.collar.low: RENAMED",
        "4: renewal.legal_cap: RENAMED",
    ]
    found = parsed(text.replace("low", "least").replace("high", "greatest")).of(RenewalSettings)
    assert found.collar is not None
    assert (found.collar.least_millionths, found.collar.greatest_millionths) == (850_000, 1_250_000)


def test_a_valuation_begins_a_quarter() -> None:
    text = "format: 1\nbook: {valuation_day: 2026-02-01}\n"
    assert faults(text) == ["2: book.valuation_day: QUARTER"]
    assert parsed(text.replace("02-01", "04-01")).of(BookSettings).valuation_day.month == 4


def test_a_book_is_not_renewed_with_credits_as_sum_insured() -> None:
    faults: list[Fault] = []
    tree = load(b"credit_as: sum_insured\n", "pricing.yaml")
    RENEWAL.read(Section(tree, "renewal", faults))
    (fault,) = faults
    assert (fault.path, fault.line, fault.reason) == ("renewal.credit_as", 1, "NOT_HERE")
    assert "one by one (QuotePremium)" in fault.text


def test_a_file_says_its_format() -> None:
    assert faults("book: {folder: b}\n") == ["1: format: MISSING"]


def test_given_development_and_frozen_means_are_read() -> None:
    found = parsed(
        """\
format: 1
study:
  development:
    injury: {counts: ['0.5', '1'], amounts: ['0.6', '1']}
    source: reserving 2025
  outcome: {m0: {u_hba1c_percent: {both: '8.41'}}}
"""
    ).of(StudySettings)
    assert found.development["injury"].amounts == (0.6, 1.0)
    assert found.development_source == "reserving 2025"
    assert found.m0 == {("u_hba1c_percent", "both"): 8.41}
