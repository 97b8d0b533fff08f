"""SettlementService: the workflows' steps, each one transaction that is safe to repeat."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec
from sqlalchemy import Connection, Row

from lipei.claims.v1 import settlement_pb2 as pb
from lipei.claims.v1 import settlement_pb2_grpc
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import bill_facts, day_received, end_day, start_day
from services.claims.core import canonical, ledger
from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import Disposition
from services.claims.core.facts import (
    Balance,
    LinePayment,
    PriorPayment,
    PriorPayments,
    usage_snapshot,
)
from services.claims.core.intake import UnacceptableBill
from services.claims.core.life_cycle import TAKEN_BACK, ClaimState, Event
from services.claims.core.plan import reads_family_size
from services.claims.core.repeats import services_that_matter
from services.claims.messages import STATES, money
from services.claims.paying import Payments
from services.claims.servicer import ClaimsParts, Context, find
from services.claims.storage import claims as store
from services.claims.storage import policies, sealed
from services.claims.storage.ledger import post_transfers
from services.claims.storage.usage import balances, earlier_services
from services.common.dated import NoTermsInForce
from services.common.grpc_edge import Refused, Violation, invalid
from services.common.log import logger
from services.common.sealing import Erased, Sealer

ENGINE = "engine"
# An earlier claim of the member is usually decided within milliseconds.
TURN_RETRY_S = 0.05
# A pended claim of an earlier policy waits for a person; each look costs the workflow's history.
PENDED_RETRY_S = 600.0
MOST_IN_BATCH = 200

_EVENTS = {
    Disposition.AUTO_APPROVED: Event.AUTO_APPROVE,
    Disposition.APPROVED: Event.APPROVE,
    Disposition.DENIED: Event.DENY,
    Disposition.PENDED_INFO: Event.ASK_FOR_PAPERS,
    Disposition.PENDED_REVIEW: Event.REFER_TO_REVIEW,
    Disposition.PENDED_FRAUD: Event.SUSPECT_FRAUD,
}
# The moves that lead up to a decision, from wherever an undecided claim stands.
_BEFORE = {
    ClaimState.RECEIVED: (Event.REGISTER, Event.BEGIN_ADJUDICATION),
    ClaimState.REGISTERED: (Event.BEGIN_ADJUDICATION,),
    ClaimState.ADJUDICATING: (),
}


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a claim stands after a step; without a decision, nothing is owed by one."""

    state: ClaimState
    benefit: int = 0


