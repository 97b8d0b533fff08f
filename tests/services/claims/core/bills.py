"""Small facts for tests of the core, and strategies that draw bills which intake accepts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from services.claims.core.adjudicate import allowed_lines
from services.claims.core.decision import Decision
from services.claims.core.facts import (
    Balance,
    BillFacts,
    CareType,
    Coding,
    CoverInterval,
    DiagnosisFacts,
    DisclosedCondition,
    EarlierService,
    HospitalTier,
    LineFacts,
    LinePayment,
    MemberFacts,
    PolicySnapshot,
    PriorPayment,
    PriorPayments,
    Relationship,
    SocialInsuranceFacts,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.intake import priced
from services.claims.core.plan import Plan
from services.claims.plans.accumulator_units import accumulators
from services.claims.plans.loader import load_plan

ROOT = Path(__file__).parents[4]
PLANS = ROOT / "services" / "claims" / "plans"
CASES = ROOT / "tests" / "cases"
YIBAO = "urn:lipei:demo:yibao-code"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
DAY = date(2025, 3, 10)


@cache
def plan_named(name: str) -> Plan:
    """An example plan, or one of the test plans that have every kind of term."""
    of_tests = CASES / "plans" / f"{name}.yaml"
    return plan_of_file(of_tests if of_tests.exists() else PLANS / f"{name}.yaml")


def plan_of_file(path: Path) -> Plan:
    return load_plan(path.read_bytes(), str(path))


def allowed_services(facts: BillFacts, decision: Decision) -> tuple[EarlierService, ...]:
    """What later claims of the member are told of this one."""
    return tuple(one.service for one in allowed_lines(facts, decision))


def policy(
    *,
    start: date = date(2025, 1, 1),
    end: date = date(2026, 1, 1),
    since: date = date(2024, 1, 1),
    disclosed: tuple[DisclosedCondition, ...] = (),
    social_insurance: bool | None = True,
) -> PolicySnapshot:
    """A renewed policy of 2025 and its holder."""
    return PolicySnapshot(
        policy_id="policy",
        revision=1,
        start=start,
        end=end,
        member=MemberFacts(
            member_id="member",
            birth_date=date(1980, 6, 15),
            relationship=Relationship.SELF,
            cover=(CoverInterval(start=start, end=end, continuous_since=since),),
            disclosed_conditions=disclosed,
            social_insurance=social_insurance,
        ),
    )


def line(
    number: int = 1,
    code: str = "V1",
    price: str = "100.00",
    quantity: str = "1",
    *,
    fund_paid: int | None = None,
    currency: str = "CNY",
) -> LineFacts:
    """One charge whose amount is quantity × price."""
    return LineFacts(
        number=number,
        code=Coding(system=YIBAO, code=code),
        quantity=Decimal(quantity),
        unit_price=Decimal(price),
        billed=priced(Decimal(quantity), Decimal(price), currency),
        fund_paid=fund_paid,
    )


def bill(
    *lines: LineFacts,
    number: str = "B1",
    care: CareType | None = CareType.OUTPATIENT,
    tier: HospitalTier | None = HospitalTier.PRIMARY,
    provider: str = "CLINIC",
    day: date = DAY,
    used: bool | None = True,
    paid: int | None = None,
) -> BillFacts:
    """A bill of one day for a cold."""
    return BillFacts(
        bill_number=number,
        provider_id=provider,
        start_date=day,
        end_date=day,
        currency="CNY",
        lines=lines or (line(),),
        hospital_tier=tier,
        care_type=care,
        diagnoses=(
            DiagnosisFacts(number=1, code=Coding(system=ICD_10, code="J06.9"), principal=True),
        ),
        social_insurance=SocialInsuranceFacts(used=used, fund_paid=paid),
    )


# Hypothesis looks through each strategy that it meets for the first time.
_one: Any = cache(st.sampled_from)
# Codes that reach every section, exclusion, price and limit of the plans in CNY.
_CODES = (
    *("V1", "P1", "P2", "P3", "B1", "X1", "D1", "R1", "K1", "H1", "Z9"),
    *("XA10BAE046A001010100483", "002503020030000", "XL01EBD102A001010100650"),
    *("001109000030000", "003402000200000", "003105030010000"),
    *("Q1", "Q2", "G1", "N1", "W1"),
)
_DIAGNOSES = ("J06.9", "E11.4", "I10", "N97.1", "S72.0", "M17")


@st.composite
def _lines(draw: st.DrawFn, number: int, funded: bool) -> LineFacts:
    quantity = draw(_one(("1", "2", "0.5", "3.3333", "10")))
    cents = draw(st.one_of(st.integers(0, 30_000), st.integers(0, 3_000_000)))
    price = str(Decimal(cents).scaleb(-draw(_one((2, 3)))))
    made = line(number, draw(_one(_CODES)), price, quantity)
    fund = draw(st.integers(0, made.billed)) if funded else None
    return LineFacts(
        number=made.number,
        code=made.code,
        quantity=made.quantity,
        unit_price=made.unit_price,
        billed=made.billed,
        diagnosis_numbers=draw(_one(((), (1,), (2,)))),
        fund_paid=fund,
    )


_line = cache(_lines)


@st.composite
def bills(draw: st.DrawFn) -> tuple[BillFacts, PriorPayments]:
    """A bill and what earlier insurers paid on it, never more than was billed."""
    funded = draw(st.booleans())
    size = draw(st.integers(1, 6))
    lines = tuple(draw(_line(number, funded)) for number in range(1, size + 1))
    total = sum(one.billed for one in lines)
    if total == 0:
        lines = (*lines, line(size + 1, "V1", "10.00", fund_paid=0 if funded else None))
        total += 1000
    by_lines = sum(one.fund_paid or 0 for one in lines)
    left = total - by_lines
    fund = None if funded else draw(st.one_of(st.none(), st.integers(0, left)))
    left -= fund or 0
    account = draw(st.integers(0, left)) if draw(st.booleans()) else 0
    left -= account
    used = True if by_lines or fund else draw(_one((True, False, None)))
    day = draw(_one((DAY, date(2025, 7, 1), date(2025, 12, 31), date(2026, 1, 1))))
    nights = draw(st.integers(0, 3))
    facts = BillFacts(
        bill_number="B1",
        provider_id=draw(_one(("GOLD", "PRICED", "CLINIC", "OTHER"))),
        start_date=date.fromordinal(day.toordinal() - nights),
        end_date=day,
        currency="CNY",
        lines=lines,
        hospital_tier=draw(_one((None, *HospitalTier))),
        care_type=draw(_one((None, *CareType))),
        diagnoses=tuple(
            DiagnosisFacts(
                number=number,
                code=Coding(system=ICD_10, code=draw(_one(_DIAGNOSES))),
                principal=number == 1,
            )
            for number in (1, 2)
        ),
        social_insurance=SocialInsuranceFacts(used=used, fund_paid=fund, account_paid=account),
        direct_billing=draw(st.booleans()),
    )
    return facts, draw(_prior(facts, left))


@st.composite
def _prior(draw: st.DrawFn, facts: BillFacts, left: int) -> PriorPayments:
    payments = []
    if draw(st.booleans()):
        amount = draw(st.integers(0, left))
        left -= amount
        payments.append(PriorPayment(payer="ELDER", amount=amount))
    first = facts.lines[0]
    room = min(left, first.billed - (first.fund_paid or 0)) if _all_stated(facts) else 0
    if room > 0 and draw(st.booleans()):
        amount = draw(st.integers(0, room))
        lines = (LinePayment(number=first.number, amount=amount),)
        payments.append(PriorPayment(payer="ELDEST", amount=amount, lines=lines))
    return PriorPayments(payments=tuple(payments))


def _all_stated(facts: BillFacts) -> bool:
    return all(one.fund_paid is not None for one in facts.lines)


@st.composite
def usages(draw: st.DrawFn, plan: Plan) -> UsageSnapshot:
    """Balances of 2025 in any state, from unused to used up."""
    balances = []
    for one in accumulators(plan).values():
        if one.scope.value == "treatment" or not draw(st.booleans()):
            continue
        start = None if one.period is None or one.period.value == "lifetime" else date(2025, 1, 1)
        used = draw(_one((1, 99_999, 999_999, 2_999_999, 99_999_999)))
        balances.append(
            Balance(
                accumulator=one.id,
                scope=one.scope,
                period_start=start,
                amount=0 if one.counts else used,
                count=used % 100 if one.counts else 0,
            )
        )
    return usage_snapshot(balances)
