"""EraseMember: what a request must look like, and what each refusal says. Erases by storage."""

from __future__ import annotations

from datetime import UTC, date, datetime

import grpc

from lipei.claims.v1 import claims_pb2 as pb
from services.claims.messages import claim_name
from services.claims.storage import erasure as store
from services.common.access.tenant import Tenant
from services.common.database import Database
from services.common.grpc_edge import Refused, Violation, invalid, not_found
from services.common.identity import is_member_token
from services.common.refusals import request_id_reused
from services.common.request_id import request_id_faults
from services.common.sealing import SubjectKeys
from services.common.sealing.erasures import OtherErasure, done_by
from services.common.sealing.order_reference import SENTENCE, order_reference
from services.common.sealing.tables import SUBJECT_KEY

_MEMBER = "members/"
_GROUNDS = {
    pb.ERASURE_GROUND_RETENTION_OVER: "retention over",
    pb.ERASURE_GROUND_ORDERED: "ordered",
}
MOST_NAMED = 20


def faults_of(request: pb.EraseMemberRequest) -> list[Violation]:
    """Everything wrong with a request."""
    faults = request_id_faults(request.request_id)
    if not (
        request.member.startswith(_MEMBER) and is_member_token(request.member.removeprefix(_MEMBER))
    ):
        faults.append(
            Violation(
                "member",
                "NOT_A_NAME",
                "must read members/{token}, as `lipei members token` prints it",
            )
        )
    if request.ground not in _GROUNDS:
        faults.append(Violation("ground", "MISSING", "say why it may be done"))
    ordered = request.ground == pb.ERASURE_GROUND_ORDERED
    if ordered and order_reference(request.order_reference) is None:
        faults.append(Violation("order_reference", "MALFORMED", SENTENCE))
    if not ordered and request.order_reference:
        text = "belongs to an order, and only there"
        faults.append(Violation("order_reference", "DOES_NOT_FIT", text))
    return faults


def erase_member(
    database: Database,
    keys: SubjectKeys,
    tenant: Tenant,
    request: pb.EraseMemberRequest,
    now_us: int,
) -> pb.EraseMemberResponse:
    """Erase one of the tenant's insured. Blocks.

    Raises: Refused with every fault, or with what keeps the person from being erased.
    """
    faults = faults_of(request)
    if faults:
        raise invalid(faults)
    try:
        with database.writing(dry_run=request.dry_run) as connection:
            done = store.erase(
                connection,
                keys.sealer(connection),
                tenant,
                request.request_id,
                request.member.removeprefix(_MEMBER),
                ground=store.Ground(
                    text=_ground(request),
                    ordered=request.ground == pb.ERASURE_GROUND_ORDERED,
                    by=done_by(),
                ),
                today=_day(now_us),
                now_us=now_us,
            )
    except OtherErasure:
        raise request_id_reused() from None
    except store.UnknownMember:
        raise not_found("member", "members/-") from None
    except store.ClaimsOpen as still:
        raise _claims_open(still) from None
    except store.RetentionNotOver as kept:
        text = "the law wants records of a policy kept until then; wait, or say by whose order"
        until = {"until": kept.until.isoformat()}
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION, "RETENTION_NOT_OVER", text, metadata=until
        ) from None
    except store.OthersKeepRecords:
        text = "others may still be bound to keep records of this person; ask again later"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "ERASURE_WAITS", text) from None
    for table in () if request.dry_run else (SUBJECT_KEY, "person"):
        database.scrub(table)
    return pb.EraseMemberResponse(
        member=f"{_MEMBER}{done.person_id}",
        destroyed_key_count=done.keys,
        claim_count=done.claims,
        policies=[f"policies/{policy_id}" for policy_id in done.policies],
    )


def _ground(request: pb.EraseMemberRequest) -> str:
    """The ground as it is kept: the same however its order was typed."""
    return f"{_GROUNDS[request.ground]} {order_reference(request.order_reference) or ''}".rstrip()


def _claims_open(still: store.ClaimsOpen) -> Refused:
    names = [claim_name(*claim) for claim in still.claims]
    metadata = {"open": str(len(names)), "claims": ", ".join(names[:MOST_NAMED])}
    text = "claims of the member are not closed; close them, or have them withdrawn, first"
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "CLAIMS_OPEN", text, metadata=metadata)


def _day(at_us: int) -> date:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).date()
