"""How far premiums reach, and one reading moves them, against every value of a small tariff."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest

from services.pricing.core import reach
from services.pricing.core.checks import faults_of
from services.pricing.core.one_reading import one_reading_effects
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.reach import reach_of
from services.pricing.core.tariff import MILLION, Basis, Tariff
from services.pricing.core.waterfall import price
from tests.services.pricing.proposals import format_2_tree


def number(name: str, last: int, *, required: bool, biometric: bool) -> dict[str, Any]:
    bounds = {"plausible_first": "0", "plausible_last": str(last)}
    bounds |= {"priced_first": "0", "priced_last": str(last)}
    said = {"kind": "numeric", "name": name, "zh": name, "en": name, "places": 0}
    unit = {"unit_ucum": "1", "unit_zh": "1", "unit_en": "1", "when_finer": "round_half_up"}
    return said | unit | bounds | {"required": required, "biometric": biometric}


def bands(
    feature: str, *cells: tuple[int, int, int], absent: int | None = None, **said: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "bands", "name": feature, "feature": feature, "layer": "risk"}
    made |= {"interpolation": "none", "monotone": "no", "applies_to": None}
    made["cells"] = [
        {"first": str(first), "last": str(last), "factor_millionths": factor}
        for first, last, factor in cells
    ]
    return made | {"absent_factor_millionths": absent} | said


def small(**top: Any) -> Rates:
    """Ages 0 to 3, smoking and weight that may be left out, one outcome each way, one required."""
    tree = format_2_tree("small")
    smoker: dict[str, Any] = {"kind": "category", "name": "smoker", "zh": "吸烟", "en": "smoker"}
    smoker |= {"required": False}
    smoker["levels"] = [
        {"name": name, "zh": name, "en": name, "priced": name != "unknown"}
        for name in ("yes", "no", "unknown")
    ]
    levels = [("yes", 1_500_000), ("no", 900_000)]
    by_smoking = {
        "kind": "categories",
        "name": "smoker",
        "feature": "smoker",
        "applies_to": None,
        "absent_factor_millionths": 2_000_000,
        "cells": [{"level": name, "factor_millionths": factor} for name, factor in levels],
    }
    tree["features"] = [
        number("age", 3, required=True, biometric=False),
        smoker,
        number("weight", 4, required=False, biometric=False),
        number("fitness", 9, required=False, biometric=True),
        number("pressure", 9, required=True, biometric=True),
    ]
    outcome: dict[str, Any] = {"layer": "outcome"}
    fitness = bands(
        "fitness",
        (0, 4, 1_000_000),
        (5, 9, 800_000),
        absent=1_100_000,
        monotone="falling",
        **outcome,
    )
    pressure = bands("pressure", (0, 4, 700_000), (5, 9, 1_200_000), monotone="rising")
    ages = bands("age", (0, 1, 400_000), (2, 3, 1_000_000))
    weights = bands("weight", (0, 0, 1_000_000), (1, 4, 1_300_000), absent=700_000)
    tree["causes"] = [
        {"name": "ward", "zh": "住院", "en": "ward", "base_e4": 50_000_000}
        | {"tables": [ages, by_smoking, fitness, pressure]},
        {"name": "clinic", "zh": "门诊", "en": "clinic", "base_e4": 20_000_000}
        | {"tables": [weights, {**fitness, "cells": [dict(one) for one in fitness["cells"]]}]},
    ]
    tree["basis"] |= {"windows": [], "alternatives": []}
    tree |= {"factor_bounds": {"least_millionths": 1, "greatest_millionths": 10 * MILLION}} | top
    tariff = msgspec.convert(tree, Tariff)
    assert [one for one in faults_of(tariff) if "golden" not in one.path] == []
    return compile_rates(tariff)


def by_every_value(rates: Rates) -> tuple[int, int, int]:
    """Cheapest and dearest without readings, and the greatest share that readings take off."""
    risk = list(product(range(4), (0, 1, None), (*range(5), None)))
    plain = {one: price(rates, (*one, None, 0)).premium_minor for one in risk}
    pressures = {
        (*one, p): price(rates, (*one, None, p)).premium_minor for one in risk for p in range(10)
    }
    credit = max(
        (plain_ - price(rates, (*one[:3], fit, one[3])).premium_minor) * MILLION // plain_
        for one, plain_ in pressures.items()
        for fit in range(10)
    )
    assert min(plain.values()) <= min(pressures.values())
    return min(pressures.values()), max(pressures.values()), credit


def test_the_reach_is_that_of_every_combination_of_values() -> None:
    rates = small()
    found = reach_of(rates)
    assert found.exact
    assert (
        found.cheapest_minor,
        found.dearest_minor,
        found.greatest_credit_millionths,
    ) == by_every_value(rates)


def test_a_required_outcome_is_priced_at_its_worst_without_a_credit() -> None:
    tree = msgspec.to_builtins(small().tariff)
    causes = tree["causes"]
    causes[0]["tables"][3]["layer"] = "outcome"
    causes[0]["tables"][3]["absent_factor_millionths"] = 1_200_000
    tree["features"][4]["required"] = False
    optional = small(features=tree["features"], causes=causes)
    found = reach_of(optional)
    dearest = price(optional, (3, None, 4, None, None)).premium_minor
    assert found.dearest_minor == dearest
    best = price(optional, (3, None, None, 9, 0)).premium_minor
    plain = price(optional, (3, None, None, None, None)).premium_minor
    assert found.greatest_credit_millionths >= (plain - best) * MILLION // plain


@pytest.mark.parametrize("most", [1, 71])
def test_beyond_so_many_combinations_bounds_are_given_by_hand(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 ages x 3 x 3 weights x 1 x bands of pressure: 36 combinations, exact up to there.

    Cheapest: 5,000 x 0.4 x 0.9 x 1.1 x 0.7 + 2,000 x 0.7 x 1.1 in fen; the greatest credit is
    that of a cause, 1 - 0.8 / 1.1.
    """
    monkeypatch.setattr(reach, "_MOST_COMBINATIONS", most)
    rates = small(
        large_loss_load_e4=0,
        fixed_expense_e4=0,
        variable_expense_millionths=0,
        profit_millionths=0,
    )
    found = reach_of(rates)
    assert found.exact is (most == 71)
    if not found.exact:
        assert found.cheapest_minor == 1_386 + 1_540 - 1
        assert found.dearest_minor == 5_000 * 2 * 11 * 12 // 100 + 2_000 * 13 * 11 // 100 + 1
        assert found.greatest_credit_millionths == MILLION - 800_000 * MILLION // 1_100_000


