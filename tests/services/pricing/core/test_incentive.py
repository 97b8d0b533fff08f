"""How a credit comes off a premium: to the fen, at most the legal cap, every step adding up."""

from __future__ import annotations

from datetime import date

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.incentive import (
    Incentive,
    LegalCap,
    assess,
    credit_label,
    credited,
    readable_days,
    window_of,
)
from services.pricing.core.programme import Programmes, Steps, programme_version
from services.pricing.core.tariff import E4, MILLION
from services.pricing.core.waterfall import Waterfall
from tests.services.pricing.at_hand import WOMAN_52, demo_rates, priced
from tests.services.pricing.core.reading_cases import SHANGHAI, programmes, weekly

WITHOUT_READING = {k: v for k, v in WOMAN_52.items() if k != "hba1c_percent"}
CAP = LegalCap(200_000, "a regulation")


def found(*months: str, cap: LegalCap | None = CAP) -> Incentive:
    return assess(
        [reading for month in months for reading in weekly(month, "6.0")],
        programmes().named("diabetes-glucose"),
        (),
        renewal=date(2026, 1, 1),
        expiring_start=None,
        zone=SHANGHAI,
        cap=cap,
    )


def after(incentive: Incentive, to_minor: int = 1) -> Waterfall:
    before = priced(demo_rates(), WITHOUT_READING)
    credit = incentive.credit_millionths or 0
    return credited(before, credit, credit_label(incentive), to_minor)


def test_ten_per_cent_come_off_the_rounded_premium_and_are_rounded_again() -> None:
    before = priced(demo_rates(), WITHOUT_READING).premium_minor
    done = after(found("2025-03", "2025-04", "2025-05"))
    credit, rounding = done.steps[-2:]
    # 3706.80 less 10 % is 3336.12 exactly: nothing is left to round.
    assert before == 370_680
    assert (credit.difference_e4, credit.premium_e4) == (-370_680_000, 3_336_120_000)
    assert (rounding.difference_e4, rounding.premium_e4) == (0, 3_336_120_000)
    assert done.premium_minor == 333_612
    assert credit.label.step == "incentive"
    assert credit.label.factor_millionths == 900_000
    assert credit.label.text_en == "Incentive: 3 months on target, 2025-03 – 2025-05, 10 % off"
    assert credit.label.text_zh == "激励：2025-03 – 2025-05 连续 3 个月达标，减免 10 %"


def test_three_per_cent_leave_a_fraction_of_a_fen_for_the_rounding() -> None:
    done = after(found("2025-03"), to_minor=100)
    # 3706.80 x 0.97 = 3595.596; to whole yuan 3596.
    assert done.steps[-2].premium_e4 == 3_595_596_000
    assert done.steps[-1].difference_e4 == 404_000
    assert done.premium_minor == 359_600
    assert done.steps[-2].label.text_en == "Incentive: 1 month on target, 2025-03, 3 % off"


def test_the_legal_cap_cuts_and_says_so() -> None:
    incentive = found("2025-03", "2025-04", "2025-05", cap=LegalCap(80_000, "a regulation"))
    assert incentive.share_millionths == 100_000
    assert incentive.credit_millionths == 80_000
    label = credit_label(incentive)
    assert label.factor_millionths == 920_000
    assert label.text_en.endswith("10 % off, by law at most 8 %")
    assert label.text_zh.endswith("减免 10 %，法定上限 8 %")


def test_without_a_month_on_target_the_steps_stand_and_take_nothing() -> None:
    before = priced(demo_rates(), WITHOUT_READING)
    done = after(found())
    assert done.premium_minor == before.premium_minor
    assert [step.difference_e4 for step in done.steps[-2:]] == [0, 0]
    assert done.steps[-2].label.text_en == "Incentive: no month on target, nothing off"


def test_without_a_legal_cap_there_is_no_credit() -> None:
    earned = found("2025-03", cap=None)
    assert earned.credit_millionths is None
    assert credit_label(earned).factor_millionths == MILLION


def test_a_run_of_two_months_is_named_by_both() -> None:
    said = credit_label(found("2025-03", "2025-04")).text_en
    assert said == "Incentive: 2 months on target, 2025-03 – 2025-04, 6 % off"


@given(st.integers(0, 10**11), st.integers(0, MILLION - 1), st.integers(1, 1000))
def test_the_differences_add_up_and_the_credit_is_never_negative(
    premium: int, credit: int, to_minor: int
) -> None:
    before = Waterfall(premium - premium % to_minor, ())
    done = credited(before, credit, credit_label(found()), to_minor)
    differences = sum(step.difference_e4 for step in done.steps)
    assert before.premium_minor * E4 + differences == done.premium_minor * E4
    assert done.premium_minor % to_minor == 0
    assert 0 <= done.premium_minor <= before.premium_minor
    exact = before.premium_minor * (MILLION - credit)
    assert abs(done.premium_minor * MILLION - exact) <= to_minor * MILLION // 2 + 100


def test_every_reading_that_can_matter_is_looked_up() -> None:
    first, last = readable_days(window_of(date(2026, 1, 1)), 2)
    # November 2024 to October 2025; an HbA1c of December 2025 reaches back to October.
    assert (first, last) == (date(2024, 10, 31), date(2026, 1, 2))


def test_another_promise_is_another_programme() -> None:
    one = programmes().named("diabetes-glucose")
    steps = one.steps_on(date(2026, 1, 1))
    other = msgspec.structs.replace(
        one,
        incentive=msgspec.structs.replace(
            one.incentive, values=((date(2018, 1, 1), Steps((40_000,), steps.source)),)
        ),
    )
    assert programme_version(other) != programme_version(one)
    assert Programmes([other]).named(programme_version(other)) is other
    assert other.steps_on(date(2026, 1, 1)).share_of(7) == 40_000
