"""Flags: against cases worked out by hand, and what no flag can do to a price."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import comb
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pricing.core.flags import Flag, FlagCode
from services.pricing.core.heaping import is_heaped
from services.pricing.core.incentive import Beside
from services.pricing.core.months import PersonalTarget, month_text
from services.pricing.core.programme import Measure, Programme, Target
from services.pricing.core.readings import Reading
from tests.services.pricing.core.conspicuous import assessed, holding
from tests.services.pricing.core.reading_cases import (
    RECORDER,
    SHANGHAI,
    cases,
    programmes,
    reading,
    readings_of,
    zone_of,
)
from tests.services.pricing.core.test_month_properties import many, which

FLAGS = cases("flags.yaml")
RENEWAL = date(2025, 8, 1)


@pytest.mark.parametrize("case", FLAGS, ids=[case["case"] for case in FLAGS])
def test_what_is_conspicuous_is_flagged_as_the_hand_says(case: Mapping[str, Any]) -> None:
    name = case.get("programme", "diabetes-glucose")
    programme = holding(name) if case.get("hold") else programmes().named(name)
    found = assessed(readings_of(case), programme, zone=zone_of(case))
    assert [f"{flag.code} {flag.months[0]}" for flag in found.flags] == case["flags"]
    results = {month.month: month.result.lower().replace("_", " ") for month in found.months}
    assert {month: results[month] for month in case["months"]} == case["months"]
    for flag in found.flags:  # what, why, and what to do, in both languages; a hold says whom
        assert ": " in flag.en
        assert flag.zh
        assert set(flag.readings) <= {entry.name for entry in readings_of(case)}


def test_a_contradiction_is_told_with_what_home_and_the_laboratory_say() -> None:
    (flag,) = assessed(
        readings_of(FLAGS[0]), programmes().named("diabetes-glucose"), zone=SHANGHAI
    ).flags
    assert (
        "glucose averages 6.0 mmol/L where a laboratory HbA1c of 8.5 % says about 10.9" in flag.en
    )
    assert "均值 6.0 mmol/L，化验糖化血红蛋白 8.5% 对应约 10.9：" in flag.zh
    assert flag.readings == ("a", "b", "c")
    assert re.fullmatch("[0-9a-f]{32}", flag.id)


def daily(kind: str, values: list[str], by: str = "typed") -> list[Reading]:
    """A reading a day from 1 January 2025."""
    first = datetime(2025, 1, 1, 7, tzinfo=SHANGHAI)
    return [
        reading(f"{kind}-{place:03}", kind, value, first + timedelta(days=place), by)
        for place, value in enumerate(values)
    ]


def codes(readings: list[Reading], programme: str) -> list[str]:
    found = assessed(readings, programmes().named(programme), zone=SHANGHAI)
    return sorted({str(flag.code) for flag in found.flags})


def pressures(upper: list[str]) -> list[Reading]:
    return [*daily("systolic", upper), *daily("diastolic", ["71"] * len(upper))]


def test_a_year_just_below_the_target_is_flagged_and_nothing_else_of_it() -> None:
    heaped = pressures(["134", "133", "132", "131"] * 6)
    assert codes(heaped, "hypertension-pressure") == ["BUNCHED_AT_TARGET"]
    # As many on both sides, and nothing outside the width: no flag.
    assert codes(pressures(["134", "136"] * 20), "hypertension-pressure") == []
    assert codes(pressures(["121", "122", "123"] * 20), "hypertension-pressure") == []


@pytest.mark.parametrize(
    ("kind", "value", "heaped"),
    [
        ("fasting", "7.0", True),  # the target: at most 7.0
        ("fasting", "6.6", True),
        ("fasting", "6.5", False),  # half a unit inside
        ("after-meal", "9.9", True),  # below 10.0
        ("after-meal", "9.0", True),
        ("after-meal", "8.9", False),
    ],
)
def test_a_heap_stands_within_the_width_inside_the_target(
    kind: str, value: str, heaped: bool
) -> None:
    assert ("BUNCHED_AT_TARGET" in codes(daily(kind, [value] * 21), "diabetes-glucose")) is heaped


def test_a_heap_is_held_against_what_stands_as_near_outside() -> None:
    assert codes(daily("fasting", ["6.9"] * 40 + ["7.5"] * 12), "diabetes-glucose") == []
    further = daily("fasting", ["6.9"] * 40 + ["7.1"] + ["7.6"] * 9)
    assert codes(further, "diabetes-glucose") == ["BUNCHED_AT_TARGET"]
    (flag,) = assessed(further, programmes().named("diabetes-glucose"), zone=SHANGHAI).flags
    assert flag.en.startswith("40 readings stand within 0.5 mmol/L inside the target and 1 as near")
    assert flag.zh.startswith("目标值内侧 0.5 mmol/L 有 40 个读数，外侧同宽 1 个：")
    assert (flag.measure, len(flag.readings)) == (Measure.FASTING_GLUCOSE, 40)


def test_a_month_without_an_upper_bound_has_no_heap_and_hides_none() -> None:
    def of(month: date, target: Target | None) -> PersonalTarget:
        return PersonalTarget(Measure.FASTING_GLUCOSE, month, target, RECORDER)

    unbounded = of(date(2025, 1, 1), Target(at_least=44)), of(date(2025, 2, 1), None)
    readings = daily("fasting", ["6.9"] * (31 + 21))
    programme = programmes().named("diabetes-glucose")
    (flag,) = assessed(readings, programme, unbounded, zone=SHANGHAI).flags
    assert (flag.code, flag.months) == (FlagCode.BUNCHED_AT_TARGET, ("2025-02",))
    assert len(flag.readings) == 21


def test_of_fewer_readings_than_the_programme_asks_for_no_heap_is_told() -> None:
    name = "diabetes-glucose"
    noughts = daily("fasting", ["6.0", "6.1"] * 10)
    assert codes(noughts, name) == ["DIGIT_PREFERENCE"]
    assert codes(noughts[:-1], name) == []
    (flag,) = assessed(noughts, programmes().named(name), zone=SHANGHAI).flags
    assert flag.en.startswith("10 of 20 readings end in 0: ")
    assert flag.zh.startswith("20 个读数中 10 个末位为 0：")
    assert len(flag.readings) == 10
    half = bunching_at(programmes().named(name), honest_millionths=500_000)
    heap = daily("fasting", ["6.9"] * 20)
    assert flags_in(heap, half) == ["BUNCHED_AT_TARGET"]
    assert flags_in(heap[1:], half) == []


def bunching_at(programme: Programme, **terms: int) -> Programme:
    """The programme with other bounds of what heaps at a target."""
    bounds = programme.plausibility_on(RENEWAL)
    assert programme.plausibility is not None
    assert bounds is not None
    assert bounds.bunching is not None
    changed = msgspec.structs.replace(
        bounds, bunching=msgspec.structs.replace(bounds.bunching, **terms)
    )
    dated = msgspec.structs.replace(programme.plausibility, values=((date(2018, 1, 1), changed),))
    return msgspec.structs.replace(programme, plausibility=dated)


def flags_in(readings: list[Reading], programme: Programme) -> list[str]:
    return [str(flag.code) for flag in assessed(readings, programme, zone=SHANGHAI).flags]


def test_a_silent_device_is_told_with_its_days() -> None:
    flag = flag_of_case("a device that is silent between two of its readings")
    assert flag.readings == ("a", "b")
    assert "came in time between 2025-01-03 and 2025-01-18, 15 days (more than 14): ask" in flag.en
    assert "2025-01-03 至 2025-01-18 之间无及时的设备读数，共 15 天（上限 14）" in flag.zh


def test_a_hospitals_readings_are_not_looked_at_for_heaps() -> None:
    upper = daily("systolic", ["139"] * 40, "clinic")
    lower = daily("diastolic", ["71"] * 40, "clinic")
    assert codes([*upper, *lower], "hypertension-pressure") == []


def test_readings_that_end_in_nought_are_flagged() -> None:
    assert codes(pressures(["120", "110", "100", "120", "113"] * 4), "hypertension-pressure") == [
        "DIGIT_PREFERENCE"
    ]
    assert codes(pressures(["120", "111", "102", "123", "114"] * 4), "hypertension-pressure") == []


def test_seventy_uploads_in_one_slot_are_many_and_one_fewer_are_not() -> None:
    first = datetime(2025, 3, 1, 7, tzinfo=SHANGHAI)
    crowd = [
        reading(f"r{place:02}", "fasting", f"5.{place % 9 + 1}", first + timedelta(minutes=place))
        for place in range(71)
    ]
    assert codes(crowd, "diabetes-glucose") == ["MANY_UPLOADS"]
    assert codes(crowd[1:], "diabetes-glucose") == []
    (flag,) = assessed(crowd, programmes().named("diabetes-glucose"), zone=SHANGHAI).flags
    assert flag.en.startswith("71 home readings in slot 1 (more than 70), of which the earliest")
    assert flag.zh.startswith("第 1 时段有 71 次家测（上限 70）")
    assert (flag.months, flag.measure) == (("2025-03",), Measure.FASTING_GLUCOSE)
    assert len(flag.readings) == 71


def test_a_backdated_reading_and_two_sources_are_told_with_slot_hours_and_difference() -> None:
    backdated = flag_of_case("in a later slot than a device's too")
    assert backdated.readings == ("c",)
    assert "reading that counts in slot 2 came in after" in backdated.en
    assert backdated.zh.startswith("第 2 时段计入的手工读数")
    apart = flag_of_case("an hour apart they may not")
    assert apart.readings == ("b",)
    assert apart.en.startswith("two sources differ by more than 3.0 mmol/L within 1 hour: ")
    assert apart.zh.startswith("两个来源在 1 小时内的读数相差超过 3.0 mmol/L：")
    terms = programmes().named("diabetes-glucose")
    bounds = terms.plausibility_on(RENEWAL)
    assert terms.plausibility is not None
    assert bounds is not None
    assert bounds.disagreement is not None
    two = msgspec.structs.replace(bounds.disagreement, within_hours=2)
    dated = ((date(2018, 1, 1), msgspec.structs.replace(bounds, disagreement=two)),)
    later = msgspec.structs.replace(
        terms, plausibility=msgspec.structs.replace(terms.plausibility, values=dated)
    )
    assert " within 2 hours: " in flag_of_case("two hours apart they may differ", later).en


def flag_of_case(name: str, programme: Programme | None = None) -> Flag:
    """The one flag of a case."""
    (case,) = (one for one in FLAGS if one["case"] == name)
    terms = programme or programmes().named("diabetes-glucose")
    (flag,) = assessed(readings_of(case), terms, zone=SHANGHAI).flags
    return flag


@given(st.integers(0, 60), st.integers(1, 999_999), st.integers(1, 999_999))
def test_the_false_alarm_rate_is_what_it_says(of: int, honest: int, alarm: int) -> None:
    """Of an honest member's counts those that are flagged have together no more probability."""
    share = Fraction(honest, 1_000_000)
    flagged = [count for count in range(of + 1) if is_heaped(count, of, honest, alarm)]
    probability = sum(
        (comb(of, k) * share**k * (1 - share) ** (of - k) for k in flagged), Fraction(0)
    )
    assert probability <= Fraction(alarm, 1_000_000)
    assert flagged == list(range(flagged[0], of + 1)) if flagged else True
    # And one more would have more, so that nothing is spared that is as rare.
    spared = flagged[0] - 1 if flagged else of
    chance = probability + comb(of, spared) * share**spared * (1 - share) ** (of - spared)
    assert chance > Fraction(alarm, 1_000_000) or spared <= share * of


