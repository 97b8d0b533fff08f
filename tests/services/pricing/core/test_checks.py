"""What is wrong with a tariff and what is not: each fault at its edge, alone, in its own words."""

from __future__ import annotations

import msgspec
import pytest

from services.pricing.core.checks import Fault, faults_of, table_faults
from services.pricing.core.tariff import (
    MILLION,
    AppliesTo,
    Band,
    BandTable,
    CategoryFeature,
    CategoryTable,
    Cause,
    FactorBounds,
    Level,
    LevelFactor,
    NumericFeature,
    Tariff,
)
from tests.services.pricing.at_hand import demo_rates

replace = msgspec.structs.replace
DEMO = demo_rates().tariff
AGE = NumericFeature(
    name="age",
    zh="年龄",
    en="age",
    unit_ucum="a",
    unit_zh="岁",
    unit_en="years",
    places=0,
    when_finer="refuse",
    plausible_first="0",
    plausible_last="130",
    priced_first="18",
    priced_last="40",
    required=True,
    biometric=False,
)


def _levels(name: str, *levels: str, required: bool = True) -> CategoryFeature:
    return CategoryFeature(
        name=name,
        zh=name,
        en=name,
        required=required,
        levels=tuple(Level(name=one, zh=one, en=one, priced=True) for one in levels),
    )


SEX, SMOKER = _levels("sex", "F", "M"), _levels("smoker", "yes", "no")
MAY_SMOKE = replace(SMOKER, required=False)


def _bands(*spans: tuple[str, str], factors: tuple[int, ...] = ()) -> BandTable:
    """Bands of an age, each dearer than the one before unless `factors` say otherwise."""
    rising = factors or tuple(MILLION + index for index in range(len(spans)))
    return BandTable(
        name="by_age",
        feature="age",
        layer="risk",
        interpolation="none",
        monotone="rising",
        applies_to=None,
        absent_factor_millionths=None,
        cells=tuple(
            Band(first=first, last=last, factor_millionths=factor)
            for (first, last), factor in zip(spans, rising, strict=True)
        ),
    )


WHOLE = _bands(("18", "40"))


def _by_sex() -> CategoryTable:
    return CategoryTable(
        name="by_sex",
        feature="sex",
        applies_to=None,
        absent_factor_millionths=None,
        cells=tuple(LevelFactor(level=one, factor_millionths=MILLION) for one in ("F", "M")),
    )


def _told(
    table: BandTable | CategoryTable, *features: NumericFeature | CategoryFeature
) -> list[Fault]:
    bounds = FactorBounds(least_millionths=500_000, greatest_millionths=3_000_000)
    return list(table_faults(table, features or (AGE, SEX, SMOKER), bounds, "t"))


def _tariff(*tables: BandTable | CategoryTable) -> Tariff:
    cause = Cause(name="cause", zh="责任", en="cause", base_e4=MILLION, tables=tables)
    return replace(DEMO, features=(AGE, SEX, SMOKER), causes=(cause,))


# --- bands ---


@pytest.mark.parametrize(
    "spans", [(("18", "40"),), (("18", "18"), ("19", "40")), (("18", "39"), ("40", "40"))]
)
def test_bands_that_cover_the_priced_range_once_have_no_fault(
    spans: tuple[tuple[str, str], ...],
) -> None:
    assert _told(_bands(*spans)) == []


_OUTSIDE = "reaches outside the priced range 18 to 40"
_WRONG_BANDS = [
    ((("18", "20"), ("22", "40")), "cells[1].first", "GAP", "nothing prices 21"),
    ((("18", "20"), ("24", "40")), "cells[1].first", "GAP", "nothing prices 21 to 23"),
    ((("19", "40"),), "cells[0].first", "GAP", "nothing prices 18"),
    ((("21", "30"), ("31", "40")), "cells[0].first", "GAP", "nothing prices 18 to 20"),
    ((("18", "39"),), "cells[0].last", "GAP", "nothing prices 40"),
    ((("18", "20"), ("21", "38")), "cells[1].last", "GAP", "nothing prices 39 to 40"),
    ((("18", "20"), ("20", "40")), "cells[1].first", "OVERLAP", "two bands price 20"),
    ((("18", "22"), ("20", "40")), "cells[1].first", "OVERLAP", "two bands price 20 to 22"),
    ((("17", "20"), ("21", "40")), "cells[0].first", "OUTSIDE_PRICED_RANGE", _OUTSIDE),
    ((("18", "20"), ("21", "41")), "cells[1].last", "OUTSIDE_PRICED_RANGE", _OUTSIDE),
]


@pytest.mark.parametrize(("spans", "where", "reason", "text"), _WRONG_BANDS)
def test_a_gap_an_overlap_and_what_reaches_outside_are_told_with_their_values(
    spans: tuple[tuple[str, str], ...], where: str, reason: str, text: str
) -> None:
    assert _told(_bands(*spans)) == [Fault(f"t.{where}", reason, text)]


def test_of_a_band_inside_another_its_own_values_are_priced_twice() -> None:
    found = _told(_bands(("18", "40"), ("20", "25")))
    assert Fault("t.cells[1].first", "OVERLAP", "two bands price 20 to 25") in found


def test_a_band_that_ends_before_it_begins_is_told_as_that() -> None:
    found = _told(_bands(("18", "20"), ("40", "21")))
    assert ("t.cells[1].last", "BAND_REVERSED") in [(one.path, one.reason) for one in found]


