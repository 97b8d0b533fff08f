"""EvidenceService over gRPC: reads requests, asks the log's tables, answers. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import grpc

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1 import evidence_pb2_grpc
from services.common.access.tenant import Kind, current_tenant
from services.common.database import Database
from services.common.evidence.hash_range import negative, range_faults
from services.common.evidence.leaf import LeafRefused, concerns, read_of
from services.common.evidence.member_reads import RecordsOf, reads_of, wanted
from services.common.evidence.merkle import HASH_BYTES, leaf_hash
from services.common.evidence.proofs import Asked, LeafMislabelled, Proofs, TreeBroken
from services.common.evidence.tables import EvidenceTables
from services.common.moments import microseconds
from services.common.page_tokens import foreign_token, page_token, parse_page_token
from services.common.refusals import Refused, Violation, invalid, not_found

P = ParamSpec("P")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]

FULL_NAME = pb.DESCRIPTOR.services_by_name["EvidenceService"].full_name
USUAL_PAGE, MOST_ON_PAGE = 100, 1_000
_LONGEST = 512
_TENANT = re.compile(r"(insurer|hospital|partner)/[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


class EvidenceServicer(evidence_pb2_grpc.EvidenceServiceServicer):
    """Proves what one service's log holds, to a tenant's auditors what is theirs of it."""

    def __init__(
        self,
        database: Database,
        tables: EvidenceTables,
        records_of: RecordsOf,
        pseudonym: Callable[[str], str],
    ) -> None:
        """`records_of` knows which records are a member's, `pseudonym` what stands for a token."""
        self._database = database
        self._tables = tables
        self._records_of = records_of
        self._pseudonym = pseudonym

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """The newest checkpoint, or the one of a size."""
        size = request.size if request.HasField("size") else None
        if size is not None and size < 0:
            raise invalid([negative("size")])
        found = await self._asked(lambda proofs: proofs.checkpoint(size))
        if found is None:
            raise not_found("checkpoint", "newest" if size is None else str(size))
        return pb.GetCheckpointResponse(note=found.note)

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: Context
    ) -> pb.GetInclusionProofResponse:
        """One leaf and the proof that it is in the tree."""
        violations = []
        by_hash = request.WhichOneof("leaf") == "leaf_hash"
        if request.WhichOneof("leaf") is None:
            violations.append(Violation("leaf", "REQUIRED", "give an index or a leaf's hash"))
        if by_hash and len(request.leaf_hash) != HASH_BYTES:
            violations.append(Violation("leaf_hash", "NOT_A_HASH", "must be 32 bytes"))
        if not by_hash and request.index < 0:
            violations.append(negative("index"))
        if request.tree_size < 0:
            violations.append(negative("tree_size"))
        if violations:
            raise invalid(violations)
        tenant = _callers()
        return await self._asked(
            lambda proofs: _inclusion(proofs, request, tenant, by_hash=by_hash)
        )

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: Context
    ) -> pb.GetConsistencyProofResponse:
        """The proof that one tree begins with another."""
        old, new = request.old_size, request.new_size
        violations = []
        if old < 1:
            text = "must be at least 1: every tree begins with the empty one"
            violations.append(Violation("old_size", "TOO_SMALL", text))
        if new < old:
            text = "must not be smaller than old_size"
            violations.append(Violation("new_size", "TOO_SMALL", text))
        if violations:
            raise invalid(violations)

        def proof(proofs: Proofs) -> list[bytes]:
            size = proofs.size()
            if new > size:
                text = "the log has fewer leaves than new_size"
                metadata = {"size": str(size)}
                raise Refused(
                    grpc.StatusCode.OUT_OF_RANGE, "LOG_IS_SMALLER", text, metadata=metadata
                )
            return proofs.consistency(old, new)

        return pb.GetConsistencyProofResponse(hashes=await self._asked(proof))

    async def ListLeaves(
        self, request: pb.ListLeavesRequest, context: Context
    ) -> pb.ListLeavesResponse:
        """One page of leaves; to a tenant's auditor of those alone that concern the tenant."""
        violations = [
            Violation(name, "TOO_LONG", f"has at most {_LONGEST} characters")
            for name in ("record", "who")
            if len(getattr(request, name)) > _LONGEST
        ]
        times = {
            name: microseconds(name, getattr(request, name), violations)
            for name in ("start_time", "end_time")
            if request.HasField(name)
        }
        if not 0 <= request.page_size <= MOST_ON_PAGE:
            violations.append(_page_size())
        if request.tenant and not _TENANT.fullmatch(request.tenant):
            text = "must be insurer/ID, hospital/ID or partner/ID"
            violations.append(Violation("tenant", "NOT_A_TENANT", text))
        if violations:
            raise invalid(violations)
        tenant = _callers()
        if tenant and request.tenant not in ("", tenant):
            return pb.ListLeavesResponse()  # as for a tenant that nobody ever was
        asked = Asked(
            record=request.record,
            who=request.who,
            from_us=times.get("start_time"),
            before_us=times.get("end_time"),
            tenant=tenant or request.tenant,
        )
        kind = f"evidence leaves {tenant}"
        start, most = _start(request.page_token, kind), request.page_size or USUAL_PAGE
        leaves = await self._asked(lambda proofs: proofs.listed(asked, start, most))
        return pb.ListLeavesResponse(
            leaves=[pb.Leaf(index=leaf.index, body=_text(leaf.body)) for leaf in leaves],
            next_page_token=page_token(kind, str(leaves[-1].index + 1))
            if len(leaves) == most
            else "",
        )

    async def ListMemberReads(
        self, request: pb.ListMemberReadsRequest, context: Context
    ) -> pb.ListMemberReadsResponse:
        """One page of reads of a member's data."""
        violations = []
        if not 0 <= request.page_size <= MOST_ON_PAGE:
            violations.append(_page_size())
        asked = wanted(request, violations)
        kind = f"member reads {current_tenant().key}"
        begun, most = _places(request.page_token, kind), request.page_size or USUAL_PAGE

        def page(proofs: Proofs) -> tuple[list[pb.MemberRead], range]:
            places = range(proofs.size()) if begun is None else begun
            records = self._records_of(proofs.connection, asked.token)
            return reads_of(proofs, asked, self._pseudonym(asked.token), records, places, most)

        reads, left = await self._asked(page)
        return pb.ListMemberReadsResponse(
            reads=reads,
            next_page_token=page_token(kind, f"{left.start} {left.stop}") if left else "",
        )

    async def ListLeafHashes(
        self, request: pb.ListLeafHashesRequest, context: Context
    ) -> pb.ListLeafHashesResponse:
        """Hashes of the leaves as they are now; up to the first index that is missing."""
        start, count = request.start_index, request.count
        if violations := range_faults(start, count):
            raise invalid(violations)
        leaves = await self._asked(lambda proofs: proofs.listed(Asked(), start, count))
        dense = (
            leaf_hash(leaf.body) for place, leaf in enumerate(leaves, start) if leaf.index == place
        )
        return pb.ListLeafHashesResponse(hashes=b"".join(dense))

    async def _asked(self, question: Callable[[Proofs], R]) -> R:
        def read() -> R:
            with self._database.reading() as connection:
                return question(Proofs(connection, self._tables))

        try:
            return await self._database.run(read)
        except TreeBroken:
            text = "hashes of the tree are missing; call for the auditor"
            raise Refused(grpc.StatusCode.DATA_LOSS, "TREE_BROKEN", text) from None
        except LeafMislabelled as found:
            raise Refused(
                grpc.StatusCode.DATA_LOSS,
                "LEAF_MISLABELLED",
                f"{found}; call for the auditor",
                metadata={"index": str(found.index)},
            ) from None


