"""From stored claims and decisions to the wire's messages. Computes nothing."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.claims.v1 import claims_pb2, decision_pb2, policy_pb2, reason_pb2
from lipei.type.v1 import coding_pb2, money_pb2
from services.claims.core.decision import Bearer, Decision, DecisionLine, LineOutcome, Payee
from services.claims.core.facts import ReviewedLine
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan import Plan
from services.claims.core.reasons import RANK, WORDS
from services.claims.storage import corrections
from services.claims.storage.acts import ActKind, Incoming, Told
from services.claims.storage.books import Books
from services.claims.storage.notices import Channel
from services.claims.storage.rows import ActRow, DecidedRow, MoveRow, NoticeRow
from services.claims.storage.sealed import OpenedClaim

STATES = {state: claims_pb2.ClaimState.Value(f"CLAIM_STATE_{state.name}") for state in ClaimState}
STATE_OF = {number: state for state, number in STATES.items()}
BEARERS = {b: decision_pb2.Bearer.Value(f"BEARER_{b.name}") for b in Bearer}
_PAYEES: dict[Payee | None, decision_pb2.Payee.ValueType] = {
    None: decision_pb2.PAYEE_UNSPECIFIED,
    **{p: decision_pb2.Payee.Value(f"PAYEE_{p.name}") for p in Payee},
}
_OUTCOMES = {o: decision_pb2.LineOutcome.Value(f"LINE_OUTCOME_{o.name}") for o in LineOutcome}


def claim_name(policy_id: str, claim_id: str) -> str:
    """Resource name of a claim."""
    return f"policies/{policy_id}/claims/{claim_id}"


def money(amount: int, currency: str) -> money_pb2.Money:
    """Minor units as a message."""
    return money_pb2.Money(currency_code=currency, minor_units=amount)


def timestamp(at_us: int) -> Timestamp:
    """Microseconds since 1970 as a message."""
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1_000)


def claim_message(
    opened: OpenedClaim, *, recovered: int, proposed: str | None = None
) -> claims_pb2.Claim:
    """One claim with its decision in force, without history.

    Of an erased person's claim, and of one that cannot be read: names, states and amounts, no line
    and no bill number. `recovered`
    is what the ledger says came back of what was paid, in minor units; `proposed` the kind of act
    that waits for a second person.
    """
    row = opened.row
    message = claims_pb2.Claim(
        name=claim_name(row.policy_id, row.id),
        member=f"members/{row.person_id}",
        bill_number=opened.bill_number,
        provider_id=row.provider_id,
        state=STATES[ClaimState(row.state)],
        create_time=timestamp(row.created_us),
        paid=money(row.paid, row.currency),
        end_to_end_id=row.end_to_end_id or "",
        consent=row.consent or "",
        erased=opened.erased,
        revision=row.revision,
        state_time=timestamp(row.moved_us),
        awaits_confirmation=row.proposal is not None,
        corrected=corrections.is_open(row),
        awaits_adjustment=corrections.is_held(row),
        unreadable=opened.unreadable,
    )
    if proposed is not None:
        message.proposal.kind = proposed
    if row.recoverable:
        message.recoverable.CopyFrom(money(row.recoverable, row.currency))
    if recovered:
        message.recovered.CopyFrom(money(recovered, row.currency))
    if row.papers_due_us is not None:
        message.papers_due_time.CopyFrom(timestamp(row.papers_due_us))
    if opened.decided is not None:
        message.decision.CopyFrom(decision_message(opened.decided))
    elif opened.stored is not None:
        message.decision.CopyFrom(_what_is_left(opened.stored))
    if opened.stored is not None:
        message.decision.commitment = opened.stored.commitment
    if row.decided_us is not None:
        message.decide_time.CopyFrom(timestamp(row.decided_us))
    if row.paid_us is not None:
        message.pay_time.CopyFrom(timestamp(row.paid_us))
    return message


def seen_by_hospital(claim: claims_pb2.Claim) -> claims_pb2.Claim:
    """What a hospital must know of a claim that its bill opened: its name, state and decision.

    Not the insurer's handle of the person, what the person has used up or had elsewhere, how the
    insurer checks itself, or the payout.
    """
    seen = claims_pb2.Claim()
    seen.CopyFrom(claim)
    for field in ("member", "moves", "paid", "pay_time", "end_to_end_id"):
        seen.ClearField(field)
    for kept in (
        "recoverable",
        "recovered",
        "days_left",
        "minimum_days_left",
        "days_stand_still",
        "reserved",
        "notice_due_day",
        "notice_days_left",
        "refusal_notice",
        "awaits_confirmation",
        "proposal",
        "refusal",
        "awaits_adjustment",
        "payout_waits",
    ):
        seen.ClearField(kept)
    if seen.HasField("decision"):
        seen.decision.ClearField("usage_changes")
        seen.decision.ClearField("four_eyes")
        for line in seen.decision.lines:
            line.ClearField("earlier_claim")
    return seen


def proposal_message(act: ActRow, told: Told, currency: str) -> claims_pb2.Proposal:
    """What somebody has proposed, as whoever confirms it must see it."""
    found = told.review.lines if told.review is not None else ()
    return claims_pb2.Proposal(
        kind=act.kind,
        actor=act.actor,
        time=timestamp(act.at_us),
        lines=map(_proposed_line, found),
        note=told.note,
        amount=None if told.amount is None else money(told.amount, currency),
        incoming=None if told.incoming is None else _incoming(told.incoming),
    )


def _incoming(found: Incoming) -> claims_pb2.IncomingTransfer:
    return claims_pb2.IncomingTransfer(
        paying_account=found.account,
        bank_reference=found.reference,
        value_date=found.value_date,
    )


def refusal_message(act: ActRow, kind: str, told: Told) -> claims_pb2.ProposalRefusal:
    """Why nothing came of a proposal of that kind, for whoever proposed it."""
    return claims_pb2.ProposalRefusal(
        kind=kind,
        withdrawn=act.kind == ActKind.WITHDRAW.value,
        actor=act.actor,
        time=timestamp(act.at_us),
        note=told.note,
    )


def notice_message(notice: NoticeRow) -> claims_pb2.RefusalNotice:
    """That the notice of a refusal went out; whether in time, who knows the clocks says."""
    return claims_pb2.RefusalNotice(
        sent_day=notice.sent_day,
        channel=claims_pb2.NoticeChannel.Value(f"NOTICE_CHANNEL_{Channel(notice.channel).name}"),
        actor=notice.actor,
        record_time=timestamp(notice.at_us),
    )


def _proposed_line(line: ReviewedLine) -> claims_pb2.ProposedLine:
    return claims_pb2.ProposedLine(
        number=line.number,
        clause=line.clause,
        deny_reason=reason_pb2.Reason.Value(
            f"REASON_{line.reason.name if line.denied else 'UNSPECIFIED'}"
        ),
        units="" if line.quantity is None else f"{line.quantity:f}",
        unit_price="" if line.unit_price is None else f"{line.unit_price:f}",
    )


def move_message(move: MoveRow, proposed_by: str = "") -> claims_pb2.ClaimMove:
    """One move of a claim's history, and whose proposal it carries out."""
    before = claims_pb2.CLAIM_STATE_UNSPECIFIED
    return claims_pb2.ClaimMove(
        from_state=STATES[ClaimState(move.from_state)] if move.from_state else before,
        to_state=STATES[ClaimState(move.to_state)],
        actor=move.actor,
        cause=move.event,
        time=timestamp(move.at_us),
        clock=move.clock,
        proposed_by=proposed_by,
    )