def test_bounds_hold_the_loads_and_what_rounding_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_MOST_COMBINATIONS", 1)
    shares = {"variable_expense_millionths": 0, "profit_millionths": 0}
    loaded = reach_of(small(large_loss_load_e4=1_000_000, fixed_expense_e4=2_000_000, **shares))
    assert loaded.cheapest_minor == 1_386 + 1_540 + 300 - 1
    coarse = reach_of(small(rounding={"mode": "half_up", "to_minor_units": 100_000}))
    assert coarse.cheapest_minor == 0


def test_premiums_that_round_to_nothing_hold_no_credit() -> None:
    found = reach_of(small(rounding={"mode": "half_up", "to_minor_units": 100_000}))
    assert (found.cheapest_minor, found.greatest_credit_millionths) == (0, 0)


def test_exactly_so_many_combinations_are_still_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = small()
    for most, exact in ((36, True), (35, False)):
        monkeypatch.setattr(reach, "_MOST_COMBINATIONS", most)
        assert reach_of(rates).exact is exact


def effect_of(first: int, *, mean: str = "0") -> int | None:
    """The effect of one reading on fitness, which moves it by 9 x first / 9 steps."""
    basis = small().tariff.basis
    assert isinstance(basis, Basis)
    window = {
        "feature": "fitness",
        "months": 9,
        "one_reading_months": first,
        "credibility_millionths": MILLION,
        "stratum_mean": mean,
        "readings_count_from": "day_after_receipt",
        "source": "s",
    }
    tree = msgspec.to_builtins(basis) | {"windows": [window]}
    found = dict(one_reading_effects(small().tariff, msgspec.convert(tree, Basis)))
    return found["tariff.causes[0].tables[2]"]


def test_one_reading_of_a_falling_factor_is_the_highest_plausible() -> None:
    # From a mean of 0 to 9 in one of nine months: one step, from 4 to 5, from 1 to 0.8.
    assert effect_of(1) == 200_000
    # From a mean of 9 upwards there is nothing to gain.
    assert effect_of(9, mean="9") == 0
