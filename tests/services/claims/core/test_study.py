"""How exactly a study is told of whom, and which days and causes it is told."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.core.facts import (
    BillFacts,
    CareType,
    Coding,
    DiagnosisFacts,
    DisclosedCondition,
    Sex,
)
from services.claims.core.study import (
    LEAST,
    Born,
    Census,
    Cover,
    Precision,
    after_infancy,
    cause_of,
    condition_of,
    covering,
    digest_of,
    is_young,
    policy_years,
    told_birth,
)

ICD_10 = "http://hl7.org/fhir/sid/icd-10"
FAR = date(2100, 1, 1)


def born(year: int, month: int = 3, day: int = 7, sex: Sex = Sex.FEMALE) -> Born:
    return Born(date(year, month, day), sex)


def precision(people: list[Born], one: Born) -> Precision | None:
    return Census(people).precision(one)


def test_five_of_one_month_are_told_by_it() -> None:
    people = [born(1980, day=day) for day in range(1, LEAST + 1)]
    assert precision(people, people[0]) is Precision.MONTH


def test_four_of_one_month_coarsen_the_year_for_all_of_it() -> None:
    march, june = [born(1980, 3)] * LEAST, [born(1980, 6)] * (LEAST - 1)
    assert precision(march + june, march[0]) is Precision.YEAR
    assert precision(march + june, june[0]) is Precision.YEAR


def test_four_of_one_year_coarsen_its_five_years_for_all() -> None:
    many, few = [born(1980)] * LEAST, [born(1983)] * (LEAST - 1)
    assert precision(many + few, many[0]) is Precision.FIVE_YEARS
    assert precision(many + few, few[0]) is Precision.FIVE_YEARS


def test_who_shares_five_years_and_sex_with_too_few_is_not_told_of() -> None:
    women, men = [born(1980)] * LEAST, [born(1980, sex=Sex.MALE)] * (LEAST - 1)
    assert precision(women + men, men[0]) is None
    assert precision(women + men, women[0]) is Precision.MONTH


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (Precision.MONTH, date(1983, 3, 1)),
        (Precision.YEAR, date(1983, 7, 1)),
        (Precision.FIVE_YEARS, date(1982, 7, 1)),
    ],
)
def test_a_birth_is_told_as_the_first_of_its_month_or_the_middle_of_what_it_may_be(
    how: Precision, told: date
) -> None:
    assert told_birth(date(1983, 3, 7), how) == told


@pytest.mark.parametrize("birth", [date(1980, 1, 1), date(1984, 12, 31)])
def test_all_of_five_years_are_told_one_birth_of_them(birth: date) -> None:
    assert told_birth(birth, Precision.FIVE_YEARS) == date(1982, 7, 1)


birthdays = st.builds(
    Born, st.dates(date(1979, 11, 1), date(1981, 2, 28)), st.sampled_from([Sex.FEMALE, Sex.MALE])
)


@settings(max_examples=40)
@given(st.lists(birthdays, max_size=60))
def test_whatever_is_told_of_birth_and_sex_is_shared_by_enough(people: list[Born]) -> None:
    census = Census(people)
    told = Counter(
        (told_birth(one.birth_date, how), how, one.sex)
        for one in people
        if (how := census.precision(one)) is not None
    )
    assert all(number >= LEAST for number in told.values())


def test_people_are_the_same_only_if_all_are_born_alike() -> None:
    two = {"a": born(1980), "b": born(1981)}
    assert digest_of(two) == digest_of(dict(two))
    others = {"a": born(1980)}, {**two, "c": born(1980)}, {**two, "b": born(1981, 8)}
    assert digest_of(two) not in {digest_of(one) for one in others}
    assert re.fullmatch("[0-9a-f]{32}", digest_of(two))


def test_a_newborn_s_first_day_of_cover_does_not_tell_the_birth() -> None:
    for birth in (date(2020, 1, 1), date(2020, 12, 31)):  # each covered from the day of birth
        cover = Cover(
            policy_id="p", policy_start=birth, start=birth, end=date(2024, 1, 1), currency="CNY"
        )
        years, _ = policy_years([cover], FAR)
        told = after_infancy(years, birth)
        assert told[0].first_day == date(2022, 1, 1) > told_birth(birth, Precision.YEAR)
        assert told[-1].after_day == date(2024, 1, 1)
        assert not after_infancy([one for one in years if one.after_day <= date(2022, 1, 1)], birth)


def test_whose_cover_begins_soon_after_five_years_is_not_told_by_them() -> None:
    assert is_young(date(2026, 1, 1), date(2024, 2, 3))
    assert not is_young(date(2026, 1, 2), date(2024, 2, 3))
    grown = [born(2020)] * LEAST
    young = Born(date(2024, 2, 3), Sex.FEMALE, young=True)
    census = Census([*grown, young])
    assert census.precision(young) is None
    assert census.precision(grown[0]) is Precision.FIVE_YEARS
    assert Census([*grown[1:], young]).precision(grown[0]) is None  # four are left beside them
    many = Census([*grown, *[young] * LEAST])
    assert many.precision(young) is many.precision(grown[0]) is Precision.MONTH


@pytest.mark.parametrize(
    ("prefixes", "condition"),
    [
        ([], "none"),
        (["J45"], "none"),
        (["E1"], "none"),
        (["E11"], "type2_diabetes"),
        (["I10"], "hypertension"),
        (["E11.9", "I13.2"], "both"),
    ],
)
def test_conditions_are_what_was_disclosed(prefixes: list[str], condition: str) -> None:
    assert condition_of([DisclosedCondition(code_prefix=one) for one in prefixes]) == condition


@pytest.mark.parametrize(
    ("care", "diagnosis", "cause"),
    [
        (CareType.INPATIENT, "J18.9", "inpatient"),
        (CareType.CHRONIC, "E11.9", "outpatient"),
        (CareType.INPATIENT, "S72.0", "injury"),
        (None, "J18.9", "unknown"),
        (None, "t14.9", "injury"),
    ],
)
def test_causes(care: CareType | None, diagnosis: str, cause: str) -> None:
    assert cause_of(stay(care, (diagnosis, True))) == cause


def test_an_injury_beside_the_principal_diagnosis_is_no_cause() -> None:
    broken, fever = ("S72.0", False), ("J18.9", True)
    assert cause_of(stay(CareType.INPATIENT, broken, fever)) == "inpatient"
    assert cause_of(stay(CareType.INPATIENT, broken)) == "inpatient"


def stay(care: CareType | None, *diagnoses: tuple[str, bool]) -> BillFacts:
    """A bill with these diagnoses; of each, whether it is the principal one."""
    return BillFacts(
        bill_number="b",
        provider_id="h",
        start_date=date(2026, 5, 4),
        end_date=date(2026, 5, 8),
        currency="CNY",
        lines=(),
        care_type=care,
        diagnoses=tuple(
            DiagnosisFacts(
                number=number, code=Coding(system=ICD_10, code=code), principal=principal
            )
            for number, (code, principal) in enumerate(diagnoses, start=1)
        ),
    )


def cover(policy: str, start: str, end: str, *, policy_start: str = "") -> Cover:
    first = date.fromisoformat(start)
    return Cover(
        policy_id=policy,
        policy_start=date.fromisoformat(policy_start) if policy_start else first,
        start=first,
        end=date.fromisoformat(end),
        currency="CNY",
    )


def days(*covers: Cover, before: date = FAR) -> list[tuple[str, str, str]]:
    years, _ = policy_years(covers, before)
    return [(y.policy_id, y.first_day.isoformat(), y.after_day.isoformat()) for y in years]


def test_cover_is_cut_at_the_anniversaries_of_its_policy() -> None:
    late = cover("a", "2024-06-01", "2026-03-01", policy_start="2024-02-29")
    assert days(late) == [
        ("a", "2024-06-01", "2025-03-01"),
        ("a", "2025-03-01", "2026-03-01"),
    ]


def test_years_that_begin_on_the_valuation_day_are_not_told() -> None:
    assert days(cover("a", "2024-01-01", "2026-01-01"), before=date(2025, 1, 1)) == [
        ("a", "2024-01-01", "2025-01-01")
    ]


def test_a_day_is_exposure_once() -> None:
    covers = cover("a", "2026-01-01", "2027-01-01"), cover("b", "2026-07-01", "2027-07-01")
    inside = cover("c", "2026-02-01", "2026-03-01")
    years, cut = policy_years([*covers, inside], FAR)
    assert [(y.policy_id, y.first_day.isoformat()) for y in years] == [
        ("a", "2026-01-01"),
        ("b", "2027-01-01"),
    ]
    assert cut == 2
    assert covering(years, date(2026, 8, 1)) == years[0]
    assert covering(years, date(2027, 7, 1)) is None


def test_policies_that_follow_each_other_lose_no_day() -> None:
    covers = cover("a", "2025-01-01", "2026-01-01"), cover("b", "2026-01-01", "2027-01-01")
    years, cut = policy_years(covers, FAR)
    assert [(y.policy_id, y.first_day, y.after_day) for y in years] == [
        ("a", date(2025, 1, 1), date(2026, 1, 1)),
        ("b", date(2026, 1, 1), date(2027, 1, 1)),
    ]
    assert cut == 0
    assert covering(years, date(2025, 1, 1)) == years[0]  # the first day is covered, the last not
    assert covering(years, date(2026, 1, 1)) == years[1]


def test_a_policy_that_ends_with_an_earlier_one_has_no_year_of_its_own() -> None:
    covers = cover("a", "2026-01-01", "2027-01-01"), cover("b", "2026-07-01", "2027-01-01")
    years, cut = policy_years(covers, FAR)
    assert [one.policy_id for one in years] == ["a"]
    assert cut == 1