def decision_message(decided: Decision) -> decision_pb2.Decision:
    """A decision, line by line."""
    currency = decided.currency
    return decision_pb2.Decision(
        plan_version=decided.plan_version,
        engine_version=decided.engine_version,
        input_hash=decided.input_hash,
        output_hash=decided.output_hash,
        billed=money(decided.billed, currency),
        allowed=money(decided.allowed, currency),
        benefit=money(decided.benefit, currency),
        lines=[_line_message(line, currency) for line in decided.lines],
        four_eyes=decided.four_eyes,
        pays_now=money(decided.pays_now, currency) if decided.pays_now else None,
        usage_changes=[
            decision_pb2.UsageChange(
                accumulator=change.accumulator,
                scope=change.scope.value,
                period_start=change.period_start.isoformat() if change.period_start else "",
                amount_minor_units=change.amount,
                count=change.count,
            )
            for change in decided.usage_changes
        ],
        pends=[
            decision_pb2.Pend(
                reason=reason_pb2.Reason.Value(f"REASON_{pend.reason.name}"),
                clause=pend.clause,
                awaits=pend.awaits,
                line=pend.line or 0,
            )
            for pend in decided.pends
        ],
    )


def _what_is_left(stored: DecidedRow) -> decision_pb2.Decision:
    return decision_pb2.Decision(
        plan_version=stored.plan_version,
        engine_version=stored.engine_version,
        billed=money(stored.billed, stored.currency),
        allowed=money(stored.allowed, stored.currency),
        benefit=money(stored.benefit, stored.currency),
    )


