"""One policy's renewal, step by step; the differences add up to its premium."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.arithmetic import BILLION
from services.pricing.core.features import read
from services.pricing.core.quote import Asked, priced_renewal
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.renewal import (
    COLLAR,
    OFF_BALANCE,
    BookFactor,
    Expiring,
    Renewal,
    bounds_e4,
    bounds_minor,
    collar_of,
    renewed,
    wider_than_own,
)
from services.pricing.core.tariff import Basis, Collar
from services.pricing.core.waterfall import Waterfall, price
from services.pricing.tariffs.loader import example_tariffs, load_folder
from tests.services.pricing.proposals import proposal

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
    found = renewed(technical(), k, bounds_e4(3_500_00, _COLLAR), 1)
    assert found.premium_minor == premium
    assert [(s.label.step, s.label.cell) for s in found.steps[-3:]] == [
        (OFF_BALANCE, ""),
        (COLLAR, cell),
        ("rounding", ""),
    ]
    assert {step.label.factor_millionths for step in found.steps[-3:]} == {0}


@given(
    st.integers(1, 1_000 * BILLION - 1),
    st.integers(1, 20_000_00),
    st.sampled_from([1, 10, 100, 1_000]),
)
def test_steps_add_up_and_no_rounding_leaves_the_collar(k: int, expiring: int, unit: int) -> None:
    least, most = bounds_minor(expiring, _COLLAR)
    found = renewed(technical(), k, bounds_e4(expiring, _COLLAR), unit)
    assert sum(step.difference_e4 for step in found.steps) == found.premium_minor * 10_000
    assert least <= found.premium_minor <= most
    assert found.premium_minor % unit == 0 or found.premium_minor in (least, most)


def test_without_a_books_factor_the_step_says_so_and_moves_nothing() -> None:
    bounds = bounds_e4(3_500_00, _COLLAR)
    found = renewed(technical(), None, bounds, 1)
    by_one = renewed(technical(), BILLION, bounds, 1)
    step, other = found.steps[-3], by_one.steps[-3]
    assert (step.label.step, step.label.cell, step.difference_e4) == (OFF_BALANCE, "none given", 0)
    assert step.label.factor_millionths == 0
    assert step.premium_e4 == other.premium_e4
    assert "no book's factor was given" in step.label.text_en
    assert (other.label.text_en, other.label.cell) == ("Off-balance factor 1", "")
    assert found.premium_minor == by_one.premium_minor


OWN = compile_rates(proposal()[0])
NARROW = Collar(least_millionths=900_000, greatest_millionths=1_100_000, source="a test")


def _collar(least: int, greatest: int) -> Collar:
    return Collar(least_millionths=least, greatest_millionths=greatest, source="a test")


def test_the_collar_is_the_one_that_was_stated_else_the_tariffs_own() -> None:
    basis = OWN.tariff.basis
    assert isinstance(basis, Basis)
    assert collar_of(NARROW, OWN.tariff) is NARROW
    assert collar_of(None, OWN.tariff) is basis.collar
    assert collar_of(NARROW, _RATES.tariff) is NARROW
    assert collar_of(None, _RATES.tariff) is None  # of format 1


def test_a_collar_goes_beyond_the_tariffs_own_at_either_end() -> None:
    own = collar_of(None, OWN.tariff)
    assert own is not None
    assert (own.least_millionths, own.greatest_millionths) == (800_000, 1_250_000)
    for within in (_collar(800_000, 1_250_000), NARROW, None):
        assert not wider_than_own(within, OWN.tariff)
    for beyond in (_collar(799_999, 1_250_000), _collar(800_000, 1_250_001)):
        assert wider_than_own(beyond, OWN.tariff)
        assert not wider_than_own(beyond, _RATES.tariff)  # has none to go beyond


def _priced(expiring: Expiring | None, rates: Rates = OWN) -> tuple[Waterfall, Renewal]:
    person = {"age": "52", "sex": "F", "condition": "type2_diabetes"}
    asked = Asked("p", "t", "2026-01-01", person, expiring=expiring)
    return priced_renewal(asked, rates, read(rates.tariff.features, person).values, "controlled")


def _expiring(factor: BookFactor | None = None, collar: Collar | None = None) -> Expiring:
    return Expiring(
        last_date="2025-12-31",
        uncredited_minor=3_500_00,
        currency="CNY",
        factor=factor,
        collar=collar,
    )


def test_a_renewal_is_priced_by_the_books_factor_within_the_collar_that_holds() -> None:
    waterfall, plain = _priced(_expiring())
    assert (plain.least_minor, plain.most_minor) == (2_800_00, 4_375_00)
    assert (plain.tier, plain.collar) == ("controlled", collar_of(None, OWN.tariff))
    assert waterfall.premium_minor == plain.technical_minor
    book = BookFactor(900_000_000, "a renewal")
    scaled, same = _priced(_expiring(book))
    assert same == plain
    assert abs(scaled.premium_minor - plain.technical_minor * 9 / 10) <= 0.5
    held, stated = _priced(_expiring(book, NARROW))
    assert (stated.least_minor, stated.most_minor) == (3_150_00, 3_850_00)
    assert held.premium_minor == max(3_150_00, scaled.premium_minor)


def test_nothing_is_renewed_without_what_expires_or_without_a_collar() -> None:
    for expiring, rates in ((None, OWN), (None, _RATES), (_expiring(), _RATES)):
        with pytest.raises(LookupError, match="without a collar reached the kernel"):
            _priced(expiring, rates)
    assert _priced(_expiring(collar=NARROW), _RATES)[1].collar is NARROW
