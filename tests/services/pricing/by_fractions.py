"""A premium by fractions, from a tariff's file alone: an oracle that shares no code with the core.

Every step is exact until it is rounded, half-up, to 10⁻⁴ of a minor unit (docs/conventions.md C).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

E4, MILLION = 10_000, 1_000_000


def half_up(exact: Fraction) -> int:
    return floor(exact + Fraction(1, 2))


def gross_e4(tariff: Mapping[str, Any], person: Mapping[str, str]) -> int:
    """The gross premium before it is rounded to the minor unit, in 10⁻⁴ of one."""
    rounded = {
        feature["name"]: Decimal(person[feature["name"]]).quantize(
            Decimal(1).scaleb(-feature["places"]), ROUND_HALF_UP
        )
        for feature in tariff["features"]
        if feature["kind"] == "numeric" and feature["name"] in person
    }
    total = Fraction(tariff["large_loss_load_e4"] + tariff["fixed_expense_e4"])
    for cause in tariff["causes"]:
        amount = cause["base_e4"]
        for table in cause["tables"]:
            amount = half_up(Fraction(amount * _factor(table, person, rounded), MILLION))
        total += amount
    kept = MILLION - tariff["variable_expense_millionths"] - tariff["profit_millionths"]
    return half_up(total * MILLION / kept)


def premium(tariff: Mapping[str, Any], person: Mapping[str, str]) -> int:
    """The premium in minor units, to the tariff's multiple of them."""
    unit = tariff["rounding"]["to_minor_units"]
    multiples = half_up(Fraction(gross_e4(tariff, person), E4 * unit))
    found: int = multiples * unit
    return found


def renewed(
    gross: int, k_billionths: int, expiring: int, collar: tuple[int, int], credit: int
) -> tuple[int, Fraction, int]:
    """Premium without credit, what counts for the balance (in 10⁻⁴), and premium with credit.

    Of a tariff that rounds to the minor unit; `collar` and `credit` are millionths.
    """
    least = Fraction(expiring * collar[0], MILLION)
    most = Fraction(expiring * collar[1], MILLION)
    scaled = half_up(Fraction(gross * k_billionths, 10**9))
    offered = min(max(scaled, ceil(least * E4)), floor(most * E4))
    uncredited = min(max(half_up(Fraction(offered, E4)), ceil(least)), floor(most))
    off = half_up(Fraction(uncredited * E4 * credit, MILLION))
    counted = offered - half_up(Fraction(offered * credit, MILLION))
    return uncredited, Fraction(counted), half_up(Fraction(uncredited * E4 - off, E4))


def _factor(
    table: Mapping[str, Any], person: Mapping[str, str], rounded: Mapping[str, Decimal]
) -> int:
    about = table["applies_to"]
    if about is not None and person[about["feature"]] not in about["levels"]:
        return MILLION
    name = table["feature"]
    if name not in person:
        absent: int = table["absent_factor_millionths"]
        return absent
    for cell in table["cells"]:
        if table["kind"] == "categories":
            found = cell["level"] == person[name]
        else:
            found = Decimal(cell["first"]) <= rounded[name] <= Decimal(cell["last"])
        if found:
            factor: int = cell["factor_millionths"]
            return factor
    raise LookupError(f"no cell of {table['name']}")