def _line_message(line: DecisionLine, currency: str) -> decision_pb2.DecisionLine:
    return decision_pb2.DecisionLine(
        number=line.number,
        code=coding_pb2.Coding(system=line.code.system, code=line.code.code),
        section=line.section,
        outcome=_OUTCOMES[line.outcome],
        billed=money(line.billed, currency),
        allowed=money(line.allowed, currency),
        benefit=money(line.benefit, currency),
        payee=_PAYEES[line.payee],
        shares=[
            decision_pb2.BearerShare(
                bearer=BEARERS[share.bearer],
                reason=reason_pb2.Reason.Value(f"REASON_{share.reason.name}"),
                clause=share.clause,
                amount=money(share.amount, currency),
            )
            for share in line.shares
        ],
        earlier_claim=line.earlier_claim,
    )


def reason_messages(decided: Decision) -> list[policy_pb2.ReasonText]:
    """Every reason that occurs in a decision, in order of precedence, with codes and sentences."""
    occurring = {share.reason for line in decided.lines for share in line.shares}
    return [
        policy_pb2.ReasonText(
            reason=reason_pb2.Reason.Value(f"REASON_{reason.name}"),
            carc=WORDS[reason].carc,
            rarc=WORDS[reason].rarc,
            group_code=WORDS[reason].group_code,
            text_zh=WORDS[reason].zh,
            text_en=WORDS[reason].en,
        )
        for reason in sorted(occurring, key=RANK.__getitem__)
    ]


def section_messages(plan: Plan, claim: claims_pb2.Claim) -> list[policy_pb2.SectionText]:
    """What the plan calls the sections of a claim's lines, in the plan's order."""
    shown = {line.section for line in claim.decision.lines}
    return [
        policy_pb2.SectionText(section=one.id, text_zh=one.name.zh, text_en=one.name.en)
        for one in plan.sections
        if one.id in shown
    ]


def books_message(found: Books) -> claims_pb2.CheckBooksResponse:
    """The state of the books."""
    return claims_pb2.CheckBooksResponse(
        balances=[
            claims_pb2.AccountBalance(
                account=balance.account,
                posted=money(balance.posted, balance.currency),
                pending=money(balance.pending, balance.currency),
            )
            for balance in found.trial.accounts
        ],
        ledger_sum_minor_units=found.trial.off,
        conservation_violations=found.conservation_violations,
        claims=[
            claims_pb2.StateCount(state=STATES[state], count=count)
            for state, count in found.states.items()
        ],
        paid_count=found.paid_count,
        paid=[money(amount, currency) for currency, amount in sorted(found.paid.items())],
        payout_mismatches=found.payout_mismatches,
    )
