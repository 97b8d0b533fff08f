"""ClaimsService: what an insurer's intake, claims team and auditors ask. Decides nothing itself."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence

import grpc

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import claims_pb2_grpc
from lipei.type.v1 import bill_pb2
from services.claims import failing, intake
from services.claims.bill_intake import CONSENT, bill_name_faults
from services.claims.core.decision import ENGINE_VERSION
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan import Plan
from services.claims.desk import Desk
from services.claims.documents import Documents, check_request
from services.claims.erasure import erase_member
from services.claims.explained.told import ToldClaim
from services.claims.explaining import told_claim
from services.claims.explanation_messages import explanation_message
from services.claims.in_flight import InFlight
from services.claims.lateness import late
from services.claims.messages import (
    STATE_OF,
    books_message,
    claim_message,
    claim_name,
    move_message,
    proposal_message,
    reason_messages,
    refusal_message,
    section_messages,
    seen_by_hospital,
)
from services.claims.plans.loader import load_plan
from services.claims.policy_import import DryRun, import_policies
from services.claims.replaying import BY_TODAYS_ENGINE, replay
from services.claims.serving import (
    ClaimsParts,
    Context,
    find,
    key_of,
    messages_of,
    note_reads,
    once,
)
from services.claims.storage import claims as store
from services.claims.storage import coordination, decisions, policies, sealed
from services.claims.storage.acts import last_refusal, proposal_of, proposers, told_in
from services.claims.storage.books import read_books
from services.claims.storage.listing import Wanted, list_claims
from services.claims.storage.request_log import RequestKey
from services.claims.storage.rows import ClaimRow, DecisionRow
from services.claims.storage.withdrawals import withdraw
from services.claims.unpayable import unpayable_terms
from services.common.access.tenant import Kind, current_tenant
from services.common.database import take_turns
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
    not_found,
    remaining_s,
)
from services.common.page_tokens import number_in, page_token
from services.common.request_id import request_id_faults
from services.common.strict_yaml import StrictYamlError

# The answer leaves this long before the caller's deadline, so that it arrives in time.
DEADLINE_MARGIN_S = 0.2
LONGEST_WAIT_S = 60.0
DEFAULT_PAGE, LARGEST_PAGE = 100, 500
_POLICY_NAME = re.compile(r"policies/(?P<policy>-|[a-z0-9-]{1,64})")
_MOST_LOOKS = 20  # of LARGEST_PAGE claims each, at what is not late
MOST_POLICIES = 1_000
MOST_CONSENTS = 100


class ClaimsServicer(claims_pb2_grpc.ClaimsServiceServicer):
    """Answers from the database; only SubmitClaim waits, and only for workflows."""

    def __init__(self, parts: ClaimsParts, in_flight: InFlight) -> None:
        self._parts = parts
        self._database = parts.database
        self._in_flight = in_flight
        self._failures = failing.Failures(parts)
        self._documents = Documents()

    async def SubmitClaim(
        self, request: pb.SubmitClaimRequest, context: Context
    ) -> pb.SubmitClaimResponse:
        """Take the bill in, start its claims, and wait for the decisions as long as asked."""
        async with self._failures.noting(request.bill, context):
            return await self._submit(request, context)

    async def _submit(
        self, request: pb.SubmitClaimRequest, context: Context
    ) -> pb.SubmitClaimResponse:
        bill_hash = intake.check(request, current_tenant(), self._parts.now_us())
        patience_s = _patience_s(request, context)
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        await self._in_flight.enter(patience_s=patience_s)
        try:
            taken = await self._database.run(self._take_in, request, bill_hash)
        except BaseException:
            self._in_flight.leave()
            raise
        deciding = self._in_flight.hold(self._decided(taken, request.request_id))
        left_s = until - loop.time()
        if left_s > 0:
            await asyncio.wait([deciding], timeout=left_s)
        claims, failed = await self._database.run(self._claims, taken.claims, request.bill)
        if failed:
            await self._database.run(failing.answered, self._parts, current_tenant(), request.bill)
        if current_tenant().hospital is not None:
            claims = [seen_by_hospital(claim) for claim in claims]
        return pb.SubmitClaimResponse(claims=claims)

    def _take_in(self, request: pb.SubmitClaimRequest, bill_hash: str) -> intake.Taken:
        with self._parts.writing() as desk:
            return intake.take_in(desk, current_tenant(), request, bill_hash)

    async def _decided(self, taken: intake.Taken, update_id: str) -> None:
        waiting: Sequence[tuple[str, str]] = taken.fresh
        if not waiting:
            waiting = await self._database.run(self._undecided, taken.claims)
        started = [
            self._parts.workflows.decided(claim_name(*claim), claim[1], update_id)
            for claim in waiting
        ]
        await asyncio.gather(*started)

    def _undecided(self, claims: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        with self._parts.reading() as desk:
            rows = _mine_of(desk, claims)
        return [(row.policy_id, row.id) for row in rows if ClaimState(row.state) in store.UNDECIDED]

    def _claims(
        self, claims: Sequence[tuple[str, str]], bill: bill_pb2.Bill
    ) -> tuple[list[pb.Claim], bool]:
        """The claims as they stand, and whether their bill stands among those that fail."""
        with self._parts.reading() as desk:
            found = messages_of(desk, _mine_of(desk, claims))
            return found, failing.failed(desk, current_tenant(), bill)

    async def SubmitBill(
        self, request: pb.SubmitBillRequest, context: Context
    ) -> pb.SubmitBillResponse:
        """The member's claims of a bill; or its hospital is asked for it."""
        faults = request_id_faults(request.request_id) + bill_name_faults(
            request.provider_id, request.bill_number
        )
        if faults:
            raise invalid(faults)
        claims, hospitals = await self._database.run(self._of_bill, request)
        if claims:
            return pb.SubmitBillResponse(claims=claims)
        if len(hospitals) != 1:
            text = "no one hospital is known under this provider; hand the bill to the insurer"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "HOSPITAL_UNKNOWN", text)
        await self._parts.workflows.fetch(*hospitals)
        return pb.SubmitBillResponse(fetching=True)

    def _of_bill(self, request: pb.SubmitBillRequest) -> tuple[list[pb.Claim], set[str]]:
        with self._parts.reading() as desk:
            bill = request.provider_id, request.bill_number
            rest_on_it = coordination.claims_of_bill(desk.connection, desk.sealer, *bill, None)
            mine = _mine_of(desk, [(row.policy_id, row.id) for row in rest_on_it])
            hospitals = coordination.hospitals_of(desk.connection, request.provider_id)
            return messages_of(desk, mine), hospitals

    async def GetClaim(self, request: pb.GetClaimRequest, context: Context) -> pb.GetClaimResponse:
        """One claim with its decision and history."""
        return await self._database.run(self._get, request.name)

    def _get(self, name: str) -> pb.GetClaimResponse:
        with self._parts.reading() as desk:
            row = find(desk, name)
            (claim,) = messages_of(desk, [row])
            member = current_tenant().kind is Kind.MEMBER
            by = {} if member else proposers(desk.connection, row.id)
            claim.moves.extend(
                move_message(move, by.get(move.at_us, ""))
                for move in store.moves_of(desk.connection, row.id)
            )
            _tell_proposal(desk, row, claim)
            if not claim.decision.lines:
                return pb.GetClaimResponse(claim=claim)
            plan = desk.plans.plan_for_reading(desk.connection, claim.decision.plan_version)
        return pb.GetClaimResponse(claim=claim, sections=section_messages(plan, claim))

    async def ListClaims(
        self, request: pb.ListClaimsRequest, context: Context
    ) -> pb.ListClaimsResponse:
        """A page of claims, oldest first."""
        parent = _POLICY_NAME.fullmatch(request.parent)
        faults = []
        if parent is None:
            faults.append(
                Violation("parent", "MALFORMED", 'must be "policies/{policy}" or "policies/-"')
            )
        if request.page_size < 0:
            faults.append(Violation("page_size", "NEGATIVE", "must not be negative"))
        if request.state and request.state not in STATE_OF:
            faults.append(Violation("state", "UNKNOWN_VALUE", "is not a state"))
        if faults or parent is None:
            raise invalid(faults)
        most = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        kind = f"claims {current_tenant().key} {request.parent} {request.state} {request.pended}"
        if request.notice_unsent:
            kind += " notice unsent"
        if request.unpaid:
            kind += " unpaid"
        if request.late:
            kind += " late"
        after = number_in(request.page_token, kind)
        wanted = Wanted(
            policy_id=None if parent["policy"] == "-" else parent["policy"],
            state=STATE_OF[request.state] if request.state else None,
            pended=request.pended,
            notice_unsent=request.notice_unsent,
            unpaid=request.unpaid or request.late,
        )
        answer, last = await self._database.run(
            self._list, wanted, after, most, only_late=request.late
        )
        if last is not None:
            answer.next_page_token = page_token(kind, str(last))
        return answer

    def _list(
        self, wanted: Wanted, after: int, most: int, *, only_late: bool
    ) -> tuple[pb.ListClaimsResponse, int | None]:
        """A page, and the position in the claims' order from which the next one begins."""
        tenant, policy_id = current_tenant(), wanted.policy_id
        with self._parts.reading() as desk:
            # A person or a hospital has no policies, and is told of none whether it exists.
            if (
                policy_id is not None
                and tenant.kind in {Kind.INSURER, Kind.INSTALLATION}
                and not policies.exists(desk.connection, policy_id, tenant)
            ):
                raise not_found("policy", f"policies/{policy_id}")
            rows, last = _page(desk, wanted, after, most, only_late=only_late)
            answer = pb.ListClaimsResponse(claims=messages_of(desk, rows, name_unreadable=True))
        return answer, last

    async def ExplainClaim(
        self, request: pb.ExplainClaimRequest, context: Context
    ) -> pb.ExplainClaimResponse:
        """The decision as lines, in sentences, and as the document asked for."""
        check_request(request.format, request.language)
        answer, told = await self._database.run(self._explain, request.name)
        if request.format:
            made = await self._documents.make(told, request.format, request.language)
            answer.document.CopyFrom(made)
        return answer

    def _explain(self, name: str) -> tuple[pb.ExplainClaimResponse, ToldClaim]:
        with self._parts.reading() as desk:
            row, stored = _decided_row(desk, name)
            told = told_claim(desk.connection, desk.sealer, desk.plans, row, stored)
            opened = sealed.opened(desk.sealer, row, stored)
            claim = claim_message(opened, recovered=told.recovered)
            note_reads(desk.connection, [row])
        answer = pb.ExplainClaimResponse(
            claim=claim,
            text_zh="\n".join(told.text.zh),
            text_en="\n".join(told.text.en),
            reasons=reason_messages(told.told.decision),
            sections=section_messages(told.told.plan, claim),
            explanation=explanation_message(told.told),
        )
        return answer, told

    async def ReplayClaim(
        self, request: pb.ReplayClaimRequest, context: Context
    ) -> pb.ReplayClaimResponse:
        """Decide again from stored inputs and compare."""
        return await self._database.run(self._replay, request.name)

    def _replay(self, name: str) -> pb.ReplayClaimResponse:
        with self._parts.reading() as desk:
            _, stored = _decided_row(desk, name)
            found = replay(desk.connection, desk.sealer, desk.plans, stored)
        again = found.again
        if found.differs == (BY_TODAYS_ENGINE,):
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "DECIDED_OTHERWISE_TODAY",
                f"engine {stored.engine_version} decided it, and what it decided is whole;"
                f" today's, {ENGINE_VERSION}, decides otherwise",
                metadata={"differs": BY_TODAYS_ENGINE},
            )
        if again is None or found.differs:
            raise Refused(
                grpc.StatusCode.DATA_LOSS,
                "DECISION_ALTERED",
                "the stored decision is not what its inputs give; stop and investigate",
                metadata={"differs": ", ".join(found.differs)},
            )
        return pb.ReplayClaimResponse(
            input_hash=again.input_hash,
            output_hash=again.output_hash,
            decided_by=stored.engine_version,
            recomputed_by=ENGINE_VERSION,
            commitment=stored.commitment,
        )

    async def ImportPolicies(
        self, request: pb.ImportPoliciesRequest, context: Context
    ) -> pb.ImportPoliciesResponse:
        """Policies, members and accounts, all or none."""
        faults = request_id_faults(request.request_id)
        if not 1 <= len(request.policies) <= MOST_POLICIES:
            faults.append(
                Violation("policies", "BAD_COUNT", f"import 1 to {MOST_POLICIES} policies")
            )
        if faults:
            raise invalid(faults)
        return await self._database.run(self._import, request)

    def _import(self, request: pb.ImportPoliciesRequest) -> pb.ImportPoliciesResponse:
        insurer = current_tenant().required_insurer()

        def work(desk: Desk) -> pb.ImportPoliciesResponse:
            return import_policies(desk, request, insurer=insurer, token=self._parts.token)

        key = key_of("ImportPolicies", request)
        try:
            with self._parts.writing() as desk:
                return once(desk, key, work, pb.ImportPoliciesResponse)
        except DryRun as found:
            if not request.dry_run:
                raise _import_refused(found.answer) from None
            return found.answer

    async def PublishPlan(
        self, request: pb.PublishPlanRequest, context: Context
    ) -> pb.PublishPlanResponse:
        """A plan file under the hash of its content."""
        faults = request_id_faults(request.request_id)
        try:
            plan = await self._database.run(load_plan, request.yaml, "yaml")
        except StrictYamlError as error:
            faults += [Violation(f"yaml:{f.line} {f.path}", f.reason, f.text) for f in error.faults]
            raise invalid(faults) from None
        faults += [Violation("yaml", one.reason, one.text) for one in unpayable_terms(plan)]
        if faults:
            raise invalid(faults)
        return await self._database.run(self._publish, request, plan)

    def _publish(self, request: pb.PublishPlanRequest, plan: Plan) -> pb.PublishPlanResponse:
        def work(desk: Desk) -> pb.PublishPlanResponse:
            take_turns(desk.connection, "policies and plans")
            insurer = current_tenant().required_insurer()
            version = policies.store_plan(
                desk.connection, plan, request.yaml, desk.at_us, insurer=insurer
            )
            return pb.PublishPlanResponse(plan_version=version)

        body = hashlib.sha256(request.yaml).hexdigest()
        key = RequestKey("PublishPlan", request.request_id, body)
        with self._parts.writing() as desk:
            return once(desk, key, work, pb.PublishPlanResponse)

    async def WithdrawClaims(
        self, request: pb.WithdrawClaimsRequest, context: Context
    ) -> pb.WithdrawClaimsResponse:
        """End what is undecided and rests on withdrawn consents."""
        faults = request_id_faults(request.request_id)
        if not 1 <= len(request.consents) + len(request.replaced_consents) <= MOST_CONSENTS:
            faults.append(Violation("consents", "BAD_COUNT", f"name 1 to {MOST_CONSENTS}"))
        for field, names in (
            ("consents", request.consents),
            ("replaced_consents", request.replaced_consents),
        ):
            for index, name in enumerate(names[:MOST_CONSENTS]):
                if not CONSENT.fullmatch(name):
                    text = "must read hospitals/{hospital}/consents/{consent}"
                    faults.append(Violation(f"{field}[{index}]", "NOT_A_NAME", text))
        if faults:
            raise invalid(faults)
        tenant = current_tenant()
        for name in (*request.consents, *request.replaced_consents):
            if tenant.kind is not Kind.INSTALLATION and name.split("/")[1] != tenant.hospital:
                raise not_found("consent", name)
        return await self._database.run(self._withdraw, request)

    def _withdraw(self, request: pb.WithdrawClaimsRequest) -> pb.WithdrawClaimsResponse:
        def work(desk: Desk) -> pb.WithdrawClaimsResponse:
            rows = withdraw(
                desk.connection,
                desk.sealer,
                request.consents,
                desk.now_us,
                request.replaced_consents,
            )
            gone = [row for row in rows if ClaimState(row.state) is ClaimState.WITHDRAWN]
            return pb.WithdrawClaimsResponse(
                withdrawn_claims=[claim_name(row.policy_id, row.id) for row in gone],
                kept_count=len(rows) - len(gone),
            )

        told = [*request.consents, *(f"replaced {name}" for name in request.replaced_consents)]
        body = hashlib.sha256("\n".join(told).encode()).hexdigest()
        key = RequestKey("WithdrawClaims", request.request_id, body)
        with self._parts.writing() as desk:
            return once(desk, key, work, pb.WithdrawClaimsResponse)

    async def ListFailingBills(
        self, request: pb.ListFailingBillsRequest, context: Context
    ) -> pb.ListFailingBillsResponse:
        """A page of the bills at which claims failed and that nobody has answered since."""
        return await failing.listed(self._parts, request)

    async def CheckBooks(
        self, request: pb.CheckBooksRequest, context: Context
    ) -> pb.CheckBooksResponse:
        """Trial balance, conservation, payouts against claims."""
        return await self._database.run(self._check_books)

    def _check_books(self) -> pb.CheckBooksResponse:
        with self._parts.reading() as desk:
            found = read_books(desk.connection, desk.sealer, current_tenant())
        return books_message(found)

    async def EraseMember(
        self, request: pb.EraseMemberRequest, context: Context
    ) -> pb.EraseMemberResponse:
        """Destroy the key of everything kept about a person."""
        return await self._database.run(
            erase_member,
            self._database,
            self._parts.keys,
            current_tenant(),
            request,
            self._parts.now_us(),
        )


