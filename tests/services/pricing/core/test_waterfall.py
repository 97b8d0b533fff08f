"""What holds for every premium, and where rounding decides."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.tariff import (
    E4,
    Band,
    BandTable,
    CategoryFeature,
    Cause,
    NumericFeature,
    Rounding,
    Tariff,
)
from services.pricing.core.waterfall import gross_e4, gross_up, price
from tests.services.pricing.at_hand import demo_rates, priced

HBA1C = st.integers(30, 200)
SYSTOLIC = st.integers(60, 280)


@st.composite
def people(draw: st.DrawFn) -> list[int | None]:
    """Anyone whom the demo tariff prices: age, sex, condition, HbA1c in 0.1 %, systolic."""
    return [
        draw(st.integers(18, 79)),
        draw(st.integers(0, 1)),
        draw(st.integers(0, 2)),
        draw(st.none() | HBA1C),
        draw(st.none() | SYSTOLIC),
    ]


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    """Tariffs of random amounts, factors, loads and rounding over the demo's age and sex."""
    demo = demo_rates().tariff
    amounts = st.integers(0, 10**11)
    factors = st.integers(1, 5_000_000)

    def cause(name: str) -> Cause:
        bands = tuple(
            Band(first=first, last=last, factor_millionths=draw(factors))
            for first, last in (("18", "40"), ("41", "79"))
        )
        table = BandTable(
            name="age",
            feature="age",
            layer="risk",
            interpolation="none",
            monotone="no",
            applies_to=None,
            absent_factor_millionths=None,
            cells=bands,
        )
        tables = tuple(
            msgspec.structs.replace(table, name=f"age{index}")
            for index in range(draw(st.integers(0, 4)))
        )
        return Cause(name=name, zh=name, en=name, base_e4=draw(amounts), tables=tables)

    return msgspec.structs.replace(
        demo,
        causes=tuple(cause(f"cause{index}") for index in range(draw(st.integers(1, 3)))),
        large_loss_load_e4=draw(amounts),
        fixed_expense_e4=draw(amounts),
        variable_expense_millionths=draw(st.integers(0, 300_000)),
        profit_millionths=draw(st.integers(0, 200_000)),
        rounding=Rounding(mode="half_up", to_minor_units=draw(st.sampled_from([1, 10, 100, 7]))),
    )


@given(people())
def test_step_differences_of_the_demo_sum_to_the_premium(person: list[int | None]) -> None:
    check_steps(demo_rates(), person)


@given(tariffs(), st.integers(18, 79))
def test_step_differences_of_any_tariff_sum_to_the_premium(tariff: Tariff, age: int) -> None:
    check_steps(compile_rates(tariff), [age, 0, 0, None, None])


def check_steps(rates: Rates, person: list[int | None]) -> None:
    found = price(rates, person)
    assert sum(step.difference_e4 for step in found.steps) == found.premium_minor * E4
    assert found.steps[0].premium_e4 == found.steps[0].difference_e4
    for before, after in pairwise(found.steps):
        assert after.premium_e4 - before.premium_e4 == after.difference_e4
    assert found.steps[-1].premium_e4 == found.premium_minor * E4
    assert found.premium_minor % rates.tariff.rounding.to_minor_units == 0
    assert all(
        step.difference_e4 >= 0
        for step in found.steps
        if step.label.step in ("variable_expense", "profit")
    )


@given(tariffs(), st.integers(18, 79))
def test_the_kernel_agrees_with_decimals_rounded_at_each_step(tariff: Tariff, age: int) -> None:
    assert price(compile_rates(tariff), [age, 0, 0, None, None]).premium_minor == by_decimals(
        tariff, age
    )


@given(tariffs(), st.integers(18, 79))
def test_rounding_moves_the_premium_by_less_than_its_steps_can(tariff: Tariff, age: int) -> None:
    """Against the exact rational premium: half a 10⁻⁴ fen per product, carried by later factors."""
    rates = compile_rates(tariff)
    exact = by_fractions(tariff, age)
    found = price(rates, [age, 0, 0, None, None])
    gross = found.steps[-1].premium_e4 - found.steps[-1].difference_e4
    carried = sum(
        Fraction(1, 2) * 5 ** (len(cause.tables) - 1 - index)
        for cause in tariff.causes
        for index in range(len(cause.tables))
    )
    assert abs(gross - exact) <= carried * 2 + Fraction(1, 2)


@given(people(), HBA1C, HBA1C)
def test_a_higher_hba1c_never_lowers_the_premium(
    person: list[int | None], one: int, other: int
) -> None:
    low, high = sorted((one, other))
    assert_monotone(demo_rates(), person, low, high)


