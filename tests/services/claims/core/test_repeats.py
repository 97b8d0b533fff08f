"""A repeated examination is one by days, code and provider; what cannot matter is left out."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.core.adjudicate import adjudicate
from services.claims.core.canonical import plan_bytes
from services.claims.core.codes import code_key
from services.claims.core.facts import (
    BillFacts,
    Coding,
    EarlierService,
    LineFacts,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import MutualRecognition, Plan
from services.claims.core.reasons import Reason
from services.claims.core.repeats import longest_look_back, services_that_matter
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, YIBAO, bill, line, plan_named, policy

EVERY_TERM = plan_named("every-term")
POLICY = policy(end=date(2027, 1, 1))
replace = msgspec.structs.replace


def _plan(*windows: int, codes: str = "scans") -> Plan:
    terms = tuple(
        MutualRecognition(
            id=f"t{number}",
            clause="8.6",
            values=Dated(((EVERY_TERM.first_day, days),)),
            codes=(codes,),
        )
        for number, days in enumerate(windows)
    )
    return replace(EVERY_TERM, mutual_recognition=terms)


def _service(code: str, provider: str, day: date, price: str = "300.00") -> EarlierService:
    return EarlierService(
        bill_number="OLD",
        provider_id=provider,
        code=Coding(system=YIBAO, code=code),
        service_date=day,
        quantity=Decimal(1),
        unit_price=Decimal(price),
    )


@st.composite
def _histories(draw: st.DrawFn) -> tuple[EarlierService, ...]:
    codes = st.sampled_from(("M1", "ｍ1", "M2", "M21", "V1"))
    providers = st.sampled_from(("CLINIC", "OTHER", "GOLD"))
    days = st.integers(-25, 10).map(lambda apart: DAY + timedelta(days=apart))
    prices = st.sampled_from(("100.00", "300.00"))
    return tuple(draw(st.lists(st.builds(_service, codes, providers, days, prices), max_size=8)))


@st.composite
def _scans(draw: st.DrawFn) -> BillFacts:
    lines: list[LineFacts] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        charge = line(number, draw(st.sampled_from(("M1", "M2", "M21", "V1"))), "300.00")
        early = DAY - timedelta(days=draw(st.integers(0, 5)))
        lines.append(replace(charge, service_date=draw(st.sampled_from((None, early)))))
    return bill(*lines)


@settings(max_examples=100)
@given(_scans(), _histories(), st.lists(st.integers(0, 20), max_size=2))
def test_a_line_is_a_repeat_exactly_when_the_definition_says_so(
    facts: BillFacts, services: tuple[EarlierService, ...], windows: list[int]
) -> None:
    decision = adjudicate(_plan(*windows), POLICY, usage_snapshot((), services), facts)
    for charge, decided in zip(facts.lines, decision.lines, strict=True):
        repeats = charge.code.code != "V1" and any(
            one.provider_id != facts.provider_id
            and code_key(one.code) == code_key(charge.code)
            and 0 <= ((charge.service_date or facts.end_date) - one.service_date).days <= window
            for one in services
            for window in windows
        )
        if decided.reason is not Reason.DUPLICATE:
            assert (decided.reason is Reason.DUPLICATE_EXAMINATION) is repeats


@settings(max_examples=100)
@given(_scans(), _histories(), st.lists(st.integers(0, 20), max_size=2))
def test_services_outside_the_days_that_matter_change_no_decision(
    facts: BillFacts, services: tuple[EarlierService, ...], windows: list[int]
) -> None:
    plan = _plan(*windows)
    reach = services_that_matter(plan, facts)
    kept = [one for one in services if reach.has(one)]
    whole = adjudicate(plan, POLICY, usage_snapshot((), services), facts)
    part = adjudicate(plan, POLICY, usage_snapshot((), kept), facts)
    assert part.output_hash == whole.output_hash


def test_only_recognised_codes_reach_back_and_by_the_longest_window_ever() -> None:
    early = DAY - timedelta(days=3)
    facts = bill(line(1, "V1"), replace(line(2, "M1"), service_date=early), line(3, "ｍ1"))
    keys = {code: code_key(Coding(system=YIBAO, code=code)) for code in ("V1", "M1")}
    assert services_that_matter(_plan(4, 9), facts).codes == {
        keys["V1"]: (DAY, DAY),
        keys["M1"]: (early - timedelta(days=9), DAY),
    }
    # The window was 7 days until 2025; a bill of 2026 looks back as far, and then applies 0.
    later = bill(line(code="M1"), day=date(2026, 2, 9))
    assert services_that_matter(EVERY_TERM, later).codes == {
        keys["M1"]: (date(2026, 2, 2), date(2026, 2, 9)),
    }
    first = bill(line(code="M1"), day=date.min)
    assert services_that_matter(EVERY_TERM, first).codes == {keys["M1"]: (date.min, date.min)}


def test_it_reaches_ahead_where_the_later_claim_may_be_denied_and_back_for_all_codes_together() -> (
    None
):
    week, month = timedelta(days=7), timedelta(days=30)
    options = plan_named("conventions-options")
    facts = bill(line(1, "M1"), line(2, "N1"), line(3, "V1"))
    keys = {code: code_key(Coding(system=YIBAO, code=code)) for code in ("M1", "N1", "V1")}
    assert services_that_matter(options, facts).codes == {
        keys["M1"]: (DAY - week, DAY + week),
        keys["N1"]: (DAY - month, DAY),
        keys["V1"]: (DAY, DAY),
    }
    last = bill(line(code="M1"), day=date.max)
    assert services_that_matter(options, last).codes == {keys["M1"]: (date.max - week, date.max)}
    cleaned = services_that_matter(plan_named("every-edit"), bill(line(code="F1")))
    assert [(first, last) for _, first, last in cleaned.sets] == [(DAY - month, DAY)]


@pytest.mark.parametrize(("days", "refused"), [(4, False), (5, True)])
def test_the_later_of_two_terms_may_be_the_one_that_refuses(days: int, refused: bool) -> None:
    usage = usage_snapshot((), [_service("M1", "OTHER", DAY - timedelta(days=5))])
    decided = adjudicate(_plan(1, days), POLICY, usage, bill(line(code="M1"))).lines[0]
    assert (decided.reason is Reason.DUPLICATE_EXAMINATION) is refused


def test_a_plan_without_the_term_looks_at_nothing_and_keeps_its_bytes() -> None:
    plan = _plan()
    usage = usage_snapshot((), [_service("M1", "OTHER", DAY)])
    facts = bill(line(code="M1"))
    with_history, without = (
        adjudicate(plan, POLICY, known, facts) for known in (usage, UsageSnapshot())
    )
    assert with_history.output_hash == without.output_hash
    assert b"mutual_recognition" not in plan_bytes(plan)
    assert b"mutual_recognition" in plan_bytes(_plan(1))


EVERY_EDIT = plan_named("every-edit")


def _reaches(code: str, *earlier: tuple[str, str, int]) -> list[bool]:
    """Of services by code, provider and days before a bill of one code, which can matter."""
    reach = services_that_matter(EVERY_EDIT, bill(line(code=code)))
    return [
        reach.has(_service(one, provider, DAY - timedelta(days=days)))
        for one, provider, days in earlier
    ]


def test_of_codes_that_go_once_every_so_many_days_each_matters_within_them() -> None:
    assert _reaches(
        "F1", ("F2", "OTHER", 30), ("F2", "OTHER", 31), ("F2", "OTHER", 0), ("F2", "OTHER", -1)
    ) == [True, False, True, False]
    assert _reaches("F1", ("V1", "OTHER", 3)) == [False]


def test_a_supply_matters_for_a_year_and_no_other_code_does() -> None:
    earlier = [("R1", "OTHER", 366), ("R1", "OTHER", 367), ("R2", "OTHER", 3)]
    assert _reaches("R1", *earlier) == [True, False, False]


def test_an_examination_matters_from_the_first_day_of_its_window_to_the_bills() -> None:
    earlier = [("M1", "OTHER", days) for days in (7, 8, 0, -1)]
    assert _reaches("M1", *earlier) == [True, False, True, False]


def test_where_codes_are_paired_all_that_the_provider_did_that_day_matters() -> None:
    assert _reaches("A2", ("V9", "CLINIC", 0), ("V9", "OTHER", 0), ("V9", "CLINIC", 1)) == [
        True,
        False,
        False,
    ]
    assert services_that_matter(EVERY_TERM, bill()).provider_days == frozenset()


def test_a_window_of_the_same_day_reaches_back_to_no_other() -> None:
    assert services_that_matter(_plan(0), bill(line(code="M1"))).codes == {
        code_key(Coding(system=YIBAO, code="M1")): (DAY, DAY)
    }


def test_the_longest_look_back_is_that_of_any_term_on_any_day() -> None:
    # Examinations 7 days, cleanings 30 until 2025, supplies a year.
    assert longest_look_back(EVERY_EDIT) == 366
    assert longest_look_back(_plan(4, 9, 0)) == 9
    assert longest_look_back(plan_named("family-deductible")) == 0