def _tell_proposal(desk: Desk, row: ClaimRow, claim: pb.Claim) -> None:
    """What stands proposed, or why nothing came of it: to the insurer, and not to the member."""
    if claim.erased or current_tenant().kind is Kind.MEMBER:
        return
    if claim.HasField("proposal"):
        act = proposal_of(desk.connection, row)
        told = told_in(desk.sealer, act)
        claim.proposal.CopyFrom(proposal_message(act, told, row.currency))
    elif refusal := last_refusal(desk.connection, row.id):
        act, kind = refusal
        claim.refusal.CopyFrom(refusal_message(act, kind, told_in(desk.sealer, act)))


def _page(
    desk: Desk, wanted: Wanted, after: int, most: int, *, only_late: bool
) -> tuple[list[ClaimRow], int | None]:
    """A page of claims, and the position after which the next one begins; None at the end.

    What is late is known by clocks and plans, not by the database: it is looked for among so many
    at a time, and among a bounded number in one call.
    """
    found: list[ClaimRow] = []
    at_once = LARGEST_PAGE if only_late else most
    for _ in range(_MOST_LOOKS if only_late else 1):
        rows = list_claims(
            desk.connection, desk.sealer, current_tenant(), wanted, after=after, most=at_once
        )
        found += late(desk, rows) if only_late else rows
        if len(found) > most:
            return found[:most], found[most - 1].seq
        if len(rows) < at_once:
            return found, None
        after = rows[-1].seq
    return found, after


