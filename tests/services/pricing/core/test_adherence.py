"""Days covered by drugs: against cases worked out by hand, and what no fill can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.dated import add_months
from services.pricing.core.adherence import (
    Adherence,
    Supply,
    SupplyKind,
    adherence_of,
    covered_days,
)
from services.pricing.core.incentive import Beside, credit_label
from services.pricing.core.programme import share_text
from tests.services.pricing.core.conspicuous import assessed
from tests.services.pricing.core.reading_cases import cases, programmes, weekly

CASES = cases("adherence.yaml")
METFORMIN = "A10BA02"


def supply(name: str, first: date, days: int, **more: Any) -> Supply:
    told = {"kind": SupplyKind.FILL, "drug": METFORMIN, "received": first, **more}
    told.setdefault("recorder", "hospital/general")
    return Supply(name=name, first=first, days=days, **told)


def supplies_of(case: Mapping[str, Any]) -> list[Supply]:
    found = []
    more = {"recorder": case.get("by", "hospital/general")}
    if "late" in case:
        more["received"] = date.fromisoformat(case["late"])
    for kind, key in ((SupplyKind.FILL, "fills"), (SupplyKind.OPENING, "openings")):
        for place, said in enumerate(case.get(key, ())):
            drug, day, days = (*said.split(), "1")[:3]
            first = date.fromisoformat(day)
            name = f"{kind}-{place:02}"
            found.append(supply(name, first, int(days), kind=kind, drug=drug, **more))
    for place, said in enumerate(case.get("stays", ())):
        day, days = said.split()
        first = date.fromisoformat(day)
        stay = {"kind": SupplyKind.STAY, "drug": ""}
        found.append(supply(f"stay-{place}", first, int(days), **stay))
    return found


def adherence(supplies: Iterable[Supply], programme: str = "diabetes-glucose") -> Adherence:
    beside = Beside(supplies=tuple(supplies))
    found = assessed([], programmes().named(programme), beside=beside).adherence
    assert found is not None
    return found


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_days_are_covered_as_the_hand_says(case: Mapping[str, Any]) -> None:
    found = adherence(supplies_of(case))
    assert found.pdc_millionths == case.get("pdc")
    assert found.excluded is case.get("excluded", False)
    assert (found.run_months, share_text(found.share_millionths)) == (case["run"], case["share"])
    covered = {month.month: f"{month.covered}/{month.days}" for month in found.months}
    assert {month: covered[month] for month in case["covered"]} == case["covered"]
    assert set(found.evidence) <= {one.name for one in supplies_of(case)}
    assert bool(found.evidence) is bool(found.run_months)


TERMS = programmes().named("diabetes-glucose").adherence_on(date(2026, 1, 1))
FIRST = date(2024, 11, 1)


def of_window(*supplies: Supply, months: int = 12) -> Adherence:
    """What the drugs come to in so many months of the window from November 2024 on."""
    assert TERMS is not None
    mine = [add_months(FIRST, ahead) for ahead in range(months)]
    return adherence_of(supplies, TERMS, FIRST, mine)


def test_a_treatment_begins_with_the_first_fill_of_the_window_from_its_first_day_on() -> None:
    earlier = supply("before", date(2024, 10, 31), 30)
    first, later = supply("a", FIRST, 30), supply("b", date(2025, 1, 1), 10)
    found = of_window(earlier, first, later)
    assert (found.treatment_first, found.fills) == ("2024-11-01", 2)
    assert (found.covered, found.days) == (40, 365)
    only_before = of_window(earlier, supply("far", date(2024, 9, 1), 30))
    assert (only_before.treatment_first, only_before.fills) == ("", 0)
    assert (only_before.covered, only_before.days) == (0, 0)
    assert only_before.pdc_millionths is None


def test_what_is_handed_out_after_the_window_is_none_of_it() -> None:
    last, behind = supply("a", date(2025, 10, 31), 30), supply("b", date(2025, 11, 1), 30)
    found = of_window(last, behind)
    assert (found.treatment_first, found.fills) == ("2025-10-31", 1)
    assert (found.covered, found.days) == (1, 1)


@pytest.mark.parametrize(
    ("day", "excluded"),
    [
        (date(2024, 10, 31), False),
        (FIRST, True),
        (date(2025, 10, 31), True),
        (date(2025, 11, 1), False),
    ],
)
def test_an_excluded_drug_counts_on_the_days_of_the_window(day: date, excluded: bool) -> None:
    assert of_window(supply("a", day, 30, drug="A10AE04")).excluded is excluded


def test_the_window_ends_with_its_last_month_and_is_whole_where_all_months_have_served() -> None:
    fills = [supply("a", FIRST, 30), supply("b", date(2025, 10, 30), 30)]
    served = of_window(*fills, months=0)
    assert (served.days, served.covered, served.months) == (365, 32, ())
    assert served.pdc_millionths == of_window(*fills).pdc_millionths == 87_671  # 32 of 365
    assert (served.run_months, served.share_millionths, served.evidence) == (0, 0, ())
    half = of_window(*fills, months=6)
    assert (half.fills, half.days, half.covered) == (1, 181, 30)  # to 30 April


def test_a_window_in_hospital_has_nothing_to_measure_and_one_day_at_home_is_measured() -> None:
    fills = supply("a", date(2025, 7, 1), 30), supply("b", date(2025, 7, 2), 30)
    stay = {"kind": SupplyKind.STAY, "drug": ""}
    whole = of_window(*fills, supply("s", date(2025, 7, 1), 123, **stay))
    assert (whole.days, whole.covered, whole.pdc_millionths) == (0, 0, None)
    but_one = of_window(*fills, supply("s", date(2025, 7, 1), 122, **stay))
    assert (but_one.days, but_one.covered, but_one.pdc_millionths) == (1, 1, 1_000_000)


def test_of_runs_of_one_length_the_earliest_earns() -> None:
    found = of_window(supply("a", date(2025, 1, 1), 31), supply("b", date(2025, 5, 1), 31))
    assert (found.run_first, found.run_last, found.run_months) == ("2025-01", "2025-01", 1)
    assert found.evidence == ("a",)


def test_only_days_before_the_end_are_covered() -> None:
    end = date(2025, 6, 3)
    box = {"kind": SupplyKind.OPENING}
    drugs = [supply("fill", date(2025, 6, 1), 30), supply("box", end, 1, **box)]
    assert covered_days(drugs, (), end) == {
        date(2025, 6, 1): ["fill"],
        date(2025, 6, 2): ["fill"],
    }


def test_without_a_programme_of_drugs_nothing_of_them_is_told() -> None:
    programme = msgspec.structs.replace(programmes().named("diabetes-glucose"), adherence=None)
    drugs = Beside(supplies=(supply("a", date(2025, 1, 1), 90),))
    found = assessed([], programme, beside=drugs)
    assert (found.adherence, found.by_adherence, found.share_millionths) == (None, False, 0)


def test_hypertension_counts_its_own_drugs() -> None:
    valsartan = supply("a", date(2025, 6, 1), 30, drug="C09CA03")
    heart_failure = supply("b", date(2025, 6, 1), 30, drug="C09DX04")
    diuretic = supply("c", date(2025, 7, 1), 31, drug="C03AA03")
    assert adherence([valsartan, diuretic], "hypertension-pressure").run_months == 1
    assert adherence([valsartan, heart_failure], "hypertension-pressure").excluded


def test_the_drugs_stand_beside_the_readings_and_the_greater_counts() -> None:
    programme = programmes().named("diabetes-glucose")
    drugs = Beside(supplies=(supply("a", date(2025, 1, 1), 90),))
    alone = assessed([], programme, beside=drugs)
    assert (alone.share_millionths, alone.by_adherence) == (30_000, True)
    assert alone.evidence == ("a",)
    label = credit_label(alone)
    assert label.cell == "adherence 3"
    assert label.text_en == "Incentive: medication taken in 3 months, 2025-01 – 2025-03, 3 % off"
    assert label.text_zh == "激励：2025-01 – 2025-03 连续 3 个月按时用药，减免 3 %"
    readings = [one for month in ("2025-05", "2025-06") for one in weekly(month, "6.0")]
    both = assessed(readings, programme, beside=drugs)
    assert (both.share_millionths, both.by_adherence) == (60_000, False)
    assert set(both.evidence) == {one.name for one in readings}
    equal = assessed(weekly("2025-05", "6.0"), programme, beside=drugs)
    assert (equal.share_millionths, equal.by_adherence) == (30_000, False)


@pytest.mark.parametrize(
    ("days", "english", "chinese"),
    [
        (31, "taken in 1 month, 2025-01, 1 % off", "2025-01 连续 1 个月按时用药，减免 1 %"),
        (
            59,
            "taken in 2 months, 2025-01 – 2025-02, 2 % off",
            "2025-01 – 2025-02 连续 2 个月按时用药，减免 2 %",
        ),
    ],
)
def test_what_drugs_earn_is_told_by_its_months(days: int, english: str, chinese: str) -> None:
    drugs = Beside(supplies=(supply("a", date(2025, 1, 1), days),))
    label = credit_label(assessed([], programmes().named("diabetes-glucose"), beside=drugs))
    assert label.text_en == f"Incentive: medication {english}"
    assert label.text_zh == f"激励：{chinese}"


fills = st.lists(
    st.builds(
        supply,
        st.integers(0, 9_999).map(lambda n: f"f{n:04}"),
        st.integers(0, 420).map(lambda n: date(2024, 9, 1) + timedelta(days=n)),
        st.integers(1, 100),
        drug=st.sampled_from([METFORMIN, "A10BB09", "A10BK01"]),
        kind=st.sampled_from([SupplyKind.FILL, SupplyKind.FILL, SupplyKind.OPENING]),
    ),
    max_size=12,
    unique_by=lambda one: one.name,
)
stays = st.lists(
    st.builds(
        supply,
        st.integers(0, 99).map(lambda n: f"s{n:02}"),
        st.integers(0, 420).map(lambda n: date(2024, 9, 1) + timedelta(days=n)),
        st.integers(1, 30),
        drug=st.just(""),
        kind=st.just(SupplyKind.STAY),
    ),
    max_size=2,
    unique_by=lambda one: one.name,
)


@settings(max_examples=40)
@given(fills, stays)
def test_a_proportion_lies_between_nothing_and_all(some: list[Supply], away: list[Supply]) -> None:
    found = adherence([*some, *away])
    assert 0 <= found.covered <= found.days
    assert found.pdc_millionths is None or 0 <= found.pdc_millionths <= 1_000_000
    assert all(0 <= month.covered <= month.days <= 31 for month in found.months)


@settings(max_examples=40)
@given(fills, stays, fills)
def test_more_fills_never_lower_a_month_nor_a_share(
    some: list[Supply], away: list[Supply], more: list[Supply]
) -> None:
    """Nor PQA's figure, unless they make the treatment begin earlier."""
    extra = [msgspec.structs.replace(one, name=f"more-{one.name}") for one in more]
    before, after = adherence([*some, *away]), adherence([*some, *away, *extra])
    for one, other in zip(before.months, after.months, strict=True):
        assert one.covered <= other.covered
        assert one.days == other.days
    assert before.share_millionths <= after.share_millionths
    if before.treatment_first == after.treatment_first:
        assert before.covered <= after.covered
        assert (before.pdc_millionths or 0) <= (after.pdc_millionths or 0)


@settings(max_examples=40)
@given(fills, stays, st.randoms(use_true_random=False))
def test_the_order_of_the_fills_changes_nothing(
    some: list[Supply], away: list[Supply], chance: Any
) -> None:
    shuffled = [*some, *away]
    chance.shuffle(shuffled)
    assert adherence(shuffled) == adherence([*some, *away])


@settings(max_examples=40)
@given(fills, st.sampled_from(["diabetes-glucose", "hypertension-pressure"]))
def test_drugs_never_raise_a_price(some: list[Supply], name: str) -> None:
    programme = programmes().named(name)
    readings = weekly("2025-03", "6.0")
    alone = assessed(readings, programme).credit_millionths or 0
    beside = assessed(readings, programme, beside=Beside(supplies=tuple(some)))
    assert (beside.credit_millionths or 0) >= alone
