"""What a tariff's steps are called; one that has not passed its checks is not compiled."""

from __future__ import annotations

import msgspec
import pytest

from services.pricing.core.rates import compile_rates
from services.pricing.core.tariff import AppliesTo, BandTable, Tariff
from tests.services.pricing.at_hand import demo_rates

replace = msgspec.structs.replace
DEMO = demo_rates().tariff


def test_loads_are_called_by_their_share_and_nothing_is_nought() -> None:
    rates = compile_rates(replace(DEMO, profit_millionths=0))
    assert rates.variable_expense.text_en == "Variable expense, 0.12 of the gross premium"
    assert rates.variable_expense.text_zh == "变动费用，占毛保费 0.12"
    assert rates.profit.text_en == "Profit, 0 of the gross premium"
    added = (rates.variable_expense, rates.profit, *(cause.base for cause in rates.causes))
    assert {label.factor_millionths for label in added} == {0}


def _ages(*spans: tuple[str, str]) -> Tariff:
    cause, *others = DEMO.causes
    ages, *tables = cause.tables
    assert isinstance(ages, BandTable)
    cells = tuple(
        replace(ages.cells[0], first=first, last=last, factor_millionths=500_000)
        for first, last in spans
    )
    changed = replace(cause, tables=(replace(ages, cells=cells), *tables))
    return replace(DEMO, causes=(changed, *others))


def test_a_band_is_called_by_its_ends_and_one_value_by_itself() -> None:
    ages = compile_rates(_ages(("18", "18"), ("19", "79"))).causes[0].tables[0]
    assert [(one.cell, one.text_zh, one.text_en) for one in ages.labels if one] == [
        (
            "age 18",
            "住院医疗：年龄 18 周岁，系数 0.5",
            "Inpatient care: age 18 completed years, factor 0.5",
        ),
        (
            "age 19-79",
            "住院医疗：年龄 19–79 周岁，系数 0.5",
            "Inpatient care: age 19–79 completed years, factor 0.5",
        ),
    ]
    assert (ages.gate, ages.gate_levels) == (-1, frozenset())


@pytest.mark.parametrize(
    ("table", "feature", "gate", "refused"),
    [
        (0, "sex", None, TypeError),  # bands over a category
        (1, "age", None, TypeError),  # levels over a number
        (0, "weight", None, KeyError),
        (0, "age", "age", TypeError),  # about levels of a number
    ],
)
def test_a_table_that_fits_nothing_is_not_compiled(
    table: int, feature: str, gate: str | None, refused: type[Exception]
) -> None:
    cause, *others = DEMO.causes
    tables = list(cause.tables)
    about = None if gate is None else AppliesTo(feature=gate, levels=("F",))
    tables[table] = replace(tables[table], feature=feature, applies_to=about)
    with pytest.raises(refused):
        compile_rates(replace(DEMO, causes=(replace(cause, tables=tuple(tables)), *others)))
