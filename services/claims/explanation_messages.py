"""From an explained decision to the wire's messages. Computes nothing."""

from __future__ import annotations

from lipei.claims.v1 import decision_pb2, explanation_pb2, reason_pb2
from lipei.type.v1 import coding_pb2
from services.claims.core.balances import BalanceChange, Unit
from services.claims.core.decision import LineOutcome, Pend
from services.claims.core.explain import awaited
from services.claims.core.explanation import Explained, ExplainedLine, ExplainedPart, Step
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import Reason
from services.claims.messages import BEARERS, money

_STEPS = {one: explanation_pb2.Step.Value(f"STEP_{one.name}") for one in Step}
_UNITS = {one: explanation_pb2.BalanceUnit.Value(f"BALANCE_UNIT_{one.name}") for one in Unit}
_OUTCOMES = {one: decision_pb2.LineOutcome.Value(f"LINE_OUTCOME_{one.name}") for one in LineOutcome}
_REASONS = {one: reason_pb2.Reason.Value(f"REASON_{one.name}") for one in Reason}


def explanation_message(told: Explained) -> explanation_pb2.Explanation:
    """The whole explanation."""
    currency = told.decision.currency
    message = explanation_pb2.Explanation(
        plan=_words(told.plan.name),
        start_date=told.bill.start_date.isoformat(),
        end_date=told.bill.end_date.isoformat(),
        lines=[_line(told, line) for line in told.lines],
        balances=[_balance(one) for one in told.balances],
        bearers=[
            explanation_pb2.BearerTotal(bearer=BEARERS[bearer], amount=money(amount, currency))
            for bearer, amount in told.bearers
        ],
        reasons=[
            explanation_pb2.ReasonTotal(reason=_REASONS[reason], amount=money(amount, currency))
            for reason, amount in told.reasons
        ],
        awaited=[_awaited(told, pend) for pend in told.pends],
        clauses=[
            explanation_pb2.ClauseWords(clause=clause.id, text=_words(clause.text))
            for clause in told.clauses
        ],
        recomputed=told.recomputed,
    )
    if told.category is not None:
        message.category.CopyFrom(_words(told.category))
    return message


def _line(told: Explained, line: ExplainedLine) -> explanation_pb2.ExplainedLine:
    currency = told.decision.currency
    message = explanation_pb2.ExplainedLine(
        number=line.number,
        code=coding_pb2.Coding(system=line.code.system, code=line.code.code),
        service_name=line.name,
        service_date=line.service_date.isoformat(),
        quantity=str(line.quantity),
        unit_price=str(line.unit_price),
        outcome=_OUTCOMES[line.outcome],
        clause=line.clause,
        billed=money(line.billed, currency),
        allowed=money(line.allowed, currency),
        benefit=money(line.benefit, currency),
        share="" if line.share is None else str(line.share),
        share_clause=line.share_clause,
        parts=[_part(part, currency) for part in line.parts],
        balances=[_balance(one) for one in line.balances],
    )
    if line.section is not None:
        message.section.CopyFrom(_words(line.section))
    if line.reason is not None:
        message.reason = _REASONS[line.reason]
    if line.earlier is not None:
        bill = (line.earlier.provider_id, line.earlier.bill_number)
        message.earlier.CopyFrom(
            explanation_pb2.EarlierService(
                bill_number=line.earlier.bill_number,
                provider_id=line.earlier.provider_id,
                service_date=line.earlier.service_date.isoformat(),
                claims=told.claims_of.get(bill, ()),
            )
        )
    return message


def _part(part: ExplainedPart, currency: str) -> explanation_pb2.ExplainedPart:
    return explanation_pb2.ExplainedPart(
        step=_STEPS[part.step],
        bearer=BEARERS[part.bearer],
        reason=_REASONS[part.reason],
        clause=part.clause,
        amount=money(part.amount, currency),
        left=money(part.left, currency),
    )


def _balance(one: BalanceChange) -> explanation_pb2.BalanceChange:
    return explanation_pb2.BalanceChange(
        accumulator=one.accumulator,
        label=_words(one.name),
        clause=one.clause,
        unit=_UNITS[one.unit],
        scope=one.scope.value,
        period_start=one.period_start.isoformat() if one.period_start else "",
        before=one.before,
        after=one.after,
        limit=one.limit,
        left=one.left,
    )


def _awaited(told: Explained, pend: Pend) -> explanation_pb2.Awaited:
    return explanation_pb2.Awaited(
        reason=_REASONS[pend.reason],
        clause=pend.clause,
        awaits=pend.awaits,
        text=_words(awaited(told.plan, pend)),
        line=pend.line or 0,
    )


def _words(text: Text) -> explanation_pb2.Words:
    return explanation_pb2.Words(zh=text.zh, en=text.en)
