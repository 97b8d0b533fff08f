"""ReviewService: what a person does with a claim, each one transaction that is safe to repeat.

The engine decides; a person only says what they found. Whoever acts has looked at one revision of
the claim: if it has changed since, they are told so, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc

from lipei.claims.v1 import claims_pb2, review_pb2_grpc
from lipei.claims.v1 import review_pb2 as pb
from services.claims import (
    appealing,
    confirming,
    findings,
    notifying,
    recovering,
    second_word,
    supplying,
)
from services.claims.core.intake import UnacceptableBill
from services.claims.core.life_cycle import ClaimState
from services.claims.desk import Desk
from services.claims.findings import Doing
from services.claims.messages import STATES, claim_name, money, seen_by_hospital
from services.claims.serving import (
    ClaimsParts,
    Context,
    Write,
    alone,
    answered,
    find,
    key_of,
    messages_of,
    remember,
)
from services.claims.storage.acts import proposal_of, told_in
from services.claims.storage.notices import REFUSED
from services.claims.storage.rows import ClaimRow
from services.common.access.caller import current_caller
from services.common.access.tenant import Kind, current_tenant
from services.common.dated import NoTermsInForce
from services.common.grpc_edge import Refused, Violation, invalid
from services.common.request_id import request_id_faults
from services.common.sealing import Erased

MOST_NOTE = 2_000
_REVIEW = "review."  # where the engine names a fault of a review
_CALLED = {"quantity": "units", "reason": "deny_reason"}  # the engine's word -> the request's


class Request(Write, Protocol):
    """What every request of the service has."""

    name: str
    revision: int


R = TypeVar("R", bound=Request)


@dataclass(frozen=True, slots=True)
class _Step:
    """One rpc: its name, the states it starts from, and what it does."""

    method: str
    states: Sequence[ClaimState]
    work: Callable[[Doing, Any], None]


class ReviewServicer(review_pb2_grpc.ReviewServiceServicer):
    """For people. Starts no workflow: what becomes payable is gathered by the payout run."""

    def __init__(
        self,
        parts: ClaimsParts,
        *,
        paying_account: str,
        settle_freed: Callable[[], object],
    ) -> None:
        self._parts = parts
        self._database = parts.database
        self._paying_account = paying_account
        self._settle_freed = settle_freed

    async def ReviewClaim(
        self, request: pb.ReviewClaimRequest, context: Context
    ) -> pb.ReviewClaimResponse:
        """Decide a claim anew with what an adjuster found."""
        step = _Step("ReviewClaim", (ClaimState.PENDED_REVIEW,), findings.review)
        faults = findings.faults_of(request)
        return pb.ReviewClaimResponse(claim=await self._do(step, request, faults))

    async def ConfirmReview(
        self, request: pb.ConfirmReviewRequest, context: Context
    ) -> pb.ConfirmReviewResponse:
        """Let what somebody else has proposed take effect, or reject it; withdraw one's own."""
        step = _Step("ConfirmReview", confirming.CONFIRMED, confirming.confirm)
        return pb.ConfirmReviewResponse(claim=await self._do(step, request))

    async def ClearSuspicion(
        self, request: pb.ClearSuspicionRequest, context: Context
    ) -> pb.ClearSuspicionResponse:
        """On to an adjuster."""
        step = _Step("ClearSuspicion", (ClaimState.PENDED_FRAUD,), findings.clear)
        return pb.ClearSuspicionResponse(claim=await self._do(step, request))

    async def SupplyFacts(
        self, request: pb.SupplyFactsRequest, context: Context
    ) -> pb.SupplyFactsResponse:
        """Decide a claim anew with what papers say."""
        step = _Step("SupplyFacts", (ClaimState.PENDED_INFO,), supplying.supply)
        claim = await self._do(step, request, supplying.faults_of(request))
        if current_tenant().kind is Kind.HOSPITAL:
            claim = seen_by_hospital(claim)
        return pb.SupplyFactsResponse(claim=claim)

    async def AdjustClaim(
        self, request: pb.AdjustClaimRequest, context: Context
    ) -> pb.AdjustClaimResponse:
        """Decide a claim anew by what is known now."""
        step = _Step("AdjustClaim", findings.ADJUSTED, findings.adjust)
        faults = findings.faults_of(request)
        return pb.AdjustClaimResponse(claim=await self._do(step, request, faults))

    async def ReverseClaim(
        self, request: pb.ReverseClaimRequest, context: Context
    ) -> pb.ReverseClaimResponse:
        """Take a paid claim back."""
        step = _Step("ReverseClaim", recovering.REVERSED, recovering.reverse)
        return pb.ReverseClaimResponse(claim=await self._do(step, request))

    async def RecordRecovery(
        self, request: pb.RecordRecoveryRequest, context: Context
    ) -> pb.RecordRecoveryResponse:
        """Book money that came back."""
        work = partial(recovering.record, account=self._paying_account)
        step = _Step("RecordRecovery", (ClaimState.RECOVERY_OPEN,), work)
        faults = recovering.faults_of(request)
        return pb.RecordRecoveryResponse(claim=await self._do(step, request, faults))

    async def WriteOffRecovery(
        self, request: pb.WriteOffRecoveryRequest, context: Context
    ) -> pb.WriteOffRecoveryResponse:
        """Book money that is given up."""
        step = _Step("WriteOffRecovery", (ClaimState.RECOVERY_OPEN,), recovering.write_off)
        return pb.WriteOffRecoveryResponse(claim=await self._do(step, request))

    async def AppealClaim(
        self, request: pb.AppealClaimRequest, context: Context
    ) -> pb.AppealClaimResponse:
        """Object to a decision."""
        states = (ClaimState.DENIED, ClaimState.PAID, ClaimState.CLOSED_ZERO)
        step = _Step("AppealClaim", states, appealing.appeal)
        return pb.AppealClaimResponse(claim=await self._do(step, request))

    async def RecordRefusalNotice(
        self, request: pb.RecordRefusalNoticeRequest, context: Context
    ) -> pb.RecordRefusalNoticeResponse:
        """Keep that the notice of a refusal went out."""
        step = _Step("RecordRefusalNotice", REFUSED, notifying.record)
        faults = notifying.faults_of(request)
        return pb.RecordRefusalNoticeResponse(claim=await self._do(step, request, faults))

    async def DecideAppeal(
        self, request: pb.DecideAppealRequest, context: Context
    ) -> pb.DecideAppealResponse:
        """Uphold or overturn."""
        step = _Step("DecideAppeal", (ClaimState.APPEALED,), appealing.decide_appeal)
        faults = appealing.faults_of(request)
        return pb.DecideAppealResponse(claim=await self._do(step, request, faults))

    async def _do(
        self, step: _Step, request: Request, faults: Sequence[Violation] = ()
    ) -> claims_pb2.Claim:
        found = [*request_id_faults(request.request_id), *faults]
        note: str = getattr(request, "note", "")
        found += second_word.faults_of_note(step.method, note)
        if len(note) > MOST_NOTE:
            found.append(Violation("note", "TOO_LONG", f"at most {MOST_NOTE} characters"))
        if request.revision < 0:
            found.append(Violation("revision", "NEGATIVE", "must not be negative"))
        if found:
            raise invalid(found)
        return await self._database.run(self._done, step, request)

    def _done(self, step: _Step, request: Request) -> claims_pb2.Claim:
        try:
            with self._parts.writing() as desk:
                _act(desk, step, request)
        except Erased:
            text = "the person's data was erased; stop"
            raise _precondition("ERASED", text) from None
        except UnacceptableBill as fault:
            raise _unacceptable(fault) from None
        except NoTermsInForce:
            text = "the engine cannot decide it: the plan has no terms on the policy's days"
            raise _precondition("UNDECIDABLE", text) from None
        # What has waited for this claim is settled at once, in a transaction of its own.
        self._settle_freed()
        with self._parts.reading() as desk:
            row = find(desk, request.name)
            (claim,) = messages_of(desk, [row])
            if claim.HasField("proposal") and not claim.erased:
                _tell_amount(desk, row, claim)
            return claim


