"""Filing, liability and papers under terms together that the example plans have not together."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Decision
from services.claims.core.facts import BillFacts, CareType, Liability, usage_snapshot
from services.claims.core.plan import Plan
from services.claims.core.plan_edits import CountsFrom, OtherLiability
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, bill, line, plan_named, policy

replace = msgspec.structs.replace
PLAN = plan_named("every-edit")
POLICY = policy(start=date(2024, 1, 1), end=date(2029, 1, 1))


def _decided(plan: Plan, facts: BillFacts) -> Decision:
    return adjudicate(plan, POLICY, usage_snapshot(()), facts)


def _with(**changes: Any) -> Plan:
    assert PLAN.edits is not None
    return replace(PLAN, edits=replace(PLAN.edits, **changes))


def test_days_to_file_may_count_from_the_service() -> None:
    assert PLAN.edits is not None
    assert PLAN.edits.filing is not None
    filing = replace(
        PLAN.edits.filing,
        values=Dated(((PLAN.first_day, 10),)),
        counts_from=CountsFrom.SERVICE,
    )
    first = replace(line(1, "V1", "5.00"), service_date=date(2025, 3, 1))
    second = replace(line(2, "V2", "5.00"), service_date=date(2025, 3, 2))
    facts = replace(
        bill(first, second, provider="CITY"),
        start_date=date(2025, 3, 1),
        received_date=date(2025, 3, 12),
    )
    decision = _decided(_with(filing=filing), facts)
    assert [one.clause for one in decision.lines] == ["4.1", ""]


def test_a_paper_and_a_fact_are_asked_for_once_though_two_terms_need_them() -> None:
    assert PLAN.edits is not None
    twice = _with(required_papers=(*PLAN.edits.required_papers, *PLAN.edits.required_papers))
    stay = bill(line(1, "H1", "5.00"), line(2, "V1", "5.00"), provider="CITY")
    known = _decided(twice, replace(stay, care_type=CareType.INPATIENT))
    assert [one.awaits for one in known.pends] == ["paper.discharge-summary"]
    unknown = _decided(twice, replace(stay, care_type=None))
    assert [one.awaits for one in unknown.pends if one.line is None] == ["bill.care_type"]


def test_a_claim_whose_lines_are_all_denied_needs_no_papers() -> None:
    facts = bill(line(1, "U0", "5.00"), provider="CITY", care=CareType.EMERGENCY)
    decision = _decided(PLAN, facts)
    assert (decision.disposition.value, decision.pends) == ("denied", ())


def _liable(*first: OtherLiability) -> Plan:
    assert PLAN.edits is not None
    return _with(other_liability=(*first, *PLAN.edits.other_liability))


def test_a_cause_that_is_not_the_lines_does_not_silence_the_next() -> None:
    both: Dated[tuple[Liability, ...]] = Dated(
        ((PLAN.first_day, (Liability.WORK_INJURY, Liability.THIRD_PARTY)),)
    )
    term = OtherLiability(id="first", clause="4.4", values=both)
    third: Dated[tuple[Liability, ...]] = Dated(((PLAN.first_day, (Liability.THIRD_PARTY,)),))
    hurt = replace(bill(line(1, "V1", "5.00"), provider="CITY"), liability=Liability.WORK_INJURY)
    (cold,) = hurt.diagnoses
    injured = replace(hurt, diagnoses=(replace(cold, code=replace(cold.code, code="S72.0")),))
    for first in (
        replace(term, values=third),
        replace(term, sections=("drugs",)),
        replace(term, diagnoses=("prostate",)),
    ):
        assert _decided(_liable(first), injured).lines[0].clause == "4.5"
    without = _decided(PLAN, replace(hurt, diagnoses=()))
    assert [one.awaits for one in without.pends] == ["line.diagnosis"]
    # A term that reads no diagnosis answers, though one before it cannot.
    reads_none = _with(
        other_liability=(replace(term, id="a", diagnoses=("injuries",)), replace(term, id="b"))
    )
    assert _decided(reads_none, replace(hurt, diagnoses=())).lines[0].clause == "4.4"
    assert _decided(PLAN, replace(hurt, liability=None)).lines[0].clause == ""
    assert hurt.end_date == DAY
