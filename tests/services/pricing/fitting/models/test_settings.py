"""Section `fit` of pricing.yaml: its template, its defaults, and everything that it refuses."""

from __future__ import annotations

import math

import pytest

from services.common.strict_yaml import Fault, YamlMap, load
from services.pricing.fitting.models.factors import Bands
from services.pricing.fitting.models.settings import TEMPLATE, FitSettings, read_fit
from services.pricing.fitting.section import Section


def read(text: str) -> tuple[FitSettings, list[Fault]]:
    faults: list[Fault] = []
    section = Section(load(text, "pricing.yaml")["fit"], "fit", faults)
    found = read_fit(section)
    section.done()
    return found, faults


def test_the_template_is_what_stands_when_nothing_is_written() -> None:
    written, faults = read(TEMPLATE)
    empty = YamlMap()
    empty.line, empty.lines = 1, {}
    assert not faults
    assert read_fit(Section(empty, "fit", [])) == written


def test_bands_end_where_the_next_begins() -> None:
    shape = read(TEMPLATE)[0].factors["hba1c"].shape
    assert isinstance(shape, Bands)
    assert shape.edges[:2] == (("3.0", "6.9"), ("7.0", "7.4"))
    assert shape.edges[-1] == ("8.0", "20.0")


def test_the_template_s_outcomes_together_take_off_no_more_than_a_cap_of_a_fifth() -> None:
    controls = [one.control for one in read(TEMPLATE)[0].factors.values() if one.control]
    assert len(controls) == 2
    assert math.prod(control.least for control in controls) >= 0.80
    assert math.prod(1 / (1 + control.one_reading_at_most) for control in controls) >= 0.80


@pytest.mark.parametrize(
    ("before", "after", "path", "reason"),
    [
        ("        one_reading_at_most: '0.14'\n", "", "one_reading_at_most", "MISSING"),
        ("        flat_below: '7.0'\n", "", "flat_below", "MISSING"),
        ("        least: '0.87'\n", "", "least", "MISSING"),
        ("flat_below: '7.0'", "flat_below: '7.5'", "hba1c.bands", "NOT_FLAT"),
        ("flat_below: '7.0'", "flat_below: '3.0'", "hba1c.outcome", "NOTHING_BELOW"),
        (  # above the least plausible value, and still below every value that has a price
            "bands: ['3.0', '7.0', '7.5', '8.0']\n",
            "bands: ['7.0', '7.5', '8.0']\n      plausible: ['3.0', '20.0']\n",
            "hba1c.outcome",
            "NOTHING_BELOW",
        ),
        ("monotone: rising", "monotone: falling", "hba1c.monotone", "NOT_RISING"),
        ("['18', '30',", "['30', '18',", "age.bands", "EDGES"),
        ("['3.0', '7.0',", "['3', '7.0',", "hba1c.bands", "EDGES"),
        ("severity: [age, sex]", "severity: [age, weight]", "severity", "UNKNOWN_FACTOR"),
        ("severity: [age, sex]", "severity: [hba1c]", "severity", "OUTCOME_IN_SEVERITY"),
        ("target_loss_ratio: '0.70'", "target_loss_ratio: '0.90'", "loss", "TARGET_OUT_OF_REACH"),
        ("  thin_claims: 100", "  thin_claims: 0", "thin_claims", "WHOLE"),
        ("    sex:\n", "    Sex-Factor:\n", "Sex-Factor", "NAME"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    before: str, after: str, path: str, reason: str
) -> None:
    assert before in TEMPLATE
    faults = read(TEMPLATE.replace(before, after, 1))[1]
    assert [fault for fault in faults if path in fault.path and fault.reason == reason]


def test_a_biometric_stands_in_one_layer_only() -> None:
    """The latest reading as a risk factor beside its 12-month mean would count control twice."""
    risk = """\
    latest:
      column: hba1c_percent
      places: 1
      biometric: true
      bands: ['3.0', '7.0']
      last: '20.0'
"""
    faults = read(TEMPLATE.replace("    sex:\n", f"{risk}    sex:\n", 1))[1]
    assert [fault.reason for fault in faults] == ["BIOMETRIC_IN_TWO_LAYERS"]