def _tell_amount(desk: Desk, row: ClaimRow, claim: claims_pb2.Claim) -> None:
    """What was proposed comes to, which is not what the decision in force comes to."""
    amount = told_in(desk.sealer, proposal_of(desk.connection, row)).amount
    if amount is not None:
        claim.proposal.amount.CopyFrom(money(amount, row.currency))


def _act(desk: Desk, step: _Step, request: Request) -> None:
    """Do it, unless the same request has done it before."""
    key = key_of(step.method, request)
    if answered(desk, key) is not None:
        return
    row = alone(desk, request.name)
    _check(row, step, request.revision)
    step.work(Doing(desk, row, current_caller().subject, _actor()), request)
    remember(desk, key, claim_name(row.policy_id, row.id).encode())


def _check(row: ClaimRow, step: _Step, revision: int) -> None:
    """Whether the caller has seen the claim as it stands, and whether that can be done with it.

    Raises: Refused.
    """
    state = ClaimState(row.state)
    stands = {
        "state": claims_pb2.ClaimState.Name(STATES[state]),
        "revision": str(row.revision),
    }
    if row.proposal is not None and current_tenant().kind is Kind.INSURER:
        stands["proposed"] = "true"
    if row.revision != revision:
        raise Refused(
            grpc.StatusCode.ABORTED,
            "CLAIM_CHANGED",
            "the claim has changed since you looked at it; look again",
            metadata=stands,
        )
    if state not in step.states:
        can = ", ".join(one.value.replace("_", " ") for one in step.states)
        text = f"the claim is {state.value.replace('_', ' ')}; this needs one that is {can}"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE", text, metadata=stands)
    if row.proposal is not None and step.method in second_word.PROPOSED_BY.values():
        text = "something proposed waits already; have it confirmed, rejected or withdrawn first"
        raise _precondition("PROPOSAL_STANDS", text)


def _unacceptable(fault: UnacceptableBill) -> Refused:
    """What is wrong with a review, for whoever made it; what is wrong with a bill is not theirs."""
    ours = [one for one in fault.faults if one.field.startswith(_REVIEW)]
    if len(ours) < len(fault.faults):
        text = "the engine cannot decide it: have the bill or the policy mended first"
        return _precondition("UNDECIDABLE", text)
    return invalid([Violation(_field(one.field), one.reason, one.text) for one in ours])


def _field(fault: str) -> str:
    """A review's field as its request calls it."""
    line, dot, field = fault.removeprefix(_REVIEW).rpartition(".")
    return line + dot + _CALLED.get(field, field)


def _precondition(reason: str, text: str) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, reason, text)


def _actor() -> str:
    """Who acts, as a claim's history says it: never a member's own id."""
    kind = current_tenant().kind
    if kind is Kind.MEMBER:
        return kind.value
    return f"{kind.value}:{current_caller().subject}"[:80]
