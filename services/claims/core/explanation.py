"""How a decision came about, to the fen: each line's steps, the share in force, the balances.

The decision is made again from its stored inputs and watched. It must be the stored one, and all
sums must hold, or there is no explanation. Decides nothing anew; knows no storage and no wire.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from services.claims.core.adjudicate import decide_again
from services.claims.core.amounts import Amounts
from services.claims.core.balances import Accumulators, BalanceChange
from services.claims.core.canonical import Inputs, output_hash
from services.claims.core.claim import AppliedShare, Claim
from services.claims.core.codes import code_key
from services.claims.core.decision import (
    Bearer,
    BearerShare,
    Decision,
    DecisionLine,
    LineOutcome,
    Pend,
    UsageChange,
)
from services.claims.core.facts import BillFacts, Coding, EarlierService, LineFacts
from services.claims.core.intake import UnacceptableBill
from services.claims.core.plan import Clause, Plan, clause_text
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import Reason
from services.claims.core.repeats import service_day
from services.common.dated import NoTermsInForce

_NO_TEXTS: Mapping[int, str] = {}


class DecisionAltered(ValueError):
    """The stored decision is not what its inputs give, or its sums do not hold."""


class Step(enum.IntEnum):
    """Where in the order per line (docs/explanations.md) an amount finds its bearer.

    Numbers and names are those of lipei.claims.v1.Step. An edit comes before all others.
    """

    PRICE = 1
    UNITS = 2
    UNIT_LIMIT = 3
    SOCIAL_INSURANCE = 4
    DEDUCTIBLE = 5
    COPAY = 6
    SHARE = 7
    SECTION_CEILING = 8
    CEILING = 9
    INDEMNITY = 10
    BENEFIT = 11  # what is left is the insurer's
    EDIT = 12  # refused or held before any money was reckoned


STEP_WORDS: dict[Step, Text] = {
    Step.EDIT: Text(zh="审核", en="edits"),
    Step.PRICE: Text(zh="协议价格", en="contract price"),
    Step.UNITS: Text(zh="数量", en="units"),
    Step.UNIT_LIMIT: Text(zh="每单位限额", en="limit per unit"),
    Step.SOCIAL_INSURANCE: Text(zh="基本医保", en="social insurance"),
    Step.DEDUCTIBLE: Text(zh="免赔额", en="deductible"),
    Step.COPAY: Text(zh="自付额", en="copay"),
    Step.SHARE: Text(zh="赔付比例", en="insurer's share"),
    Step.SECTION_CEILING: Text(zh="分项限额", en="section ceiling"),
    Step.CEILING: Text(zh="保险金额", en="ceiling"),
    Step.INDEMNITY: Text(zh="损失补偿", en="indemnity"),
    Step.BENEFIT: Text(zh="保险赔付", en="benefit"),
}
_REPEATS = (Reason.DUPLICATE, Reason.DUPLICATE_EXAMINATION)
# A reason that stands in no step here refuses or holds a line: an edit.
_STEPS = {
    Reason.PRICE_ABOVE_CONTRACT: Step.PRICE,
    Reason.FREQUENCY: Step.UNITS,
    Reason.UNIT_LIMIT: Step.UNIT_LIMIT,
    Reason.SOCIAL_INSURANCE_PAID: Step.SOCIAL_INSURANCE,
    Reason.DEDUCTIBLE: Step.DEDUCTIBLE,
    Reason.COPAY: Step.COPAY,
    Reason.COINSURANCE: Step.SHARE,
    Reason.SECTION_CEILING: Step.SECTION_CEILING,
    Reason.CEILING: Step.CEILING,
    Reason.PRIOR_PAYER_PAID: Step.INDEMNITY,
    Reason.BENEFIT: Step.BENEFIT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedPart:
    """One step of a line: who bears how much, why, and what of the billed amount is `left`."""

    step: Step
    bearer: Bearer
    reason: Reason
    clause: str
    amount: int
    left: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedLine:
    """One line of the bill, from what was billed to what the insurer pays.

    `share` is the insurer's that was applied, None where no step came so far. `earlier` is the
    service that a duplicate repeats. `balances` are the accumulators that this line moved.
    """

    number: int
    code: Coding
    name: str
    section: Text | None
    service_date: date
    quantity: Decimal
    unit_price: Decimal
    diagnosis_numbers: tuple[int, ...]
    outcome: LineOutcome
    reason: Reason | None
    clause: str
    billed: int
    allowed: int
    benefit: int
    share: Decimal | None
    share_clause: str
    parts: tuple[ExplainedPart, ...]
    balances: tuple[BalanceChange, ...]
    earlier: EarlierService | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """A whole claim: billed = the sum over bearers = the sum over reasons, line by line as well.

    `balances` are before the claim and after it; of a claim that waits, after it has reserved the
    most that it could pay. `policy_days` are the policy's first and last. `recomputed` is False
    where an earlier engine decided otherwise than today's would: shares and balances are then not
    known. `claims_of` names the claims of earlier bills by provider and bill number, for whoever
    knows them.
    """

    plan: Plan
    bill: BillFacts
    decision: Decision
    category: Text | None
    lines: tuple[ExplainedLine, ...]
    balances: tuple[BalanceChange, ...]
    bearers: tuple[tuple[Bearer, int], ...]
    reasons: tuple[tuple[Reason, int], ...]
    clauses: tuple[Clause, ...]
    policy_days: tuple[date, date]
    recomputed: bool
    claims_of: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @property
    def pends(self) -> tuple[Pend, ...]:
        """What the claim waits for."""
        return self.decision.pends


def explained(
    plan: Plan,
    inputs: Inputs,
    decision: Decision,
    line_texts: Mapping[int, str] = _NO_TEXTS,
    *,
    same_engine: bool = True,
) -> Explained:
    """The decision with every step that led to it; `line_texts` are names of services by line.

    Raises: DecisionAltered when today's engine is the one that decided and decides otherwise, or
    when a sum does not hold; KeyError when the plan is not the decision's.
    """
    seen = _Watched()
    # What the decision says, not what it says its hash is.
    said = output_hash(decision)
    if said != decision.output_hash:
        raise DecisionAltered("the stored decision is not what its hash says")
    recomputed = _again(plan, inputs, seen) == said
    if same_engine and not recomputed:
        raise DecisionAltered("the stored decision is not what its inputs give")
    facts = {line.number: line for line in inputs.bill.lines}
    sections = {section.id: section.name for section in plan.sections}
    lines = tuple(
        ExplainedLine(
            number=line.number,
            code=line.code,
            name=line_texts.get(line.number) or line.code.code,
            section=sections[line.section] if line.section else None,
            service_date=service_day(inputs.bill, facts[line.number]),
            quantity=facts[line.number].quantity,
            unit_price=facts[line.number].unit_price,
            diagnosis_numbers=facts[line.number].diagnosis_numbers,
            outcome=line.outcome,
            reason=line.reason,
            clause=line.clause,
            billed=line.billed,
            allowed=line.allowed,
            benefit=line.benefit,
            share=seen.shares[line.number].value if _shared(seen, line, recomputed) else None,
            share_clause=seen.shares[line.number].clause if _shared(seen, line, recomputed) else "",
            parts=_parts(line),
            balances=seen.balances[line.number] if recomputed else (),
            earlier=_earlier(inputs, line, facts[line.number]),
        )
        for line in decision.lines
    )
    clauses = named_clauses(decision)
    told = Explained(
        plan=plan,
        bill=inputs.bill,
        decision=decision,
        category=next((one.name for one in plan.categories if one.id == decision.category), None),
        lines=lines,
        balances=seen.over(decision, frozenset(clauses)),
        bearers=tuple((bearer, _borne(decision, bearer)) for bearer in Bearer),
        reasons=_by_reason(decision),
        clauses=tuple(Clause(id=one, text=clause_text(plan, one)) for one in clauses),
        policy_days=(inputs.policy.start, inputs.policy.end - timedelta(days=1)),
        recomputed=recomputed,
    )
    faults = sums_that_fail(told)
    if faults:
        raise DecisionAltered("; ".join(faults))
    return told


def sums_that_fail(told: Explained) -> tuple[str, ...]:
    """Every sum of an explanation that does not hold; empty when it adds up."""
    faults = []
    for line in told.lines:
        if sum(part.amount for part in line.parts) != line.billed:
            faults.append(f"line {line.number}: its parts are not what was billed")
        if sum(p.amount for p in line.parts if p.bearer is Bearer.INSURER) != line.benefit:
            faults.append(f"line {line.number}: the insurer's parts are not the benefit")
    billed = sum(line.billed for line in told.lines)
    if not billed == told.decision.billed == sum(amount for _, amount in told.bearers):
        faults.append("claim: the bearers do not bear what was billed")
    if billed != sum(amount for _, amount in told.reasons):
        faults.append("claim: the reasons do not add up to what was billed")
    if dict(told.bearers)[Bearer.INSURER] != told.decision.benefit:
        faults.append("claim: the insurer does not bear the benefit")
    return tuple(faults)


def named_clauses(decision: Decision) -> tuple[str, ...]:
    """Every clause that the decision names, in the order of its lines."""
    named: dict[str, None] = {}
    for line in decision.lines:
        for share in line.shares:
            named[share.clause] = None
        if line.clause:
            named[line.clause] = None
    for pend in decision.pends:
        named[pend.clause] = None
    return tuple(named)


class _Watched:
    """What the engine shows while it decides: each line's share, and what it adds to use."""

    def __init__(self) -> None:
        self.shares: dict[int, AppliedShare] = {}
        self.balances: dict[int, tuple[BalanceChange, ...]] = {}
        self._accumulators: Accumulators | None = None
        self._added: tuple[UsageChange, ...] = ()

    def line(self, claim: Claim, result: Amounts, added: tuple[UsageChange, ...]) -> None:
        """Take one line down."""
        known = self._of(claim)
        number = result.line.facts.number
        if result.share is not None:
            self.shares[number] = result.share
        self.balances[number] = known.between(self._added, added)
        self._added = added

    def over(self, decision: Decision, clauses: frozenset[str]) -> tuple[BalanceChange, ...]:
        """The balances of the whole claim, as the decision itself moved them."""
        if self._accumulators is None:
            return ()
        return self._accumulators.over(decision.usage_changes, clauses)

    def _of(self, claim: Claim) -> Accumulators:
        if self._accumulators is None:
            self._accumulators = Accumulators(
                claim.terms, claim.policy, claim.usage, claim.terms_day
            )
        return self._accumulators


