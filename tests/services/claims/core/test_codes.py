"""Codes are compared by what they mean: spelling evades no exclusion, price or duplicate."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from services.claims.core.adjudicate import adjudicate
from services.claims.core.codes import comparable
from services.claims.core.decision import DecisionLine
from services.claims.core.facts import (
    BillFacts,
    Coding,
    DiagnosisFacts,
    DisclosedCondition,
    PreExistingTerms,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import SystemCodes
from services.claims.core.reasons import Reason
from services.claims.core.terms import CodeMatcher
from tests.services.claims.core.bills import (
    ICD_10,
    YIBAO,
    allowed_services,
    bill,
    line,
    plan_named,
    policy,
)

PLAN = plan_named("every-term")
SPELLINGS = ["J06.9", "j06.9", " J06.9 ", "Ｊ０６．９", "J06\u200b.9", "J 06.9", "\u00a0j06.9"]


def _diagnosed(code: str) -> BillFacts:
    diagnosis = DiagnosisFacts(number=1, code=Coding(system=ICD_10, code=code), principal=True)
    return msgspec.structs.replace(bill(), diagnoses=(diagnosis,))


def _first(facts: BillFacts, prefix: str) -> DecisionLine:
    excluded = DisclosedCondition(code_prefix=prefix, terms=PreExistingTerms.EXCLUDED)
    return adjudicate(PLAN, policy(disclosed=(excluded,)), UsageSnapshot(), facts).lines[0]


@pytest.mark.parametrize("written", SPELLINGS)
def test_a_disclosed_condition_stays_excluded_in_every_spelling(written: str) -> None:
    assert _first(_diagnosed(written), "J06").reason is Reason.PRE_EXISTING
    assert _first(_diagnosed("J06.9"), written).reason is Reason.PRE_EXISTING
    assert _first(_diagnosed(written), "J07").reason is not Reason.PRE_EXISTING


@pytest.mark.parametrize("written", SPELLINGS)
def test_code_sets_hold_a_code_in_every_spelling(written: str) -> None:
    code = Coding(system="s", code=written)
    assert CodeMatcher([SystemCodes(system="s", exact=("j06.9",))]).has(code)
    assert CodeMatcher([SystemCodes(system="s", prefixes=("ｊ06",))]).has(code)
    assert not CodeMatcher([SystemCodes(system="s", exact=("J06",), prefixes=("J07",))]).has(code)


def test_a_service_in_another_spelling_is_the_same_service() -> None:
    first = bill(line(code="V1"), number="B1")
    decision = adjudicate(PLAN, policy(), UsageSnapshot(), first)
    usage = usage_snapshot((), allowed_services(first, decision))
    again, other = (bill(line(code=code), number="B2") for code in ("ｖ1", "V2"))
    assert adjudicate(PLAN, policy(), usage, again).lines[0].reason is Reason.DUPLICATE
    assert adjudicate(PLAN, policy(), usage, other).lines[0].reason is not Reason.DUPLICATE


def test_a_contract_price_holds_in_every_spelling_and_the_code_stays_as_it_came() -> None:
    def decided(code: str) -> tuple[int, str]:
        facts = bill(line(code=code, price="100000.00"), provider="PRICED")
        found = adjudicate(PLAN, policy(), UsageSnapshot(), facts).lines[0]
        return found.allowed, found.code.code

    priced = next(one for one in PLAN.providers.listing if one.id == "PRICED").prices
    assert priced
    own = next(one.code.code for one in priced if one.code.system == YIBAO)
    assert decided(own.lower()) == (decided(own)[0], own.lower())
    assert decided(own)[0] < Decimal(10_000_000)


def test_other_codes_stay_other_codes() -> None:
    assert comparable("E11.4") != comparable("E114")
    assert comparable("0031") != comparable("31")
