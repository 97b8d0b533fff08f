"""One policy's renewal, step by step; the differences add up to its premium."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.arithmetic import BILLION
from services.pricing.core.features import read
from services.pricing.core.renewal import COLLAR, OFF_BALANCE, bounds_minor, renewed
from services.pricing.core.tariff import Collar
from services.pricing.core.waterfall import Waterfall, price
from services.pricing.tariffs.loader import example_tariffs, load_folder

_RATES = load_folder(example_tariffs()).versions()[0]
_COLLAR = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="a test")


def technical() -> Waterfall:
    """A woman of 52 with diabetes, outcome layer at f(m0): 3,706.80 yuan."""
    person = {"age": "52", "sex": "F", "condition": "type2_diabetes"}
    return price(_RATES, read(_RATES.tariff.features, person).values)


# The gross premium before its rounding is 3,706.7952 yuan (docs/pricing.md's example without a
# reading, 3,706.80); expiring 3,500.00, so that the collar is 2,975.00 to 4,375.00.
@pytest.mark.parametrize(
    ("k", "premium", "cell"),
    [
        (BILLION, 3_706_80, "inside"),
        (900_000_000, 3_336_12, "inside"),
        (700_000_000, 2_975_00, "least"),
        (1_300_000_000, 4_375_00, "most"),
    ],
)
def test_a_premium_is_scaled_and_held_inside_the_collar(k: int, premium: int, cell: str) -> None:
    found = renewed(technical(), k, bounds_minor(3_500_00, _COLLAR), 1)
    assert found.premium_minor == premium
    assert [(s.label.step, s.label.cell) for s in found.steps[-3:]] == [
        (OFF_BALANCE, ""),
        (COLLAR, cell),
        ("rounding", ""),
    ]
    assert {step.label.factor_millionths for step in found.steps[-3:]} == {0}


@given(
    st.integers(1, 9 * BILLION - 1),
    st.integers(1, 20_000_00),
    st.sampled_from([1, 10, 100, 1_000]),
)
def test_steps_add_up_and_no_rounding_leaves_the_collar(k: int, expiring: int, unit: int) -> None:
    least, most = bounds_minor(expiring, _COLLAR)
    found = renewed(technical(), k, (least, most), unit)
    assert sum(step.difference_e4 for step in found.steps) == found.premium_minor * 10_000
    assert least <= found.premium_minor <= most
    assert found.premium_minor % unit == 0 or found.premium_minor in (least, most)