def _again(plan: Plan, inputs: Inputs, seen: _Watched) -> str:
    """The output hash of today's engine; empty where it would not take the bill at all."""
    try:
        again = decide_again(plan, inputs, seen.line)
    except (UnacceptableBill, NoTermsInForce):
        return ""
    return again.output_hash


def _shared(seen: _Watched, line: DecisionLine, recomputed: bool) -> bool:
    return recomputed and line.number in seen.shares and line.outcome is not LineOutcome.DENIED


def _parts(line: DecisionLine) -> tuple[ExplainedPart, ...]:
    """The line's shares in the order of the steps, and what each leaves."""
    refused = line.outcome in (LineOutcome.DENIED, LineOutcome.PENDED)
    ordered = sorted(
        ((_step(share, refused), share) for share in line.shares),
        key=lambda part: (part[0] is not Step.EDIT, part[0], part[1].reason),
    )
    left, parts = line.billed, []
    for step, share in ordered:
        # What the insurer pays is not taken away from it: it is what is left.
        left -= share.amount if share.bearer is not Bearer.INSURER else 0
        parts.append(
            ExplainedPart(
                step=step,
                bearer=share.bearer,
                reason=share.reason,
                clause=share.clause,
                amount=share.amount,
                left=left,
            )
        )
    return tuple(parts)


