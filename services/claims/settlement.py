"""SettlementService: the workflows' steps, each one transaction that is safe to repeat."""

from __future__ import annotations

from sqlalchemy.exc import InterfaceError, OperationalError

from lipei.claims.v1 import settlement_pb2 as pb
from lipei.claims.v1 import settlement_pb2_grpc
from services.claims import adjusting
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.messages import STATES, money, timestamp
from services.claims.paying import Payments
from services.claims.serving import ClaimsParts, Context, alone, find_all
from services.claims.settling import ENGINE, is_waiting, settle, settle_all
from services.claims.storage import claims as store
from services.claims.storage import coordination, corrections, decisions, sealed
from services.common.grpc_edge import Violation, invalid
from services.common.log import logger

MOST_IN_BATCH = 200


class SettlementServicer(settlement_pb2_grpc.SettlementServiceServicer):
    """For the service role only. Every step reads the claim first and does only what is left."""

    def __init__(self, parts: ClaimsParts, payments: Payments) -> None:
        self._parts = parts
        self._database = parts.database
        self._payments = payments

    async def AdjudicateClaim(
        self, request: pb.AdjudicateClaimRequest, context: Context
    ) -> pb.AdjudicateClaimResponse:
        """Decide and release, or answer with the decision that stands."""
        return await self._database.run(self._adjudicate, request.name)

    def _adjudicate(self, name: str) -> pb.AdjudicateClaimResponse:
        with self._parts.writing() as desk:
            row = alone(desk, name)
            now = settle(desk, row)
        return pb.AdjudicateClaimResponse(
            state=STATES[now.state],
            benefit=money(now.benefit, row.currency),
        )

    async def GiveUpWaiting(
        self, request: pb.GiveUpWaitingRequest, context: Context
    ) -> pb.GiveUpWaitingResponse:
        """Close a claim whose papers did not come in time."""
        state, due_us = await self._database.run(self._give_up, request.name)
        answer = pb.GiveUpWaitingResponse(state=STATES[state])
        if due_us is not None:
            answer.due_time.CopyFrom(timestamp(due_us))
        return answer

    def _give_up(self, name: str) -> tuple[ClaimState, int | None]:
        with self._parts.writing() as desk:
            row = alone(desk, name)
            state = ClaimState(row.state)
            due_us = row.papers_due_us
            if state is not ClaimState.PENDED_INFO or due_us is None or due_us > desk.at_us:
                return state, due_us
            decisions.release(desk.connection, desk.sealer, row)
            state = store.move_on(
                desk.connection,
                row.id,
                state,
                [Event.GIVE_UP_WAITING],
                ENGINE,
                desk.at_us,
                released_us=desk.at_us,
            )
            return state, None

    async def SettleClaims(
        self, request: pb.SettleClaimsRequest, context: Context
    ) -> pb.SettleClaimsResponse:
        """Decide and release a batch in one transaction."""
        if not 1 <= len(request.names) <= MOST_IN_BATCH:
            text = f"settle 1 to {MOST_IN_BATCH} claims at once"
            raise invalid([Violation("names", "BAD_COUNT", text)])
        if len(set(request.names)) < len(request.names):
            raise invalid([Violation("names", "DUPLICATE", "a claim stands twice")])
        claims = await self._database.run(self.settle, list(request.names))
        return pb.SettleClaimsResponse(claims=claims)

    def settle(self, names: list[str]) -> list[pb.SettledClaim]:
        """The batch itself; blocks, and belongs into the database's thread pool."""
        with self._parts.writing() as desk:
            rows = find_all(desk, names)
            policies, people = (r.policy_id for r in rows), (r.person_id for r in rows)
            if store.lock(desk.connection, policies, people):
                rows = find_all(desk, names)
            desk.sealer.load(sealed.person_subject(row.person_id) for row in rows)
            standing = settle_all(desk, rows)
        return [
            pb.SettledClaim(
                name=name,
                state=STATES[standing[row.id].state],
                benefit=money(standing[row.id].benefit, row.currency),
            )
            for name, row in zip(names, rows, strict=True)
        ]

    def settle_freed(self, *, older_than_s: float = 0.0) -> int:
        """Settle what has waited for the same bill under an earlier policy; how many.

        Whose policies these are does not matter: the wait is between claims, and whoever ends it
        learns nothing of the other. Each claim in a transaction of its own; one that has to wait
        on is left to its workflow, which asks again by itself, and so is one that cannot be
        settled: whoever ended the wait has done their work, and the others go on. Blocks.
        """
        since_us = self._parts.now_us() - int(older_than_s * 1e6)
        with self._database.reading() as connection:
            rows = coordination.freed(connection, since_us=since_us, most=MOST_IN_BATCH)
        for waiting in rows:
            try:
                with self._parts.writing() as desk:
                    store.lock(desk.connection, [waiting.policy_id], [waiting.person_id])
                    settle(desk, store.by_id(desk.connection, waiting.id))
            except (InterfaceError, OperationalError):
                raise
            except Exception as fault:  # noqa: BLE001 - of this claim, and the others are settled
                if not is_waiting(fault):
                    logger().error("unsettled", claim=waiting.id, fault=type(fault).__name__)
        return len(rows)

    async def ApplyCorrection(
        self, request: pb.ApplyCorrectionRequest, context: Context
    ) -> pb.ApplyCorrectionResponse:
        """Decide a claim anew by its corrected bill, or leave it to a person."""
        return await self._database.run(self._apply, request)

    def _apply(self, request: pb.ApplyCorrectionRequest) -> pb.ApplyCorrectionResponse:
        with self._parts.writing() as desk:
            row = alone(desk, request.name)
            if row.adjusted < request.number and corrections.is_open(row):
                adjusting.adjust(desk, row)
            row = store.by_id(desk.connection, row.id)
        return pb.ApplyCorrectionResponse(
            state=STATES[ClaimState(row.state)],
            held=corrections.is_held(row),
            benefit=money(row.benefit or 0, row.currency),
        )

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
