"""What a plan pays for one claim: a pure function of plan, policy, usage, bill and earlier payers.

It asks no database and no clock. The same inputs give the same output and the same hashes for
ever, or ENGINE_VERSION changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from services.claims.core.accumulators import Tally
from services.claims.core.amounts import Amounts, Visit, allow, pay
from services.claims.core.canonical import Inputs, input_hash, output_hash, plan_version
from services.claims.core.claim import Claim, Line, Refusal, open_claim
from services.claims.core.conditions import best_share, covers
from services.claims.core.decision import (
    ENGINE_VERSION,
    Bearer,
    BearerShare,
    Decision,
    DecisionLine,
    Disposition,
    LineOutcome,
    Pend,
    UsageChange,
)
from services.claims.core.facts import (
    BillFacts,
    EarlierService,
    PolicySnapshot,
    PriorPayments,
    Review,
    UsageSnapshot,
)
from services.claims.core.filing import papers_missing
from services.claims.core.intake import UnacceptableBill, bill_faults
from services.claims.core.payments import place_payments
from services.claims.core.plan import Plan
from services.claims.core.reasons import RANK, Reason
from services.claims.core.repeats import allowed_service
from services.claims.core.review import review_faults
from services.claims.core.rules import refuse_lines

NO_PRIOR_PAYMENTS = PriorPayments()
_OF_PAPERS = (Reason.FACT_MISSING, Reason.PAPERS_MISSING)
_OF_EARLIER_CLAIMS = (Reason.DUPLICATE, Reason.SUSPECTED_DUPLICATE, Reason.DUPLICATE_EXAMINATION)


def adjudicate(
    plan: Plan,
    policy: PolicySnapshot,
    usage: UsageSnapshot,
    bill: BillFacts,
    prior: PriorPayments = NO_PRIOR_PAYMENTS,
    *,
    review: Review | None = None,
) -> Decision:
    """Decide a claim: lines with amounts, bearers, reasons and clauses, and what it uses up.

    Every fen of the bill has one bearer and one reason. A line whose fact is missing pends and
    holds the claim; the claim then reserves the most it could pay. `review` is what a person
    found.

    Raises: UnacceptableBill with every fault of a bill that intake must refuse, or of a review;
    NoTermsInForce when the plan has no terms yet on the policy's days.
    """
    faults = (*bill_faults(bill, prior, plan.currency), *review_faults(plan, bill, review))
    if faults:
        raise UnacceptableBill(faults)
    claim = open_claim(plan, policy, usage, bill, prior, review)
    refuse_lines(claim)
    settled = _settle(claim, reserve=False)
    lines = tuple(_decision_line(claim, one) for one in settled.lines)
    pends = _pends(claim, settled)
    changes = (_settle(claim, reserve=True) if pends else settled).changes
    inputs = Inputs(
        plan_version=plan_version(plan),
        policy=policy,
        usage=usage,
        bill=bill,
        prior=prior,
        review=review,
    )
    decision = Decision(
        plan_version=inputs.plan_version,
        engine_version=ENGINE_VERSION,
        input_hash=input_hash(inputs),
        output_hash="",
        disposition=_disposition(claim, lines, pends),
        currency=plan.currency,
        billed=sum(line.billed for line in lines),
        allowed=sum(line.allowed for line in lines),
        benefit=sum(line.benefit for line in lines),
        lines=lines,
        category=claim.category or "",
        usage_changes=changes,
        pends=pends,
    )
    return msgspec.structs.replace(decision, output_hash=output_hash(decision))


def allowed_services(bill: BillFacts, decision: Decision) -> tuple[EarlierService, ...]:
    """What later claims of the member must know of this one: the services that were not denied."""
    facts = {line.number: line for line in bill.lines}
    return tuple(
        allowed_service(bill, facts[line.number])
        for line in decision.lines
        if line.outcome is not LineOutcome.DENIED
    )


@dataclass(frozen=True, slots=True)
class _Settled:
    """Every line's money, and what the claim adds to the accumulators."""

    lines: list[Amounts]
    changes: tuple[UsageChange, ...]


def _settle(claim: Claim, *, reserve: bool) -> _Settled:
    """All lines in the order submitted. To reserve, waiting lines are paid at their best share."""
    units = Tally(claim.policy, claim.usage, claim.terms_day)
    visit = Visit(Tally(claim.policy, claim.usage, claim.terms_day), reserve)
    lines = [allow(claim, line, units) for line in claim.lines]
    place_payments(claim, lines)
    counted: list[Line] = []
    for one in lines:
        if one.refusal is not None or (one.line.missing and not reserve):
            continue
        one.share = best_share(claim, one.line)
        pay(claim, one, visit)
        if one.allowed:
            counted.append(one.line)
    _count(claim, counted, visit.tally)
    return _Settled(lines, visit.tally.changes())


