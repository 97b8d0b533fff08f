"""What a caller may write as a feature, and what is refused without being repeated."""

from __future__ import annotations

import msgspec
import pytest

from services.pricing.core.features import outcome_features, read
from services.pricing.core.tariff import NumericFeature
from tests.services.pricing.at_hand import WOMAN_52, demo_rates

FEATURES = demo_rates().tariff.features


def test_values_come_out_in_steps_of_their_feature() -> None:
    found = read(FEATURES, {**WOMAN_52, "systolic_mmhg": "128.5"})
    assert found.faults == ()
    assert found.values == (52, 0, 1, 72, 129)


def test_what_may_be_left_out_stays_out() -> None:
    found = read(FEATURES, {"age": "52", "sex": "M", "condition": "hypertension"})
    assert found.faults == ()
    assert found.values == (52, 1, 0, None, None)


@pytest.mark.parametrize(
    ("feature", "text", "reason"),
    [
        ("age", "", "BAD_DECIMAL"),
        ("age", "５２", "BAD_DECIMAL"),  # full-width digits
        ("age", "٥٢", "BAD_DECIMAL"),  # Arabic-Indic digits
        ("age", "NaN", "BAD_DECIMAL"),
        ("age", "Infinity", "BAD_DECIMAL"),
        ("age", "1e400", "BAD_DECIMAL"),
        ("age", "5e1", "BAD_DECIMAL"),
        ("age", "1_0", "BAD_DECIMAL"),
        ("age", "+52", "BAD_DECIMAL"),
        ("age", " 52", "BAD_DECIMAL"),
        ("age", "52\n", "BAD_DECIMAL"),
        ("age", "052", "BAD_DECIMAL"),
        ("age", "0x34", "BAD_DECIMAL"),
        ("age", "9" * 400, "BAD_DECIMAL"),
        ("age", "52.5", "TOO_FINE"),  # completed years are never rounded up
        ("age", "-1", "OUT_OF_BOUNDS"),
        ("age", "131", "OUT_OF_BOUNDS"),
        ("age", "999999999999999999", "OUT_OF_BOUNDS"),
        ("age", "17", "NOT_PRICED"),
        ("age", "80", "NOT_PRICED"),
        ("hba1c_percent", "7,2", "BAD_DECIMAL"),
        ("hba1c_percent", "55", "OUT_OF_BOUNDS"),  # mmol/mol instead of %
        ("hba1c_percent", "2.94", "OUT_OF_BOUNDS"),
        ("hba1c_percent", "20.05", "OUT_OF_BOUNDS"),
        ("hba1c_percent", "7.0000001", "BAD_DECIMAL"),
        ("systolic_mmhg", "0", "OUT_OF_BOUNDS"),
        ("systolic_mmhg", "13682", "OUT_OF_BOUNDS"),
        ("sex", "f", "UNKNOWN_LEVEL"),
        ("sex", "", "UNKNOWN_LEVEL"),
        ("sex", "女", "UNKNOWN_LEVEL"),
        ("condition", "asthma", "UNKNOWN_LEVEL"),
        ("condition", "type1_diabetes", "NOT_PRICED"),
    ],
)
def test_a_bad_value_is_named_by_its_feature_and_not_repeated(
    feature: str, text: str, reason: str
) -> None:
    found = read(FEATURES, {**WOMAN_52, feature: text})
    assert [(fault.feature, fault.reason) for fault in found.faults] == [(feature, reason)]
    if len(text) > 3 and feature != "condition":
        assert text.strip() not in found.faults[0].text


@pytest.mark.parametrize(("text", "steps"), [("2.95", 30), ("20.04", 200), ("7", 70), ("-0", None)])
def test_rounding_comes_before_the_bounds(text: str, steps: int | None) -> None:
    found = read(FEATURES, {**WOMAN_52, "hba1c_percent": text})
    assert found.values[3] == steps
    assert bool(found.faults) == (steps is None)


def test_all_faults_come_at_once() -> None:
    found = read(
        FEATURES, {"sox": "F", "age": "NaN", "hba1c_percent": "1e400", "systolic_mmhg": "0"}
    )
    assert {(fault.feature, fault.reason) for fault in found.faults} == {
        ("age", "BAD_DECIMAL"),
        ("sex", "MISSING_FEATURE"),
        ("condition", "MISSING_FEATURE"),
        ("hba1c_percent", "BAD_DECIMAL"),
        ("systolic_mmhg", "OUT_OF_BOUNDS"),
        ("sox", "UNKNOWN_FEATURE"),
    }
    assert "did you mean sex?" in found.faults[-1].text


def test_a_flood_of_unknown_features_is_counted_and_not_listed() -> None:
    flood = {f"x{index:04}": "1" for index in range(1_000)}
    found = read(FEATURES, {**WOMAN_52, **flood})
    assert len(found.faults) == 9
    assert "992 more" in found.faults[-1].text


def test_eight_unknown_features_are_all_listed() -> None:
    found = read(FEATURES, {**WOMAN_52, **{f"x{index}": "1" for index in range(8)}})
    assert [fault.feature for fault in found.faults] == [f"x{index}" for index in range(8)]


def test_only_what_the_outcome_layer_prices_says_how_well_a_disease_is_controlled() -> None:
    assert outcome_features(demo_rates().tariff) == {"hba1c_percent", "systolic_mmhg"}


def test_what_is_too_fine_is_told_the_places_that_count() -> None:
    age, *others = FEATURES
    assert isinstance(age, NumericFeature)
    (whole,) = read(FEATURES, {**WOMAN_52, "age": "52.5"}).faults
    assert whole.text == "age is given in whole numbers"
    edges = {"plausible_first": "0.00", "plausible_last": "130.00"}
    priced = {"priced_first": "18.00", "priced_last": "79.00"}
    finer = msgspec.structs.replace(age, places=2, **edges, **priced)
    (told,) = read((finer, *others), {**WOMAN_52, "age": "52.125"}).faults
    assert told.text == "age is given in 2 decimal places"
