"""A plan's terms on a day: from its first day on, changing on the days that it says."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from services.claims.core.facts import CareType, Coding
from services.claims.core.plan import SystemCodes
from services.claims.core.terms import CodeMatcher, terms_on
from services.common.dated import NoTermsInForce
from tests.services.claims.core.bills import YIBAO, plan_named

PLAN = plan_named("every-term")
DAY = timedelta(days=1)


def test_a_plan_has_terms_from_its_first_day_on_and_none_before() -> None:
    assert terms_on(PLAN, PLAN.first_day).sections
    with pytest.raises(NoTermsInForce, match="2024-01-01"):
        terms_on(PLAN, PLAN.first_day - DAY)


@pytest.mark.parametrize(
    ("day", "deductible"), [(date(2025, 12, 31), 100_000), (date(2026, 1, 1), 80_000)]
)
def test_a_value_changes_on_its_day(day: date, deductible: int) -> None:
    found = {one.term.id: one.value for one in terms_on(PLAN, day).deductibles}
    assert found["member-deductible"] == deductible


def test_what_is_null_is_no_term() -> None:
    before, after = terms_on(PLAN, date(2025, 5, 31)), terms_on(PLAN, date(2025, 6, 1))
    assert [one.term.id for one in before.copays] == ["outpatient-tertiary", "outpatient"]
    assert [one.term.id for one in after.copays][2:] == ["dentist"]


def test_terms_are_made_once_between_two_changes() -> None:
    assert terms_on(PLAN, date(2025, 7, 1)) is terms_on(PLAN, date(2025, 9, 30))
    assert terms_on(PLAN, date(2025, 6, 30)) is not terms_on(PLAN, date(2025, 7, 1))


@pytest.mark.parametrize(
    ("code", "care", "section", "unknown"),
    [
        ("D1", CareType.INPATIENT, "dental", False),
        ("H1", CareType.INPATIENT, "inpatient", False),
        ("V1", CareType.OUTPATIENT, "outpatient", False),
        ("V1", CareType.PHARMACY, None, False),
        ("Z9", CareType.OUTPATIENT, None, False),
        ("D1", None, "dental", False),
        ("V1", None, None, True),
    ],
)
def test_named_codes_go_before_what_is_left(
    code: str, care: CareType | None, section: str | None, unknown: bool
) -> None:
    found, hangs = terms_on(PLAN, date(2025, 7, 1)).sections_for(
        Coding(system=YIBAO, code=code), care
    )
    assert (found.id if found else None, hangs) == (section, unknown)


def test_a_code_of_another_system_is_another_code() -> None:
    matcher = CodeMatcher([SystemCodes(system="a", exact=("X",), prefixes=("Y",))])
    assert matcher.has(Coding(system="a", code="X"))
    assert matcher.has(Coding(system="a", code="Y1"))
    assert not matcher.has(Coding(system="a", code="X1"))
    assert not matcher.has(Coding(system="b", code="X"))
    assert not matcher.has(Coding(system="b", code="Y1"))
