"""Who read a member's data, as the member may know it. Knows no table but the log's.

A leaf names a record. Records below `members/` say whose they are by the token's pseudonym; which
others are a member's, the service knows from its own rows. After an erasure those lead to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from sqlalchemy import Connection

from lipei.evidence.v1 import evidence_pb2 as pb
from services.common.access.caller import current_caller
from services.common.access.tenant import current_tenant
from services.common.evidence.leaf import LeafRefused, read_of, reader_of
from services.common.evidence.proofs import Leaf, Proofs
from services.common.identity import is_member_token
from services.common.refusals import Refused, Violation, invalid, not_found

# Names of the records in this service that are about the member of a token, besides `members/...`.
RecordsOf: TypeAlias = Callable[[Connection, str], Sequence[str]]
_ON_BEHALF = "member-request"
_PREFIX = "members/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Whose reads are asked for, and for which tenant's eyes; empty for the member's own."""

    token: str
    tenant: str


def wanted(request: pb.ListMemberReadsRequest, violations: list[Violation]) -> Wanted:
    """What the caller may ask for.

    Raises: Refused: INVALID_ARGUMENT with these violations and its own; NOT_FOUND to a member who
    asks about another; PERMISSION_DENIED to whoever does not say that the member asked.
    """
    token = request.member.removeprefix(_PREFIX)
    if not request.member.startswith(_PREFIX) or not is_member_token(token):
        violations.append(
            Violation(
                "member",
                "NOT_A_NAME",
                "must read members/{token}, as `lipei members token` prints it",
            )
        )
    if violations:
        raise invalid(violations)
    tenant = current_tenant()
    if tenant.member is not None:
        if tenant.member != token:
            raise not_found("member", "")
        return Wanted(token=token, tenant="")
    if current_caller().purpose != _ON_BEHALF:
        text = f"say lipei-purpose {_ON_BEHALF}: reads are listed for the member who asked for them"
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "PURPOSE_NOT_ALLOWED", text)
    return Wanted(token=token, tenant=tenant.key)


def reads_of(
    proofs: Proofs, asked: Wanted, pseudonym: str, records: Sequence[str], places: range, most: int
) -> tuple[list[pb.MemberRead], range]:
    """A page of reads, and the places for the next one; none at the end.

    Every page is a read itself: a list that went on to the log's end would never reach it.
    """
    leaves = proofs.about(pseudonym, records, asked.tenant, places, most)
    left = range(leaves[-1].index + 1, places.stop) if len(leaves) == most else range(0)
    return [told for leaf in leaves if (told := _told(leaf)) is not None], left


def _told(leaf: Leaf) -> pb.MemberRead | None:
    """A leaf without the ids of whoever read; None for what is no leaf any more."""
    try:
        read = read_of(leaf.body)
    except LeafRefused:
        return None
    told = pb.MemberRead(
        reader=reader_of(read.uri),
        role=read.role,
        purpose=read.purpose,
        record=read.record,
        consent=read.consent,
    )
    told.time.FromMicroseconds(read.at_us)
    return told
