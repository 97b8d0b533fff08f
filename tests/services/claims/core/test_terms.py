"""A plan's terms on a day: from its first day on, changing on the days that it says."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec
import pytest

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import DecisionLine, LineOutcome
from services.claims.core.facts import CareType, Coding, UsageSnapshot
from services.claims.core.plan import SystemCodes
from services.claims.core.reasons import Reason
from services.claims.core.terms import CodeMatcher, terms_on
from services.common.dated import Dated, NoTermsInForce
from tests.services.claims.core.bills import DAY as DAY_OF_BILL
from tests.services.claims.core.bills import YIBAO, bill, line, plan_named, policy

PLAN = plan_named("every-term")
DAY = timedelta(days=1)
replace = msgspec.structs.replace


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
    placed = terms_on(PLAN, date(2025, 7, 1)).place(Coding(system=YIBAO, code=code), care)
    assert (placed.section.id if placed.section else None, placed.unknown) == (section, unknown)
    assert placed.ended is None


@pytest.mark.parametrize("last", [None, False])
def test_the_codes_of_an_ended_section_do_not_fall_to_what_is_left(last: bool | None) -> None:
    ends = DAY_OF_BILL - DAY
    dental = next(one for one in PLAN.sections if one.id == "dental")

    def decided(*in_force: tuple[date, bool | None]) -> DecisionLine:
        ended = replace(dental, in_force=Dated(values=in_force))
        sections = tuple(
            ended if one is dental else replace(one, codes=()) if one.id == "outpatient" else one
            for one in PLAN.sections
        )
        plan = replace(PLAN, sections=sections)
        return adjudicate(plan, policy(), UsageSnapshot(), bill(line(code="D1"))).lines[0]

    was = decided((PLAN.first_day, True), (ends, last))
    assert (was.outcome, was.reason, was.clause, was.benefit) == (
        LineOutcome.DENIED,
        Reason.BENEFIT_EXCLUDED,
        dental.clause,
        0,
    )
    assert decided((PLAN.first_day, True)).section == "dental"
    # What has yet to begin keeps nothing out of what is left.
    assert decided((PLAN.first_day, None), (DAY_OF_BILL + DAY, True)).section == "outpatient"


def test_a_code_of_another_system_is_another_code() -> None:
    matcher = CodeMatcher([SystemCodes(system="a", exact=("X",), prefixes=("Y",))])
    assert matcher.has(Coding(system="a", code="X"))
    assert matcher.has(Coding(system="a", code="Y1"))
    assert not matcher.has(Coding(system="a", code="X1"))
    assert not matcher.has(Coding(system="b", code="X"))
    assert not matcher.has(Coding(system="b", code="Y1"))
