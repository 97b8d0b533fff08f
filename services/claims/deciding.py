"""What a decision is made from, read from the database; the rows locked that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import msgspec
from sqlalchemy import Connection, Row

from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import bill_facts, day_received, end_day, start_day
from services.claims.core import canonical, clocks
from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import decide_again
from services.claims.core.decision import Decision, Disposition
from services.claims.core.facts import (
    AppealFacts,
    BillFacts,
    LinePayment,
    PriorPayment,
    PriorPayments,
    Review,
    usage_snapshot,
)
from services.claims.core.life_cycle import TAKEN_BACK, ClaimState, Event
from services.claims.core.plan import reads_family_size
from services.claims.core.repeats import services_that_matter
from services.claims.owing import owe, to_provider
from services.claims.papers import unstated, with_facts
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import acts, coordination, corrections, decisions, policies, sealed
from services.claims.storage import claims as store
from services.claims.storage.usage import balances, earlier_services
from services.common.refusals import Refused
from services.common.sealing import Sealer

# A pended claim of an earlier policy waits for a person; each look costs the workflow's history.
PENDED_RETRY_S = 600.0
# What somebody else decides within moments.
TURN_RETRY_S = 0.05
EARLIER_POLICY_PENDED = "EARLIER_POLICY_PENDED"

EVENTS = {
    Disposition.AUTO_APPROVED: Event.AUTO_APPROVE,
    Disposition.APPROVED: Event.APPROVE,
    Disposition.DENIED: Event.DENY,
    Disposition.PENDED_INFO: Event.ASK_FOR_PAPERS,
    Disposition.PENDED_REVIEW: Event.REFER_TO_REVIEW,
    Disposition.PENDED_FRAUD: Event.SUSPECT_FRAUD,
}
_RELEASED = (Disposition.AUTO_APPROVED, Disposition.APPROVED)


@dataclass(frozen=True, slots=True)
class Desk:
    """One transaction in which claims are decided."""

    connection: Connection
    sealer: Sealer
    plans: PlanShelf
    at_us: int


def bill_of(desk: Desk, row: Row[Any]) -> bill_pb2.Bill:
    """The newest version of the claim's bill, with what papers have brought.

    Raises: Erased, CannotOpen.
    """
    newest = corrections.bill_of(desk.connection, desk.sealer, row, row.adjustments)
    bill = bill_pb2.Bill.FromString(newest)
    if row.papers_asked:
        for supplied in acts.supplied(desk.connection, desk.sealer, row.id):
            facts = bill_pb2.Bill.FromString(supplied)
            if row.adjustments:  # papers were for an earlier version, and the hospital's word goes
                facts = unstated(bill, facts)
            bill = with_facts(bill, facts)
    return bill


def decide(
    desk: Desk,
    row: Row[Any],
    *,
    bill: bill_pb2.Bill | None = None,
    review: Review | None = None,
    appeal: AppealFacts | None = None,
) -> tuple[canonical.Inputs, Decision]:
    """What the plan pays for the claim by what is known now, its own earlier decision left out.

    Writes nothing. `bill` takes the place of the claim's.

    Raises: Refused while an earlier policy's claim pends; UnacceptableBill, NoTermsInForce, Erased.
    """
    inputs = _inputs(desk, row, bill or bill_of(desk, row), review, appeal)
    plan = desk.plans.plan(desk.connection, inputs.plan_version)
    return inputs, decide_again(plan, inputs)


def take_effect(
    desk: Desk,
    row: Row[Any],
    inputs: canonical.Inputs,
    decided: Decision,
    before: tuple[Event, ...],
    actor: str,
    *,
    event: Event | None = None,
) -> ClaimState:
    """Put a decision in the place of the one before it, whose use it takes over; pay what it owes.

    `before` are the moves that lead up to it; `event` is where it leads, as it says itself when
    absent.
    """
    decision_id = decisions.store_decision(
        desk.connection, desk.sealer, row, inputs, decided, desk.at_us
    )
    moves = [*before, event or EVENTS[decided.disposition]]
    columns: dict[str, Any] = {}
    if event is None and decided.disposition in _RELEASED:
        moves.append(owe(desk.connection, row, decision_id, decided.benefit, desk.at_us))
        columns["owed"] = decided.benefit
        columns["owed_provider"] = to_provider(decided)
    if moves[-1] is Event.ASK_FOR_PAPERS:
        columns["papers_asked"] = row.papers_asked + 1
        columns["papers_due_us"] = _papers_due_us(row, inputs, desk.at_us)
    return store.move_on(
        desk.connection,
        row.id,
        ClaimState(row.state),
        moves,
        actor,
        desk.at_us,
        asked_before=row.papers_asked,
        decision_id=decision_id,
        benefit=decided.benefit,
        decided_us=desk.at_us,
        released_us=None,
        adjusted=row.adjustments,
        **columns,
    )


def _papers_due_us(row: Row[Any], inputs: canonical.Inputs, at_us: int) -> int:
    zone = ZoneInfo(row.time_zone)
    due = clocks.papers_due(inputs.bill.end_date, store.day_of(at_us, zone))
    return int(datetime.combine(due, time(), zone).astimezone(UTC).timestamp()) * 1_000_000


def _inputs(
    desk: Desk,
    row: Row[Any],
    bill: bill_pb2.Bill,
    review: Review | None,
    appeal: AppealFacts | None,
) -> canonical.Inputs:
    connection, sealer = desk.connection, desk.sealer
    facts = msgspec.structs.replace(bill_facts(bill), appeal=appeal)
    terms, member = policies.of_stay(
        connection, sealer, row.policy_id, row.member_id, start_day(bill), end_day(bill)
    )
    plan = desk.plans.plan(connection, terms.plan_version)
    if plan.edits is not None and plan.edits.filing is not None:
        received = day_received(bill, row.created_us)
        facts = msgspec.structs.replace(facts, received_date=received)
    facts = _priced(desk, row, facts)
    usage = usage_snapshot(
        balances(connection, row.policy_id, row.member_id),
        earlier_services(connection, sealer, row, services_that_matter(plan, facts)),
    )
    snapshot = terms.snapshot(member)
    if reads_family_size(plan):
        size = policies.insured_people(connection, row.policy_id, terms.revision)
        snapshot = msgspec.structs.replace(snapshot, family_size=size)
    own = decisions.own_use(connection, sealer, row)
    return canonical.Inputs(
        plan_version=terms.plan_version,
        policy=snapshot,
        usage=with_changes(usage, own, release=True) if own else usage,
        bill=facts,
        prior=_prior(desk, row),
        review=review,
        claim_id=row.id if plan.sampling is not None else "",
    )


def _priced(desk: Desk, row: Row[Any], facts: BillFacts) -> BillFacts:
    """The facts with what the insurer has agreed with the provider, as of the day of discharge.

    Only what a hospital hands in itself is billed directly: a member has paid the hospital.
    """
    whose = (row.insurer, facts.provider_id, facts.currency)
    listed = desk.plans.price_list(desk.connection, *whose)
    if listed is None or not listed.in_force(facts.end_date):
        return facts
    direct = row.hospital is not None and listed.bills_directly(facts.end_date)
    prices = listed.for_codes(tuple(line.code for line in facts.lines))
    return msgspec.structs.replace(facts, price_list=prices, direct_billing=direct)


def _prior(desk: Desk, row: Row[Any]) -> PriorPayments:
    payments = []
    for earlier in coordination.earlier_policies(desk.connection, row):
        if ClaimState(earlier.state) in store.PENDED:
            raise Refused(
                grpc.StatusCode.ABORTED,
                EARLIER_POLICY_PENDED,
                "the same bill is pended under an earlier policy; wait",
                retry_after_s=PENDED_RETRY_S,
            )
        if corrections.is_open(earlier):
            raise Refused(
                grpc.StatusCode.ABORTED,
                EARLIER_POLICY_PENDED,
                "the same bill was corrected and waits under an earlier policy; wait",
                retry_after_s=PENDED_RETRY_S if corrections.is_held(earlier) else TURN_RETRY_S,
            )
        gone = earlier.released_us is not None or ClaimState(earlier.state) in TAKEN_BACK
        if not earlier.benefit or gone:
            continue
        stored = decisions.decision_of(desk.connection, earlier.decision_id)
        lines = tuple(
            LinePayment(number=line.number, amount=line.benefit)
            for line in sealed.open_output(desk.sealer, stored).lines
            if line.benefit
        )
        payments.append(PriorPayment(payer=earlier.policy_id, amount=earlier.benefit, lines=lines))
    return PriorPayments(payments=tuple(payments))
