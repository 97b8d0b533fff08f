"""What the engine decided in a case that differs, line by line with reason, amount and clause."""

from __future__ import annotations

from collections.abc import Iterator

from services.claims.core.decision import Bearer, DecisionLine, LineOutcome
from services.claims.core.plan import Plan, clause_text
from services.claims.plans.case_run import Decided
from services.common.money import format_minor

_BORNE = {
    Bearer.INSURER: "the insurer pays",
    Bearer.PRIOR_PAYER: "earlier payers bear",
    Bearer.PATIENT: "the patient bears",
    Bearer.PROVIDER: "the provider bears",
}


def decided(one: Decided) -> Iterator[str]:
    """A decision in lines of text: the claim, what it waits for, and why each part of a line."""
    decision, currency = one.decision, one.plan.currency
    claim = one.claim if one.claim == one.event else f"{one.claim}, decided again,"
    under = f" under {one.policy}" if one.policy else ""
    paid = format_minor(decision.benefit, currency)
    billed = format_minor(decision.billed, currency)
    of_kind = f", category {decision.category}" if decision.category else ""
    disposition = decision.disposition.value
    yield (
        f"after {one.event} the plan decides {claim}{under}: {disposition}{of_kind},"
        f" {paid} of {billed}"
    )
    for pend in decision.pends:
        where = "" if pend.line is None else f"line {pend.line} "
        yield f"  {where}waits for {pend.awaits} ({_clause(one.plan, pend.clause)})"
    for line in decision.lines:
        yield from _line(one.plan, line)


def _line(plan: Plan, line: DecisionLine) -> Iterator[str]:
    allowed = format_minor(line.allowed, plan.currency)
    section = f" in {line.section}" if line.section else ""
    yield f"  line {line.number} {line.code.code}{section}: {line.outcome.value}, allowed {allowed}"
    for share in line.shares:
        amount = format_minor(share.amount, plan.currency)
        reason, clause = share.reason.name.lower(), _clause(plan, share.clause)
        waits = line.outcome is LineOutcome.PENDED and share.bearer is Bearer.PATIENT
        borne = "nobody bears yet" if waits else _BORNE[share.bearer]
        yield f"    {borne} {amount}: {reason} ({clause})"
    if not line.shares and line.reason is not None:
        yield f"    {line.reason.name.lower()} ({_clause(plan, line.clause)})"


def _clause(plan: Plan, clause: str) -> str:
    try:
        return f"clause {clause} {clause_text(plan, clause).en}"
    except KeyError:
        return f"clause {clause}"