def test_the_honest_share_itself_is_no_heap_however_many_alarms_are_allowed() -> None:
    assert not is_heaped(1, 2, 500_000, 800_000)  # one or two of two are there in three of four
    assert is_heaped(2, 2, 500_000, 800_000)


def without(programme: Programme) -> Programme:
    """The programme that looks at nothing."""
    return msgspec.structs.replace(programme, plausibility=None)


@settings(max_examples=25)
@given(many, which)
def test_a_note_changes_no_month_and_no_price(readings: list[Reading], name: str) -> None:
    noted = assessed(readings, programmes().named(name), renewal=RENEWAL)
    plain = assessed(readings, without(programmes().named(name)), renewal=RENEWAL)
    assert noted.months == plain.months
    assert noted.credit_millionths == plain.credit_millionths


@settings(max_examples=25)
@given(many, which)
def test_a_hold_never_lowers_a_price_and_clearing_gives_back_what_was_held(
    readings: list[Reading], name: str
) -> None:
    programme = holding(name)
    held = assessed(readings, programme, renewal=RENEWAL)
    plain = assessed(readings, without(programme), renewal=RENEWAL)
    assert held.share_millionths <= plain.share_millionths
    for one, other in zip(held.months, plain.months, strict=True):
        assert one == other or (one.result == "NOT_ENOUGH" and one.held_by)
        assert set(one.held_by) <= {flag.id for flag in held.flags if flag.holds}
    every = frozenset(flag.id for flag in held.flags)
    cleared = assessed(readings, programme, renewal=RENEWAL, beside=Beside(cleared=every))
    assert cleared.months == plain.months
    assert not any(flag.holds for flag in cleared.flags)
    # Of some that are cleared the price lies between.
    some = frozenset(sorted(every)[:1])
    between = assessed(readings, programme, renewal=RENEWAL, beside=Beside(cleared=some))
    assert held.share_millionths <= between.share_millionths <= plain.share_millionths