def _callers() -> str:
    """Key of the tenant whose leaves exist for the caller; empty: the whole installation's do."""
    tenant = current_tenant()
    return "" if tenant.kind is Kind.INSTALLATION else tenant.key


def _inclusion(
    proofs: Proofs, request: pb.GetInclusionProofRequest, tenant: str, *, by_hash: bool
) -> pb.GetInclusionProofResponse:
    newest = proofs.checkpoint()
    size = request.tree_size or (0 if newest is None else newest.size)
    index = proofs.index_of(request.leaf_hash) if by_hash else request.index
    body = None if index is None or index >= size else proofs.body(index)
    hidden = body is not None and bool(tenant) and not _concerns(body, tenant)
    if index is None or body is None or hidden or size > proofs.size():
        raise not_found(f"leaf: the tree has {size}, counted from 0", str(size))
    return pb.GetInclusionProofResponse(
        leaf=pb.Leaf(index=index, body=_text(body)),
        tree_size=size,
        hashes=proofs.inclusion(index, size),
    )


def _concerns(body: bytes, tenant: str) -> bool:
    """Whether a leaf is the tenant's to see, by its bytes; what is no leaf is nobody's."""
    try:
        return concerns(read_of(body), tenant)
    except LeafRefused:
        return False


def _page_size() -> Violation:
    return Violation("page_size", "OUT_OF_RANGE", f"must be 0 to {MOST_ON_PAGE}")


def _start(token: str, kind: str) -> int:
    position = parse_page_token(token, kind)
    if position is None:
        return 0
    if not re.fullmatch("[0-9]{1,18}", position, re.ASCII):
        raise foreign_token()
    return int(position)


def _places(token: str, kind: str) -> range | None:
    """Where a page begins and its list ends; None for the first page."""
    position = parse_page_token(token, kind)
    if position is None:
        return None
    found = re.fullmatch("([0-9]{1,18}) ([0-9]{1,18})", position, re.ASCII)
    if found is None:
        raise foreign_token()
    return range(int(found[1]), int(found[2]))


def _text(body: bytes) -> str:
    # Bytes that somebody changed need not be ASCII; what cannot be shown still is not the leaf.
    return body.decode("ascii", "replace")