def _count(claim: Claim, lines: list[Line], tally: Tally) -> None:
    """One count for each limit that covers an allowed line, whatever it paid."""
    for one in claim.terms.count_limits:
        term = one.term
        if any(covers(term.covers, claim, line) for line in lines):
            tally.add(term.id, term.scope, term.period, count=1)


def _decision_line(claim: Claim, result: Amounts) -> DecisionLine:
    line, refusal = result.line, result.refusal
    outcome = LineOutcome.CUT
    if refusal is None and line.missing:
        refusal = _waiting(claim, line)
        outcome = LineOutcome.PENDED
    elif refusal is not None:
        outcome = LineOutcome.DENIED
    elif not result.cuts and (result.benefit or not result.billed):
        outcome = LineOutcome.ALLOWED
    return DecisionLine(
        number=line.facts.number,
        code=line.facts.code,
        section=line.section.id if line.section is not None else "",
        outcome=outcome,
        billed=result.billed,
        allowed=result.allowed if refusal is None else 0,
        benefit=result.benefit,
        shares=_shares(claim, result, refusal),
        reason=refusal.reason if refusal is not None else None,
        clause=refusal.clause if refusal is not None else "",
        earlier_claim=line.earlier_claim
        if refusal is not None and refusal.reason in _OF_EARLIER_CLAIMS
        else "",
    )


def _waiting(claim: Claim, line: Line) -> Refusal:
    """Why a line waits: a fact goes before a person."""
    facts = claim.plan.general.missing_facts
    if any(one.reason is Reason.FACT_MISSING for one in line.missing):
        return Refusal(Reason.FACT_MISSING, facts)
    return Refusal(line.missing[0].reason, line.missing[0].clause)


def _shares(claim: Claim, result: Amounts, refusal: Refusal | None) -> tuple[BearerShare, ...]:
    """The line's parts in the order of the steps; they add up to what was billed."""
    parts: list[tuple[Bearer, Reason, str, int]]
    if refusal is not None:
        left = result.billed - result.social - result.prior
        parts = [(Bearer.PATIENT, refusal.reason, refusal.clause, left)]
    else:
        parts = [(cut.bearer, cut.reason, cut.clause, cut.amount) for cut in result.cuts]
        clause = result.share.clause if result.share is not None else ""
        by_share = min(result.benefit, result.by_share)
        above = result.benefit - by_share
        parts.append((Bearer.INSURER, Reason.BENEFIT, clause, by_share))
        parts.append((Bearer.INSURER, Reason.BENEFIT, result.maximum_clause, above))
    plan = claim.plan
    parts += [
        (
            Bearer.PRIOR_PAYER,
            Reason.SOCIAL_INSURANCE_PAID,
            plan.social_insurance.clause,
            result.social,
        ),
        (Bearer.PRIOR_PAYER, Reason.PRIOR_PAYER_PAID, plan.coordination.clause, result.prior),
    ]
    return tuple(
        BearerShare(bearer=bearer, reason=reason, clause=clause, amount=amount)
        for bearer, reason, clause, amount in sorted(parts, key=lambda part: RANK[part[1]])
        if amount
    )


def _pends(claim: Claim, settled: _Settled) -> tuple[Pend, ...]:
    """The facts that lines wait for; else the person who must look at a large claim."""
    clause = claim.plan.general.missing_facts
    pends = [
        Pend(
            reason=missing.reason,
            clause=missing.clause or clause,
            awaits=missing.awaits,
            line=one.line.facts.number,
        )
        for one in settled.lines
        if one.refusal is None
        for missing in {missing.awaits: missing for missing in one.line.missing}.values()
    ]
    if claim.edits is not None:
        stand = [one.line for one in settled.lines if one.refusal is None]
        pends += papers_missing(claim, stand)
    most, term = claim.terms.auto_pay_ceiling, claim.plan.auto_pay_ceiling
    benefit = sum(one.benefit for one in settled.lines)
    if claim.review is None and term is not None and most is not None and benefit > most:
        pends.append(
            Pend(reason=Reason.REVIEW_NEEDED, clause=term.clause, awaits="review.auto_pay_ceiling")
        )
    return tuple(pends)


def _disposition(
    claim: Claim, lines: tuple[DecisionLine, ...], pends: tuple[Pend, ...]
) -> Disposition:
    if any(pend.reason in _OF_PAPERS for pend in pends):
        return Disposition.PENDED_INFO
    if pends:
        return Disposition.PENDED_REVIEW
    if all(line.outcome is LineOutcome.DENIED for line in lines):
        return Disposition.DENIED
    return Disposition.AUTO_APPROVED if claim.review is None else Disposition.APPROVED