THREE = (("18", "20"), ("21", "30"), ("31", "40"))
_ORDERS = [
    ("rising", (10, 10, 11), []),
    ("rising", (10, 9, 11), ["t.cells[1].factor_millionths"]),
    ("rising", (10, 11, 10), ["t.cells[2].factor_millionths"]),
    ("falling", (11, 11, 10), []),
    ("falling", (11, 12, 10), ["t.cells[1].factor_millionths"]),
    ("no", (10, 12, 9), []),
]


@pytest.mark.parametrize(("order", "millionths", "where"), _ORDERS)
def test_factors_keep_the_declared_order_to_the_millionth(
    order: str, millionths: tuple[int, ...], where: list[str]
) -> None:
    factors = tuple(MILLION + more for more in millionths)
    found = _told(replace(_bands(*THREE, factors=factors), monotone=order))
    assert [(one.path, one.reason) for one in found] == [(one, "NOT_MONOTONE") for one in where]


def test_leaving_an_outcome_out_costs_as_much_as_the_worst_of_it_at_least() -> None:
    hba1c = replace(AGE, required=False, biometric=True)
    table = replace(_bands(*THREE), layer="outcome", absent_factor_millionths=MILLION + 2)
    assert _told(table, hba1c) == []
    cheap = replace(table, absent_factor_millionths=MILLION + 1)
    assert [one.reason for one in _told(cheap, hba1c)] == ["ABSENCE_PAYS"]


# --- what a table says of people without the value, and whom it is about ---


def test_a_required_feature_has_no_factor_of_absence_and_another_has_one() -> None:
    where = "t.absent_factor_millionths"
    assert _told(replace(WHOLE, absent_factor_millionths=MILLION)) == [
        Fault(where, "ABSENT_FACTOR", "must be null, because the feature is required")
    ]
    text = "must say the factor of people without the value, because it is not required"
    assert _told(WHOLE, replace(AGE, required=False)) == [Fault(where, "ABSENT_FACTOR", text)]


@pytest.mark.parametrize(("factor", "inside"), [(3_000_000, True), (3_000_001, False)])
def test_the_factor_of_absence_keeps_to_the_bounds_too(factor: int, inside: bool) -> None:
    table = replace(WHOLE, absent_factor_millionths=factor)
    found = [(one.path, one.reason) for one in _told(table, replace(AGE, required=False))]
    assert found == ([] if inside else [("t.absent_factor_millionths", "FACTOR_OUT_OF_BOUNDS")])


def _of(feature: str, *levels: str) -> BandTable:
    return replace(WHOLE, applies_to=AppliesTo(feature=feature, levels=levels))


def test_a_table_is_about_levels_of_a_feature_that_everybody_has_said() -> None:
    assert _told(_of("smoker", "yes")) == []
    for gate, features in (("smoker", (AGE, SEX, MAY_SMOKE)), ("age", (AGE, SEX, SMOKER))):
        (fault,) = _told(_of(gate, "yes"), *features)
        assert (fault.path, fault.reason) == ("t.applies_to.feature", "UNKNOWN_FEATURE")


_TWICE = [
    (WHOLE, WHOLE, True),
    (_of("sex", "F"), WHOLE, True),
    (WHOLE, _of("sex", "F"), True),
    (_of("sex", "F"), _of("sex", "M"), False),
    (_of("sex", "F"), _of("sex", "F", "M"), True),
    (_of("sex", "F"), _of("smoker", "yes"), True),
]


@pytest.mark.parametrize(("one", "other", "twice"), _TWICE)
def test_a_cause_prices_a_feature_once_for_every_person(
    one: BandTable, other: BandTable, twice: bool
) -> None:
    found = faults_of(_tariff(_by_sex(), one, replace(other, name="again")))
    told = [(fault.path, fault.text) for fault in found if fault.reason == "PRICED_TWICE"]
    text = "table by_age of this cause already prices age"
    assert told == ([("tariff.causes[0].tables[2].feature", text)] if twice else [])


def test_a_level_that_the_feature_does_not_have_is_told() -> None:
    table = _by_sex()
    x = LevelFactor(level="X", factor_millionths=MILLION)
    assert _told(table) == []
    assert _told(replace(table, cells=(*table.cells, x))) == [
        Fault("t.cells[2].level", "UNKNOWN_LEVEL", "sex has no priced level of this name")
    ]


def test_a_feature_that_only_says_whom_a_table_is_about_is_used() -> None:
    assert "UNUSED_FEATURE" not in [
        fault.reason for fault in faults_of(_tariff(_by_sex(), _of("smoker", "yes")))
    ]
    unused = faults_of(_tariff(_by_sex(), WHOLE))
    assert [fault.path for fault in unused] == ["tariff.features[2]"]


# --- the tariff ---


def test_a_tariff_may_hold_for_one_day_and_all_factors_may_be_one() -> None:
    assert faults_of(replace(DEMO, valid_last=DEMO.valid_first)) == []
    one = FactorBounds(least_millionths=MILLION, greatest_millionths=MILLION)
    assert {fault.reason for fault in faults_of(replace(DEMO, factor_bounds=one))} == {
        "FACTOR_OUT_OF_BOUNDS"
    }


def test_loads_may_take_half_of_the_premium_and_one_cause_may_cost_nothing() -> None:
    half = 500_000 - DEMO.variable_expense_millionths
    assert faults_of(replace(DEMO, profit_millionths=half)) == []
    above = faults_of(replace(DEMO, profit_millionths=half + 1))
    assert [fault.reason for fault in above] == ["LOADS_TOO_HIGH"]
    first, *others = DEMO.causes
    assert faults_of(replace(DEMO, causes=(replace(first, base_e4=0), *others))) == []