def test_the_monotony_property_can_fail() -> None:
    tariff = demo_rates().tariff
    inpatient = tariff.causes[0]
    table = inpatient.tables[3]
    assert isinstance(table, BandTable)
    assert table.feature == "hba1c_percent"
    broken = msgspec.structs.replace(table, cells=table.cells[::-1])
    cells = tuple(
        msgspec.structs.replace(cell, factor_millionths=turned.factor_millionths)
        for cell, turned in zip(table.cells, broken.cells, strict=True)
    )
    tables = (*inpatient.tables[:3], msgspec.structs.replace(table, cells=cells))
    causes = (msgspec.structs.replace(inpatient, tables=tables), *tariff.causes[1:])
    rates = compile_rates(msgspec.structs.replace(tariff, causes=causes))
    with pytest.raises(AssertionError):
        assert_monotone(rates, [52, 0, 1, None, None], 65, 90)


def assert_monotone(rates: Rates, person: list[int | None], low: int, high: int) -> None:
    premiums = [
        price(rates, [*person[:3], hba1c, person[4]]).premium_minor for hba1c in (low, high)
    ]
    assert premiums[0] <= premiums[1]


@given(people(), st.integers(3, 4))
def test_leaving_out_a_reading_never_lowers_the_premium(
    person: list[int | None], which: int
) -> None:
    without = [None if index == which else value for index, value in enumerate(person)]
    found = price(demo_rates(), person).premium_minor
    assert found <= price(demo_rates(), without).premium_minor


def test_every_band_edge_falls_into_its_own_band() -> None:
    rates = demo_rates()
    seen = 0
    for cause, compiled in zip(rates.tariff.causes, rates.causes, strict=True):
        for table, lookup in zip(cause.tables, compiled.tables, strict=True):
            if not isinstance(table, BandTable):
                continue
            feature = rates.tariff.features[lookup.feature]
            assert isinstance(feature, NumericFeature)
            for band in table.cells:
                for edge in (band.first, band.last):
                    given_ = {"age": "52", "sex": "F", "condition": "both", table.feature: edge}
                    step = next(
                        step
                        for step in priced(rates, given_).steps
                        if step.label.step == f"{cause.name}.{table.name}"
                    )
                    assert step.label.factor_millionths == band.factor_millionths
                    assert step.label.cell == f"{feature.name} {band.first}-{band.last}"
                    seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("net", "share", "gross"),
    [
        (83_000, 170_000, 100_000),
        (5, 0, 5),
        (1, 500_000, 2),
        (3, 200_000, 4),  # 3.75
        (5, 600_000, 13),  # 12.5: a half goes up
        (0, 170_000, 0),
    ],
)
def test_grossing_up_rounds_half_up(net: int, share: int, gross: int) -> None:
    assert gross_up(net, share) == gross


@pytest.mark.parametrize(
    ("base_e4", "factor_millionths", "after_e4"),
    [(3, 500_000, 2), (5, 500_000, 3), (1, 499_999, 0), (1, 500_000, 1), (7, 1_000_000, 7)],
)
def test_a_factor_rounds_half_up_at_once(
    base_e4: int, factor_millionths: int, after_e4: int
) -> None:
    demo = demo_rates().tariff
    table = demo.causes[0].tables[0]
    assert isinstance(table, BandTable)
    cell = Band(first="18", last="79", factor_millionths=factor_millionths)
    only = msgspec.structs.replace(table, cells=(cell,))
    cause = Cause(name="only", zh="唯一", en="only", base_e4=base_e4, tables=(only, only))
    rates = compile_rates(msgspec.structs.replace(demo, causes=(cause,)))
    first, second = price(rates, [30, 0, 0, None, None]).steps[1:3]
    assert first.premium_e4 == after_e4
    # The second factor meets the rounded amount, not the exact one.
    assert second.premium_e4 == (2 * after_e4 * factor_millionths + 1_000_000) // 2_000_000


@pytest.mark.parametrize(
    ("net_e4", "to_minor_units", "premium"),
    [
        (4_999, 1, 0),
        (5_000, 1, 1),
        (14_999, 1, 1),
        (15_000, 1, 2),
        (499_999, 100, 0),
        (500_000, 100, 100),
    ],
)
def test_the_last_step_rounds_half_up_to_the_minor_unit(
    net_e4: int, to_minor_units: int, premium: int
) -> None:
    tariff = msgspec.structs.replace(
        demo_rates().tariff,
        causes=(Cause(name="only", zh="唯一", en="only", base_e4=net_e4, tables=()),),
        large_loss_load_e4=0,
        fixed_expense_e4=0,
        variable_expense_millionths=0,
        profit_millionths=0,
        rounding=Rounding(mode="half_up", to_minor_units=to_minor_units),
    )
    found = price(compile_rates(tariff), [30, 0, 0, None, None])
    assert found.premium_minor == premium
    assert found.steps[-1].difference_e4 == premium * E4 - net_e4