def _mine_of(desk: Desk, claims: Sequence[tuple[str, str]]) -> list[ClaimRow]:
    """Those of some (policy, claim) that are the caller's tenant's."""
    tenant = current_tenant()
    rows = [store.find_claim(desk.connection, desk.sealer, tenant, *claim) for claim in claims]
    return [row for row in rows if row is not None]


def _decided_row(desk: Desk, name: str) -> tuple[ClaimRow, DecisionRow]:
    row = find(desk, name)
    if row.decision_id is None:
        text = "the claim is not decided yet; wait"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "NOT_DECIDED", text)
    return row, decisions.in_force(desk.connection, row)


def _patience_s(request: pb.SubmitClaimRequest, context: Context) -> float:
    wait_s = request.wait.ToNanoseconds() / 1e9
    margin = remaining_s(context, LONGEST_WAIT_S) - DEADLINE_MARGIN_S
    return max(0.0, min(wait_s, margin, LONGEST_WAIT_S))


def _import_refused(answer: pb.ImportPoliciesResponse) -> Refused:
    faults = [Violation(f.field, f.reason, f.text) for f in answer.faults]
    if all(fault.reason == "REVISION_CONFLICT" for fault in faults):
        return Refused(
            grpc.StatusCode.ALREADY_EXISTS,
            "REVISION_CONFLICT",
            "a revision was imported before with other content; raise the revision",
            violations=faults,
        )
    return invalid(faults)