class SettlementServicer(settlement_pb2_grpc.SettlementServiceServicer):
    """For the service role only. Every step reads the claim first and does only what is left."""

    def __init__(self, parts: ClaimsParts, payments: Payments) -> None:
        self._parts = parts
        self._database = parts.database
        self._payments = payments

    async def RegisterClaim(
        self, request: pb.RegisterClaimRequest, context: Context
    ) -> pb.RegisterClaimResponse:
        """Received -> registered; any later state stays."""
        state = await self._database.run(self._register, request.name)
        return pb.RegisterClaimResponse(state=STATES[state])

    def _register(self, name: str) -> ClaimState:
        with self._database.writing() as connection:
            row = self._alone(connection, name)
            state = ClaimState(row.state)
            if state is not ClaimState.RECEIVED:
                return state
            now_us = self._parts.now_us()
            return store.move_on(connection, row.id, state, [Event.REGISTER], ENGINE, now_us)

    def _alone(self, connection: Connection, name: str) -> Row[Any]:
        """The claim as it stands now that nobody else can move it."""
        sealer = self._parts.keys.sealer(connection)
        row = find(connection, sealer, name)
        if store.lock(connection, [row.policy_id], [row.person_id]):
            row = find(connection, sealer, name)
        return row

    async def AdjudicateClaim(
        self, request: pb.AdjudicateClaimRequest, context: Context
    ) -> pb.AdjudicateClaimResponse:
        """Decide and release, or answer with the decision that stands."""
        return await self._database.run(self._adjudicate, request.name)

    def _adjudicate(self, name: str) -> pb.AdjudicateClaimResponse:
        with self._database.writing() as connection:
            row = self._alone(connection, name)
            now = self._settled(connection, self._parts.keys.sealer(connection), row)
        return pb.AdjudicateClaimResponse(
            state=STATES[now.state],
            benefit=money(now.benefit, row.currency),
        )

    def _settled(self, connection: Connection, sealer: Sealer, row: Row[Any]) -> _Standing:
        """What was left to do is done: an undecided claim decided, an approved one released."""
        if ClaimState(row.state) in store.UNDECIDED:
            return self._decided(connection, sealer, row)
        state = self._released(connection, row)
        return _Standing(state, row.benefit or 0)

    def _decided(self, connection: Connection, sealer: Sealer, row: Row[Any]) -> _Standing:
        """Decide an undecided claim, all its moves at once."""
        if store.waits_for_earlier(connection, row):
            raise Refused(
                grpc.StatusCode.ABORTED,
                "EARLIER_CLAIM_OPEN",
                "an earlier claim of the member is not decided yet; wait",
                retry_after_s=TURN_RETRY_S,
            )
        at_us = self._parts.now_us()
        state = ClaimState(row.state)
        try:
            inputs = self._inputs(connection, sealer, row)
            plan = self._parts.plans.plan(connection, inputs.plan_version)
            decided = adjudicate(
                plan,
                inputs.policy,
                inputs.usage,
                inputs.bill,
                inputs.prior,
                claim_id=inputs.claim_id,
            )
        except (UnacceptableBill, NoTermsInForce, Erased) as fault:
            # Intake and import should have refused it, and no claim that is open is erased; one
            # may be opened again after that. A person must look, and the member's later claims
            # must not wait for it.
            logger().error("undecidable", claim=row.id, fault=type(fault).__name__)
            moves = [*_BEFORE[state], Event.REFER_TO_REVIEW]
            return _Standing(store.move_on(connection, row.id, state, moves, ENGINE, at_us))
        decision_id = store.store_decision(connection, sealer, row, inputs, decided, at_us)
        moves = [*_BEFORE[state], _EVENTS[decided.disposition]]
        if decided.disposition is Disposition.AUTO_APPROVED:
            moves.append(_owe(connection, row, decision_id, decided.benefit, at_us))
        state = store.move_on(
            connection,
            row.id,
            state,
            moves,
            ENGINE,
            at_us,
            decision_id=decision_id,
            benefit=decided.benefit,
            decided_us=at_us,
        )
        return _Standing(state, decided.benefit)

    def _inputs(self, connection: Connection, sealer: Sealer, row: Row[Any]) -> canonical.Inputs:
        bill = bill_pb2.Bill.FromString(sealed.open_bill(sealer, row))
        facts = bill_facts(bill)
        terms, member = policies.of_stay(
            connection, sealer, row.policy_id, row.member_id, start_day(bill), end_day(bill)
        )
        plan = self._parts.plans.plan(connection, terms.plan_version)
        if plan.edits is not None and plan.edits.filing is not None:
            received = day_received(bill, row.created_us)
            facts = msgspec.structs.replace(facts, received_date=received)
        usage = usage_snapshot(
            self._balances_without(connection, sealer, row),
            earlier_services(connection, sealer, row, services_that_matter(plan, facts)),
        )
        snapshot = terms.snapshot(member)
        if reads_family_size(plan):
            size = policies.insured_people(connection, row.policy_id, terms.revision)
            snapshot = msgspec.structs.replace(snapshot, family_size=size)
        return canonical.Inputs(
            plan_version=terms.plan_version,
            policy=snapshot,
            usage=usage,
            bill=facts,
            prior=self._prior(connection, sealer, row),
            claim_id=row.id if plan.sampling is not None else "",
        )

    def _balances_without(
        self, connection: Connection, sealer: Sealer, row: Row[Any]
    ) -> tuple[Balance, ...]:
        """The accumulators as if the claim's own decision in force were not there."""
        found = usage_snapshot(balances(connection, row.policy_id, row.member_id))
        if row.decision_id is not None:
            own = sealed.open_output(sealer, store.decision_of(connection, row.decision_id))
            found = with_changes(found, own.usage_changes, release=True)
        return found.balances

    def _prior(self, connection: Connection, sealer: Sealer, row: Row[Any]) -> PriorPayments:
        payments = []
        for earlier in store.earlier_policies(connection, row):
            if ClaimState(earlier.state) in store.PENDED:
                raise Refused(
                    grpc.StatusCode.ABORTED,
                    "EARLIER_POLICY_PENDED",
                    "the same bill is pended under an earlier policy; wait",
                    retry_after_s=PENDED_RETRY_S,
                )
            if not earlier.benefit or ClaimState(earlier.state) in TAKEN_BACK:
                continue
            stored = store.decision_of(connection, earlier.decision_id)
            lines = tuple(
                LinePayment(number=line.number, amount=line.benefit)
                for line in sealed.open_output(sealer, stored).lines
                if line.benefit
            )
            payments.append(
                PriorPayment(payer=earlier.policy_id, amount=earlier.benefit, lines=lines)
            )
        return PriorPayments(payments=tuple(payments))

    async def ReleasePayment(
        self, request: pb.ReleasePaymentRequest, context: Context
    ) -> pb.ReleasePaymentResponse:
        """A decided claim on to payable, with the debt in the ledger, or to closed_zero."""
        state = await self._database.run(self._release, request.name)
        return pb.ReleasePaymentResponse(state=STATES[state])

    def _release(self, name: str) -> ClaimState:
        with self._database.writing() as connection:
            return self._released(connection, self._alone(connection, name))

    def _released(self, connection: Connection, row: Row[Any]) -> ClaimState:
        state = ClaimState(row.state)
        if state in store.UNDECIDED:
            text = "the claim is not decided yet"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "NOT_DECIDED", text)
        if state not in (ClaimState.AUTO_APPROVED, ClaimState.APPROVED):
            return state
        at_us = self._parts.now_us()
        release = _owe(connection, row, row.decision_id, row.benefit or 0, at_us)
        return store.move_on(connection, row.id, state, [release], ENGINE, at_us)

    async def SettleClaims(
        self, request: pb.SettleClaimsRequest, context: Context
    ) -> pb.SettleClaimsResponse:
        """Register, decide and release a batch in one transaction."""
        if not 1 <= len(request.names) <= MOST_IN_BATCH:
            text = f"settle 1 to {MOST_IN_BATCH} claims at once"
            raise invalid([Violation("names", "BAD_COUNT", text)])
        if len(set(request.names)) < len(request.names):
            raise invalid([Violation("names", "DUPLICATE", "a claim stands twice")])
        claims = await self._database.run(self.settle, list(request.names))
        return pb.SettleClaimsResponse(claims=claims)

    def settle(self, names: list[str]) -> list[pb.SettledClaim]:
        """The batch itself; blocks, and belongs into the database's thread pool."""
        with self._database.writing() as connection:
            sealer = self._parts.keys.sealer(connection)
            rows = [find(connection, sealer, name) for name in names]
            if store.lock(connection, (r.policy_id for r in rows), (r.person_id for r in rows)):
                rows = [find(connection, sealer, name) for name in names]
            sealer.load(sealed.person_subject(row.person_id) for row in rows)
            standing = {
                row.id: self._settled(connection, sealer, row)
                for row in sorted(rows, key=lambda row: int(row.seq))
            }
        return [
            pb.SettledClaim(
                name=name,
                state=STATES[standing[row.id].state],
                benefit=money(standing[row.id].benefit, row.currency),
            )
            for name, row in zip(names, rows, strict=True)
        ]

    async def GatherPayouts(
        self, request: pb.GatherPayoutsRequest, context: Context
    ) -> pb.GatherPayoutsResponse:
        """Payable claims into one payment file."""
        return await self._payments.gather(request)

    async def SendPaymentFile(
        self, request: pb.SendPaymentFileRequest, context: Context
    ) -> pb.SendPaymentFileResponse:
        """The file to the bank, once."""
        return await self._payments.send(request)

    async def ReadBankAnswers(
        self, request: pb.ReadBankAnswersRequest, context: Context
    ) -> pb.ReadBankAnswersResponse:
        """Claims on to paid or payment_failed."""
        return await self._payments.read_answers(request)


def _owe(
    connection: Connection, row: Row[Any], decision_id: str, benefit: int, at_us: int
) -> Event:
    """Book what a decision owes; the move that follows from it."""
    if not benefit:
        return Event.CLOSE_WITHOUT_PAYMENT
    owed = ledger.owe(
        transfer_id=uuid.uuid4().hex,
        claim_id=row.id,
        decision_id=decision_id,
        amount=benefit,
        currency=row.currency,
    )
    post_transfers(connection, [owed], at_us=at_us)
    return Event.RELEASE_PAYMENT