def test_every_step_speaks_both_languages() -> None:
    for person in ([52, 0, 1, 72, None], [52, 0, 0, None, 128], [52, 0, 2, None, None]):
        for step in price(demo_rates(), person).steps:
            assert any("\u4e00" <= char <= "\u9fff" for char in step.label.text_zh)
            assert step.label.text_en.isprintable()
            assert not any("\u4e00" <= char <= "\u9fff" for char in step.label.text_en)


def test_an_unpriced_level_never_gets_a_price() -> None:
    condition = demo_rates().tariff.features[2]
    assert isinstance(condition, CategoryFeature)
    unpriced = [level.name for level in condition.levels].index("type1_diabetes")
    with pytest.raises(LookupError):
        price(demo_rates(), [52, 0, unpriced, None, None])


def by_decimals(tariff: Tariff, age: int) -> int:
    """The premium by another road: decimal yuan, rounded to 0.000001 at each step."""

    def rounded(value: Decimal, places: str = "0.000001") -> Decimal:
        return value.quantize(Decimal(places), ROUND_HALF_UP)

    net = Decimal(0)
    for cause in tariff.causes:
        amount = Decimal(cause.base_e4).scaleb(-6)
        for factor in factors_at(cause, age):
            amount = rounded(amount * Decimal(factor).scaleb(-6))
        net += amount
    net += Decimal(tariff.large_loss_load_e4 + tariff.fixed_expense_e4).scaleb(-6)
    shares = Decimal(tariff.variable_expense_millionths + tariff.profit_millionths).scaleb(-6)
    gross = rounded(net / (1 - shares))
    units = (gross * 100 / tariff.rounding.to_minor_units).quantize(Decimal(1), ROUND_HALF_UP)
    return int(units) * tariff.rounding.to_minor_units


def by_fractions(tariff: Tariff, age: int) -> Fraction:
    """The exact gross premium in 10⁻⁴ fen, nothing rounded."""
    net = Fraction(tariff.large_loss_load_e4 + tariff.fixed_expense_e4)
    for cause in tariff.causes:
        amount = Fraction(cause.base_e4)
        for factor in factors_at(cause, age):
            amount *= Fraction(factor, 10**6)
        net += amount
    shares = tariff.variable_expense_millionths + tariff.profit_millionths
    return net / (1 - Fraction(shares, 10**6))


def factors_at(cause: Cause, age: int) -> list[int]:
    found = []
    for table in cause.tables:
        assert isinstance(table, BandTable)
        found += [
            band.factor_millionths
            for band in table.cells
            if int(band.first) <= age <= int(band.last)
        ]
    return found


def test_the_expense_is_its_share_of_the_gross_premium_and_the_profit_the_rest() -> None:
    demo = demo_rates().tariff
    bare = msgspec.structs.replace(
        demo,
        causes=(msgspec.structs.replace(demo.causes[0], base_e4=830_000_000, tables=()),),
        large_loss_load_e4=0,
        fixed_expense_e4=0,
    )
    steps = {one.label.step: one for one in price(compile_rates(bare), (52, 0, 1)).steps}
    # 830 / (1 - 0.12 - 0.05) = 1000, of which 0.12 are 120 and 0.05 are 50.
    assert steps["variable_expense"].difference_e4 == 120_000_000
    assert steps["profit"].difference_e4 == 50_000_000
    assert steps["profit"].premium_e4 == 1_000_000_000


def test_what_a_table_is_about_may_be_the_first_thing_that_is_asked() -> None:
    demo = demo_rates().tariff
    age, sex, condition, *others = demo.features
    turned = msgspec.structs.replace(demo, features=(condition, age, sex, *others))
    diabetes, hypertension = (
        {one.label.cell for one in price(compile_rates(turned), values).steps}
        for values in ((1, 52, 0, 72, None), (0, 52, 0, 72, None))
    )
    assert "hba1c_percent 7.0-7.4" in diabetes
    assert "hba1c_percent not applicable" in hypertension
    assert "hba1c_percent 7.0-7.4" not in hypertension


def test_the_gross_premium_is_what_the_last_step_rounds() -> None:
    rates = demo_rates()
    found = price(rates, [52, 0, 1, None, None])
    gross = gross_e4(rates, [52, 0, 1, None, None])
    assert gross + found.steps[-1].difference_e4 == found.premium_minor * E4
