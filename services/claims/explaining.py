"""A stored claim with its decision explained: opened, decided again, and held against itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from zoneinfo import ZoneInfo

import grpc
from sqlalchemy import Connection

from lipei.type.v1 import bill_pb2
from services.claims.core.canonical import Inputs
from services.claims.core.decision import ENGINE_VERSION
from services.claims.core.explain import Explanation, explain
from services.claims.core.explanation import DecisionAltered, Explained, explained
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan_parts import Text
from services.claims.explained.told import CoordinatedClaim, ToldClaim, ended, printable
from services.claims.messages import claim_name
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import coordination, corrections, sealed
from services.claims.storage.claims import notice_due
from services.claims.storage.ledger import recovered_of
from services.claims.storage.rows import ClaimRow, DecisionRow
from services.common.grpc_edge import Refused
from services.common.sealing import Sealer


def told_claim(
    connection: Connection,
    sealer: Sealer,
    plans: PlanShelf,
    row: ClaimRow,
    stored: DecisionRow,
) -> ToldClaim:
    """The claim of a row with its stored decision explained. Reads nothing of another person.

    Raises: Erased; Refused (DATA_LOSS) when the decision is not what its inputs give.
    """
    version = corrections.bill_of(connection, sealer, row, row.adjusted)
    bill = bill_pb2.Bill.FromString(version)
    inputs, decided = sealed.open_inputs(sealer, stored), sealed.open_output(sealer, stored)
    plan = plans.plan_for_reading(connection, decided.plan_version)
    texts = {line.number: _name(line) for line in bill.lines}
    try:
        told = explained(
            plan, inputs, decided, texts, same_engine=decided.engine_version == ENGINE_VERSION
        )
    except DecisionAltered:
        raise altered() from None
    told = replace(told, claims_of=_claims_of(connection, sealer, row, told))
    state = ClaimState(row.state)
    over = ended(state, released=row.released_us is not None)
    named = {number: name for number, name in texts.items() if name}
    denied_us = row.moved_us if state is ClaimState.DENIED else None
    text = explain(plan, decided, named, ended=over, told=told, paid=bool(row.paid))
    claim = ToldClaim(
        name=claim_name(row.policy_id, row.id),
        claim_id=row.id,
        policy_id=row.policy_id,
        member=row.person_id,
        insurer=row.insurer,
        provider_id=row.provider_id,
        bill_number=bill.bill_number,
        state=state,
        decided_us=stored.at_us,
        paid=row.paid,
        recovered=recovered_of(connection, [row.id]).get(row.id, 0),
        paid_us=row.paid_us,
        zone=ZoneInfo(bill.time_zone),
        coordinated=tuple(_coordinated(connection, sealer, row, inputs, bill.bill_number)),
        told=told,
        text=text,
        ended=over,
        to_return=row.recoverable,
        due=max(0, row.owed - row.paid) if state is ClaimState.PAYABLE else 0,
        corrected=row.adjusted,
        notice_due=notice_due(row, denied_us, plan.clocks),
    )
    since = claim.since
    return claim if since is None else replace(claim, text=_with(text, since))


def _with(text: Explanation, since: Text) -> Explanation:
    """The sentences with what became of the claim since, after the one on the whole claim."""
    return Explanation(
        zh=(text.zh[0], since.zh, *text.zh[1:]), en=(text.en[0], since.en, *text.en[1:])
    )


def altered() -> Refused:
    """What is answered when a stored decision does not hold; it names no value."""
    return Refused(
        grpc.StatusCode.DATA_LOSS,
        "DECISION_ALTERED",
        "the stored decision is not what its inputs give, or does not add up; stop and investigate",
    )


def _name(line: bill_pb2.BillLine) -> str:
    """The service's name as the stored bill has it; empty when it has none."""
    return printable(line.code.display or line.local_code.display)


def _claims_of(
    connection: Connection, sealer: Sealer, row: ClaimRow, told: Explained
) -> dict[tuple[str, str], tuple[str, ...]]:
    bills = {
        (line.earlier.provider_id, line.earlier.bill_number): None
        for line in told.lines
        if line.earlier is not None
    }
    return {
        bill: tuple(
            claim_name(*one)
            for one in coordination.claims_named_by_bill(connection, sealer, row, *bill)
        )
        for bill in bills
    }


def _coordinated(
    connection: Connection, sealer: Sealer, row: ClaimRow, inputs: Inputs, bill_number: str
) -> Iterable[CoordinatedClaim]:
    """What came first for the same bill; which policy it was only when it is this insurer's."""
    if not inputs.prior.payments:
        return
    own = dict(
        coordination.claims_named_by_bill(connection, sealer, row, row.provider_id, bill_number)
    )
    for payment in inputs.prior.payments:
        if payment.payer in own:
            yield CoordinatedClaim(
                amount=payment.amount,
                policy=payment.payer,
                claim=claim_name(payment.payer, own[payment.payer]),
            )
        else:
            yield CoordinatedClaim(amount=payment.amount)
