"""Exact money: decimals in, whole minor units out. Knows no plan, no ledger and no wire."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow

# ISO 4217 exponents of the currencies that plans may use.
_EXPONENTS = {
    "CNY": 2,
    "EUR": 2,
    "GBP": 2,
    "HKD": 2,
    "JPY": 0,
    "KRW": 0,
    "MOP": 2,
    "SGD": 2,
    "TWD": 2,
    "USD": 2,
}
# Decimal() itself accepts full-width digits, "1_000", "1e400" and "NaN"; amounts never do.
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?", re.ASCII)
MAX_MINOR_UNITS = 10**15
# The default context rounds to 28 digits without a word, and a fraction would look whole.
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation, Overflow])
_ONE = Decimal(1)


class TooLarge(ValueError):
    """An amount above MAX_MINOR_UNITS."""


def currencies() -> tuple[str, ...]:
    """The ISO 4217 codes of the currencies that plans may use."""
    return tuple(_EXPONENTS)


def currency_exponent(currency: str) -> int:
    """Decimal places of a currency's minor unit.

    Raises: KeyError when the currency is not one that plans may use.
    """
    return _EXPONENTS[currency]


def parse_decimal(text: str, *, places: int, what: str) -> Decimal:
    """Read a plain ASCII decimal with at most `places` decimal places.

    >>> parse_decimal("12.50", places=2, what="price")
    Decimal('12.50')

    Raises: ValueError, naming `what`, for signs other than a leading minus, exponents, NaN,
    group separators, non-ASCII digits, leading zeros or too many places.
    """
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{what} is not a plain decimal such as 12.50")
    value = Decimal(text)
    if -int(value.as_tuple().exponent) > places:
        raise ValueError(f"{what} has more than {places} decimal places")
    return value


def minor_units(amount: Decimal, currency: str) -> int:
    """Exact minor units of an amount in major units.

    Raises: TooLarge when the amount is out of range; ValueError when it has a fraction of a minor
    unit; KeyError for an unknown currency.
    """
    places = currency_exponent(currency)
    if not amount.is_finite() or (amount and amount.adjusted() + places > 18):
        raise TooLarge(f"{amount} is out of range")
    try:
        scaled = int(_EXACT.quantize(_EXACT.scaleb(amount, places), Decimal(1)))
    except ArithmeticError:
        text = f"{amount} is not a whole number of minor units of {currency}"
        raise ValueError(text) from None
    if abs(scaled) > MAX_MINOR_UNITS:
        raise TooLarge(f"{amount} is out of range")
    return scaled


def round_half_up(value: Decimal) -> int:
    """Nearest whole number; a half goes away from zero.

    >>> round_half_up(Decimal("2.5")), round_half_up(Decimal("-2.5"))
    (3, -3)
    """
    return int(value.quantize(_ONE, rounding=ROUND_HALF_UP))


def format_minor(amount: int, currency: str) -> str:
    """Amount in major units as plain text.

    >>> format_minor(-1205, "CNY")
    '-12.05'
    """
    places = currency_exponent(currency)
    if places == 0:
        return str(amount)
    whole, rest = divmod(abs(amount), 10**places)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:0{places}d}"


def grouped_minor(amount: int, currency: str) -> str:
    """Amount in major units for people, thousands parted by commas.

    >>> grouped_minor(-123456705, "CNY"), grouped_minor(1200, "JPY")
    ('-1,234,567.05', '1,200')
    """
    whole, point, rest = format_minor(amount, currency).partition(".")
    return f"{int(whole):,}{point}{rest}" if whole != "-0" else f"-0{point}{rest}"


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `weights`: largest remainder first, ties in order.

    The parts are whole numbers and add up to `total` exactly; all weights 0 give all parts 0. A
    negative total gives the same parts with the other sign, so that a reversal undoes its original.

    >>> spread(10, [1, 1, 1]), spread(-10, [1, 1, 1])
    ([4, 3, 3], [-4, -3, -3])

    Raises: ValueError for a negative weight.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights must not be negative")
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    if total < 0:
        return [-part for part in spread(-total, weights)]
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    missing = total - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-remainders[i], i))
    for i in by_remainder[:missing]:
        parts[i] += 1
    return parts
