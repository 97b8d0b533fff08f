"""Edits by their definitions: a naive reading of tables and history agrees with the engine's."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.core.adjudicate import adjudicate
from services.claims.core.codes import code_key
from services.claims.core.decision import LineOutcome, conservation_faults
from services.claims.core.edit_terms import edits_on
from services.claims.core.facts import (
    BillFacts,
    CareType,
    Coding,
    EarlierService,
    Licence,
    LineFacts,
    Sex,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill
from services.claims.core.plan import Plan
from services.claims.core.plan_edits import Edits, Indication
from services.claims.core.plan_parts import Ages
from services.claims.core.reasons import PRECEDENCE, Reason
from services.claims.core.repeats import services_that_matter
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, YIBAO, bill, line, plan_named, policy

PLAN = plan_named("every-edit")
POLICY = policy(start=date(2024, 1, 1), end=date(2029, 1, 1))
CODES = ("U1", "U2", "ｕ2", "A1", "A2", "A3", "A5", "F1", "F2", "R1", "V1", "M1", "K1", "K2")
UNITS_OF_A_DAY = 3
replace = msgspec.structs.replace


@st.composite
def _services(draw: st.DrawFn) -> EarlierService:
    return EarlierService(
        bill_number=draw(st.sampled_from(("OLD1", "OLD2"))),
        provider_id=draw(st.sampled_from(("CLINIC", "OTHER"))),
        code=Coding(system=YIBAO, code=draw(st.sampled_from(CODES))),
        service_date=DAY - timedelta(days=draw(st.sampled_from((-1, 0, 0, 1, 7, 8, 30, 31, 400)))),
        quantity=Decimal(draw(st.sampled_from(("1", "2", "0.5")))),
        unit_price=Decimal(draw(st.sampled_from(("10", "20")))),
        modifiers=draw(st.sampled_from(((), ("59",), ("LT",)))),
        days_supply=draw(st.sampled_from((None, 30, 366))),
    )


@st.composite
def _bills(draw: st.DrawFn) -> BillFacts:
    lines: list[LineFacts] = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        code, quantity = draw(st.sampled_from(CODES)), draw(st.sampled_from(("1", "2", "0.5")))
        charge = line(number, code, draw(st.sampled_from(("10", "20"))), quantity)
        lines.append(
            replace(
                charge,
                service_date=draw(st.sampled_from((None, DAY - timedelta(days=1)))),
                modifiers=draw(st.sampled_from(((), ("59",), ("LT",)))),
            )
        )
    facts = bill(*lines)
    return replace(facts, start_date=DAY - timedelta(days=1), licences=(Licence.HOSPITAL,))


_histories = st.lists(_services(), max_size=8).map(tuple)


@settings(max_examples=150)
@given(_bills(), _histories)
def test_services_outside_the_reach_change_no_decision(
    facts: BillFacts, services: tuple[EarlierService, ...]
) -> None:
    reach = services_that_matter(PLAN, facts)
    first, last = reach.days()
    kept = [one for one in services if reach.has(one)]
    assert all(first <= one.service_date <= last for one in kept)
    whole = adjudicate(PLAN, POLICY, usage_snapshot((), services), facts)
    part = adjudicate(PLAN, POLICY, usage_snapshot((), kept), facts)
    assert part.output_hash == whole.output_hash


@settings(max_examples=150)
@given(_bills(), _histories)
def test_lines_are_refused_exactly_as_the_tables_say(
    facts: BillFacts, services: tuple[EarlierService, ...]
) -> None:
    decision = adjudicate(PLAN, POLICY, usage_snapshot((), services), facts)
    assert conservation_faults(decision) == ()
    reasons = {one.number: one.reason for one in decision.lines}
    alone = PRECEDENCE[: PRECEDENCE.index(Reason.PACKAGE_MISMATCH)]
    standing = [one for one in facts.lines if reasons[one.number] not in alone]
    units: Counter[tuple[str, date]] = Counter()
    firsts: dict[date, list[tuple[str, frozenset[str]]]] = {}
    for one in services:
        units[code_key(one.code)[1], one.service_date] += int(one.quantity * 10)
        if one.provider_id == facts.provider_id:
            firsts.setdefault(one.service_date, []).append(
                (code_key(one.code)[1], frozenset(one.modifiers))
            )
    for charge in standing:
        code, day = code_key(charge.code)[1], charge.service_date or DAY
        units[code, day] += int(charge.quantity * 10)
        firsts.setdefault(day, []).append((code, frozenset(charge.modifiers)))
    for charge in standing:
        code, day = code_key(charge.code)[1], charge.service_date or DAY
        if reasons[charge.number] is Reason.PACKAGE_MISMATCH:
            continue
        beside = firsts[day]
        never = {("A1", "A2"), ("A2", "A5")}
        bundled = any((first, code) in never for first, _ in beside) or (
            code == "A3"
            and any(
                first == "A1" and "59" not in theirs | set(charge.modifiers)
                for first, theirs in beside
            )
        )
        assert (reasons[charge.number] is Reason.BUNDLED) is bundled
        if not bundled:
            exceeded = code == "U2" and units[code, day] > UNITS_OF_A_DAY * 10
            assert (reasons[charge.number] is Reason.UNITS_EXCEEDED) is exceeded


@settings(max_examples=100)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=6))
def test_of_allowed_services_none_lies_within_the_window_before_another(days: list[int]) -> None:
    start = date(2025, 1, 1)
    lines = [
        replace(line(number, "F1", "10"), service_date=start + timedelta(days=day))
        for number, day in enumerate(days, start=1)
    ]
    facts = replace(
        bill(*lines, day=start + timedelta(days=70), care=CareType.OUTPATIENT), start_date=start
    )
    decision = adjudicate(PLAN, POLICY, usage_snapshot(), facts)
    allowed: list[int] = []
    for day, decided in zip(days, decision.lines, strict=True):
        refused = any(0 <= day - other <= 30 for other in allowed)
        assert (decided.reason is Reason.FREQUENCY) is refused
        if decided.outcome is not LineOutcome.DENIED:
            allowed.append(day)


def test_edits_are_indexed_once_a_stretch_and_asked_by_what_a_code_means() -> None:
    edits = edits_on(PLAN, date(2025, 3, 10))
    assert edits is not None
    assert edits_on(PLAN, date(2025, 6, 30)) is edits
    assert edits_on(PLAN, date(2025, 7, 1)) is not edits
    known = edits.of(Coding(system=YIBAO, code="U2"))
    assert edits.of(Coding(system=YIBAO, code=" ｕ２")) is known
    assert edits.of(Coding(system="urn:other", code="U2")).units == ()
    assert edits_on(plan_named("every-term"), DAY) is None


@pytest.mark.parametrize("number", [1, 9])
def test_a_part_must_name_another_line_of_the_bill(number: int) -> None:
    charge = replace(line(1, "K2", "1.00"), part_of=number)
    with pytest.raises(UnacceptableBill) as caught:
        adjudicate(PLAN, POLICY, usage_snapshot(), bill(charge))
    assert [(one.field, one.reason) for one in caught.value.faults] == [
        ("lines[0].part_of", "UNKNOWN_LINE")
    ]


def _with_another_before(plan: Plan, name: str, which: str, **changes: Any) -> Plan:
    """The plan with one more edit like one of its own, before it and saying less."""
    assert plan.edits is not None
    terms: tuple[Any, ...] = getattr(plan.edits, name)
    like = next(one for one in terms if one.id == which)
    first = replace(like, id="first", clause="4.1", **changes)
    return replace(plan, edits=replace(plan.edits, **{name: (first, *terms)}))


def test_an_edit_that_has_nothing_to_say_does_not_silence_the_next() -> None:
    says_nothing = Dated(((PLAN.first_day, Indication(ages=Ages())),))
    scan = bill(line(1, "G1", "5.00"), provider="CITY")
    for sex, which, facts in (
        (Sex.MALE, "pregnancy-scans", scan),
        (Sex.FEMALE, "pregnancy-scans", _diagnosed(scan, "N40")),
        (
            Sex.FEMALE,
            "home-visits",
            bill(line(1, "G2", "5.00"), provider="CITY", care=CareType.INPATIENT),
        ),
    ):
        plan = _with_another_before(PLAN, "clinical_edits", which, values=says_nothing)
        person = replace(POLICY, member=replace(POLICY.member, sex=sex))
        decision = adjudicate(plan, person, usage_snapshot(()), facts)
        assert (decision.lines[0].outcome, decision.lines[0].clause) == (LineOutcome.DENIED, "3.1")


def _diagnosed(facts: BillFacts, code: str) -> BillFacts:
    (one,) = facts.diagnoses
    return replace(facts, diagnoses=(replace(one, code=replace(one.code, code=code)),))


def test_a_prescription_that_another_section_needs_does_not_silence_the_next() -> None:
    plan = _with_another_before(PLAN, "prescriptions", "drugs", sections=("stays",))
    without = bill(line(1, "D1", "5.00"), provider="CITY")
    decision = adjudicate(plan, POLICY, usage_snapshot(()), without)
    assert [one.awaits for one in decision.pends] == ["line.prescription_time"]


def test_services_of_the_bill_itself_are_no_earlier_ones() -> None:
    facts = bill(line(1, "U2", "10.00", "2"), provider="CITY")
    own = EarlierService(
        bill_number=facts.bill_number,
        provider_id="CITY",
        code=Coding(system=YIBAO, code="U2"),
        service_date=DAY,
        quantity=Decimal(2),
        unit_price=Decimal(9),
    )
    usage = usage_snapshot((), [own])
    assert adjudicate(PLAN, POLICY, usage, facts).lines[0].outcome is LineOutcome.ALLOWED
    another = usage_snapshot((), [replace(own, bill_number="B0")])
    decision = adjudicate(PLAN, POLICY, another, facts)
    assert decision.lines[0].reason is Reason.UNITS_EXCEEDED


def test_a_plan_may_have_one_kind_of_edit_alone() -> None:
    assert PLAN.edits is not None
    only = replace(PLAN, edits=Edits(unit_edits=PLAN.edits.unit_edits))
    facts = bill(line(1, "U1", "10.00", "4"), line(2, "V1", "5.00"), provider="CITY")
    decision = adjudicate(only, POLICY, usage_snapshot(()), facts)
    assert [one.reason for one in decision.lines] == [Reason.UNITS_EXCEEDED, None]


def test_a_prescription_is_asked_for_the_codes_that_need_one() -> None:
    assert PLAN.edits is not None
    (term,) = PLAN.edits.prescriptions
    by_code = replace(PLAN.edits, prescriptions=(replace(term, codes=("refills",), sections=()),))
    decision = adjudicate(
        replace(PLAN, edits=by_code),
        POLICY,
        usage_snapshot(()),
        bill(line(1, "D1", "5.00"), provider="CITY"),
    )
    assert decision.pends == ()


def test_a_row_of_a_pair_that_has_ended_does_not_hide_the_next_row() -> None:
    assert PLAN.edits is not None
    (pairs,) = PLAN.edits.pair_edits
    row = next(one for one in pairs.rows if (one.first, one.second) == ("A1", "A2"))
    ended = replace(row, end=date(2024, 6, 1))
    edits = replace(PLAN.edits, pair_edits=(replace(pairs, rows=(ended, *pairs.rows)),))
    facts = bill(line(1, "A1", "100.00"), line(2, "A2", "30.00"), provider="CITY")
    decision = adjudicate(replace(PLAN, edits=edits), POLICY, usage_snapshot(()), facts)
    assert decision.lines[1].reason is Reason.BUNDLED


def test_of_pairs_in_two_tables_the_first_in_the_plan_is_told_whatever_else_was_given() -> None:
    assert PLAN.edits is not None
    (pairs,) = PLAN.edits.pair_edits
    zero = next(one for one in pairs.rows if (one.first, one.second) == ("A1", "A2"))
    tables = (
        replace(pairs, rows=(replace(zero, first="B1"), zero)),
        replace(pairs, id="more", clause="4.1", rows=(replace(zero, first="B2"),)),
    )
    plan = replace(PLAN, edits=replace(PLAN.edits, pair_edits=tables))
    for codes, clause in (
        (("B2", "A2"), "4.1"),
        (("B2", "A1", "A2"), "2.3"),
        (("A2", "B2", "B1"), "2.3"),
        (("B2", "A1", "A2", "V1", "V2"), "2.3"),
    ):
        lines = [line(number, code, "10.00") for number, code in enumerate(codes, start=1)]
        decision = adjudicate(plan, POLICY, usage_snapshot(()), bill(*lines, provider="CITY"))
        told = {one.code.code: one.clause for one in decision.lines}
        assert told["A2"] == clause
