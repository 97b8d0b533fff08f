"""A credit taken as sum insured: the largest whose credited premium is not above the old one."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.features import read
from services.pricing.core.incentive import credited
from services.pricing.core.programme import CreditAs
from services.pricing.core.rates import Label, Rates, compile_rates
from services.pricing.core.sum_insured import Raised, raised, sum_feature, with_raised
from services.pricing.core.tariff import E4
from services.pricing.core.waterfall import price
from services.pricing.tariffs.loader import load_tariff
from tests.services.pricing.at_hand import WOMAN_52, demo_rates, sealed
from tests.services.pricing.core.insured import SUM, insured_tree

CREDIT = Label("incentive", "", 0, "x", "x")
TERMS = CreditAs(feature=SUM, multiple_of=10_000, at_most_millionths=900_000, source="s")


@cache
def rates() -> Rates:
    tree = insured_tree()
    return load_tariff(sealed(tree), "insured.json")


def values(insured: int) -> tuple[int | None, ...]:
    given = {k: v for k, v in WOMAN_52.items() if k != "hba1c_percent"}
    return read(rates().tariff.features, {**given, SUM: str(insured)}).values


def bought(insured: int, credit: int, terms: CreditAs = TERMS) -> Raised:
    return raised(rates(), values(insured), credit, terms)[1]


def charged(insured: int, credit: int) -> int:
    before = price(rates(), values(insured))
    to_minor = rates().tariff.rounding.to_minor_units
    return credited(before, credit, CREDIT, to_minor).premium_minor


def test_without_a_credit_the_sum_stays() -> None:
    found = bought(150_000, 0)
    assert (found.before, found.after, found.increase) == ("150000", "150000", "0")


def test_a_credit_buys_the_end_of_the_dearest_band_that_it_reaches() -> None:
    # 3 % off the premium pay a band that costs 4 % more of inpatient care, a part of it.
    assert charged(290_000, 30_000) <= price(rates(), values(150_000)).premium_minor
    found = bought(150_000, 30_000)
    # 150,000 x 1.9 is 285,000: the multiple of 10,000 below.
    assert (found.after, found.increase, found.most) == ("280000", "130000", "285000")


def test_it_grows_by_the_programmes_share_at_most_and_within_what_is_priced() -> None:
    little = CreditAs(feature=SUM, multiple_of=10_000, at_most_millionths=100_000, source="s")
    assert bought(150_000, 30_000, little).after == "160000"
    assert bought(900_000, 30_000).after == "1000000"


def test_where_no_larger_sum_is_paid_for_the_credit_comes_off_the_premium() -> None:
    # From 490,000 the next multiple of 100,000 costs far more than 1 % off.
    coarse = CreditAs(feature=SUM, multiple_of=100_000, at_most_millionths=900_000, source="s")
    found = bought(490_000, 10_000, coarse)
    assert found.after == "490000"
    assert charged(490_000, 10_000) < price(rates(), values(490_000)).premium_minor


@given(st.integers(100_000, 1_000_000), st.integers(0, 200_000), st.sampled_from([1, 7, 10_000]))
def test_it_is_the_largest_sum_that_is_not_dearer(insured: int, credit: int, multiple: int) -> None:
    terms = CreditAs(feature=SUM, multiple_of=multiple, at_most_millionths=900_000, source="s")
    after_values, found = raised(rates(), values(insured), credit, terms)
    after, most = int(found.after), int(found.most)
    owed = price(rates(), values(insured)).premium_minor
    assert after_values == values(after)
    assert insured <= after <= most <= max(insured, insured * 19 // 10)
    assert charged(after, credit) <= owed
    if after != insured:
        assert after % multiple == 0
    if credit:  # each band's first multiple above it is dearer, or out of reach
        for edge in (100_000, 200_000, 300_000, 500_000, after + 1):
            larger = -(-max(edge, after + 1) // multiple) * multiple
            assert larger > most or charged(larger, credit) > owed


@given(st.integers(100_000, 1_000_000), st.integers(0, 200_000))
def test_a_larger_credit_never_buys_a_smaller_sum(insured: int, credit: int) -> None:
    assert int(bought(insured, credit).after) <= int(bought(insured, credit + 10_000).after)


def test_the_steps_add_up_and_say_what_was_bought() -> None:
    found = bought(150_000, 30_000)
    whole = with_raised(price(rates(), values(150_000)), found)
    done = credited(whole, 30_000, CREDIT, 1)
    assert sum(step.difference_e4 for step in done.steps) == done.premium_minor * E4
    assert done.premium_minor == charged(280_000, 30_000)
    step = whole.steps[-1]
    assert step.label.step == "sum_insured"
    assert step.label.text_en == ("Credit as sum insured: 150000 rises by 130000 to 280000 (yuan)")
    assert step.label.text_zh == "优惠计入保额：由 150000 增加 130000 至 280000"
    assert step.label.factor_millionths == 0  # money, and no factor of it


def test_a_sum_that_stays_is_told_as_such() -> None:
    step = with_raised(price(rates(), values(150_000)), bought(150_000, 0)).steps[-1]
    assert (step.label.cell, step.difference_e4) == (f"{SUM} 150000", 0)
    assert step.label.text_en == (
        "Credit as sum insured: 150000 stays, the credit comes off the premium (yuan)"
    )
    assert step.label.text_zh == "优惠计入保额：保额 150000 不变，优惠从保费中减"


def test_where_the_sum_stands_among_the_facts_changes_nothing() -> None:
    tree = insured_tree()
    tree["tariff"]["features"].insert(1, tree["tariff"]["features"].pop())
    inside = load_tariff(sealed(tree), "inside.json")
    (*others, insured) = values(150_000)
    after_values, found = raised(inside, (others[0], insured, *others[1:]), 30_000, TERMS)
    assert after_values == (others[0], 280_000, *others[1:])
    assert found == bought(150_000, 30_000)


def test_a_larger_sum_that_costs_the_same_is_bought_by_the_least_credit() -> None:
    assert charged(190_000, 1) == price(rates(), values(150_000)).premium_minor
    assert bought(150_000, 1).after == "190000"


def test_a_sum_in_tenths_of_its_unit_grows_by_whole_units() -> None:
    tree = insured_tree()
    for feature in tree["tariff"]["features"]:
        if feature["name"] == SUM:
            keys = ("plausible_first", "plausible_last", "priced_first", "priced_last")
            feature |= {"places": 1, **{key: f"{feature[key]}.0" for key in keys}}
    cells = tree["tariff"]["causes"][0]["tables"][-1]["cells"]
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        cell["first"] += ".0"
        cell["last"] = f"{cell['last']}.{9 if after else 0}"
    finer = load_tariff(sealed(tree), "finer.json")
    (*others, _) = values(150_000)
    after_values, found = raised(finer, (*others, 1_500_005), 30_000, TERMS)
    assert after_values == (*others, 2_800_000)
    # 150,000.5 x 1.9 is 285,000.95, of which tenths are counted.
    assert (found.before, found.after, found.increase, found.most) == (
        "150000.5",
        "280000.0",
        "129999.5",
        "285000.9",
    )


def test_a_sum_that_no_table_reads_is_not_priced() -> None:
    first, *others = rates().tariff.causes
    bare = msgspec.structs.replace(first, tables=first.tables[:-1])
    unread = compile_rates(msgspec.structs.replace(rates().tariff, causes=(bare, *others)))
    assert sum_feature(unread.tariff, TERMS) is None
    with pytest.raises(LookupError):
        raised(unread, values(150_000), 30_000, TERMS)


def test_a_tariff_that_prices_no_sum_is_told_apart() -> None:
    by_sex = CreditAs(feature="sex", multiple_of=1, at_most_millionths=1, source="s")
    assert sum_feature(rates().tariff, by_sex) is None
    assert sum_feature(rates().tariff, TERMS) is not None
    assert sum_feature(demo_rates().tariff, TERMS) is None
    with pytest.raises(ValueError, match="is not in list"):
        raised(demo_rates(), values(150_000), 30_000, TERMS)
    with pytest.raises(LookupError):
        raised(rates(), (*values(150_000)[:-1], None), 30_000, TERMS)
