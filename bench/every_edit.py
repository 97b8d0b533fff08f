"""The engine with every edit on, over the demo hospital's bills, beside a bare loop over them.

The bare loop is what anyone must do who decides lines with so many edits and can prove it: per line
a Decimal product and one set look-up for each edit, per claim JSON of what went in and came out by
the standard library, and SHA-256 over both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench import bills
from bench.bulk import snapshot_of
from bench.rows import Report, Sizes
from demo.hospital.bills import Bill, Planted
from demo.hospital.codes import SERVICES
from demo.hospital.hospital import generate
from demo.hospital.insured import YEAR
from services.claims.bill_intake import bill_facts
from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS, adjudicate
from services.claims.core.canonical import Inputs, decision_bytes, inputs_bytes, sha256
from services.claims.core.facts import (
    BillFacts,
    CareType,
    Coding,
    DiagnosisFacts,
    EarlierService,
    HospitalTier,
    LineFacts,
    PolicySnapshot,
    SocialInsuranceFacts,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import Plan
from services.claims.plans.loader import load_plan

TEN_LINES, EARLIER = 10, 50
_TURNS = 5
_SEED, _PEOPLE = 7, 300
_FEWEST = 40  # so that some of their bills are clean
_TERMS = Path(__file__).with_suffix(".yaml")
_YIBAO, _ICD = "urn:lipei:demo:yibao-code", "http://hl7.org/fhir/sid/icd-10"
_FLOOR = (
    "a loop over the same lines: a Decimal product, one set look-up per edit, and per claim JSON "
    "by the standard library of the same inputs and output, with SHA-256 of both"
)
_CARE = {
    "AMB": CareType.OUTPATIENT,
    "EMER": CareType.EMERGENCY,
    "IMP": CareType.INPATIENT,
    "REFILL": CareType.CHRONIC,
    "ONLINE": CareType.ONLINE,
}
# Every kind of term of the plan that is asked of a line or a claim.
_KINDS = 32


def measure(report: Report, sizes: Sizes) -> None:
    """The demo's bills, bills of ten lines, and such bills after fifty earlier services."""
    plan, nothing = plan_with_every_edit(), UsageSnapshot()
    demo = demo_bills(sizes.decisions)
    lines = sum(len(bill.lines) for bill in demo) / len(demo)
    name = f"decide the demo's bills, {lines:.1f} lines, every edit"
    _row(report, name, plan, snapshot_of("p", YEAR), nothing, demo)
    ten = [_ten_lines(number) for number in range(max(1, sizes.decisions // 2))]
    policy = snapshot_of("p")
    _row(report, "decide 10 lines, every edit", plan, policy, nothing, ten)
    name = f"decide 10 lines after {EARLIER} services, every edit"
    _row(report, name, plan, policy, _earlier(ten[0]), ten)


def _row(
    report: Report,
    name: str,
    plan: Plan,
    policy: PolicySnapshot,
    usage: UsageSnapshot,
    facts: Sequence[BillFacts],
) -> None:
    adjudicate(plan, policy, usage, facts[0])  # what is built once for each plan is built now
    plain = [_plain(plan, policy, usage, bill) for bill in facts]
    decide = partial(adjudicate, plan, policy, usage)
    # In turns, and the best of each: what else the machine does then counts for neither.
    turns = [(_timed(decide, facts), _timed(_bare, plain)) for _ in range(_TURNS)]
    ours, floor = (min(times) for times in zip(*turns, strict=True))
    report.add(
        name,
        "claims/s",
        len(facts) / ours,
        len(facts) / floor,
        cpu_ms=ours / len(facts) * 1e3,
        what_floor_is=_FLOOR,
        n=len(facts),
    )


def _timed(work: Callable[[Any], object], facts: Sequence[Any]) -> float:
    """CPU seconds: both sides only compute, and who else uses the machine counts for neither."""
    begun = time.process_time()
    for bill in facts:
        work(bill)
    return time.process_time() - begun


def plan_with_every_edit() -> Plan:
    """The plan of the benchmarks with a term of every kind, and rows for every code of the demo."""
    codes = list(SERVICES)
    units = [f"{code},4000,day,20240101,*" for code in codes]
    pairs = [f"{one},{two},20240101,*,1" for one, two in zip(codes, codes[7:], strict=False)]
    text = bills.PLAN.read_text("utf-8") + _TERMS.read_text("utf-8")
    text += _table("medical_unit_edits", "unit: units", "code,units,per", units)
    text += _table("pair_edits", 'modifiers: ["59"]', "column_1,column_2", pairs)
    return load_plan(text.encode(), "every-edit")


def _table(name: str, more: str, head: str, rows: Sequence[str]) -> str:
    last = ",indicator" if name == "pair_edits" else ""
    lines = [f"{head},effective,deletion{last}", *rows]
    head_of = f'\n{name}:\n  - id: {name}\n    clause: "5.4"\n    system: demo-yibao\n'
    return f"{head_of}    {more}\n    csv: |\n" + "".join(f"      {line}\n" for line in lines)


def demo_bills(most: int) -> list[BillFacts]:
    """Bills of the demo hospital in which nothing is planted, again and again until enough."""
    people = min(_PEOPLE, max(_FEWEST, most))
    year = generate(_SEED, people=people, bills=people)
    clean = [_facts(one) for one in year.bills if one.planted is Planted.CLEAN and one.lines]
    return [clean[number % len(clean)] for number in range(most)]


def _facts(bill: Bill) -> BillFacts:
    return BillFacts(
        bill_number=bill.number,
        provider_id=bill.provider,
        start_date=bill.start.date(),
        end_date=bill.end.date(),
        currency="CNY",
        hospital_tier=HospitalTier.TERTIARY,
        care_type=_CARE[bill.care],
        diagnoses=tuple(
            DiagnosisFacts(number=n, code=Coding(system=_ICD, code=code), principal=n == 1)
            for n, code in enumerate(bill.diseases, 1)
        ),
        social_insurance=SocialInsuranceFacts(used=bill.social, fund_paid=0),
        received_date=bill.end.date(),
        lines=tuple(
            LineFacts(
                number=n,
                code=Coding(system=_YIBAO, code=one.service.code),
                quantity=Decimal(1),
                unit_price=one.net,
                billed=int(one.net * 100),
                service_date=one.day,
            )
            for n, one in enumerate(bill.lines, 1)
        ),
    )


def _ten_lines(number: int) -> BillFacts:
    facts = bill_facts(bills.bill(number, lines=TEN_LINES))
    # The service states it where a plan has a term about filing; without it every claim waits.
    return msgspec.structs.replace(facts, received_date=facts.end_date)


def _earlier(bill: BillFacts) -> UsageSnapshot:
    """Fifty services of the year before, of the same codes and other days."""
    day = date(2026, 1, 2)
    return usage_snapshot(
        services=(
            EarlierService(
                bill_number=f"E{number}",
                provider_id=bill.provider_id,
                code=bill.lines[number % len(bill.lines)].code,
                service_date=day + timedelta(days=number),
                quantity=Decimal(1),
                unit_price=Decimal(100),
                claim=f"policies/p/claims/{number}",
            )
            for number in range(EARLIER)
        )
    )


@dataclass(frozen=True, slots=True)
class _Plain:
    """A claim as a loop without any types would have it: what it multiplies, and what it writes."""

    lines: list[tuple[str, Decimal, Decimal]]
    inputs: dict[str, Any]
    output: dict[str, Any]


def _plain(plan: Plan, policy: PolicySnapshot, usage: UsageSnapshot, bill: BillFacts) -> _Plain:
    inputs = Inputs(
        plan_version="floor", policy=policy, usage=usage, bill=bill, prior=NO_PRIOR_PAYMENTS
    )
    decided = adjudicate(plan, policy, usage, bill)
    return _Plain(
        lines=[(one.code.code, one.quantity, one.unit_price) for one in bill.lines],
        inputs=json.loads(inputs_bytes(inputs)),
        output=json.loads(decision_bytes(decided)),
    )


_SETS = [frozenset(f"{kind}-{n}" for n in range(100)) for kind in range(_KINDS)]


def _bare(claim: _Plain) -> tuple[int, str, str]:
    billed = 0
    for code, quantity, price in claim.lines:
        amount = int((quantity * price * 100).to_integral_value(ROUND_HALF_UP))
        if not any([code in codes for codes in _SETS]):  # noqa: C419 -- every one is looked up
            billed += amount
    into, out = (json.dumps(one, sort_keys=True) for one in (claim.inputs, claim.output))
    return billed, sha256(into.encode()), sha256(out.encode())