@settings(max_examples=25)
@given(many, which)
def test_leaving_a_month_out_takes_no_hold_off_another(readings: list[Reading], name: str) -> None:
    """What holds a month rests on that month, and on what the member does not control."""
    programme = holding(name)
    held = assessed(readings, programme, renewal=RENEWAL)
    for month in {month_text(entry.effective.date()) for entry in readings}:
        left = [
            entry
            for entry in readings
            if entry.provenance.through_his or month_text(entry.effective.date()) != month
        ]
        rest = assessed(left, programme, renewal=RENEWAL)
        for before, after in zip(held.months, rest.months, strict=True):
            if before.month != month and before.held_by:
                assert after.held_by == before.held_by


@settings(max_examples=25)
@given(many, which, st.randoms(use_true_random=False))
def test_the_order_of_the_readings_changes_no_flag(
    readings: list[Reading], name: str, chance: Any
) -> None:
    shuffled = list(readings)
    chance.shuffle(shuffled)
    programme = programmes().named(name)
    found = assessed(readings, programme, renewal=RENEWAL).flags
    assert assessed(shuffled, programme, renewal=RENEWAL).flags == found


def test_another_reading_makes_another_flag_that_nobody_has_cleared() -> None:
    case = next(one for one in FLAGS if one["case"].startswith("where the programme holds"))
    programme = holding("diabetes-glucose")
    readings = readings_of(case)
    (flag,) = assessed(readings, programme, zone=SHANGHAI).flags
    beside = Beside(cleared=frozenset({flag.id}))
    cleared = assessed(readings, programme, zone=SHANGHAI, beside=beside)
    assert cleared.run_months == 1
    more = reading("d", "fasting", "6.0", datetime(2025, 7, 25, tzinfo=UTC))
    again = assessed([*readings, more], programme, zone=SHANGHAI, beside=beside)
    assert again.run_months == 0
    assert again.flags[0].id != flag.id


def test_before_its_first_day_nothing_is_looked_at() -> None:
    case = FLAGS[0]
    terms = programmes().named("diabetes-glucose")
    assert terms.plausibility is not None
    later = ((date(2027, 1, 1), terms.plausibility.values[0][1]),)
    dated = msgspec.structs.replace(terms.plausibility, values=later)
    programme = msgspec.structs.replace(terms, plausibility=dated)
    assert assessed(readings_of(case), programme, zone=SHANGHAI).flags == ()
