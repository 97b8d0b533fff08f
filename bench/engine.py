"""The pure engine: decisions of 5 and of 40 lines, beside bare arithmetic and their own record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import TypeVar

from bench import bills
from bench.rows import Report, Sizes
from services.claims.bill_intake import bill_facts
from services.claims.core import canonical
from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS, adjudicate
from services.claims.core.facts import (
    BillFacts,
    CoverInterval,
    MemberFacts,
    PolicySnapshot,
    Relationship,
    UsageSnapshot,
)
from services.claims.plans.loader import load_plan

T = TypeVar("T")

_ARITHMETIC = (
    "the same benefit to the fen by a dict look-up and Decimal arithmetic per line: "
    "deductible, share, ceiling; no bearers, reasons, clauses, conditions or hashes"
)
_RECORD = "canonical JSON of the same inputs, which an engine that can replay must write"
_DEDUCTIBLE, _CEILING = 1_000_000, 400_000_000
_SHARE = Decimal("1.00")


def measure(report: Report, sizes: Sizes) -> None:
    """Decide bills of 5 and of 40 lines.

    Raises: RuntimeError when a floor's benefit is not the engine's: it would be no floor.
    """
    plan = load_plan(bills.PLAN.read_bytes(), bills.PLAN.name)
    policy, usage = _policy(), UsageSnapshot()
    for lines, count in ((bills.LINES, sizes.decisions), (bills.MANY_LINES, sizes.decisions // 5)):
        facts = [bill_facts(bills.bill(number, lines=lines)) for number in range(count)]
        shares = {line.code.code: _SHARE for line in facts[0].lines}
        cpu = time.process_time()
        ours, decided = _timed(partial(adjudicate, plan, policy, usage), facts)
        cpu = time.process_time() - cpu
        floor, benefits = _timed(partial(_arithmetic, shares), facts)
        if benefits != [decision.benefit for decision in decided]:
            raise RuntimeError("the floor of the engine does not pay what the engine pays")
        recorded, _ = _timed(partial(_record, policy), facts)
        for name, bare, what in (
            (f"decide {lines} lines, engine alone", floor, _ARITHMETIC),
            (f"decide {lines} lines, engine beside its record", recorded, _RECORD),
        ):
            report.add(
                name,
                "µs/claim",
                ours / count * 1e6,
                bare / count * 1e6,
                cpu_ms=cpu / count * 1e3,
                what_floor_is=what,
                n=count,
            )


def _timed(work: Callable[[BillFacts], T], facts: Sequence[BillFacts]) -> tuple[float, list[T]]:
    begun = time.perf_counter()
    done = [work(bill) for bill in facts]
    return time.perf_counter() - begun, done


def _arithmetic(shares: Mapping[str, Decimal], bill: BillFacts) -> int:
    deductible, ceiling, benefit = _DEDUCTIBLE, _CEILING, 0
    for line in bill.lines:
        allowed = int((line.quantity * line.unit_price * 100).to_integral_value(ROUND_HALF_UP))
        taken = min(deductible, allowed)
        deductible -= taken
        paid = int(((allowed - taken) * shares[line.code.code]).to_integral_value(ROUND_HALF_UP))
        paid = min(paid, ceiling)
        ceiling -= paid
        benefit += paid
    return benefit


def _record(policy: PolicySnapshot, bill: BillFacts) -> bytes:
    return canonical.inputs_bytes(
        canonical.Inputs(
            plan_version="floor",
            policy=policy,
            usage=UsageSnapshot(),
            bill=bill,
            prior=NO_PRIOR_PAYMENTS,
        )
    )


def _policy() -> PolicySnapshot:
    start, end = date(2026, 1, 1), date(2027, 1, 1)
    member = MemberFacts(
        member_id="m0",
        birth_date=date(1980, 3, 7),
        relationship=Relationship.SELF,
        # Long insured: no waiting period runs.
        cover=(CoverInterval(start=start, end=end, continuous_since=date(2020, 1, 1)),),
        social_insurance=True,
    )
    return PolicySnapshot(policy_id="p1", revision=1, start=start, end=end, member=member)
