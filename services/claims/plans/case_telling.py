"""What the engine decided in a case that differs, line by line with reason, amount and clause."""

from __future__ import annotations

from collections.abc import Iterator

from services.claims.core.claim import day_of_tiers
from services.claims.core.decision import Bearer, DecisionLine, LineOutcome
from services.claims.core.plan import Plan, TierDay, clause_text, reads_outcome_tier
from services.claims.plans.case_run import Decided
from services.common.money import format_minor

_BORNE = {
    Bearer.INSURER: "the insurer pays",
    Bearer.PRIOR_PAYER: "earlier payers bear",
    Bearer.PATIENT: "the patient bears",
    Bearer.PROVIDER: "the provider bears",
}
_TIER_DAYS = {
    TierDay.POLICY_YEAR: "the first day of the policy year",
    TierDay.STAY_START: "the first day of the stay",
    TierDay.STAY_END: "the last day of the stay",
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
    if reads_outcome_tier(one.plan):
        yield from _late_tiers(one)
    for line in decision.lines:
        yield from _line(one.plan, line)


def _late_tiers(one: Decided) -> Iterator[str]:
    """The member's outcome tiers that did not count, for they were certified too late."""
    member, term = one.insured.member, one.plan.outcome_tier_day
    which, by = day_of_tiers(one.plan, one.insured, one.bill)
    clause = f" ({_clause(one.plan, term.clause)})" if term is not None else ""
    for tier in (*member.earlier_outcome_tiers, member.outcome_tier):
        if tier is not None and tier.certified > by:
            yield (
                f"  outcome tier {tier.tier} of {tier.certified} came too late and does not count:"
                f" it takes one certified by {by}, {_TIER_DAYS[which]}{clause}"
            )


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
