"""Amounts are exact, or refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import (
    MAX_MINOR_UNITS,
    currency_exponent,
    format_minor,
    minor_units,
    parse_decimal,
    round_half_up,
    spread,
)

amounts = st.integers(-MAX_MINOR_UNITS, MAX_MINOR_UNITS)
weights = st.lists(st.integers(0, 10**12), max_size=12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "-",
        "--1",
        "01",
        "00",
        "-01.5",
        ".5",
        "5.",
        "1.",
        "1_000",
        "1,000",
        "1'000",
        "1e3",
        "1E3",
        "1e400",
        "1e-2",
        "0x10",
        "NaN",
        "-NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "１２",  # full-width
        "1２",
        "١٢",  # Arabic-Indic
        "１２．５０",
        "−1",  # U+2212
        "1.2.3",
        "12元",
        "¥12",
        "(1)",
        "1/2",
        "9" * 19,
        "1" * 1_000_000,
        "0." + "1" * 19,
        "\x001",
        "\ud800",
    ],
)
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="price is not a plain decimal"):
        parse_decimal(text, places=18, what="price")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Decimal(0)),
        ("-0", Decimal(0)),
        ("12.50", Decimal("12.50")),
        ("-12.5", Decimal("-12.5")),
        ("9" * 18, Decimal("9" * 18)),
        ("0.000000000000000001", Decimal("1e-18")),
    ],
)
def test_a_plain_decimal_is_read(text: str, value: Decimal) -> None:
    read = parse_decimal(text, places=18, what="price")
    assert read == value
    assert read.as_tuple().exponent == value.as_tuple().exponent


def test_more_places_than_allowed_are_refused_even_if_they_are_zero() -> None:
    assert parse_decimal("1.23", places=2, what="price") == Decimal("1.23")
    with pytest.raises(ValueError, match="price has more than 2 decimal places"):
        parse_decimal("1.230", places=2, what="price")


@given(st.text(max_size=12))
def test_any_text_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        read = parse_decimal(text, places=18, what="x")
    except ValueError:
        return
    assert text.isascii()
    assert read == Decimal(text)


@given(amounts, st.sampled_from(["CNY", "USD", "JPY"]))
def test_minor_units_survive_text_and_back(amount: int, currency: str) -> None:
    text = format_minor(amount, currency)
    places = currency_exponent(currency)
    assert minor_units(parse_decimal(text, places=places, what="amount"), currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "fault"),
    [
        ("12.345", "CNY", "not a whole number"),
        ("0.5", "JPY", "not a whole number"),
        # 31 digits: the default context would round the fraction away and call it exact.
        ("1234567890123.000000000000000001", "CNY", "not a whole number"),
        ("1E-400", "CNY", "not a whole number"),
        ("10000000000000.01", "CNY", "out of range"),
        ("1E+400", "CNY", "out of range"),
        ("1E+999999", "CNY", "out of range"),
        ("NaN", "CNY", "out of range"),
        ("sNaN", "CNY", "out of range"),
        ("-Infinity", "CNY", "out of range"),
    ],
)
def test_an_inexact_or_boundless_amount_has_no_minor_units(
    amount: str, currency: str, fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        minor_units(Decimal(amount), currency)


def test_bounds_and_trailing_zeros_are_taken() -> None:
    assert minor_units(Decimal("10000000000000.00"), "CNY") == MAX_MINOR_UNITS
    assert minor_units(Decimal("1." + "0" * 50), "CNY") == 100
    assert minor_units(Decimal("1E+2"), "JPY") == 100
    assert minor_units(Decimal("0E+999"), "CNY") == 0


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(KeyError):
        minor_units(Decimal(1), "XXX")


@given(st.decimals(-(10**9), 10**9, places=4))
def test_half_goes_away_from_zero(value: Decimal) -> None:
    exact = Fraction(value)
    nearest = round_half_up(value)
    assert abs(nearest - exact) <= Fraction(1, 2)
    if abs(nearest - exact) == Fraction(1, 2):
        assert abs(nearest) > abs(exact)
    assert round_half_up(-value) == -nearest


@given(amounts, weights)
def test_parts_add_up_and_differ_from_their_share_by_less_than_one(
    total: int, weights: list[int]
) -> None:
    parts = spread(total, weights)
    whole = sum(weights)
    assert len(parts) == len(weights)
    if not whole:
        assert parts == [0] * len(weights)
        return
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, whole)) < 1
        assert weight or part == 0
    assert spread(-total, weights) == [-part for part in parts]


@given(st.integers(0, 10**9), weights)
def test_the_largest_remainders_get_what_is_left_and_ties_go_in_order(
    total: int, weights: list[int]
) -> None:
    whole = sum(weights)
    if not whole:
        return
    rounded_up = {
        i: -(total * weight % whole)
        for i, weight in enumerate(weights)
        if spread(total, weights)[i] > total * weight // whole
    }
    ranked = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    assert sorted(rounded_up, key=lambda i: (rounded_up[i], i)) == ranked[: len(rounded_up)]


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        spread(10, [3, -1])
