"""What a plan pays for one claim: a pure function of plan, policy, usage, bill and earlier payers.

It asks no database and no clock. The same inputs give the same output and the same hashes for
ever, or ENGINE_VERSION changes.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from services.claims.core.amounts import Amounts
from services.claims.core.canonical import Inputs, input_hash, output_hash, plan_version
from services.claims.core.claim import Claim, Line, Missing, Refusal, open_claim
from services.claims.core.decision import (
    ENGINE_VERSION,
    Bearer,
    BearerShare,
    Decision,
    DecisionLine,
    Disposition,
    LineOutcome,
    Payee,
    Pend,
)
from services.claims.core.facts import (
    BillFacts,
    PolicySnapshot,
    PriorPayments,
    Review,
    UsageSnapshot,
    plain_decimal,
)
from services.claims.core.filing import papers_missing
from services.claims.core.flow import needs_four_eyes, payee_of, review_pends
from services.claims.core.intake import UnacceptableBill, bill_faults
from services.claims.core.plan import Plan
from services.claims.core.reasons import RANK, Reason
from services.claims.core.repeats import Allowed, allowed_service
from services.claims.core.review import review_faults
from services.claims.core.rules import refuse_lines
from services.claims.core.settling import Settled, Watch, reserve, settle

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
    claim_id: str = "",
    watch: Watch | None = None,
) -> Decision:
    """Decide a claim: lines with amounts, bearers, reasons and clauses, and what it uses up.

    Every fen of the bill has one bearer and one reason. A line whose fact is missing pends and
    holds the claim; the claim then reserves the most it could pay. `review` is what a person
    found; `claim_id` counts only where the plan samples claims. `watch` sees each line in turn
    and changes nothing.

    Raises: UnacceptableBill with every fault of a bill that intake must refuse, or of a review;
    NoTermsInForce when the plan has no terms yet on the policy's days.
    """
    account_pays = plan.social_insurance.account_paid_is is Bearer.PRIOR_PAYER
    faults = (
        *bill_faults(bill, prior, plan.currency, account_pays=account_pays),
        *review_faults(plan, bill, review),
    )
    if faults:
        raise UnacceptableBill(faults)
    inputs = Inputs(
        plan_version=plan_version(plan),
        policy=policy,
        usage=usage,
        bill=bill,
        prior=prior,
        review=review,
        claim_id=claim_id if plan.sampling is not None else "",
    )
    claim = open_claim(plan, policy, usage, bill, prior, review, inputs.claim_id)
    refuse_lines(claim)
    settled = settle(claim, watch)
    lines = tuple([_decision_line(claim, one) for one in settled.lines])
    benefit = sum([line.benefit for line in lines])
    pends = _pends(claim, settled, benefit, inputs.plan_version)
    disposition = _disposition(claim, lines, pends)
    four_eyes, pays_now = needs_four_eyes(claim, benefit), _pays_first(claim, pends)
    changes = reserve(claim, settled) if pends else settled.changes
    decision = Decision(
        plan_version=inputs.plan_version,
        engine_version=ENGINE_VERSION,
        input_hash=input_hash(inputs),
        output_hash="",
        disposition=disposition,
        currency=plan.currency,
        billed=sum([line.billed for line in lines]),
        allowed=sum([line.allowed for line in lines]),
        benefit=benefit,
        lines=lines,
        category=claim.category or "",
        usage_changes=changes,
        pends=pends,
        four_eyes=four_eyes,
        pays_now=benefit if pays_now else 0,
    )
    return msgspec.structs.replace(decision, output_hash=output_hash(decision))


def decide_again(plan: Plan, inputs: Inputs, watch: Watch | None = None) -> Decision:
    """The decision that today's engine makes of what an earlier one was made from.

    Raises: UnacceptableBill; NoTermsInForce.
    """
    return adjudicate(
        plan,
        inputs.policy,
        inputs.usage,
        inputs.bill,
        inputs.prior,
        review=inputs.review,
        claim_id=inputs.claim_id,
        watch=watch,
    )


def allowed_lines(bill: BillFacts, decision: Decision) -> list[Allowed]:
    """The services that were not denied, each with the number of its line."""
    facts = {line.number: line for line in bill.lines}
    return [
        Allowed(line.number, allowed_service(bill, facts[line.number], line.units))
        for line in decision.lines
        if line.outcome is not LineOutcome.DENIED
    ]


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
        payee=_payee(claim, result) if claim.terms.payees else None,
        units=_units(result, outcome),
        earlier_claim=line.earlier_claim
        if refusal is not None and refusal.reason in _OF_EARLIER_CLAIMS
        else "",
    )


def _units(result: Amounts, outcome: LineOutcome) -> Decimal | None:
    """The units that are left of a line of which not all are."""
    fewer = outcome is not LineOutcome.DENIED and result.units != result.line.facts.quantity
    return plain_decimal(result.units) if fewer else None


def _waiting(claim: Claim, line: Line) -> Refusal:
    """Why a line waits: a fact goes before a person."""
    facts = claim.plan.general.missing_facts
    if any(one.reason is Reason.FACT_MISSING for one in line.missing):
        return Refusal(Reason.FACT_MISSING, facts)
    return Refusal(line.missing[0].reason, line.missing[0].clause)


def _payee(claim: Claim, result: Amounts) -> Payee | None:
    payee = payee_of(claim, result.line) if result.benefit else None
    return None if isinstance(payee, Missing) else payee


def _shares(claim: Claim, result: Amounts, refusal: Refusal | None) -> tuple[BearerShare, ...]:
    """The line's parts in the order of the steps; they add up to what was billed."""
    plan = claim.plan
    if refusal is not None:
        left = result.billed - result.social - result.prior
        parts = [(refusal.reason, Bearer.PATIENT, refusal.clause, left)] if left else []
    else:
        parts = [(cut.reason, cut.bearer, cut.clause, cut.amount) for cut in result.cuts]
        by_share = min(result.benefit, result.by_share)
        if by_share and result.share is not None:
            parts.append((Reason.BENEFIT, Bearer.INSURER, result.share.clause, by_share))
        if above := result.benefit - by_share:
            parts.append((Reason.BENEFIT, Bearer.INSURER, result.maximum_clause, above))
    if result.social:
        clause = plan.social_insurance.clause
        parts.append((Reason.SOCIAL_INSURANCE_PAID, Bearer.PRIOR_PAYER, clause, result.social))
    if result.prior:
        clause = plan.coordination.clause
        parts.append((Reason.PRIOR_PAYER_PAID, Bearer.PRIOR_PAYER, clause, result.prior))
    if len(parts) > 1:
        parts.sort(key=lambda part: RANK[part[0]])
    return tuple(
        [
            BearerShare(bearer=bearer, reason=reason, clause=clause, amount=amount)
            for reason, bearer, clause, amount in parts
        ]
    )


def _pends(claim: Claim, settled: Settled, benefit: int, version: str) -> tuple[Pend, ...]:
    """The facts that lines wait for, and the person who must look at the claim."""
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
    payable = any(one.refusal is None for one in settled.lines)
    pends += review_pends(claim, benefit, version=version, payable=payable)
    return tuple(pends)


def _pays_first(claim: Claim, pends: tuple[Pend, ...]) -> bool:
    """Whether what waits for nothing is paid while other lines wait for facts."""
    facts_only = all(pend.reason is Reason.FACT_MISSING for pend in pends)
    return claim.terms.undisputed_first and bool(pends) and facts_only


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