def _step(share: BearerShare, refused: bool) -> Step:
    if refused and share.bearer is Bearer.PATIENT:
        return Step.EDIT
    return _STEPS.get(share.reason, Step.EDIT)


def _earlier(inputs: Inputs, line: DecisionLine, facts: LineFacts) -> EarlierService | None:
    """What a duplicate repeats: of the claim that the decision names, else as like as can be."""
    if not line.earlier_claim and line.reason not in _REPEATS:
        return None
    day = service_day(inputs.bill, facts)
    alike = [
        one
        for one in inputs.usage.services
        if one.bill_number != inputs.bill.bill_number
        and one.claim == line.earlier_claim
        and code_key(one.code) == code_key(line.code)
    ]
    return max(
        alike,
        key=lambda one: (
            one.service_date <= day,  # it may have been done later where the later claim repeats
            (one.provider_id == inputs.bill.provider_id) is (line.reason is Reason.DUPLICATE),
            one.quantity == facts.quantity and one.unit_price == facts.unit_price,
            -abs((one.service_date - day).days),
            one.bill_number,
        ),
        default=None,
    )


def _borne(decision: Decision, bearer: Bearer) -> int:
    shares = (share for line in decision.lines for share in line.shares)
    return sum(share.amount for share in shares if share.bearer is bearer)


def _by_reason(decision: Decision) -> tuple[tuple[Reason, int], ...]:
    totals: Counter[Reason] = Counter()
    for line in decision.lines:
        for share in line.shares:
            totals[share.reason] += share.amount
    return tuple(sorted(totals.items()))
